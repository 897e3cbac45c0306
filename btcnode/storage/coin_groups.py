"""Coins in groups of about half a page: how a run of coins lies in its file, and how one coin is found in there.

A group holds coins whose outpoints follow one another, up to and with its *bound*, which is its key. In columns::

    width of an output number[u8], width of a length[u8], length of low[u8], transactions[u8], coins[u16 LE]
    low                      the bound of the group before: what is not above it is not here
    txids[32] ...            of the transactions that have a coin here
    pairs ...                for each coin: place of its txid[u8], output number (1, 2 or 4 bytes, little-endian)
    lengths ...              of each coin, 1, 2 or 4 bytes, little-endian; 0: the coin is gone (a tombstone)
    coins ...                packed as everywhere
    CRC-32[u32 LE]           over the run's salt, the bound and all of this

So a txid is there once, however many outputs are unspent, and packing and unpacking are a few C calls for a group.
As a group says which outpoints are its own, one whole group proves that a coin is not in its run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from operator import ne
from struct import Struct
from sys import byteorder
from zlib import crc32

from btcnode.storage.checksums import CHECK_SIZE

KEY_SIZE = 36
TXID_SIZE = 32
GONE = b""  # in the place of a coin that is not there any more
END = b"\xff" * (KEY_SIZE + 1)  # the bound of a run's last group: above all outpoints
NODE_SIZE = 2030  # key and value: two nodes fill one of LMDB's leaves, and none has pages of its own
_HEAD = Struct("<BBBBH")
_HEAD_SIZE = _HEAD.size
_ROOM = NODE_SIZE - _HEAD_SIZE - CHECK_SIZE - TXID_SIZE  # for coins, their numbers, further txids, low and bound
_SHORT, _LONG = 8, KEY_SIZE + 1  # bytes of a bound, between transactions and within one
_ENTRY = 3  # bytes of a coin beside itself, where numbers and lengths are below 256
_WIDE_ENTRY = 9  # and the most that they are
_CODES = {1: "B", 2: "H", 4: "I"}
_BYTE = [bytes((number,)) for number in range(256)]
_NO_MORE = {width: bytes(4 - width) for width in _CODES}  # of a number, behind so many bytes
_SMALL_VOUTS = [number + bytes(3) for number in _BYTE]

Entries = tuple[list[bytes], list[bytes]]  # outpoints in order, and their coins


def bound_between(last: bytes, following: bytes) -> bytes:
    """A short key that is not below ``last`` and below ``following``, which is above it."""
    differ = int.from_bytes(last, "big") ^ int.from_bytes(following, "big")
    bound = last[: KEY_SIZE + 1 - (differ.bit_length() + 7 >> 3)] + b"\xff"
    return bound if bound >= last else last


def cuts(keys: Sequence[bytes], coins: Sequence[bytes], *, low: int) -> list[int]:
    """Where each group of these entries ends, the last one with room left. ``low``: bytes of the first one's low."""
    txids = [key[:TXID_SIZE] for key in keys]
    fresh = map(ne, txids, [b"", *txids[:-1]])
    joined, lengths = b"".join(keys), list(map(len, coins))
    wide = max(lengths) > 255 or any(any(joined[TXID_SIZE + byte :: KEY_SIZE]) for byte in (1, 2, 3))
    entry = _WIDE_ENTRY if wide else _ENTRY
    upto = list(accumulate([entry + length + TXID_SIZE * new for length, new in zip(lengths, fresh, strict=True)]))
    ends: list[int] = []
    begin = used = 0
    while begin < len(keys):
        room = used + _ROOM - low
        end, low = bisect_right(upto, room - _SHORT), _SHORT
        if begin < end < len(keys) and txids[end] == txids[end - 1]:
            end = max(bisect_right(upto, room - _LONG), bisect_left(keys, txids[end], begin, end))
            low = _LONG if txids[end] == txids[end - 1] else _SHORT
        begin = max(begin + 1, end)
        used = upto[begin - 1]
        ends.append(begin)
    return ends


