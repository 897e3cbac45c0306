"""RIPEMD-160 and HASH160, with and without OpenSSL's legacy digests."""

from __future__ import annotations

import hashlib

import pytest

from btcnode.primitives import hashes

PUBKEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def test_known_values() -> None:
    assert hashes.ripemd160(b"abc").hex() == "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"
    assert hashes.ripemd160(b"").hex() == "9c1185a5c5e9fc54612808977ee8f548b2258d31"
    assert hashes.hash160(PUBKEY).hex() == "751e76e8199196d454941c45d1b3a323f1433bd6"


def test_without_the_openssl_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", missing)
    ripemd160, hash160 = hashes._pick_ripemd160()
    for data in (b"", b"abc", PUBKEY, bytes(200)):
        assert ripemd160(data) == hashes.ripemd160(data)
        assert hash160(data) == hashes.hash160(data)
