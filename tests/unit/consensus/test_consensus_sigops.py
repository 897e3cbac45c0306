from __future__ import annotations

from random import Random

import pytest

from btcnode.consensus.connect import last_witness_items
from btcnode.consensus.sigops import (
    block_legacy_sigops,
    coin_sigop_cost,
    count_input_sigops,
    count_output_sigops,
    transaction_sigop_cost,
    tx_legacy_sigops,
)
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_coin, make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.flags import VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.scriptparse import count_sigops, push_data
from btcnode.testing.blocks import assemble
from tests.lib.mini_chain import spend

BOTH = VERIFY_P2SH | VERIFY_WITNESS
A = b"\x01" * 36
KEY = b"\x02" * 33
MULTISIG = b"\x51" + push_data(KEY) * 3 + b"\x53\xae"

# heads of the templates, with right and with wrong tails, and what looks like one but is not
SCRIPTS = [
    b"", b"\xac", b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", b"\x76\xa9\x14" + bytes(20) + b"\xac\xac",
    b"\x76\xa9\x13" + bytes(19) + b"\x88\xad\xac", b"\x76\xa9" + b"\xac" * 23, b"\xa9\x14" + bytes(20) + b"\x87",
    b"\xa9\x14" + bytes(20) + b"\xac", b"\xa9\x13" + bytes(19) + b"\xae\x87", b"\x00\x14" + b"\xac" * 20,
    b"\x00\x20" + b"\xae" * 32, b"\x51\x20" + b"\xad" * 32, b"\x51\x21" + b"\xad" * 32, MULTISIG,
    MULTISIG[:-1] + b"\xaf",
    push_data(KEY) + b"\xac", b"\x4c", b"\x4c\x05\xac", b"\x4d\x01\x00\xac\xac", b"\x4e\x01\x00\x00\x00\xac\xac",
    b"\x4e\xff\xff\xff\xffabc", b"\xac\x4b\xac", b"\x6a\x24\xaa\x21\xa9\xed" + b"\xac" * 32, b"\xac" * 252,
    b"\xac" * 253, b"\x00" * 300 + b"\xad", push_data(b"\xac" * 300) + b"\xac", push_data(b"\xae" * 70) * 2 + b"\xac",
    push_data(b"\xae" * 70) * 2, push_data(b"\xae" * 70) + b"\x4b\xac", b"\x48" + b"\xac" * 72, b"\x48" + b"\xac" * 73,
]  # fmt: skip


def outputs(scripts: list[bytes]) -> int:
    block = parse_block(assemble(bytes(80), [spend(A, value=0, txouts=[make_txout(1, s) for s in scripts])]))
    return count_output_sigops(block.raw, block.out_pos)


def inputs(scripts: list[bytes]) -> int:
    tx = spend(*[A] * len(scripts), value=0, script_sigs=scripts)
    block = parse_block(assemble(bytes(80), [tx]))
    return count_input_sigops(block.raw, block.in_pos)


@pytest.mark.parametrize("script", SCRIPTS)
def test_templates_agree_with_the_walk(script: bytes) -> None:
    """Nothing behind a script may leak into its count, so every one has a neighbour full of CHECKSIGs."""
    expected = count_sigops(script, False)
    assert outputs([script, b"\xac"]) == inputs([script, b"\xac"]) == expected + 1


def test_random_scripts_agree_with_the_walk() -> None:
    random = Random(31)
    common = b"\x00\x14\x20\x21\x4b\x4c\x4d\x4e\x51\x53\x76\x87\x88\xa9\xac\xad\xae\xaf"
    for _ in range(2000):
        script = bytes(random.choices(common, k=random.choice((1, 2, 3, 22, 23, 25, 34, 40, 260))))
        expected = count_sigops(script, False)
        assert outputs([script, b"\xac"]) == inputs([script, b"\xac"]) == expected + 1


def test_block_count_is_the_sum_and_kept() -> None:
    txs = [
        spend(NULL_OUTPOINT, value=0, script_sigs=[b"\xac\xac"], script_pubkey=b"\xac"),
        spend(A, value=0, script_pubkey=b"\xae"),
    ]
    block = parse_block(assemble(bytes(80), txs))
    assert [tx_legacy_sigops(block, i) for i in range(2)] == [3, 20]
    assert block.legacy_sigops == -1
    assert block_legacy_sigops(block) == block.legacy_sigops == 23


