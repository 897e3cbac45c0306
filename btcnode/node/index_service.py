"""The optional indexes for the RPC methods."""

from __future__ import annotations

from btcnode.node.filter_service import FilterService


class IndexService:
    """``IndexApi`` over the indexes that this node keeps."""

    def __init__(self, filters: FilterService | None) -> None:
        self.filter_index = filters
