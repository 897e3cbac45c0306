"""The builder of the optional indexes over a chain in memory: catching up, reorganisations, crashes, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO
from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.errors import CorruptionError, StorageError
from btcnode.indexes.recipe import IndexedBlock, Made, Recipe
from btcnode.indexes.utreexo import ForestWalk, UtreexoRecipe
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.services import index_builder
from btcnode.services.index_builder import IndexBuilder, IndexState
from btcnode.testing.memory_chain import MemoryChain

PARAMS = params_for("regtest")
BLOCK = parse_block(PARAMS.genesis_block)
NOW = 1_700_000_000


class Recorder:
    """A recipe whose record is the height after the parent's record; it remembers what it was asked for."""

    name = "recorder"
    file = Path("indexes", "recorder.mdb")
    needs_spent = False
    numbered = True

    def __init__(self) -> None:
        self.heights: list[int] = []

    def make(self, block: IndexedBlock) -> Made:
        self.heights.append(block.height)
        assert len(block.previous) == 2 * block.height
        return Made(block.previous + block.height.to_bytes(2, "big"), [b"row" + block.number.to_bytes(4, "big")])


class FakeChain:
    """The part of ``Chain`` that the builder uses, over a ``MemoryChain``."""

    def __init__(self) -> None:
        self.memory = MemoryChain(PARAMS)
        self.tree = self.memory.tree
        self.listeners: list[Callable[[list[Any]], None]] = []
        self.driver = SimpleNamespace(validated_chain=lambda: self.memory.active, listen=self.listeners.append)
        self.lost: set[int] = set()

    def read_block_now(self, index: int) -> bytes:
        if index in self.lost:
            raise StorageError("lost")
        return self.memory.blocks[index]

    def read_undo_now(self, index: int) -> list[list[bytes]]:
        return []  # blocks spend nothing here

    def mine(self, count: int, *, on: int | None = None, extra: bytes = b"\x00") -> list[int]:
        """Blocks on top of ``on`` or the tip, active once they are the best chain."""
        added = []
        for _ in range(count):
            on = self.memory.active.tip if on is None else on
            on = self.memory.add_block(self.memory.mine(self.tree.time(on) + 60, on=on, extra=extra), NOW)
            added.append(on)
            connected = self.memory.activate().connected
            self.tell([BlockConnected(index, self.tree.height(index), 1, 0, 0, BLOCK) for index in connected])
        return added

    def leave(self, index: int) -> None:
        """Go back to a block, as invalidateblock would."""
        heights = range(self.memory.active.height, self.tree.height(index), -1)
        gone = [(self.memory.active.at(height), height) for height in heights]
        self.memory.active.set_tip(index)
        self.tell([BlockDisconnected(at, height, BLOCK) for at, height in gone])

    def tell(self, events: list[Any]) -> None:
        for listener in self.listeners:
            listener(events)


