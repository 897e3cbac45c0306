"""What the user wants: inputs of ``Protocol.step`` that come from RPC, options and the node's own limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.record import record

if TYPE_CHECKING:
    from btcnode.primitives.tx import Tx
    from btcnode.protocol.connections.kinds import ConnectionKind
    from btcnode.wire.messages import UtxoTree
    from btcnode.wire.subnet import SubNet


@record
class BroadcastPrivately:
    """The user's transaction shall reach the network over short-lived connections; it was checked, not accepted."""

    tx: Tx


@record
class AbortPrivateBroadcast:
    """Give up the private broadcast of the transaction with this txid or wtxid."""

    tx_hash: bytes


@record
class AddNode:
    """The user's ``addnode``: ``target`` is ``host``, ``host:port`` or ``[v6]:port`` as typed.

    ``v2``: whether to begin with version 2 of the transport, None for whether we offer it.

    ``command`` is ``add``, ``remove`` or ``onetry``. Whether adding twice or removing the unknown is an error is
    the caller's to check with ``Protocol.added_nodes``.
    """

    target: str
    command: str
    v2: bool | None = None


@record
class DisconnectNode:
    """The user closes a connection."""

    peer_id: int


@record
class AddConnection:
    """A test opens an automatic connection to ``target`` by hand; ``v2`` as in ``AddNode``."""

    target: str
    kind: ConnectionKind
    v2: bool


@record
class SetBan:
    """The user bans a range from ``created`` until ``until`` (Unix seconds): its peers are disconnected."""

    subnet: SubNet
    created: int
    until: int


@record
class LiftBan:
    """The user lifts the ban of exactly this range, or (None) all bans."""

    subnet: SubNet | None


@record
class SetNetworkActive:
    """The user switches all networking off or on."""

    active: bool


@record
class FetchBlock:
    """The user wants the block at a tree index from this peer, whoever has been asked for it before."""

    peer_id: int
    index: int


@record
class ForwardTimers:
    """Tests let the slow timers (announcing own transactions again, saving addresses) run ahead by ``seconds``."""

    seconds: int


@record
class ValidationLimit:
    """Blocks that wait for validation may take ``limit`` bytes from now on: memory is short, or not any more."""

    limit: int


@record
class FetchBlocks:
    """Other blocks are wanted than before (a sync without lookups has begun or ended): ask peers now, not at a tick."""


@record
class FetchSpent:
    """Ask peers for the coins that these blocks spend, by header index; each is answered by one ``TakeSpent``."""

    indices: tuple[int, ...]


@record
class DropSpent:
    """No spent coins are wanted any more."""


@record
class SpentJudged:
    """The coins that a peer told (``TakeSpent``) do not go together with their block; ``reason`` for the log."""

    peer_id: int
    index: int
    reason: str


@record
class ProofsKept:
    """The Utreexo proofs of these blocks, by header index, are here: the blocks may be asked for.

    ``peer_id`` has told them, -1 for those of an earlier run.
    """

    indices: tuple[int, ...]
    peer_id: int = -1


@record
class ProofRefused:
    """A block could not be connected by its proof, and its data is not here now; ``reason`` for the log.

    ``forged``: the proof is at fault, not that there is none. ``peer_id`` has told the one that was tried, which need
    not be the one that is here now; -1 where nobody knows.
    """

    index: int
    reason: str
    forged: bool
    peer_id: int = -1


@record
class FetchUtxoSet:
    """The UTXO set after a block is wanted: ask peers for the hashes of its chunks; answered by ``TakeUtxoTree``.

    ``root`` of the tree over them, None when it is not known: then peers have to agree.
    """

    block_hash: bytes
    root: bytes | None


@record
class FetchUtxoChunks:
    """The hashes of the set's chunks are known: ask for these chunks; each is answered by one ``TakeUtxoChunk``."""

    tree: UtxoTree
    chunks: tuple[int, ...]


@record
class UtxoChunkJudged:
    """What became of a chunk that a peer told: it is on disk, or ``wrong``, else it is wanted again."""

    peer_id: int
    chunk: int
    stored: bool
    wrong: bool = False


@record
class DropUtxoSet:
    """No UTXO set is wanted any more."""


@record
class PingPeers:
    """The user's ``ping``: measure every peer's latency soon."""


Command = (
    BroadcastPrivately
    | AbortPrivateBroadcast
    | AddNode
    | AddConnection
    | DisconnectNode
    | SetBan
    | LiftBan
    | SetNetworkActive
    | FetchBlock
    | ForwardTimers
    | FetchBlocks
    | FetchSpent
    | DropSpent
    | SpentJudged
    | ProofsKept
    | ProofRefused
    | FetchUtxoSet
    | FetchUtxoChunks
    | UtxoChunkJudged
    | DropUtxoSet
    | PingPeers
    | ValidationLimit
)
