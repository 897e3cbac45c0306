"""Files that other nodes wrote."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.block_import import iter_blocks
from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.layout import FRAME, FRAME_SIZE, UNDO_CHECKSUM_SIZE
from btcnode.storage.undo import compress_coin, decode_undo, decompress_coin, encode_undo

MAINNET = b"\xf9\xbe\xb4\xd9"


def read_undo_vector(path: Path) -> list[bytes]:
    """The txouts of a ``-undo.raw`` file."""
    data = path.read_bytes()
    found, pos = [], 0
    while pos < len(data):
        size, script = data[pos + 8], pos + 9
        if size == 0xFD:
            size, script = int.from_bytes(data[pos + 9 : pos + 11], "little"), pos + 11
        found.append(data[pos : script + size])
        pos = script + size
    return found


def test_core_block_files_give_the_chain(vectors: Path) -> None:
    parent = bytes(32)
    count = 0
    for name in ("blk00000.dat", "blk00001.dat"):
        for _, raw in iter_blocks(vectors / "nbitcoin" / name, MAINNET):
            block = parse_block(raw)
            assert block.prev_hash == parent
            parent = block.hash
            count += 1
    assert count == 600


def test_torn_file_gives_all_whole_blocks(vectors: Path) -> None:
    whole = list(iter_blocks(vectors / "nbitcoin" / "blk00001.dat", MAINNET))
    torn = list(iter_blocks(vectors / "nbitcoin" / "incompleteblk.dat", MAINNET))
    assert torn[: len(whole)] == whole
    assert len(whole) == 300
    # what else is found in the torn part are whole blocks too
    for _, raw in torn[300:]:
        parse_block(raw)


def test_core_undo_file(vectors: Path, tmp_path: Path) -> None:
    """Block files and undo files of Core's, read through ``BlockFiles`` as they lie there."""
    for name in ("blk00000.dat", "rev00000.dat"):
        (tmp_path / name).write_bytes((vectors / "nbitcoin" / name).read_bytes())
    files = BlockFiles(tmp_path, MAINNET)
    assert files.xor_key == bytes(8)
    blocks = list(iter_blocks(tmp_path / "blk00000.dat", MAINNET))
    data = (tmp_path / "rev00000.dat").read_bytes()
    pos, height = 0, 0
    while pos < len(data):
        magic, size = FRAME.unpack_from(data, pos)
        assert magic == MAINNET
        height += 1
        prev_hash = header_hash(blocks[height - 1][1][:HEADER_SIZE])
        payload = files.read_undo(BlockPos(0, pos + FRAME_SIZE), prev_hash)
        assert len(payload) == size
        assert encode_undo(decode_undo(payload)) == payload
        assert files.read_block(BlockPos(0, blocks[height][0])) == blocks[height][1]
        pos += FRAME_SIZE + size + UNDO_CHECKSUM_SIZE
    assert height == 40


def test_block_files_are_written_byte_for_byte_as_core_does(vectors: Path, tmp_path: Path) -> None:
    source = vectors / "nbitcoin" / "blk00000.dat"
    files = BlockFiles(tmp_path, MAINNET, use_xor=False)
    for pos, raw in iter_blocks(source, MAINNET):
        assert files.append_block(raw) == BlockPos(0, pos)
    files.close()
    assert (tmp_path / "blk00000.dat").read_bytes() == source.read_bytes()


def test_compressed_coins_of_btcd(vectors: Path) -> None:
    data = bz2.decompress((vectors / "btcd" / "277647.utxostore.bz2").read_bytes())
    txouts = set(read_undo_vector(vectors / "btcd" / "block277647-undo.raw"))
    raw = bz2.decompress((vectors / "btcd" / "277647.dat.bz2").read_bytes())[8:]
    prevouts = set(parse_block(raw).prevouts()[1:])
    pos = count = 0
    while pos < len(data):
        size = int.from_bytes(data[pos + 36 : pos + 40], "little")
        stored = data[pos + 40 : pos + 40 + size]
        coin, end = decompress_coin(stored)
        assert end == size
        assert compress_coin(coin) == stored
        assert coin[4:] in txouts
        assert data[pos : pos + 36] in prevouts
        pos += 40 + size
        count += 1
    assert count == 732


@pytest.mark.parametrize(
    "name",
    ["bcoin/block300025", "bcoin/block928816", "bcoin/block928828", "floresta/block367891", "floresta/block866342"],
)
def test_undo_of_real_blocks_there_and_back(vectors: Path, name: str) -> None:
    block = parse_block((vectors / f"{name}.raw").read_bytes())
    txouts = iter(read_undo_vector(vectors / f"{name}-undo.raw"))
    undo = []
    for i in range(1, block.n_tx):
        inputs = block.first_in[i + 1] - block.first_in[i]
        undo.append([((300_000 + i) << 1).to_bytes(4, "little") + next(txouts) for _ in range(inputs)])
    assert next(txouts, None) is None
    encoded = encode_undo(undo)
    assert decode_undo(encoded) == undo
    assert len(encoded) < sum(len(coin) for coins in undo for coin in coins), to_display(block.hash)
