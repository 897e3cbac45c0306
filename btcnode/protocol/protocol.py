"""The sans-IO brain of the node: ``Protocol.step(steady, input) -> effects``.

It has no sockets, clocks, files or threads: the reactor (or a simulator) hands over what happened and executes what
comes back. Given the same inputs, times and ``Random`` the effects are the same, whatever the hash seed.
No input made of a peer's bytes raises; what a peer does wrong goes through the table in ``misbehaviour.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from btcnode.errors import DecodeError
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.addresses.addresses import AddressGossip
from btcnode.protocol.addresses.addrman import AddressBook
from btcnode.protocol.addresses.seeding import FixedSeeds, Seeding
from btcnode.protocol.agenda import ALL_PARTS, NEVER, NEXT_TICK, Part
from btcnode.protocol.blocks.announcements import Announcements
from btcnode.protocol.blocks.block_download import BlockDownload
from btcnode.protocol.blocks.compact_relay import CompactRelay
from btcnode.protocol.blocks.headers_sync import HeaderSync
from btcnode.protocol.blocks.proof_download import ProofDownload
from btcnode.protocol.blocks.spent_download import SpentDownload
from btcnode.protocol.blocks.unannounced import UnannouncedBlocks
from btcnode.protocol.blocks.utxo_set_download import UtxoSetDownload
from btcnode.protocol.blocks.xthin import ThinRelay
from btcnode.protocol.chain_view import ChainView, NoTransactions, TxSource
from btcnode.protocol.commands import (
    AbortPrivateBroadcast,
    AddConnection,
    AddNode,
    BroadcastPrivately,
    DisconnectNode,
    DropSpent,
    DropUtxoSet,
    FetchBlock,
    FetchBlocks,
    FetchSpent,
    FetchUtxoChunks,
    FetchUtxoSet,
    ForwardTimers,
    LiftBan,
    PingPeers,
    ProofRefused,
    ProofsKept,
    SetBan,
    SetNetworkActive,
    SpentJudged,
    UtxoChunkJudged,
    ValidationLimit,
)
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.bans import BanList
from btcnode.protocol.connections.connections import Connections
from btcnode.protocol.connections.floods import Floods
from btcnode.protocol.connections.handshake import Handshake
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.peer_info import NO_TRAFFIC, PeerInfo, Traffic, describe
from btcnode.protocol.connections.peer_score import PeerScore, Scores
from btcnode.protocol.connections.peer_states import Change, PeerEvent, keep_by_state
from btcnode.protocol.connections.ping import Pings
from btcnode.protocol.connections.work_budget import WorkBudget
from btcnode.protocol.context import Context, printable
from btcnode.protocol.effects import AddressBookDirty, Disconnect, Effect, LogLevel, ProcessBlock
from btcnode.protocol.events import (
    BlockAccepted,
    BlockMatched,
    BlockProcessed,
    BlockRead,
    BlockRejected,
    ChainSettled,
    ConnectFailed,
    DnsSeedResult,
    FiltersRead,
    LocalAddress,
    LocalAddressGone,
    Malformation,
    MalformedMessage,
    MessageReceived,
    NetworkReachable,
    PeerConnected,
    PeerDisconnected,
    PeersPressing,
    PeerTurn,
    SendBufferState,
    SpentRead,
    ThinMade,
    Tick,
    TipChanged,
    TransactionAdded,
    TransactionsConfirmed,
    TransactionsProcessed,
    TransactionsReceived,
    TransactionsUnconfirmed,
    TransportReady,
    UtreexoRead,
    UtxoSetRead,
    WorkMeasured,
)
from btcnode.protocol.inputs import Input
from btcnode.protocol.limits import ADDRESS_BOOK_SAVE_INTERVAL
from btcnode.protocol.misbehaviour import Offence, offence_of
from btcnode.protocol.peer import PAUSE_SENDING, Job, Peer
from btcnode.protocol.serving.bloom_service import BloomService
from btcnode.protocol.serving.compact_serving import CompactServing
from btcnode.protocol.serving.filter_serving import FilterServing
from btcnode.protocol.serving.serving import Serving
from btcnode.protocol.serving.spent_serving import SpentServing
from btcnode.protocol.serving.upload_budget import UploadBudget
from btcnode.protocol.serving.utreexo_serving import UtreexoServing
from btcnode.protocol.serving.utxo_set_serving import UtxoSetServing
from btcnode.protocol.transactions.fee_filter import FeeFilters
from btcnode.protocol.transactions.private_broadcast import PrivateBroadcast
from btcnode.protocol.transactions.reconciliation import Reconciliation
from btcnode.protocol.transactions.tx_intake import TxIntake
from btcnode.protocol.transactions.tx_relay import TxRelay
from btcnode.tuples import NamedTuple
from btcnode.wire import messages as m
from btcnode.wire.codec import LimitExceeded, Message
from btcnode.wire.constants import BIP31_VERSION
from btcnode.wire.registry import Sealed, UnknownMessage

if TYPE_CHECKING:
    from random import Random

    from btcnode.networks.parameters import NetworkParams
    from btcnode.primitives.steps import Steps
    from btcnode.protocol.blocks.fetch_strategy import FetchStrategy
    from btcnode.protocol.blocks.headers_sync import HeaderRequests
    from btcnode.protocol.chronicle import Chronicle
    from btcnode.protocol.delays import Delays
    from btcnode.protocol.transactions.orphanage import OrphanInfo
    from btcnode.protocol.transactions.private_broadcast import PrivateInfo
    from btcnode.wire.messages import AddrEntry
    from btcnode.wire.netaddr import NetAddress

Handler = Callable[[Peer, Any], "Steps[None] | None"]


_OF_ONE_PEER = frozenset(
    (
        PeerConnected,
        TransportReady,
        MalformedMessage,
        SendBufferState,
        BlockRead,
        BlockMatched,
        ThinMade,
        FiltersRead,
        SpentRead,
        UtreexoRead,
        UtxoSetRead,
    )
)
"""Inputs that give a tick something to do for the peer that they name; what they do to others says so itself."""

_OF_NO_PEER = frozenset(
    (
        Tick,
        MessageReceived,  # but for what _TOUCHED says
        TransactionsReceived,
        PeerTurn,  # unless it takes a message further
        PeerDisconnected,
        ConnectFailed,
        WorkMeasured,
        TransactionsProcessed,
        TransactionAdded,
        DnsSeedResult,
        LocalAddress,
        LocalAddressGone,
        NetworkReachable,
        AddNode,
        AddConnection,
        PingPeers,
        FetchUtxoSet,
        FetchUtxoChunks,
        UtxoChunkJudged,
        DropUtxoSet,
    )
)
"""Inputs that give a tick nothing to do for a peer, but for those that they wake. All others may concern every peer."""


_TOUCHED: dict[type[Message] | None, int] = {
    m.Ping: 0,
    m.Pong: 0,
    m.FeeFilter: 0,
    m.Addr: int(Part.ADDRESSES),
    m.AddrV2: int(Part.ADDRESSES),
    m.GetAddr: int(Part.ADDRESSES),
    m.GetData: int(Part.SERVING),
    m.TxMessage: int(Part.REQUESTS),
    m.Inv: int(Part.REQUESTS),
}
"""What a message may have given us to do for its sender, beside what its handler does; of all others that is all."""


class PeerSummary(NamedTuple):
    """A peer as one of many: ``network`` is Core's name, ``score`` 0 to 100."""

    inbound: bool
    network: str
    score: float


