"""How much Python's garbage collector looks through at a time, in a node that keeps more and more."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from btcnode.cli.run import GC_THRESHOLDS

pytestmark = pytest.mark.usefixtures("set_apart_again")

KEPT = 700_000  # objects: what some 50,000 transactions of a mempool are


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collects in increments by itself")
def test_what_stays_is_looked_through_few_at_a_time() -> None:
    """A pass over 400,000 objects, 20 of the smallest ones, stopped the node for 150 ms in a flood."""
    passes = {0: 0, 1: 0, 2: 0}

    def note(phase: str, info: dict[str, Any]) -> None:
        passes[info["generation"]] += phase == "stop"

    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.callbacks.append(note)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        kept = [[number] for number in range(KEPT)]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(note)
        gc.unfreeze()
    assert len(kept) == KEPT
    assert passes[1] >= KEPT // 120_000
    assert passes[0] <= KEPT // 20_000
    assert passes[2] == 0
