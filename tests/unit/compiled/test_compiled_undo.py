"""Undo data by kernels, compiled and interpreted, against the plain code."""

from __future__ import annotations

from random import Random

import pytest

from btcnode.compiled.kernels import Kernels
from btcnode.compiled.undo import tenth
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import make_coin
from btcnode.script.signatures import pubkey_create
from btcnode.storage.undo import decode_undo, decompress_amount, encode_undo
from tests.lib.kernels import compiled_kernels, with_kernels

SECRET = b"\x07" * 32
P2PKH, P2SH = b"\x76\xa9\x14" + b"h" * 20 + b"\x88\xac", b"\xa9\x14" + b"s" * 20 + b"\x87"
UNCOMPRESSED = b"\x41" + pubkey_create(SECRET, compressed=False) + b"\xac"
SCRIPTS = [
    P2PKH, P2SH, b"\x21" + pubkey_create(SECRET) + b"\xac", b"\x21\x04" + b"k" * 32 + b"\xac", b"\x00\x14" + b"w" * 20,
    b"\x51\x20" + b"t" * 32, b"", *(b"\x51" * size for size in (1, 23, 25, 35, 67, 121, 122, 252, 253, 9_999)),
    *(bytes([*old[:at], old[at] ^ 1, *old[at + 1 :]]) for old in (P2PKH, P2SH) for at in range(len(old))),
]  # fmt: skip
EDGES = [
    n
    for edge in (0x80, 0x4080, 0x204080, 0x10204080, 0x810204080, 0x40810204080)
    for n in range(decompress_amount(edge) - 2, decompress_amount(edge) + 3)
    if n < 1 << 53
]


def any_coin(rng: Random, script: bytes) -> bytes:
    height = rng.choice((0, 1, 63, 64, rng.randrange(1 << rng.randrange(1, 32))))
    amounts = (0, rng.choice(EDGES), rng.randrange(1 << rng.randrange(1, 52)), 10 ** rng.randrange(16), MAX_MONEY)
    return make_coin(height, rng.random() < 0.3, rng.choice(amounts), script)


def by_kernel(kernels: Kernels, undo: list[list[bytes]]) -> bytes | None:
    """What the kernel itself has for it, behind a head of one byte."""
    packed = kernels.encode_undo(b"h", [len(coins) for coins in undo], b"".join([coin for tx in undo for coin in tx]))
    assert packed is None or packed[:1] == b"h"
    return None if packed is None else packed[1:]


def test_kernels_write_what_the_plain_code_writes(kernels: Kernels) -> None:
    rng = Random(4)
    for round_ in range(300 if kernels is compiled_kernels() else 6):
        sizes = [rng.choice((0, 1, 2, 3, 40, 253 if round_ % 50 == 0 else 5)) for _ in range(rng.choice((0, 1, 9)))]
        undo = [[any_coin(rng, rng.choice(SCRIPTS)) for _ in range(size)] for size in sizes]
        plain = encode_undo(undo)
        assert plain[1:] == by_kernel(kernels, undo)
        with with_kernels(kernels):
            assert encode_undo(undo) == plain
        assert decode_undo(plain) == undo


def test_each_amount_alike(kernels: Kernels) -> None:
    rng = Random(5)
    count = 20_000 if kernels is compiled_kernels() else 300
    undo = [[make_coin(7, False, rng.randrange(1 << rng.randrange(1, 52)), b"\x51") for _ in range(count)]]
    undo += [[make_coin(7, False, amount, b"\x51") for amount in EDGES]]
    assert by_kernel(kernels, undo) == encode_undo(undo)[1:]


def test_more_inputs_than_two_bytes_count(kernels: Kernels) -> None:
    if kernels is not compiled_kernels():
        pytest.skip("takes a minute")
    undo = [[make_coin(1, False, 1, b"")] * 65_536]
    assert by_kernel(kernels, undo) == encode_undo(undo)[1:]


def test_what_may_be_a_whole_key_is_left_to_the_plain_code(kernels: Kernels) -> None:
    coin = make_coin(5, False, 9, UNCOMPRESSED)
    assert by_kernel(kernels, [[make_coin(5, False, 9, b"\x51"), coin]]) is None
    plain = encode_undo([[coin]])
    with with_kernels(kernels):
        assert encode_undo([[coin]]) == plain


def test_what_is_no_run_of_coins_has_no_answer(kernels: Kernels) -> None:
    coin = make_coin(5, False, 9, P2PKH)
    for end in range(len(coin)):
        assert kernels.encode_undo(b"", [1], coin[:end]) is None
    assert kernels.encode_undo(b"", [1], coin + b"\0") is None
    assert kernels.encode_undo(b"", [2], coin) is None
    assert kernels.encode_undo(b"", [0], coin) is None
    for value in (1 << 53, (1 << 64) - 1, 1 << 63):
        assert kernels.encode_undo(b"", [1], coin[:4] + value.to_bytes(8, "little") + coin[12:]) is None


def test_a_tenth_without_a_division() -> None:
    rng = Random(6)
    numbers = [n for bit in range(54) for n in range((1 << bit) - 11, (1 << bit) + 11) if 0 <= n < 1 << 53]
    for n in [*numbers, *(rng.randrange(1 << rng.randrange(1, 54)) for _ in range(20_000))]:
        assert tenth(n) == n // 10
