"""Every message: what is encoded decodes to itself, and no bytes break a codec."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.chunk_tree import CHUNK_SIZE, chunk_count
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.tx import Tx
from btcnode.wire import messages as m
from btcnode.wire.codec import Message, encode_hashes
from btcnode.wire.framing import FrameDecoder, FrameError
from btcnode.wire.netaddr import ADDRESS_SIZES, NetAddress, Network
from btcnode.wire.registry import BY_COMMAND, MESSAGE_CLASSES, PAYLOAD_LIMITS, decode_message, encode_message

MAGIC = b"\xfa\xbf\xb5\xda"
QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
i32, i64 = (st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (32, 64))
hash32 = st.binary(min_size=32, max_size=32)
header80 = st.binary(min_size=80, max_size=80)
small = st.binary(max_size=300)


def tuples(items: st.SearchStrategy[Any], size: int = 8) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=size).map(tuple)


@st.composite
def addresses(draw: st.DrawFn, networks: tuple[Network, ...] = tuple(Network)) -> NetAddress:
    network = draw(st.sampled_from(networks))
    raw = draw(st.binary(min_size=ADDRESS_SIZES[network], max_size=ADDRESS_SIZES[network]))
    if network is Network.IPV6:
        raw = b"\x20" + raw[1:]  # no prefix of wrapped networks
    return NetAddress(network, raw, draw(u16))


@st.composite
def transactions(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(1, 3))
    witnesses = draw(st.none() | st.lists(st.lists(small, max_size=3), min_size=count, max_size=count))
    outputs = [
        draw(st.binary(min_size=8, max_size=8)) + b"\x02" + draw(st.binary(min_size=2, max_size=2)) for _ in "ab"
    ]
    return Tx(
        draw(u32),
        [draw(hash32) + b"\1\0\0\0" for _ in range(count)],
        [draw(small) for _ in range(count)],
        [draw(u32) for _ in range(count)],
        outputs,
        witnesses,
        draw(u32),
    ).raw


@st.composite
def compact_blocks(draw: st.DrawFn) -> m.CmpctBlock:
    total = draw(st.integers(1, 12))
    positions = sorted(draw(st.sets(st.integers(0, total - 1), max_size=4)))
    short_ids = tuple(draw(st.integers(0, 2**48 - 1)) for _ in range(total - len(positions)))
    prefilled = tuple(m.PrefilledTx(position, draw(transactions())) for position in positions)
    return m.CmpctBlock(draw(header80), draw(u64), short_ids, prefilled)


v1_address = addresses((Network.IPV4, Network.IPV6))
cheap_hashes = st.binary(min_size=8, max_size=8)
inv_items = tuples(st.builds(m.InvItem, u32, hash32))
indexes = st.sets(st.integers(0, 65_535), max_size=20).map(lambda values: tuple(sorted(values)))

STRATEGIES: dict[type[Message], st.SearchStrategy[Any]] = {
    m.Version: st.builds(
        m.Version, i32, u64, st.integers(0, 2**63 - 1), u64, v1_address, u64, v1_address, u64, st.binary(max_size=256),
        i32, st.booleans(),
    ),
    m.Verack: st.builds(m.Verack),
    m.Addr: st.builds(m.Addr, tuples(st.builds(m.AddrEntry, u32, u64, v1_address))),
    m.AddrV2: st.builds(m.AddrV2, tuples(st.builds(m.AddrEntry, u32, u64, addresses()))),
    m.SendAddrV2: st.builds(m.SendAddrV2),
    m.Inv: st.builds(m.Inv, inv_items),
    m.GetData: st.builds(m.GetData, inv_items),
    m.MerkleBlock: st.builds(m.MerkleBlock, header80, u32, tuples(hash32), small),
    m.GetBlocks: st.builds(m.GetBlocks, tuples(hash32), hash32, i32),
    m.GetHeaders: st.builds(m.GetHeaders, tuples(hash32, 101), hash32, i32),
    m.TxMessage: st.builds(m.TxMessage, transactions()),
    m.Headers: st.builds(m.Headers, tuples(header80)),
    m.BlockMessage: st.builds(m.BlockMessage, st.binary(min_size=81, max_size=300)),
    m.GetAddr: st.builds(m.GetAddr),
    m.Mempool: st.builds(m.Mempool),
    m.Ping: st.builds(m.Ping, u64),
    m.Pong: st.builds(m.Pong, st.none() | u64),
    m.NotFound: st.builds(m.NotFound, inv_items),
    m.FilterLoad: st.builds(m.FilterLoad, small, st.integers(0, 50), u32, u8),
    m.FilterAdd: st.builds(m.FilterAdd, st.binary(max_size=520)),
    m.FilterClear: st.builds(m.FilterClear),
    m.SendHeaders: st.builds(m.SendHeaders),
    m.FeeFilter: st.builds(m.FeeFilter, i64),
    m.SendCmpct: st.builds(m.SendCmpct, st.booleans(), u64),
    m.CmpctBlock: compact_blocks(),
    m.GetBlockTxn: st.builds(m.GetBlockTxn, hash32, indexes),
    m.BlockTxn: st.builds(m.BlockTxn, hash32, tuples(transactions(), 3)),
    m.GetCFilters: st.builds(m.GetCFilters, u8, u32, hash32),
    m.CFilter: st.builds(m.CFilter, u8, hash32, small),
    m.GetCFHeaders: st.builds(m.GetCFHeaders, u8, u32, hash32),
    m.CFHeaders: st.builds(m.CFHeaders, u8, hash32, hash32, tuples(hash32)),
    m.GetCFCheckpt: st.builds(m.GetCFCheckpt, u8, hash32),
    m.CFCheckpt: st.builds(m.CFCheckpt, u8, hash32, tuples(hash32)),
    m.WtxidRelay: st.builds(m.WtxidRelay),
    m.SendTxRcncl: st.builds(m.SendTxRcncl, u32, u64),
    m.GetXThin: st.builds(m.GetXThin, hash32, small, st.integers(0, 50), u32, u8),
    m.XThinBlock: st.builds(m.XThinBlock, header80, tuples(cheap_hashes), tuples(transactions(), 3)),
    m.GetXBlockTx: st.builds(m.GetXBlockTx, hash32, tuples(cheap_hashes)),
    m.XBlockTx: st.builds(m.XBlockTx, hash32, tuples(transactions(), 3)),
    m.GetBlockSpent: st.builds(m.GetBlockSpent, u8, hash32, u32),
    m.BlockSpent: st.builds(m.BlockSpent, hash32, st.lists(st.binary(min_size=11, max_size=40), max_size=9).map(
        lambda coins: bytes((len(coins),)) + b"".join(coins))),
    m.GetUtreexoProof: st.builds(m.GetUtreexoProof, hash32, u8, small, small),
    m.UtreexoProof: st.builds(m.UtreexoProof, hash32, tuples(hash32).map(encode_hashes)),
    m.GetUtreexoRoot: st.builds(m.GetUtreexoRoot, hash32),
    m.Feature: st.builds(m.Feature, st.binary(min_size=4, max_size=80), st.binary(max_size=512)),
    m.GetUtxoTree: st.builds(m.GetUtxoTree, hash32),
    m.UtxoTree: st.integers(1, 20 * CHUNK_SIZE).flatmap(lambda length: st.builds(
        m.UtxoTree, hash32, st.integers(0, 0xFFFF), st.just(length),
        st.binary(min_size=32 * chunk_count(length), max_size=32 * chunk_count(length)))),
    m.GetUtxoSet: st.builds(m.GetUtxoSet, hash32, u32),
    m.UtxoSetChunk: st.builds(m.UtxoSetChunk, hash32, u32, small),
    m.UtreexoRoot: st.builds(m.UtreexoRoot, u64, u64, hash32, tuples(hash32), tuples(hash32)),
}  # fmt: skip

# payloads of these end where the sender likes: some prefixes are messages of their own
ENDS_ANYWHERE = {m.Pong, m.BlockMessage, m.TxMessage, m.BlockSpent, m.UtreexoProof, m.UtxoSetChunk}
VERSION_ENDS = {46, 80}

by_class = pytest.mark.parametrize("cls", MESSAGE_CLASSES, ids=lambda cls: cls.command)


def decode_or_refuse(command: str, payload: bytes) -> Message | None:
    """The message, or None for a DecodeError; anything else is a failure of the test."""
    try:
        return decode_message(command, payload)
    except DecodeError:
        return None


def test_no_class_is_left_out() -> None:
    assert set(STRATEGIES) == set(MESSAGE_CLASSES)


@by_class
@QUICK
@given(data=st.data())
def test_round_trip(cls: type[Message], data: st.DataObject) -> None:
    message = data.draw(STRATEGIES[cls])
    payload = message.encode()
    assert len(payload) <= cls.max_size
    assert decode_message(cls.command, payload) == message
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    decoder.feed(encode_message(MAGIC, message))
    assert list(decoder) == [(cls.command, payload)]


@by_class
@QUICK
@given(data=st.data())
def test_truncation_at_every_offset(cls: type[Message], data: st.DataObject) -> None:
    message = data.draw(STRATEGIES[cls])
    payload = message.encode()
    for size in range(len(payload)):
        decoded = decode_or_refuse(cls.command, payload[:size])
        if cls in ENDS_ANYWHERE:
            continue
        if isinstance(message, m.Version):
            complete = size in VERSION_ENDS or size in (len(payload) - 5, len(payload) - 1)
            assert (decoded is not None) == complete
        else:
            assert decoded is None, size


@by_class
@QUICK
@given(payload=st.binary(max_size=400))
def test_random_bytes(cls: type[Message], payload: bytes) -> None:
    message = decode_or_refuse(cls.command, payload)
    if message is not None:
        assert decode_message(cls.command, message.encode()) == message


@by_class
def test_random_damage(cls: type[Message]) -> None:
    rng = random.Random(cls.command)
    seeds = {
        m.TxMessage: parse_block(params_for("main").genesis_block).tx_raw(0),
        m.BlockMessage: params_for("main").genesis_block,
    }
    base = seeds.get(cls) or _example(cls).encode()
    refused = 0
    for _ in range(400):
        payload = bytearray(base)
        for _ in range(rng.randint(1, 4)):
            if payload:
                payload[rng.randrange(len(payload))] = rng.choice(
                    (0, 1, 0x7F, 0xFC, 0xFD, 0xFE, 0xFF, rng.randrange(256))
                )
        message = decode_or_refuse(cls.command, bytes(payload))
        if isinstance(message, m.TxMessage | m.BlockMessage):
            try:
                message.parse()
            except DecodeError:
                refused += 1
    assert refused or cls not in seeds


@QUICK
@given(
    chunks=st.lists(
        st.binary(max_size=40)
        | st.sampled_from([MAGIC, encode_message(MAGIC, m.Ping(7)), encode_message(MAGIC, m.Verack())]),
        max_size=20,
    )
)
def test_decoder_survives_any_stream(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    for chunk in chunks:
        decoder.feed(chunk)
        try:
            for command, payload in decoder:
                decode_or_refuse(command, payload)
        except FrameError:
            assert decoder.buffered == 0
            return


@QUICK
@given(command=st.sampled_from(sorted(BY_COMMAND)), payload=st.binary(max_size=100), cuts=st.lists(st.integers(0, 130)))
def test_cutting_does_not_matter(command: str, payload: bytes, cuts: list[int]) -> None:
    frame = (
        MAGIC + command.encode().ljust(12, b"\0") + len(payload).to_bytes(4, "little") + sha256d(payload)[:4] + payload
    )
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    seen = []
    bounds = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    for start, end in pairwise(bounds):
        decoder.feed(frame[start:end])
        seen += list(decoder)
    assert seen == [(command, payload)]


@given(address=addresses())
def test_address_text(address: NetAddress) -> None:
    expected = NetAddress(Network.IPV6, address.raw, address.port) if address.network is Network.CJDNS else address
    if expected.network is not Network.IPV6 or expected.raw[:1] == b"\x20":
        assert NetAddress.from_host(address.host, address.port) == expected


def _example(cls: type[Message]) -> Message:
    """One message with something in every list."""
    tx = parse_block(params_for("main").genesis_block).tx_raw(0)
    hashes = (bytes(range(32)),) * 3
    entries = tuple(m.AddrEntry(5, 9, NetAddress.from_host(host, 8333)) for host in ("1.2.3.4", "2a00::1"))
    examples: dict[type[Message], Message] = {
        m.Version: m.Version(user_agent=b"/x:1/"),
        m.GetXThin: m.GetXThin(bytes(32), b"\x01\x02\x03", 5, 6),
        m.XThinBlock: m.XThinBlock(bytes(80), (bytes(range(8)),) * 3, (tx, tx)),
        m.GetXBlockTx: m.GetXBlockTx(bytes(32), (bytes(range(8)),) * 3),
        m.XBlockTx: m.XBlockTx(bytes(32), (tx, tx)),
        m.GetBlockSpent: m.GetBlockSpent(0, bytes(32), 5),
        m.BlockSpent: m.BlockSpent(bytes(32), b"\3" + bytes(33)),
        m.GetUtreexoProof: m.GetUtreexoProof(bytes(32), 1, b"ab", b"c"),
        m.UtreexoProof: m.UtreexoProof(bytes(32), b"\3" + bytes(96)),
        m.GetUtreexoRoot: m.GetUtreexoRoot(bytes(32)),
        m.UtreexoRoot: m.UtreexoRoot(3, 0, bytes(32), hashes, hashes),
        m.Feature: m.Feature(b"BIP452", b"abc"),
        m.GetUtxoTree: m.GetUtxoTree(bytes(32)),
        m.UtxoTree: m.UtxoTree(bytes(32), 2, 2 * CHUNK_SIZE + 1, bytes(96)),
        m.GetUtxoSet: m.GetUtxoSet(bytes(32), 7),
        m.UtxoSetChunk: m.UtxoSetChunk(bytes(32), 7, b"abc"),
        m.Addr: m.Addr(entries),
        m.AddrV2: m.AddrV2(entries),
        m.Inv: m.Inv((m.InvItem(1, hashes[0]),) * 3),
        m.GetData: m.GetData((m.InvItem(1, hashes[0]),) * 3),
        m.NotFound: m.NotFound((m.InvItem(1, hashes[0]),) * 3),
        m.MerkleBlock: m.MerkleBlock(bytes(80), 3, hashes, b"\x07"),
        m.GetBlocks: m.GetBlocks(hashes),
        m.GetHeaders: m.GetHeaders(hashes),
        m.Headers: m.Headers((bytes(80),) * 3),
        m.Ping: m.Ping(1),
        m.Pong: m.Pong(1),
        m.FilterLoad: m.FilterLoad(b"abc", 3, 1, 1),
        m.FilterAdd: m.FilterAdd(b"abc"),
        m.FeeFilter: m.FeeFilter(1),
        m.SendCmpct: m.SendCmpct(True),
        m.CmpctBlock: m.CmpctBlock(bytes(80), 1, (5, 6, 7), (m.PrefilledTx(0, tx), m.PrefilledTx(2, tx))),
        m.GetBlockTxn: m.GetBlockTxn(hashes[0], (0, 5, 700)),
        m.BlockTxn: m.BlockTxn(hashes[0], (tx, tx)),
        m.GetCFilters: m.GetCFilters(0, 1, hashes[0]),
        m.CFilter: m.CFilter(0, hashes[0], b"filter"),
        m.GetCFHeaders: m.GetCFHeaders(0, 1, hashes[0]),
        m.CFHeaders: m.CFHeaders(0, hashes[0], hashes[0], hashes),
        m.GetCFCheckpt: m.GetCFCheckpt(0, hashes[0]),
        m.CFCheckpt: m.CFCheckpt(0, hashes[0], hashes),
        m.SendTxRcncl: m.SendTxRcncl(1, 2),
    }
    return examples.get(cls) or cls.decode(b"")
