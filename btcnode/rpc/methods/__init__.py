"""The methods, by subject; ``make_table`` puts them side by side."""

from __future__ import annotations

from typing import cast

from btcnode.rpc.method import Method
from btcnode.rpc.methods import (
    addresses,
    bans,
    blocks,
    blockstats,
    chain,
    chainstate,
    control,
    descriptors,
    fees,
    indexes,
    mempool,
    mempool_submit,
    mining,
    mining_template,
    net,
    openrpc,
    psbt,
    psbt_decode,
    rawtransactions,
    relay,
    scan,
    scanblocks,
    scripts,
    snapshots,
    swiftsync,
    sync,
    txoutproof,
    util,
    utxostats,
    zmq,
)
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control


def all_methods() -> list[Method]:
    """Every declared method but those that speak of the table itself."""
    modules = (
        addresses,
        bans,
        blocks,
        blockstats,
        chain,
        chainstate,
        control,
        descriptors,
        fees,
        indexes,
        mempool,
        mempool_submit,
        mining,
        mining_template,
        net,
        psbt,
        psbt_decode,
        rawtransactions,
        relay,
        scan,
        scanblocks,
        scripts,
        snapshots,
        swiftsync,
        sync,
        txoutproof,
        util,
        utxostats,
        zmq,
    )
    return [value for module in modules for value in vars(module).values() if isinstance(value, Method)]


def make_table(process: Control, *, check_results: bool = False) -> MethodTable:
    """A table with all methods, which answers more once it is opened with a node's parts."""
    table = MethodTable(process, all_methods(), check_results=check_results)
    for method in (*control.table_methods(table), *openrpc.table_methods(table)):
        table.add(method)
    return table


def every_method() -> list[Method]:
    """Every declared method, those about the table too: for descriptions, as the handlers have no node."""
    return list(make_table(cast(Control, None)).methods.values())
