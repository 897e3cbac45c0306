"""UTXO sets that are shared, and one that is fetched: what is taken up, what is refused, what the disk says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.errors import StorageError
from btcnode.networks import assumeutxo
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.networks.parameters import params_for
from btcnode.primitives.chunk_tree import CHUNK_SIZE, chunk_hash
from btcnode.primitives.hashes import BlockHash
from btcnode.protocol.commands import DropUtxoSet, FetchUtxoChunks, FetchUtxoSet, UtxoChunkJudged
from btcnode.protocol.effects import TakeUtxoChunk, TakeUtxoTree
from btcnode.protocol.inputs import Input
from btcnode.services.utxo_fetch import FetchError, FetchState, UtxoFetch
from btcnode.services.utxo_shares import FOLDER, UtxoShares, scheduled_heights
from btcnode.storage import utxo_chunk_file
from btcnode.storage.utxo_snapshot import SnapshotHeader
from btcnode.wire.messages import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree
from tests.lib.process import until

PARAMS = params_for("regtest")
NAME = BlockHash(b"\x05" * 32)
CONTENT = SnapshotHeader(NAME, 3).pack(PARAMS) + bytes(range(256)) * (CHUNK_SIZE // 256 + 1) + b"end"
CHUNKS = [CONTENT[:CHUNK_SIZE], CONTENT[CHUNK_SIZE:]]
TREE = UtxoTree(NAME, 2, len(CONTENT), b"".join(map(chunk_hash, CHUNKS)))
KNOWN = AssumeUtxo(110, NAME, bytes(32), 111)


def test_scheduled_heights_are_the_drafts() -> None:
    assert scheduled_heights(2 * 14_112 + 2016) == (28_224, 14_112)
    assert scheduled_heights(3 * 14_112 + 2016) == (42_336, 28_224)
    assert scheduled_heights(3 * 14_112 + 2015) == (28_224, 14_112)
    assert scheduled_heights(2 * 14_112 + 2015) is None
    assert scheduled_heights(0) is None


class Tree:
    """Of headers: that of the set's block, at a height below the tip; none before it is known."""

    def __init__(self, height: int, tip: int) -> None:
        self._heights = [tip, height]
        self.best_header = 0
        self.knows = True

    def find(self, name: bytes) -> int:
        return 1 if name == NAME and self.knows else -1

    def height(self, index: int) -> int:
        return self._heights[index]

    def is_ancestor(self, index: int, other: int) -> bool:
        return self._heights[index] <= self._heights[other]


def chain_of(tree: Tree) -> Any:
    return SimpleNamespace(tree=tree, tip=lambda: 0, stopping=lambda: False)


def offer_nothing(_: bool) -> None:
    """Of no interest."""


def shares_of(directory: Path, offer: Callable[[bool], None] = offer_nothing, tree: Tree | None = None) -> UtxoShares:
    (directory / FOLDER).mkdir(exist_ok=True)
    return UtxoShares(directory, PARAMS, chain_of(tree or Tree(110, 500)), offer)


def test_what_is_in_the_folder_is_told(tmp_path: Path) -> None:
    shares = shares_of(tmp_path)
    folder = tmp_path / FOLDER
    (folder / "a.dat").write_bytes(CONTENT)
    (folder / "b.dat.incomplete").write_bytes(CONTENT)
    asyncio.run(shares.look_again())
    assert shares.answer(GetUtxoTree(NAME)) == TREE.encode()
    assert shares.answer(GetUtxoSet(NAME, 1)) == UtxoSetChunk(NAME, 1, CHUNKS[1]).encode()
    assert shares.answer(GetUtxoSet(NAME, 2)) is None
    assert shares.answer(GetUtxoTree(b"?" * 32)) is None
    (folder / "a.dat").unlink()
    asyncio.run(shares.look_again())
    assert shares.answer(GetUtxoTree(NAME)) is None


