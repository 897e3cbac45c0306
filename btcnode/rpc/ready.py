"""``ready.json``: where a node that is ready can be reached. Read here, light enough for ``btcnode-cli``."""

from __future__ import annotations

from pathlib import Path

from btcnode.files import parse_json, read_limited

READY_NAME = "ready.json"
MAX_BYTES = 1 << 16


def ready_rpc_port(net_dir: Path) -> int | None:
    """The port at which the node of this directory answers JSON-RPC; None without a file that says so."""
    try:
        facts = parse_json(read_limited(net_dir / READY_NAME, MAX_BYTES))
        port = facts["rpc"][0]["port"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return port if isinstance(port, int) and 0 < port < 65536 else None
