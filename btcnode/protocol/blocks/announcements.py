"""Announcements of blocks, both ways: new tips by headers or inv (BIP130), and what peers announce by inv."""

from __future__ import annotations

from btcnode.primitives.hashes import to_display
from btcnode.primitives.steps import Steps
from btcnode.protocol.agenda import Part
from btcnode.protocol.blocks.block_download import BlockDownload
from btcnode.protocol.blocks.headers_sync import HeaderSync
from btcnode.protocol.connections.floods import Floods
from btcnode.protocol.context import Context
from btcnode.protocol.events import TipChanged
from btcnode.protocol.limits import MAX_BLOCKS_TO_ANNOUNCE, MAX_QUEUED_ANNOUNCEMENTS
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, Peer
from btcnode.protocol.serving.serving import Serving
from btcnode.protocol.transactions.tx_intake import TxIntake, rejects_transactions
from btcnode.wire.constants import MAX_INV_SIZE, MSG_BLOCK, MSG_TX, MSG_WITNESS_TX, MSG_WTX
from btcnode.wire.messages import Headers, Inv, InvItem

ITEMS_IN_STEP = 500  # announcements looked at in a step: some milliseconds


class Announcements:
    """What we tell peers of new blocks, and what their inv messages tell us."""

    def __init__(
        self,
        ctx: Context,
        headers: HeaderSync,
        download: BlockDownload,
        intake: TxIntake,
        serving: Serving,
        floods: Floods,
    ) -> None:
        self._ctx = ctx
        self._headers = headers
        self._download = download
        self._intake = intake
        self._serving = serving
        self._floods = floods
        self._announced = ctx.active.tip

    # -- ours ----------------------------------------------------------------------------------------------------

    def on_tip(self, change: TipChanged) -> None:
        """Queue the new blocks of the active chain for every peer, at most eight; none during initial download."""
        ctx, tree = self._ctx, self._ctx.tree
        before = self._announced
        better = before < 0 or tree.chainwork(change.index) > tree.chainwork(before)
        if not better and tree.best_candidate(change.index) != change.index:
            return  # on the way from one branch to another
        self._announced = change.index
        if ctx.is_initial_block_download():
            return
        fork = tree.find_fork(before, change.index) if before >= 0 else change.index
        news: list[int] = []
        index = change.index
        while index != fork and index >= 0 and len(news) < MAX_BLOCKS_TO_ANNOUNCE:
            news.append(index)
            index = tree.prev(index)
        news.reverse()
        if news:
            for peer in ctx.peers.values():
                queue = peer.serve.announce
                queue += news
                del queue[:-MAX_QUEUED_ANNOUNCEMENTS]

    def flush(self, peer: Peer) -> None:
        """Send what is queued for the peer; it waits while nothing is told to it."""
        serve = peer.serve
        if not peer.role.is_told:
            return
        if serve.announce:
            if not self._by_headers(peer):
                self._by_inv(peer)
            serve.announce.clear()
        while serve.inventory:
            hashes, serve.inventory = serve.inventory[:MAX_INV_SIZE], serve.inventory[MAX_INV_SIZE:]
            self._ctx.send(peer, Inv(tuple(InvItem(MSG_BLOCK, block_hash) for block_hash in hashes)))

    def _by_headers(self, peer: Peer) -> bool:
        """Announce by headers if the peer wants that and they connect to what it has; tells whether inv is spared.

        A single block goes out in compact form to who asked for that.
        """
        ctx, tree, state = self._ctx, self._ctx.tree, peer.headers
        queue = peer.serve.announce
        compact = peer.high_bandwidth_from and len(queue) == 1
        if not (peer.prefers_headers or compact) or len(queue) > MAX_BLOCKS_TO_ANNOUNCE:
            return False
        self._download.update_availability(peer)
        headers: list[bytes] = []
        last = NONE
        for index in queue:
            if not ctx.active.contains(index) or (last != NONE and tree.prev(index) != last):
                return False
            last = index
            if headers:
                headers.append(tree.raw(index))
            elif self._ctx.peer_has(peer, index):
                continue
            elif self._ctx.peer_has(peer, tree.prev(index)):
                headers.append(tree.raw(index))
            else:
                return False
        if len(headers) == 1 and peer.high_bandwidth_from and self._serving.announce_compact(peer, last):
            state.best_sent = last
        elif headers and not peer.prefers_headers:
            return False
        elif headers:
            ctx.send(peer, Headers(tuple(headers)))
            state.best_sent = last
        return True

    def _by_inv(self, peer: Peer) -> None:
        """Announce the newest block only; the peer finds the others by its own means."""
        index = peer.serve.announce[-1]
        if not self._ctx.peer_has(peer, index):
            peer.serve.inventory.append(self._ctx.tree.hash(index))

    # -- theirs --------------------------------------------------------------------------------------------------

    def on_inv(self, peer: Peer, message: Inv) -> Steps[None]:
        """Note announced blocks, ask for the headers of the newest unknown one; hand announced transactions on."""
        ctx, tree = self._ctx, self._ctx.tree
        if len(message) > MAX_INV_SIZE:
            ctx.punish(peer, Offence.INV_TOO_LARGE, str(len(message)))
            return
        rejects_txs = rejects_transactions(ctx, peer)
        newest, has_blocks = b"", False
        for done, (kind, item_hash) in enumerate(message.pairs(self._floods.announcements(peer, len(message)))):
            if done and not done % ITEMS_IN_STEP:
                yield
            if kind == MSG_BLOCK:
                has_blocks = True
                index = tree.find(item_hash)
                if index < 0:
                    peer.headers.last_unknown = item_hash
                    newest = item_hash
                else:
                    self._download.raise_best_known(peer, index)
                    if not tree.has_data(index) and index not in self._download.requests:
                        newest = item_hash
            elif kind in (MSG_WTX if peer.wtxid_relay else MSG_TX, MSG_WITNESS_TX):
                if rejects_txs:
                    ctx.disconnect(peer, f"transaction ({to_display(item_hash)}) inv sent in violation of protocol")
                    return
                self._intake.on_announced(peer, item_hash, kind == MSG_WTX)
        if newest:
            self._headers.on_block_inv(peer, newest)
        if has_blocks:
            ctx.agenda.wake(peer.id, Part.HEADERS | Part.BLOCKS)
            self._headers.tick(peer)
            self._download.request_more(peer)
