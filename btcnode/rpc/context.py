"""What the RPC methods need of the node.

The methods see the node through ``NodeApi`` alone; ``node.py`` implements it, tests put a small fake in its place.
Everything here runs on the loop thread. Plain methods answer at once from memory; ``async`` ones may wait for the chain
thread or for an event, and keep no state of the node across the wait. Hashes are 32 bytes in internal order, a header's
place is its ``int`` index in the tree (-1 is "none"), values are satoshi, times Unix seconds unless the name says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from btcnode.config import NodeConfig
from btcnode.consensus.deployments import VersionBits
from btcnode.errors import RuleViolation
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.pool import Mempool
from btcnode.mempool.rejection import PackageResult
from btcnode.mining.templates import TemplateMaker
from btcnode.notify.topics import Endpoint
from btcnode.params import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.tx import Tx
from btcnode.protocol.bans import Ban
from btcnode.protocol.orphanage import OrphanInfo
from btcnode.protocol.private_broadcast import PrivateInfo
from btcnode.protocol.upload_budget import UploadBudget
from btcnode.rpc.address_api import AddressApi
from btcnode.rpc.index_api import IndexApi
from btcnode.rpc.snapshot_api import SnapshotApi
from btcnode.sync.profile import SyncReport
from btcnode.sync.state_machine import SyncStateMachine
from btcnode.wire.subnet import SubNet


class TreeView(Protocol):
    """Read access to the header tree: ``Ancestry`` and what only people ask for."""

    def find(self, block_hash: BlockHash) -> int:
        """Index of the header with this hash, or -1."""

    def height(self, index: int) -> int:
        """Height; the genesis block has 0."""

    def version(self, index: int) -> int:
        """Version, signed 32 bits."""

    def time(self, index: int) -> int:
        """Time of the header."""

    def bits(self, index: int) -> int:
        """Compact target."""

    def hash(self, index: int) -> BlockHash:
        """Block hash."""

    def prev(self, index: int) -> int:
        """Index of the parent, -1 for the genesis block."""

    def ancestor(self, index: int, height: int) -> int:
        """The ancestor at ``height`` (itself included), or -1 when ``height`` is outside 0..height(index)."""

    def median_time_past(self, index: int) -> int:
        """Median time of the header and its ten predecessors."""

    def chainwork(self, index: int) -> int:
        """Expected hashes from the genesis block to this header."""

    def raw(self, index: int) -> bytes:
        """The 80 bytes."""


@dataclass(frozen=True, slots=True)
class BlockStatus:
    """What is known of a block beyond its header."""

    have_data: bool = False
    have_undo: bool = False
    scripts_valid: bool = False
    failed: bool = False  # itself or an ancestor broke a rule, or was invalidated by hand
    n_tx: int = 0  # transactions in it, 0 when its bytes never arrived
    chain_tx: int = 0  # transactions up to it, 0 when any of the blocks never arrived


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One peer as ``getpeerinfo`` tells of it. Optional fields are left out of the answer when None."""

    id: int
    addr: str
    network: str  # "ipv4", "ipv6", "onion", "i2p", "cjdns", "not_publicly_routable"
    services: int
    inbound: bool
    conntime: int
    connection_type: (
        str  # Core's: "outbound-full-relay", "block-relay-only", "inbound", "manual", "addr-fetch", "feeler"
    )
    addrbind: str | None = None
    addrlocal: str | None = None
    mapped_as: int | None = None
    relaytxes: bool = False
    last_inv_sequence: int = 0
    inv_to_send: int = 0
    lastsend: int = 0
    lastrecv: int = 0
    last_transaction: int = 0
    last_block: int = 0
    bytessent: int = 0
    bytesrecv: int = 0
    timeoffset: int = 0
    pingtime: float | None = None  # seconds
    minping: float | None = None
    pingwait: float | None = None
    version: int = 0
    subver: str = ""
    bip152_hb_to: bool = False
    bip152_hb_from: bool = False
    presynced_headers: int = -1
    synced_headers: int = -1
    synced_blocks: int = -1
    inflight: Sequence[int] = ()  # heights
    addr_relay_enabled: bool = False
    addr_processed: int = 0
    addr_rate_limited: int = 0
    permissions: Sequence[str] = ()
    minfeefilter: int = 0  # satoshi per 1000 vbytes
    bytessent_per_msg: Mapping[str, int] = field(default_factory=dict)
    bytesrecv_per_msg: Mapping[str, int] = field(default_factory=dict)
    transport_protocol_type: str = "v1"
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address at which this node believes it can be reached."""

    address: str
    port: int
    score: int


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The node's side of the network, for ``getnetworkinfo``."""

    protocol_version: int
    user_agent: str
    services: int
    relays_transactions: bool
    time_offset: int
    active: bool
    connections_in: int
    connections_out: int
    reachable: Mapping[str, bool]  # "ipv4" -> True ...
    local_addresses: Sequence[LocalAddress] = ()
    relay_fee: int = 100  # satoshi per 1000 vbytes
    incremental_fee: int = 100
    proxies: Mapping[str, tuple[str, bool]] = field(default_factory=dict)  # network -> address, credentials vary


