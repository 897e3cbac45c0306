"""Signature and execution caches: bounds, keys, and that they never change a verdict."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.script import signatures
from btcnode.script.caches import ENTRY_BYTES, GenerationSet, ScriptExecutionCache
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS
from btcnode.script.verify import verify_transaction
from btcnode.testing.templates import TEMPLATES, signed_tx

SECRET, MESSAGE = b"\7" * 32, sha256(b"message").digest()


def _digest(number: int) -> bytes:
    return sha256(number.to_bytes(4, "big")).digest()


def test_generations_bound_the_size_and_keep_what_is_used() -> None:
    entries = GenerationSet(100 * ENTRY_BYTES)
    for number in range(1000):
        entries.add(_digest(number))
        assert _digest(0) in entries, number  # asked for every time, so it moves on
        assert len(entries) <= 100
    assert _digest(999) in entries
    assert _digest(950) in entries
    assert _digest(800) not in entries


def test_a_cache_has_a_minimum() -> None:
    with pytest.raises(ValueError, match="at least"):
        GenerationSet(ENTRY_BYTES)
    with pytest.raises(ValueError, match="at least"):
        ScriptExecutionCache(2 * ENTRY_BYTES)


def test_execution_cache_is_keyed_by_wtxid_and_flags() -> None:
    cache = ScriptExecutionCache()
    cache.add(MESSAGE, 5)
    assert cache.contains(MESSAGE, 5)
    assert not cache.contains(MESSAGE, 4)
    assert not cache.contains(MESSAGE[::-1], 5)
    assert cache.contains_all([MESSAGE], 5) and not cache.contains_all([MESSAGE], 4)
    assert not cache.contains_all([MESSAGE, MESSAGE[::-1]], 5)


def test_other_flags_take_the_place_of_those_that_came_first() -> None:
    cache = ScriptExecutionCache()
    for flags in (1, 2, 3):
        cache.add(MESSAGE, flags)
    assert [cache.contains(MESSAGE, flags) for flags in (1, 2, 3)] == [False, True, True]
    assert len(cache) == 2
    cache.add(MESSAGE, 2)
    cache.add(MESSAGE, 4)
    assert [cache.contains(MESSAGE, flags) for flags in (2, 3, 4)] == [True, False, True]


def test_all_flags_share_the_room() -> None:
    cache = ScriptExecutionCache(40 * ENTRY_BYTES)
    for number in range(200):
        for flags in (1, 2):
            cache.add(_digest(number), flags)
        assert len(cache) <= 40
    assert cache.contains(_digest(199), 1) and not cache.contains(_digest(100), 1)


class _Counting:
    """Counts the inputs whose signatures reach libsecp256k1."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(signatures, name)


def test_a_transaction_from_the_mempool_is_not_verified_again() -> None:
    spendables = [TEMPLATES[name](n) for n, name in enumerate(TEMPLATES)]
    txouts = [make_txout(1000, spendable.script_pubkey) for spendable in spendables]
    outpoints = [bytes(32) + n.to_bytes(4, "little") for n in range(len(txouts))]
    tx = signed_tx(list(zip(outpoints, txouts, spendables, strict=True)), [make_txout(1, b"\x51")])
    executions, counting = ScriptExecutionCache(), _Counting()
    assert verify_transaction(tx.raw, txouts, STANDARD_VERIFY_FLAGS, executions, counting) is None
    assert counting.calls == len(TEMPLATES)
    assert verify_transaction(tx.raw, txouts, MANDATORY_VERIFY_FLAGS, executions, counting) is None
    assert len(executions) == 2
    counting = _Counting()
    assert verify_transaction(tx.raw, txouts, MANDATORY_VERIFY_FLAGS, executions, counting) is None
    assert counting.calls == 0
    assert verify_transaction(tx.raw, txouts, 0, executions, counting) is None
    assert counting.calls > 0


def test_a_failed_transaction_is_not_remembered() -> None:
    spendable = TEMPLATES["p2wpkh"](1)
    txout = make_txout(1000, spendable.script_pubkey)
    tx = signed_tx([(bytes(36), txout, spendable)], [make_txout(1, b"\x51")])
    executions = ScriptExecutionCache()
    wrong = make_txout(1001, spendable.script_pubkey)
    for _ in range(2):
        assert verify_transaction(tx.raw, [wrong], MANDATORY_VERIFY_FLAGS, executions) is not None
    assert len(executions) == 0
