"""Node processes that sync with hints, and what is compared of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.process import NodeProcess

KINDS: dict[str, tuple[str, ...]] = {  # of syncs with hints, and the words that make them
    "assumed": (),
    "full": ("--swiftsync-full",),
    "pruned": ("--prune", "1"),
    "validated": ("--swiftsync-validate",),
    "full-pruned": ("--swiftsync-full", "--prune", "1"),
}


class Asked(Protocol):
    """A node of any kind."""

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method."""


def figures(node: Asked) -> dict[str, Any]:
    """What is the same of two nodes with the same UTXO set, and of no others."""
    stats = node.rpc("gettxoutsetinfo")
    muhash = node.rpc("gettxoutsetinfo", "muhash")["muhash"]
    names = ("hash_serialized_3", "txouts", "total_amount", "bestblock", "height")
    return {"muhash": muhash, **{key: stats[key] for key in names}, "total_amount": float(stats["total_amount"])}


def name(raw: bytes) -> str:
    """A block's hash as users write it."""
    return header_hash(raw[:HEADER_SIZE])[::-1].hex()


def write_hints(path: Path, hints: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Write a hintsfile; the option that names it."""
    path.write_bytes(pack_hints(hints))
    return ("--swiftsync", str(path))


def hinted(path: Path, chain: Sequence[bytes], above: int, kind: str) -> tuple[str, ...]:
    """Write hints for the block ``above`` blocks below the tip; the options of a sync of this kind with them."""
    chosen = KINDS[kind]
    words = (*write_hints(path, reference_hints(chain[: len(chain) - above])), *chosen)
    return words if "--swiftsync-full" in chosen else (*words, "--swiftsyncblock", name(chain[len(chain) - above - 1]))


def run(folder: Path, server: str, *words: str) -> NodeProcess:
    """A node that connects to a server; to be started."""
    folder.mkdir()
    return NodeProcess(folder, "regtest", *words, "--connect", server, listen=False)
