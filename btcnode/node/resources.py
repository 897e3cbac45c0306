"""What a node needs of the machine: file descriptors for its connections, room on the disk."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError, StorageError
from btcnode.net.listener import ACCEPT_BATCH
from btcnode.rpc.http_server import MAX_CONNECTIONS, REFUSED_CONNECTIONS, HttpLimits
from btcnode.rpc.places import Places
from btcnode.rpc.room import Room
from btcnode.services.disk_space import free_bytes
from btcnode.side_processes import SideProcesses

if TYPE_CHECKING:
    from btcnode.settings.settings import Settings

MAX_SIDE_PROCESSES = 4  # for answers, of 20 MB and what they work on
OWN_FILES = 75  # files, database, pipes to workers, listening sockets, what is opened for a moment
CLOSING_CONNECTIONS = 16  # of peers, beyond those that stay
LEAST_HTTP_CONNECTIONS = 40  # of clients of JSON-RPC, REST and metrics together
CLOSING_HTTP = REFUSED_CONNECTIONS + ACCEPT_BATCH
OWN_DESCRIPTORS = OWN_FILES + CLOSING_CONNECTIONS + LEAST_HTTP_CONNECTIONS + CLOSING_HTTP  # 151, as Core keeps back
MOST_DESCRIPTORS = 1 << 16  # more is never asked for
MANUAL_CONNECTIONS = 8  # of -addnode
MIN_FREE_BYTES = 50 << 20  # below this the node stops while it still can write all it has
DISK_INTERVAL = 300.0  # seconds
PROOFS_GB = {"mainnet": 750}  # of the Utreexo index, early 2026: proofs, leaves that went, the forest
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


def _needed(settings: Settings) -> int:
    """Descriptors without which nothing goes, those of automatic connections not among them."""
    binds = max(1, len(settings.connections.bind) + len(settings.connections.whitebind))
    return OWN_DESCRIPTORS + MANUAL_CONNECTIONS + binds


def fit_connections(settings: Settings) -> tuple[Settings, str | None]:
    """The options with as many connections as there are file descriptors for, and what the user is warned of.

    Raises ConfigError when they do not suffice for anything.
    """
    needed = _needed(settings)
    available = raise_descriptor_limit(max(MOST_DESCRIPTORS, settings.connections.maxconnections + needed))
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


def http_limits(settings: Settings, processes: SideProcesses | None = None) -> HttpLimits:
    """What HTTP clients may take: as many connections as the descriptors allow that peers and files leave.

    ``processes`` do what is large for them.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = MAX_CONNECTIONS
    if soft != resource.RLIM_INFINITY:
        left = soft - settings.connections.maxconnections - _needed(settings)
    connections = min(MAX_CONNECTIONS, LEAST_HTTP_CONNECTIONS + max(0, left))
    log.debug("HTTP: at most %d connections", connections)
    return HttpLimits(
        connections, Places(settings.rpc.rpcthreads, settings.rpc.rpcworkqueue), Room(processes=processes)
    )


def side_processes(settings: Settings, processors: Collection[int]) -> SideProcesses:
    """Processes for large answers: no more than threads are wanted for answers, and one processor is the node's own."""
    spare = len(os.sched_getaffinity(0)) - 1
    return SideProcesses(min(settings.rpc.rpcthreads, spare, MAX_SIDE_PROCESSES), processors)


class DiskWatch:
    """Stops the node before the disk is full. ``free`` gives the bytes that are left where a path lies."""

    def __init__(
        self,
        settings: Settings,
        stop: Callable[[], None],
        free: Callable[[Path], int] = free_bytes,
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
        proofs = PROOFS_GB.get(settings.network.name, 0) if settings.storage.utreexoindex and height <= 1 else 0
        if proofs << 30 > self._free(settings.net_dir):
            log.warning(
                'Disk space for "%s" may not accommodate the utreexoindex: with the proofs of all blocks it takes'
                " approximately %d GB.",
                settings.net_dir,
                proofs,
            )
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
