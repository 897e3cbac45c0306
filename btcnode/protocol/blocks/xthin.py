"""Thin blocks (BUIP010, XTHIN), both ways: docs/relay.md says what goes over the wire.

The asker tells what it has by a bloom filter, so that what it lacks comes with the block. Cheap hashes are no secret to
a sender of transactions, who may make two with the same one on purpose: such a transaction, or the block, is asked for
again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from btcnode.protocol.blocks.thin_block import ThinBlock
from btcnode.protocol.chronicle import XTHIN
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import MAX_XTHIN_FILTER_ELEMENTS
from btcnode.protocol.misbehaviour import Offence
from btcnode.wire.bloom_filter import make_filter
from btcnode.wire.constants import NODE_XTHIN
from btcnode.wire.messages import GetXBlockTx, GetXThin, XBlockTx, XThinBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from btcnode.primitives.steps import Steps
    from btcnode.protocol.blocks.block_download import BlockDownload
    from btcnode.protocol.chain_view import TxSource
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer
    from btcnode.protocol.serving.serving import Serving
    from btcnode.wire.registry import Sealed


class ThinRelay:
    """Requests for thin blocks, and answers to those of others."""

    def __init__(
        self,
        ctx: Context,
        download: BlockDownload,
        source: TxSource,
        spare: Callable[[], Mapping[bytes, bytes]],
        serving: Serving,
    ) -> None:
        self._ctx = ctx
        self._download = download
        self._source = source
        self._spare = spare
        self._serving = serving

    @property
    def _offered(self) -> bool:
        return bool(self._ctx.config.services & NODE_XTHIN)

    # -- asking --------------------------------------------------------------------------------------------------

    def ask(self, peer: Peer, index: int) -> None:
        """Ask for a new block in thin form; the filter has the best of the mempool, or all if that is not more."""
        pool = self._source.by_wtxid()
        known: Collection[bytes] = pool
        if len(pool) > MAX_XTHIN_FILTER_ELEMENTS:
            known = [entry.wtxid for entry in self._source.best(MAX_XTHIN_FILTER_ELEMENTS)]
        tweak = self._ctx.rng.getrandbits(32)
        data, funcs = make_filter(known, tweak)
        self._download.requests.register(peer, index)
        peer.blocks.partial[index] = ThinBlock()
        self._ctx.send(peer, GetXThin(self._ctx.tree.hash(index), data, funcs, tweak))

    def on_thin_block(self, peer: Peer, sealed: XThinBlock | Sealed[XThinBlock]) -> Steps[None]:
        """The answer to ``ask``; what was not asked for is not decoded."""
        index = self._ctx.tree.find(sealed.hash)
        thin = self._awaited(peer, index)
        if thin is None or thin.header:
            self._ctx.log_peer(peer, LogLevel.DEBUG, "thin block that was not asked for", "cmpctblock")
            return
        self._ctx.excuse(peer)
        message = yield from sealed.opened()
        if self._awaited(peer, index) is not thin:
            return  # the block came from another peer meanwhile
        if not message.cheap_hashes:
            self._refuse(peer, index, "thin block without transactions")
            return
        if not thin.begin(message):
            peer.blocks.partial[index] = None
            self._download.requests.ask_in_full(peer, index)
            return
        if not thin.put(message.transactions):
            self._refuse(peer, index, "transaction that is not in the thin block")
            return
        candidates = {w: raw for w, raw in self._spare().items() if thin.has(w)}
        candidates |= {w: entry.tx.raw for w, entry in self._source.by_wtxid().items() if thin.has(w)}
        thin.collect(candidates)
        missing = thin.missing()
        text = f"thin block of {len(message.cheap_hashes)} transactions: {len(message.transactions)} with it"
        self._ctx.log_peer(peer, LogLevel.DEBUG, f"{text}, {len(missing)} missing", "cmpctblock")
        if missing:
            self._ctx.send(peer, GetXBlockTx(message.hash, missing))
        else:
            self._download.deliver(peer, index, thin.raw(), XTHIN, 0)

    def on_block_tx(self, peer: Peer, sealed: XBlockTx | Sealed[XBlockTx]) -> Steps[None]:
        """The transactions that were missing."""
        index = self._ctx.tree.find(sealed.block_hash)
        thin = self._awaited(peer, index)
        if thin is None or not thin.header:
            self._ctx.log_peer(peer, LogLevel.DEBUG, "thin block's transactions not asked for", "cmpctblock")
            return
        self._ctx.excuse(peer)
        message = yield from sealed.opened()
        if self._awaited(peer, index) is not thin:
            return
        if not thin.put(message.transactions) or thin.missing():
            self._refuse(peer, index, "not the transactions that were asked for")
        else:
            self._download.deliver(peer, index, thin.raw(), XTHIN, len(message.transactions))

    @staticmethod
    def _awaited(peer: Peer, index: int) -> ThinBlock | None:
        """The block as far as it has come in thin form, if the peer was asked for it."""
        thin = peer.blocks.partial.get(index)
        return thin if isinstance(thin, ThinBlock) and index in peer.blocks.in_flight else None

    def _refuse(self, peer: Peer, index: int, text: str) -> None:
        self._download.requests.cancel(peer, index)
        self._ctx.punish(peer, Offence.XTHIN_INVALID, text)

    # -- answering -----------------------------------------------------------------------------------------------

    def on_request(self, peer: Peer, message: GetXThin | GetXBlockTx) -> None:
        """Send a block near the tip in thin form, or single transactions of one."""
        if self._offered:
            self._serving.answer_thin(peer, message)
        else:
            self._ctx.punish(peer, Offence.XTHIN_UNSUPPORTED, message.command)
