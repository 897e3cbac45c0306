"""``ready.json``: where a node that has started can be reached, for harnesses that let it choose its ports."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode.errors import BtcnodeError
from btcnode.rpc.ready import READY_NAME

if TYPE_CHECKING:
    from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.init")


def ready_path(settings: Settings) -> Path:
    """Where the file lies: in the network's directory, from readiness to shutdown."""
    return settings.net_dir / READY_NAME


def write_ready(settings: Settings, rpc: Sequence[tuple[str, int]], p2p: Sequence[tuple[str, int]]) -> None:
    """Write it in one step; ``rpc`` and ``p2p`` are the addresses listened at. Raises BtcnodeError."""
    cookie = settings.cookie_path
    facts = {
        "pid": os.getpid(),
        "network": settings.network.name,
        "rpc": [{"host": host, "port": port} for host, port in rpc],
        "p2p": [{"host": host, "port": port} for host, port in p2p],
        "cookie": str(cookie) if rpc and cookie is not None and cookie.exists() else None,
    }
    path = ready_path(settings)
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BtcnodeError(f"Cannot write {path}: {error.strerror}") from error


def remove_ready(settings: Settings) -> None:
    """The node can no longer be reached."""
    try:
        ready_path(settings).unlink(missing_ok=True)
    except OSError as error:
        log.warning("Cannot remove %s: %s", ready_path(settings), error.strerror)
