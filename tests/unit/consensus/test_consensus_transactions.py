from __future__ import annotations

from itertools import product

import pytest

from btcnode.consensus.transactions import (
    check_block_transactions,
    check_transaction,
    check_tx_inputs,
    format_money,
    stripped_tx_size,
)
from btcnode.errors import RuleViolation
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_coin, make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.testing.blocks import assemble
from tests.lib.mini_chain import spend

A, B = b"\x01" * 36, b"\x02" * 36
OK = make_txout(1, b"\x51")
BIG = make_txout(MAX_MONEY, b"\x51")

TRANSACTIONS = [
    (spend(A, value=1), None),
    (spend(A, value=0, txouts=[]), "bad-txns-vout-empty"),
    (spend(A, value=0, script_pubkey=bytes(999_936)), None),
    (spend(A, value=0, script_pubkey=bytes(999_937)), "bad-txns-oversize"),
    (spend(A, value=-1, script_pubkey=bytes(999_937)), "bad-txns-oversize"),
    (spend(A, value=0, txouts=[OK, make_txout(-1, b""), make_txout(2**63 - 1, b"")]), "bad-txns-vout-negative"),
    (spend(A, value=0, txouts=[OK, make_txout(MAX_MONEY + 1, b""), make_txout(-1, b"")]), "bad-txns-vout-toolarge"),
    (spend(A, value=0, txouts=[BIG]), None),
    (spend(A, value=0, txouts=[BIG, OK, make_txout(-1, b"")]), "bad-txns-txouttotal-toolarge"),
    (spend(A, B, value=1), None),
    (spend(A, B, A, value=1), "bad-txns-inputs-duplicate"),
    (spend(A, A, value=-1), "bad-txns-vout-negative"),
    (spend(NULL_OUTPOINT, value=1, script_sigs=[b"\0"]), "bad-cb-length"),
    (spend(NULL_OUTPOINT, value=1, script_sigs=[bytes(2)]), None),
    (spend(NULL_OUTPOINT, value=1, script_sigs=[bytes(100)]), None),
    (spend(NULL_OUTPOINT, value=1, script_sigs=[bytes(101)]), "bad-cb-length"),
    (spend(NULL_OUTPOINT, value=1, script_sigs=[bytes(300)]), "bad-cb-length"),
    (spend(NULL_OUTPOINT, NULL_OUTPOINT, value=1), "bad-txns-inputs-duplicate"),
    (spend(A, NULL_OUTPOINT, value=1), "bad-txns-prevout-null"),
    (spend(bytes(36), value=1), None),  # only the number ffffffff makes a zero hash null
    (Tx.parse(bytes(10)), "bad-txns-vin-empty"),
]


@pytest.mark.parametrize(("tx", "code"), TRANSACTIONS)
def test_check_transaction(tx: Tx, code: str | None) -> None:
    assert code_of(lambda: check_transaction(tx)) == code


def code_of(check: object) -> str | None:
    try:
        check()  # type: ignore[operator]
    except RuleViolation as violation:
        return violation.code
    return None


def test_every_pair_in_a_block_fails_as_its_first_bad_transaction() -> None:
    """The quick look over the whole block and the careful one over each transaction agree."""
    coinbase = spend(NULL_OUTPOINT, value=1, script_sigs=[bytes(2)])
    small = [(tx, code) for tx, code in TRANSACTIONS if len(tx.raw) < 1000]
    for (first, first_code), (second, second_code) in product(small, small):
        if first.is_coinbase or second.is_coinbase:
            continue
        block = parse_block(assemble(bytes(80), [coinbase, first, second]))
        expected = first_code or second_code
        if expected is None:
            check_block_transactions(block)
            continue
        with pytest.raises(RuleViolation) as caught:
            check_block_transactions(block)
        assert caught.value.code == expected
        txid = (first if first_code else second).txid
        assert caught.value.debug == f"Transaction check failed (tx hash {to_display(txid)}) "
    for tx, code in small:
        if tx.is_coinbase:
            block = parse_block(assemble(bytes(80), [tx, spend(A, value=1)]))
            assert code_of(lambda block=block: check_block_transactions(block)) == code


def test_stripped_sizes() -> None:
    txs = [spend(A, value=1), spend(A, B, value=1, witnesses=[[b"xyz"], []]), Tx.parse(bytes(10))]
    block = parse_block(assemble(bytes(80), txs))
    assert [stripped_tx_size(block, i) for i in range(3)] == [len(tx.stripped()) for tx in txs]


def coin(value: int, height: int = 1, coinbase: bool = False) -> bytes:
    return make_coin(height, coinbase, value, b"\x51")


def test_inputs_give_the_fee() -> None:
    assert check_tx_inputs([coin(5), coin(7, 100, True)], 10, 200) == 2
    assert check_tx_inputs([coin(MAX_MONEY)], 0, 200) == MAX_MONEY


@pytest.mark.parametrize(
    ("coins", "value_out", "code", "debug"),
    [
        ([coin(1, 150, True), None], 0, "bad-txns-inputs-missingorspent", "CheckTxInputs: inputs missing/spent"),
        (
            [coin(1), coin(1, 101, True), coin(-1)],
            0,
            "bad-txns-premature-spend-of-coinbase",
            "tried to spend coinbase at depth 99",
        ),
        ([coin(-1), coin(1, 101, True)], 0, "bad-txns-inputvalues-outofrange", ""),
        ([coin(MAX_MONEY + 1)], 0, "bad-txns-inputvalues-outofrange", ""),
        ([coin(MAX_MONEY), coin(1)], 0, "bad-txns-inputvalues-outofrange", ""),
        ([coin(150_000_000)], 250_000_001, "bad-txns-in-belowout", "value in (1.50) < value out (2.50000001)"),
    ],
)
def test_bad_inputs(coins: list[bytes | None], value_out: int, code: str, debug: str) -> None:
    with pytest.raises(RuleViolation) as caught:
        check_tx_inputs(coins, value_out, 200)
    assert (caught.value.code, caught.value.debug) == (code, debug)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (1, "0.00000001"), (150_000_000, "1.50"), (-1, "-0.00000001"), (12_345_678_900, "123.456789")],
)
def test_money(value: int, text: str) -> None:
    assert format_money(value) == text
