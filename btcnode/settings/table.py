"""Every option by name: those of the groups, which a node has, and those that only a command line knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from btcnode.settings.declaration import Option, options_of
from btcnode.settings.groups.chain import ChainSettings
from btcnode.settings.groups.connections import ConnectionSettings
from btcnode.settings.groups.log import LogSettings
from btcnode.settings.groups.mempool import MempoolSettings
from btcnode.settings.groups.mining import MiningSettings
from btcnode.settings.groups.notifications import NotificationSettings
from btcnode.settings.groups.process import DAEMON, HELP_FLAGS, OF_GUI, WALLET, WITHOUT_EFFECT, ProcessSettings
from btcnode.settings.groups.proxies import ProxySettings
from btcnode.settings.groups.rpc import RpcSettings
from btcnode.settings.groups.storage import StorageSettings

GROUPS: dict[str, tuple[str, type[Any]]] = {
    "chain": ("Chain", ChainSettings),
    "storage": ("Storage", StorageSettings),
    "connections": ("Connections", ConnectionSettings),
    "proxies": ("Proxies and anonymity networks", ProxySettings),
    "mempool": ("Mempool", MempoolSettings),
    "mining": ("Block creation", MiningSettings),
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


def find(flag: str) -> Option | None:
    """The option of this name (without dash, not negated), None for one without a declaration of its own."""
    return OPTIONS.get(flag) or DAEMON.get(flag) or WALLET.get(flag)


def is_known(flag: str) -> bool:
    """Whether there is an option of this name."""
    return find(flag) is not None or flag in WITHOUT_EFFECT or flag in HELP_FLAGS | OF_GUI


def is_network_only(flag: str) -> bool:
    """Whether a section must name the option on any network but the main one."""
    found = find(flag)
    return found is not None and found.network_only
