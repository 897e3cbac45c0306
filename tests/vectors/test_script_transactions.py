"""Core's tx_valid.json and tx_invalid.json with the meaning of flag subsets, and sighash.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import from_display, to_display
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.flags import ALL_VERIFY_FLAGS
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import verify_transaction
from tests.lib.script_text import ALL_FLAG_BITS, assemble, fill_flags, parse_flags, trim_flags, verify_both_ways

VALID, INVALID, INVALID_WITHOUT_SCRIPTS, SIGHASHES = 121, 93, 9, 500


def load(path: Path) -> list[list[Any]]:
    return [row for row in json.loads(path.read_text()) if isinstance(row[0], list)]


def parse_row(row: list[Any]) -> tuple[Tx, list[bytes], int]:
    """Transaction, spent txouts in the order of its inputs, and the flags named."""
    outputs: dict[bytes, bytes] = {}
    for txid, index, script, *amount in row[0]:
        outpoint = from_display(txid) + (index & 0xFFFFFFFF).to_bytes(4, "little")
        outputs[outpoint] = make_txout(amount[0] if amount else 0, assemble(script))
    tx = Tx.parse(bytes.fromhex(row[1]))
    return tx, [outputs.get(prevout, b"") for prevout in tx.prevouts], parse_flags(row[2])


def is_sane(tx: Tx) -> bool:
    """The context-free rules that the vectors marked BADTX break."""
    values = [output.value for output in tx.outputs]
    if not tx.prevouts or not values or any(not 0 <= v <= MAX_MONEY for v in values) or sum(values) > MAX_MONEY:
        return False
    if len(set(tx.prevouts)) != len(tx.prevouts) or len(tx.stripped()) * 4 > 4_000_000:
        return False
    if tx.is_coinbase:
        return 2 <= len(tx.script_sigs[0]) <= 100
    return NULL_OUTPOINT not in tx.prevouts


def is_valid(tx: Tx, spent: list[bytes], flags: int) -> bool:
    errors = [verify_both_ways(tx, i, spent, flags) for i in range(len(spent))]
    valid = not any(errors)
    assert valid == (verify_transaction(tx, spent, flags) is None)
    return valid


def test_tx_valid(vectors: Path) -> None:
    rows = load(vectors / "core/tx_valid.json")
    assert len(rows) == VALID
    for row in rows:
        tx, spent, excluded = parse_row(row)
        assert is_sane(tx)
        flags = trim_flags(ALL_VERIFY_FLAGS & ~excluded)
        assert is_valid(tx, spent, flags), row
        for bit in ALL_FLAG_BITS:
            assert is_valid(tx, spent, trim_flags(flags & ~bit)), (row, bit)
            assert is_valid(tx, spent, trim_flags(flags & bit)), (row, bit)
            if excluded & bit:  # the exclusion list is minimal
                assert not is_valid(tx, spent, trim_flags(ALL_VERIFY_FLAGS & ~(excluded & ~bit))), (row, bit)


def test_tx_invalid(vectors: Path) -> None:
    rows = load(vectors / "core/tx_invalid.json")
    assert len(rows) == INVALID
    bad = 0
    for row in rows:
        if row[2] == "BADTX":
            bad += 1
            assert not is_sane(Tx.parse(bytes.fromhex(row[1]))), row
            continue
        tx, spent, flags = parse_row(row)
        assert is_sane(tx), row
        flags = fill_flags(flags)
        assert not is_valid(tx, spent, flags), row
        for bit in ALL_FLAG_BITS:  # more flags cannot help, and none of those named is superfluous
            assert not is_valid(tx, spent, fill_flags(flags | bit)), (row, bit)
            if flags & bit:
                reduced = trim_flags(flags & ~bit)
                assert reduced == flags or is_valid(tx, spent, reduced), (row, bit)
    assert bad == INVALID_WITHOUT_SCRIPTS


def test_sighash(vectors: Path) -> None:
    rows = [row for row in json.loads((vectors / "core/sighash.json").read_text()) if len(row) > 1]
    assert len(rows) == SIGHASHES
    for raw, script, index, hash_type, expected in rows:
        tx = Tx.parse(bytes.fromhex(raw))
        ctx = SighashContext(tx, [b""] * len(tx.prevouts))
        assert to_display(ctx.legacy(index, bytes.fromhex(script), hash_type)) == expected
