"""What the rest of the node reads of the protocol: nothing here changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.connections.peer_info import NO_TRAFFIC, PeerInfo, Traffic, describe

if TYPE_CHECKING:
    from btcnode.protocol.addresses.addresses import AddressGossip
    from btcnode.protocol.addresses.addrman import AddressBook
    from btcnode.protocol.blocks.block_download import BlockDownload
    from btcnode.protocol.blocks.fetch_strategy import FetchStrategy
    from btcnode.protocol.blocks.headers_sync import HeaderRequests, HeaderSync
    from btcnode.protocol.connections.connections import Connections
    from btcnode.protocol.connections.kinds import ConnectionKind
    from btcnode.protocol.connections.peer_score import PeerScore, Scores
    from btcnode.protocol.context import Context
    from btcnode.protocol.serving.serving import Serving
    from btcnode.protocol.serving.upload_budget import UploadBudget
    from btcnode.protocol.transactions.orphanage import OrphanInfo
    from btcnode.protocol.transactions.private_broadcast import PrivateBroadcast, PrivateInfo
    from btcnode.protocol.transactions.tx_intake import TxIntake
    from btcnode.protocol.transactions.tx_relay import TxRelay
    from btcnode.wire.messages import AddrEntry
    from btcnode.wire.netaddr import NetAddress


class Readings:
    """The reading side of ``Protocol``, which makes the parts."""

    _ctx: Context
    _gossip: AddressGossip
    _connections: Connections
    _download: BlockDownload
    _headers: HeaderSync
    _relay: TxRelay
    _intake: TxIntake
    _private: PrivateBroadcast
    _scores: Scores
    _serving: Serving

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
        """Addresses at which we can be reached, with their scores."""
        return dict(self._gossip.local.scores)

    @property
    def reachable_networks(self) -> tuple[str, ...]:
        """Networks that automatic connections may use."""
        return tuple(self._gossip.networks)

    @property
    def fetching(self) -> FetchStrategy:
        """How blocks are asked for, and what came of it; for reading."""
        return self._download.strategy

    @property
    def header_requests(self) -> HeaderRequests:
        """How headers were asked for, and what came of it; for reading."""
        return self._headers.requests

    def block_queue(self) -> tuple[int, int, int]:
        """Blocks asked for and not there, blocks in validation, and the bytes of those."""
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
        """Every established peer's score and what it is made of."""
        return {peer.id: self._scores.describe(peer) for peer in self._ctx.established()}

    @property
    def upload(self) -> UploadBudget:
        """The day's upload target; for reading."""
        return self._serving.upload

    def score_weights(self) -> tuple[float, ...]:
        """The weights that scores are made with."""
        return self._scores.weights

    def presync_height(self) -> int:
        """Highest header that a low-work synchronisation has reached, -1 when none is under way."""
        return max((p.headers.presync_height for p in self._ctx.peers.values()), default=-1)

    def median_time_offset(self) -> int:
        """Median of the clock differences that outbound peers showed, in seconds; only a warning depends on it."""
        return self._ctx.time_offsets.median()

    def why_no_fetch(self, peer_id: int, index: int) -> str | None:
        """Why a block cannot be asked of a peer, in Core's words; None when it can."""
        peer = self._ctx.peers.get(peer_id)
        if peer is None or peer.disconnecting:
            return "Peer does not exist"
        if not peer.established:
            return "Peer not fully connected"
        if not peer.serves_witnesses:
            return "Pre-SegWit peer"
        return "Already requested from this peer" if index in peer.blocks.in_flight else None
