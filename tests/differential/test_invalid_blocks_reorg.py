"""Forks fed to libbitcoinkernel and to btcnode: the same tip and the same verdicts after every block and header."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.block_lab import Lab, alter, sign, spend
from tests.lib.block_trees import random_tree

pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")

from tests.lib.kernel_chain import Outcome, PairedChains

World = tuple[PairedChains, Lab]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path)
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    yield chains, lab
    chains.close()


def grow(chains: PairedChains, lab: Lab, raw: bytes) -> Outcome:
    """Feed a block that follows the lab's tip, whichever chain is the active one."""
    outcome = chains.feed(raw, lab.now)
    lab.adopt(raw)
    return outcome


def valid(outcome: Outcome) -> list[bytes]:
    return [checked.block_hash for checked in outcome.checked if not checked.reason]


def test_equal_work_keeps_the_first_seen(world: World) -> None:
    chains, lab = world
    side = lab.fork()
    grow(chains, lab, lab.block())
    assert grow(chains, side, side.block()).tip == lab.tip_hash
    assert grow(chains, side, side.block()).tip == side.tip_hash
    grow(chains, lab, lab.block())
    assert chains.own.tip == side.tip_hash
    assert grow(chains, lab, lab.block()).tip == lab.tip_hash


def test_coins_spent_on_both_sides(world: World) -> None:
    chains, lab = world
    side = lab.fork()
    coin = lab.coin()
    grow(chains, lab, lab.block(spend([coin])))
    grow(chains, lab, lab.block(sign([lab.coin_of("p2wpkh"), lab.coin_of("p2tr-key")])))
    grow(chains, side, side.block(spend([coin], lock_time=1)))
    grow(chains, side, side.block(sign([side.coin_of("p2wpkh"), side.coin_of("p2tr-key")])))
    outcome = grow(chains, side, side.block())
    assert outcome.tip == side.tip_hash and len(outcome.checked) == 3
    # the coin is spent on this side: with either transaction it is missing
    for lock_time in (0, 1, 2):
        verdict = chains.feed(side.block(spend([coin], lock_time=lock_time)), lab.now).checked[0]
        assert verdict.reason in ("bad-txns-inputs-missingorspent", "bad-txns-BIP30")


def test_invalid_block_in_the_middle_of_a_longer_fork(world: World) -> None:
    chains, lab = world
    side = lab.fork()
    for _ in range(3):
        grow(chains, lab, lab.block())
    grow(chains, side, side.block())
    bad = side.block(coinbase_value=side.subsidy + 1)
    assert not grow(chains, side, bad).checked  # no more work than ours: nobody has looked at its coins
    grow(chains, side, side.block())
    outcome = grow(chains, side, side.block())
    assert outcome.tip == lab.tip_hash
    reasons = [checked.reason for checked in outcome.checked]
    assert reasons[:2] == ["", "bad-cb-amount"]
    child = side.block()
    assert chains.feed(child, lab.now).checked[0].reason == "bad-prevblk"
    grow(chains, lab, lab.block(spend([lab.coin()])))
    assert chains.own.tip == lab.tip_hash


def test_best_part_of_an_invalid_fork_is_kept(world: World) -> None:
    """Two good blocks, then a bad one: with one block of ours against them, the two good ones are the better chain."""
    chains, lab = world
    side = lab.fork()
    grow(chains, lab, lab.block())
    blocks = []
    for number in range(4):
        blocks.append(side.block(coinbase_value=side.subsidy + (number == 2)))
        side.adopt(blocks[-1])
    for raw in blocks:
        assert chains.header(raw, lab.now)
    for raw in reversed(blocks):
        outcome = chains.feed(raw, lab.now)
    assert outcome.tip == header_hash(blocks[1][:HEADER_SIZE])


def test_blocks_arrive_in_reverse(world: World) -> None:
    chains, lab = world
    blocks = []
    for _ in range(30):
        blocks.append(lab.block(spend([lab.coin()])))
        lab.adopt(blocks[-1])
    assert chains.feed(blocks[5], lab.now).checked[0].reason == "prev-blk-not-found"
    for raw in blocks:
        assert chains.header(raw, lab.now)
    for raw in blocks[:0:-1]:
        assert not chains.feed(raw, lab.now).checked
    outcome = chains.feed(blocks[0], lab.now)
    assert outcome.tip == lab.tip_hash and len(valid(outcome)) == 30


def test_deep_reorganisation_there_and_back(world: World) -> None:
    chains, lab = world
    side = lab.fork()
    rng = random.Random(7)
    coins = [lab.coin() for _ in range(40)]
    for coin in coins:
        grow(chains, lab, lab.block(spend([coin])))
    rng.shuffle(coins)
    for number in range(42):
        txs = [spend([coins[number]], lock_time=5)] if number < 40 else []
        grow(chains, side, side.block(*txs))
    assert chains.own.tip == side.tip_hash
    grow(chains, lab, lab.block())
    grow(chains, lab, lab.block())
    assert grow(chains, lab, lab.block()).tip == lab.tip_hash
    chains.reopen()
    assert chains.own.tip == lab.tip_hash
    grow(chains, side, side.block())
    assert grow(chains, side, side.block()).tip == side.tip_hash


def test_coinbase_lost_in_a_reorganisation_is_gone(world: World) -> None:
    chains, lab = world
    side = lab.fork()
    for _ in range(101):
        grow(chains, lab, lab.block())
    first = lab.coinbases[side.height + 1]
    for _ in range(102):
        grow(chains, side, side.block())
    assert chains.own.tip == side.tip_hash
    verdict = chains.feed(side.block(spend([first])), lab.now).checked[0]
    assert verdict.reason == "bad-txns-inputs-missingorspent"
    own = side.coinbases[side.height + 1 - 100]
    assert grow(chains, side, side.block(spend([own]))).tip == side.tip_hash


def test_header_of_an_invalid_block_first(world: World) -> None:
    """Headers of a bad block and its child are good; the block condemns both."""
    chains, lab = world
    side = lab.fork()
    bad = side.block(alter(sign([side.coin_of("p2wpkh")]), lock_time=1))
    side.adopt(bad)
    child = side.block()
    assert chains.header(bad, lab.now) and chains.header(child, lab.now)
    assert chains.feed(bad, lab.now).checked[0].reason.startswith("block-script-verify-flag-failed")
    assert chains.feed(child, lab.now).checked[0].reason == "duplicate-invalid"
    assert not chains.header(child, lab.now)
    side.adopt(child)
    assert not chains.header(side.block(), lab.now)


@pytest.mark.parametrize("order", ["parents-first", "shuffled"])
@pytest.mark.parametrize("seed", range(6))
def test_random_tree(world: World, seed: int, order: str) -> None:
    chains, lab = world
    rng = random.Random(f"{seed} {order}")
    blocks = [block.raw for block in random_tree(lab, rng, 60, faulty=0.2)]
    if order == "shuffled":
        for raw in blocks:
            chains.header(raw, lab.now)
        # neighbours change places, so that parents are often missing for a while
        blocks = [raw for _, raw in sorted((i + rng.random() * 8, raw) for i, raw in enumerate(blocks))]
    tips = {chains.feed(raw, lab.now).tip for raw in blocks}
    assert len(tips) > 5
    chains.reopen()
    assert chains.own.tip == chains.kernel.tip
