from __future__ import annotations

from random import Random

import pytest

from btcnode.errors import DecodeError
from btcnode.protocol.addrman import AddressBook, Entry
from btcnode.protocol.netgroup import host_key, netgroup
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

NOW = 1_700_000_000
SOURCE = NetAddress.from_host("9.9.9.9", 8333)


def address(number: int) -> NetAddress:
    return NetAddress(Network.IPV4, bytes((20 + (number >> 16), number >> 8 & 255, number & 255, 1)), 8333)


def entry(number: int, time: int = NOW - 3600) -> AddrEntry:
    return AddrEntry(time, 9, address(number))


def source(number: int) -> NetAddress:
    return NetAddress(Network.IPV4, bytes((100 + number % 50, number // 50, 0, 1)), 8333)


def test_add_counts_and_merges() -> None:
    book = AddressBook(Random(1))
    assert book.add([entry(1), entry(2), entry(1)], SOURCE, NOW, penalty=7200) == 2
    assert len(book) == book.new_count == 2
    assert book.add([AddrEntry(NOW, 1032, address(1))], SOURCE, NOW) == 0
    chosen = {e.address: e for e in (book.select(NOW) for _ in range(50)) if e is not None}
    assert chosen[address(1)].services == 9 | 1032
    assert chosen[address(1)].time == NOW


def test_good_moves_to_tried_and_bad_ones_lose_weight() -> None:
    book = AddressBook(Random(1))
    book.add([entry(1), entry(2)], SOURCE, NOW)
    book.good(address(1), NOW)
    assert (book.new_count, book.tried_count) == (1, 1)
    assert {e.address for e in (book.select(NOW, new_only=True) for _ in range(20)) if e} == {address(2)}
    for i in range(3):
        book.attempt(address(2), NOW + i, count_failure=True)
        book.good(address(1), NOW + i + 1)
    failed = next(e for e in book._new)
    assert failed.attempts == 3
    assert failed.chance(NOW + 3600) < 0.3
    assert failed.is_terrible(NOW + 3600)
    book.attempt(address(77), NOW, count_failure=True)  # unknown: nothing


def test_failures_count_once_between_successes() -> None:
    book = AddressBook(Random(1))
    book.add([entry(1)], SOURCE, NOW)
    for _ in range(5):
        book.attempt(address(1), NOW, count_failure=True)
    assert book._new[0].attempts == 1  # we may have been offline ourselves
    book.attempt(address(1), NOW, count_failure=False)
    assert book._new[0].attempts == 1


def test_bounds_hold_whatever_is_added() -> None:
    book = AddressBook(Random(1), max_new=200, max_tried=50, max_per_source=60)
    for s in range(20):
        book.add([entry(1000 * s + i) for i in range(300)], source(s), NOW)
        assert book.new_count <= 200
    for number in range(20_000):
        book.good(address(number), NOW)
    assert book.tried_count <= 50
    assert len(book) == book.new_count + book.tried_count
    assert sum(book._per_source.values()) == book.new_count


def test_one_source_cannot_fill_the_book() -> None:
    book = AddressBook(Random(1), max_new=1000, max_per_source=100)
    book.add([entry(i) for i in range(500)], SOURCE, NOW)
    assert book.new_count == 100
    book.add([entry(5000 + i) for i in range(50)], source(3), NOW)
    assert book.new_count == 150


def test_terrible_addresses_make_room_first() -> None:
    book = AddressBook(Random(1), max_new=100, max_per_source=1000)
    book.add([entry(i, NOW - 60 * 24 * 3600) for i in range(50)], SOURCE, NOW)
    book.add([entry(100 + i) for i in range(50)], SOURCE, NOW)
    book.add([entry(1000 + i) for i in range(40)], SOURCE, NOW)
    old_left = sum(1 for e in book._new if e.is_terrible(NOW))
    assert old_left <= 15


@pytest.mark.parametrize(
    ("fields", "terrible"),
    [
        ({}, False),
        ({"time": NOW - 31 * 24 * 3600}, True),
        ({"time": NOW + 3600}, True),
        ({"attempts": 3}, True),
        ({"attempts": 3, "last_success": NOW - 3600}, False),
        ({"attempts": 10, "last_success": NOW - 8 * 24 * 3600}, True),
        ({"attempts": 3, "last_try": NOW - 30}, False),
    ],
)
def test_terrible(fields: dict[str, int], terrible: bool) -> None:
    e = Entry(address(1), b"", 9, NOW - 3600, b"")
    for name, value in fields.items():
        setattr(e, name, value)
    assert e.is_terrible(NOW) is terrible


def test_sample_is_a_share_and_bounded() -> None:
    book = AddressBook(Random(1), max_per_source=10**6)
    book.add([entry(i) for i in range(2000)], SOURCE, NOW)
    assert len(book.sample(1000, 23, NOW, lambda _: True)) == 460
    assert len(book.sample(100, 23, NOW, lambda _: True)) == 100
    assert book.sample(1000, 23, NOW, lambda _: False) == []


def test_disk_form_survives_a_round_trip() -> None:
    book = AddressBook(Random(1))
    book.add([entry(i) for i in range(100)], SOURCE, NOW)
    onion = NetAddress(Network.TORV3, bytes(range(32)), 8333)
    book.add([AddrEntry(NOW, 9, onion)], source(1), NOW)
    for i in range(30):
        book.attempt(address(i), NOW, count_failure=True)
        book.good(address(i), NOW)
    assert book.changes
    data = book.serialize()
    assert not book.changes
    again = AddressBook.deserialize(data, Random(2))
    assert (again.new_count, again.tried_count) == (book.new_count, book.tried_count)
    assert onion in again
    assert again.serialize() == data


def test_damaged_file_is_one_typed_error() -> None:
    book = AddressBook(Random(1))
    book.add([entry(i) for i in range(10)], SOURCE, NOW)
    data = book.serialize()
    for broken in (b"", data[:-1], data[:40], b"x" + data[1:], data[:60] + b"\xff" + data[61:], data + b"\0"):
        with pytest.raises(DecodeError):
            AddressBook.deserialize(broken, Random(1))


def test_select_gives_up_when_nothing_fits() -> None:
    book = AddressBook(Random(1))
    assert book.select(NOW) is None
    book.add([entry(1)], SOURCE, NOW)
    assert book.select(NOW, accept=lambda _: False) is None


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1.2.3.4", "1.2.200.200", True),
        ("1.2.3.4", "1.3.3.4", False),
        ("2a00:1450:1::1", "2a00:1450:2::1", True),
        ("2a00:1450:1::1", "2a00:1451:1::1", False),
        ("2001:470:abcd::1", "2001:470:abce::1", True),
        ("2001:470:1bcd::1", "2001:470:abcd::1", False),
        ("2002:102:304::1", "1.2.9.9", True),  # 6to4 carries 1.2.3.4
        ("2001:0:0:0:0:0:fefd:fcfb", "1.2.9.9", True),  # Teredo, inverted
        ("10.0.0.1", "192.168.0.1", True),  # unroutable
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "10.0.0.1", False),
    ],
)
def test_netgroups(left: str, right: str, same: bool) -> None:
    a, b = NetAddress.from_host(left, 1), NetAddress.from_host(right, 2)
    assert (netgroup(a) == netgroup(b)) is same
    assert host_key(a) != host_key(b)
