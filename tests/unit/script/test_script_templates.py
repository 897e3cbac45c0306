"""Spends that look like a template but are not: the fast path declines, the interpreter gives Core's error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.errors import ScriptError
from btcnode.script.flags import (
    MANDATORY_VERIFY_FLAGS,
    VERIFY_LOW_S,
    VERIFY_NULLFAIL,
    VERIFY_STRICTENC,
    VERIFY_WITNESS_PUBKEYTYPE,
)
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext
from btcnode.script.signatures import CURVE_ORDER, sign_ecdsa
from btcnode.script.templates import fast_verify
from btcnode.script.verify import verify_input
from tests.lib import reference_sighash as reference
from tests.lib.script_builder import KEYS, Key

A, B, C = KEYS[:3]
PLACES = ("bare", "p2sh", "p2wsh", "p2sh-p2wsh")
Sign = Callable[[Key], bytes]


def _signed_by_a(dummy: list[bytes], sign: Callable[[Any], bytes]) -> list[bytes]:
    return [*dummy, sign(A)]


def _multisig(needed: int, publics: list[bytes], total: int | None = None) -> bytes:
    counts = bytes((0x50 + needed,)), bytes((0x50 + (len(publics) if total is None else total),))
    return counts[0] + b"".join(map(push_data, publics)) + counts[1] + b"\xae"


def _spend(
    place: str, script: bytes, arguments: Callable[[Sign], list[bytes]], *, high_s: bool = False
) -> tuple[Tx, list[bytes]]:
    program = b"\0\x20" + sha256(script).digest()
    outputs = {
        "bare": script,
        "p2sh": b"\xa9\x14" + hash160(script) + b"\x87",
        "p2wsh": program,
        "p2sh-p2wsh": b"\xa9\x14" + hash160(program) + b"\x87",
    }
    spent = [make_txout(1000, outputs[place])]
    blank = Tx(2, [bytes(36)], [b""], [0], [make_txout(900, b"\x51")])

    def sign(key: Key) -> bytes:
        if "wsh" in place:
            digest = reference.segwit_v0(blank, 0, script, spent[0][:8], 1)
        else:
            digest = reference.legacy(blank, 0, script, 1)
        der = sign_ecdsa(key.secret, digest)
        return (_raise_s(der) if high_s else der) + b"\x01"

    items = arguments(sign)
    script_sig, witness = b"", []
    if "wsh" in place:
        witness = [*items, script]
        script_sig = push_data(program) if place == "p2sh-p2wsh" else b""
    else:
        script_sig = b"".join(map(push_data, items)) + (push_data(script) if place == "p2sh" else b"")
    return Tx(2, blank.prevouts, [script_sig], [0], blank.txouts, [witness]), spent


def _raise_s(der: bytes) -> bytes:
    s = (CURVE_ORDER - int.from_bytes(der[6 + der[3] :], "big")).to_bytes(33, "big")
    body = der[2 : 4 + der[3]] + b"\x02\x21" + s
    return b"\x30" + bytes((len(body),)) + body


def _verdict(tx: Tx, spent: list[bytes], extra: int = 0) -> tuple[bool, ScriptError | None]:
    flags = MANDATORY_VERIFY_FLAGS | extra
    return fast_verify(tx, 0, spent[0], flags, SighashContext(tx, spent)), verify_input(tx, 0, spent, flags)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("signers", [(A, B), (A, C), (B, C)])
def test_any_two_of_three_in_order(place: str, signers: tuple[Key, Key]) -> None:
    script = _multisig(2, [key.compressed for key in (A, B, C)])
    assert _verdict(*_spend(place, script, lambda sign: [b"", *map(sign, signers)])) == (True, None)
    reverse = _spend(place, script, lambda sign: [b"", *map(sign, reversed(signers))])
    assert _verdict(*reverse) == (False, ScriptError.EVAL_FALSE)
    assert _verdict(*reverse, VERIFY_NULLFAIL) == (False, ScriptError.NULLFAIL)


@pytest.mark.parametrize("place", PLACES)
def test_one_signature_does_not_count_twice(place: str) -> None:
    script = _multisig(2, [A.compressed, B.compressed])
    assert _verdict(*_spend(place, script, lambda sign: [b"", sign(A), sign(A)])) == (False, ScriptError.EVAL_FALSE)
    assert _verdict(*_spend(place, script, lambda sign: [b"", sign(B), sign(B)])) == (False, ScriptError.EVAL_FALSE)
    same = _multisig(2, [A.compressed, A.compressed])
    assert _verdict(*_spend(place, same, lambda sign: [b"", sign(A), sign(A)])) == (True, None)


@pytest.mark.parametrize("place", PLACES)
def test_too_few_and_too_many_signatures(place: str) -> None:
    script = _multisig(2, [A.compressed, B.compressed, C.compressed])
    few = _verdict(*_spend(place, script, lambda sign: [b"", sign(A)]))
    assert few[0] is False
    assert few[1] is not None
    many = _verdict(*_spend(place, script, lambda sign: [b"", sign(A), sign(B), sign(C)]))
    assert many == (False, ScriptError.SIG_NULLDUMMY)  # the first signature stands where the dummy belongs


@pytest.mark.parametrize("place", PLACES)
def test_the_count_of_keys_must_be_right(place: str) -> None:
    script = _multisig(1, [A.compressed, B.compressed], total=1)
    assert _verdict(*_spend(place, script, lambda sign: [b"", sign(A)]))[0] is False
    assert _verdict(*_spend(place, script, lambda sign: [b"", sign(B)]))[0] is False


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("odd", [b"\x05" + bytes(32), A.hybrid, b"\x02" * 34])
def test_a_key_of_another_form_among_the_others(place: str, odd: bytes) -> None:
    """Core looks at the last key first: what the fast path would not even try can still break a rule."""
    script = _multisig(2, [A.compressed, B.compressed, odd])
    spend = _spend(place, script, lambda sign: [b"", sign(A), sign(B)])
    assert _verdict(*spend) == (False, None)
    assert _verdict(*spend, VERIFY_STRICTENC) == (False, ScriptError.PUBKEYTYPE)


def test_uncompressed_keys_only_outside_witnesses() -> None:
    script = _multisig(1, [A.compressed, B.uncompressed])
    for place in PLACES:
        spend = _spend(place, script, lambda sign: [b"", sign(A)])
        assert _verdict(*spend) == ("wsh" not in place, None)
        policy = _verdict(*spend, VERIFY_WITNESS_PUBKEYTYPE)
        assert policy == ((False, ScriptError.WITNESS_PUBKEYTYPE) if "wsh" in place else (True, None))


@pytest.mark.parametrize("place", PLACES)
def test_high_s_is_valid_but_not_under_low_s(place: str) -> None:
    multisig = _multisig(1, [A.compressed, B.compressed])
    single = push_data(A.compressed) + b"\xac"
    for script, dummy in ((multisig, [b""]), (single, [])):
        spend = _spend(place, script, partial(_signed_by_a, dummy), high_s=True)
        fast, error = _verdict(*spend)
        assert error is None
        assert fast or (script == single and place == "p2sh")
        assert _verdict(*spend, VERIFY_LOW_S) == (False, ScriptError.SIG_HIGH_S)


@pytest.mark.parametrize("nested", [False, True])
def test_high_s_of_key_hashes(nested: bool) -> None:
    code = reference.p2pkh_code(hash160(A.compressed))
    program = b"\0\x14" + hash160(A.compressed)
    output = b"\xa9\x14" + hash160(program) + b"\x87" if nested else program
    spent = [make_txout(1000, output)]
    blank = Tx(2, [bytes(36)], [push_data(program) if nested else b""], [0], [make_txout(900, b"\x51")])
    sig = _raise_s(sign_ecdsa(A.secret, reference.segwit_v0(blank, 0, code, spent[0][:8], 1))) + b"\x01"
    tx = Tx(2, blank.prevouts, blank.script_sigs, [0], blank.txouts, [[sig, A.compressed]])
    assert _verdict(tx, spent) == (True, None)
    assert _verdict(tx, spent, VERIFY_LOW_S) == (False, ScriptError.SIG_HIGH_S)
    legacy = [make_txout(1000, code)]
    sig = _raise_s(sign_ecdsa(A.secret, reference.legacy(blank, 0, code, 1))) + b"\x01"
    tx = Tx(2, blank.prevouts, [push_data(sig) + push_data(A.compressed)], [0], blank.txouts)
    assert _verdict(tx, legacy) == (True, None)
    assert _verdict(tx, legacy, VERIFY_LOW_S) == (False, ScriptError.SIG_HIGH_S)


def test_negative_amounts_are_unknown_amounts() -> None:
    """Core's signature checker refuses them in witness v0; no coin has one, but mutated test data has."""
    script = _multisig(1, [A.compressed])
    blank = Tx(2, [bytes(36)], [b""], [0], [make_txout(900, b"\x51")])
    for value, expected in ((0, (True, None)), (-1, (False, ScriptError.EVAL_FALSE))):
        spent = [make_txout(value, b"\0\x20" + sha256(script).digest())]
        sig = sign_ecdsa(A.secret, reference.segwit_v0(blank, 0, script, spent[0][:8], 1)) + b"\x01"
        tx = Tx(2, blank.prevouts, [b""], [0], blank.txouts, [[b"", sig, script]])
        assert _verdict(tx, spent) == expected
