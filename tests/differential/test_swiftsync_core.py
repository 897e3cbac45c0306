"""The UTXO set that each kind of sync with hints ends with is a bitcoind's, by both hashes.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.bitcoind import Bitcoind, find_bitcoind
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.spent import told_by_hash
from tests.lib.swift_nodes import KINDS, figures, hinted, run

BITCOIND = find_bitcoind()
PARAMS = params_for("regtest")
ABOVE = 4

pytestmark = pytest.mark.skipif(BITCOIND is None, reason="no bitcoind: BTCNODE_BITCOIND names one")


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS, seed=3)
    return [*generator.spread(1500), *(generator.busy(40) for _ in range(25))]


@pytest.fixture(scope="module")
def theirs(chain: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bitcoind")
    assert BITCOIND is not None
    with Bitcoind(BITCOIND, folder) as core:
        for raw in chain:
            assert core.rpc("submitblock", raw.hex()) is None
        yield figures(core)


@pytest.mark.parametrize("kind", KINDS)
def test_the_set_is_that_of_a_bitcoind(tmp_path: Path, chain: list[bytes], theirs: dict[str, Any], kind: str) -> None:
    words = hinted(tmp_path / "hints", chain, ABOVE, kind)
    with ChainServer.of_blocks(PARAMS, chain) as server:
        server.spent = told_by_hash(chain)
        with run(tmp_path / "node", server.address, *words).start() as node:
            node.wait_height(len(chain))
            assert "SwiftSync has brought the chain to height" in node.output()
            assert figures(node) == theirs
