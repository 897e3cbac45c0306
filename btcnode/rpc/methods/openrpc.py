"""The methods describe themselves."""

from __future__ import annotations

from typing import Any

from btcnode.rpc.openrpc import document
from btcnode.rpc.spec import Method, ellipsis, obj, rpc
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control


def table_methods(table: MethodTable) -> list[Method]:
    """The method that describes all the others."""

    @rpc("hidden", "The methods of this node as an OpenRPC document.", returns=obj("", "", ellipsis()), in_warmup=True)
    def getopenrpcinfo(control: Control) -> dict[str, Any]:
        """See the declaration."""
        return document(table.methods.values())

    return [getopenrpcinfo]
