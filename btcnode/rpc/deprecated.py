"""What RPC methods still answer when ``-deprecatedrpc`` asks for it."""

from __future__ import annotations

from typing import Annotated

from btcnode.mempool.entry import MempoolEntry
from btcnode.rpc.declare import Like
from btcnode.rpc.transactions import MAX_REPLACEABLE_SEQUENCE
from btcnode.services.parts import NodeParts


def is_enabled(node: NodeParts, name: str) -> bool:
    """Whether the user wants the deprecated field or method."""
    return name in node.settings.rpc.deprecatedrpc


ShownWarnings = Annotated[list[str] | str, "Warnings", Like(list[Annotated[str, "Warning"]])]


def shown_warnings(node: NodeParts) -> list[str] | str:
    """The warnings that stand; with the deprecated form the last one only, as text."""
    found = list(node.alerts.warnings())
    if is_enabled(node, "warnings"):
        return found[-1] if found else ""
    return found


def signals_replacement(entry: MempoolEntry) -> bool:
    """Whether a transaction says by itself that it may be replaced (BIP125)."""
    return any(sequence <= MAX_REPLACEABLE_SEQUENCE for sequence in entry.tx.sequences)