def p2sh(redeem: bytes) -> bytes:
    return make_coin(1, False, 1, b"\xa9\x14" + hash160(redeem) + b"\x87")


P2WPKH = b"\x00\x14" + bytes(20)
P2WSH = b"\x00\x20" + sha256(MULTISIG).digest()


@pytest.mark.parametrize(
    ("coin", "script_sig", "witness", "cost"),
    [
        (make_coin(1, False, 1, P2WPKH), b"", [b"sig", KEY], 1),
        (make_coin(1, False, 1, P2WPKH), b"", [], 1),
        (make_coin(1, False, 1, P2WSH), b"", [b"", MULTISIG], 3),
        (make_coin(1, False, 1, P2WSH), b"", [], 0),
        (make_coin(1, False, 1, b"\x00\x15" + bytes(21)), b"", [MULTISIG], 0),
        (make_coin(1, False, 1, b"\x51\x20" + bytes(32)), b"", [MULTISIG], 0),
        (make_coin(1, False, 1, b"\x60\x14" + bytes(20)), b"", [MULTISIG], 0),
        (p2sh(MULTISIG), push_data(MULTISIG), [], 12),
        (p2sh(b"\x53" + MULTISIG), push_data(b"\x53\xae\xae"), [], 4 * 23),
        (p2sh(MULTISIG), b"\xac" + push_data(MULTISIG), [], 0),  # not of pushes only
        (p2sh(MULTISIG), push_data(MULTISIG) + b"\x60", [], 0),  # the last push is a number
        (p2sh(MULTISIG), push_data(MULTISIG)[:-1], [], 0),
        (p2sh(P2WPKH), push_data(P2WPKH), [b"sig", KEY], 1),
        (p2sh(P2WSH), push_data(P2WSH), [MULTISIG], 3),
        (p2sh(P2WSH), b"\x00" + push_data(P2WSH), [MULTISIG], 3),
        (p2sh(P2WSH), b"\x61" + push_data(P2WSH), [MULTISIG], 0),
        (make_coin(1, False, 1, b"\xa9\x14" + bytes(20) + b"\x88"), push_data(MULTISIG), [], 0),
        (make_coin(1, False, 1, b""), push_data(MULTISIG), [MULTISIG], 0),
    ],
)
def test_cost_of_a_coin(coin: bytes, script_sig: bytes, witness: list[bytes], cost: int) -> None:
    assert coin_sigop_cost(coin, script_sig, witness, BOTH) == cost
    legacy = count_sigops(script_sig, False) * 4
    tx = spend(A, value=0, script_sigs=[script_sig], witnesses=[witness] if witness else None)
    assert transaction_sigop_cost(tx, [coin], BOTH) == cost + legacy
    assert transaction_sigop_cost(tx, [coin], 0) == legacy


def test_cost_without_the_rules() -> None:
    assert coin_sigop_cost(p2sh(MULTISIG), push_data(MULTISIG), [], 0) == 0
    assert coin_sigop_cost(p2sh(P2WPKH), push_data(P2WPKH), [], VERIFY_P2SH) == 0
    assert coin_sigop_cost(make_coin(1, False, 1, P2WPKH), b"", [], VERIFY_P2SH) == 0


def test_coinbase_counts_legacy_only() -> None:
    coinbase = spend(NULL_OUTPOINT, value=0, script_sigs=[b"\xac\xac"])
    assert transaction_sigop_cost(coinbase, [], BOTH) == 8


def test_last_witness_items() -> None:
    stacks = [[], [b""], [b"a", b"b" * 300], [b"x"] * 253 + [b"last"]]
    with_witness = spend(*[A] * 4, value=0, witnesses=stacks)
    block = parse_block(assemble(bytes(80), [with_witness, Tx(1, [A], [b""], [0], [make_txout(0, b"")])]))
    assert last_witness_items(block, 0) == [None, b"", b"b" * 300, b"last"]
    assert last_witness_items(block, 1) == [None]