@dataclass(frozen=True, slots=True)
class AddedNode:
    """A node that the user asked for; ``address`` (with port) and ``inbound`` are set while it is connected."""

    name: str
    address: str | None = None
    inbound: bool = False

    @property
    def connected(self) -> bool:
        """Whether a connection to it stands."""
        return self.address is not None


@dataclass(slots=True)
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


class ChainApi(Protocol):
    """Blocks and coins."""

    @property
    def params(self) -> NetworkParams:
        """The network."""

    @property
    def tree(self) -> TreeView:
        """The header tree."""

    @property
    def version_bits(self) -> VersionBits:
        """BIP9 states over the tree."""

    def tip(self) -> int:
        """Index of the active chain's tip (coins as of this block)."""

    def best_header(self) -> int:
        """Index of the most-work header that is not known to be invalid."""

    def leaves(self) -> Sequence[int]:
        """Headers outside the active chain that nothing builds on, and the active tip."""

    def block_status(self, index: int) -> BlockStatus:
        """What is known of the block at ``index``."""

    def verification_progress(self, index: int) -> float:
        """Core's GuessVerificationProgress, 0..1."""

    def is_initial_block_download(self) -> bool:
        """Whether the node is still far behind (latches to False)."""

    def size_on_disk(self) -> int:
        """Bytes of block and undo files."""

    async def read_block(self, index: int) -> bytes:
        """The serialised block; raises StorageError when its bytes are absent or damaged."""

    async def read_undo(self, index: int) -> list[list[bytes]]:
        """Per transaction after the coinbase, per input, the packed coin spent; raises StorageError."""

    async def get_coin(self, outpoint: bytes) -> bytes | None:
        """The packed coin of the 36-byte outpoint in the active chain's UTXO set."""

    async def utxo_stats(self, hash_type: str) -> UtxoStats:
        """Walk over the whole UTXO set; ``hash_type`` is "hash_serialized_3", "muhash" or "none"."""

    @property
    def block_scan(self) -> CoinScan:
        """The walk over block filters under way, if there is one."""

    @property
    def coin_scan(self) -> CoinScan:
        """The scan under way, if there is one."""

    async def find_coins(self, scripts: Collection[bytes], scan: CoinScan) -> tuple[int, FoundCoins]:
        """The coins that these script_pubkeys lock, and the tip as of which; ends early when ``scan`` is aborted."""

    async def find_coin(self, txid: bytes) -> bytes | None:
        """The packed coin of the first unspent output of a transaction."""

    async def verify_chain(self, blocks: int, level: int) -> bool:
        """Check the newest ``blocks`` (0: all) of the active chain as thoroughly as ``level`` (0..4) says."""

    async def submit_block(self, raw: bytes) -> str | None:
        """Process a well-formed block with force; the answer is BIP22's.

        None: it is valid and was connected. "duplicate": it was known already. "inconclusive": stored, not connected
        (less work than the tip). Anything else is the reject reason. No exception for an invalid block.
        """

    def submit_header(self, raw: bytes) -> None:
        """Add an 80-byte header whose parent is known; raises RuleViolation."""

    async def invalidate_block(self, index: int) -> None:
        """Treat the block as invalid and leave its chain; returns when the new best chain is active."""

    async def reconsider_block(self, index: int) -> None:
        """Forget that the block, its ancestors and descendants are invalid; returns when the best chain is active."""

    async def precious_block(self, index: int) -> None:
        """Treat the block as if it had come before others of equal work; raises RuleViolation."""

    async def check_proposal(self, block: ParsedBlock) -> RuleViolation | None:
        """Whether a block would be valid on top of the tip, apart from its proof of work: None, or the broken rule."""

    def stopping(self) -> bool:
        """Whether the node is shutting down."""

    async def wait_tip_changed(self, current: int, seconds: float | None) -> None:
        """Return when the tip is another than ``current``, after ``seconds``, or when the node stops."""


