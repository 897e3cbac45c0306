from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from btcnode.notify.topics import (
    TOPICS,
    BlockIn,
    BlockOut,
    Event,
    NewTip,
    TxAdded,
    TxRemoved,
    count,
    messages,
    zmq_address,
)

RAW = [b"coinbase", b"payment"]
TXIDS = [bytes(range(32)), bytes(range(32, 64))]
HASH = bytes(range(64, 96))
BLOCK: Any = SimpleNamespace(hash=HASH, raw=b"block", txids=TXIDS, n_tx=2, tx_raw=RAW.__getitem__)
OF_BLOCK = [  # each transaction is told to all before the next one
    ("hashtx", TXIDS[0][::-1]), ("rawtx", RAW[0]), ("hashtx", TXIDS[1][::-1]), ("rawtx", RAW[1]),
]  # fmt: skip
TX = TxAdded(TXIDS[1], RAW[1], 258)
GONE = TxRemoved(TXIDS[1], 259)


@pytest.mark.parametrize(
    ("event", "made"),
    [
        (NewTip(BLOCK), [("hashblock", HASH[::-1]), ("rawblock", b"block")]),
        (BlockIn(BLOCK), [*OF_BLOCK, ("sequence", HASH[::-1] + b"C")]),
        (BlockOut(BLOCK), [*OF_BLOCK, ("sequence", HASH[::-1] + b"D")]),
        (
            TX,
            [
                ("hashtx", TXIDS[1][::-1]),
                ("rawtx", RAW[1]),
                ("sequence", TXIDS[1][::-1] + b"A" + b"\x02\x01" + bytes(6)),
            ],
        ),
        (GONE, [("sequence", TXIDS[1][::-1] + b"R" + b"\x03\x01" + bytes(6))]),
    ],
)
def test_each_event_makes_its_messages(event: Event, made: list[tuple[str, bytes]]) -> None:
    assert list(messages(event, TOPICS)) == made
    for topic in TOPICS:
        of_topic = [message for message in made if message[0] == topic]
        assert list(messages(event, {topic})) == of_topic
        assert count(topic, event) == len(of_topic)


def test_unix_addresses_are_zmqs_ipc() -> None:
    assert zmq_address("unix:/tmp/a") == "ipc:///tmp/a"
    assert zmq_address("ipc:///tmp/a") == "ipc:///tmp/a"
    assert zmq_address("tcp://127.0.0.1:1") == "tcp://127.0.0.1:1"
