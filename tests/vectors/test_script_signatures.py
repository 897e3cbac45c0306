"""Signatures against the published vectors: BIP340, Wycheproof, bitcoin-kmp's recoverable ones, laxly read DER."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from btcnode.script import signatures as sg
from btcnode.script.encoding import is_valid_signature_encoding
from tests.lib.der import to_der


def test_bip340_vectors(vectors: Path) -> None:
    with (vectors / "bips" / "bip340_test-vectors.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 19
    signed = 0
    for row in rows:
        key, message = bytes.fromhex(row["public key"]), bytes.fromhex(row["message"])
        signature = bytes.fromhex(row["signature"])
        expected = row["verification result"] == "TRUE"
        assert sg.verify_schnorr(key, signature, message) is expected, row
        if row["secret key"]:
            secret = bytes.fromhex(row["secret key"])
            assert sg.xonly(secret) == key
            assert sg.sign_schnorr(secret, message, bytes.fromhex(row["aux_rand"])) == signature
            signed += 1
    assert signed == 8


def test_wycheproof_ecdsa(vectors: Path) -> None:
    path = vectors / "core" / "wycheproof" / "ecdsa_secp256k1_sha256_bitcoin_test.json"
    groups = json.loads(path.read_text())["testGroups"]
    counts = {"valid": 0, "invalid": 0}
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["uncompressed"])
        for case in group["tests"]:
            signature = bytes.fromhex(case["sig"])
            message = hashlib.sha256(bytes.fromhex(case["msg"])).digest()
            strict = is_valid_signature_encoding(signature + b"\x01")
            verdict = strict and sg.is_low_der_s(signature) and sg.verify_ecdsa(key, signature, message)
            assert verdict is (case["result"] == "valid"), case
            counts[case["result"]] += 1
    assert counts == {"valid": 162, "invalid": 301}


def test_recoverable_signatures(vectors: Path) -> None:
    rows, row = [], {}
    for line in (vectors / "bitcoin-kmp" / "recid.txt").read_text().splitlines():
        if " = " in line:
            name, value = line.split(" = ")
            row[name.strip()] = value.strip()
        if "recid" in row:
            rows.append(row)
            row = {}
    assert len(rows) == 1000
    for row in rows:
        secret, message, key = (bytes.fromhex(row[name]) for name in ("privkey", "message", "pubkey"))
        halves, recid = bytes.fromhex(row["sig"]), int(row["recid"])
        compact = halves[31::-1] + halves[63:31:-1]  # the file has R and S in little-endian order
        der = to_der(compact)
        assert sg.pubkey_create(secret) == key
        assert sg.sign_ecdsa(secret, message) == der
        assert sg.verify_ecdsa(key, der, message)
        assert sg.recover_compact(compact, recid, message) == key
        assert sg.recover_compact(compact, recid ^ 1, message) != key
        assert not sg.verify_ecdsa(key, der, message[::-1])


SECRET, MESSAGE = bytes(range(1, 33)), bytes(range(32))


def _integers(der: bytes) -> tuple[bytes, bytes]:
    size = der[3]
    return der[4 : 4 + size], der[6 + size :]


def _der(r: bytes, s: bytes, *, tail: bytes = b"") -> bytes:
    body = b"\x02" + bytes([len(r)]) + r + b"\x02" + bytes([len(s)]) + s
    return b"\x30" + bytes([len(body)]) + body + tail


def test_lax_forms_verify_as_before_bip66() -> None:
    key = sg.pubkey_create(SECRET)
    der = sg.sign_ecdsa(SECRET, MESSAGE)
    r, s = _integers(der)
    unsigned_r = r.lstrip(b"\0")
    high_s = (sg.CURVE_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    accepted = {
        "strict": der,
        "padded r": _der(b"\0\0" + r, s),
        "padded s": _der(r, b"\0" * 9 + s),
        "negative form": _der(unsigned_r, high_s),
        "high s": _der(r, b"\0" + high_s),
        "bytes left over": der + b"\xff\x00",
        "wrong sequence length": b"\x30\x05" + der[2:],
        "long sequence length": b"\x30\x84\xff\xff\xff\xff" + der[2:],
        "long integer length": b"\x30\x46\x02\x82\x00" + bytes([len(r)]) + r + der[4 + len(r) :],
        "very long zero length": b"\x30\x46\x02\x88" + bytes(7) + bytes([len(r)]) + r + der[4 + len(r) :],
    }
    for name, form in accepted.items():
        assert sg.verify_ecdsa(key, form, MESSAGE), name
        assert not sg.verify_ecdsa(key, form, MESSAGE[::-1]), name
        strict = is_valid_signature_encoding(form + b"\x01")
        assert strict is (name in ("strict", "high s")), name
    assert not sg.is_low_der_s(accepted["high s"])
    assert sg.is_low_der_s(der)


def test_unreadable_forms_do_not_verify() -> None:
    key = sg.pubkey_create(SECRET)
    der = sg.sign_ecdsa(SECRET, MESSAGE)
    r, s = _integers(der)
    refused = [
        b"",
        b"\x30",
        b"\x31" + der[1:],
        der[:-1],
        der[: 4 + len(r)],
        b"\x30\xff" + der[2:],
        b"\x30\x46\x03" + der[3:],
        b"\x30\x46\x02\x84\x01\x00\x00" + bytes([len(r)]) + r,
        _der(r, b""),
        _der(b"", s),
        _der(b"\x01" + r.rjust(33, b"\0"), s),
        _der(b"\0" + sg.CURVE_ORDER.to_bytes(32, "big"), s),
        _der(r, b"\0" + b"\xff" * 32),
    ]
    for form in refused:
        assert not sg.verify_ecdsa(key, form, MESSAGE), form.hex()
        assert not is_valid_signature_encoding(form + b"\x01") or len(form) > 40
    assert sg.parse_der_lax(_der(r, b"\0" + b"\xff" * 32)) == bytes(64)
    assert sg.parse_der_lax(b"\x30\x02\x02\x00") is None


def test_every_truncation_and_flip_agrees_with_the_lax_reader() -> None:
    """Whatever the shortcut through the strict parser does, the verdict is the lax reader's."""
    key = sg.pubkey_create(SECRET)
    der = sg.sign_ecdsa(SECRET, MESSAGE)
    forms = [der[:n] for n in range(len(der))]
    for position in range(len(der)):
        forms += [der[:position] + bytes([der[position] ^ bit]) + der[position + 1 :] for bit in (1, 2, 0x10, 0x80)]
    verified = 0
    for form in forms:
        compact = sg.parse_der_lax(form)
        expected = False
        if compact is not None and any(compact):
            expected = sg.verify_ecdsa(key, to_der(compact), MESSAGE)
        assert sg.verify_ecdsa(key, form, MESSAGE) is expected, form.hex()
        verified += expected
    assert verified == 3  # a wrong sequence length is read (0x80 makes it a long form: then not)


