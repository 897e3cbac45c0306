"""Every option by name: those of the groups, which a node has, and those that only a command line knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from btcnode.record import record
from btcnode.settings.declaration import Option, options_of
from btcnode.settings.groups.chain import ChainSettings
from btcnode.settings.groups.connections import ConnectionSettings
from btcnode.settings.groups.log import LogSettings
from btcnode.settings.groups.mempool import MempoolSettings
from btcnode.settings.groups.mining import MiningSettings
from btcnode.settings.groups.notifications import NotificationSettings
from btcnode.settings.groups.process import DAEMON, HELP_FLAGS, OF_GUI, WITHOUT_EFFECT, ProcessSettings
from btcnode.settings.groups.proxies import ProxySettings
from btcnode.settings.groups.rpc import RpcSettings
from btcnode.settings.groups.storage import StorageSettings
from btcnode.settings.groups.wallet import WalletSettings

GROUPS: dict[str, tuple[str, type[Any]]] = {
    "chain": ("Chain", ChainSettings),
    "storage": ("Storage", StorageSettings),
    "connections": ("Connections", ConnectionSettings),
    "proxies": ("Proxies and anonymity networks", ProxySettings),
    "mempool": ("Mempool", MempoolSettings),
    "mining": ("Block creation", MiningSettings),
    "wallet": ("Wallets", WalletSettings),
    "rpc": ("RPC server", RpcSettings),
    "notifications": ("Notifications", NotificationSettings),
    "log": ("Log", LogSettings),
    "process": ("Process", ProcessSettings),
}
"""The groups by their name in ``Settings``, with their heading."""

OPTIONS: dict[str, Option] = {item.flag: item for _, group in GROUPS.values() for item in options_of(group).values()}
"""The node's options by flag, in the order of help."""


def grouped() -> Iterator[tuple[str, list[Option]]]:
    """Headings and their options."""
    for heading, group in GROUPS.values():
        yield heading, list(options_of(group).values())


@record
class OptionTable:
    """The options of a program: those that are declared, and names that it takes without a declaration."""

    declared: Mapping[str, Option]
    others: frozenset[str] = frozenset()

    def find(self, flag: str) -> Option | None:
        """The option of this name (without dash, not negated), None for one without a declaration of its own."""
        return self.declared.get(flag)

    def is_known(self, flag: str) -> bool:
        """Whether there is an option of this name."""
        return flag in self.declared or flag in self.others

    def is_network_only(self, flag: str) -> bool:
        """Whether a section must name the option on any network but the main one."""
        found = self.find(flag)
        return found is not None and found.network_only


OF_THE_NODE = OptionTable({**DAEMON, **OPTIONS}, frozenset({*WITHOUT_EFFECT, *HELP_FLAGS, *OF_GUI}))
find, is_known, is_network_only = OF_THE_NODE.find, OF_THE_NODE.is_known, OF_THE_NODE.is_network_only
