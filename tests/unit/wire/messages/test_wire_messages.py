"""Messages: limits, leniency and bytes as Bitcoin Core has them."""

from __future__ import annotations

import pytest

from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.wire import messages as m
from btcnode.wire.codec import LimitExceeded, Message
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS, service_names
from btcnode.wire.netaddr import NetAddress, Network
from btcnode.wire.registry import BY_COMMAND, MESSAGE_CLASSES, UnknownMessage, decode_message

GENESIS = params_for("regtest").genesis_block
HEADER = GENESIS[:80]
COINBASE = parse_block(GENESIS).tx_raw(0)
HASH = bytes(range(32))

CORE_COMMANDS = [
    "version", "verack", "addr", "addrv2", "sendaddrv2", "inv", "getdata", "merkleblock", "getblocks", "getheaders",
    "tx", "headers", "block", "getaddr", "mempool", "ping", "pong", "notfound", "filterload", "filteradd",
    "filterclear", "sendheaders", "feefilter", "sendcmpct", "cmpctblock", "getblocktxn", "blocktxn", "getcfilters",
    "cfilter", "getcfheaders", "cfheaders", "getcfcheckpt", "cfcheckpt", "wtxidrelay", "sendtxrcncl",
]  # fmt: skip


def test_every_command_of_core() -> None:
    assert list(BY_COMMAND) == [
        *CORE_COMMANDS,
        "get_xthin",
        "xthinblock",
        "get_xblocktx",
        "xblocktx",
        "getbspent",
        "bspent",
        "getuproof",
        "uproof",
        "geturoot",
        "uroot",
        "feature",
        "getutxotree",
        "utxotree",
        "getutxoset",
        "utxoset",
    ]
    assert len(MESSAGE_CLASSES) == 35 + 4 + 2 + 4 + 5


def test_messages_are_slotted() -> None:
    for cls in MESSAGE_CLASSES:
        assert not hasattr(cls.__new__(cls), "__dict__"), cls


def test_unknown_command() -> None:
    message = decode_message("alert", b"\x01\x02")
    assert message == UnknownMessage("alert", b"\x01\x02")
    assert message.encode() == b"\x01\x02"


VERSION = m.Version(
    version=70016, services=9, time=1700000000, receiver=NetAddress.from_host("1.2.3.4", 8333),
    receiver_services=1, nonce=0x1122334455667788, user_agent=b"/Satoshi:31.0.0/", start_height=900000, relay=False,
)  # fmt: skip


def test_version_without_its_tail() -> None:
    raw = VERSION.encode()
    short = m.Version.decode(raw[:46])
    assert (short.version, short.services, short.receiver) == (70016, 9, VERSION.receiver)
    assert (short.nonce, short.user_agent, short.start_height, short.relay) == (1, b"", -1, True)
    no_agent = m.Version.decode(raw[:80])
    assert (no_agent.nonce, no_agent.user_agent) == (VERSION.nonce, b"")
    no_height = m.Version.decode(raw[:97])
    assert (no_height.user_agent, no_height.start_height) == (VERSION.user_agent, -1)
    no_relay = m.Version.decode(raw[:-1])
    assert (no_relay.start_height, no_relay.relay) == (900000, True)
    complete = {46, 80, 97, 101}
    for size in range(len(raw)):
        if size not in complete:
            with pytest.raises(DecodeError):
                m.Version.decode(raw[:size])


def test_version_leniency() -> None:
    assert m.Version.decode(VERSION.encode() + b"more") == VERSION
    assert m.Version.decode(VERSION.encode()[:-1] + b"\x07").relay is True
    assert m.Version.decode(m.Version(time=-5).encode()).time == 0


def test_version_user_agent() -> None:
    longest = m.Version(user_agent=b"a" * 256)
    assert m.Version.decode(longest.encode()) == longest
    with pytest.raises(DecodeError):
        m.Version.decode(m.Version(user_agent=b"a" * 257).encode())
    agent = "/Satoshi:31.0.0(a@b)/\x1b[31m\n\u00e9<>".encode()
    assert m.Version(user_agent=agent).clean_user_agent == "/Satoshi:31.0.0(a@b)/31m"


def test_trailing_bytes_are_ignored() -> None:
    for message in (
        m.Verack(), m.WtxidRelay(), m.SendAddrV2(), m.SendHeaders(), m.GetAddr(), m.Mempool(), m.FilterClear(),
        m.Ping(1), m.Pong(2), m.FeeFilter(-3), m.SendCmpct(True, 2), m.SendTxRcncl(1, 5), m.Inv((m.InvItem(1, HASH),)),
        m.Headers((HEADER,)), m.GetHeaders((HASH,), HASH), m.BlockTxn(HASH, (COINBASE,)), m.FilterAdd(b"x"),
        m.CFHeaders(0, HASH, HASH, (HASH,)), m.GetBlockTxn(HASH, (0, 1, 300)),
    ):  # fmt: skip
        assert type(message).decode(message.encode() + b"\xff\x00") == message
    assert m.TxMessage.decode(COINBASE + b"\xff").parse().raw == COINBASE


