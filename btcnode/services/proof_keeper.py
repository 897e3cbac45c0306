"""The proofs of a node without coins: written when peers tell them, deleted when their blocks are on the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256

from btcnode.chain.events import BlockUnproven, ChainEvent, Flushed
from btcnode.errors import ForgedProofError, StorageError
from btcnode.primitives.hashes import to_display
from btcnode.protocol.commands import ProofRefused, ProofsKept
from btcnode.protocol.effects import KeepProof
from btcnode.protocol.inputs import Input
from btcnode.protocol.peer import NONE
from btcnode.services.chain import Chain
from btcnode.storage.proof_files import ProofFiles

KEPT_BLOCKS = 10  # below the tip on the disk: for a small reorganisation and back

log = logging.getLogger("btcnode.validation")


class ProofKeeper:
    """Lives on the loop thread; ``feed`` is the reactor's."""

    def __init__(
        self, files: ProofFiles, chain: Chain, feed: Callable[[Input], None], on_fatal: Callable[[BaseException], None]
    ) -> None:
        self._files = files
        self._chain = chain
        self._feed = feed
        self._on_fatal = on_fatal
        self._tasks: set[asyncio.Task[None]] = set()
        self._tellers: dict[int, dict[bytes, int]] = {}  # header index -> SHA-256 of a proof -> the last who told it
        chain.driver.listen(self._on_events)

    def start(self) -> None:
        """Tell of the proofs that an earlier run has left."""
        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        found = [index for block_hash in self._files.hashes() if (index := tree.find(block_hash)) >= 0]
        waiting = tuple(index for index in found if not active.contains(index))
        if waiting:
            self._feed(ProofsKept(waiting))

    def keep(self, effect: KeepProof) -> None:
        """Write a proof; answered by ``ProofsKept``."""
        self._tellers.setdefault(effect.index, {})[sha256(effect.proof).digest()] = effect.peer_id
        task = asyncio.get_running_loop().create_task(self._write(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, effect: KeepProof) -> None:
        tree = self._chain.tree
        block_hash, height = tree.hash(effect.index), tree.height(effect.index)
        try:
            await self._chain.driver.in_reader(lambda: self._files.put(block_hash, height, effect.proof))
        except StorageError as error:
            self._on_fatal(error)
            return
        self._feed(ProofsKept((effect.index,), effect.peer_id))

    def _on_events(self, events: list[ChainEvent]) -> None:
        for event in events:
            if isinstance(event, BlockUnproven):
                self._refused(event)
            elif isinstance(event, Flushed):
                state = self._chain.driver.chainstate
                written = 0 if state.proven is None else state.proven.written
                height = min(state.active.height, written) - KEPT_BLOCKS
                self._files.drop_up_to(height)
                for index in [index for index in self._tellers if self._chain.tree.height(index) <= height]:
                    del self._tellers[index]

    def _refused(self, event: BlockUnproven) -> None:
        """Delete the proof that was tried, unless another is in its place, and say who has told it."""
        block_hash, error, peer_id = self._chain.tree.hash(event.index), event.error, NONE
        forged = isinstance(error, ForgedProofError)
        log.log(logging.INFO if forged else logging.DEBUG, "block %s is not proven: %s", to_display(block_hash), error)
        if isinstance(error, ForgedProofError):
            peer_id = self._tellers.get(event.index, {}).pop(sha256(error.proof).digest(), NONE)
            try:
                self._files.drop(block_hash, error.proof)
            except StorageError as failure:
                self._on_fatal(failure)
                return
        self._feed(ProofRefused(event.index, str(error), forged, peer_id))

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
