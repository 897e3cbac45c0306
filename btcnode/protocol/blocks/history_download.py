"""Downloading the blocks below a loaded UTXO set, beside those of the active chain and after them."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.protocol.blocks.block_download import BlockDownload
from btcnode.protocol.limits import BLOCK_DOWNLOAD_WINDOW, MAX_BLOCKS_IN_TRANSIT_PER_PEER
from btcnode.protocol.peer import Peer


class HistoryDownload(BlockDownload):
    """The block download, which also asks for what the chain view's ``history`` lacks."""

    def request_more(self, peer: Peer) -> None:
        """As the base; requests that are left over go to blocks below the loaded set, as in Core."""
        super().request_more(peer)
        span = self._ctx.chain.history
        if span is not None and not peer.disconnecting and peer.serves_blocks and not peer.is_limited:
            room = min(MAX_BLOCKS_IN_TRANSIT_PER_PEER, self.strategy.limit(peer.id)) - len(peer.blocks.in_flight)
            if room > 0 and self.has_room() and not peer.pauses:
                self.ask(peer, self._missing(peer, span, room))

    def _missing(self, peer: Peer, span: tuple[int, int], count: int) -> list[int]:
        """Blocks above the chain that is validated, up to the set's, that nobody was asked for."""
        ctx, tree = self._ctx, self._ctx.tree
        tip, base = span
        self.update_availability(peer)
        if not ctx.has_header(base, peer.headers.best_known):
            return []
        first = tree.height(tree.find_fork(tip, base)) + 1
        path: Sequence[int] = ctx.active.span(first, min(tree.height(base), first + BLOCK_DOWNLOAD_WINDOW))
        wanted: list[int] = []
        for index in path:
            if tree.has_data(index) or index in self.requests or self.is_validating(index):
                continue
            if index not in peer.blocks.missing and index not in peer.blocks.late:
                wanted.append(index)
                if len(wanted) == count:
                    break
        return wanted
