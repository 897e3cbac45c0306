"""The chain of a running node as everybody asks for it: headers and blocks from memory and disk, coins, changes.

Everything here is called on the loop thread. Plain methods answer at once from memory; ``async`` ones may wait for the
chain thread or for an event. A header's place is its ``int`` index in the tree (-1 is "none").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf, log2
from time import perf_counter
from typing import TYPE_CHECKING, cast

from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO, VALID_SCRIPTS
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, ChainEvent
from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_block
from btcnode.consensus.deployments import VersionBits
from btcnode.errors import CorruptionError, DecodeError, Fault, RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.chain_view import NodeChainView
from btcnode.record import record, struct
from btcnode.services.announced_tip import AnnouncedTip
from btcnode.services.clock import Clock
from btcnode.services.lately import Lately, parsed_size
from btcnode.services.times import iso_time
from btcnode.side_processes import SideProcesses
from btcnode.storage.coins import HashType
from btcnode.storage.coins import UtxoStats as CoinTotals
from btcnode.storage.undo import decode_undo
from btcnode.sync.driver import ChainDriver
from btcnode.sync.prefetch import thread_disk_reads
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.utreexo.coin_proof import CoinProof
    from btcnode.utreexo.stump import Stump

RECENT = 2 * 3600  # seconds
MAX_OUTPUTS = 4_000_000 // 36  # of a transaction: weight of the smallest output
OUTPUTS_AT_ONCE = 1000
FEW_COINS = 20  # that are looked for on the loop when they are in memory
COLD_SECONDS = 10.0  # that stored coins are not looked up on the loop, once one had to be read from the disk there
HASH_TYPES = ("hash_serialized_3", "muhash", "none")


def verification_progress(params: NetworkParams, tree: HeaderTree, index: int, now: int) -> float:
    """Share of all transactions up to now that block ``index`` and its ancestors have (Core's guess), 0 to 1."""
    data = params.chain_tx_data
    transactions = tree.columns.chain_tx[index]
    if not transactions:
        return 0.0
    age = now - tree.time(index)
    ahead = tree.height(tree.best_header) - tree.height(index)
    if abs(age) <= RECENT and ahead >= 0:  # near today heights say more than a miner's clock
        age = ahead * params.pow_target_spacing
    if transactions <= data.tx_count:
        total = data.tx_count + (now - data.time) * data.tx_rate
    else:
        total = transactions + age * data.tx_rate
    return min(transactions / total, 1.0) if total > 0 else 1.0


_log = logging.getLogger("btcnode.chain")


@record
class BlockStatus:
    """What is known of a block beyond its header."""

    have_data: bool = False
    have_undo: bool = False
    scripts_valid: bool = False  # and nothing has made it invalid since
    failed: bool = False  # itself or an ancestor broke a rule, or was invalidated by hand
    n_tx: int = 0  # transactions in it, 0 when its bytes never arrived
    chain_tx: int = 0  # transactions up to it, 0 when any of the blocks never arrived


@record
class UtxoStats:
    """The UTXO set at ``block_hash``; sums over all coins.

    ``hash`` is 32 bytes in internal order, None for hash type "none"; ``transactions`` counts txids with a coin.
    """

    height: int
    block_hash: BlockHash
    hash: bytes | None
    txouts: int
    transactions: int
    total_amount: int
    bogosize: int
    disk_size: int


@struct
class CoinScan:
    """The walk over the UTXO set, or over blocks, for certain scripts; there is one at a time of each.

    Other threads write ``percent``; ``height`` is where a walk over blocks is.
    """

    running: bool = False
    aborted: bool = False
    percent: int = 0
    height: int = 0


class FoundCoins(NamedTuple):
    """What a scan found: outpoints and packed coins, after looking at ``looked_at`` of all."""

    complete: bool
    looked_at: int
    coins: Sequence[tuple[bytes, bytes]]


class Chain:
    """Blocks, headers and coins over one driver."""

    def __init__(
        self,
        driver: ChainDriver,
        view: NodeChainView,
        params: NetworkParams,
        clock: Clock,
        processes: SideProcesses | None = None,
    ) -> None:
        self.driver = driver
        self.params = params
        self.processes = processes  # that help where there is much to work out, if there are any
        self._view = view
        self._clock = clock
        self._state: Chainstate = driver.chainstate
        self.announced = AnnouncedTip(self._state.tree, self._state.tip)
        self._tip_changed = asyncio.Event()
        self._stopping = False
        self._version_bits = VersionBits(params, self._state.tree)
        self._watchers: dict[BlockHash, list[list[RuleViolation | None]]] = {}  # of blocks that are being handed in
        self._failure_listeners: list[Callable[[], None]] = []
        self.coin_scan = CoinScan()
        self.block_scan = CoinScan()
        self.lately = Lately()
        self._disk_met = -inf  # when a look-up on the loop last had to read from a disk (perf_counter)
        self.announced.listen(lambda _: self._wake())
        driver.listen(self._on_events)
        driver.listen_settled(self._on_settled)

    def listen_failures(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever somebody has invalidated or reconsidered a block."""
        self._failure_listeners.append(listener)

    def _failures_changed(self) -> None:
        for listener in self._failure_listeners:
            listener()

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        self.announced.on_events(chain_events)
        for event in chain_events:
            if isinstance(event, BlockConnected):
                self._note_verdict(event.index, None)
            elif isinstance(event, BlockRejected) and event.connecting:  # other bytes of a block say nothing about it
                self._note_verdict(event.index, event.violation)

    def _on_settled(self) -> None:
        self.announced.come_to_rest(self._state.tip)

    def _wake(self) -> None:
        self._tip_changed.set()
        self._tip_changed = asyncio.Event()

    def stop_waiting(self) -> None:
        """The node stops: whoever waits for a tip goes home."""
        self._stopping = True
        self._wake()

    # -- from memory ---------------------------------------------------------------------------------------------

    @property
    def tree(self) -> HeaderTree:
        """The header tree."""
        return self._state.tree

    @property
    def version_bits(self) -> VersionBits:
        """BIP9 states over the tree."""
        return self._version_bits

    def tip(self) -> int:
        """Index of the active tip."""
        return self._state.tip

    def height(self) -> int:
        """Height of the active tip."""
        return self._state.active.height

    def is_active(self, index: int) -> bool:
        """Whether a block is in the active chain."""
        return self._state.active.contains(index)

    @property
    def keeps_coins(self) -> bool:
        """Whether there is a UTXO set; else its roots, and proofs of what blocks spend."""
        return self._state.proven is None

    def roots_after(self, index: int) -> Stump | None:
        """The roots of the set after a block, where no coins are kept; None where they are not kept any more."""
        proven, tree = self._state.proven, self._state.tree
        found = None if proven is None else proven.roots_at(tree.hash(index), tree.height(index))
        return None if found is None else found.stump

    async def show_coins(self, proof: CoinProof) -> None:
        """The coins of a proof are known from now on to a node that keeps none.

        Raises ProofError, StorageError; a node that keeps coins has no use for it.
        """
        proven = self._state.proven
        if proven is not None:
            await self.driver.in_chain_thread(lambda: proven.show(proof))

    def best_header(self) -> int:
        """Index of the most-work header that is not known to be invalid."""
        return self._state.tree.best_header

    def leaves(self) -> Sequence[int]:
        """Headers that nothing builds on, outside the active chain, and the active tip."""
        tips = [index for index in self._state.tree.tips() if not self._state.active.contains(index)]
        return [*tips, self._state.tip]

    def block_status(self, index: int) -> BlockStatus:
        """What is known of the block."""
        tree = self._state.tree
        status = tree.status(index)
        return BlockStatus(
            have_data=bool(status & HAVE_DATA),
            have_undo=bool(status & HAVE_UNDO),
            scripts_valid=tree.validity(index) >= VALID_SCRIPTS and not tree.is_failed(index),
            failed=tree.is_failed(index),
            n_tx=tree.columns.n_tx[index],
            chain_tx=tree.columns.chain_tx[index],
        )

    def verification_progress(self, index: int) -> float:
        """Core's GuessVerificationProgress."""
        return verification_progress(self.params, self._state.tree, index, self._clock.now())

    def is_initial_block_download(self) -> bool:
        """Whether the node is far behind."""
        return self._view.is_initial_block_download(self._clock.now())

    def size_on_disk(self) -> int:
        """Bytes of block and undo files."""
        return self._state.store.files.total_size

    def unknown_rules(self) -> list[tuple[str, bool]]:
        """Rules that miners have voted in and this node does not know: Core's words, and whether they apply already."""
        if self.is_initial_block_download():
            return []
        found = self._version_bits.unknown_activations(self._state.tip)
        return [(f"Unknown new rules activated (versionbit {bit})", active) for bit, active in found]

    def update_tip_line(self, index: int) -> str:
        """The log line of a new tip, in Core's form."""
        tree, coins = self._state.tree, self._state.coins
        locked_in = ", ".join(text for text, active in self.unknown_rules() if not active)
        warning = f" warning='{locked_in}'" if locked_in else ""
        return (
            f"UpdateTip: new best={to_display(tree.hash(index))} height={tree.height(index)}"
            f" version=0x{tree.version(index) & 0xFFFFFFFF:08x} log2_work={log2(tree.chainwork(index)):.6f}"
            f" tx={tree.columns.chain_tx[index]} date='{iso_time(tree.time(index))}'"
            f" progress={self.verification_progress(index):.6f}"
            f" cache={coins.usage / (1 << 20):.1f}MiB({len(coins)}txo){warning}"
        )

    # -- from disk and the chain thread --------------------------------------------------------------------------

    def parsed_lately(self, index: int) -> ParsedBlock | None:
        """The parsed block, if it is in memory from the last time that it was asked for, and its file still there."""
        block: ParsedBlock | None = self.lately.get(("parsed", index))
        return block if block is not None and self.is_stored(index) else None

    def is_stored(self, index: int, *, undo: bool = False) -> bool:
        """Whether the block's bytes are here, and the file that has them; with ``undo`` its undo data too."""
        state, files = self._state, self._state.store.files
        position = state.block_position(index)
        if position is None or not files.is_there(position.file):
            return False
        if not undo:
            return True
        position = state.undo_position(index)
        return position is not None and files.is_there(position.file, undo=True)

    def keep_parsed(self, index: int, block: ParsedBlock) -> None:
        """Remember what somebody has parsed; blocks that were not asked for lately are forgotten."""
        self.lately.put(("parsed", index), block, parsed_size(block))

    async def read_block(self, index: int) -> bytes:
        """The serialised block; raises StorageError."""
        kept = self.parsed_lately(index)
        if kept is not None:
            return kept.raw
        try:
            return await self.driver.read_block(index)
        except KeyError:
            raise StorageError("Block not available (not fully downloaded)") from None

    async def read_undo(self, index: int) -> bytes:
        """The serialised undo data of a block; raises StorageError."""
        return await self.driver.in_reader(lambda: self.read_undo_bytes(index))

    def read_block_now(self, index: int) -> bytes:
        """``read_block`` for threads beside the loop; raises StorageError."""
        try:
            return self._state.read_block(index)
        except KeyError:
            raise StorageError("Block not available (not fully downloaded)") from None

    def read_undo_now(self, index: int) -> list[list[bytes]]:
        """``read_undo`` for threads beside the loop; raises StorageError."""
        return decode_undo(self.read_undo_bytes(index))

    def read_undo_bytes(self, index: int) -> bytes:
        """The serialised undo data of a block, for threads beside the loop; raises StorageError."""
        state = self._state
        position = state.undo_position(index)
        if position is None:
            raise StorageError("Undo data not available")
        return state.store.files.read_undo(position, state.tree.hash(state.tree.prev(index)))

    async def get_coin(self, outpoint: bytes) -> bytes | None:
        """The coin in the UTXO set at the tip that stands when this returns; raises StorageError."""
        return self._state.read_view.held(outpoint) or (await self.get_coins([outpoint]))[0]

    async def get_coins(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The same for several, which are read at once."""
        view = self._state.read_view
        if len(outpoints) <= FEW_COINS and not self._state.coins.unknown(outpoints):
            return view.get_many(outpoints)  # the database is not asked: no need for a thread that waits for it
        if len(outpoints) == 1 and perf_counter() >= self._disk_met + COLD_SECONDS:
            before = thread_disk_reads()
            coins = view.get_many(outpoints)  # in memory, as a rule: a thread would cost twice what all the rest does
            if thread_disk_reads() != before:
                self._disk_met = perf_counter()
            return coins
        while True:
            version = view.version
            coins = await self.driver.in_reader(lambda: view.get_many(outpoints))
            if view.version == version:
                return coins

    async def find_coins(self, scripts: Collection[bytes], scan: CoinScan) -> tuple[int, FoundCoins]:
        """The coins that these script_pubkeys lock, read from one snapshot while the chain goes on."""
        coins = self._state.store.coins

        def search(begun: Callable[[], None]) -> FoundCoins:
            def report(percent: int) -> bool:
                begun()
                scan.percent = percent
                return not scan.aborted and not self._stopping

            return FoundCoins(*coins.find_scripts(scripts, report))

        return await self.driver.at_tip(search)

    async def find_coin(self, txid: bytes) -> bytes | None:
        """The coin of the first unspent output of a transaction."""
        view = self._state.read_view

        def search() -> bytes | None:
            for start in range(0, MAX_OUTPUTS, OUTPUTS_AT_ONCE):
                names = [txid + n.to_bytes(4, "little") for n in range(start, start + OUTPUTS_AT_ONCE)]
                coin = next((coin for coin in view.get_many(names) if coin is not None), None)
                if coin is not None:
                    return coin
            return None

        return await self.driver.in_reader(search)

    async def verify_chain(self, blocks: int, level: int) -> bool:
        """Check the newest blocks, between two steps of the chain; from level 3 on all coins on disk too."""
        from btcnode.chain.verify_db import LEVEL_DISCONNECT, LEVEL_UNDO, verify_recent  # here: when it is asked for

        try:
            if not self.keeps_coins:
                level = min(level, LEVEL_UNDO)
            check = partial(verify_recent, self._state, blocks, level, self.check_stop)
            complete = await self.driver.in_chain_thread(check)
            if level >= LEVEL_DISCONNECT:
                await self.driver.in_scanner(self._state.store.coins.verify)
            return complete
        except CorruptionError as error:
            _log.error("%s", error)
            return False

    async def utxo_stats(self, hash_type: str) -> UtxoStats:
        """Walk over the UTXO set: everything is flushed, then read from one snapshot while the chain goes on."""
        if hash_type not in HASH_TYPES:
            raise ValueError(f"unknown hash type {hash_type}")
        state = self._state

        def walk(begun: Callable[[], None]) -> CoinTotals:
            def progress(_count: int) -> None:
                begun()
                self.check_stop()

            return state.store.coins.utxo_stats(cast(HashType, hash_type), progress, self.processes)

        tip, stats = await self.driver.at_tip(walk)
        return UtxoStats(
            height=state.tree.height(tip),
            block_hash=state.tree.hash(tip),
            hash=stats.hash,
            txouts=stats.txouts,
            transactions=stats.transactions,
            total_amount=stats.total_amount,
            bogosize=stats.bogosize,
            disk_size=stats.disk_size,
        )

    # -- changing the chain --------------------------------------------------------------------------------------

    async def submit_block(self, raw: bytes) -> str | None:
        """Process a well-formed block with force; the answer is BIP22's.

        None: it is valid and was connected. "duplicate": it was known already. "inconclusive": stored, not connected
        (less work than the tip). Anything else is the reject reason. No exception for an invalid block.
        """
        with self._watching(header_hash(raw[:HEADER_SIZE])) as verdicts:
            try:
                outcome = await self.driver.store_block(raw, self._clock.now(), requested=True)
            except RuleViolation as violation:
                known = violation.fault is Fault.CACHED_INVALID
                damage = await self._damage(raw) if known else None
                _log.error("ProcessNewBlock: AcceptBlock FAILED (%s)", damage or violation)  # Core's line
                return damage or violation.code
            except DecodeError as error:
                return f"rejected: {error}"
            if outcome.violation is not None:
                _log.error("ProcessNewBlock: AcceptBlock FAILED (%s)", outcome.violation)
                return outcome.violation.code
            await self.driver.settled()
            connected_below = outcome.new and await self.driver.history_has(outcome.index)
        if not outcome.new:
            known_as = "duplicate-invalid" if self._state.tree.is_failed(outcome.index) else "duplicate"
            return await self._damage(raw) or known_as
        if connected_below:
            return None
        if not verdicts:  # not looked at for lack of work, or pruned and now here again
            return "inconclusive"
        return None if verdicts[0] is None else verdicts[0].code

    @contextmanager
    def _watching(self, block_hash: BlockHash) -> Iterator[list[RuleViolation | None]]:
        """What is found when a block is connected, in a list that fills: None for a valid one."""
        verdicts: list[RuleViolation | None] = []
        watchers = self._watchers.setdefault(block_hash, [])
        watchers.append(verdicts)
        try:
            yield verdicts
        finally:
            watchers.remove(verdicts)
            if not watchers:
                del self._watchers[block_hash]

    def _note_verdict(self, index: int, violation: RuleViolation | None) -> None:
        for verdicts in self._watchers.get(self._state.tree.hash(index), ()):
            verdicts.append(violation)

    async def _damage(self, raw: bytes) -> str | None:
        """Why these bytes are no valid form of a block that is known, as far as that can be told without its ancestors.

        Core looks at the bytes before it looks whether it has the block.
        """

        def check() -> None:
            check_block(parse_block(raw, exact=False), self.params)

        try:
            await self.driver.in_reader(check)
        except RuleViolation as violation:
            return violation.code
        except DecodeError as error:
            return f"rejected: {error}"
        return None

    def submit_header(self, raw: bytes) -> None:
        """Add a header; raises RuleViolation."""
        self._state.tree.add(raw, self._clock.now())

    async def invalidate_block(self, index: int) -> None:
        """Leave the chain of the block; returns when the best remaining chain is active. Raises StorageError."""
        if index:  # Core answers for the genesis block as for others, and lets it be
            await self.driver.invalidate(index)
            self._failures_changed()
        await self.driver.settled()

    async def reconsider_block(self, index: int) -> None:
        """Take an invalidation back."""
        async with self.driver.paused():
            self._state.reconsider(index)
        self._failures_changed()
        await self.driver.settled()

    async def precious_block(self, index: int) -> None:
        """Prefer the block among chains of equal work."""
        async with self.driver.paused():
            self._state.prefer(index)
        await self.driver.settled()

    async def check_proposal(self, block: ParsedBlock) -> RuleViolation | None:
        """Whether a block would be valid on top of the tip, apart from its proof of work."""
        from btcnode.chain.proposal import check_proposal

        state, now = self._state, self._clock.now()
        try:
            await self.driver.in_chain_thread(lambda: check_proposal(state, block, now))
        except RuleViolation as violation:
            return violation
        return None

    def check_stop(self, *_: object) -> None:
        """Raise StorageError when the node is shutting down; for work beside the loop."""
        if self._stopping:
            raise StorageError("Shutting down")

    def stopping(self) -> bool:
        """Whether the node is shutting down."""
        return self._stopping

    async def wait_tip_changed(self, current: int, seconds: float | None) -> None:
        """Return when another tip than ``current`` is announced, after the time, or when the node stops."""
        try:
            async with asyncio.timeout(seconds):
                while self.announced.tip == current and not self._stopping:
                    await self._tip_changed.wait()
        except TimeoutError:
            return
