"""The lives there are, and how one is led from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.lib.mempool_lab import START

from . import chain, pool, purse, signet, talk
from .pair import Difference, Pair, Tie

LIVES: dict[str, Callable[[Pair, Random, int], None]] = {
    "pool": pool.live,
    "talk": talk.live,
    "chain": chain.live,
    "signet": signet.live,
    "purse": purse.live,
}


def lead(name: str, bitcoind: str, directory: Path, seed: str, steps: int) -> tuple[Pair, str]:
    """Lead a life; both nodes, stopped, and where they parted (empty when they did not)."""
    pair = Pair(bitcoind, directory, START)
    try:
        with pair:
            LIVES[name](pair, Random(f"{name} {seed}"), steps)
    except Tie:
        return pair, ""
    except Difference as difference:
        return pair, str(difference)
    return pair, ""
