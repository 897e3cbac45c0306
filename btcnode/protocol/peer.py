"""What we remember of one peer: plain state, changed by the task files, gone with the connection."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar
from typing import Protocol as Interface

from btcnode.chain.presync import HeadersSync, PresyncState
from btcnode.protocol.blocks.unjudged import Unjudged
from btcnode.protocol.connections.conduct import Conduct
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.peer_states import PeerState, Role
from btcnode.protocol.limits import PING_BURST, TX_INV_BURST, WORK_BURST
from btcnode.protocol.serving.request_queue import RequestQueue
from btcnode.record import struct
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS
from btcnode.wire.netaddr import NETWORK_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from btcnode.primitives.steps import Steps
    from btcnode.protocol.blocks.partial_block import PartialBlock
    from btcnode.protocol.blocks.thin_block import ThinBlock
    from btcnode.protocol.serving.bloom import RollingBloom
    from btcnode.protocol.transactions.pool_snapshots import PoolSnapshot
    from btcnode.wire.bloom_filter import BloomFilter
    from btcnode.wire.messages import (
        AddrEntry,
        GetBlockSpent,
        GetCFCheckpt,
        GetCFHeaders,
        GetCFilters,
        GetUtreexoProof,
        GetUtreexoRoot,
        GetUtxoSet,
        GetUtxoTree,
        GetXBlockTx,
        GetXThin,
        InvItem,
    )
    from btcnode.wire.netaddr import NetAddress

NONE = -1  # no header

WITHOUT_TRANSACTIONS = (ConnectionKind.BLOCK_RELAY, ConnectionKind.FEELER, ConnectionKind.PRIVATE_BROADCAST)
_OUTBOUND_OR_BLOCK_RELAY = (ConnectionKind.OUTBOUND_FULL, ConnectionKind.BLOCK_RELAY)


@struct
class HeaderState:
    """What the peer told of headers, and what we told it. Header indices, ``NONE`` where there is none.

    Times are seconds of ``Context.mockable``; None is "not running".
    """

    sync_started: bool = False
    sync_deadline: float | None = None
    requested_at: float | None = None  # last getheaders without an answer
    exhausted_at: float = math.inf  # since when it counts as having told of its whole chain
    presync: HeadersSync | None = None
    best_known: int = NONE
    last_unknown: bytes = b""  # hash of an announced block whose header we do not have
    best_sent: int = NONE
    inv_triggered: bool = False
    sent_sendheaders: bool = False
    last_announcement: float = 0.0  # when it last announced a block with more work than our tip
    chain_deadline: float | None = None
    chain_target: int = NONE
    chain_asked: bool = False
    protected: bool = False

    @property
    def presync_height(self) -> int:
        """Height that a low-work synchronisation has reached in its first pass, -1 when there is none."""
        presync = self.presync
        return presync.height if presync is not None and presync.state is PresyncState.PRESYNC else -1


@struct
class BlockState:
    """Blocks on their way from the peer. Keys are header indices; values say when, in ``Context.steady`` seconds.

    ``downloading_since`` and ``stalling_since`` are seconds of ``Context.mockable``.
    """

    in_flight: dict[int, float] = field(default_factory=dict)
    downloading_since: float = 0.0
    stalling_since: float | None = None
    last_common: int = NONE
    missing: dict[int, float] = field(default_factory=dict)  # it said notfound
    late: dict[int, float] = field(default_factory=dict)  # asked of somebody else meanwhile
    reading_since: float = 0.0  # when we last did not read from it
    preferred: bool = False
    partial: dict[int, PartialBlock | ThinBlock | None] = field(default_factory=dict)  # None: asked for in full since
    proven: bool = False  # it has brought a block that was connected
    broken: bool = False  # it has brought one that broke a rule


@struct
class SideState:
    """What goes with blocks on its way from the peer, by their header index; seconds of ``Context.steady``."""

    in_flight: dict[int, float] = field(default_factory=dict)  # oldest first
    since: float = 0.0  # when it last brought some, or began to owe
    late: dict[int, float] = field(default_factory=dict)  # asked of somebody else meanwhile, or of no use any more
    missing: dict[int, float] = field(default_factory=dict)  # it said notfound
    fruitless: int = 0  # notfounds since it last brought some
    refused: bool = False  # it told something that does not fit its block


class Standing(Enum):
    """What is known of a peer as a source of the UTXO set that is wanted."""

    NEW = "new"  # it was not asked yet
    ASKED = "asked"  # for the hashes of the chunks
    HAS_IT = "has it"  # it told the right ones
    LACKS_IT = "lacks it"  # it said nothing: it may have it later
    LIAR = "liar"  # what it told was wrong


@struct
class UtxoSetState:
    """A UTXO set on its way from the peer; seconds of ``Context.steady``."""

    standing: Standing = Standing.NEW
    since: float = 0.0  # when it was last asked for hashes
    in_flight: dict[int, float] = field(default_factory=dict)  # chunks, when they were asked for
    late: dict[int, int] = field(default_factory=dict)  # answers still owed for chunks that are not waited for


# What waits for a block to be read: its index, and what it is for or which answer is to be made of it.
Part: TypeAlias = "tuple[int, Callable[[bytes], None] | GetXThin | GetXBlockTx]"


class BlockRequest(Interface):
    """A request about one block."""

    @property
    def block_hash(self) -> bytes:
        """The block, 32 bytes in internal order."""


R = TypeVar("R", bound=BlockRequest)


class ReadQueue(Generic[R]):
    """Requests of one kind. ``reading`` is the header index of the block of the first one, while it is read for.

    ``missed`` counts those for what was not here, ``answered`` all that do not wait any more.
    """

    __slots__ = ("answered", "missed", "reading", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[R] = deque()
        self.reading = NONE
        self.missed = 0
        self.answered = 0


@struct
class ServeState:
    """What the peer waits for from us."""

    queue: RequestQueue = field(default_factory=RequestQueue)
    reading: int = NONE  # header index of the open ReadBlock
    then: Callable[[bytes], None] | None = None  # what the open ReadBlock is for; None: the peer gets the whole block
    parts: list[Part] = field(default_factory=list)
    thin_answered: set[tuple[str, int]] = field(default_factory=set)  # XTHIN: requests' commands, blocks near the tip
    not_found: list[InvItem] = field(default_factory=list)  # to be told after the block that is asked for next
    continuation: bytes = b""  # hash whose delivery triggers the next inv (getblocks)
    announce: list[int] = field(default_factory=list)  # new tips, oldest first
    inventory: list[bytes] = field(default_factory=list)  # block hashes to be sent as inv
    filters: deque[GetCFilters | GetCFHeaders | GetCFCheckpt] = field(default_factory=deque)
    filters_sent: int = 0  # of the first of these
    filters_answered: int = 0  # requests that do not wait any more
    reading_filters: bool = False  # a ReadFilters is open
    spent: ReadQueue[GetBlockSpent] = field(default_factory=lambda: ReadQueue())
    utreexo: ReadQueue[GetUtreexoProof | GetUtreexoRoot] = field(default_factory=lambda: ReadQueue())
    utxo_sets: ReadQueue[GetUtxoTree | GetUtxoSet] = field(default_factory=lambda: ReadQueue())

    @property
    def answered(self) -> tuple[int, ...]:
        """How many requests were answered so far, by the queue that they waited in."""
        others = self.spent.answered, self.utreexo.answered, self.utxo_sets.answered
        return self.queue.taken - (self.reading != NONE), self.filters_answered, *others

    @property
    def asked(self) -> tuple[int, ...]:
        """How many requests came so far, answered or not, by the queue that they wait in."""
        others = (queue.answered + len(queue.waiting) for queue in (self.spent, self.utreexo, self.utxo_sets))
        return self.queue.added, self.filters_answered + len(self.filters), *others

    def has_answered(self, asked: tuple[int, ...]) -> bool:
        """Whether all is answered that had been asked by the time of ``asked``, and no part of a block waits."""
        return not self.parts and all(done >= count for done, count in zip(self.answered, asked, strict=True))


@struct
class AddrState:
    """Address gossip with the peer."""

    known: RollingBloom | None = None  # set: addresses are relayed with this peer
    to_send: list[AddrEntry] = field(default_factory=list)
    tokens: float = 1.0
    tokens_at: float = 0.0
    getaddr_sent: bool = False
    getaddr_received: bool = False
    next_send: float | None = None  # None: nothing was told yet, the first goes out at once
    next_local: float | None = None
    processed: int = 0
    rate_limited: int = 0


@struct
class PingState:
    """Latency and liveness; seconds."""

    nonce: int = 0  # 0: no ping under way
    sent_at: float = float("-inf")  # no ping yet: the first one is due at once
    unanswered_since: float = 0.0  # when the first ping was sent that no pong came for
    queued: bool = False
    last: float | None = None
    minimum: float | None = None
    owed: deque[tuple[int, tuple[int, ...], int]] = field(default_factory=deque)
    """Pings that wait: place of what was sent before, requests that were made before (``asked``), nonce."""


@struct
class TxState:
    """Transactions announced to a peer that wants announcements. Times are seconds of ``Context.mockable``."""

    known: RollingBloom  # wtxids or txids, as the peer announces
    first_sequence: int  # the mempool's when the peer came
    next_send: float
    group: int  # of its address, as the address book groups them
    last_sequence: int = 1  # the mempool's at the last announcement: what is older may be asked for
    queue: list[tuple[float, bytes]] = field(default_factory=list)  # heap of (minus feerate, wtxid)
    mempool_wanted: bool = False
    filter: BloomFilter | None = None  # BIP37: only what it matches is announced
    at_rest: bool = False  # nothing waits, or what does goes out in the turn that was asked for: no ``next_send``
    due: bool = False  # its time has come, not its turn
    answer: PoolSnapshot | None = None  # to a mempool message
    answered: int = 0  # entries of it that were looked at
    to_match: deque[bytes] = field(default_factory=deque)  # wtxids of what the filter has to look at
    found: list[InvItem] = field(default_factory=list)  # to be announced with the next inv
    found_asked: bool = False  # among it is what the peer asked for
    steps: Steps[None] | None = None  # of what takes several turns


@struct
class Job:
    """A message that is worked on in steps: its command, and the size of its payload."""

    steps: Steps[None]
    command: str
    size: int


@struct
class Peer:
    """One connection. Version fields are zero until its version message came.

    ``connected_mockable`` and ``last_received`` are seconds of ``Context.mockable``, what ends in ``_unix`` is the
    wall clock's.
    """

    id: int
    address: NetAddress
    kind: ConnectionKind
    permissions: Permission
    connected_mockable: float
    connected_unix: int
    state: PeerState = PeerState.CLOSED  # changed by PeerStates only, with ``role``
    attempt: int | None = None
    target: str = ""  # what the user typed, for manual connections
    local_address: NetAddress | None = None
    transport: str = "v1"
    through_tor: bool = False  # Tor handed the connection over: the address is Tor's end
    session_id: bytes = b""  # of the v2 transport
    may_fall_back: bool = True  # a connection over v1 may follow when v2 does not get through
    # handshake
    nonce: int = 0  # ours, in the version message; 0: not sent yet
    version: int = 0
    common_version: int = 0
    services: int = 0
    has_desired_services: bool = False  # all that we wanted of a peer when its version came
    user_agent: str = ""
    start_height: int = -1
    relay: bool = False
    time_offset: int = 0
    seen_us_as: NetAddress | None = None
    complete_since: float | None = None  # seconds of Context.mockable
    # features
    wtxid_relay: bool = False
    wants_addrv2: bool = False
    prefers_headers: bool = False
    provides_compact: bool = False
    high_bandwidth_from: bool = False
    high_bandwidth_to: bool = False
    speaks_utxo_sets: bool = False  # BIP 452, told as BIP434 has it
    fee_filter: int = 0
    fee_filter_sent: int = -1
    next_fee_filter: float = 0.0
    # traffic
    last_received: float = -math.inf  # or when we began to read from it again
    last_block_unix: int = 0
    last_given: float = 0.0  # when it last brought a proof or a chunk of a set that was asked for (Context.steady)
    last_tx_unix: int = 0
    send_full: bool = False
    receiving: bool = True
    pauses: int = 0  # reasons why we do not read from it: bits of PAUSE_*
    prefer_evict: bool = False
    awaits_turn: bool = False  # an AskForTurn is not answered yet
    log_lines: int = 0
    log_since: float = 0.0
    conduct: Conduct = field(default_factory=Conduct)
    # tasks
    headers: HeaderState = field(default_factory=HeaderState)
    blocks: BlockState = field(default_factory=BlockState)
    spent: SideState = field(default_factory=SideState)
    proofs: SideState = field(default_factory=SideState)
    utxo_set: UtxoSetState = field(default_factory=UtxoSetState)
    serve: ServeState = field(default_factory=ServeState)
    addr: AddrState = field(default_factory=AddrState)
    ping: PingState = field(default_factory=PingState)
    tx: TxState | None = None  # set: it wants to be told of transactions
    ping_tokens: float = PING_BURST
    ping_tokens_at: float = 0.0
    tx_inv_tokens: float = TX_INV_BURST
    tx_inv_at: float = 0.0
    txs_in_validation: int = 0
    tx_bytes_in_validation: int = 0
    unjudged: Unjudged = field(default_factory=Unjudged)
    work_left: float = WORK_BURST  # seconds of processor time, see connections/work_budget.py
    work_at: float = 0.0
    job: Job | None = None
    excused: bool = False  # what it sent last was asked for
    role: Role = field(init=False)  # what it is good for in its present state
    inbound: bool = field(init=False)  # the other side opened the connection
    no_ban: bool = field(init=False)  # the user exempted it from punishment

    def __post_init__(self) -> None:
        self.role = self.state.role
        self.inbound = self.kind is ConnectionKind.INBOUND
        self.no_ban = bool(self.permissions & Permission.NOBAN)

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"peer={self.id}"

    @property
    def network(self) -> str:
        """Core's name of the network that it came or was reached through."""
        if self.through_tor:
            return "onion"
        return NETWORK_NAMES[self.address.network] if self.address.is_routable else "not_publicly_routable"

    @property
    def is_spared(self) -> bool:
        """Whether the user wants it kept whatever it does: by its permissions, or since it was named by hand."""
        return self.no_ban or self.kind is ConnectionKind.MANUAL

    @property
    def outbound_or_block_relay(self) -> bool:
        """Whether it holds one of the automatic outbound slots for chain data."""
        return self.kind in _OUTBOUND_OR_BLOCK_RELAY

    @property
    def serves_blocks(self) -> bool:
        """Whether it claims to serve at least recent blocks."""
        return bool(self.services & (NODE_NETWORK | NODE_NETWORK_LIMITED))

    @property
    def is_limited(self) -> bool:
        """Whether it serves recent blocks only."""
        return self.services & (NODE_NETWORK | NODE_NETWORK_LIMITED) == NODE_NETWORK_LIMITED

    @property
    def serves_witnesses(self) -> bool:
        """Whether its blocks come with witnesses."""
        return bool(self.services & NODE_WITNESS)


PAUSE_REASONS = (
    PAUSE_GETDATA,  # its requests are not answered yet
    PAUSE_VALIDATION,  # too many block bytes wait for validation
    PAUSE_SENDING,  # it does not take our answers
    PAUSE_TRANSACTIONS,  # too many of its transactions wait for validation
    PAUSE_BLOCKS,  # it sends blocks unasked, faster than they are connected
    PAUSE_FLOOD,  # it sends more than anybody needs
    PAUSE_FILTERS,  # its requests for block filters are not answered yet
    PAUSE_WORK,  # what it sends costs more time than it may
    PAUSE_SPENT,  # its requests for spent coins are not answered yet
    PAUSE_UTREEXO,  # its requests for Utreexo proofs are not answered yet
    PAUSE_UTXO_SETS,  # its requests for parts of UTXO sets are not answered yet
) = tuple(1 << place for place in range(11))