class Setup:
    """A chain, and one builder after the other over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.chain = FakeChain()
        self.recipe = Recorder()
        self.thread = ThreadPoolExecutor(1)
        self.fatal: list[BaseException] = []
        self.rebuilds = 0
        self.told = asyncio.Event()  # of either

    def open(self, *, wipe: bool = False) -> IndexBuilder:
        self.recipe.heights.clear()
        return self.builder(self.recipe, self.directory, wipe=wipe)

    def builder(self, recipe: Recipe, directory: Path, *, wipe: bool = False) -> IndexBuilder:
        chain: Any = self.chain
        return IndexBuilder(
            recipe,
            chain,
            directory,
            self.thread,
            wipe=wipe,
            on_fatal=self.on_fatal,
            on_rebuild=self.on_rebuild,
        )

    def on_fatal(self, error: BaseException) -> None:
        self.fatal.append(error)
        self.told.set()

    def on_rebuild(self) -> None:
        self.rebuilds += 1
        self.told.set()

    def run(self, work: Callable[[IndexBuilder], Coroutine[Any, Any, None]], *, wipe: bool = False) -> None:
        """Open, start and close an builder around ``work``."""

        async def life() -> None:
            builder = self.open(wipe=wipe)
            builder.start()
            try:
                await work(builder)
            finally:
                await builder.close()

        asyncio.run(life())


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


async def synced(builder: IndexBuilder) -> None:
    assert await builder.until_synced()


def test_catches_up_and_goes_on(setup: Setup) -> None:
    setup.chain.mine(20)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        assert builder.state() == IndexState("recorder", True, 20)
        setup.chain.mine(3)
        await synced(builder)
        assert setup.recipe.heights == list(range(24))

    setup.run(work)
    setup.run(synced)
    assert setup.recipe.heights == []
    setup.run(synced, wipe=True)
    assert len(setup.recipe.heights) == 24


def test_slices(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slice is stored with where it ends, so that the next begins there."""
    monkeypatch.setattr(index_builder, "SLICE_BYTES", 1)
    setup.chain.mine(7)
    setup.run(synced)
    builder = setup.open()
    assert [number for _, number in builder.store.find(b"row")] == [b""] * 8
    assert builder.store.block_count() == 8
    builder.store.close()


