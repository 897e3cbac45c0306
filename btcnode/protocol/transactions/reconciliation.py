"""The handshake of transaction reconciliation (BIP330, ``--txreconciliation``), as far as Bitcoin Core 31 goes.

Both sides say between version and verack that they can reconcile, each with half of the salt of the short ids.
Nothing follows from that yet: transactions are announced by inv.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.transactions.tx_intake import rejects_transactions
from btcnode.wire.constants import WTXID_RELAY_VERSION
from btcnode.wire.messages import SendTxRcncl

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer

VERSION = 1
_TAG = sha256(b"Tx Relay Salting").digest()


def short_id_key(ours: int, theirs: int) -> bytes:
    """The SipHash key (16 bytes) that two salts make, whoever's they are."""
    low, high = sorted((ours, theirs))
    return sha256(_TAG + _TAG + low.to_bytes(8, "little") + high.to_bytes(8, "little")).digest()[:16]


class Reconciliation:
    """Peers that reconciliation was offered to (our salt), and those that can (the key of the short ids)."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._offered: dict[int, int] = {}
        self.registered: dict[int, bytes] = {}

    def _log(self, text: str) -> None:
        self._ctx.log(LogLevel.DEBUG, "txreconciliation", text)

    def offer(self, peer: Peer) -> None:
        """The peer's version came: offer it, unless one of us wants no transactions."""
        ctx = self._ctx
        if not (ctx.config.tx_reconciliation and ctx.config.tx_relay) or peer.common_version < WTXID_RELAY_VERSION:
            return
        if not peer.relay or peer.kind is ConnectionKind.ADDR_FETCH:
            return
        self._log(f"Pre-register peer={peer.id}")
        self._offered[peer.id] = salt = ctx.rng.getrandbits(64)
        ctx.send(peer, SendTxRcncl(VERSION, salt))

    def on_offer(self, peer: Peer, message: SendTxRcncl) -> None:
        """The peer can reconcile; an offer at the wrong time, or twice, ends the connection."""
        ctx, problem = self._ctx, ""
        if not ctx.config.tx_reconciliation:
            text = f"sendtxrcncl from peer={peer.id} ignored, as our node does not have txreconciliation enabled"
            ctx.log(LogLevel.DEBUG, "net", text)
        elif not peer.role.negotiates:
            problem = "sendtxrcncl received after verack"
        elif rejects_transactions(ctx, peer):
            problem = "sendtxrcncl received to which we indicated no tx relay"
        elif not peer.relay:
            problem = "sendtxrcncl received which indicated no tx relay to us"
        elif peer.id in self.registered:
            problem = "txreconciliation protocol violation (sendtxrcncl received from already registered peer)"
        elif peer.id not in self._offered:
            ctx.log(LogLevel.DEBUG, "net", f"Ignore unexpected txreconciliation signal from peer={peer.id}")
        elif message.version < VERSION:
            problem = "txreconciliation protocol violation"
        else:
            self._log(f"Register peer={peer.id} (inbound={int(peer.inbound)})")
            self.registered[peer.id] = short_id_key(self._offered.pop(peer.id), message.salt)
        if problem:
            ctx.disconnect(peer, problem)

    def on_verack(self, peer: Peer) -> None:
        """The handshake is complete: only who also announces by wtxid can reconcile."""
        if not peer.wtxid_relay or peer.id not in self.registered:
            self.forget(peer)

    def forget(self, peer: Peer) -> None:
        """Nothing is kept of the peer."""
        known = self._offered.pop(peer.id, None) is not None
        known = self.registered.pop(peer.id, None) is not None or known
        if known:
            self._log(f"Forget txreconciliation state of peer={peer.id}")
