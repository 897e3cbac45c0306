"""Which services a peer is offered: light clients that the user favours may load filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.settings.permissions import Permission
from btcnode.wire.constants import NODE_BLOOM

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer


def services_for(ctx: Context, peer: Peer) -> int:
    """The services (bits) that we offer to this peer; BIP111's for filters also by permission."""
    favoured = peer.inbound and peer.permissions & Permission.BLOOM_FILTER
    return ctx.config.services | (NODE_BLOOM if favoured else 0)


def offers_bloom(ctx: Context, peer: Peer) -> bool:
    """Whether the peer may load a filter."""
    return bool(services_for(ctx, peer) & NODE_BLOOM)
