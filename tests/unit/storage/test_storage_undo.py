from __future__ import annotations

import random

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_coin
from btcnode.primitives.compactsize import compact_size
from btcnode.script.signatures import pubkey_create
from btcnode.storage.undo import (
    compress_amount,
    compress_coin,
    decode_undo,
    decompress_amount,
    decompress_coin,
    encode_undo,
    encode_varint,
    read_varint,
)

COMPRESSED, UNCOMPRESSED = (pubkey_create(b"\x07" * 32, compressed=compressed) for compressed in (True, False))

SCRIPTS = {
    "p2pkh": (b"\x76\xa9\x14" + b"h" * 20 + b"\x88\xac", b"\x00" + b"h" * 20),
    "p2sh": (b"\xa9\x14" + b"s" * 20 + b"\x87", b"\x01" + b"s" * 20),
    "p2pk compressed": (b"\x21" + COMPRESSED + b"\xac", COMPRESSED),
    "p2pk uncompressed": (
        b"\x41" + UNCOMPRESSED + b"\xac",
        bytes((4 | UNCOMPRESSED[64] & 1,)) + UNCOMPRESSED[1:33],
    ),
    "p2pk off the curve": (
        b"\x41\x04" + b"\x01" * 64 + b"\xac",
        bytes((67 + 6,)) + b"\x41\x04" + b"\x01" * 64 + b"\xac",
    ),
    "p2pk hybrid": (
        b"\x41\x06" + UNCOMPRESSED[1:] + b"\xac",
        bytes((67 + 6,)) + b"\x41\x06" + UNCOMPRESSED[1:] + b"\xac",
    ),
    "p2wpkh": (b"\x00\x14" + b"w" * 20, b"\x1c\x00\x14" + b"w" * 20),
    "empty": (b"", b"\x06"),
    "25 bytes of another kind": (b"\x51" * 25, b"\x1f" + b"\x51" * 25),
    "p2pkh with another end": (
        b"\x76\xa9\x14" + b"h" * 20 + b"\x88\xad",
        b"\x1f\x76\xa9\x14" + b"h" * 20 + b"\x88\xad",
    ),
    "23 bytes of another kind": (b"\xa9\x14" + b"s" * 20 + b"\x88", b"\x1d\xa9\x14" + b"s" * 20 + b"\x88"),
    "35 bytes of another kind": (b"\x21\x05" + b"k" * 32 + b"\xac", b"\x29\x21\x05" + b"k" * 32 + b"\xac"),
    "121 bytes": (b"\x51" * 121, b"\x7f" + b"\x51" * 121),
    "122 bytes": (b"\x51" * 122, b"\x80\x00" + b"\x51" * 122),
    "252 bytes": (b"\x51" * 252, b"\x81\x02" + b"\x51" * 252),
    "253 bytes": (b"\x51" * 253, b"\x81\x03" + b"\x51" * 253),
    "10000 bytes": (b"\x51" * 10_000, b"\xcd\x16" + b"\x51" * 10_000),
}


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (0x7F, "7f"),
        (0x80, "8000"),
        (0x1234, "a334"),
        (0xFFFF, "82fe7f"),
        (0x123456, "c7e756"),
        (0x80123456, "86ffc7e756"),
        (0xFFFFFFFF, "8efefefe7f"),
        (0x7FFFFFFFFFFFFFFF, "fefefefefefefefe7f"),
        (0xFFFFFFFFFFFFFFFF, "80fefefefefefefefe7f"),
    ],
)
def test_varint_vectors_of_core(number: int, encoded: str) -> None:
    raw = bytes.fromhex(encoded)
    assert encode_varint(number) == raw
    assert read_varint(b"x" + raw + b"y", 1) == (number, 1 + len(raw))


def test_varint_at_the_seams_of_its_lengths() -> None:
    first = 0
    for size in range(1, 9):
        last = first + 128**size - 1
        for number in (first, first + 1, last - 1, last):
            raw = encode_varint(number)
            assert len(raw) == size
            assert read_varint(raw, 0) == (number, size)
        first = last + 1


@pytest.mark.parametrize("raw", ["", "80", "ffff", "80fefefefefefefefe80"])
def test_truncated_varint(raw: str) -> None:
    with pytest.raises(DecodeError):
        read_varint(bytes.fromhex(raw), 0)


def test_varint_above_its_limit() -> None:
    assert read_varint(encode_varint(0xFFFFFFFF), 0, 0xFFFFFFFF)[0] == 0xFFFFFFFF
    with pytest.raises(DecodeError):
        read_varint(encode_varint(0x100000000), 0, 0xFFFFFFFF)
    with pytest.raises(DecodeError):
        read_varint(b"\xff" * 5000 + b"\x00", 0)


@pytest.mark.parametrize(
    ("amount", "compressed"),
    [(0, 0), (1, 1), (1_000_000, 7), (COIN, 9), (50 * COIN, 0x32), (21_000_000 * COIN, 0x1406F40)],
)
def test_amount_vectors_of_core(amount: int, compressed: int) -> None:
    assert compress_amount(amount) == compressed
    assert decompress_amount(compressed) == amount


def test_amounts_there_and_back() -> None:
    rng = random.Random(1)
    for amount in [*range(2000), *(rng.randrange(21_000_000 * COIN) for _ in range(5000))]:
        assert decompress_amount(compress_amount(amount)) == amount
    for compressed in range(2000):
        assert compress_amount(decompress_amount(compressed)) == compressed


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str) -> None:
    script, compressed = SCRIPTS[name]
    coin = make_coin(1000, True, 50 * COIN, script)
    plain = encode_varint(2001) + b"\x32" + compressed
    assert encode_undo([[coin]]) == b"\x01\x01" + encode_varint(2001) + b"\x00\x32" + compressed
    assert decode_undo(b"\x01\x01" + encode_varint(2001) + b"\x00\x32" + compressed) == [[coin]]
    assert compress_coin(coin) == plain
    assert decompress_coin(b"__" + plain + b"_", 2) == (coin, 2 + len(plain))


