"""Random lives beside Bitcoin Core: a short run of ``scripts/fuzz/beside_core.py``, see there for longer ones.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.beside_core.lives import lead
from tests.lib.bitcoind import find_bitcoind


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["pool", "chain", "purse"])
def test_a_life_beside_bitcoind(tmp_path: Path, name: str) -> None:
    bitcoind = find_bitcoind()
    if bitcoind is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    pair, difference = lead(name, bitcoind, tmp_path, "short", 120)
    assert not difference, difference
    assert pair.calls > 500
