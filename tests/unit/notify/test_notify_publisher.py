from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from btcnode.notify import publisher as publisher_module
from btcnode.notify.publisher import Publisher, is_ipv6
from btcnode.notify.topics import Endpoint, Event, TxAdded, TxRemoved
from tests.lib.process import free_port, wait_until

TX = TxAdded(bytes(32), b"raw", 1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def publish_at(stack: ExitStack, *endpoints: Endpoint) -> Publisher:
    publisher = Publisher(endpoints)
    stack.callback(publisher.close)
    return publisher


def subscribe(stack: ExitStack, address: str, *topics: str) -> zmq.Socket[bytes]:
    context = stack.enter_context(zmq.Context())
    subscriber = stack.enter_context(context.socket(zmq.SUB))
    subscriber.setsockopt(zmq.RCVTIMEO, 20_000)
    subscriber.setsockopt(zmq.LINGER, 0)
    subscriber.setsockopt(zmq.IPV6, 1)
    for topic in topics:
        subscriber.setsockopt(zmq.SUBSCRIBE, topic.encode())
    subscriber.connect(address)
    return subscriber


def first_number(publisher: Publisher, subscriber: zmq.Socket[bytes], event: Event, published: int = 0) -> int:
    """Publish until the subscription has arrived and everything published is read; the next message's number.

    ``published`` counts what was published before.
    """

    def heard() -> bool:
        nonlocal published
        publisher.publish(event)
        published += 1
        return bool(subscriber.poll(20))

    wait_until(heard, 20)
    while True:
        number = int.from_bytes(subscriber.recv_multipart()[2], "little")
        if number == published - 1:
            return published


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "ipc"])
def test_messages_arrive_in_order_with_their_numbers(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    if kind == "tcp6" and not has_ipv6():
        pytest.skip("no IPv6 here")
    address = {"tcp": "tcp://127.0.0.1:", "tcp6": "tcp://[::1]:"}.get(kind, "ipc://")
    address += f"{tmp_path}/s" if kind == "ipc" else str(free_port())
    publisher = publish_at(stack, Endpoint("hashtx", address, 0), Endpoint("rawtx", address, 5))
    subscriber = subscribe(stack, address, "rawtx")
    number = first_number(publisher, subscriber, TX)
    for _ in range(300):
        publisher.publish(TX)
    for n in range(300):
        assert subscriber.recv_multipart() == [b"rawtx", b"raw", (number + n).to_bytes(4, "little")]
    assert [endpoint.topic for endpoint in publisher.endpoints] == ["hashtx", "rawtx"]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_topics_at_two_addresses_count_for_themselves(stack: ExitStack) -> None:
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    publisher = publish_at(stack, *(Endpoint("hashtx", address, 1000) for address in addresses))
    subscribers = [subscribe(stack, address, "hashtx") for address in addresses]
    published = 0
    for subscriber in subscribers:
        published = first_number(publisher, subscriber, TX, published)


def test_an_address_that_cannot_be_bound(stack: ExitStack) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(zmq.ZMQError):
        Publisher([Endpoint("hashtx", address, 1000), Endpoint("rawtx", "nonsense", 1000)])
    publish_at(stack, Endpoint("hashtx", address, 1000))  # the first one's address is free again


def test_what_does_not_fit_is_missing_from_the_numbers(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    publisher = publish_at(stack, Endpoint("rawtx", address, 0))
    subscriber = subscribe(stack, address, "rawtx")
    number = first_number(publisher, subscriber, TX)
    monkeypatch.setattr(publisher_module, "MAX_QUEUED_BYTES", 10)
    with publisher._wake:  # the thread takes nothing meanwhile
        for _ in range(5):
            publisher.publish(TX)
        publisher.publish(TxRemoved(bytes(32), 1))
    wait_until(lambda: not publisher._queue, 20)
    publisher.publish(TX)
    numbers = [int.from_bytes(subscriber.recv_multipart()[2], "little") - number for _ in range(4)]
    assert numbers == [0, 1, 2, 5]


def test_ipv6_addresses() -> None:
    assert is_ipv6("tcp://[::1]:1") and is_ipv6("tcp://::1:1")
    assert not is_ipv6("tcp://127.0.0.1:1") and not is_ipv6("ipc://[::1]:1") and not is_ipv6("tcp://*:1")
