from __future__ import annotations

from random import Random

import pytest

from btcnode.protocol.addresses.address_file import (
    AddressFileError,
    AddressFileVersionError,
    Snapshot,
    decode_anchors,
    decode_book,
    encode_anchors,
)
from btcnode.protocol.addresses.address_table import Entry
from btcnode.protocol.addresses.addrman import REPLACEMENT, TEST_KEY, TEST_WINDOW, AddressBook
from btcnode.protocol.addresses.asmap import AsMap
from btcnode.protocol.addresses.netgroup import NetGroups, host_key, netgroup
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

NOW = 1_700_000_000
SOURCE = NetAddress.from_host("9.9.9.9", 8333)
MAGIC = bytes.fromhex("fabfb5da")


def address(number: int) -> NetAddress:
    return NetAddress(Network.IPV4, bytes((20 + (number >> 16), number >> 8 & 255, number & 255, 1)), 8333)


def host(text: str) -> NetAddress:
    return NetAddress.from_host(text, 8333)


def entry(number: int, time: int = NOW - 3600) -> AddrEntry:
    return AddrEntry(time, 9, address(number))


def source(number: int) -> NetAddress:
    return NetAddress(Network.IPV4, bytes((100 + number % 50, number // 50, 0, 1)), 8333)


def tell(book: AddressBook, text: str) -> int:
    """A node tells its own address."""
    return book.add([AddrEntry(NOW, 9, host(text))], host(text), NOW)


def test_add_counts_and_merges() -> None:
    book = AddressBook(Random(1))
    assert book.add([entry(1), entry(2), entry(1)], SOURCE, NOW, penalty=7200) == 2
    assert len(book) == book.new_count == 2
    assert book.add([AddrEntry(NOW, 1032, address(1))], SOURCE, NOW) == 0
    chosen = {e.address: e for e in (book.select(NOW) for _ in range(50)) if e is not None}
    assert chosen[address(1)].services == 9 | 1032
    assert chosen[address(1)].time == NOW
    assert book.fault() == 0


def test_unroutable_addresses_are_left_out() -> None:
    book = AddressBook(Random(1))
    assert book.add([AddrEntry(NOW, 9, host("192.168.0.1")), AddrEntry(NOW, 9, host("127.0.0.1"))], SOURCE, NOW) == 0


def test_places_are_those_of_core() -> None:
    """With the key of tests, as Core's rpc_net.py has them."""
    book = AddressBook(Random(0), key=TEST_KEY)
    for text in ("1.0.0.0", "1.2.3.4", "1.2.5.45"):
        assert tell(book, text) == 1
    assert not tell(book, "1.0.0.0")
    assert book.good(host("1.2.3.4"), NOW)
    assert not book.good(host("1.2.5.45"), NOW), "both have the same place in the tried table"
    assert (book.new_count, book.tried_count) == (2, 1)
    assert book.fault() == 0


def test_good_moves_to_tried_and_bad_ones_lose_weight() -> None:
    book = AddressBook(Random(1))
    book.add([entry(1), entry(2)], SOURCE, NOW)
    assert book.good(address(1), NOW)
    assert (book.new_count, book.tried_count) == (1, 1)
    assert {e.address for e in (book.select(NOW, new_only=True) for _ in range(20)) if e} == {address(2)}
    for i in range(3):
        book.attempt(address(2), NOW + i, count_failure=True)
        book.good(address(1), NOW + i + 1)
    failed = next(e for e in book.order if not e.is_tried)
    assert failed.attempts == 3
    assert failed.chance(NOW + 3600) < 0.3
    assert failed.is_terrible(NOW + 3600)
    book.attempt(address(77), NOW, count_failure=True)  # unknown: nothing


def test_failures_count_once_between_successes() -> None:
    book = AddressBook(Random(1))
    book.add([entry(1)], SOURCE, NOW)
    for _ in range(5):
        book.attempt(address(1), NOW, count_failure=True)
    assert book.order[0].attempts == 1  # we may have been offline ourselves
    book.attempt(address(1), NOW, count_failure=False)
    assert book.order[0].attempts == 1


def test_one_group_of_tellers_cannot_fill_the_book() -> None:
    book = AddressBook(Random(1))
    book.add([entry(i * 3) for i in range(20_000)], SOURCE, NOW)
    assert len({slot // 64 for slot, _ in book.new.slots()}) <= 64
    assert book.new_count <= 64 * 64
    before = book.new_count
    book.add([entry(100_000 + i * 300) for i in range(200)], source(3), NOW)
    assert book.new_count > before + 150
    assert book.fault() == 0


def test_one_group_of_addresses_has_eight_tried_buckets() -> None:
    book = AddressBook(Random(1))
    for number in range(250):
        ours = NetAddress(Network.IPV4, bytes((20, 20, number, 1)), 8333)
        book.add([AddrEntry(NOW, 9, ours)], source(number), NOW)
        book.good(ours, NOW)
    assert len({slot // 64 for slot, _ in book.tried.slots()}) <= 8
    assert book.fault() == 0


def test_an_address_lies_in_eight_new_buckets_at_most() -> None:
    book = AddressBook(Random(1))
    for number in range(2000):
        book.add([AddrEntry(NOW - 10_000 + number, 9, address(1))], source(number % 200), NOW)
    assert 1 < len(book.order[0].places) <= 8
    assert len(book) == 1 and book.fault() == 0
    assert book.good(address(1), NOW)
    assert not len(book.new) and len(book.tried) == 1


def collision(book: AddressBook) -> tuple[NetAddress, NetAddress]:
    """A tried address, and a new one that wants its place."""
    for text in ("1.2.3.4", "1.2.5.45"):
        tell(book, text)
        book.good(host(text), NOW)
    return host("1.2.3.4"), host("1.2.5.45")


def test_a_tried_address_that_answered_lately_stays() -> None:
    book = AddressBook(Random(0), key=TEST_KEY)
    old, new = collision(book)
    chosen = book.select_collision()
    assert chosen is not None and chosen.address == old
    book.resolve_collisions(NOW + REPLACEMENT - 1)
    assert book.entries[chosen.key].is_tried
    assert book.select_collision() is None
    assert new in book


def test_a_tried_address_that_fails_its_test_gives_way() -> None:
    book = AddressBook(Random(0), key=TEST_KEY)
    old, new = collision(book)
    later = NOW + REPLACEMENT + 10
    book.resolve_collisions(later)  # nothing is known yet, but the time for a test is over
    assert [e.address for _, e in book.tried.slots()] == [new]
    assert old in book and book.fault() == 0
    book = AddressBook(Random(0), key=TEST_KEY)
    collision(book)
    book.attempt(old, later, count_failure=True)
    book.resolve_collisions(later + 30)
    assert [e.address for _, e in book.tried.slots()] == [old], "it has a minute to answer"
    book.resolve_collisions(later + 90)
    assert [e.address for _, e in book.tried.slots()] == [new]


def test_a_test_may_be_put_off_for_a_while() -> None:
    book = AddressBook(Random(0), key=TEST_KEY)
    old, new = collision(book)
    later = NOW + REPLACEMENT + 10
    book.good(new, later)
    book.resolve_collisions(later + TEST_WINDOW - 1)
    assert [e.address for _, e in book.tried.slots()] == [old]
    book.resolve_collisions(later + TEST_WINDOW + 1)
    assert [e.address for _, e in book.tried.slots()] == [new]


def test_terrible_addresses_make_room() -> None:
    book = AddressBook(Random(0), key=TEST_KEY)
    for i in range(4000):
        book.add([entry(i, NOW - 60 * 24 * 3600)], SOURCE, NOW)
    full = book.new_count
    same = [NetAddress(Network.IPV4, address(i).raw, 9000) for i in range(4000)]  # in the same buckets
    book.add([AddrEntry(NOW, 9, other) for other in same], SOURCE, NOW)
    assert sum(e.is_terrible(NOW) for e in book.order) < full // 3
    assert book.fault() == 0


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
    e = Entry(address(1), b"", 9, NOW - 3600, SOURCE)
    for name, value in fields.items():
        setattr(e, name, value)
    assert e.is_terrible(NOW) is terrible


def test_sample_is_a_share_and_bounded() -> None:
    book = AddressBook(Random(1))
    for s in range(50):
        book.add([entry(s * 1000 + i) for i in range(40)], source(s), NOW)
    size = len(book)
    assert size > 1000
    assert len(book.sample(1000, 23, NOW)) == size * 23 // 100
    assert len(book.sample(100, 23, NOW)) == 100
    assert len(set(book.sample(0, 0, NOW))) == size
    assert book.sample(0, 0, NOW + 90 * 24 * 3600) == []
    assert book.fault() == 0


def test_select_keeps_to_networks() -> None:
    book = AddressBook(Random(1))
    assert book.select(NOW) is None
    onion = NetAddress(Network.TORV3, bytes(range(32)), 8333)
    book.add([entry(i) for i in range(50)] + [AddrEntry(NOW, 9, onion)], SOURCE, NOW)
    chosen = book.select(NOW, networks=(Network.TORV3, Network.I2P))
    assert chosen is not None and chosen.address == onion
    assert book.select(NOW, networks=(Network.I2P,)) is None
    assert book.size(Network.TORV3) == (1, 0)
    book.good(onion, NOW)
    assert book.size(Network.TORV3) == (0, 1)
    assert book.select(NOW, new_only=True, networks=(Network.TORV3,)) is None


def filled() -> AddressBook:
    book = AddressBook(Random(1))
    book.add([entry(i * 7) for i in range(100)], SOURCE, NOW)
    onion = NetAddress(Network.TORV3, bytes(range(32)), 8333)
    book.add([AddrEntry(NOW, 9, onion)], source(1), NOW)
    for i in range(30):
        book.attempt(address(i * 7), NOW, count_failure=True)
        book.good(address(i * 7), NOW)
    return book


def empty(key: bytes) -> AddressBook:
    return AddressBook(Random(2), key=key)


def test_disk_form_survives_a_round_trip() -> None:
    book = filled()
    assert book.changes
    data = Snapshot(book).encode(MAGIC)
    assert not book.changes
    again, note = decode_book(data, MAGIC, empty)
    assert not note
    assert (again.new_count, again.tried_count) == (book.new_count, book.tried_count)
    assert NetAddress(Network.TORV3, bytes(range(32)), 8333) in again
    assert [(s, e.address) for s, e in again.new.slots()] == [(s, e.address) for s, e in book.new.slots()]
    assert sorted(again.entries) == sorted(book.entries)
    assert len(Snapshot(again).encode(MAGIC)) == len(data)


def test_damaged_file_is_one_typed_error() -> None:
    data = Snapshot(filled()).encode(MAGIC)
    for broken in (b"", data[:-1], data[:40], b"x" + data[1:], data[:100] + b"\xff" + data[101:]):
        with pytest.raises(AddressFileError):
            decode_book(broken, MAGIC, empty)
    with pytest.raises(AddressFileVersionError, match="Unsupported format of addrman database: 4"):
        decode_book(data[:5] + bytes((32 + 5,)) + data[6:], MAGIC, empty)


def test_another_map_moves_addresses_to_other_buckets() -> None:
    data = Snapshot(filled()).encode(MAGIC)
    groups = NetGroups(AsMap(b"\x00\x00\x00"))  # everything belongs to AS 1
    assert groups.asmap.is_sane()
    again, note = decode_book(data, MAGIC, lambda key: AddressBook(Random(1), groups, key=key))
    assert note
    assert len(again) > 60
    assert again.fault() == 0


def test_anchors_survive_a_round_trip() -> None:
    anchors = [entry(1), AddrEntry(NOW, 1033, NetAddress(Network.I2P, bytes(32), 0))]
    data = encode_anchors(anchors, MAGIC)
    assert decode_anchors(data, MAGIC) == anchors
    for broken in (data[:-1], b"x" + data[1:], data[:20] + b"\xff" + data[21:]):
        with pytest.raises(AddressFileError):
            decode_anchors(broken, MAGIC)


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
        ("127.0.0.1", "10.0.0.1", True),
    ],
)
def test_netgroups(left: str, right: str, same: bool) -> None:
    a, b = NetAddress.from_host(left, 1), NetAddress.from_host(right, 2)
    assert (netgroup(a) == netgroup(b)) is same
    assert host_key(a) != host_key(b)
