"""Walks of ``scripts/fuzz/rpc.py``: what they ask for next."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.lib.rpc_diff.chain_walk import ONCE, ChainWalk
from tests.lib.rpc_diff.fee_walk import FeeWalk
from tests.lib.rpc_diff.nodes import Node
from tests.lib.rpc_diff.values import Values, Vectors
from tests.lib.rpc_diff.walk import Restart, Walk
from tests.lib.rpc_diff.world import World


@pytest.mark.parametrize("kind", [FeeWalk, ChainWalk])
def test_a_start_that_is_refused_leaves_the_options_of_the_one_before(kind: type[Walk], tmp_path: Path) -> None:
    """Else the nodes are started with the refused ones again, and nothing can be asked any more."""
    walk = kind(Values(World(1), Random(3), Vectors(None)), [Node("ours", [], tmp_path, ["-prune=1"])], 0)
    refused = 0
    for _ in range(400):
        before = walk.options
        step = walk._restart()  # type: ignore[attr-defined]
        assert isinstance(step, Restart)
        assert walk.options == tuple(word for word in step.options if word not in ONCE)
        if "-txindex" in step.options:
            walk.refused(step.options)
            assert walk.options == before and "-txindex" not in before
            refused += 1
    assert refused > 10
