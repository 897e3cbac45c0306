"""What is awaited of transactions and blocks: a bounded number, the newest."""

from __future__ import annotations

from btcnode.protocol.delays import MOST_AWAITED, Delays
from tests.lib.object_sizes import container_sizes


def test_the_newest_are_remembered_and_no_more_than_twice_the_number() -> None:
    delays = Delays()
    hashes = [number.to_bytes(31, "big") + b"\0" for number in range(5 * MOST_AWAITED)]
    for wtxid in hashes:
        delays.transaction_came(wtxid, 1.0)
    assert sum(container_sizes(delays).values()) < 2 * MOST_AWAITED + 100
    counted = delays.transactions.count
    for wtxid in hashes[-MOST_AWAITED:]:
        delays.transaction_told(wtxid, 2.0)
    assert delays.transactions.count == counted + MOST_AWAITED
    delays.transaction_told(hashes[0], 2.0)
    assert delays.transactions.count == counted + MOST_AWAITED
