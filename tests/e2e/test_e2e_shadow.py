"""Two engines in a real node: every block's scripts are judged by Bitcoin Core's engine too."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess

PARAMS = params_for("regtest")

pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")


@pytest.mark.parametrize("share", ["1", "1/3"])
def test_a_sync_with_two_engines(tmp_path: Path, share: str) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(500), *(generator.busy(60) for _ in range(6))]
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        NodeProcess(tmp_path, "regtest", "--shadow-validation", share, listen=False) as node,
    ):
        node.start("--connect", server.address)
        node.wait_height(len(chain))
        assert node.stop() == 0
        output = node.output()
    heights = [h for h in range(1, len(chain) + 1) if share == "1" or h % 3 == 0]
    assert f"second engine: {len(heights)} blocks compared" in output
    assert "Traceback" not in output