def limit_cases() -> list[tuple[type[Message], bytes, bytes]]:
    """Class, the largest payload that is allowed, the smallest that is not."""

    def items(
        cls: type[Message], head: bytes, size: int, limit: int, tail: bytes = b""
    ) -> tuple[type[Message], bytes, bytes]:
        return (
            cls,
            head + compact_size(limit) + bytes(size * limit) + tail,
            head + compact_size(limit + 1) + bytes(size * (limit + 1)) + tail,
        )

    return [
        items(m.Inv, b"", 36, 50_000),
        items(m.GetData, b"", 36, 50_000),
        items(m.Addr, b"", 30, 1000),
        items(m.Headers, b"", 81, 2000),
        items(m.GetHeaders, bytes(4), 32, 101, bytes(32)),
        items(m.GetBlocks, bytes(4), 32, 101, bytes(32)),
        items(m.CFHeaders, bytes(65), 32, 2000),
        items(m.FilterAdd, b"", 1, 520),
        items(m.FilterLoad, b"", 1, 36_000, bytes(9)),
    ]


@pytest.mark.parametrize(
    ("cls", "largest", "too_large"), limit_cases(), ids=lambda value: getattr(value, "command", "")
)
def test_limits(cls: type[Message], largest: bytes, too_large: bytes) -> None:
    assert cls.decode(largest).encode() == largest
    assert len(largest) <= cls.max_size
    with pytest.raises(LimitExceeded):
        cls.decode(too_large)


def test_hash_functions_of_a_bloom_filter() -> None:
    assert m.FilterLoad.decode(m.FilterLoad(b"x", 50, 1, 2).encode()).hash_funcs == 50
    with pytest.raises(LimitExceeded):
        m.FilterLoad.decode(m.FilterLoad(b"x", 51, 1, 2).encode())


def test_addrv2_limit_and_skipped_entries() -> None:
    entry = bytes(4) + b"\x00" + b"\x01\x04\x01\x02\x03\x04\x20\x8d"
    strange = bytes(4) + b"\xff" + b"\xff" * 8 + b"\x2a\x05hello\x20\x8d"
    torv2 = bytes(4) + b"\x00" + b"\x03\x0a" + bytes(10) + b"\x20\x8d"
    decoded = m.AddrV2.decode(b"\x03" + strange + torv2 + entry)
    assert decoded.entries == (m.AddrEntry(0, 0, NetAddress.from_host("1.2.3.4", 8333)),)
    assert len(m.AddrV2.decode(compact_size(1000) + entry * 1000).entries) == 1000
    with pytest.raises(LimitExceeded):
        m.AddrV2.decode(compact_size(1001) + entry * 1001)
    with pytest.raises(DecodeError):  # 513 bytes of address
        m.AddrV2.decode(b"\x01" + bytes(5) + b"\x2a\xfd\x01\x02" + bytes(515))
    with pytest.raises(DecodeError):  # IPv4 of five bytes
        m.AddrV2.decode(b"\x01" + bytes(5) + b"\x01\x05" + bytes(7))


def test_addr_v1_of_other_networks() -> None:
    onion = NetAddress(Network.TORV3, HASH, 8333)
    decoded = m.Addr.decode(m.Addr((m.AddrEntry(1, 2, onion),)).encode())
    assert not decoded.entries[0].address.is_valid


def test_notfound_beyond_what_was_asked_is_ignored() -> None:
    item = m.InvItem(1, HASH)
    assert len(m.NotFound.decode(m.NotFound((item,) * 5016).encode()).items) == 5016
    assert m.NotFound.decode(m.NotFound((item,) * 5017).encode()).items == ()


def test_counts_are_checked_before_memory_is_taken() -> None:
    huge = b"\xfe\x00\x00\x00\x02"  # 33,554,432: the most that a CompactSize may say
    for cls, head in (
        (m.NotFound, b""), (m.BlockTxn, HASH), (m.CFCheckpt, bytes(33)), (m.MerkleBlock, bytes(84)),
        (m.CmpctBlock, bytes(88)), (m.GetBlockTxn, HASH), (m.CFilter, bytes(33)),
    ):  # fmt: skip
        with pytest.raises(DecodeError):
            cls.decode(head + huge + bytes(100))


def test_headers_with_transaction_counts() -> None:
    other = bytes(79) + b"\x01"
    assert m.Headers.decode(b"\x02" + HEADER + b"\x05" + other + b"\x00").headers == (HEADER, other)
    assert m.Headers.decode(b"\x02" + HEADER + b"\xfd\x00\x01" + other + b"\x00").headers == (HEADER, other)
    for bad in (b"\x02" + HEADER + b"\x00" + other, b"\x02" + HEADER + b"\xfd\x00\x01" + other):
        with pytest.raises(DecodeError):
            m.Headers.decode(bad)
    assert m.Headers.decode(b"\x00").headers == ()


