"""The protocol's effects that concern blocks, transactions and files; and the chain's events, which it hears of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from btcnode.chain.events import (
    BlockConnected,
    BlockDisconnected,
    BlockRejected,
    ChainEvent,
    SnapshotActivated,
)
from btcnode.errors import DecodeError, Fault, RuleViolation, StorageError
from btcnode.net.reactor import Reactor
from btcnode.observe.log_limit import UNLIMITED
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.steps import Steps
from btcnode.protocol import events
from btcnode.protocol.effects import (
    AddressBookDirty,
    Audit,
    DistrustBlocks,
    KeepProof,
    MakeThin,
    MatchBlock,
    ProcessBlock,
    ProcessTransactions,
    ReadBlock,
    ReadFilters,
    ReadSpent,
    ReadUtreexo,
    ReadUtxoSet,
    TakeSpent,
    WithdrawTransactions,
)
from btcnode.protocol.serving.pieces import Meter
from btcnode.protocol.serving.thin_answers import ThinAnswer, answer_steps
from btcnode.protocol.serving.tx_filter import FilteredBlock, filter_steps
from btcnode.services.addresses import Addresses
from btcnode.services.audit_file import AuditFile
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.side_work import SideWork
from btcnode.services.transactions import Transactions

if TYPE_CHECKING:
    from btcnode.indexes.filters import BlockFilter
    from btcnode.services.index_readers import FilterIndex, UtreexoIndex
    from btcnode.services.proof_keeper import ProofKeeper
    from btcnode.services.swift_sync import SwiftSync
    from btcnode.services.utxo_shares import UtxoShares

STRIP_COST = 8  # units of work for a transaction
FILTER_COST = 3  # units of work to look up a filter
SPENT_COST = 3  # units of work for a spent coin

log = logging.getLogger("btcnode.validation")

T = TypeVar("T")


def strip_steps(raw: bytes) -> Steps[bytes]:
    """A serialised block without its witnesses, for peers that do not know segwit."""
    block, meter = parse_block(raw), Meter()
    parts = [raw[: block.tx_pos[0]]]
    for n in range(block.n_tx):
        parts.append(block.tx(n).stripped())
        if meter.spent(STRIP_COST):
            yield
    return b"".join(parts)


def find_steps(
    filters: FilterIndex, hashes: Sequence[BlockHash], *, data: bool
) -> Steps[tuple[BlockFilter, ...] | None]:
    """The filters of these blocks, or their hashes only; None when one is not indexed. Raises StorageError."""
    found, meter = [], Meter()
    for block_hash in hashes:
        item = filters.get(block_hash)
        if item is None:
            return None
        found.append(item if data else item._replace(data=b""))
        if meter.spent(FILTER_COST):
            yield
    return tuple(found)


def spent_steps(undo: bytes, cutoff: int) -> Steps[bytes]:
    """What ``bspent`` has behind the block's hash, of serialised undo data; raises DecodeError."""
    from btcnode.swiftsync.spent_coins import spent_of_undo

    parts, meter, count = [], Meter(), 0
    for told, part in spent_of_undo(undo, cutoff):
        parts.append(part)
        count += told
        if meter.spent(SPENT_COST * (told + 1)):
            yield
    return compact_size(count) + b"".join(parts)


def _in_one_piece(work: Callable[[], T]) -> Steps[T]:
    """Work that leaves the interpreter to others by itself: it reads and hashes megabytes."""
    return work()
    yield