class Protocol:
    """All peers, and what to do about them.

    ``steady`` and ``unix`` are the present times in seconds: the clock that ``step`` is driven by, and the wall clock
    (which ``Tick`` carries from then on). ``address_book`` comes from disk or is empty; ``anchors`` are the
    block-relay peers of the last run.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        params: NetworkParams,
        chain: ChainView,
        rng: Random,
        steady: float,
        unix: float,
        *,
        address_book: AddressBook | None = None,
        transactions: TxSource | None = None,
        anchors: tuple[m.AddrEntry, ...] = (),
        bans: BanList | None = None,
        fixed_seeds: FixedSeeds = tuple,
    ) -> None:
        source = transactions if transactions is not None else NoTransactions()
        book = address_book if address_book is not None else AddressBook(rng)
        bans = bans if bans is not None else BanList()
        self._ctx = ctx = Context(config, params, chain, rng, steady, unix, bans=bans, groups=book.groups)
        upload = UploadBudget(config.upload_target)
        self._gossip = AddressGossip(ctx, book)
        self._connections = Connections(ctx, self._gossip, anchors)
        self._seeding = Seeding(ctx, self._gossip, self._connections, fixed_seeds)
        self._reconciliation = Reconciliation(ctx)
        self._handshake = Handshake(ctx, self._reconciliation)
        self._proofs = ProofDownload(ctx) if config.by_proofs else None
        self._download = BlockDownload(ctx, lambda peer, index: self._compact.fetch(peer, index), self._proofs)
        self._scores = Scores(ctx, self._download.strategy)
        self._headers = HeaderSync(ctx, self._download)
        self._relay = TxRelay(ctx, source, upload)
        self._work = WorkBudget(ctx)
        self._intake = TxIntake(ctx, source, self._relay, self._work)
        self._floods = Floods(ctx)
        self._unannounced = UnannouncedBlocks(ctx)
        self._pings = Pings(ctx, self._floods, self._intake.has_work, self._owes)
        self._fee_filters = FeeFilters(ctx, source)
        self._private = PrivateBroadcast(ctx, self._connections)
        self._compact_serving = CompactServing(ctx, self._download)
        self._serving = Serving(ctx, self._relay, self._compact_serving, upload)
        self._bloom = BloomService(ctx, self._relay)
        self._thin = ThinRelay(ctx, self._download, source, self.spare_transactions, self._serving)
        self._compact = CompactRelay(ctx, self._headers, self._download, source, self.spare_transactions, self._thin)
        self._announcements = Announcements(
            ctx, self._headers, self._download, self._intake, self._serving, self._floods
        )
        self._filters = FilterServing(ctx, self._serving)
        self._spent_serving = SpentServing(ctx, self._serving)
        self._spent = SpentDownload(ctx)
        self._utreexo_serving = UtreexoServing(ctx, self._serving)
        self._utxo_set_serving = UtxoSetServing(ctx, self._serving)
        self._utxo_set = UtxoSetDownload(ctx)
        self._next_save = steady + ADDRESS_BOOK_SAVE_INTERVAL
        self._was_initial = True
        self._parts = self._ticking_parts()
        self._looks: dict[int, tuple[tuple[int, Callable[[Peer], float]], ...]] = {}  # by Part bits
        self._inputs = self._input_handlers()
        self._early = self._early_handlers()
        self._handlers = self._established_handlers()
        self._requests = self._request_handlers()
        ctx.states.on_change(self._on_change)

    def _input_handlers(self) -> dict[type, Callable[[Any], None]]:
        """Who takes which input."""
        return {
            PeerConnected: self._on_connected,
            TransportReady: self._connections.on_transport,
            ConnectFailed: self._connections.on_failed,
            PeerDisconnected: self._on_disconnected,
            MessageReceived: self._on_message,
            TransactionsReceived: self._on_transactions,
            WorkMeasured: self._work.on_measured,
            MalformedMessage: self._on_malformed,
            SendBufferState: self._on_send_buffer,
            PeersPressing: self._pings.on_pressing,
            PeerTurn: self._on_turn,
            Tick: self._on_tick,
            BlockProcessed: self._on_block_processed,
            BlockAccepted: self._compact_serving.on_accepted,
            BlockRejected: self._download.on_rejected,
            TipChanged: self._on_tip_changed,
            ChainSettled: self._on_settled,
            BlockRead: self._serving.on_block_read,
            BlockMatched: self._serving.on_block_matched,
            ThinMade: self._serving.on_thin_made,
            FiltersRead: self._filters.on_read,
            SpentRead: self._spent_serving.on_read,
            UtreexoRead: self._utreexo_serving.on_read,
            UtxoSetRead: self._utxo_set_serving.on_read,
            TransactionsProcessed: self._on_transactions_processed,
            TransactionAdded: self._intake.on_added,
            TransactionsConfirmed: self._on_transactions_confirmed,
            TransactionsUnconfirmed: lambda _: self._intake.download.block_disconnected(),
            BroadcastPrivately: self._private.on_broadcast,
            AbortPrivateBroadcast: self._private.on_abort,
            DnsSeedResult: self._seeding.dns.on_result,
            LocalAddress: self._gossip.local.add,
            LocalAddressGone: lambda event: self._gossip.local.remove(event.address),
            NetworkReachable: self._gossip.on_reachable,
            AddNode: self._connections.added.on_command,
            AddConnection: self._connections.on_add,
            DisconnectNode: self._on_disconnect_node,
            SetBan: self._on_set_ban,
            LiftBan: self._on_lift_ban,
            SetNetworkActive: self._on_network_active,
            FetchBlock: self._on_fetch_block,
            ForwardTimers: self._on_forward_timers,
            FetchBlocks: self._on_fetch_blocks,
            FetchSpent: self._spent.on_fetch,
            DropSpent: self._spent.on_drop,
            SpentJudged: self._spent.on_judged,
            ProofsKept: self._on_proofs_kept,
            ProofRefused: self._on_proof_refused,
            FetchUtxoSet: self._utxo_set.on_fetch,
            FetchUtxoChunks: self._utxo_set.on_chunks,
            UtxoChunkJudged: self._utxo_set.on_judged,
            DropUtxoSet: self._utxo_set.on_drop,
            PingPeers: self._on_ping_peers,
            ValidationLimit: self._on_validation_limit,
        }

    def _ticking_parts(self) -> tuple[tuple[int, Callable[[Peer], float]], ...]:
        """What is looked at by the clock for each peer, in this order; each returns when it wants to be next."""
        return (
            (int(Part.SCORE), self._scores.tick),
            (int(Part.ADDRESSES), self._gossip.tick),
            (int(Part.HEADERS), self._headers.tick),
            (int(Part.BLOCKS), self._download.tick),
            (int(Part.SPENT), self._tick_side),
            (int(Part.SERVING), self._tick_serving),
            (int(Part.ANNOUNCING), self._relay.tick),
            (int(Part.REQUESTS), self._intake.tick),
            (int(Part.FEES), self._fee_filters.tick),
        )

    def _early_handlers(self) -> dict[type[Message], Handler]:
        """Messages that are accepted between version and verack too."""
        return {
            m.Verack: self._on_verack,
            m.WtxidRelay: lambda peer, _: self._handshake.on_wtxid_relay(peer),
            m.SendAddrV2: lambda peer, _: self._handshake.on_send_addrv2(peer),
            m.SendHeaders: lambda peer, _: self._handshake.on_send_headers(peer),
            m.SendCmpct: self._handshake.on_send_compact,
            m.SendTxRcncl: self._reconciliation.on_offer,
            m.Feature: self._handshake.on_feature,
        }

    def _established_handlers(self) -> dict[type[Message], Handler]:
        """Messages that tell us something: accepted after verack."""
        return {
            m.Ping: self._pings.on_ping,
            m.Pong: self._pings.on_pong,
            m.FeeFilter: self._handshake.on_fee_filter,
            m.Headers: self._headers.on_headers,
            m.CmpctBlock: self._compact.on_compact_block,
            m.BlockTxn: self._compact.on_block_txn,
            m.XThinBlock: self._thin.on_thin_block,
            m.XBlockTx: self._thin.on_block_tx,
            m.BlockMessage: self._on_block,
            m.BlockSpent: self._spent.on_answer,
            m.UtreexoProof: self._on_utreexo_proof,
            m.UtxoTree: self._utxo_set.on_tree,
            m.UtxoSetChunk: self._utxo_set.on_chunk,
            m.Inv: self._announcements.on_inv,
            m.NotFound: self._on_not_found,
            m.Addr: lambda peer, message: self._gossip.on_addresses(peer, message.entries),
            m.AddrV2: lambda peer, message: self._gossip.on_addresses(peer, message.entries),
            m.TxMessage: self._on_tx,
            m.FilterLoad: self._bloom.on_load,
            m.FilterAdd: self._bloom.on_add,
            m.FilterClear: self._bloom.on_clear,
        }

    def _request_handlers(self) -> dict[type[Message], Handler]:
        """Messages that ask us for something: answered in states in which a peer is served."""
        return {
            m.GetHeaders: self._serving.on_getheaders,
            m.GetBlocks: self._serving.on_getblocks,
            m.GetData: self._serving.on_getdata,
            m.GetBlockTxn: self._serving.on_get_block_txn,
            m.GetXThin: self._thin.on_request,
            m.GetXBlockTx: self._thin.on_request,
            m.GetAddr: lambda peer, _: self._gossip.on_getaddr(peer),
            m.Mempool: lambda peer, _: self._relay.on_mempool(peer),
            m.GetCFilters: self._filters.on_request,
            m.GetCFHeaders: self._filters.on_request,
            m.GetCFCheckpt: self._filters.on_request,
            m.GetBlockSpent: self._spent_serving.on_request,
            m.GetUtreexoProof: self._utreexo_serving.on_request,
            m.GetUtreexoRoot: self._utreexo_serving.on_request,
            m.GetUtxoTree: self._utxo_set_serving.on_request,
            m.GetUtxoSet: self._utxo_set_serving.on_request,
        }

    @property
    def services(self) -> int:
        """The services (bits of BIP14's field) that this node offers now."""
        return self._ctx.config.services

    def offer(self, services: int) -> None:
        """Tell new peers of these services from now on."""
        self._ctx.config = replace(self._ctx.config, services=services)

    # -- the one way in ------------------------------------------------------------------------------------------

    def step(self, steady: float, event: Input) -> list[Effect]:
        """What to do about ``event``, which happens at ``steady`` (seconds, never less than before)."""
        return self.step_all(steady, (event,))

    def step_all(self, steady: float, happened: Iterable[Input]) -> list[Effect]:
        """What to do about events that happen at the same moment, in their order."""
        ctx = self._ctx
        ctx.set_steady(steady)
        ctx.effects = []
        for event in happened:
            kind = type(event)
            self._inputs[kind](event)
            if kind in _OF_ONE_PEER:
                ctx.agenda.wake(cast("Any", event).peer_id)
            elif kind not in _OF_NO_PEER:
                ctx.agenda.wake_all()
        if self._proofs is not None:
            self._proofs.plan()
        self._pings.flush()
        effects, ctx.effects = ctx.effects, []
        return effects

    # -- connections ---------------------------------------------------------------------------------------------

    def _on_connected(self, event: PeerConnected) -> None:
        peer = self._connections.admit(event)
        if peer is not None:
            (self._private if peer.kind is ConnectionKind.PRIVATE_BROADCAST else self._handshake).start(peer)

    def _on_disconnected(self, event: PeerDisconnected) -> None:
        peer = self._ctx.peers.get(event.peer_id)
        if peer is None:
            return
        if peer.role.is_heard:  # else we closed it, and said why
            level = LogLevel.DEBUG if peer.inbound else LogLevel.INFO
            self._ctx.log_peer(peer, level, f"disconnected: {printable(event.reason) or 'closed by the other side'}")
        self._ctx.chronicle.left(peer, self._ctx.unix, printable(event.reason) or "closed by the other side")
        self._ctx.log(LogLevel.DEBUG, "net", f"Cleared nodestate for peer={peer.id}")
        if peer.kind is ConnectionKind.PRIVATE_BROADCAST:
            self._private.forget(peer)
        helped = self._download.has_share(peer)
        self._ctx.states.apply(peer, PeerEvent.LOST)
        self._connections.on_disconnected(peer, event.retry_v1)
        if helped:  # not those who only come and go
            self._request_of_all()

    def _on_change(self, change: Change) -> None:
        """A connection is in another state: begin and end what follows from that."""
        peer, before, after = change.connection, change.before.role, change.after.role
        if not isinstance(peer, Peer):
            return
        keep_by_state(self._ctx.peers, peer.id, peer)
        self._ctx.agenda.wake(peer.id)
        if len(self._ctx.peers) <= 1:
            self._ctx.progress()
        if after.is_complete and not before.is_complete:
            peer.complete_since = self._ctx.mockable
            self._pings.connected(peer)
            self._relay.connected(peer)
            self._intake.connected(peer)
        elif after.is_complete:
            self._pings.watch(peer)
        if before.gives_transactions and not after.gives_transactions:
            self._intake.withdraw(peer)
        if before.gives_blocks != after.gives_blocks:
            self._download.on_gives_blocks(peer, gives=after.gives_blocks)
        if change.event is PeerEvent.SILENT:
            peer.conduct.stumbles += 1
            self._ctx.log_peer(peer, LogLevel.DEBUG, "degraded: silent, and does not answer a ping")
        if before.is_heard and not after.is_heard:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        """Nothing more is expected of the peer: what it was asked for is free for others, before its socket closes."""
        self._ctx.agenda.forget(peer.id)
        self._pings.forget(peer)
        self._handshake.forget(peer)
        self._relay.forget(peer)
        self._intake.forget(peer)
        self._headers.forget(peer)
        self._download.forget(peer)
        self._spent.forget(peer)
        if self._proofs is not None:
            self._proofs.forget(peer)
        self._utxo_set.forget(peer)

    def _owes(self, peer: Peer) -> bool:
        """Whether the peer was asked for something that is not there."""
        tracker = self._intake.download.tracker
        much = _awaits_much(peer)
        return bool(much or peer.headers.requested_at is not None or tracker.in_flight(peer.id))

    def _on_disconnect_node(self, event: DisconnectNode) -> None:
        peer = self._ctx.peers.get(event.peer_id)
        if peer is not None:
            peer.may_fall_back = False
            self._ctx.disconnect(peer, "by the user's command")
        else:
            self._ctx.emit(Disconnect(event.peer_id, "by the user's command"))

    def _on_set_ban(self, event: SetBan) -> None:
        if not self._ctx.bans.add(event.subnet, event.created, event.until):
            return
        for peer in self._ctx.peers.values():
            if peer.address in event.subnet:
                peer.may_fall_back = False
                self._ctx.disconnect(peer, "banned by the user", level=LogLevel.DEBUG)

    def _on_lift_ban(self, event: LiftBan) -> None:
        if event.subnet is None:
            self._ctx.bans.clear()
        else:
            self._ctx.bans.remove(event.subnet)

    def _on_fetch_block(self, event: FetchBlock) -> None:
        if self.why_no_fetch(event.peer_id) is None:
            for peer in self._ctx.peers.values():  # what others send of it counts as unrequested from now on
                self._download.requests.cancel(peer, event.index)
            self._download.requests.ask(self._ctx.peers[event.peer_id], [event.index])

    def _on_forward_timers(self, event: ForwardTimers) -> None:
        self._relay.forward(event.seconds)
        self._private.forward(event.seconds)
        self._next_save -= event.seconds

    def _on_network_active(self, event: SetNetworkActive) -> None:
        self._connections.set_active(event.active)

    def _on_ping_peers(self, _: PingPeers) -> None:
        self._pings.queue_all()

    def _on_send_buffer(self, event: SendBufferState) -> None:
        """Who does not take our answers is not read from, unless blocks come from it: two nodes could wait so."""
        peer = self._ctx.peers.get(event.peer_id)
        if peer is None:
            return
        peer.send_full = event.full
        if not event.full:
            self._ctx.resume(peer, PAUSE_SENDING)
            self._serve(peer)
            self._ctx.ask_for_turn(peer)
        elif not _awaits_much(peer):
            self._ctx.pause(peer, PAUSE_SENDING)

    def _serve(self, peer: Peer) -> None:
        """Go on with all that the peer waits for."""
        self._serving.serve(peer)
        self._filters.serve(peer)
        self._spent_serving.serve(peer)
        self._utreexo_serving.serve(peer)
        self._utxo_set_serving.serve(peer)

    def _on_turn(self, event: PeerTurn) -> None:
        """A piece of what the peer's last message needs, and of what is to be done for it beside its messages."""
        peer = self._ctx.peers.get(event.peer_id)
        if peer is None:
            return
        peer.awaits_turn = False
        if peer.job is not None:
            if peer.excused:
                self._ctx.excuse(peer)
            self._resume(peer, peer.job)
            self._ctx.agenda.wake(peer.id)
        if peer.role.is_complete:
            self._serving.serve(peer)
            self._relay.on_turn(peer)

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_malformed(self, event: MalformedMessage) -> None:
        peer = self._ctx.peers.get(event.peer_id)
        if peer is not None:
            peer.last_received = self._ctx.mockable
            if event.command == m.Ping.command and 0 < peer.common_version <= BIP31_VERSION:
                return  # whose pings have no nonce
            detail = f"{event.command} {event.reason}".strip()
            if event.kind is Malformation.PAYLOAD:
                where = f"ProcessMessages({printable(event.command)}, {event.size} bytes)"
                self._ctx.log(LogLevel.DEBUG, "net", f"{where}: Exception '{printable(event.reason)}' caught")
                detail = printable(event.command)
            if not self._bloom.on_malformed(peer, event.command):
                self._ctx.punish(peer, offence_of(event.kind, event.command), detail)

    def _hear(self, peer: Peer) -> None:
        """A message came."""
        while peer.job is not None:  # what came before has its effect first
            self._resume(peer, peer.job)
        peer.last_received = self._ctx.mockable
        if self._ctx.states.fits(peer, PeerEvent.HEARD):
            self._ctx.states.apply(peer, PeerEvent.HEARD)
            self._serve(peer)
            self._after_message(peer)  # what has waited for it to be told
        peer.excused = False

    def _on_transactions(self, event: TransactionsReceived) -> None:
        """What comes out of place is looked at one by one."""
        peer = self._ctx.peers.get(event.peer_id)
        if peer is None or not peer.role.is_complete or peer.kind is ConnectionKind.PRIVATE_BROADCAST:
            for raw, _ in event.txs:
                self._on_message(MessageReceived(event.peer_id, m.TxMessage(raw), len(raw)))
            return
        self._hear(peer)
        for wtxid in self._intake.on_small(peer, event.txs):
            self._private.seen(wtxid, peer)
        self._after_message(peer, m.TxMessage)

    def _on_message(self, event: MessageReceived) -> None:
        peer = self._ctx.peers.get(event.peer_id)
        if peer is None or not peer.role.is_heard:
            return
        self._hear(peer)
        message = event.message
        kind = type(message)
        if kind is Sealed:
            kind = cast("Sealed[Any]", message).kind
        if peer.kind is ConnectionKind.PRIVATE_BROADCAST:
            self._private.on_message(peer, message)
        elif kind is m.Version:
            self._on_version(peer, cast(m.Version, message))
        elif not peer.version:
            text = f'non-version message before version handshake. Message "{_name(message)}" from peer={peer.id}'
            self._early_message(peer, text)
        elif kind in self._early:
            self._early[kind](peer, message)
        elif peer.role.negotiates:
            self._early_message(peer, f'Unsupported message "{_name(message)}" prior to verack from peer={peer.id}')
        elif kind in self._handlers:
            self._begin(peer, self._handlers[kind](peer, message), event)
            return
        elif kind in self._requests:
            if peer.role.is_served:
                self._begin(peer, self._requests[kind](peer, message), event)
                return
        elif isinstance(message, UnknownMessage):
            self._ctx.log(LogLevel.DEBUG, "net", f'Unknown message type "{_name(message)}" from peer={peer.id}')
        self._after_message(peer)

    def _begin(self, peer: Peer, steps: Steps[None] | None, event: MessageReceived) -> None:
        """Do the first step of a message, if its handler goes in steps: mostly that is all."""
        if steps is not None:
            message = event.message
            command = message.kind.command if isinstance(message, Sealed) else message.command
            if not self._is_through(peer, steps, command, event.size):
                peer.job = Job(steps, command, event.size)
                self._ctx.ask_for_next_turn(peer)
                return
        self._after_message(peer, type(event.message))

    def _after_message(self, peer: Peer, kind: type[Message] | None = None) -> None:
        """What a message of this kind (None: any) may have made possible, now and in the next tick."""
        parts = _TOUCHED.get(kind, ALL_PARTS)
        if not parts:
            return
        self._ctx.agenda.wake(peer.id, parts)
        if not peer.role.is_complete:
            return
        if parts & Part.HEADERS:
            self._headers.tick(peer)
        if parts & Part.SERVING:
            self._announcements.flush(peer)
        if parts & Part.BLOCKS:
            self._download.request_more(peer)
        if parts & Part.REQUESTS:
            self._intake.request(peer)
        if parts & Part.ADDRESSES:
            self._gossip.tick(peer)

    def _resume(self, peer: Peer, job: Job) -> None:
        """One step of a message that takes several."""
        if self._is_through(peer, job.steps, job.command, job.size):
            peer.job = None
            self._after_message(peer)
        else:
            self._ctx.ask_for_next_turn(peer)

    def _is_through(self, peer: Peer, steps: Steps[None], command: str, size: int) -> bool:
        """Do one step; whether it was the last. What cannot be decoded on the way is a malformed message."""
        try:
            next(steps)
        except StopIteration:
            return True
        except DecodeError as error:
            kind = Malformation.LIMIT if isinstance(error, LimitExceeded) else Malformation.PAYLOAD
            self._on_malformed(MalformedMessage(peer.id, kind, command, str(error), size))
            return True
        return not peer.role.is_heard

    def _early_message(self, peer: Peer, text: str) -> None:
        """Not before the handshake: the message is passed over."""
        self._ctx.log(LogLevel.DEBUG, "net", text)
        self._ctx.punish(peer, Offence.MESSAGE_EARLY)

    def _on_version(self, peer: Peer, message: m.Version) -> None:
        if self._handshake.on_version(peer, message):
            self._download.on_version(peer)
            self._gossip.on_version(peer)
            self._connections.on_version(peer)

    def _on_verack(self, peer: Peer, _: m.Verack) -> None:
        if self._handshake.on_verack(peer):
            self._ctx.states.apply(peer, PeerEvent.COMPLETED)
            self._fee_filters.tick(peer)

    def _on_block(self, peer: Peer, message: m.BlockMessage) -> Steps[None] | None:
        if self._ctx.tree.find(header_hash(message.raw[:HEADER_SIZE])) < 0:
            return self._on_unannounced_block(peer, message.raw)
        self._take_block(peer, message.raw)
        return None

    def _on_unannounced_block(self, peer: Peer, raw: bytes) -> Steps[None]:
        index = yield from self._unannounced.accept(peer, raw)
        if index >= 0:
            self._download.raise_best_known(peer, index)
            self._take_block(peer, raw)
        else:
            self._note_waste(peer)

    def _take_block(self, peer: Peer, raw: bytes) -> None:
        record = self._download.strategy.peers.get(peer.id)
        received = record.received_bytes if record is not None else 0
        self._download.on_block(peer, raw)
        asked_for = record is not None and record.received_bytes > received
        if not asked_for and not any(isinstance(effect, ProcessBlock) for effect in self._ctx.effects):
            self._note_waste(peer)

    def _note_waste(self, peer: Peer) -> None:
        """A block came that is of no use, also where another peer was faster with it."""
        peer.conduct.wasted += 0.5
        self._ctx.agenda.wake(peer.id, Part.SCORE)

    def _on_tx(self, peer: Peer, message: m.TxMessage) -> Steps[None]:
        for wtxid in (yield from self._intake.on_tx(peer, message.raw)):
            self._private.seen(wtxid, peer)

    def _on_not_found(self, peer: Peer, message: m.NotFound) -> None:
        self._download.on_not_found(peer, message)
        self._spent.on_not_found(peer, message)
        if self._proofs is not None:
            self._proofs.on_not_found(peer, message)
        self._intake.on_not_found(peer, message)

    # -- chain ---------------------------------------------------------------------------------------------------

    def _on_block_processed(self, event: BlockProcessed) -> None:
        had_room = self._download.has_room()
        self._download.on_processed(event)
        if event.violation is not None or not had_room:
            self._request_of_all()

    def _on_settled(self, _: ChainSettled) -> None:
        self._download.on_settled()

    def _on_validation_limit(self, event: ValidationLimit) -> None:
        self._download.on_limit(event)
        self._request_of_all()

    def _on_utreexo_proof(self, peer: Peer, message: m.UtreexoProof) -> None:
        if self._proofs is not None:
            self._proofs.on_answer(peer, message)

    def _on_proofs_kept(self, event: ProofsKept) -> None:
        if self._proofs is not None:
            self._proofs.on_kept(event)
            self._request_of_all()

    def _on_proof_refused(self, event: ProofRefused) -> None:
        if self._proofs is not None:
            self._proofs.on_refused(event)
            self._download.on_lost(event.index)

    def _tick_side(self, peer: Peer) -> float:
        """What goes with blocks; returns when the peer is looked at next."""
        moment = self._spent.tick(peer)
        return moment if self._proofs is None else min(moment, self._proofs.tick(peer))

    def _on_fetch_blocks(self, _: FetchBlocks) -> None:
        self._request_of_all()

    def _request_of_all(self) -> None:
        for peer in self._ctx.established():
            self._download.request_more(peer)

    def _on_tip_changed(self, event: TipChanged) -> None:
        self._connections.last_tip_change = self._ctx.mockable
        alone = set(self._download.requests) <= set(event.connected)
        for source in self._download.on_tip(event):
            if alone and not self._ctx.is_initial_block_download():
                self._compact.on_connected_from(source)
        if self._proofs is not None:
            self._proofs.on_connected(event.connected)
        self._announcements.on_tip(event)
        if not self._ctx.is_initial_block_download():
            self._intake.download.tip_changed()
            age = self._ctx.unix - self._ctx.tree.time(event.index)
            self._ctx.delays.blocks_told(event.connected, self._ctx.steady, age)
        for peer in self._ctx.established():
            self._announcements.flush(peer)
            self._serving.wake(peer)

    # -- transactions --------------------------------------------------------------------------------------------

    def _on_transactions_processed(self, event: TransactionsProcessed) -> None:
        if event.number < 0:
            self._private.on_tested(event)
        else:
            self._intake.on_processed(event)

    def _on_transactions_confirmed(self, event: TransactionsConfirmed) -> None:
        self._intake.block_connected(event.block)
        self._relay.block_connected(event.block)

    # -- time ----------------------------------------------------------------------------------------------------

    def _on_tick(self, event: Tick) -> None:
        ctx = self._ctx
        ctx.set_wall_clock(event.unix_time, held=event.held)
        self._floods.tick()
        self._work.tick()
        self._pings.tick()
        self._fee_filters.begin_tick()
        self._intake.begin_tick()
        self._relay.begin_tick()
        self._download.begin_tick()
        self._spent.begin_tick()
        if self._proofs is not None:
            self._proofs.begin_tick()
        self._utxo_set.begin_tick()
        self._tick_peers()
        self._connections.tick()
        self._private.tick()
        self._seeding.tick()
        if ctx.steady >= self._next_save:
            self._next_save = ctx.steady + ADDRESS_BOOK_SAVE_INTERVAL
            if self._gossip.book.changes:
                ctx.emit(AddressBookDirty())

    def _tick_peers(self) -> None:
        """Look at the peers for which it is time, and at those to which something has happened."""
        ctx, agenda, chain = self._ctx, self._ctx.agenda, self._ctx.chain
        initial = ctx.is_initial_block_download()
        if initial is not self._was_initial or chain.folded is not None or chain.history is not None:
            self._was_initial = initial
            agenda.wake_all()
        for peer_id, parts in agenda.take(ctx.steady, ctx.mockable, ctx.peers):
            peer = ctx.peers.get(peer_id)
            if peer is not None and peer.role.is_heard:
                self._tick_peer(peer, parts)

    def _tick_peer(self, peer: Peer, parts: int) -> None:
        agenda = self._ctx.agenda
        if peer.kind is ConnectionKind.PRIVATE_BROADCAST:
            self._private.tick_peer(peer)
            agenda.wake(peer.id)
            return
        if not peer.role.is_complete:
            self._handshake.tick(peer)
            agenda.wake(peer.id)
            return
        looks = self._looks.get(parts)
        if looks is None:
            looks = self._looks[parts] = tuple((part, tick) for part, tick in self._parts if parts & part)
        for part, tick in looks:
            moment = tick(peer)
            if not peer.role.is_complete:
                return
            agenda.set(peer.id, part, moment)

    def _tick_serving(self, peer: Peer) -> float:
        self._announcements.flush(peer)
        self._serving.wake(peer)
        return NEXT_TICK if peer.serve.queue or peer.serve.parts else NEVER

    # -- what the rest of the node asks: nothing here changes anything ------------------------------------------

    @property
    def address_book(self) -> AddressBook:
        """The address book, for saving."""
        return self._gossip.book

    @property
    def network_active(self) -> bool:
        """Whether networking is switched on."""
        return self._connections.active

    @property
    def local_addresses(self) -> dict[NetAddress, int]:
        """Addresses at which we can be reached, with their scores (Core's: the highest is told first)."""
        return dict(self._gossip.local.scores)

    @property
    def reachable_networks(self) -> tuple[str, ...]:
        """Networks that automatic connections may use, by BIP155 name (``ipv4``, ``onion``, ...)."""
        return tuple(self._gossip.networks)

    @property
    def fetching(self) -> FetchStrategy:
        """How blocks are asked for, and what came of it; for reading."""
        return self._download.strategy

    @property
    def header_requests(self) -> HeaderRequests:
        """How headers were asked for, and what came of it; for reading."""
        return self._headers.requests

    def directions(self) -> tuple[int, int]:
        """How many peers are connected: that came in, that we went to."""
        inbound = sum(peer.inbound for peer in self._ctx.peers.values())
        return inbound, len(self._ctx.peers) - inbound

    def peer_summary(self, peer_id: int) -> PeerSummary | None:
        """What the metrics sum up over peers; None when there is no such peer."""
        peer = self._ctx.peers.get(peer_id)
        return None if peer is None else PeerSummary(peer.inbound, peer.network, peer.conduct.score)

    def listen_progress(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when headers have come, when the first peer has, and when the last one has gone."""
        self._ctx.listen_progress(listener)

    @property
    def delays(self) -> Delays:
        """How long it takes to pass things on; for reading."""
        return self._ctx.delays

    @property
    def chronicle(self) -> Chronicle:
        """What has happened of late; for reading."""
        return self._ctx.chronicle

    @property
    def offences(self) -> Mapping[Offence, int]:
        """How often peers have committed each; for reading."""
        return self._ctx.offences

    @property
    def discouraged(self) -> int:
        """Addresses that misbehaved and are remembered for it."""
        return len(self._ctx.discouraged)

    def utxo_set_sources(self) -> int:
        """Peers that are known to have the UTXO set that is wanted."""
        return self._utxo_set.sources()

    def block_queue(self) -> tuple[int, int, int]:
        """Numbers of blocks asked for and not there and of blocks in validation, and the bytes of the latter."""
        download = self._download
        return len(download.requests), download.validating, download.validating_bytes

    def anchors(self) -> tuple[AddrEntry, ...]:
        """Block-relay peers, to be saved at shutdown."""
        return self._connections.anchors()

    def orphans(self) -> list[OrphanInfo]:
        """Transactions whose parents are missing, with the peers that announced them."""
        return self._intake.download.orphanage.all()

    def spare_transactions(self) -> dict[bytes, bytes]:
        """What blocks may have beside the mempool, serialised by wtxid: orphans, and what was refused or replaced."""
        return self._intake.download.orphanage.raws() | {tx.wtxid: tx.raw for tx in self._intake.extra}

    def private_broadcasts(self) -> list[PrivateInfo]:
        """Transactions under way by private broadcast."""
        return self._private.all()

    def peer_ids(self) -> list[int]:
        """Peers in the order in which they connected."""
        return list(self._ctx.peers)

    def peer_info(self, peer_id: int, traffic: Traffic = NO_TRAFFIC) -> PeerInfo | None:
        """What getpeerinfo tells of a peer, whose socket had this traffic; None when there is no such peer."""
        peer = self._ctx.peers.get(peer_id)
        return None if peer is None else describe(self._ctx, peer, traffic)

    def room_for(self, kind: ConnectionKind) -> bool:
        """Whether one more automatic connection of a kind fits."""
        return self._connections.room_for(kind)

    def added_nodes(self) -> list[tuple[str, int | None]]:
        """``addnode`` targets as the user typed them, each with the peer that serves it or None."""
        added = self._connections.added
        peers = ((name, added.peer_of(name)) for name in added.names())
        return [(name, None if peer is None else peer.id) for name, peer in peers]

    def peer_scores(self) -> dict[int, PeerScore]:
        """By peer, whatever its state: its score (0 to 100) and what it is made of, as ``Scores.describe`` has it."""
        return {peer.id: self._scores.describe(peer) for peer in self._ctx.peers.values()}

    def peer_score(self, peer_id: int) -> PeerScore | None:
        """The same of one peer; None when there is no such peer."""
        peer = self._ctx.peers.get(peer_id)
        return None if peer is None else self._scores.describe(peer)

    @property
    def upload(self) -> UploadBudget:
        """The day's upload target; for reading."""
        return self._serving.upload

    def score_weights(self) -> tuple[float, ...]:
        """The weights of service, value and fault that scores are made with."""
        return self._scores.weights

    def presync_height(self) -> int:
        """Highest header that a low-work synchronisation has reached, -1 when none is under way."""
        return max((p.headers.presync_height for p in self._ctx.peers.values()), default=-1)

    def median_time_offset(self) -> int:
        """Median of the clock differences that outbound peers showed, in seconds; only a warning depends on it."""
        return self._ctx.time_offsets.median()

    def why_no_fetch(self, peer_id: int) -> str | None:
        """Why no block can be asked of a peer, in Core's words; None when one can, also one that it was asked for."""
        peer = self._ctx.peers.get(peer_id)
        if peer is None or not peer.role.is_heard:
            return "Peer does not exist"
        if not peer.role.is_complete:
            return "Peer not fully connected"
        return None if peer.serves_witnesses else "Pre-SegWit peer"


def _awaits_much(peer: Peer) -> bool:
    """Whether blocks, or what goes with them or in their place, are on their way from the peer."""
    asked = (peer.blocks.in_flight, peer.spent.in_flight, peer.proofs.in_flight, peer.utxo_set.in_flight)
    return any(asked)


def _name(message: Message) -> str:
    """The command as it may stand in a log line."""
    if isinstance(message, Sealed):
        return str(message.kind.command)
    return printable(message.name if isinstance(message, UnknownMessage) else message.command)
