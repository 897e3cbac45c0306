"""Between the protocol and the chain: block effects become the driver's work, its events become inputs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from btcnode.chain.events import (
    BlockConnected,
    BlockDisconnected,
    BlockRejected,
    BlockStored,
    ChainEvent,
    SnapshotActivated,
)
from btcnode.errors import DecodeError, Fault, RuleViolation, StorageError
from btcnode.indexes.filters import BlockFilter
from btcnode.net.reactor import Reactor
from btcnode.observe.log_limit import UNLIMITED
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.protocol import events
from btcnode.protocol.effects import Audit, MatchBlock, ProcessBlock, ProcessTransactions, ReadBlock, ReadFilters
from btcnode.protocol.serving.tx_filter import FilteredBlock, filter_block
from btcnode.services.addresses import Addresses
from btcnode.services.audit_file import AuditFile
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.indexes import FilterIndex
from btcnode.services.transactions import Transactions
from btcnode.sync.driver import ChainDriver

log = logging.getLogger("btcnode.validation")


def strip_witnesses(raw: bytes) -> bytes:
    """A serialised block without its witnesses, for peers that do not know segwit."""
    block = parse_block(raw)
    head = raw[: block.tx_pos[0]]
    return head + b"".join(block.tx(i).stripped() for i in range(block.n_tx))


class BlockEffects:
    """The reactor's ``BlockHandler`` over a chain driver."""

    def __init__(
        self, driver: ChainDriver, chain: Chain, transactions: Transactions, clock: Clock, directory: Path
    ) -> None:
        self._driver = driver
        self._chain = chain
        self._transactions = transactions
        self._clock = clock
        self._audit = AuditFile(directory)
        self.filters: FilterIndex | None = None
        self.addresses: Addresses | None = None
        self._reactor: Reactor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, reactor: Reactor) -> None:
        """Begin to pass events on to this reactor."""
        self._reactor = reactor
        self._driver.listen(self._on_events)
        self._driver.on_settled = self._on_settled

    # -- effects -------------------------------------------------------------------------------------------------

    def process_block(self, effect: ProcessBlock) -> None:
        """Check and store a block; answered by ``BlockProcessed``."""
        self._spawn(self._process(effect))

    def read_block(self, effect: ReadBlock) -> None:
        """Read a block; answered by ``BlockRead``."""
        self._spawn(self._read(effect))

    def match_block(self, effect: MatchBlock) -> None:
        """Match a block with a light client's filter; answered by ``BlockMatched``."""
        self._spawn(self._match(effect))

    def read_filters(self, effect: ReadFilters) -> None:
        """Read block filters; answered by ``FiltersRead``."""
        self._spawn(self._read_filters(effect))

    def process_transactions(self, effect: ProcessTransactions) -> None:
        """Judge transactions; answered by ``TransactionsProcessed``."""
        self._transactions.process_transactions(effect)

    def audit(self, effect: Audit) -> None:
        """Append to the audit log."""
        self._audit.write(effect.record)

    def address_book_dirty(self) -> None:
        """Save the address book, off the loop's thread."""
        assert self.addresses is not None
        self.addresses.save()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, effect: ProcessBlock) -> None:
        violation: RuleViolation | None = None
        new = False
        try:
            outcome = await self._driver.store_block(effect.raw, self._clock.now(), requested=effect.requested)
            violation, new = outcome.violation, outcome.new
        except RuleViolation as error:
            violation = error
        except DecodeError as error:
            violation = RuleViolation("block-decode-failed", str(error), Fault.MUTATED)
        except StorageError:
            return  # the driver has told the node, which is stopping
        if violation is not None:
            log.debug("ProcessNewBlock: AcceptBlock FAILED (%s)", violation)  # Core's line
        assert self._reactor is not None
        self._reactor.feed(events.BlockProcessed(effect.peer_id, effect.index, violation, new))
        if self._driver.is_settled:  # it changed nothing
            self._on_settled()

    async def _read(self, effect: ReadBlock) -> None:
        raw: bytes | None = None
        try:
            raw = await self._driver.read_block(effect.index)
            if not effect.witness:
                raw = await self._driver.in_reader(lambda block=raw: strip_witnesses(block))  # type: ignore[misc]
        except (StorageError, KeyError) as error:
            log.warning("cannot read block %s to serve it: %s", self._name(effect.index), error)
        assert self._reactor is not None
        self._reactor.feed(events.BlockRead(effect.peer_id, effect.index, raw))

    async def _match(self, effect: MatchBlock) -> None:
        found: FilteredBlock | None = None
        try:
            raw = await self._driver.read_block(effect.index)
            found = await self._driver.in_reader(lambda: filter_block(raw, effect.filter))
        except (StorageError, KeyError) as error:
            log.warning("cannot read block %s to filter it: %s", self._name(effect.index), error)
        assert self._reactor is not None
        self._reactor.feed(events.BlockMatched(effect.peer_id, effect.index, found))

    async def _read_filters(self, effect: ReadFilters) -> None:
        filters, tree = self.filters, self._chain.tree
        found: tuple[BlockFilter, ...] | None = None
        if filters is not None:
            hashes = [tree.hash(index) for index in effect.indices]
            await filters.until_synced()
            try:
                read = await self._driver.in_reader(lambda: [filters.get(block_hash) for block_hash in hashes])
                present = tuple(item for item in read if item is not None)
                found = present if len(present) == len(hashes) else None
            except StorageError as error:
                log.warning("cannot read block filters to serve them: %s", error)
        assert self._reactor is not None
        self._reactor.feed(events.FiltersRead(effect.peer_id, effect.indices, found))

    # -- events --------------------------------------------------------------------------------------------------

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        assert self._reactor is not None
        connected: list[int] = []
        changed = False
        for event in chain_events:
            if isinstance(event, BlockConnected):
                connected.append(event.index)
                changed = True
                log.info("%s", self._chain.update_tip_line(event.index), extra=UNLIMITED)  # Core's line: tools read it
            elif isinstance(event, BlockDisconnected):
                changed = True
                log.info("disconnected block %s height=%d", self._name(event.index), event.height, extra=UNLIMITED)
                log.info("%s", self._chain.update_tip_line(self._chain.tree.prev(event.index)), extra=UNLIMITED)
            elif isinstance(event, SnapshotActivated):
                changed = True
            elif isinstance(event, BlockStored):
                self._on_stored(event)
            elif isinstance(event, BlockRejected) and event.connecting:
                # of others, which cost nobody any work, the protocol tells in its line about the sender
                log.info("Block validation error: %s", event.violation)  # Core's lines: tools read them
                log.warning("ConnectTip: ConnectBlock %s failed, %s", self._name(event.index), event.violation)
                self._reactor.feed(events.BlockRejected(event.index, event.violation))
        if changed:
            self._reactor.feed(events.TipChanged(self._chain.tip(), tuple(connected)))

    def _on_settled(self) -> None:
        """Blocks have had their effect, on the mempool too."""
        if self._transactions.is_settled:
            assert self._reactor is not None
            self._reactor.feed(events.ChainSettled())
        else:
            self._spawn(self._settle_later())

    async def _settle_later(self) -> None:
        await self._transactions.settled()
        if self._driver.is_settled:  # else that activation's end is what counts
            self._on_settled()

    def _on_stored(self, event: BlockStored) -> None:
        """Blocks on top of the tip go on to other nodes before their scripts are verified."""
        chain = self._chain
        if event.block is None or chain.tree.prev(event.index) != chain.tip() or chain.is_initial_block_download():
            return
        assert self._reactor is not None
        self._reactor.feed(events.BlockAccepted(event.index, event.block))

    def _name(self, index: int) -> str:
        return to_display(self._chain.tree.hash(index))
