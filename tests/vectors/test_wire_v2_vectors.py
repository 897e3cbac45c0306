"""BIP324's vectors: ElligatorSwift decoding and the shared secret, key derivation, packets up to the largest."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.wire import ellswift
from btcnode.wire.framing import TransportError
from btcnode.wire.v2_cipher import (
    LENGTH_SIZE,
    FSChaCha20,
    FSChaCha20Poly1305,
    PacketCipher,
    derive_keys,
    hkdf_expand,
    hkdf_extract,
)

MAGIC = params_for("mainnet").magic
FIELD_PRIME = 2**256 - 2**32 - 977


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="session")
def packet_rows(vectors: Path) -> list[dict[str, str]]:
    found = list(rows(vectors / "bips" / "bip324_packet_encoding_test_vectors.csv"))
    assert len(found) == 7
    return found


def test_ellswift_decoding(vectors: Path) -> None:
    found = list(rows(vectors / "bips" / "bip324_ellswift_decode_test_vectors.csv"))
    assert len(found) == 76
    for row in found:
        point = ellswift.decode(bytes.fromhex(row["ellswift"]))
        assert point[1:].hex() == row["x"], row["comment"]
        # the sign of Y is that of t (BIP324: the parity of t modulo p)
        parity = int(row["ellswift"][64:], 16) % FIELD_PRIME & 1
        assert point[0] == 2 + parity, row["comment"]


def test_inverses_decode_to_the_same_x(vectors: Path) -> None:
    found = list(rows(vectors / "bips" / "bip324_xswiftec_inv_test_vectors.csv"))
    assert len(found) == 32
    solutions = 0
    for row in found:
        for case in range(8):
            if t := row[f"case{case}_t"]:
                assert ellswift.decode(bytes.fromhex(row["u"] + t))[1:].hex() == row["x"], row["comment"]
                solutions += 1
    assert solutions == 98


def test_shared_secret_keys_and_packets(packet_rows: list[dict[str, str]]) -> None:
    for row in packet_rows:
        initiator = row["in_initiating"] == "1"
        seckey, ours, theirs = (
            bytes.fromhex(row[f"in_{n}"]) for n in ("priv_ours", "ellswift_ours", "ellswift_theirs")
        )
        assert ellswift.decode(ours)[1:].hex() == row["mid_x_ours"]
        assert ellswift.decode(theirs)[1:].hex() == row["mid_x_theirs"]
        secret = ellswift.shared_secret(seckey, ours, theirs, initiator=initiator)
        assert secret.hex() == row["mid_shared_secret"]

        keys = derive_keys(secret, MAGIC)
        assert keys.initiator_length.hex() == row["mid_initiator_l"]
        assert keys.initiator_packet.hex() == row["mid_initiator_p"]
        assert keys.responder_length.hex() == row["mid_responder_l"]
        assert keys.responder_packet.hex() == row["mid_responder_p"]
        assert keys.session_id.hex() == row["out_session_id"]

        cipher = PacketCipher(keys, initiator=initiator)
        other = PacketCipher(keys, initiator=not initiator)
        assert cipher.send_terminator.hex() == row["mid_send_garbage_terminator"] == other.receive_terminator.hex()
        assert cipher.receive_terminator.hex() == row["mid_recv_garbage_terminator"] == other.send_terminator.hex()

        for _ in range(int(row["in_idx"])):
            packet = cipher.encrypt()
            assert other.decrypt_length(packet[:LENGTH_SIZE]) == 0
            assert other.decrypt(packet[LENGTH_SIZE:]) == (b"\0", False)
        contents = bytes.fromhex(row["in_contents"]) * int(row["in_multiply"])
        aad, ignore = bytes.fromhex(row["in_aad"]), row["in_ignore"] == "1"
        packet = cipher.encrypt(contents, aad=aad, ignore=ignore)
        if row["out_ciphertext"]:
            assert packet.hex() == row["out_ciphertext"]
        if row["out_ciphertext_endswith"]:
            assert packet.hex().endswith(row["out_ciphertext_endswith"])
        assert row["out_ciphertext"] or row["out_ciphertext_endswith"]
        assert other.decrypt_length(packet[:LENGTH_SIZE]) == len(contents)
        plain, decoy = other.decrypt(packet[LENGTH_SIZE:], aad)
        assert plain[1:] == contents
        assert decoy is ignore


def test_a_flipped_bit_anywhere_breaks_the_tag(packet_rows: list[dict[str, str]]) -> None:
    keys = derive_keys(bytes.fromhex(packet_rows[0]["mid_shared_secret"]), MAGIC)
    packet = PacketCipher(keys, initiator=True).encrypt(b"contents", aad=b"garbage")
    for i in range(8 * LENGTH_SIZE, 8 * len(packet)):
        wrong = bytearray(packet)
        wrong[i // 8] ^= 1 << i % 8
        with pytest.raises(TransportError):
            PacketCipher(keys, initiator=False).decrypt(bytes(wrong[LENGTH_SIZE:]), b"garbage")
    with pytest.raises(TransportError):
        PacketCipher(keys, initiator=False).decrypt(packet[LENGTH_SIZE:], b"other garbage")


@pytest.mark.parametrize(
    ("chunk", "key", "interval", "expected"),
    [
        (bytes(range(32)).hex(), "00" * 32, 256, "a93df4ef03011f3db95f60d996e1785df5de38fc39bfcb663a47bb5561928349"),
        ("01", bytes(range(32)).hex(), 5, "ea"),
        (
            "e93fdb5c762804b9a706816aca31e35b11d2aa3080108ef46a5b1f1508819c0a",
            "8ec4c3ccdaea336bdeb245636970be01266509b33f3d2642504eaf412206207a",
            4096,
            "8bfaa4eacff308fdb4a94a5ff25bd9d0c1f84b77f81239f67ff39d6e1ac280c9",
        ),
    ],
)
def test_stream_cipher_after_its_first_change_of_keys(chunk: str, key: str, interval: int, expected: str) -> None:
    """Bitcoin Core's ``crypto_tests``: the chunk after ``interval`` chunks; before, the cipher is plain ChaCha20."""
    cipher = FSChaCha20(bytes.fromhex(key), len(chunk) // 2, interval)
    first = cipher.crypt(bytes(len(chunk) // 2))
    if key == "00" * 32:
        assert first.hex().startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")  # RFC 8439
    for _ in range(interval - 1):
        cipher.crypt(bytes.fromhex(chunk))
    assert cipher.crypt(bytes.fromhex(chunk)).hex() == expected


def test_packet_cipher_after_many_changes_of_keys() -> None:
    """Bitcoin Core's ``crypto_tests``: a packet after 60,000 others, 267 changes of keys later."""
    cipher = FSChaCha20Poly1305(bytes.fromhex("3bd2093fcbcb0d034d8c569583c5425c1a53171ea299f8cc3bbf9ae3530adfce"))
    for _ in range(60_000):
        cipher.encrypt(b"")
    plain = bytes.fromhex(
        "8349b7a2690b63d01204800c288ff1138a1d473c832c90ea8b3fc102d0bb3adc"
        "44261b247c7c3d6760bfbe979d061c305f46d94c0582ac3099f0bf249f8cb234"
    )
    assert cipher.encrypt(plain).hex() == (
        "30a6757ff8439b975363f166a0fa0e36722ab35936abd704297948f45083f4d4"
        "99433137ce931f7fca28a0acd3bc30f57b550acbc21cbd45bbef0739d9caf30c"
        "14b94829deb27f0b1923a2af704ae5d6"
    )


def test_hkdf_of_rfc_5869() -> None:
    """Cases 1 and 3, the first 32 bytes."""
    key = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    assert hkdf_expand(key, bytes(range(0xF0, 0xFA))).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    )
    assert hkdf_expand(hkdf_extract(b"", b"\x0b" * 22), b"").hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )
