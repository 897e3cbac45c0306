"""What RPC methods still answer when ``-deprecatedrpc`` asks for it."""

from __future__ import annotations

from typing import Any

from btcnode.mempool.entry import MempoolEntry
from btcnode.rpc.context import NodeApi
from btcnode.rpc.transactions import MAX_REPLACEABLE_SEQUENCE


def is_enabled(node: NodeApi, name: str) -> bool:
    """Whether the user wants the deprecated field or method."""
    return name in node.config.deprecatedrpc


def shown_warnings(node: NodeApi) -> list[str] | str:
    """The warnings that stand; with the deprecated form the last one only, as text."""
    found = list(node.warnings())
    if is_enabled(node, "warnings"):
        return found[-1] if found else ""
    return found


def _signals(entry: MempoolEntry) -> bool:
    return any(sequence <= MAX_REPLACEABLE_SEQUENCE for sequence in entry.tx.sequences)


def replaceability(node: NodeApi, entry: MempoolEntry) -> dict[str, Any]:
    """The field of BIP125: whether the transaction or an unconfirmed ancestor signals that it may be replaced."""
    if not is_enabled(node, "bip125"):
        return {}
    return {"bip125-replaceable": _signals(entry) or any(map(_signals, node.mempool.ancestors(entry)))}
