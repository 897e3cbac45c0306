"""Where a node's data lies when nobody says where."""

from __future__ import annotations

from pathlib import Path

from btcnode.networks.names import NETWORKS

OWN = ".btcnode"
CORE = ".bitcoin"


def default_datadir() -> Path:
    """``~/.btcnode``, or bitcoind's directory where it has been set up for this node.

    That is the case when ``~/.bitcoin`` has a ``bitcoin.conf`` but none of bitcoind's databases, and there is no
    directory of our own. A chain of bitcoind is never touched unless the user names its directory.
    """
    own, core = Path.home() / OWN, Path.home() / CORE
    if own.exists() or not (core / "bitcoin.conf").is_file():
        return own
    used = any((core / network.subdir / "chainstate" / "CURRENT").exists() for network in NETWORKS)
    return own if used else core