@pytest.mark.parametrize("content", [b"", b"what", CONTENT[:40], b"x" + CONTENT[1:], CONTENT[:7] + b"\1" + CONTENT[8:]])
def test_what_is_no_set_is_named_once(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    shares = shares_of(tmp_path)
    (tmp_path / FOLDER / "a.dat").write_bytes(content)
    for _ in range(3):
        asyncio.run(shares.look_again())
    assert shares.answer(GetUtxoTree(NAME)) is None
    assert caplog.text.count("a.dat is not shared") == 1


def test_another_set_than_the_known_one_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever told it would be taken for a liar."""
    monkeypatch.setattr(assumeutxo, "_SETS", {"regtest": (KNOWN._replace(chunk_root=bytes(32)),)})
    shares = shares_of(tmp_path)
    (tmp_path / FOLDER / "a.dat").write_bytes(CONTENT)
    asyncio.run(shares.look_again())
    assert shares.answer(GetUtxoTree(NAME)) is None
    assert "it is not the set that is known after this block" in caplog.text


def test_a_file_that_changed_is_told_no_more_until_it_is_looked_at_again(tmp_path: Path) -> None:
    shares, path = shares_of(tmp_path), tmp_path / FOLDER / "a.dat"
    path.write_bytes(CONTENT)
    asyncio.run(shares.look_again())
    changed = CONTENT[:-1] + b"?"
    path.write_bytes(changed)
    with pytest.raises(StorageError, match="chunk 1 does not have its hash"):
        shares.answer(GetUtxoSet(NAME, 1))
    shares.withdraw(NAME)
    assert shares.answer(GetUtxoTree(NAME)) is None
    asyncio.run(shares.look_again())
    assert shares.answer(GetUtxoSet(NAME, 1)) == UtxoSetChunk(NAME, 1, changed[CHUNK_SIZE:]).encode()


def test_the_service_is_offered_with_both_scheduled_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[bool] = []
    tree = Tree(28_224, 28_224 + 2016)
    shares = shares_of(tmp_path, offered.append, tree)
    (tmp_path / FOLDER / "a.dat").write_bytes(CONTENT)
    asyncio.run(shares.look_again())
    other = BlockHash(b"\x06" * 32)
    (tmp_path / FOLDER / "b.dat").write_bytes(SnapshotHeader(other, 3).pack(PARAMS))
    tree._heights.append(14_112)
    monkeypatch.setattr(tree, "find", lambda name: {NAME: 1, other: 2}.get(name, -1))
    asyncio.run(shares.look_again())
    assert offered == [False, True]


class Fetch:
    """A download whose protocol is the test."""

    def __init__(self, directory: Path, *, free: int = 10**12, speaks: bool = True, tip: int = 0) -> None:
        self.said: list[Input] = []
        self.loaded: list[str] = []
        self.loading: asyncio.Event | None = None  # what loading waits for
        self.tree = Tree(110, 500)
        self.tree._heights[0] = tip
        self.tree.best_header = 2
        self.tree._heights.append(500)
        self.assumed = SimpleNamespace(has_set=False, load=self._load)
        self.fetch = UtxoFetch(
            directory, chain_of(self.tree), cast("Any", self.assumed), self.said.append, lambda: 1,
            speaks=speaks, free=lambda _: free,
        )  # fmt: skip

    async def _load(self, name: str) -> None:
        self.loaded.append(name)
        if self.loading is not None:
            await self.loading.wait()
            self.loaded.append("done")

    def all(self, kind: type) -> list[Any]:
        return [one for one in self.said if isinstance(one, kind)]

    async def tell(self, chunk: int, data: bytes) -> UtxoChunkJudged:
        """A peer tells a chunk; what became of it."""
        before = len(self.all(UtxoChunkJudged))
        self.fetch.on_chunk(TakeUtxoChunk(7, chunk, data))
        await until(lambda: len(self.all(UtxoChunkJudged)) > before)
        judged: UtxoChunkJudged = self.all(UtxoChunkJudged)[-1]
        return judged

    async def begin(self, root: bytes | None = TREE.root) -> None:
        """Up to the question for chunks."""
        self.fetch.begin(KNOWN, root)
        await until(lambda: bool(self.all(FetchUtxoSet)))
        self.fetch.on_tree(TakeUtxoTree(7, TREE))
        await until(lambda: bool(self.all(FetchUtxoChunks)) or self.state is FetchState.FAILED)

    @property
    def state(self) -> FetchState | None:
        status = self.fetch.status()
        return None if status is None else status.state


def attend(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(work(), 60)

    asyncio.run(run())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / FOLDER
    assert not list((tmp_path / FOLDER).glob("*.new"))


def test_a_set_is_put_together_and_loaded(tmp_path: Path, folder: Path) -> None:
    names: list[str] = []

    async def work() -> None:
        world = Fetch(tmp_path)
        await world.begin()
        assert world.all(FetchUtxoSet) == [FetchUtxoSet(NAME, TREE.root)]
        assert world.all(FetchUtxoChunks) == [FetchUtxoChunks(TREE, (0, 1))]
        assert await world.tell(1, CHUNKS[0]) == UtxoChunkJudged(7, 1, stored=False, wrong=True)
        assert await world.tell(1, CHUNKS[1]) == UtxoChunkJudged(7, 1, stored=True)
        status = world.fetch.status()
        assert status is not None and (status.state, status.stored, status.chunks) == (FetchState.FETCHING, 1, 2)
        await world.tell(0, CHUNKS[0])
        await until(lambda: world.state is FetchState.LOADED)
        (name,) = world.loaded
        names.append(name)
        assert world.all(DropUtxoSet)
        await world.fetch.close()

    attend(work)
    assert Path(names[0]).read_bytes() == CONTENT
    assert sorted(path.suffix for path in folder.iterdir()) == [".dat", ".tree"]


def test_what_is_here_is_not_asked_for_again(tmp_path: Path, folder: Path) -> None:
    async def first() -> None:
        world = Fetch(tmp_path)
        await world.begin()
        await world.tell(1, CHUNKS[1])
        await world.fetch.close()

    async def second() -> None:
        world = Fetch(tmp_path)
        world.fetch.resume([KNOWN])
        await until(lambda: bool(world.all(FetchUtxoChunks)))
        assert world.all(FetchUtxoSet) == [FetchUtxoSet(NAME, TREE.root)]  # the root that was agreed on
        assert world.all(FetchUtxoChunks) == [FetchUtxoChunks(TREE, (0,))]
        await world.fetch.close()

    attend(first)
    attend(second)
    assert len(list(folder.iterdir())) == 2


def test_another_root_begins_anew(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        await world.begin()
        await world.tell(1, CHUNKS[1])
        await world.fetch.close()
        again = Fetch(tmp_path)
        again.fetch.begin(KNOWN, b"\x01" * 32)
        await until(lambda: bool(again.all(FetchUtxoSet)))
        assert again.all(FetchUtxoSet) == [FetchUtxoSet(NAME, b"\x01" * 32)]
        await again.fetch.close()

    attend(work)
    assert folder.exists()


def test_a_full_disk_ends_it_and_it_goes_on_later(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def work() -> None:
        world = Fetch(tmp_path)
        await world.begin()
        await world.tell(1, CHUNKS[1])
        with monkeypatch.context() as patch:
            patch.setattr(utxo_chunk_file, "write_all", full)
            assert await world.tell(0, CHUNKS[0]) == UtxoChunkJudged(7, 0, stored=False)
        await until(lambda: world.state is FetchState.FAILED)
        status = world.fetch.status()
        assert status is not None and "no room left" in status.problem and "can be begun again" in status.problem
        assert world.all(DropUtxoSet)
        world.said.clear()
        world.fetch.begin(KNOWN, None)
        await until(lambda: bool(world.all(FetchUtxoChunks)))
        assert world.all(FetchUtxoChunks) == [FetchUtxoChunks(TREE, (0,))]
        await world.tell(0, CHUNKS[0])
        await until(lambda: world.state is FetchState.LOADED)
        await world.fetch.close()

    attend(work)
    assert folder.exists()


def test_without_room_it_does_not_begin(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path, free=3 * len(CONTENT))
        await world.begin()
        status = world.fetch.status()
        assert status is not None and status.problem.startswith("no room on the disk: 221 MB are needed, 11 MB are")
        await world.fetch.close()

    attend(work)
    assert not list(folder.iterdir())


def test_another_form_of_the_file_is_refused(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        world.fetch.begin(KNOWN, None)
        await until(lambda: bool(world.all(FetchUtxoSet)))
        world.fetch.on_tree(TakeUtxoTree(7, UtxoTree(NAME, 3, TREE.length, TREE.hashes)))
        await until(lambda: world.state is FetchState.FAILED)
        status = world.fetch.status()
        assert status is not None and "version 3" in status.problem
        await world.fetch.close()

    attend(work)
    assert not list(folder.iterdir())


def test_it_waits_for_the_header(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        world.tree.knows = False
        await world.begin()
        for n in (0, 1):
            await world.tell(n, CHUNKS[n])
        await until(lambda: world.state is FetchState.WAITING)
        world.tree.knows = True
        await until(lambda: world.state is FetchState.LOADED)
        await world.fetch.close()

    attend(work)
    assert folder.exists()


def test_what_cannot_be_begun_says_why(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(FetchError, match="-peerutxosets"):
            Fetch(tmp_path, speaks=False).fetch.begin(KNOWN, None)
        with pytest.raises(FetchError, match="height 110 already"):
            Fetch(tmp_path, tip=110).fetch.begin(KNOWN, None)
        world = Fetch(tmp_path)
        world.assumed.has_set = True
        with pytest.raises(FetchError, match="more than once"):
            world.fetch.begin(KNOWN, None)
        world.assumed.has_set = False
        world.fetch.begin(KNOWN, None)
        with pytest.raises(FetchError, match="already be in progress"):
            world.fetch.begin(KNOWN, None)
        await world.fetch.close()

    attend(work)


def part_of(folder: Path) -> bool:
    """Whether anything is left of a download."""
    return bool(list(folder.iterdir()))


@pytest.mark.parametrize("keep", [True, False])
def test_a_download_can_be_aborted(tmp_path: Path, folder: Path, *, keep: bool) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        with pytest.raises(FetchError, match="No UTXO set is being downloaded"):
            await world.fetch.abort(keep=keep)
        await world.begin()
        await world.tell(1, CHUNKS[1])
        world.said.clear()
        status = await world.fetch.abort(keep=keep)
        assert (status.stored, status.chunks) == (1, 2)
        assert world.said == [DropUtxoSet()] and world.state is FetchState.ABORTED
        assert part_of(folder) is keep
        with pytest.raises(FetchError, match="No UTXO set is being downloaded"):
            await world.fetch.abort(keep=keep)
        world.said.clear()
        await world.begin()  # and begun again, with what is here
        assert world.all(FetchUtxoChunks) == [FetchUtxoChunks(TREE, (0,) if keep else (0, 1))]
        for n in (0, 1):
            await world.tell(n, CHUNKS[n])
        await until(lambda: world.state is FetchState.LOADED)
        await world.fetch.close()

    attend(work)


def test_before_anybody_told_its_hashes_it_can_be_aborted(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        world.fetch.begin(KNOWN, None)
        await until(lambda: bool(world.all(FetchUtxoSet)))
        status = await world.fetch.abort(keep=False)
        assert (status.stored, status.chunks) == (0, 0)
        world.fetch.on_tree(TakeUtxoTree(7, TREE))  # too late
        await asyncio.sleep(0)
        assert world.state is FetchState.ABORTED
        await world.fetch.close()

    attend(work)
    assert not list(folder.iterdir())


def test_a_whole_set_that_waits_for_its_header_stays_when_it_is_aborted(tmp_path: Path, folder: Path) -> None:
    async def work() -> None:
        world = Fetch(tmp_path)
        world.tree.knows = False
        await world.begin()
        for n in (0, 1):
            await world.tell(n, CHUNKS[n])
        await until(lambda: world.state is FetchState.WAITING)
        await world.fetch.abort(keep=False)
        world.tree.knows = True
        assert not world.loaded
        await world.fetch.close()

    attend(work)
    assert [path.read_bytes() for path in folder.glob("*.dat")] == [CONTENT]


def test_loading_is_neither_aborted_nor_cut_off_by_the_end(tmp_path: Path, folder: Path) -> None:
    """A thread fills the database: it has to end before anybody deletes that. It sees by itself that the node stops."""

    async def work() -> None:
        world = Fetch(tmp_path)
        world.loading = asyncio.Event()
        await world.begin()
        for n in (0, 1):
            await world.tell(n, CHUNKS[n])
        await until(lambda: world.state is FetchState.LOADING)
        with pytest.raises(FetchError, match="cannot be aborted"):
            await world.fetch.abort(keep=True)
        closing = asyncio.create_task(world.fetch.close())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not closing.done()
        world.loading.set()
        await closing
        assert world.loaded[1:] == ["done"]

    attend(work)
    assert folder.exists()
