"""Loading the chain at start: the database, the index, the check of the newest blocks, and what the log says of it.

The lines are Core's where tools look for them. What is damaged is named in the log in detail and to the user in Core's
words, with the advice to rebuild (``RebuildError``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from btcnode.chain.assumevalid import AssumeValid
from btcnode.chain.block_status import HAVE_DATA, OPT_WITNESS
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.executor import RECENT_BLOCKS_BYTES
from btcnode.chain.store import ChainStore
from btcnode.consensus.headers import MAX_FUTURE_BLOCK_TIME
from btcnode.errors import CorruptionError, LostDatabaseError, RebuildError
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.node.shadow import make_shadow
from btcnode.primitives.hashes import to_display
from btcnode.services.chain import verification_progress
from btcnode.services.times import iso_time

if TYPE_CHECKING:
    from btcnode.chain.script_checks import ScriptChecker
    from btcnode.services.clock import Clock
    from btcnode.settings.settings import Settings
    from btcnode.storage.proof_files import ProofFiles

MIB = 1 << 20

log = logging.getLogger("btcnode.node")


class ChainLoader:
    """Used once, off the loop's thread.

    ``busy_with`` is told what the node is busy with, ``check_stop`` raises StartStopped when it is to give up.
    ``recent_bytes`` of blocks are kept parsed between storing and connecting.
    """

    def __init__(
        self,
        settings: Settings,
        params: NetworkParams,
        clock: Clock,
        busy_with: Callable[[str], None],
        check_stop: Callable[[], None],
        recent_bytes: int = RECENT_BLOCKS_BYTES,
    ) -> None:
        self._settings = settings
        self._params = params
        self._clock = clock
        self._busy_with = busy_with
        self._check_stop = check_stop
        self._recent_bytes = recent_bytes

    def open_store(self) -> ChainStore:
        """Open the network's data; raises StorageError, among them RebuildError."""
        settings = self._settings
        log.info("Cache configuration:")
        log.info("* Using %.1f MiB for in-memory UTXO set", settings.storage.dbcache_bytes / (1 << 20))
        try:
            return ChainStore.open(
                settings.net_dir,
                self._params,
                blocks_dir=settings.blocks_dir,
                blocks_xor=settings.storage.blocksxor,
                small_files=settings.storage.fastprune,
                prune=settings.storage.prunes,
                reindex=settings.storage.reindex,
                drop_snapshot=settings.storage.reindex_chainstate,
                crash_ratio=settings.storage.dbcrashratio,
            )
        except LostDatabaseError as error:
            raise damaged("Error opening block database", error) from error
        except CorruptionError as error:
            raise damaged("Error loading block database", error) from error

    def load(self, store: ChainStore, checker: ScriptChecker | None, proofs: ProofFiles | None = None) -> Chainstate:
        """The chain in ``store``, checked; ``proofs`` are what blocks are connected by where no coins are kept.

        Raises StorageError, among them RebuildError, and StartStopped.
        """
        settings = self._settings
        self._busy_with("Loading block index…")
        self._log_assumptions()
        self._check_stop()
        if settings.storage.reindex_chainstate:
            store.forget_coins(self._params.genesis_hash)
        elif store.damage():
            raise damaged("Corrupted block database detected", CorruptionError(f"in an earlier run: {store.damage()}"))
        try:
            self._check_coins(store)
            state = Chainstate.open(
                self._params,
                store,
                dbcache=settings.storage.dbcache_bytes,
                checker=checker,
                shadow=make_shadow(settings),
                recent_bytes=self._recent_bytes,
                proofs=proofs,
            )
            if settings.storage.reindex_chainstate:
                state.forget_verdicts()
            self._check_files(store)
        except CorruptionError as error:
            raise damaged("Error loading block database", error) from error
        self._check_witnesses(state)
        self._log_tip(state)
        self._check_stop()
        if not settings.storage.reindex:
            if state.tree.time(state.tip) > self._clock.now() + MAX_FUTURE_BLOCK_TIME:
                raise RebuildError(
                    "The block database contains a block which appears to be from the future. This may be due to your"
                    " computer's date and time being set incorrectly. Only rebuild the block database if you are sure"
                    " that your computer's date and time are correct"
                )
            self._verify(state)
        log.info("Block index and chainstate loaded")
        return state

    def _check_coins(self, store: ChainStore) -> None:
        """Raises StorageError, among them RebuildError."""
        try:
            store.verify_small_coins()
        except CorruptionError as error:
            raise damaged("Error opening coins database", error) from error

    def _log_assumptions(self) -> None:
        params = self._params
        block = AssumeValid.from_params(params).block
        if block is None:
            log.info("Validating signatures for all blocks.")
        else:
            log.info("Assuming ancestors of block %s have valid signatures.", to_display(block))
        log.info("Setting nMinimumChainWork=%064x", params.minimum_chain_work)
        usual = params_for(params.name).minimum_chain_work
        if params.minimum_chain_work < usual:
            log.warning("nMinimumChainWork set below default value of %064x", usual)

    def _check_files(self, store: ChainStore) -> None:
        """Every file that has blocks must be there; raises CorruptionError."""
        log.info("Checking all blk files are present...")
        files = store.files
        for number, info in enumerate(files.infos):
            if info.size and not files.block_path(number).exists():
                raise CorruptionError(f"{files.block_path(number)} is missing")

    def _check_witnesses(self, state: Chainstate) -> None:
        """Blocks that came when segwit was not known for active have not been checked for it; raises RebuildError."""
        first, status = self._params.segwit_height, state.tree.columns.status
        chain = state.active.span(first, state.active.height)
        if any(status[index] & (HAVE_DATA | OPT_WITNESS) == HAVE_DATA for index in chain):
            raise RebuildError(
                f"Witness data for blocks after height {first} requires validation. Please restart with -reindex."
            )

    def _log_tip(self, state: Chainstate) -> None:
        tree, tip = state.tree, state.tip
        log.info(
            "Loaded best chain: hashBestChain=%s height=%d date=%s progress=%f",
            to_display(tree.hash(tip)), tree.height(tip), iso_time(tree.time(tip)),
            verification_progress(self._params, tree, tip, self._clock.now()),
        )  # fmt: skip

    def _verify(self, state: Chainstate) -> None:
        settings, height = self._settings, state.active.height
        self._busy_with("Verifying blocks…")
        if not height:
            return
        from btcnode.chain.verify_db import LEVEL_UNDO, verify_recent

        count = min(settings.storage.checkblocks, height) if settings.storage.checkblocks > 0 else height
        level = settings.storage.checklevel if state.proven is None else min(settings.storage.checklevel, LEVEL_UNDO)
        log.info("Verifying last %d blocks at level %d", count, level)
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            self._check_stop()
            percent = done * 100 // total
            if percent // 10 > shown // 10 and total > 100:
                shown = percent
                log.info("Verification progress: %d%%", percent)

        try:
            verify_recent(state, settings.storage.checkblocks, level, progress)
        except CorruptionError as error:
            raise damaged("Corrupted block database detected", error) from error
        log.info("Verification: No coin database inconsistencies in last %d blocks", count)


def damaged(core_text: str, error: CorruptionError) -> RebuildError:
    """The error for the user, in Core's words; below them and in the log stands what exactly is wrong."""
    log.error("%s", error)
    return RebuildError(core_text, str(error))