class PeersApi(Protocol):
    """Peers and sockets."""

    def peers(self) -> Sequence[PeerInfo]:
        """Connected peers, oldest first."""

    def network_state(self) -> NetworkState:
        """Own side of the network."""

    def net_totals(self) -> tuple[int, int]:
        """Bytes received and sent over all connections since start."""

    def added_nodes(self) -> Sequence[AddedNode]:
        """Nodes added with ``addnode`` or ``--addnode``."""

    def add_node(self, address: str, v2: bool | None = None) -> bool:
        """Keep trying to connect to ``host[:port]``; False when it is in the list already.

        ``v2``: whether to begin with the encrypted transport, None for whether this node offers it.
        """

    def remove_node(self, address: str) -> bool:
        """Strike it off the list (a standing connection stays); False when it is not in the list."""

    async def try_node(self, address: str, v2: bool | None = None) -> None:
        """Try once to connect to ``host[:port]``, and wait for what comes of it; ``v2`` as for ``add_node``."""

    def disconnect_address(self, address: str) -> bool:
        """Disconnect the peer with this ``getpeerinfo`` address; False when there is none."""

    def disconnect_id(self, peer_id: int) -> bool:
        """Disconnect the peer with this id; False when there is none."""

    def upload_budget(self) -> UploadBudget:
        """The day's upload target; for reading."""

    def peer_scores(self) -> Mapping[int, Mapping[str, Any]]:
        """Every peer's score and what it is made of."""

    def score_weights(self) -> tuple[float, ...]:
        """The weights of service, value and fault."""

    def ban(self, subnet: SubNet, seconds: int, absolute: bool) -> None:
        """Ban a range for ``seconds`` (0: the default time), or until that Unix time, and disconnect its peers."""

    def unban(self, subnet: SubNet) -> bool:
        """Lift the ban of exactly this range; False when there is none."""

    def clear_bans(self) -> None:
        """Lift all bans."""

    def is_banned(self, subnet: SubNet, *, exactly: bool) -> bool:
        """Whether this range is banned, or (a single address, not ``exactly``) any that it lies in."""

    def bans(self) -> Sequence[tuple[SubNet, Ban]]:
        """Bans that hold, in Core's order."""

    async def open_connection(self, address: str, kind: str, v2: bool) -> bool:
        """Open an automatic connection of a kind (Core's name), and wait; False when there is no slot. For tests."""

    def send_raw(self, peer_id: int, command: str, payload: bytes) -> bool:
        """Send any message to a peer; False when there is no such peer. For tests."""

    def ping_peers(self) -> None:
        """Send a ping to every peer soon."""

    def orphans(self) -> Sequence[OrphanInfo]:
        """Transactions whose parents are missing."""

    def private_broadcasts(self) -> Sequence[PrivateInfo]:
        """Transactions under way by private broadcast."""

    def abort_private_broadcast(self, tx_hash: bytes) -> Sequence[Tx]:
        """Give up those with this txid or wtxid; returns them."""

    def fetch_block(self, peer_id: int, index: int) -> str | None:
        """Ask a peer for a block; why that cannot be, or None."""

    def forward_timers(self, seconds: int) -> None:
        """Let the slow timers run ahead (for tests)."""

    def set_network_active(self, active: bool) -> None:
        """Stop or resume all P2P traffic."""


