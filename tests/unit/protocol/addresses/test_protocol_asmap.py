from __future__ import annotations

from random import Random

import pytest

from btcnode.protocol.addresses.asmap import AsMap, is_sane, lookup
from btcnode.protocol.addresses.netgroup import NetGroups
from btcnode.wire.netaddr import NetAddress
from tests.lib.asmap_maker import Trie, encode, number, packed, padded, random_trie


def walk(trie: Trie, address: bytes) -> int:
    bits = int.from_bytes(address, "big")
    place = 127
    while not isinstance(trie, int):
        trie = trie[bits >> place & 1]
        place -= 1
    return trie


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


def test_groups_are_systems_where_the_map_has_one() -> None:
    trie: Trie = 15169
    prefix = bytes(10) + b"\xff\xff" + bytes([8, 8, 8])  # 8.8.8.0/24
    for bit in reversed(f"{int.from_bytes(prefix, 'big'):0120b}"):
        trie = (1, trie) if bit == "1" else (trie, 1)
    groups = NetGroups(AsMap(packed(padded(encode(trie)))))
    google, other = NetAddress.from_host("8.8.8.8", 1), NetAddress.from_host("9.8.8.8", 1)
    assert (groups.mapped_as(google), groups.mapped_as(other)) == (15169, 1)
    assert groups.group(google) == b"\x02" + (15169).to_bytes(4, "little")
    assert groups.mapped_as(NetAddress.from_host("2002:808:808::1", 1)) == 15169  # 6to4 of 8.8.8.8
    assert groups.mapped_as(NetAddress.from_host("10.0.0.1", 1)) == 0
