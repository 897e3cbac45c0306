"""A UTXO set fetched from peers in chunks and then loaded (docs/utxo-sets.md): what is here of it, and how far it is.

Whom to ask, and what to do about who lies, is the protocol's (``blocks/utxo_set_download.py``). What comes is hashed
and written beside the loop, one chunk after the other; nothing but its hash says that a chunk is here, so that a kill
costs what was on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TypeVar

from btcnode.errors import DecodeError, StorageError
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.primitives.hashes import to_display
from btcnode.protocol.commands import DropUtxoSet, FetchUtxoChunks, FetchUtxoSet, UtxoChunkJudged
from btcnode.protocol.effects import TakeUtxoChunk, TakeUtxoTree
from btcnode.protocol.inputs import Input
from btcnode.services.assumed_chain import AssumedChain
from btcnode.services.chain import Chain
from btcnode.services.disk_space import free_bytes
from btcnode.services.snapshot_files import SnapshotContentError
from btcnode.services.utxo_shares import FOLDER, SUFFIX, UtxoShares
from btcnode.storage.utxo_chunk_file import ChunkTree, PartFile, discard, discard_part, part_path, tree_path
from btcnode.storage.utxo_snapshot import VERSION
from btcnode.tuples import NamedTuple
from btcnode.wire.messages import UtxoTree

TOLD = 0.05  # of the set, from one line in the log to the next
POLL = 1.0  # seconds between two looks whether the block's header has come
SPARE_BYTES = 200 << 20  # that are left on the disk, at least
LOADED_SHARE = 2  # the coins take this many times the file, in the node's own form

log = logging.getLogger("btcnode.validation")

T = TypeVar("T")


class FetchError(StorageError):
    """A set cannot be fetched; the text says why."""


class FetchState(Enum):
    """How far it is; the value is what users are told."""

    LOOKING = "looking for peers"
    CHECKING = "checking what is here"
    FETCHING = "downloading"
    WAITING = "waiting for headers"
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"
    ABORTED = "aborted"


class FetchStatus(NamedTuple):
    """A set that is fetched: its block, how far it is, chunks in all and here, peers that have it, what went wrong."""

    known: AssumeUtxo
    state: FetchState
    chunks: int
    stored: int
    length: int
    sources: int
    problem: str


class UtxoFetch:
    """One set at a time. Lives on the loop thread; ``feed`` is the reactor's."""

    def __init__(
        self,
        directory: Path,
        chain: Chain,
        assumed: AssumedChain,
        feed: Callable[[Input], None],
        sources: Callable[[], int],
        shares: UtxoShares | None = None,
        *,
        speaks: bool,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """``directory`` is the network's; ``sources`` tells how many peers are known to have the set.

        ``shares``: where it is passed on.
        ``speaks``: whether peers are told that this node knows the messages; ``free`` gives the bytes left on a disk.
        """
        self._folder = directory / FOLDER
        self._chain = chain
        self._assumed = assumed
        self._feed = feed
        self._sources = sources
        self._shares = shares
        self._speaks = speaks
        self._free = free
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="utxoset")
        self._task: asyncio.Task[None] | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._tree: asyncio.Future[UtxoTree] | None = None
        self._whole: asyncio.Future[None] | None = None
        self._part: PartFile | None = None
        self._missing: set[int] = set()
        self._known: AssumeUtxo | None = None
        self._state = FetchState.LOOKING
        self._size = (0, 0)  # chunks and bytes
        self._told = 0
        self._problem = ""

    async def close(self) -> None:
        """Give it up for this run; what is here stays. Loading is a thread's: it ends by itself when the node stops."""
        await self._end()
        await asyncio.to_thread(self._thread.shutdown)

    async def _end(self) -> None:
        tasks = [*self._writes, *([self._task] if self._task is not None else [])]
        for task in tasks:
            if task is not self._task or self._state is not FetchState.LOADING:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_part()

    async def abort(self, *, keep: bool) -> FetchStatus:
        """Give the download up: nobody is asked any more. Returns how far it was; raises FetchError, OSError.

        ``keep``: what is here stays, for ``begin`` or the next run; else it is deleted, but for a set that is whole.
        """
        status = self.status()
        if status is None or self._task is None or self._task.done():
            raise FetchError("No UTXO set is being downloaded")
        if status.state is FetchState.LOADING:
            raise FetchError("The UTXO set is here and is being loaded: that cannot be aborted")
        await self._end()
        self._feed(DropUtxoSet())
        self._state = FetchState.ABORTED
        if not keep:
            await self._beside(lambda: discard_part(self._path(status.known)))
        log.info(
            "[snapshot] the download of the UTXO set after block %s is aborted", to_display(status.known.block_hash)
        )
        return status

    def status(self) -> FetchStatus | None:
        """What is fetched now, or was last; None when nothing was."""
        if self._known is None:
            return None
        chunks, length = self._size
        stored = 0 if self._state in (FetchState.LOOKING, FetchState.CHECKING) else chunks - len(self._missing)
        return FetchStatus(self._known, self._state, chunks, stored, length, self._sources(), self._problem)

    def begin(self, known: AssumeUtxo, root: bytes | None) -> None:
        """Fetch a set, and load it when it is here; raises FetchError.

        ``root`` is what the user knows of it, else the network's own is taken, or what peers agree on.
        """
        if not self._speaks:
            raise FetchError("This node does not ask peers for UTXO sets: start it with -peerutxosets")
        if self._task is not None and not self._task.done():
            raise FetchError("Failed to start download. A download may already be in progress.")
        if self._assumed.has_set:
            raise FetchError("Can't activate a snapshot-based chainstate more than once")
        tree, tip = self._chain.tree, self._chain.tip()
        if tree.height(tip) >= known.height:
            raise FetchError(f"The chain is at height {tree.height(tip)} already, beyond the set of {known.height}")
        self._known, self._problem, self._state, self._size = known, "", FetchState.LOOKING, (0, 0)
        self._missing, self._told = set(), 0
        self._task = asyncio.get_running_loop().create_task(self._run(known, root or known.chunk_root))

    def resume(self, sets: Sequence[AssumeUtxo]) -> None:
        """Go on with one of these that another run has begun, if there is one."""
        for known in sets:
            if self._task is None and tree_path(part_path(self._path(known))).exists():
                try:
                    self.begin(known, None)
                except FetchError as error:
                    log.info("[snapshot] the download of a UTXO set is not gone on with: %s", error)

    def _path(self, known: AssumeUtxo) -> Path:
        return self._folder / f"{known.height}-{to_display(known.block_hash)}{SUFFIX}"

    # -- the whole of it -----------------------------------------------------------------------------------------

    async def _run(self, known: AssumeUtxo, root: bytes | None) -> None:
        name, path = to_display(known.block_hash), self._path(known)
        try:
            await self._beside(self._make_folder)
            if not await self._beside(path.exists):
                await self._fetch(known, root, path)
            await self._load(known, path)
        except (StorageError, DecodeError) as error:
            self._feed(DropUtxoSet())
            self._state, self._problem = FetchState.FAILED, str(error)
            if not self._chain.stopping():
                log.error("[snapshot] the UTXO set after block %s is not loaded from peers: %s", name, error)
        finally:
            self._close_part()

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FetchError(f"{self._folder}: {error.strerror}") from None

    async def _fetch(self, known: AssumeUtxo, root: bytes | None, path: Path) -> None:
        """Have all chunks in the file ``path``; raises StorageError."""
        part = await self._beside(lambda: PartFile.resume(path))
        if part is not None and root is not None and part.tree.root != root:
            log.warning("[snapshot] what is here of %s has another root: it is fetched anew", path.name)
            part.close()
            part = None
        loop = asyncio.get_running_loop()
        self._tree = loop.create_future()
        self._feed(FetchUtxoSet(known.block_hash, root if part is None else part.tree.root))
        if part is None:
            log.info("[snapshot] looking for peers with the UTXO set after block %s", to_display(known.block_hash))
            told = await self._tree
            if told.version != VERSION:
                raise FetchError(f"peers have it in version {told.version} of the format, this node reads {VERSION}")
            tree = ChunkTree(told.length, told.hashes)
            self._check_room(tree.length)
            part = await self._beside(lambda: PartFile.begin(path, tree))
        self._part = part
        self._size = (part.tree.chunks, part.tree.length)
        self._state = FetchState.CHECKING
        missing = []
        for chunk in range(part.tree.chunks):
            if not await self._beside(lambda chunk=chunk, part=part: part.has(chunk)):  # type: ignore[misc]
                missing.append(chunk)
        self._missing = set(missing)
        self._told = part.tree.chunks - len(missing)
        log.info(
            "[snapshot] downloading the UTXO set after block %s: %d chunks, %d MB, %d here already",
            to_display(known.block_hash), part.tree.chunks, part.tree.length // 10**6, self._told,
        )  # fmt: skip
        self._state = FetchState.FETCHING
        self._whole = loop.create_future()
        if missing:
            wanted = UtxoTree(known.block_hash, VERSION, part.tree.length, part.tree.hashes)
            self._feed(FetchUtxoChunks(wanted, tuple(missing)))
            await self._whole
        self._feed(DropUtxoSet())
        await self._beside(part.finish)
        log.info("[snapshot] the UTXO set is here: %s", path)

    def _check_room(self, length: int) -> None:
        """For the file, and for the coins that are made of it; raises FetchError."""
        wanted, free = length * (1 + LOADED_SHARE) + SPARE_BYTES, self._free(self._folder)
        if free < wanted:
            raise FetchError(f"no room on the disk: {wanted // 10**6} MB are needed, {free // 10**6} MB are free")

    async def _load(self, known: AssumeUtxo, path: Path) -> None:
        """Load the file once its block's header is here; raises StorageError, DecodeError."""
        tree = self._chain.tree
        self._state = FetchState.WAITING
        # headers come some thousand at a time, and once for each
        while (base := tree.find(known.block_hash)) < 0 or not tree.is_ancestor(base, tree.best_header):  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        self._state = FetchState.LOADING
        try:
            await self._assumed.load(str(path))
        except SnapshotContentError as error:
            await self._beside(lambda: discard(path))
            raise FetchError(f"what peers told is not the set ({error}): it is deleted") from None
        except StorageError as error:
            raise FetchError(f"{error} The file is kept: {path}") from None
        self._state = FetchState.LOADED
        if self._shares is not None:
            await self._shares.look_again()

    # -- what peers tell -----------------------------------------------------------------------------------------

    def on_tree(self, effect: TakeUtxoTree) -> None:
        """The hashes of the chunks, which fit the root."""
        if self._tree is not None and not self._tree.done():
            self._tree.set_result(effect.tree)

    def on_chunk(self, effect: TakeUtxoChunk) -> None:
        """A chunk of which nothing is known yet."""
        task = asyncio.get_running_loop().create_task(self._take(effect))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _take(self, effect: TakeUtxoChunk) -> None:
        part, chunk = self._part, effect.chunk
        if part is None:
            return
        try:
            fits = await self._beside(lambda: _write(part, chunk, effect.data))
        except StorageError as error:
            self._feed(UtxoChunkJudged(effect.peer_id, chunk, stored=False))
            if self._whole is not None and not self._whole.done():
                self._whole.set_exception(FetchError(f"{error}; what is here is kept, the download can be begun again"))
            return
        self._feed(UtxoChunkJudged(effect.peer_id, chunk, stored=fits, wrong=not fits))
        if fits:
            self._missing.discard(chunk)
            self._log_progress()
            if not self._missing and self._whole is not None and not self._whole.done():
                self._whole.set_result(None)

    def _log_progress(self) -> None:
        """Now and then a line about how far it is."""
        chunks, _ = self._size
        stored = chunks - len(self._missing)
        if stored - self._told >= TOLD * chunks:
            self._told = stored
            log.info(
                "[snapshot] %d of %d chunks of the UTXO set are here (%.0f%%), %d peers have it",
                stored, chunks, 100 * stored / chunks, self._sources(),
            )  # fmt: skip

    async def _beside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _close_part(self) -> None:
        if self._part is not None:
            self._thread.submit(self._part.close)  # behind what is being written
            self._part = None


def _write(part: PartFile, chunk: int, data: bytes) -> bool:
    """Put a chunk in its place if it has its hash; raises StorageError."""
    if not part.fits(chunk, data):
        return False
    part.write(chunk, data)
    return True