class BlockEffects:
    """Executes them for one reactor, from its construction on; answers go back to it as inputs."""

    def __init__(
        self,
        reactor: Reactor,
        chain: Chain,
        transactions: Transactions,
        addresses: Addresses,
        filters: FilterIndex | None,
        clock: Clock,
        directory: Path,
        swiftsync: SwiftSync | None = None,
        utreexo: UtreexoIndex | None = None,
        proofs: ProofKeeper | None = None,
        utxo_shares: UtxoShares | None = None,
    ) -> None:
        """``filters``, ``utreexo``: the indexes to serve from, None when this node keeps none.

        ``proofs`` keeps what blocks are connected by in a node without coins.
        """
        self._proofs = proofs
        self._utxo_shares = utxo_shares
        self._utreexo = utreexo
        self._swiftsync = swiftsync
        self._reactor = reactor
        self._driver = chain.driver
        self._chain = chain
        self._clock = clock
        self._audit = AuditFile(directory)
        self._side = SideWork()
        self._addresses = addresses
        self._filters = filters
        self._tasks: set[asyncio.Task[None]] = set()  # a block that is half stored is not given up
        self._reads: set[asyncio.Task[None]] = set()
        reactor.execute_with(
            {
                ProcessBlock: self._process_block,
                DistrustBlocks: self._distrust_blocks,
                ReadBlock: self._read_block,
                MatchBlock: self._match_block,
                MakeThin: self._make_thin,
                ReadFilters: self._read_filters,
                ReadSpent: self._read_spent,
                ReadUtreexo: self._read_utreexo,
                ReadUtxoSet: self._read_utxo_set,
                TakeSpent: self._take_spent,
                KeepProof: self._keep_proof,
                WithdrawTransactions: transactions.withdraw_transactions,
                Audit: self._write_audit,
                AddressBookDirty: self._save_addresses,
            },
            {ProcessTransactions: transactions.process_all},
        )
        self._driver.listen(self._on_events)
        self._driver.listen_checked(self._on_checked)
        self._driver.listen_settled(self._report_rest)

    async def close(self) -> None:
        """Wait for blocks that are being stored, give up what is being read, write the audit log to its end."""
        for task in self._reads:
            task.cancel()
        await asyncio.gather(*self._reads, *self._tasks, return_exceptions=True)
        self._side.close()
        await self._audit.close()

    # -- effects -------------------------------------------------------------------------------------------------

    def _process_block(self, effect: ProcessBlock) -> None:
        """Check and store a block; answered by ``BlockProcessed``."""
        self._driver.chainstate.standings.set(effect.index, effect.standing)
        _spawn(self._tasks, self._store_and_answer(effect))

    def _distrust_blocks(self, effect: DistrustBlocks) -> None:
        self._driver.chainstate.standings.degrade(effect.indices)

    def _read_block(self, effect: ReadBlock) -> None:
        """Read a block; answered by ``BlockRead``."""
        _spawn(self._reads, self._read(effect))

    def _match_block(self, effect: MatchBlock) -> None:
        """Match a block with a light client's filter; answered by ``BlockMatched``."""
        _spawn(self._reads, self._match(effect))

    def _make_thin(self, effect: MakeThin) -> None:
        """Make the answer to a request for a thin block; answered by ``ThinMade``."""
        _spawn(self._reads, self._make(effect))

    def _read_filters(self, effect: ReadFilters) -> None:
        """Read block filters; answered by ``FiltersRead``."""
        _spawn(self._reads, self._find_filters(effect))

    def _read_spent(self, effect: ReadSpent) -> None:
        """Read the coins that a block spends; answered by ``SpentRead``."""
        _spawn(self._reads, self._find_spent(effect))

    def _read_utreexo(self, effect: ReadUtreexo) -> None:
        """Read a Utreexo proof or roots; answered by ``UtreexoRead``."""
        _spawn(self._reads, self._find_utreexo(effect))

    def _read_utxo_set(self, effect: ReadUtxoSet) -> None:
        """Read a part of a UTXO set; answered by ``UtxoSetRead``, at once where nothing is here to be read."""
        shares = self._utxo_shares
        if shares is None or not shares.has(effect.request.block_hash):
            self._reactor.feed(events.UtxoSetRead(effect.peer_id, effect.index, None))
            return
        _spawn(self._reads, self._find_utxo_set(effect, shares))

    def _take_spent(self, effect: TakeSpent) -> None:
        """A peer told them; only a sync with hints asks for that."""
        if self._swiftsync is not None:
            self._swiftsync.on_spent(effect)

    def _keep_proof(self, effect: KeepProof) -> None:
        """A peer told it; only a node without coins asks for that."""
        if self._proofs is not None:
            self._proofs.keep(effect)

    def _write_audit(self, effect: Audit) -> None:
        self._audit.write(effect.record)

    def _save_addresses(self, _: AddressBookDirty) -> None:
        self._addresses.save()

    async def _store_and_answer(self, effect: ProcessBlock) -> None:
        violation: RuleViolation | None = None
        new = False
        try:
            if self._swiftsync is not None and self._swiftsync.wants(effect.index):
                outcome = await self._swiftsync.take(effect.index, effect.raw)
            else:
                outcome = await self._driver.store_block(
                    effect.raw, self._clock.now(), requested=effect.requested, known=effect.known
                )
            violation, new = outcome.violation, outcome.new
        except RuleViolation as error:
            violation = error
        except DecodeError as error:
            violation = RuleViolation("block-decode-failed", str(error), Fault.MUTATED)
        except StorageError:
            return  # the driver has told the node, which is stopping
        if violation is not None:
            log.debug("ProcessNewBlock: AcceptBlock FAILED (%s)", violation)  # Core's line
        self._reactor.feed(events.BlockProcessed(effect.peer_id, effect.index, violation, new))
        if self._driver.is_settled:  # it changed nothing
            self._report_rest()

    async def _read(self, effect: ReadBlock) -> None:
        raw: bytes | None = None
        try:
            if effect.witness:
                raw = await self._driver.read_block(effect.index)
            else:
                raw = await self._work_on(effect, strip_steps)
        except (StorageError, KeyError) as error:
            log.warning("cannot read block %s to serve it: %s", self._name(effect.index), error)
        self._reactor.feed(events.BlockRead(effect.peer_id, effect.index, raw))

    async def _match(self, effect: MatchBlock) -> None:
        found: FilteredBlock | None = None
        try:
            found = await self._work_on(effect, lambda raw: filter_steps(raw, effect.filter))
        except (StorageError, KeyError) as error:
            log.warning("cannot read block %s to filter it: %s", self._name(effect.index), error)
        self._reactor.feed(events.BlockMatched(effect.peer_id, effect.index, found))

    async def _make(self, effect: MakeThin) -> None:
        made: ThinAnswer | None = None
        try:
            if (block := effect.block) is not None:
                async with self._side.turn(effect.peer_id):
                    if self._is_here(effect.peer_id):
                        made = await self._side.run(lambda: answer_steps(effect.request, block))
            else:
                made = await self._work_on(effect, lambda raw: answer_steps(effect.request, parse_block(raw)))
        except (StorageError, KeyError) as error:
            log.warning("cannot read block %s to serve parts of it: %s", self._name(effect.index), error)
        self._reactor.feed(events.ThinMade(effect.peer_id, effect.index, made))

    async def _work_on(self, effect: ReadBlock | MatchBlock | MakeThin, begin: Callable[[bytes], Steps[T]]) -> T | None:
        """Read a block and work on it beside the loop, unless the peer has gone; raises StorageError, KeyError."""
        async with self._side.turn(effect.peer_id):
            if not self._is_here(effect.peer_id):
                return None
            raw = await self._driver.read_block(effect.index)
            return await self._side.run(lambda: begin(raw))

    def _is_here(self, peer_id: int) -> bool:
        """Whether the peer still waits for an answer: nobody else shall wait for what is made for nobody."""
        return peer_id in self._reactor.connections

    async def _find_filters(self, effect: ReadFilters) -> None:
        filters, tree = self._filters, self._chain.tree
        found: tuple[BlockFilter, ...] | None = None
        if filters is not None:
            hashes = [tree.hash(index) for index in effect.indices]
            await filters.until_synced()
            try:
                async with self._side.turn(effect.peer_id):
                    if self._is_here(effect.peer_id):
                        found = await self._side.run(lambda: find_steps(filters, hashes, data=effect.data))
            except StorageError as error:
                log.warning("cannot read block filters to serve them: %s", error)
        self._reactor.feed(events.FiltersRead(effect.peer_id, effect.indices, found))

    async def _find_spent(self, effect: ReadSpent) -> None:
        coins: bytes | None = None
        try:
            async with self._side.turn(effect.peer_id):
                if self._is_here(effect.peer_id):
                    undo = await self._chain.read_undo(effect.index)
                    coins = await self._side.run(lambda: spent_steps(undo, effect.cutoff))
        except (StorageError, DecodeError) as error:
            log.warning("cannot read what block %s spends to serve it: %s", self._name(effect.index), error)
        self._reactor.feed(events.SpentRead(effect.peer_id, effect.index, coins))

    async def _find_utreexo(self, effect: ReadUtreexo) -> None:
        from btcnode.services.utreexo_answers import utreexo_steps, wants_leaves  # where somebody asks bridges

        index, request, chain = self._utreexo, effect.request, self._chain
        payload: bytes | None = None
        if index is not None:
            await index.until_synced()  # who asks has heard of a block from us that the index may be about to come to
        try:
            async with self._side.turn(effect.peer_id):
                if index is not None and self._is_here(effect.peer_id):
                    raw = undo = b""
                    if wants_leaves(request):
                        raw, undo = await chain.read_block(effect.index), await chain.read_undo(effect.index)
                    payload = await self._side.run(lambda: utreexo_steps(index, request, raw, undo))
        except (StorageError, DecodeError, KeyError) as error:
            log.warning("cannot read the Utreexo proof of block %s to serve it: %s", self._name(effect.index), error)
        self._reactor.feed(events.UtreexoRead(effect.peer_id, effect.index, payload))

    async def _find_utxo_set(self, effect: ReadUtxoSet, shares: UtxoShares) -> None:
        payload, request = None, effect.request
        try:
            async with self._side.turn(effect.peer_id):
                if self._is_here(effect.peer_id):
                    payload = await self._side.run(lambda: _in_one_piece(lambda: shares.answer(request)))
        except StorageError as error:
            log.warning("a UTXO set is not served any more: %s", error)
            shares.withdraw(BlockHash(request.block_hash))
        self._reactor.feed(events.UtxoSetRead(effect.peer_id, effect.index, payload))

    # -- events --------------------------------------------------------------------------------------------------

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
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
            elif isinstance(event, BlockRejected) and event.connecting:
                self._reactor.feed(events.BlockRejected(event.index, event.violation))
        if changed:
            self._reactor.feed(events.TipChanged(self._chain.tip(), tuple(connected)))

    def _report_rest(self) -> None:
        """Blocks have had their effect, on the mempool too."""
        self._reactor.feed(events.ChainSettled())

    def _on_checked(self, index: int, block: ParsedBlock) -> None:
        """Blocks on top of the tip go on to other nodes before they are written and their scripts are verified."""
        chain = self._chain
        if chain.tree.prev(index) == chain.tip() and not chain.is_initial_block_download():
            self._reactor.feed(events.BlockAccepted(index, block))

    def _name(self, index: int) -> str:
        return to_display(self._chain.tree.hash(index))


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
