"""What happened: inputs of ``Protocol.step`` that come from sockets, clocks, validation and the chain.

The reactor hands them over one at a time, on the loop thread. None of them carries a socket, a file or a callback.

Ordering that the reactor guarantees for one peer: ``PeerConnected`` first, then messages in the order of the wire,
``PeerDisconnected`` last and exactly once (also after a ``Disconnect`` effect). Between a ``Disconnect`` effect and
``PeerDisconnected`` further inputs of that peer are harmless: the protocol ignores them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.record import record
from btcnode.settings.permissions import Permission
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.errors import RuleViolation
    from btcnode.mempool.rejection import TxResult
    from btcnode.primitives.block import ParsedBlock
    from btcnode.primitives.tx import Tx
    from btcnode.protocol.serving.thin_answers import ThinAnswer
    from btcnode.protocol.serving.tx_filter import FilteredBlock
    from btcnode.wire.codec import Message
    from btcnode.wire.netaddr import NetAddress


@record
class PeerConnected:
    """A TCP connection stands.

    ``peer_id`` is chosen by the reactor: from 0, increasing, never used again. ``address`` is the remote end.
    ``attempt`` repeats the number of the ``Connect`` effect that this connection answers (None for inbound), and
    ``kind`` that effect's kind. ``local_address`` is our end of the socket as far as known.
    ``transport`` is ``"v1"``, or ``"detecting"`` until ``TransportReady`` tells what is spoken.
    ``through_tor``: Tor handed it over, ``address`` is Tor's end. A host whose name a proxy looked up has the
    unspecified address.
    """

    peer_id: int
    address: NetAddress
    kind: ConnectionKind
    attempt: int | None = None
    permissions: Permission = Permission.NONE
    local_address: NetAddress | None = None
    transport: str = "v1"
    through_tor: bool = False

    @property
    def inbound(self) -> bool:
        """Whether the other side opened the connection."""
        return self.kind is ConnectionKind.INBOUND


@record
class TransportReady:
    """It is known what a connection that was ``"detecting"`` speaks: ``transport`` is ``"v1"`` or ``"v2"``.

    ``session_id`` are the 32 bytes that both sides of a version 2 connection share (BIP324), else empty.
    """

    peer_id: int
    transport: str
    session_id: bytes = b""


@record
class ConnectFailed:
    """The ``Connect`` effect numbered ``attempt`` came to nothing; ``reason`` is one line for the log.

    Every ``Connect`` is answered by exactly one ``PeerConnected`` or ``ConnectFailed`` (time-outs are the reactor's).
    ``proxy_failed``: a proxy is to blame, so nothing is known of the node.
    """

    attempt: int
    reason: str = ""
    proxy_failed: bool = False


@record
class PeerDisconnected:
    """The connection is gone, whoever closed it.

    ``retry_v1``: we began in version 2 of the transport and the other side said nothing to it; a node that speaks
    version 1 only does so.
    """

    peer_id: int
    reason: str = ""
    retry_v1: bool = False


@record
class MessageReceived:
    """A well-formed message. ``size`` is the payload's length in bytes.

    Unknown commands arrive as the registry's ``UnknownMessage`` and are ignored by the protocol.
    """

    peer_id: int
    message: Message
    size: int = 0


@record
class TransactionsReceived:
    """``tx`` messages that came one right behind the other: each has the effect that it would have by itself.

    Of each its payload, which is large enough for a transaction and below ``LARGE_TX`` bytes, and the double SHA-256
    of that: empty where the transport has not computed it.
    """

    peer_id: int
    txs: tuple[tuple[bytes, bytes], ...]


@record
class WorkMeasured:
    """Seconds of processor time by peer that its messages took since the last time, without what was excused."""

    spent: tuple[tuple[int, float], ...]


class Malformation(Enum):
    """How bytes from a peer were wrong."""

    CHECKSUM = "checksum"  # wrong checksum: the message is dropped, the peer stays
    MAGIC = "magic"  # another network, or lost framing
    OVERSIZED = "oversized"  # longer than the protocol allows
    COMMAND = "command"  # the 12 command bytes are not printable ASCII with zero padding
    PAYLOAD = "payload"  # the payload does not decode: the message is dropped, the peer stays
    LIMIT = "limit"  # the payload has more elements than the message may have (``LimitExceeded``)
    TRANSPORT = "transport"  # the v2 transport cannot be continued


@record
class MalformedMessage:
    """Bytes that are no message; ``command`` as far as it could be read, ``reason`` is one line for the log."""

    peer_id: int
    kind: Malformation
    command: str = ""
    reason: str = ""
    size: int = 0  # of its payload


@record
class SendBufferState:
    """The peer's send buffer went above (``full``) or back below its limit.

    While it is full the protocol reads blocks from this peer, where it asked for some, and otherwise nothing.
    Sent on changes only; a new peer's buffer is not full.
    """

    peer_id: int
    full: bool


@record
class PeersPressing:
    """Peers that have sent more than we read, for long, and of which more waits in the kernel.

    Whether somebody is still there may not be seen then: the end of the connection lies behind what waits, and is not
    even sent where the kernel's buffer is full.
    """

    peer_ids: tuple[int, ...]


@record
class PeerTurn:
    """Answer to ``AskForTurn``: it is the peer's turn, for about half a millisecond."""

    peer_id: int


@record
class Tick:
    """Time passes. The reactor sends one every 100 ms, late rather than twice.

    ``unix_time`` is the wall clock in seconds: only header times, address times and version messages use it. Every
    time-out runs on the ``steady`` argument of ``step``, unless the user has set the clock (``held``): those of peers
    follow it then.
    """

    unix_time: float
    held: bool = False


@record
class BlockProcessed:
    """Answer to ``ProcessBlock``: the bytes of the block of header ``index`` were checked and stored, or refused.

    ``violation`` is None when the bytes passed every check that needs no coins and lie on disk, and the header tree
    says so already; ``new`` is False when they did so before, or were not wanted. Bytes that do not decode are a
    violation with ``Fault.MUTATED``. ``peer_id`` repeats the effect's.
    """

    peer_id: int
    index: int
    violation: RuleViolation | None
    new: bool = True


@record
class BlockAccepted:
    """A block on top of the active tip was stored: its proof of work and all that needs no coins are good.

    Whatever brought it (a peer, the user, mining). Comes before its ``BlockProcessed`` and ``TipChanged``, and not
    during initial download. ``block`` may be kept until the next one.
    """

    index: int
    block: ParsedBlock


@record
class BlockRejected:
    """Connecting the stored block of header ``index`` to the chain broke a rule (its coins or scripts)."""

    index: int
    violation: RuleViolation


@record
class TipChanged:
    """The active chain ends at header ``index`` now; ``connected`` are the new indices, oldest first.

    Sent after each batch of connected and disconnected blocks. Mined and submitted blocks are announced by it too.
    """

    index: int
    connected: tuple[int, ...] = ()


@record
class ChainSettled:
    """Every block that was processed (``BlockProcessed``) before has had its effect on chain and mempool, if any."""


@record
class BlockRead:
    """Answer to ``ReadBlock``: the serialised block, or None when it cannot be read (pruned, disk error)."""

    peer_id: int
    index: int
    raw: bytes | None


@record
class BlockMatched:
    """Answer to ``MatchBlock``: what the filter wants of the block, or None when it cannot be read."""

    peer_id: int
    index: int
    found: FilteredBlock | None


@record
class ThinMade:
    """Answer to ``MakeThin``; None when the block cannot be read."""

    peer_id: int
    index: int
    made: ThinAnswer | None


class FilterEntry(Interface):
    """A block filter with its hash and its filter header."""

    @property
    def header(self) -> bytes:
        """The 32 bytes that commit to this filter and all before it (BIP157), in internal order."""

    @property
    def hash(self) -> bytes:
        """Double SHA-256 of ``data``, 32 bytes in internal order."""

    @property
    def data(self) -> bytes:
        """The filter as BIP158 encodes it: CompactSize of its elements, then the Golomb-coded set."""


@record
class FiltersRead:
    """Answer to ``ReadFilters``: the filters in the order of ``indices``, or None when one is not there."""

    peer_id: int
    indices: tuple[int, ...]
    filters: tuple[FilterEntry, ...] | None


@record
class SpentRead:
    """Answer to ``ReadSpent``: the coins as ``bspent`` has them behind the block's hash, None: they cannot be read."""

    peer_id: int
    index: int
    coins: bytes | None


@record
class UtreexoRead:
    """Answer to ``ReadUtreexo``: the payload of ``uproof`` or ``uroot``, None: it is not here."""

    peer_id: int
    index: int
    payload: bytes | None


@record
class UtxoSetRead:
    """Answer to ``ReadUtxoSet``: the payload of ``utxotree`` or ``utxoset``, None: it is not here."""

    peer_id: int
    index: int
    payload: bytes | None


class TxOutcome(NamedTuple):
    """What became of one transaction.

    ``result`` is None when it was accepted. ``reason`` is Core's reject reason. ``missing_parents`` are txids, for
    the log. ``replaced`` are the transactions that left the mempool for it.
    """

    txid: bytes
    wtxid: bytes
    result: TxResult | None = None
    reason: str = ""
    missing_parents: tuple[bytes, ...] = ()
    replaced: tuple[Tx, ...] = ()


@record
class TransactionsProcessed:
    """Answer to ``ProcessTransactions`` number ``number``: one outcome for each transaction that was judged.

    A transaction of a package may be without an outcome, when the package failed as a whole. What cannot be judged
    (the node is stopping, a worker died) gets ``TxResult.UNKNOWN``. The mempool shows what was accepted already.
    """

    peer_id: int
    number: int
    results: tuple[TxOutcome, ...]


@record
class TransactionAdded:
    """A transaction is in the mempool otherwise than from a peer and shall be announced to all, perhaps again."""

    txid: bytes
    wtxid: bytes


@record
class TransactionsConfirmed:
    """A block was connected to the active chain outside initial download, oldest first; the mempool knows it."""

    block: ParsedBlock


@record
class TransactionsUnconfirmed:
    """A block was disconnected from the active chain; sent before those that are connected instead."""

    block_hash: bytes


@record
class DnsSeedResult:
    """Answer to ``ResolveSeeds`` for one name; empty when the look-up failed."""

    name: str
    addresses: tuple[NetAddress, ...]


@record
class LocalAddress:
    """An address under which we can be reached (bound, given by the user, or found by NAT traversal)."""

    address: NetAddress
    source: str = "bind"  # "bind" | "user" | "mapped" | "interface"


@record
class LocalAddressGone:
    """We cannot be reached under this address any more."""

    address: NetAddress


@record
class NetworkReachable:
    """A way into a network was found (Tor's proxy); automatic connections may use it now."""

    network: str


Event = (
    PeerConnected
    | TransportReady
    | ConnectFailed
    | PeerDisconnected
    | MessageReceived
    | TransactionsReceived
    | WorkMeasured
    | MalformedMessage
    | SendBufferState
    | PeersPressing
    | PeerTurn
    | Tick
    | BlockProcessed
    | BlockAccepted
    | BlockRejected
    | TipChanged
    | ChainSettled
    | BlockRead
    | BlockMatched
    | ThinMade
    | FiltersRead
    | SpentRead
    | UtreexoRead
    | UtxoSetRead
    | TransactionsProcessed
    | TransactionAdded
    | TransactionsConfirmed
    | TransactionsUnconfirmed
    | DnsSeedResult
    | LocalAddress
    | LocalAddressGone
    | NetworkReachable
)
