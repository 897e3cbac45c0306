"""What a node needs of the machine: file descriptors for its connections, room on the disk."""

from __future__ import annotations

import logging
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

from btcnode.errors import ConfigError, StorageError
from btcnode.settings.settings import Settings

OWN_DESCRIPTORS = 151  # files, database, pipes to workers, RPC clients
MANUAL_CONNECTIONS = 8  # of -addnode
MIN_FREE_BYTES = 50 << 20  # below this the node stops while it still can write all it has
DISK_INTERVAL = 300.0  # seconds
CHAIN_GB = {"mainnet": 856, "testnet3": 245, "testnet4": 31, "signet": 24}  # blocks and undo data, early 2026

log = logging.getLogger("btcnode.node")


def raise_descriptor_limit(wanted: int) -> int:
    """Have the system allow ``wanted`` open files, as far as it lets us; returns how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if new > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
            soft = new
    return wanted if soft == resource.RLIM_INFINITY else soft


def fit_connections(settings: Settings) -> tuple[Settings, str | None]:
    """The options with as many connections as there are file descriptors for, and what the user is warned of.

    Raises ConfigError when they do not suffice for anything.
    """
    needed = (
        OWN_DESCRIPTORS
        + MANUAL_CONNECTIONS
        + max(1, len(settings.connections.bind) + len(settings.connections.whitebind))
    )
    available = raise_descriptor_limit(settings.connections.maxconnections + needed)
    if available < needed:
        raise ConfigError(f"Not enough file descriptors available. {available} available, {needed} required.")
    most = min(available - needed, settings.connections.maxconnections)
    log.info("Using at most %d automatic connections (%d file descriptors available)", most, available)
    if most == settings.connections.maxconnections:
        return settings, None
    text = (
        f"Reducing -maxconnections from {settings.connections.maxconnections} to {most}, because of system limitations."
    )
    return settings.changed("connections", maxconnections=most), text


class DiskWatch:
    """Stops the node before the disk is full. ``free`` gives the bytes that are left where a path lies."""

    def __init__(
        self,
        settings: Settings,
        stop: Callable[[], None],
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._free = free
        self._due = 0.0

    def check_start(self, height: int) -> None:
        """Before the network is opened: is there room? Raises StorageError."""
        settings = self._settings
        for path in (settings.net_dir, settings.blocks_dir):
            if self._free(path) < MIN_FREE_BYTES:
                raise StorageError(f'Disk space is low for "{path}"')
        size = CHAIN_GB.get(settings.network.name, 0) << 30
        wanted = min(settings.storage.prune_target or size, size)
        if height <= 1 and self._free(settings.blocks_dir) < wanted:
            log.warning(
                'Disk space for "%s" may not accommodate the block files. Approximately %d GB of data will be stored in'
                " this directory.", settings.blocks_dir, wanted >> 30,
            )  # fmt: skip

    def check(self, mono: float) -> None:
        """From time to time while the node runs; ``mono``: the monotonic clock."""
        if mono < self._due:
            return
        self._due = mono + DISK_INTERVAL
        if any(self._free(path) < MIN_FREE_BYTES for path in (self._settings.net_dir, self._settings.blocks_dir)):
            log.error("Shutting down due to lack of disk space!")
            self._stop()
