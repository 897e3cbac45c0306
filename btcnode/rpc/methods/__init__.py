"""The methods, by subject; ``make_table`` puts them side by side."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import cast

from btcnode.rpc.method import Method
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control

# in the order in which they are loaded when a method is asked for: first what others ask a node first
SUBJECTS = (
    "control",
    "chain",
    "net",
    "mempool",
    "mining",
    "blocks",
    "util",
    "rawtransactions",
    "mempool_submit",
    "addresses",
    "bans",
    "blockstats",
    "chainstate",
    "descriptors",
    "fees",
    "indexes",
    "mining_template",
    "psbt",
    "psbt_decode",
    "relay",
    "scan",
    "scanblocks",
    "scripts",
    "snapshots",
    "swiftsync",
    "sync",
    "txoutproof",
    "utreexo",
    "utxostats",
    "zmq",
)
OF_WALLETS = (
    "wallet_addresses",
    "wallet_bump",
    "wallet_coins",
    "wallet_descriptors",
    "wallet_encryption",
    "wallet_files",
    "wallet_fund",
    "wallet_history",
    "wallet_rescan",
    "wallet_send",
)


def _declared(subject: str) -> list[Method]:
    """The methods of one module, imported for them."""
    module = import_module(f"{__name__}.{subject}")
    return [value for value in vars(module).values() if isinstance(value, Method)]


def _about(table: MethodTable) -> list[Method]:
    """The methods that speak of the table itself."""
    from btcnode.rpc.methods import control, openrpc

    return [*control.table_methods(table), *openrpc.table_methods(table)]


def make_table(process: Control, *, check_results: bool = False, wallets: bool = True) -> MethodTable:
    """A table of all methods, which answers more once it is opened with a node's parts; without ``wallets`` none of
    theirs.

    A subject is imported when one of its methods is asked for, or with ``load_more``.
    """
    subjects = (*SUBJECTS, *OF_WALLETS) if wallets else SUBJECTS
    table = MethodTable(process, [partial(_declared, subject) for subject in subjects], check_results=check_results)
    table.add_source(partial(_about, table))
    return table


def every_method() -> list[Method]:
    """Every declared method, those about the table too: for descriptions, as the handlers have no node."""
    return list(make_table(cast(Control, None)).methods.values())
