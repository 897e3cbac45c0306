"""Ports that are free on several addresses of this machine, and names that are looked up."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from btcnode.net import addresses
from btcnode.net.addresses import LOOKUPS, free_port, lookup
from btcnode.wire.netaddr import NetAddress


def test_the_same_port_on_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [socket.create_server(("::1", 0), family=socket.AF_INET6) for _ in range(3)]
    used = [sock.getsockname()[1] for sock in taken]

    class Unlucky(socket.socket):
        """Is given first what the other family has taken."""

        def bind(self, address: Any) -> None:
            super().bind((address[0], used.pop()) if used and not address[1] else address)

    monkeypatch.setattr(socket, "socket", Unlucky)
    port = free_port(["127.0.0.1", "::1"])
    monkeypatch.undo()
    assert not used
    assert port
    for host in ("127.0.0.1", "::1"):
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    for sock in taken:
        sock.close()


def test_no_port_for_no_address() -> None:
    assert free_port([]) == 0
    assert free_port(["192.0.2.1"]) == 0  # not this machine's
    assert free_port(["192.0.2.1", "127.0.0.1"])


def test_no_resolver_hears_of_an_onion_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for host in ("x.onion", "PG6MMJIYJMCRSSLVYKFWNNTLARU7P5SVN6Y2YMMJU6NUBXNDF4PSCRYD.ONION"):
        assert asyncio.run(lookup(host, 1)) == []
    assert [address.host for address in asyncio.run(lookup("onion.example", 1))] == ["192.0.2.1"]
    assert asked == ["onion.example"]


def test_a_resolver_that_hangs_keeps_neither_others_nor_the_end_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = threading.Event(), []

    def hang(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        answers.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]

    async def ask() -> list[list[NetAddress]]:
        found = await asyncio.gather(*(lookup(f"host{n}", 8333) for n in range(LOOKUPS + 20)))
        assert await asyncio.to_thread(lambda: "free") == "free"
        return found

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(addresses, "LOOKUP_TIMEOUT", 0.5)
    try:
        assert asyncio.run(ask()) == [[]] * (LOOKUPS + 20)  # its end waits for the threads of the loop's pool
        assert len(asked) == LOOKUPS and not answers.is_set()
    finally:
        answers.set()
    monkeypatch.setattr(addresses, "LOOKUP_TIMEOUT", 30.0)
    assert asyncio.run(lookup("host", 8333)) == [NetAddress.from_host("192.0.2.7", 8333)]


def test_names_that_cannot_be_asked_for() -> None:
    assert asyncio.run(lookup("a\0b", 8333)) == asyncio.run(lookup("x" * 300, 8333)) == []