def test_height_zero_has_no_version_byte() -> None:
    for is_coinbase in (False, True):
        coin = make_coin(0, is_coinbase, 1, b"\x51")
        raw = bytes((1, 1, is_coinbase, 1, 7, 0x51))
        assert encode_undo([[coin]]) == raw
        assert decode_undo(raw) == [[coin]]
        assert compress_coin(coin) == raw[2:]


def test_old_records_with_a_transaction_version() -> None:
    raw = b"\x01\x01" + encode_varint(2000) + encode_varint(70_000) + b"\x09\x07\x51"
    assert decode_undo(raw) == [[make_coin(1000, False, COIN, b"\x51")]]


def test_random_undo_there_and_back() -> None:
    rng = random.Random(2)
    scripts = [script for script, _ in SCRIPTS.values()]
    for _ in range(50):
        undo = [
            [
                make_coin(
                    rng.choice((0, 1, 63, 64, rng.randrange(1 << 31))),
                    rng.random() < 0.3,
                    rng.choice((0, rng.randrange(1 << 10), rng.randrange(1 << 50), 10 ** rng.randrange(15))),
                    rng.choice(scripts),
                )
                for _ in range(rng.choice((0, 1, 2, 300)))
            ]
            for _ in range(rng.choice((0, 1, 5)))
        ]
        assert decode_undo(encode_undo(undo)) == undo


def test_every_amount_is_the_varint_of_its_compressed_form() -> None:
    """Also where one byte more begins, and beside amounts with trailing zeros."""
    edges = [decompress_amount(edge) for edge in (0x80, 0x4080, 0x204080, 0x10204080, 0x810204080, 0x40810204080)]
    amounts = [n for edge in edges for n in range(max(edge - 25, 0), edge + 25)]
    amounts += [round(edge * tenths / 10) for edge in edges for tenths in range(1, 40)]
    rng = random.Random(3)
    amounts += [rng.randrange(1 << rng.randrange(1, 51)) for _ in range(2000)]
    coins = [make_coin(70_000, False, amount, b"\x51") for amount in amounts]
    parts = [encode_varint(140_000) + b"\0" + encode_varint(compress_amount(n)) + b"\x07\x51" for n in amounts]
    assert encode_undo([[], *([coin] for coin in coins), [], []]) == (
        compact_size(len(coins) + 3) + b"\0" + b"".join([b"\x01" + part for part in parts]) + b"\0\0"
    )


def _undo_of_one(data: bytes) -> list[list[bytes]] | type[DecodeError]:
    """Undo data of one coin, read step by step."""
    try:
        code, pos = read_varint(data, 2, 0xFFFFFFFF)
        if code > 1:
            _, pos = read_varint(data, pos, 0xFFFFFFFF)
        coin, end = decompress_coin(encode_varint(code) + data[pos:])
    except DecodeError:
        return DecodeError
    return [[coin]] if end == len(encode_varint(code)) + len(data) - pos else DecodeError


def test_coins_are_read_alike_whatever_became_of_their_bytes() -> None:
    rng, found = random.Random(3), [0, 0]
    for _ in range(20_000):
        amount = rng.choice((rng.randrange(1 << 64), rng.randrange(1 << 36), rng.randrange(256)))
        script = rng.choice(tuple(SCRIPTS.values()))[1][:200]
        raw = bytearray(b"\x01\x01" + encode_varint(rng.randrange(1 << rng.choice((1, 2, 20, 32)))) + b"\x00")
        raw += encode_varint(amount) + script
        for _ in range(rng.choice((0, 0, 1, 2))):
            raw[rng.randrange(2, len(raw))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        data = bytes(raw[: rng.choice((len(raw), len(raw), rng.randrange(2, len(raw) + 1)))])
        expected = _undo_of_one(data)
        found[expected is DecodeError] += 1
        if expected is DecodeError:
            with pytest.raises(DecodeError):
                decode_undo(data)
        else:
            assert decode_undo(data) == expected
    assert min(found) > 1000


def test_every_truncation_and_addition_is_noticed() -> None:
    raw = encode_undo([[make_coin(5, False, 12345, script) for script, _ in SCRIPTS.values() if len(script) < 300]])
    for cut in range(len(raw)):
        with pytest.raises(DecodeError):
            decode_undo(raw[:cut])
    with pytest.raises(DecodeError, match="left over"):
        decode_undo(raw + b"\x00")


def test_counts_that_lie_cost_nothing() -> None:
    with pytest.raises(DecodeError):
        decode_undo(b"\xfe\xff\xff\xff\x01" + bytes(10))
    with pytest.raises(DecodeError):
        decode_undo(b"\x01\x01\x02\x00\x01" + encode_varint(1 << 24) + b"short")


def test_overlong_script_becomes_one_that_cannot_be_spent() -> None:
    raw = encode_varint(4) + b"\x01" + encode_varint(10_001 + 6) + bytes(10_001)
    assert decompress_coin(raw) == (make_coin(2, False, 1, b"\x6a"), len(raw))


def test_key_off_the_curve_cannot_be_restored() -> None:
    with pytest.raises(DecodeError, match="curve"):
        decompress_coin(b"\x04\x01\x04" + (5).to_bytes(32, "big"))
