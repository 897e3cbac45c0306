from __future__ import annotations

from dataclasses import replace

import pytest

from btcnode.consensus.pow import (
    bits_to_target,
    block_work,
    check_proof_of_work,
    next_bits,
    permitted_transition,
    retarget,
    target_to_bits,
)
from btcnode.consensus.subsidy import block_subsidy, subsidies_up_to
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import Header
from tests.lib.ancestry import ListAncestry

MAINNET = params_for("mainnet")
TESTNET3 = params_for("testnet3")
TESTNET4 = params_for("testnet4")
REGTEST = params_for("regtest")


@pytest.mark.parametrize(
    ("bits", "target", "back"),
    [
        (0x00000000, 0, 0),
        (0x00123456, 0, 0),
        (0x01003456, 0, 0),
        (0x02000056, 0, 0),
        (0x03000000, 0, 0),
        (0x04000000, 0, 0),
        (0x00923456, 0, 0),
        (0x01803456, 0, 0),
        (0x01123456, 0x12, 0x01120000),
        (0x02123456, 0x1234, 0x02123400),
        (0x03123456, 0x123456, 0x03123456),
        (0x04123456, 0x12345600, 0x04123456),
        (0x04923456, 0, 0),  # negative
        (0x05009234, 0x92340000, 0x05009234),
        (0x20123456, 0x123456 << 232, 0x20123456),
        (0x22000001, 1 << 248, 0x20010000),
        (0x22000100, 0, 0),  # overflow
        (0x21010000, 0, 0),
        (0x2100FFFF, 0xFFFF << 240, 0x2100FFFF),
        (0xFF123456, 0, 0),
        (0x1D00FFFF, 0xFFFF << 208, 0x1D00FFFF),
    ],
)
def test_compact_form(bits: int, target: int, back: int) -> None:
    assert bits_to_target(bits) == target
    assert target_to_bits(target) == back


def test_work() -> None:
    assert block_work(0x1D00FFFF) == 0x100010001
    assert block_work(0x207FFFFF) == 2
    assert block_work(0) == block_work(0x04923456) == block_work(0xFF123456) == 0


@pytest.mark.parametrize(
    ("bits", "block_hash", "good"),
    [
        (0x1D00FFFF, 0xFFFF << 208, True),
        (0x1D00FFFF, (0xFFFF << 208) + 1, False),
        (0x1D00FFFF, 0, True),
        (0x1D010000, 0, False),  # easier than the network allows
        (0x1D80FFFF, 0, False),  # negative
        (0xFF00FFFF, 0, False),  # overflow
        (0, 0, False),
    ],
)
def test_proof_of_work(bits: int, block_hash: int, good: bool) -> None:
    assert check_proof_of_work(block_hash.to_bytes(32, "little"), bits, MAINNET) is good


@pytest.mark.parametrize(
    ("first", "last", "bits", "expected"),
    [
        # figures of mainnet's blocks 30240..32255, 0..2015, 66528..68543, 46368..48383
        (1261130161, 1262152739, 0x1D00FFFF, 0x1D00D86A),
        (1231006505, 1233061996, 0x1D00FFFF, 0x1D00FFFF),
        (1279008237, 1279297671, 0x1C05A3F4, 0x1C0168FD),
        (1263163443, 1269211443, 0x1C387F6F, 0x1D00E1FD),
    ],
)
def test_retarget(first: int, last: int, bits: int, expected: int) -> None:
    assert retarget(bits, last - first, MAINNET) == expected
    assert permitted_transition(MAINNET, 2016, bits, expected)


@pytest.mark.parametrize(
    ("height", "old", "new", "good"),
    [
        (68544, 0x1C05A3F4, 0x1C0168FD, True),
        (68544, 0x1C05A3F4, 0x1C0168FD - 1, False),
        (48384, 0x1C387F6F, 0x1D00E1FD, True),
        (48384, 0x1C387F6F, 0x1D00E1FD + 1, False),
        (2016, 0x1D00FFFF, 0x1D00FFFF, True),
        (2017, 0x1D00FFFF, 0x1D00FFFF, True),
        (2017, 0x1D00FFFF, 0x1D00FFFE, False),
    ],
)
def test_permitted_transitions(height: int, old: int, new: int, good: bool) -> None:
    assert permitted_transition(MAINNET, height, old, new) is good
    assert permitted_transition(TESTNET3, height, old, new)


def header(bits: int, time: int, prev: bytes = bytes(32)) -> bytes:
    return Header(4, prev, bytes(32), time, bits, 0).serialize()  # type: ignore[arg-type]


def test_20_minute_rule_and_the_way_back() -> None:
    tree = ListAncestry(first_height=2016 * 3)
    tree.append(header(0x1C0FFFFF, 0))
    assert next_bits(tree, 0, 1200, TESTNET3) == 0x1C0FFFFF
    assert next_bits(tree, 0, 1201, TESTNET3) == 0x1D00FFFF
    assert next_bits(tree, 0, 1201, MAINNET) == 0x1C0FFFFF
    tip = tree.extend(5, spacing=1201, bits=0x1D00FFFF)
    assert next_bits(tree, tip, tree.time(tip) + 1200, TESTNET3) == 0x1C0FFFFF
    # at a period's first block the walk back ends, whatever its target
    easy = ListAncestry(first_height=2016)
    easy.append(header(0x1D00FFFF, 0))
    assert next_bits(easy, easy.extend(3), 0, TESTNET3) == 0x1D00FFFF


@pytest.mark.parametrize(("params", "expected"), [(TESTNET3, 0x1D00FFFF), (TESTNET4, 0x1C0FFFF0)])
def test_retarget_after_an_exception_block(params: object, expected: int) -> None:
    """BIP94: what counts is the period's first block, not an exception of the 20-minute rule in its last."""
    tree = ListAncestry(first_height=2016)
    tree.append(header(0x1C0FFFF0, 0))
    tree.extend(2014)
    last = tree.append(header(0x1D00FFFF, 14 * 24 * 3600, tree.hash(2014)))
    assert tree.height(last) == 4031
    assert next_bits(tree, last, 0, params) == expected  # type: ignore[arg-type]


def test_the_last_interval_of_a_period_does_not_count() -> None:
    tree = ListAncestry()
    tree.append(header(0x1C0FFFF0, 1000))
    last = tree.extend(2015)
    measured = 2015 * 600
    assert tree.time(last) - tree.time(0) == measured
    assert next_bits(tree, last, 0, MAINNET) == retarget(0x1C0FFFF0, measured, MAINNET) != 0x1C0FFFF0


def test_regtest_never_retargets() -> None:
    tree = ListAncestry()
    tree.append(REGTEST.genesis_block)
    last = tree.extend(REGTEST.difficulty_adjustment_interval - 1, spacing=1)
    assert next_bits(tree, last, 0, REGTEST) == 0x207FFFFF
    assert next_bits(tree, last, 0, replace(REGTEST, enforce_bip94=True)) == 0x207FFFFF


def test_subsidy() -> None:
    halving = 210_000
    assert [block_subsidy(h, MAINNET) for h in (0, halving - 1, halving, 2 * halving)] == [
        5_000_000_000, 5_000_000_000, 2_500_000_000, 1_250_000_000,
    ]  # fmt: skip
    assert block_subsidy(32 * halving, MAINNET) == 1
    assert block_subsidy(33 * halving, MAINNET) == block_subsidy(64 * halving, MAINNET) == 0
    assert block_subsidy(2**31 - 1, MAINNET) == 0
    assert block_subsidy(149, REGTEST) == 2 * block_subsidy(150, REGTEST)
    assert halving * sum(block_subsidy(era * halving, MAINNET) for era in range(40)) == 2_099_999_997_690_000
    for height in (0, 1, 149, 150, 151, 1000):
        assert subsidies_up_to(height, REGTEST) == sum(block_subsidy(h, REGTEST) for h in range(1, height + 1))
    assert subsidies_up_to(2**31 - 1, MAINNET) == 2_099_999_997_690_000 - block_subsidy(0, MAINNET)