def pack(keys: Sequence[bytes], coins: Sequence[bytes], low: bytes) -> bytes:
    """The bytes of a group, without its checksum; ``low`` is the bound of the group before."""
    count = len(keys)
    txids = [key[:TXID_SIZE] for key in keys]
    places = {txid: place for place, txid in enumerate(dict.fromkeys(txids))}
    joined = b"".join(keys)
    vout_width = 1
    for width, at in ((2, TXID_SIZE + 1), (4, TXID_SIZE + 2), (4, TXID_SIZE + 3)):
        if any(joined[at::KEY_SIZE]):
            vout_width = width
    step = 1 + vout_width
    pairs = bytearray(step * count)
    pairs[::step] = bytes(map(places.__getitem__, txids))
    for byte in range(vout_width):
        pairs[1 + byte :: step] = joined[TXID_SIZE + byte :: KEY_SIZE]
    sizes = list(map(len, coins))
    longest = max(sizes, default=0)
    width = 1 if longest < 1 << 8 else 2 if longest < 1 << 16 else 4
    lengths = bytes(sizes) if width == 1 else b"".join([size.to_bytes(width, "little") for size in sizes])
    return b"".join((
        _HEAD.pack(vout_width, width, len(low), len(places), count), low, *places, pairs, lengths, *coins,
    ))  # fmt: skip


def unpack(group: bytes) -> Entries:
    """The entries of a group, in order."""
    vout_width, width, low, txs, count = _HEAD.unpack_from(group)
    at = _HEAD_SIZE + low
    step = 1 + vout_width
    numbers = at + TXID_SIZE * txs
    lengths = numbers + step * count
    begin = lengths + width * count
    txids = [group[place : place + TXID_SIZE] for place in range(at, numbers, TXID_SIZE)]
    places = group[numbers:lengths:step]
    if vout_width == 1:
        vouts = group[numbers + 1 : lengths : step]
        keys = [txids[place] + _SMALL_VOUTS[vout] for place, vout in zip(places, vouts, strict=True)]
    else:
        fill = bytes(4 - vout_width)
        keys = [
            txids[place] + group[at + 1 : at + step] + fill
            for place, at in zip(places, range(numbers, lengths, step), strict=True)
        ]
    ends = accumulate(_sizes(group[lengths:begin], width), initial=begin)
    return keys, [group[here:there] for here, there in pairwise(ends)]


def _sizes(column: bytes, width: int) -> Sequence[int]:
    if width == 1:
        return column
    if byteorder == "little":
        return memoryview(column).cast(_CODES[width])  # type: ignore[call-overload, no-any-return]
    return [int.from_bytes(column[at : at + width], "little") for at in range(0, len(column), width)]


def low_of(group: bytes) -> bytes:
    """The bound of the group before."""
    return group[_HEAD_SIZE : _HEAD_SIZE + group[2]]


def find(group: bytes, outpoint: bytes) -> bytes | None:
    """The coin of an outpoint that the group would have: GONE for a tombstone, None when it is not in there."""
    vout_width, width, low, txs, count = _HEAD.unpack_from(group)
    txids = _HEAD_SIZE + low
    numbers = txids + TXID_SIZE * txs
    at = _aligned(group, outpoint[:TXID_SIZE], txids, numbers, TXID_SIZE)
    used = TXID_SIZE + vout_width
    if at < 0 or outpoint[used:] != _NO_MORE[vout_width]:
        return None
    step = 1 + vout_width
    lengths = numbers + step * count
    pair = _BYTE[(at - txids) // TXID_SIZE] + outpoint[TXID_SIZE:used]
    at = _aligned(group, pair, numbers, lengths, step)
    if at < 0:
        return None
    number = (at - numbers) // step
    begin = lengths + width * count
    if width == 1:
        start, size = begin + sum(group[lengths : lengths + number]), group[lengths + number]
    else:
        sizes = _sizes(group[lengths:begin], width)
        start, size = begin + sum(sizes[:number]), sizes[number]
    return group[start : start + size]


def _aligned(group: bytes, what: bytes, begin: int, end: int, step: int) -> int:
    """Where in a column there is an element ``what``, -1 when none is."""
    at = group.find(what, begin, end)
    while at >= 0 and (at - begin) % step:
        at = group.find(what, at + 1, end)
    return at


def sealed_group(group: bytes, bound: bytes, salt: bytes) -> bytes:
    """The stored form of a group."""
    return group + crc32(group, crc32(bound, crc32(salt))).to_bytes(CHECK_SIZE, "little")


def split(keys: list[bytes], coins: list[bytes], low: bytes, *, last: bool) -> Iterator[tuple[bytes, bytes, int]]:
    """(bound, group without checksum, where its entries end) of entries behind ``low``.

    Unless they are the ``last`` of the run, those that may share a group with what follows are left over.
    """
    if last and not keys:  # a run without entries
        yield END, pack(keys, coins, low), 0
        return
    ends = cuts(keys, coins, low=len(low)) if keys else []
    begin = 0
    for end in ends:
        if end == len(keys):
            if not last:
                return
            bound = END
        else:
            bound = bound_between(keys[end - 1], keys[end])
        yield bound, pack(keys[begin:end], coins[begin:end], low), end
        low, begin = bound, end
