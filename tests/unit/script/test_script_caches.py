"""Signature and execution caches: bounds, keys, and that they never change a verdict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.script import caches, signatures
from btcnode.script.caches import ENTRY_BYTES, GenerationSet, ScriptExecutionCache, SignatureCache
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS
from btcnode.script.verify import verify_transaction
from btcnode.testing.templates import TEMPLATES, signed_tx

SALT = bytes(range(32))
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


def test_a_cache_has_a_minimum_and_a_salt() -> None:
    with pytest.raises(ValueError, match="at least"):
        GenerationSet(ENTRY_BYTES)
    for kind in (SignatureCache, ScriptExecutionCache):
        with pytest.raises(ValueError, match="salt"):
            kind(b"short")


def test_signatures_are_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, real: Callable[[bytes, bytes, bytes], bool], *args: Any) -> bool:
        calls.append(name)
        return real(*args)

    for name in ("verify_ecdsa", "verify_ecdsa_strict", "verify_schnorr"):
        monkeypatch.setattr(caches, name, partial(counted, name, getattr(signatures, name)))
    cache = SignatureCache(SALT)
    key, der = signatures.pubkey_create(SECRET), signatures.sign_ecdsa(SECRET, MESSAGE)
    xonly, schnorr = signatures.xonly(SECRET), signatures.sign_schnorr(SECRET, MESSAGE)
    for _ in range(3):
        assert cache.verify_ecdsa(key, der, MESSAGE)
        assert cache.verify_ecdsa_strict(key, der, MESSAGE, True)
        assert cache.verify_ecdsa_strict(key, der, MESSAGE, False)
        assert cache.verify_schnorr(xonly, schnorr, MESSAGE)
    assert sorted(calls) == ["verify_ecdsa", "verify_ecdsa_strict", "verify_schnorr"]
    assert len(cache) == 3


def test_failures_are_not_remembered() -> None:
    cache = SignatureCache(SALT)
    key, der = signatures.pubkey_create(SECRET), signatures.sign_ecdsa(SECRET, MESSAGE)
    other = MESSAGE[::-1]
    for _ in range(2):
        assert not cache.verify_ecdsa(key, der, other)
        assert not cache.verify_ecdsa_strict(key, der, other, False)
        assert not cache.verify_schnorr(key[1:], bytes(64), other)
    assert len(cache) == 0


def test_a_lax_success_is_not_a_strict_one() -> None:
    cache = SignatureCache(SALT)
    key, der = signatures.pubkey_create(SECRET), signatures.sign_ecdsa(SECRET, MESSAGE)
    assert cache.verify_ecdsa(key, der + b"\0", MESSAGE)
    assert not cache.verify_ecdsa_strict(key, der + b"\0", MESSAGE, False)
    s = der[6 + der[3] :]
    high = b"\0" + (signatures.CURVE_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    body = der[2 : 4 + der[3]] + b"\x02" + bytes([len(high)]) + high
    high_der = b"\x30" + bytes([len(body)]) + body
    assert cache.verify_ecdsa_strict(key, high_der, MESSAGE, False)
    assert not cache.verify_ecdsa_strict(key, high_der, MESSAGE, True)


def test_execution_cache_is_keyed_by_wtxid_and_flags() -> None:
    cache = ScriptExecutionCache(SALT)
    cache.add(MESSAGE, 5)
    assert cache.contains(MESSAGE, 5)
    assert not cache.contains(MESSAGE, 4)
    assert not cache.contains(MESSAGE[::-1], 5)
    assert not ScriptExecutionCache(SALT[::-1]).contains(MESSAGE, 5)


class _Counting:
    """Counts what reaches libsecp256k1."""

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
    executions, sigs = ScriptExecutionCache(SALT), SignatureCache(SALT)
    assert verify_transaction(tx.raw, txouts, STANDARD_VERIFY_FLAGS, executions, sigs) is None
    remembered = len(sigs)
    assert remembered == len(TEMPLATES) + 2  # two of the templates have two signatures
    assert verify_transaction(tx.raw, txouts, MANDATORY_VERIFY_FLAGS, executions, sigs) is None
    assert len(sigs) == remembered
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
    executions = ScriptExecutionCache(SALT)
    wrong = make_txout(1001, spendable.script_pubkey)
    for _ in range(2):
        assert verify_transaction(tx.raw, [wrong], MANDATORY_VERIFY_FLAGS, executions) is not None
    assert len(executions) == 0
