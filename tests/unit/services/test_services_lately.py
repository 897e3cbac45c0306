"""What users have asked for lately: what is kept, and how much."""

from __future__ import annotations

import tracemalloc

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.tx import Tx
from btcnode.services.lately import ENTRY_BYTES, Lately, parsed_size, parsed_tx_size
from tests.lib.chain_generator import benchmark_chain


def blocks(count: int) -> list[ParsedBlock]:
    chain = benchmark_chain(params_for("regtest"), big_blocks=count, big_txs=60, small_blocks=0)
    return [parse_block(raw) for raw in list(chain)[-count:]]


def test_the_least_asked_for_goes_first() -> None:
    kept = Lately(4 * (100 + ENTRY_BYTES) - 1)
    for index in range(3):
        kept.put(("parsed", index), index, 100)
    assert kept.get(("parsed", 0)) == 0  # now 1 is the oldest
    kept.put(("parsed", 3), 3, 100)
    assert [kept.get(("parsed", index)) for index in range(4)] == [0, None, 2, 3]
    assert kept.size == 3 * (100 + ENTRY_BYTES)
    kept.put(("parsed", 3), 3, 100)
    assert kept.size == 3 * (100 + ENTRY_BYTES)


def test_a_smaller_limit_takes_effect_at_once() -> None:
    kept = Lately()
    for index in range(3):
        kept.put((index,), index, 100)
    kept.set_limit(100 + ENTRY_BYTES)
    assert [kept.get((index,)) for index in range(3)] == [None, None, 2]
    assert kept.size == 100 + ENTRY_BYTES


def test_what_is_beyond_the_limit_is_not_kept_and_evicts_nothing() -> None:
    kept = Lately(100 + ENTRY_BYTES)
    kept.put(("small",), 1, 100)
    kept.put(("large",), 2, 101)
    assert kept.get(("small",)) == 1 and kept.get(("large",)) is None


def test_the_size_is_what_memory_it_takes() -> None:
    raw = blocks(1)[0].raw
    tracemalloc.start()
    block = parse_block(raw)
    taken = tracemalloc.get_traced_memory()[0] + len(raw)
    tracemalloc.stop()
    assert 0.8 < taken / parsed_size(block) < 1.2


def test_the_size_of_a_transaction_is_no_less_than_what_it_takes() -> None:
    """Transactions of many small parts are the worst."""
    parts = 2000
    tx = Tx(2, [bytes(36)] * parts, [b""] * parts, [7] * parts, [bytes(8) + b"\1\x51"] * parts, [[b"\1"]] * parts)
    raw = tx.raw
    tracemalloc.start()
    found = Tx.parse(raw)
    assert found.txid
    taken = tracemalloc.get_traced_memory()[0] + len(raw)
    tracemalloc.stop()
    assert taken < parsed_tx_size(found) < 2 * taken
