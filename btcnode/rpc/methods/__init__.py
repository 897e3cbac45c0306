"""The methods, by subject; ``make_table`` puts them side by side."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import cast

from btcnode.rpc.method import Method
from btcnode.rpc.methods.subject_table import SUBJECT_OF
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control

# in the order in which they are loaded when nobody has asked for their methods: first what others ask a node first
SUBJECTS = (
    "control",
    "active_chain",
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


ABOUT = "about"  # the table itself: no module


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
    table = MethodTable(
        process,
        {subject: partial(_declared, subject) for subject in subjects},
        subject_of=SUBJECT_OF,
        check_results=check_results,
    )
    table.add_source(ABOUT, partial(_about, table))
    return table


def by_subject() -> dict[str, list[str]]:
    """The names of every subject's methods, for the table from which ``SUBJECT_OF`` comes."""
    found = {subject: [method.name for method in _declared(subject)] for subject in (*SUBJECTS, *OF_WALLETS)}
    return found | {ABOUT: [method.name for method in _about(make_table(cast(Control, None)))]}


def every_method() -> list[Method]:
    """Every declared method, those about the table too: for descriptions, as the handlers have no node."""
    return list(make_table(cast(Control, None)).methods.values())
