"""UTXO sets that are shared with peers: the files of one folder, looked through now and then (docs/utxo-sets.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from btcnode.errors import DecodeError, StorageError
from btcnode.files import open_regular
from btcnode.networks.assumeutxo import set_after
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.services.chain import Chain
from btcnode.storage.utxo_chunk_file import ChunkTree, read_chunk, tree_of
from btcnode.storage.utxo_snapshot import HEADER, VERSION, parse_header
from btcnode.tuples import NamedTuple
from btcnode.wire.messages import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree

FOLDER = "share"
SUFFIX = ".dat"
LOOK_INTERVAL = 60.0  # seconds
MAX_SHARED = 16  # files; of each the hashes are kept, at most 512 kB
BURIED = 2016  # blocks under which a scheduled set's block lies
SCHEDULE = 14_112  # blocks between two of them

log = logging.getLogger("btcnode.net")


def scheduled_heights(tip: int) -> tuple[int, int] | None:
    """The two heights whose sets the service bit promises at this tip; None while there are no two."""
    newest = (tip - BURIED) // SCHEDULE * SCHEDULE
    return (newest, newest - SCHEDULE) if newest > SCHEDULE else None


class SharedSet(NamedTuple):
    """A file that peers may have."""

    path: Path
    seen: tuple[int, int]  # its size and time of change when it was taken up
    block_hash: BlockHash
    tree: ChunkTree


class UtxoShares:
    """``offer`` is told whether the sets of both scheduled heights are here. Lives on the loop thread."""

    def __init__(self, directory: Path, params: NetworkParams, chain: Chain, offer: Callable[[bool], None]) -> None:
        """``directory`` is the network's."""
        self._folder = directory / FOLDER
        self._params = params
        self._chain = chain
        self._offer = offer
        self._sets: dict[BlockHash, SharedSet] = {}
        self._refused: dict[Path, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()

    def start(self) -> None:
        """Look through the folder, and again from time to time."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Leave the files alone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await self.look_again()
            await asyncio.sleep(LOOK_INTERVAL)

    async def look_again(self) -> None:
        """Take up what is new in the folder, and forget what is gone or was changed."""
        async with self._looking:
            try:
                self._sets = await asyncio.to_thread(self._found, dict(self._sets))
            except StorageError as error:
                log.warning("UTXO sets cannot be shared: %s", error)
            self._offer(self._has_scheduled())

    def _has_scheduled(self) -> bool:
        tree, tip = self._chain.tree, self._chain.tip()
        heights = scheduled_heights(tree.height(tip))
        if heights is None:
            return False
        found = [tree.find(name) for name in self._sets]
        here = {tree.height(index) for index in found if index >= 0 and tree.is_ancestor(index, tip)}
        return here.issuperset(heights)

    # -- beside the loop -----------------------------------------------------------------------------------------

    def _found(self, known: dict[BlockHash, SharedSet]) -> dict[BlockHash, SharedSet]:
        """The sets in the folder, of which ``known`` were here before; raises StorageError."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            paths = sorted(path for path in self._folder.iterdir() if path.name.endswith(SUFFIX))
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror}") from None
        found: dict[BlockHash, SharedSet] = {}
        by_path = {shared.path: shared for shared in known.values()}
        for path in paths[:MAX_SHARED]:
            with suppress(FileNotFoundError):
                shared = self._take_up(path, by_path.get(path))
                if shared is not None:
                    found[shared.block_hash] = shared
        return found

    def _take_up(self, path: Path, known: SharedSet | None) -> SharedSet | None:
        """A file of the folder; None for what cannot be shared, with one line in the log. Raises FileNotFoundError."""
        status = path.stat()
        seen = (status.st_size, status.st_mtime_ns)
        if known is not None and known.seen == seen:
            return known
        if self._refused.get(path) == seen:
            return None
        try:
            with open_regular(path) as file:
                block_hash = parse_header(file.read(HEADER.size), self._params).block_hash
            tree = tree_of(path, self._check_stop)
            known_set = set_after(self._params, block_hash)
            if known_set is not None and known_set.chunk_root not in (None, tree.root):
                raise StorageError("it is not the set that is known after this block")
        except FileNotFoundError:
            raise
        except (OSError, DecodeError, StorageError) as error:
            if not self._chain.stopping():
                log.warning("%s is not shared: %s", path, error)
                self._refused = {**dict(list(self._refused.items())[-MAX_SHARED:]), path: seen}
            return None
        log.info(
            "sharing the UTXO set after block %s: %s, %d chunks, root %s",
            to_display(block_hash), path.name, tree.chunks, to_display(tree.root),
        )  # fmt: skip
        return SharedSet(path, seen, block_hash, tree)

    def _check_stop(self) -> None:
        if self._chain.stopping():
            raise StorageError("Shutting down")

    def has(self, block_hash: bytes) -> bool:
        """Whether the set after a block is shared."""
        return block_hash in self._sets

    def answer(self, request: GetUtxoTree | GetUtxoSet) -> bytes | None:
        """The payload of the answer, None for what is not here; on any thread. Raises StorageError."""
        shared = self._sets.get(BlockHash(request.block_hash))
        if shared is None:
            return None
        if isinstance(request, GetUtxoTree):
            return UtxoTree(shared.block_hash, VERSION, *shared.tree).encode()
        try:
            data = read_chunk(shared.path, shared.tree, request.chunk)
        except OSError as error:
            raise StorageError(f"cannot read {shared.path}: {error.strerror}") from None
        return None if data is None else UtxoSetChunk(shared.block_hash, request.chunk, data).encode()

    def withdraw(self, block_hash: BlockHash) -> None:
        """The file is not what it was: it is looked at again later."""
        self._sets.pop(block_hash, None)
