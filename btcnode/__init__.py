"""btcnode: a Bitcoin full node in Python."""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any

    from btcnode.embed.events import NewTip, NewTransaction, PeerCame, PeerLeft, Reorganisation
    from btcnode.embed.node import Node
    from btcnode.rpc.typed import NodeClient

__version__ = "0.1.0"
__all__ = ["NewTip", "NewTransaction", "Node", "NodeClient", "PeerCame", "PeerLeft", "Reorganisation", "__version__"]


def __getattr__(name: str) -> Any:
    """What programs use of this package, imported when it is asked for: the command line starts without it."""
    if name == "Node":
        from btcnode.embed.node import Node

        return Node
    if name == "NodeClient":
        from btcnode.rpc.typed import NodeClient

        return NodeClient
    if name in __all__:
        from btcnode.embed import events

        return getattr(events, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