def test_reorganisation(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    old = setup.chain.mine(10)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        setup.chain.leave(old[4])
        assert "recorder prune lock moved back to 9" in caplog.text  # Core's line
        await synced(builder)
        assert builder.covers(old[9])  # nothing to add yet: it stands on top of the tip
        assert builder.state().synced
        new = setup.chain.mine(7, on=old[4], extra=b"\x01")
        await synced(builder)
        assert builder.covers(new[-1]) and not builder.covers(old[5])
        assert setup.recipe.heights[11:] == list(range(6, 13))
        setup.chain.mine(5, on=old[9])
        await synced(builder)
        assert setup.recipe.heights[18:] == list(range(11, 16))  # the others have their records still
        assert builder.needed_from() == 15

    setup.run(work)


def test_blocks_that_do_not_stay(setup: Setup) -> None:
    """A block that was connected is indexed, also when it leaves the chain before the index comes to it."""
    start = setup.chain.mine(2)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        stale = setup.chain.mine(3)
        kept = setup.chain.mine(4, on=start[-1], extra=b"\x01")
        assert setup.recipe.heights == [0, 1, 2]
        await synced(builder)
        assert setup.recipe.heights[3:] == [3, 4, 5, 3, 4, 5, 6]
        for index in stale + kept:
            assert builder.store.record(setup.chain.tree.hash(index)) is not None
        assert builder.covers(kept[-1])

    setup.run(work)


def test_a_block_that_comes_back_takes_the_index_back(setup: Setup) -> None:
    """As in Core, which goes back when the next block is connected, whether it is known or new."""
    blocks = setup.chain.mine(5)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        setup.chain.leave(blocks[1])
        assert builder.state() == IndexState("recorder", True, 5)
        for at, height in ((blocks[2], 3), (blocks[3], 4), (blocks[4], 5), (blocks[2], 3)):
            setup.chain.memory.active.set_tip(setup.chain.tree.prev(at))
            setup.chain.memory.active.set_tip(at)
            setup.chain.tell([BlockConnected(at, height, 1, 0, 0, BLOCK)])
        while builder.state().height != 3:  # never, when it stays where it is: the test would run out of time
            await builder._progress.wait()
        assert builder.state() == IndexState("recorder", True, 3)
        assert setup.recipe.heights == list(range(6))  # nothing is made again

    setup.run(work)
    builder = setup.open()
    assert builder.state() == IndexState("recorder", True, 3)
    builder.store.close()


def test_too_many_blocks_wait(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builder, "MAX_WAITING", 4)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        setup.chain.mine(11)
        await synced(builder)
        assert setup.recipe.heights == list(range(12))

    setup.run(work)


def test_index_ahead_of_the_chain(setup: Setup) -> None:
    """A kill has taken blocks from the chain that the index has."""
    setup.chain.mine(9)
    setup.run(synced)
    whole, setup.chain = setup.chain, FakeChain()
    for height in range(1, 5):
        setup.chain.memory.add_block(whole.memory.blocks[whole.memory.active.at(height)], NOW)
    setup.chain.memory.activate()

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        assert builder.state().height == 4
        assert setup.recipe.heights == []
        setup.chain.mine(2, extra=b"\x02")
        await synced(builder)
        assert setup.recipe.heights == [5, 6]

    builder = setup.open()
    assert builder.needed_from() == 4  # before it runs, so that a pruned node starts
    builder.store.close()
    setup.run(work)


def test_missing_block(setup: Setup) -> None:
    """An index without its blocks ends the node: what it says would be wrong for good."""
    setup.chain.lost.add(setup.chain.mine(6)[3])

    async def work(builder: IndexBuilder) -> None:
        assert not await builder.until_synced()
        assert not builder.state().synced

    setup.run(work)
    assert "the recorder cannot go on: block" in str(setup.fatal)
    assert str(setup.directory) in str(setup.fatal)  # the file is named
    assert not setup.rebuilds
    setup.chain.lost.clear()
    setup.run(synced)


def test_damage_that_a_reader_notices(setup: Setup) -> None:
    setup.chain.mine(5)

    async def work(builder: IndexBuilder) -> None:
        await synced(builder)
        with pytest.raises(CorruptionError), builder.noticing_damage():
            raise CorruptionError("a reader's")
        await setup.told.wait()
        assert builder.state().rebuilding
        await synced(builder)
        assert setup.recipe.heights == 2 * list(range(6))
        assert setup.rebuilds == 2 and not builder.state().rebuilding

    setup.run(work)
    assert not setup.fatal


def test_damage_that_is_noticed_on_another_thread(setup: Setup) -> None:
    """What is read for peers is read beside the loop, which an event cannot be told of directly."""
    setup.chain.mine(5)

    async def work(builder: IndexBuilder) -> None:
        asyncio.get_running_loop().set_debug(True)  # it minds who calls it then
        await synced(builder)

        def read() -> None:
            with builder.noticing_damage():
                raise CorruptionError("a reader's")

        with pytest.raises(CorruptionError, match="a reader's"):
            await asyncio.to_thread(read)
        await asyncio.wait_for(setup.told.wait(), 20)
        await synced(builder)
        assert setup.rebuilds == 2

    setup.run(work)
    assert not setup.fatal


def test_damage_that_the_builder_notices(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """The parent's record is gone; the store is wiped, and all is made again."""
    setup.chain.mine(5)
    setup.run(synced)
    builder = setup.open()
    with builder.store._env.begin(write=True) as txn:
        txn.delete(setup.chain.tree.hash(setup.chain.memory.active.tip))
    builder.store.close()
    setup.chain.mine(1)
    setup.run(synced)
    assert setup.recipe.heights == list(range(7))
    assert "the recorder is built anew from the block files" in caplog.text and not setup.fatal


def test_damage_without_the_blocks_to_mend_it(setup: Setup) -> None:
    setup.chain.mine(5)
    setup.run(synced)
    setup.chain.tree.columns.status[setup.chain.memory.active.at(2)] &= ~HAVE_DATA

    async def work(builder: IndexBuilder) -> None:
        with pytest.raises(CorruptionError), builder.noticing_damage():
            raise CorruptionError("a reader's")
        await setup.told.wait()

    setup.run(work)
    assert "please disable the index or start with --reindex" in str(setup.fatal)
    assert not setup.rebuilds


@pytest.mark.parametrize("pruned", [False, True])
def test_store_that_cannot_be_opened(setup: Setup, *, pruned: bool) -> None:
    setup.chain.mine(5)
    setup.run(synced)
    path = setup.directory / Recorder.file
    path.write_bytes(bytes(path.stat().st_size))
    if pruned:
        setup.chain.tree.columns.status[setup.chain.memory.active.at(2)] &= ~HAVE_DATA
        with pytest.raises(CorruptionError, match=r"is damaged .*please disable the index"):
            setup.open()
        return
    setup.run(synced)
    assert setup.recipe.heights == list(range(6))


def test_far_behind_is_not_waited_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builder, "NEAR_BLOCKS", 3)
    setup.chain.mine(5)

    async def work() -> None:
        builder = setup.open()  # not started
        assert not await builder.until_synced()
        await builder.close()

    asyncio.run(work())


class Forests:
    """Builders of the index that keeps a state, one after the other."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def after(self, folder: str, *work: Callable[[], Any]) -> dict[bytes, bytes | None]:
        """The chunks of the forest when the index of a folder has come to the tip after each piece of work."""
        directory = self.setup.directory / folder
        builder = self.setup.builder(UtreexoRecipe(), directory)
        builder.start()
        await synced(builder)
        for piece in work:
            piece()
            await synced(builder)
        tree, tip = self.setup.chain.tree, self.setup.chain.memory.active.tip
        with builder.store.moment() as state:
            walk = ForestWalk(state)
            assert walk.at == tree.hash(tip)
            assert walk.forest.stump() == walk.stump
            assert walk.stump.leaves == tree.height(tip)  # a coinbase each
            found = {bytes([0, *bytes(7), n]): state.node(bytes([0, *bytes(7), n])) for n in range(4)}
        await builder.close()
        return found


def test_a_kept_state_goes_another_way(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builder, "SLICE_BYTES", 3000)
    forests, chain = Forests(setup), setup.chain
    old = chain.mine(40)

    def leave() -> None:
        chain.leave(old[20])
        chain.mine(22, on=old[20], extra=b"\x01")

    def come_back() -> None:
        chain.mine(9, on=old[-1])

    async def work() -> None:
        await forests.after("index", leave, come_back)
        kept = await forests.after("index")
        assert kept == await forests.after("fresh")

    asyncio.run(work())
    assert not setup.fatal and not setup.rebuilds


@pytest.mark.parametrize("known", [0, 4])
def test_a_kept_state_ahead_of_the_chain(setup: Setup, known: int) -> None:
    """A kill has taken blocks from the chain: the way back is in the index, as the blocks are nowhere."""
    forests = Forests(setup)
    setup.chain.mine(9)
    asyncio.run(forests.after("index"))
    whole, setup.chain = setup.chain, FakeChain()
    for height in range(1, known + 1):
        setup.chain.memory.add_block(whole.memory.blocks[whole.memory.active.at(height)], NOW)
    setup.chain.memory.activate()

    async def work() -> None:
        builder = setup.builder(UtreexoRecipe(), setup.directory / "index")
        assert builder.state().height == builder.needed_from() == known
        builder.store.close()
        setup.chain.mine(3, extra=b"\x02")
        kept = await forests.after("index")
        assert kept == await forests.after("fresh")

    asyncio.run(work())
    assert not setup.fatal and not setup.rebuilds


def test_a_kept_state_that_is_damaged_is_built_anew(setup: Setup) -> None:
    forests = Forests(setup)
    for index in setup.chain.mine(41):
        setup.chain.tree.columns.status[index] |= HAVE_UNDO

    async def work() -> None:
        await forests.after("index")
        builder = setup.builder(UtreexoRecipe(), setup.directory / "index")
        with builder.store._env.begin(write=True) as txn:
            txn.delete(bytes([0, *bytes(8)]), db=builder.store._nodes)
            txn.delete(bytes([0, *bytes(7), 2]), db=builder.store._nodes)
        builder.store.close()
        [index] = setup.chain.mine(1)
        setup.chain.tree.columns.status[index] |= HAVE_UNDO
        kept = await forests.after("index")
        assert kept == await forests.after("fresh")

    asyncio.run(work())
    assert setup.rebuilds == 2 and not setup.fatal
