from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest

from btcnode.node.fixed_seeds import ASMAP_SHA256, embedded_asmap
from btcnode.protocol.asmap import AsMap, is_sane, lookup
from btcnode.protocol.netgroup import NetGroups
from btcnode.wire.netaddr import NetAddress

Trie = int | tuple["Trie", "Trie"]


def number(value: int, lowest: int, sizes: list[int]) -> str:
    """A number in the map's code: its class in unary, then its place in the class."""
    for k, size in enumerate(sizes):
        if value - lowest < 1 << size:
            stop = "" if k == len(sizes) - 1 else "0"
            return "1" * k + stop + f"{value - lowest:0{size}b}"
        lowest += 1 << size
    raise ValueError(value)


def encode(trie: Trie) -> str:
    """A map of returns and jumps only."""
    if isinstance(trie, int):
        return "0" + number(trie, 1, list(range(15, 25)))
    left = encode(trie[0])
    return "10" + number(len(left), 17, list(range(5, 31))) + left + encode(trie[1])


def random_trie(rng: Random, depth: int) -> Trie:
    if not depth or rng.random() < 0.2:
        return rng.randrange(1, 60_000)
    return random_trie(rng, depth - 1), random_trie(rng, depth - 1)


def walk(trie: Trie, address: bytes) -> int:
    bits = int.from_bytes(address, "big")
    place = 127
    while not isinstance(trie, int):
        trie = trie[bits >> place & 1]
        place -= 1
    return trie


def padded(text: str) -> str:
    return text + "0" * (-len(text) % 8)


def packed(text: str) -> bytes:
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def test_lookups_follow_the_trie() -> None:
    rng = Random(3)
    for _ in range(20):
        trie = random_trie(rng, 6)
        text = padded(encode(trie))
        assert is_sane(text)
        asmap = AsMap(packed(text))
        assert asmap.is_sane()
        for _ in range(50):
            address = rng.randbytes(16)
            assert asmap.lookup(address) == walk(trie, address)


def test_matches_and_defaults() -> None:
    asn = list(range(15, 25))
    seven = "110" + number(0b101, 2, list(range(1, 9)))  # the next two bits are 01
    text = padded("111" + number(9, 1, asn) + seven + "0" + number(70_000, 1, asn))
    assert is_sane(text)
    assert lookup(text, b"\x40" + bytes(15)) == 70_000
    assert lookup(text, b"\x80" + bytes(15)) == 9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 16,  # a return that ends within its number
        padded("0" * 17) + "0" * 8,  # more padding than a byte needs
        "0" * 17 + "1" * 7,  # padding that is not zero
        padded("111" + "0" * 16 + "111" + "0" * 16 + "0" * 17),  # two defaults in a row
        padded("111" + "0" * 16 + "0" + "0" * 16),  # a return right behind a default
        padded("10" + "0" + "11111" + "0" * 17),  # a jump out of the map
    ],
)
def test_broken_maps_are_refused(text: str) -> None:
    assert not is_sane(text)


def test_damaged_maps_are_refused_or_harmless() -> None:
    rng = Random(5)
    good = packed(padded(encode(random_trie(rng, 5))))
    for _ in range(300):
        damaged = bytearray(good)
        place = rng.randrange(len(damaged) * 8)
        damaged[place >> 3] ^= 1 << (place & 7)
        asmap = AsMap(bytes(damaged))
        asmap.is_sane()
        asmap.lookup(rng.randbytes(16))
    for size in range(len(good)):
        assert not AsMap(good[:size]).is_sane()


def test_the_built_in_map_knows_the_world() -> None:
    data = embedded_asmap()
    assert sha256(data).hexdigest() == ASMAP_SHA256
    groups = NetGroups(AsMap(data))
    google, cloudflare = NetAddress.from_host("8.8.8.8", 1), NetAddress.from_host("1.1.1.1", 1)
    assert groups.mapped_as(google) == groups.mapped_as(NetAddress.from_host("2001:4860:4860::8888", 1)) == 15169
    assert groups.mapped_as(cloudflare) == 13335
    assert groups.group(google) == groups.group(NetAddress.from_host("2001:4860:4860::8844", 1))
    assert groups.group(google) == b"\x02" + (15169).to_bytes(4, "little")
    assert groups.mapped_as(NetAddress.from_host("10.0.0.1", 1)) == 0
    assert groups.mapped_as(NetAddress.from_host("2002:808:808::1", 1)) == 15169  # 6to4 of 8.8.8.8
