"""The cache of parsed blocks: what is in it, and how much."""

from __future__ import annotations

import tracemalloc

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.services.parsed_blocks import ParsedBlocks, parsed_size
from tests.lib.chain_generator import benchmark_chain


def blocks(count: int) -> list[ParsedBlock]:
    chain = benchmark_chain(params_for("regtest"), big_blocks=count, big_txs=60, small_blocks=0)
    return [parse_block(raw) for raw in list(chain)[-count:]]


def test_the_least_asked_for_goes_first() -> None:
    made = blocks(4)
    kept = ParsedBlocks(sum(map(parsed_size, made)) - 1)
    for index, block in enumerate(made[:3]):
        kept.put(index, block)
    assert kept.get(0) is made[0]  # now 1 is the oldest
    kept.put(3, made[3])
    assert [kept.get(index) is not None for index in range(4)] == [True, False, True, True]
    assert kept.size == sum(parsed_size(made[index]) for index in (0, 2, 3))
    kept.put(3, made[3])
    assert kept.size == sum(parsed_size(made[index]) for index in (0, 2, 3))


def test_a_smaller_limit_takes_effect_at_once() -> None:
    made = blocks(3)
    kept = ParsedBlocks()
    for index, block in enumerate(made):
        kept.put(index, block)
    kept.set_limit(parsed_size(made[2]))
    assert [kept.get(index) is not None for index in range(3)] == [False, False, True]
    assert kept.size == parsed_size(made[2])


def test_a_block_beyond_the_limit_is_not_kept_and_evicts_nothing() -> None:
    small, large = blocks(2)[0], parse_block(params_for("regtest").genesis_block)
    kept = ParsedBlocks(parsed_size(large))
    kept.put(0, large)
    kept.put(1, small)
    assert kept.get(0) is large and kept.get(1) is None


def test_the_size_is_what_memory_it_takes() -> None:
    raw = blocks(1)[0].raw
    tracemalloc.start()
    block = parse_block(raw)
    taken = tracemalloc.get_traced_memory()[0] + len(raw)
    tracemalloc.stop()
    assert 0.8 < taken / parsed_size(block) < 1.2
