"""Everything the protocol can ask for: what ``Protocol.step`` returns, to be executed in order.

An effect names a peer by the reactor's ``peer_id``. A peer that is gone meanwhile makes the effect void, never an
error. Effects with an answer say which input that is; the answer must come, success or not, because the number of
open questions is the protocol's back-pressure.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from btcnode.record import record

if TYPE_CHECKING:
    from btcnode.chain.standing import Standing
    from btcnode.consensus.known_txs import JudgedTx
    from btcnode.primitives.block import ParsedBlock
    from btcnode.primitives.tx import Tx
    from btcnode.protocol.connections.kinds import ConnectionKind
    from btcnode.wire.bloom_filter import BloomFilter
    from btcnode.wire.codec import Message
    from btcnode.wire.messages import (
        GetUtreexoProof,
        GetUtreexoRoot,
        GetUtxoSet,
        GetUtxoTree,
        GetXBlockTx,
        GetXThin,
        UtxoTree,
    )
    from btcnode.wire.netaddr import NetAddress


@record
class Send:
    """Encode ``message`` and append it to the peer's send buffer.

    ``droppable``: news that need not be sent any more when they had to wait too long.
    """

    peer_id: int
    message: Message
    droppable: bool = False


@record
class SendRaw:
    """Append a message whose payload is ready as bytes (blocks and transactions)."""

    peer_id: int
    command: str
    payload: bytes


@record
class Disconnect:
    """Close the connection once what was sent before is flushed (at most a second), then ``PeerDisconnected``.

    ``discourage`` tells that the address was put on the list of the discouraged (the list is the protocol's); it is
    here for the log and for tests.
    """

    peer_id: int
    reason: str
    discourage: bool = False


@record
class Connect:
    """Open a connection; answered by ``PeerConnected`` or ``ConnectFailed`` with the same ``attempt``.

    ``target`` is an address, or text as the user typed it (``host``, ``host:port``, ``[v6]:port``; the default port
    is the network's), which the reactor resolves. ``v2``: begin with version 2 of the transport (BIP324).
    """

    attempt: int
    target: NetAddress | str
    kind: ConnectionKind
    v2: bool = False


@record
class SetReceiving:
    """Stop (False) or resume (True) taking messages from the peer: its unread bytes wait in the kernel.

    After False at most the messages already handed over arrive; the reactor keeps decoded ones back.
    """

    peer_id: int
    enabled: bool


@record
class Excuse:
    """Of what is done at this moment for the peer we asked for this ``share``: that time is not to be charged."""

    peer_id: int
    share: float = 1.0


@record
class ProcessBlock:
    """Check and store a block whose header is in the tree, then activate the best chain.

    Answered by ``BlockProcessed``; what connecting it does is told by ``TipChanged`` or ``BlockRejected``.
    ``raw`` is the whole serialised block. ``requested``: we asked for it (Core's ``fRequested``). ``standing``: what
    the peer has earned. ``known``: by place in the block the mempool's transactions that it was put together of.
    """

    peer_id: int
    index: int
    raw: bytes
    requested: bool
    standing: Standing
    known: tuple[JudgedTx | None, ...] = ()


@record
class DistrustBlocks:
    """The peer that brought these blocks, by header index, has brought a bad one: others are judged before them."""

    indices: tuple[int, ...]


@record
class ProcessTransactions:
    """Check transactions and take them into the mempool; answered by ``TransactionsProcessed`` with this ``number``.

    One transaction, or with ``package`` a parent and its child. Of what one effect after another asks for, parents
    come before children. ``test``: only tell whether it would be accepted. ``peer_id`` is -1 for our own.
    """

    peer_id: int
    number: int
    txs: tuple[Tx, ...]
    package: bool = False
    test: bool = False


@record
class WithdrawTransactions:
    """The peer is gone: what nobody has begun to check of these ``ProcessTransactions`` need not be checked.

    Each is answered all the same, as not judged.
    """

    numbers: tuple[int, ...]


@record
class ReadBlock:
    """Read a stored block to serve it; answered by ``BlockRead``.

    With ``witness`` False the answer's transactions are stripped of their witnesses (BIP144 peers never ask so).
    At most one is open for each peer.
    """

    peer_id: int
    index: int
    witness: bool = True


@record
class MatchBlock:
    """Read a stored block and match it with a client's filter; answered by ``BlockMatched``.

    ``filter`` is a copy. At most one of these and ``ReadBlock`` is open for each peer.
    """

    peer_id: int
    index: int
    filter: BloomFilter


@record
class MakeThin:
    """Make the answer to a request for a thin block or for parts of one; answered by ``ThinMade``.

    ``block``: where it is here already, else it has to be read. At most one of these, ``ReadBlock`` and ``MatchBlock``
    is open for each peer.
    """

    peer_id: int
    index: int
    request: GetXThin | GetXBlockTx
    block: ParsedBlock | None


@record
class ReadFilters:
    """Read the block filters of these headers; answered by ``FiltersRead``. At most one is open for each peer.

    ``data``: the filters too, not their hashes only.
    """

    peer_id: int
    indices: tuple[int, ...]
    data: bool = True


@record
class ReadSpent:
    """Read the coins that a block spends, those of blocks below ``cutoff`` only unless that is 0, to serve them.

    Answered by ``SpentRead``. At most one is open for each peer.
    """

    peer_id: int
    index: int
    cutoff: int


@record
class ReadUtreexo:
    """Read the Utreexo proof of a block or the roots after it, to serve them: the payload of the answer.

    Answered by ``UtreexoRead``. At most one is open for each peer.
    """

    peer_id: int
    index: int
    request: GetUtreexoProof | GetUtreexoRoot


@record
class ReadUtxoSet:
    """Read the hashes of the chunks of the UTXO set after a block, or one chunk, to serve them: the whole payload.

    Answered by ``UtxoSetRead``. At most one is open for each peer.
    """

    peer_id: int
    index: int
    request: GetUtxoTree | GetUtxoSet


@record
class TakeUtxoTree:
    """The hashes of the chunks of the UTXO set that is wanted (``FetchUtxoSet``): they lead to the known root.

    Without one, several peers told the same. Answered by ``FetchUtxoChunks``, unless the set is given up.
    """

    peer_id: int
    tree: UtxoTree


@record
class TakeUtxoChunk:
    """A peer told a chunk that it was asked for; nothing of it is checked. Answered by ``UtxoChunkJudged``."""

    peer_id: int
    chunk: int
    data: bytes


@record
class TakeSpent:
    """A peer told the coins that a block spends, as they were asked for (``FetchSpent``); nothing of them is checked.

    ``coins`` are the bytes behind the block's hash. What is wrong with them is told by ``SpentJudged``.
    """

    peer_id: int
    index: int
    coins: bytes


@record
class KeepProof:
    """A peer told the Utreexo proof of a block, as it was asked for: keep it until the block is connected.

    ``proof`` are the bytes behind the block's hash, of which nothing is checked. Answered by ``ProofsKept``.
    """

    peer_id: int
    index: int
    proof: bytes


@record
class AskForTurn:
    """There is more to do for the peer: ``PeerTurn`` shall come once when its turn has come among all peers.

    So what nobody may do in one go (matching a mempool, a queue of requests) is cut in pieces, in fair order.
    ``first``: before the peer's next message is handed over; else the two take turns.
    """

    peer_id: int
    first: bool = False


@record
class ResolveSeeds:
    """Look these DNS seeds up; each is answered by one ``DnsSeedResult``. Names carry the service-bits prefix."""

    names: tuple[str, ...]


@record
class AddressBookDirty:
    """The address book changed enough to be saved: take ``Protocol.address_book.serialize()`` when convenient."""


class LogLevel(Enum):
    """Severity of a ``Log`` effect."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@record
class Log:
    """One line for the log; ``category`` as Core names them (``net``, ``validation``, ``addrman``).

    Lines that peers can provoke are rate limited by the protocol already.
    """

    level: LogLevel
    category: str
    text: str


@record
class Audit:
    """A record for the audit log: what a peer did and what followed; JSON values only."""

    record: dict[str, Any]


Effect = (
    Send
    | SendRaw
    | Disconnect
    | Connect
    | SetReceiving
    | Excuse
    | ProcessBlock
    | DistrustBlocks
    | ProcessTransactions
    | WithdrawTransactions
    | ReadBlock
    | MatchBlock
    | MakeThin
    | ReadFilters
    | ReadSpent
    | ReadUtreexo
    | ReadUtxoSet
    | TakeUtxoTree
    | TakeUtxoChunk
    | TakeSpent
    | KeepProof
    | AskForTurn
    | ResolveSeeds
    | AddressBookDirty
    | Audit
    | Log
)
