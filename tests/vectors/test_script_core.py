"""Core's script_tests.json: every row with its exact error name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from btcnode.script.errors import ScriptError
from btcnode.script.sighash import tapleaf_hash
from btcnode.script.signatures import taproot_tweak_pubkey, xonly
from btcnode.script.verify import verify_transaction
from tests.lib.script_text import assemble, credit_and_spend, verify_both_ways

ROWS = 1222
ERROR_NAMES = 39  # different outcomes that occur, OK not counted


@pytest.fixture(scope="module")
def rows(vectors: Path) -> list[list[Any]]:
    return [row for row in json.loads((vectors / "core/script_tests.json").read_text()) if len(row) > 1]


def outcome(row: list[Any]) -> tuple[ScriptError | None, str]:
    """Verify a row; returns the error (None for success) and the one expected."""
    witness: list[bytes] = []
    value = 0
    if isinstance(row[0], list):
        *items, amount = row[0]
        value = round(amount * 1e8)
        row = row[1:]
        internal = xonly(bytes(31) + b"\x01")
        script = b""
        for item in items:
            if item.startswith("#SCRIPT#"):
                script = assemble(item.removeprefix("#SCRIPT#"))
                witness.append(script)
            elif item == "#CONTROLBLOCK#":
                output, parity = taproot_tweak_pubkey(internal, tapleaf_hash(0xC0, script))
                witness.append(bytes((0xC0 | parity,)) + internal)
            else:
                witness.append(bytes.fromhex(item))
        if "#TAPROOTOUTPUT#" in row[1]:
            output, _ = taproot_tweak_pubkey(internal, tapleaf_hash(0xC0, script))
            row = [row[0], row[1].replace("#TAPROOTOUTPUT#", "0x" + output.hex()), *row[2:]]
    script_sig, script_pubkey, flags, expected = row[:4]
    spend, spent, bits = credit_and_spend(assemble(script_sig), assemble(script_pubkey), witness, value, flags)
    return verify_both_ways(spend, 0, spent, bits), expected


def test_all_rows(rows: list[list[Any]]) -> None:
    wrong = []
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows):
        error, expected = outcome(row)
        got = "OK" if error is None else error.value
        seen[expected] += 1
        if got != expected:
            wrong.append((number, row, got))
    assert not wrong
    assert sum(seen.values()) == ROWS
    assert len(seen) == ERROR_NAMES + 1


def test_the_vectors_decide(rows: list[list[Any]]) -> None:
    """The harness itself can tell failures apart: flipping the expectation of a row is noticed."""
    results = {outcome(row)[0] for row in rows}
    assert None in results and ScriptError.EVAL_FALSE in results and len(results) == ERROR_NAMES + 1


def test_transaction_entry_agrees(rows: list[list[Any]]) -> None:
    spend, spent, flags = credit_and_spend(b"\x51", b"\x69", [], 0, "P2SH")
    failure = verify_transaction(spend.raw, spent, flags)
    assert failure is not None and (failure.input_index, failure.error) == (0, ScriptError.EVAL_FALSE)
