"""Health check of the container: finds the node's RPC port in its ready.json and asks /ready there.

python3 health.py DATADIR; the exit status is 0 when the node is ready, else 1 with the reason.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_S = 8.0


def why_not_ready(datadir: Path) -> str | None:
    """The reason, None when the node is ready."""
    files = [*datadir.glob("ready.json"), *datadir.glob("*/ready.json")]
    if not files:
        return "no ready.json: the node is starting or has stopped"
    newest = max(files, key=lambda path: path.stat().st_mtime)
    address = json.loads(newest.read_text())["rpc"][0]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address["host"], address["host"])
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    try:
        with urllib.request.urlopen(f"http://{host}:{address['port']}/ready", timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace").strip()
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    reason = why_not_ready(Path(sys.argv[1]))
    print(reason or "ready")
    sys.exit(reason is not None)
