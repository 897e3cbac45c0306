"""The chain in a folder of block files, found by its headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.data.folder import BlockFolder, DataError
from btcnode.data.frames import FrameWalk
from btcnode.errors import ConfigError
from btcnode.networks.parameters import params_for
from btcnode.storage.layout import FRAME
from btcnode.storage.obfuscation import Obfuscation
from tests.lib.block_folder import UncheckedChain, WrittenFolder, busy_chain, folder_of, stored
from tests.lib.mini_chain import REGTEST, MiniChain

MAGIC = REGTEST.magic


def walk(path: Path, key: Obfuscation | None = None) -> FrameWalk:
    return FrameWalk(path, MAGIC, key or Obfuscation(), head=4, least=2, tail=0)


def frame(payload: bytes) -> bytes:
    return FRAME.pack(MAGIC, len(payload)) + payload


def heads(found: FrameWalk) -> list[bytes]:
    return [item.head for item in found.more()]


def test_frames_are_found_between_whatever_a_file_has(tmp_path: Path) -> None:
    path = tmp_path / "blk00000.dat"
    torn = FRAME.pack(MAGIC, 1 << 24) + b"torn"
    path.write_bytes(bytes(7) + frame(b"first") + torn + frame(b"2nd") + bytes(3 << 20) + frame(b"third") + bytes(99))
    assert heads(walk(path)) == [b"firs", b"2nd", b"thir"]


def test_behind_a_frame_that_was_none_the_search_goes_on_within_it(tmp_path: Path) -> None:
    path = tmp_path / "blk00000.dat"
    path.write_bytes(FRAME.pack(MAGIC, 40) + b"torn" + frame(b"2nd") + frame(b"third") + bytes(40))
    found, seen = walk(path), []
    for item in found.more():
        seen.append(item.head)
        if item.head == b"torn":
            found.reject()
    assert seen == [b"torn", b"2nd", b"thir"]


def test_a_walk_goes_on_where_a_file_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "blk00000.dat"
    key = Obfuscation(b"\x01\x02\x03\x04\x05\x06\x07\x08")
    clear = frame(b"first")
    path.write_bytes(key.apply(clear + frame(b"second")[:-3], 0))
    found = walk(path, key)
    assert heads(found) == [b"firs"]
    assert heads(found) == []
    clear += frame(b"second") + frame(b"third")
    path.write_bytes(key.apply(clear, 0))
    assert heads(found) == [b"seco", b"thir"]


def test_a_chain_is_read_from_files_of_any_order(tmp_path: Path) -> None:
    chain = busy_chain()
    folder = WrittenFolder(tmp_path / "blocks", file_size=20_000)
    blocks = stored(chain.history)
    late = blocks[20:60]
    folder.append(blocks[:20] + blocks[60:] + late, 1)  # heights are wrong in records that nobody reads
    opened = BlockFolder(folder.path, REGTEST)
    found = opened.chain()
    assert found.tip == chain.tip and opened.unlinked == 0 and not opened.refused
    read = list(opened.source.read(found.places(0, found.tip), with_coins=True))
    assert [item.block.raw for item in read] == [REGTEST.genesis_block, *[raw for raw, _ in blocks]]
    assert [item.coins for item in read][1:] == [delta.undo for _, delta in chain.history]
    assert [item.median_time for item in read] == list(found.median_times())
    assert len(list(folder.path.glob("rev*.dat"))) > 2


def test_the_chain_is_the_heaviest_that_was_connected(tmp_path: Path) -> None:
    common = MiniChain(blocks=5)
    folder = folder_of(common, tmp_path / "blocks")
    heavier, connected = MiniChain(), MiniChain()
    for chain in (heavier, connected):
        for block, _ in common.history:
            chain.accept(block.raw)
    for number in range(3):
        heavier.accept(heavier.template(extra=b"heavier").build())
        if number < 2:
            connected.accept(connected.template(extra=b"connected").build())
    folder.append([(raw, None) for raw, _ in stored(heavier.history[5:])], 6)
    folder.append(stored(connected.history[5:]), 6)
    found = BlockFolder(folder.path, REGTEST).chain()
    assert found.tip == 7 and found.hash(7) == connected.history[-1][0].hash
    assert found.height_above == 8


def test_without_undo_data_the_heaviest_chain_counts(tmp_path: Path) -> None:
    chain = busy_chain(2)
    folder = folder_of(chain, tmp_path / "blocks")
    for path in folder.path.glob("rev*.dat"):
        path.unlink()
    opened = BlockFolder(folder.path, REGTEST)
    found = opened.chain()
    assert found.tip == chain.tip
    with pytest.raises(DataError, match=f"undo data of block .* at height {chain.tip} is missing"):
        list(opened.source.read(found.places(chain.tip, chain.tip), with_coins=True))


def test_what_is_appended_is_taken_in(tmp_path: Path) -> None:
    chain = MiniChain(blocks=5)
    folder = folder_of(chain, tmp_path / "blocks")
    opened = BlockFolder(folder.path, REGTEST)
    chain.accept(chain.template().build())
    folder.append(stored(chain.history[5:]), 6)
    assert opened.chain().tip == 5
    opened.refresh()
    assert opened.chain().tip == 6


def test_a_pruned_folder_says_so(tmp_path: Path) -> None:
    folder = folder_of(UncheckedChain(blocks=400), tmp_path / "blocks", file_size=30_000)
    folder.files.block_path(0).unlink()
    with pytest.raises(DataError, match=r"is pruned: blocks below about \d\d+ are gone"):
        BlockFolder(folder.path, REGTEST)


def test_no_blocks_and_blocks_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no block files"):
        BlockFolder(tmp_path, REGTEST)
    folder = folder_of(MiniChain(blocks=3), tmp_path / "blocks")
    with pytest.raises(DataError, match="not of network mainnet"):
        BlockFolder(folder.path, params_for("mainnet"))


def test_a_header_that_was_changed_is_named(tmp_path: Path) -> None:
    chain = MiniChain(blocks=9)
    folder = folder_of(chain, tmp_path / "blocks")
    bad = chain.history[4][0]
    folder.change(folder.positions[bad.hash], 75, lambda byte: byte ^ 0x80)  # of nBits
    opened = BlockFolder(folder.path, REGTEST)
    assert opened.chain().tip == 4
    assert opened.unlinked == 4
    assert [item.pos for item in opened.refused] == [folder.positions[bad.hash].pos]
