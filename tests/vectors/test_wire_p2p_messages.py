"""Messages that other implementations and real nodes have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import header_hash
from btcnode.wire import messages as m
from btcnode.wire.codec import Message
from btcnode.wire.framing import FrameDecoder, encode_frame
from btcnode.wire.registry import PAYLOAD_LIMITS, UnknownMessage, decode_message
from btcnode.wire.short_ids import short_id_key
from tests.lib.short_ids import short_id

UNKNOWN = {"alert", "reject"}  # no longer spoken by Core
MAGIC = params_for("main").magic


def test_bitcore_messages(vectors: Path) -> None:
    commands = json.loads((vectors / "bitcore/p2p_messages.json").read_text())
    for command, variants in commands.items():
        raw = bytes.fromhex(variants["message"])
        decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
        decoder.feed(raw)
        ((seen, payload),) = list(decoder)
        assert (seen, decoder.buffered, decoder.dropped) == (command, 0, [])
        message = decode_message(command, payload)
        assert isinstance(message, UnknownMessage) == (command in UNKNOWN)
        assert encode_frame(MAGIC, command, message.encode()) == raw, command
    assert len(commands) == 21


def test_bitcore_contents(vectors: Path) -> None:
    commands = json.loads((vectors / "bitcore/p2p_messages.json").read_text())

    def message(command: str) -> Message:
        return decode_message(command, bytes.fromhex(commands[command]["message"])[24:])

    addr, inv, headers, version = message("addr"), message("inv"), message("headers"), message("version")
    assert isinstance(addr, m.Addr)
    assert len(addr.entries) == 501
    assert sum(entry.address.is_routable for entry in addr.entries) > 490
    assert isinstance(inv, m.Inv)
    assert {item.kind for item in inv.items} == {1}
    assert isinstance(headers, m.Headers)
    assert len(headers.headers) == 3
    assert headers.headers[1][4:36] == header_hash(headers.headers[0])
    assert isinstance(version, m.Version)
    assert (version.version, version.start_height, version.relay) == (70002, 333731, True)
    block = message("block")
    assert isinstance(block, m.BlockMessage)
    assert block.parse().n_tx > 1
    tx = message("tx")
    assert isinstance(tx, m.TxMessage)
    assert len(tx.parse().prevouts) == 1


def test_version_without_relay_flag(vectors: Path) -> None:
    commands = json.loads((vectors / "bitcore/p2p_messages.json").read_text())["version"]
    short = bytes.fromhex(commands["messagenofrelay"])[24:]
    message = m.Version.decode(short)
    assert message.relay
    assert message.encode() == short + b"\x01"


@pytest.mark.parametrize("height", [426884, 898352])
def test_compact_blocks(vectors: Path, height: int) -> None:
    payload = (vectors / f"bcoin/compact{height}.raw").read_bytes()
    message = m.CmpctBlock.decode(payload)
    block = parse_block((vectors / f"bcoin/block{height}.raw").read_bytes())
    assert message.encode() == payload
    assert message.hash == block.hash
    assert message.prefilled == (m.PrefilledTx(0, block.tx_raw(0)),)
    key = short_id_key(message.header, message.nonce)
    assert list(message.short_ids) == [short_id(key, txid) for txid in block.txids[1:]]


def test_merkle_block(vectors: Path) -> None:
    payload = (vectors / "bcoin/merkle300025.raw").read_bytes()
    message = m.MerkleBlock.decode(payload)
    assert message.encode() == payload
    assert (message.total_txs, len(message.hashes), message.flags.hex()) == (461, 10, "f57a00")
    block = parse_block((vectors / "bcoin/block300025.raw").read_bytes())
    assert message.header == block.raw[:80]
    extended = (vectors / "bcoin/merkle300025-extended.raw").read_bytes()
    assert m.MerkleBlock.decode(extended) == message  # what follows is ignored


def test_real_headers(vectors: Path) -> None:
    raw = (vectors / "floresta/headers_mainnet_0_10236.bin").read_bytes()
    headers = tuple(raw[start : start + 80] for start in range(0, 2000 * 80, 80))
    message = m.Headers.decode(m.Headers(headers).encode())
    assert message.headers == headers


def test_blocks_and_their_transactions(vectors: Path) -> None:
    raw = (vectors / "floresta/block866342.raw").read_bytes()
    message = decode_message("block", raw)
    assert isinstance(message, m.BlockMessage)
    assert to_display(message.hash) == "000000000000000000014ce9ba7c6760053c3c82ce6ab43d60afb101d3c8f1f1"
    block = message.parse()
    answer = m.BlockTxn(block.hash, tuple(block.tx_raw(i) for i in range(0, block.n_tx, 97)))
    assert m.BlockTxn.decode(answer.encode()) == answer
    tx = decode_message("tx", block.tx_raw(1))
    assert isinstance(tx, m.TxMessage)
    assert tx.parse().txid == block.txids[1]


def siphash(key0: int, key1: int, data: bytes) -> int:
    """SipHash-2-4, straight from its paper."""
    mask = 0xFFFFFFFFFFFFFFFF
    a, b = 0x736F6D6570736575 ^ key0, 0x646F72616E646F6D ^ key1
    c, d = 0x6C7967656E657261 ^ key0, 0x7465646279746573 ^ key1

    def rounds(count: int) -> None:
        nonlocal a, b, c, d
        for _ in range(count):
            a = (a + b) & mask
            b = ((b << 13 | b >> 51) & mask) ^ a
            a = (a << 32 | a >> 32) & mask
            c = (c + d) & mask
            d = ((d << 16 | d >> 48) & mask) ^ c
            a = (a + d) & mask
            d = ((d << 21 | d >> 43) & mask) ^ a
            c = (c + b) & mask
            b = ((b << 17 | b >> 47) & mask) ^ c
            c = (c << 32 | c >> 32) & mask

    tail = data[len(data) & ~7 :].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for start in range(0, len(data) & ~7, 8):
        word = int.from_bytes(data[start : start + 8], "little")
        d ^= word
        rounds(2)
        a ^= word
    word = int.from_bytes(tail, "little")
    d ^= word
    rounds(2)
    a ^= word
    c ^= 0xFF
    rounds(4)
    return a ^ b ^ c ^ d
