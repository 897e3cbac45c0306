"""The methods describe themselves."""

from __future__ import annotations

from typing import Annotated, Any

from btcnode.rpc.declare import rpc
from btcnode.rpc.method import Method
from btcnode.rpc.openrpc import document
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control


def table_methods(table: MethodTable) -> list[Method]:
    """The method that describes all the others."""

    @rpc("hidden", own=True, in_warmup=True)
    def getopenrpcinfo(control: Control) -> dict[str, Annotated[Any, "As OpenRPC says"]]:
        """The methods of this node as an OpenRPC document."""
        return document(table.methods.values())

    return [getopenrpcinfo]
