"""Filters that light clients load (BIP37, ``--peerbloomfilters``): only what they match is announced to the client.

Faults and their consequences are Bitcoin Core's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.serving.offered_services import offers_bloom
from btcnode.wire.bloom_filter import BloomFilter

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer
    from btcnode.protocol.transactions.tx_relay import TxRelay
    from btcnode.wire.messages import FilterAdd, FilterClear, FilterLoad


class BloomService:
    """filterload, filteradd and filterclear."""

    def __init__(self, ctx: Context, relay: TxRelay) -> None:
        self._ctx = ctx
        self._relay = relay

    def _refused(self, peer: Peer, command: str) -> bool:
        if offers_bloom(self._ctx, peer):
            return False
        self._ctx.disconnect(peer, f"{command} received despite not offering bloom services")
        return True

    def on_load(self, peer: Peer, message: FilterLoad) -> None:
        """Announce what the filter matches from now on, also to who wanted no transactions before."""
        if not self._refused(peer, message.command) and peer.tx is not None:
            peer.tx.filter = BloomFilter(message.data, message.hash_funcs, message.tweak, message.flags)
            self._relay.enable(peer)

    def on_add(self, peer: Peer, message: FilterAdd) -> None:
        """One more element."""
        if self._refused(peer, message.command) or peer.tx is None:
            return
        if peer.tx.filter is not None:
            peer.tx.filter.insert(message.data)
        else:
            self._ctx.punish(peer, Offence.FILTER_ADD)

    def on_clear(self, peer: Peer, message: FilterClear) -> None:
        """Announce everything."""
        if not self._refused(peer, message.command) and peer.tx is not None:
            peer.tx.filter = None
            self._relay.enable(peer)

    def on_malformed(self, peer: Peer, command: str) -> bool:
        """Bytes that are no such message; tells whether the connection is closed because nobody offered the service."""
        return command in ("filterload", "filteradd", "filterclear") and self._refused(peer, command)