def test_block_and_transaction_stay_bytes() -> None:
    block = m.BlockMessage.decode(GENESIS)
    assert block.raw is GENESIS
    assert block.header == HEADER
    assert block.hash == block.parse().hash == params_for("regtest").genesis_hash
    assert m.TxMessage.decode(COINBASE).parse().is_coinbase
    for cls in (m.BlockMessage, m.TxMessage):
        with pytest.raises(DecodeError):
            cls.decode(b"short")
    with pytest.raises(DecodeError):
        m.BlockMessage.decode(GENESIS + b"\x00").parse()


def test_compact_block_positions() -> None:
    first, third = m.PrefilledTx(0, COINBASE), m.PrefilledTx(2, COINBASE)
    block = m.CmpctBlock(HEADER, 7, (5,), (first, third))
    assert block.encode()[88:].hex() == "01050000000000" + "02" + "00" + COINBASE.hex() + "01" + COINBASE.hex()
    assert m.CmpctBlock.decode(block.encode()) == block
    with pytest.raises(LimitExceeded):
        m.CmpctBlock.decode(m.CmpctBlock(HEADER, 7, (), (first, third)).encode())
    with pytest.raises(LimitExceeded):
        m.CmpctBlock.decode(m.CmpctBlock(HEADER, 7, (1, 2), (m.PrefilledTx(3, COINBASE),)).encode())


def test_compact_block_of_too_many() -> None:
    ids = tuple(range(65_534))
    coinbase = (m.PrefilledTx(0, COINBASE),)
    assert len(m.CmpctBlock.decode(m.CmpctBlock(HEADER, 7, ids, coinbase).encode()).short_ids) == 65_534
    with pytest.raises(DecodeError, match="65536 transactions"):
        m.CmpctBlock.decode(m.CmpctBlock(HEADER, 7, (*ids, 1), coinbase).encode())


def test_getblocktxn_positions() -> None:
    request = m.GetBlockTxn(HASH, (1, 2, 65_535))
    assert request.encode()[32:].hex() == "03" + "01" + "00" + "fdfcff"
    assert m.GetBlockTxn.decode(request.encode()) == request
    with pytest.raises(DecodeError):
        m.GetBlockTxn.decode(m.GetBlockTxn(HASH, (65_536,)).encode())
    every = m.GetBlockTxn(HASH, tuple(range(65_536)))
    assert m.GetBlockTxn.decode(every.encode()) == every
    with pytest.raises(DecodeError):
        m.GetBlockTxn.decode(HASH + b"\xfe\x01\x00\x01\x00" + bytes(65_537))


def test_short_pong_has_no_nonce() -> None:
    assert m.Pong.decode(b"1234567").nonce is None
    assert m.Pong.decode(m.Pong(5).encode()).nonce == 5


def test_service_names() -> None:
    assert service_names(NODE_NETWORK | NODE_WITNESS | 1 << 40) == ["NETWORK", "WITNESS", "UNKNOWN[2^40]"]
    assert service_names(0xFFFFFFFFFFFFFFFF)[-1] == "UNKNOWN[2^63]"


def test_features_are_as_bip434_has_them() -> None:
    assert m.Feature(b"BIP452").encode() == b"\x06BIP452\x00"
    assert m.Feature.decode(b"\x06BIP452\x02ab") == m.Feature(b"BIP452", b"ab")
    assert m.Feature.decode(m.Feature(b"x" * 80, b"y" * 512).encode()).data == b"y" * 512
    for payload in (
        b"\x03BIP\x00",
        b"\x06BIP452",
        b"\x06BIP452\x00\x00",
        b"\x51" + b"x" * 81 + b"\x00",
        b"\x06BIP452\xfd\x01\x02" + bytes(513),
    ):
        with pytest.raises(DecodeError):
            m.Feature.decode(payload)


def test_parts_of_utxo_sets_are_as_the_draft_has_them() -> None:
    assert m.GetUtxoTree(HASH).encode() == HASH
    assert m.GetUtxoSet(HASH, 258).encode() == HASH + b"\x02\x01\x00\x00"
    tree = m.UtxoTree(HASH, 2, 3_900_001, HASH + bytes(32))
    assert tree.encode() == HASH + b"\x02\x00" + (3_900_001).to_bytes(8, "little") + HASH + bytes(32)
    assert tree.root == sha256d(HASH + bytes(32))
    assert m.UtxoSetChunk(HASH, 1, b"abc").encode() == HASH + b"\x01\x00\x00\x00abc"
    head = HASH + b"\x02\x00"
    for length, hashes, wrong in (
        (0, b"", LimitExceeded),
        (2**64 - 1, bytes(64), LimitExceeded),
        (3_900_001, bytes(32), DecodeError),
        (3_900_000, bytes(64), DecodeError),
    ):
        with pytest.raises(wrong):
            m.UtxoTree.decode(head + length.to_bytes(8, "little") + hashes)