def test_public_key_forms() -> None:
    der = sg.sign_ecdsa(SECRET, MESSAGE)
    full = sg.pubkey_create(SECRET, compressed=False)
    parity = full[-1] & 1
    verdicts = {prefix: sg.verify_ecdsa(bytes([prefix]) + full[1:], der, MESSAGE) for prefix in range(9)}
    assert verdicts == {prefix: prefix in (4, 6 + parity) for prefix in range(9)}
    short = sg.pubkey_create(SECRET)
    assert not sg.verify_ecdsa(short[:32], der, MESSAGE)
    assert not sg.verify_ecdsa(short + b"\0", der, MESSAGE)
    assert not sg.verify_ecdsa(b"", der, MESSAGE)
    assert not sg.verify_ecdsa(b"\x02" + b"\xff" * 32, der, MESSAGE)


def test_sizes_are_checked_before_the_library_reads_memory() -> None:
    key, der = sg.pubkey_create(SECRET), sg.sign_ecdsa(SECRET, MESSAGE)
    for call in (
        lambda: sg.verify_ecdsa(key, der, MESSAGE[:31]),
        lambda: sg.verify_schnorr(key, bytes(64), MESSAGE),
        lambda: sg.verify_schnorr(key[1:], bytes(63), MESSAGE),
        lambda: sg.check_taproot_tweak(key[1:], 0, key[1:], b""),
        lambda: sg.taproot_tweak_pubkey(b"\xff" * 32),
        lambda: sg.pubkey_create(bytes(32)),
        lambda: sg.sign_ecdsa(bytes(32), MESSAGE),
        lambda: sg.sign_schnorr(b"\xff" * 32, MESSAGE),
    ):
        with pytest.raises(ValueError):
            call()


def test_taproot_tweak_round_trip() -> None:
    internal, root = sg.xonly(SECRET), hashlib.sha256(b"root").digest()
    for merkle_root in (b"", root):
        output, parity = sg.taproot_tweak_pubkey(internal, merkle_root)
        tweak = sg.tap_tweak_hash(internal, merkle_root)
        assert sg.check_taproot_tweak(output, parity, internal, tweak)
        assert not sg.check_taproot_tweak(output, parity ^ 1, internal, tweak)
        assert not sg.check_taproot_tweak(output, parity, internal, tweak[::-1])
        assert not sg.check_taproot_tweak(output, parity, b"\xff" * 32, tweak)
        assert sg.xonly(sg.taproot_tweak_seckey(SECRET, merkle_root)) == output


def test_grinding_keeps_r_short() -> None:
    sizes = {len(sg.sign_ecdsa(SECRET, bytes([n]) * 32, grind=True)) for n in range(40)}
    assert max(sizes) <= 70
    assert max(len(sg.sign_ecdsa(SECRET, bytes([n]) * 32)) for n in range(40)) == 71


def test_parsed_keys_are_bounded_and_do_not_change_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sg, "MAX_PARSED_KEYS", 4)
    sg.forget_parsed_keys()
    secrets = [hashlib.sha256(bytes([n])).digest() for n in range(10)]
    for secret in secrets * 2:
        key, der = sg.pubkey_create(secret), sg.sign_ecdsa(secret, MESSAGE)
        for _ in range(2):
            assert sg.verify_ecdsa(key, der, MESSAGE)
            assert not sg.verify_ecdsa(key, der, SECRET)
            assert not sg.verify_ecdsa(b"\x02" + b"\xff" * 32, der, MESSAGE)
        assert len(sg._parsed_keys) <= 4
    sg.forget_parsed_keys()
    assert not sg._parsed_keys
