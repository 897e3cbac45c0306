"""``ready.json``: where a node that has started can be reached, for harnesses that let it choose its ports."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from btcnode.config import NodeConfig
from btcnode.errors import BtcnodeError

log = logging.getLogger("btcnode.init")


def ready_path(config: NodeConfig) -> Path:
    """Where the file lies: in the network's directory, from readiness to shutdown."""
    return config.net_dir / "ready.json"


def write_ready(config: NodeConfig, rpc: Sequence[tuple[str, int]], p2p: Sequence[tuple[str, int]]) -> None:
    """Write it in one step; ``rpc`` and ``p2p`` are the addresses listened at. Raises BtcnodeError."""
    facts = {
        "pid": os.getpid(),
        "network": config.network,
        "rpc": [{"host": host, "port": port} for host, port in rpc],
        "p2p": [{"host": host, "port": port} for host, port in p2p],
        "cookie": str(config.cookie_path) if rpc and config.cookie_path.exists() else None,
    }
    path = ready_path(config)
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BtcnodeError(f"Cannot write {path}: {error.strerror}") from error


def remove_ready(config: NodeConfig) -> None:
    """The node can no longer be reached."""
    try:
        ready_path(config).unlink(missing_ok=True)
    except OSError as error:
        log.warning("Cannot remove %s: %s", ready_path(config), error.strerror)