class SubmitError(Exception):
    """A transaction was not taken.

    ``kind`` is already-confirmed, max-fee-exceeded, missing-inputs, rejected or (private broadcast) unreachable.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What of a mempool file counts (importmempool's options; the defaults are those of the start)."""

    use_current_time: bool = False
    apply_fee_delta_priority: bool = True
    apply_unbroadcast_set: bool = True


class MempoolApi(Protocol):
    """Unconfirmed transactions."""

    @property
    def mempool(self) -> Mempool:
        """The pool, for reading and for the operator's deltas."""

    @property
    def template_maker(self) -> TemplateMaker:
        """What makes block templates."""

    @property
    def fee_estimator(self) -> FeeEstimator | None:
        """What estimates fees; None when no transactions are taken from peers."""

    @property
    def mempool_loaded(self) -> bool:
        """Whether the transactions of the last run are in."""

    def is_unbroadcast(self, txid: bytes) -> bool:
        """Whether nobody has asked for this own transaction yet."""

    def unbroadcast_count(self) -> int:
        """How many there are of these."""

    def has_dust(self, tx: Tx) -> bool:
        """Whether policy minds an output of the transaction for being too small."""

    async def submit_transaction(self, tx: Tx, max_feerate: int | None) -> None:
        """Take a transaction in and announce it; raises SubmitError. ``max_feerate`` in sat/kvB."""

    async def submit_package(self, txs: Sequence[Tx], max_feerate: int | None) -> PackageResult:
        """Take in a child with its parents, and announce what came in."""

    async def test_accept(self, txs: Sequence[Tx]) -> PackageResult:
        """Judge only."""

    def forward_saving(self, seconds: int) -> None:
        """Let the timer of the fee estimates' file run ahead (``mockscheduler``)."""

    async def save_mempool(self) -> Path:
        """Write ``mempool.dat``; returns its path. Raises StorageError."""

    async def import_mempool(self, path: Path, options: ImportOptions) -> object:
        """Take in the transactions of a file; raises StorageError, DecodeError."""


class SyncApi(Protocol):
    """How the synchronisation goes."""

    @property
    def sync_machine(self) -> SyncStateMachine:
        """The state and its history."""

    def sync_report(self) -> SyncReport | None:
        """Figures of the initial download, so far or of all of it; None before there are any."""


class NotifyApi(Protocol):
    """Notifications over ZeroMQ."""

    def notification_endpoints(self) -> Sequence[Endpoint]:
        """What is published where."""


class PruneApi(Protocol):
    """Deleting old block files."""

    def prune_height(self) -> int | None:
        """The highest block of the active chain whose data or undo data is gone, None when all are there."""

    async def prune_to(self, height: int) -> None:
        """Delete the files whose blocks are all at ``height`` or below; raises StorageError."""


class ControlApi(Protocol):
    """The process: clock, log, shutdown."""

    @property
    def config(self) -> NodeConfig:
        """The options in force."""

    def now(self) -> int:
        """Unix seconds, or the mock time where it is set."""

    def set_mock_time(self, timestamp: int) -> None:
        """Set the clock for the whole node; 0 returns to the real one."""

    def uptime(self) -> int:
        """Whole seconds since the process started."""

    def warmup_status(self) -> str | None:
        """What the node is still busy with before it can answer, None when it can."""

    def request_stop(self) -> None:
        """Ask for an orderly shutdown; returns at once."""

    def log_categories(self) -> Mapping[str, bool]:
        """Every debug category and whether it is logged."""

    def set_log_category(self, category: str, enabled: bool) -> None:
        """Switch one category of ``log_categories``."""

    def log_path(self) -> str:
        """Full path of the log file."""

    def warnings(self) -> Sequence[str]:
        """Warnings for the user that stand, in Core's order."""


class NodeApi(
    ChainApi,
    IndexApi,
    PeersApi,
    AddressApi,
    MempoolApi,
    SyncApi,
    NotifyApi,
    PruneApi,
    SnapshotApi,
    ControlApi,
    Protocol,
):
    """All that RPC methods ask of the node."""
