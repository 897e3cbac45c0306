"""The chain in a folder of block files, found by its headers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import btcnode.data as data
from btcnode.data.block_reader import UndoFile
from btcnode.data.folder import BlockFolder, DataError
from btcnode.data.frames import FrameWalk
from btcnode.errors import ConfigError
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.header import HEADER_STRUCT
from btcnode.primitives.tx import Tx
from btcnode.storage.layout import FRAME, FRAME_SIZE
from btcnode.storage.obfuscation import Obfuscation
from btcnode.testing.blocks import grind
from tests.lib.block_folder import UncheckedChain, WrittenFolder, busy_chain, folder_of, stored
from tests.lib.mini_chain import REGTEST, MiniChain, spend

MAGIC = REGTEST.magic


def walk(path: Path, key: Obfuscation | None = None) -> FrameWalk:
    return FrameWalk(path, MAGIC, key or Obfuscation(), head=4, least=2, most=1 << 20, tail=0)


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


def branch(common: MiniChain, *txs: Tx, blocks: int = 1, extra: bytes = b"") -> MiniChain:
    """The same chain with other blocks on top, the first with these transactions."""
    chain = MiniChain()
    for block, _ in common.history:
        chain.accept(block.raw)
    chain.accept(chain.template(*txs, extra=extra).build())
    for _ in range(blocks - 1):
        chain.accept(chain.template(extra=extra).build())
    return chain


def read_coins(opened: BlockFolder) -> list[list[list[bytes]] | None]:
    chain = opened.chain()
    return [item.coins for item in opened.source.read(chain.places(1, chain.tip), with_coins=True)]


@pytest.mark.parametrize("own_first", [False, True])
def test_undo_data_of_a_sibling_is_not_taken_for_a_block_s(tmp_path: Path, own_first: bool) -> None:
    """The checksum holds for both, the number of transactions and of inputs is the same."""
    common = MiniChain(blocks=110)
    own = branch(common, spend(*common.coinbases[1:3], value=5), blocks=2)
    stale = branch(common, spend(*common.coinbases[2:4], value=5))
    folder = folder_of(common, tmp_path / "blocks", file_size=1 << 20)
    both = [stored(own.history[110:111]), stored(stale.history[110:])]
    for blocks in both if own_first else reversed(both):
        folder.append(blocks, 111)
    folder.append(stored(own.history[111:]), 112)
    opened = BlockFolder(folder.path, REGTEST)
    assert opened.chain().hash(112) == own.history[-1][0].hash
    assert read_coins(opened) == [delta.undo for _, delta in own.history]


def test_undo_data_of_a_sibling_with_other_coins_inside_the_block(tmp_path: Path) -> None:
    """Both spend an output of their own first transaction."""
    common = MiniChain(blocks=110)
    branches = []
    for value in (5, 7):
        first = spend(common.coinbases[1], value=value)
        branches.append(branch(common, first, spend(first.txid + bytes(4), value=1), blocks=2 if value == 5 else 1))
    own, stale = branches
    folder = folder_of(common, tmp_path / "blocks", file_size=1 << 20)
    folder.append(stored(own.history[110:111]), 111)
    folder.append(stored(stale.history[110:]), 111)
    folder.append(stored(own.history[111:]), 112)
    assert read_coins(BlockFolder(folder.path, REGTEST)) == [delta.undo for _, delta in own.history]


@pytest.mark.parametrize("spends", [True, False])
def test_a_sibling_that_was_not_connected_is_not_the_tip(tmp_path: Path, spends: bool) -> None:
    common = MiniChain(blocks=110)
    txs = [[spend(common.coinbases[number], value=5)] if spends else [] for number in (1, 2)]
    own, other = branch(common, *txs[0], extra=b"own"), branch(common, *txs[1], extra=b"other")
    folder = folder_of(common, tmp_path / "blocks", file_size=1 << 20)
    if spends:  # then the order does not matter
        folder.append([(other.history[-1][0].raw, None)], 111)
    folder.append(stored(own.history[110:]), 111)
    folder.append([(other.history[-1][0].raw, None)], 111)
    assert BlockFolder(folder.path, REGTEST).chain().hash(111) == own.history[-1][0].hash


@pytest.mark.parametrize("torn_at", [-200, -8], ids=["no block", "another one"])
@pytest.mark.parametrize("whole_first", [False, True])
def test_of_a_block_that_is_there_twice_the_whole_one_counts(tmp_path: Path, whole_first: bool, torn_at: int) -> None:
    chain = busy_chain(3)
    folder = WrittenFolder(tmp_path / "blocks", file_size=1 << 20)
    blocks = stored(chain.history)
    raw, undo = blocks[-2]
    torn = raw[:torn_at] + b"\x03" * -torn_at
    folder.append(blocks[:-2], 1)
    if not whole_first:
        folder.files.append_block(torn, chain.tip - 1)
    folder.append([(raw, undo)], chain.tip - 1)
    if whole_first:
        folder.files.append_block(torn, chain.tip - 1)
    folder.append(blocks[-1:], chain.tip)
    opened = BlockFolder(folder.path, REGTEST)
    found = opened.chain()
    assert [item.block.raw for item in opened.source.read(found.places(1, found.tip), with_coins=True)] == [
        raw for raw, _ in blocks
    ]


def test_a_block_that_is_being_written_is_asked_for_again(tmp_path: Path) -> None:
    """Its frame is there, in a file that was made longer before."""
    chain = MiniChain(blocks=5)
    folder = folder_of(chain, tmp_path / "blocks", file_size=1 << 20)
    for _ in range(2):
        chain.accept(chain.template().build())
    path = folder.files.block_path(0)
    before = path.stat().st_size
    folder.append(stored(chain.history[5:]), 6)
    whole = path.read_bytes()
    key = Obfuscation(folder.files.xor_key)
    torn = whole[: before + FRAME_SIZE] + key.apply(bytes(len(whole) - before - FRAME_SIZE), before + FRAME_SIZE)
    path.write_bytes(torn)
    opened = BlockFolder(folder.path, REGTEST)
    assert opened.chain().tip == 5 and len(opened.refused) == 1
    opened.refresh()
    assert len(opened.refused) == 1
    path.write_bytes(whole)
    opened.refresh()
    assert opened.chain().tip == 7 and not opened.refused and not opened.unlinked


def test_a_block_from_the_future_is_taken_when_its_time_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = MiniChain(blocks=5)
    folder = folder_of(chain, tmp_path / "blocks")
    times = [int.from_bytes(block.raw[68:72], "little") for block, _ in chain.history]
    monkeypatch.setattr("btcnode.data.folder.time.time", lambda: times[2] - 7200)
    opened = BlockFolder(folder.path, REGTEST)
    assert opened.chain().tip == 3
    monkeypatch.setattr("btcnode.data.folder.time.time", lambda: times[-1])
    opened.refresh()  # though no file has changed
    assert opened.chain().tip == 5 and not opened.refused


def test_undo_data_may_be_larger_than_any_block(tmp_path: Path) -> None:
    """Inputs of a megabyte can spend coins of hundreds."""
    path = tmp_path / "rev00000.dat"
    size = 40 << 20
    path.write_bytes(FRAME.pack(MAGIC, size) + b"\x01")
    with path.open("ab") as file:
        file.truncate(FRAME_SIZE + size + 32)
    found = UndoFile(path, MAGIC, Obfuscation())
    found.refresh()
    assert (len(found), found.spenders(0)) == (1, 1)


@pytest.mark.parametrize("name", ["mainnet", "testnet3", "testnet4", "signet", "regtest"])
def test_blocks_of_every_network_are_known_by_its_magic(tmp_path: Path, name: str) -> None:
    params = params_for(name)
    folder = WrittenFolder(tmp_path / "blocks", params)
    (batch,) = data.blocks(folder.path, network=name, with_prevouts=True)
    assert batch["hash"].to_pylist() == [params.genesis_hash[::-1]]
    other = params_for("mainnet" if name != "mainnet" else "signet")
    with pytest.raises(DataError, match=f"not of network {other.name}"):
        BlockFolder(folder.path, other)


HEADERS = 850_000  # about as many as mainnet has
HEADER_BYTES = 300  # of memory for each at most


@pytest.mark.slow
def test_the_headers_of_a_whole_chain_are_read_in_bounded_memory(tmp_path: Path) -> None:
    """Blocks of which nothing but the header is read."""
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    with (blocks / "blk00000.dat").open("wb") as file:
        file.write(FRAME.pack(REGTEST.magic, len(REGTEST.genesis_block)) + REGTEST.genesis_block)
        prev, when = sha256d(REGTEST.genesis_block[:80]), int.from_bytes(REGTEST.genesis_block[68:72], "little")
        for height in range(1, HEADERS + 1):
            fields = 0x20000000, prev, bytes(32), when + 500 * height, REGTEST.pow_limit_bits
            raw = grind(HEADER_STRUCT.pack(*fields, 0))
            prev = sha256d(raw)
            file.write(FRAME.pack(REGTEST.magic, 120) + raw + b"\x01" + bytes(39))
    program = f"""
import resource
from pathlib import Path
from btcnode.data.folder import BlockFolder
from btcnode.networks.parameters import params_for
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
chain = BlockFolder(Path({str(blocks)!r}), params_for("regtest")).chain()
assert chain.hash(chain.tip).hex() == {prev.hex()!r}
assert len(chain.median_times()) == {HEADERS + 1}
print(chain.tip, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert int(told[0]) == HEADERS and 1024 * int(told[1]) < HEADERS * HEADER_BYTES, told
