"""A node without coins: synced from a bridge over TCP, reorganised, killed, lied to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, wait_until

PARAMS = params_for("regtest")


def chain_of(busy: int = 12) -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(400), *(generator.busy(20) for _ in range(busy))]


def bridge_of(folder: Path, chain: list[bytes], server: ChainServer) -> NodeProcess:
    folder.mkdir()
    bridge = NodeProcess(folder, "regtest", "--utreexoindex", "--peerutreexoproofs")
    bridge.start("--connect", server.address)
    bridge.wait_height(len(chain))
    wait_until(lambda: bridge.rpc("getindexinfo")["utreexoindex"]["synced"], 60, "the index")
    return bridge


def roots(node: NodeProcess, height: int) -> dict[str, Any]:
    found: dict[str, Any] = node.rpc("getutreexoroots", node.rpc("getblockhash", height))
    return found


@pytest.mark.parametrize("v2", [False, True])
def test_synced_from_a_bridge(tmp_path: Path, *, v2: bool) -> None:
    chain = chain_of()
    with ChainServer.of_blocks(PARAMS, chain) as server, bridge_of(tmp_path / "bridge", chain, server) as bridge:
        (tmp_path / "compact").mkdir()
        words = ("--connect", bridge.address, f"--v2transport={int(v2)}")
        node = NodeProcess(tmp_path / "compact", "regtest", "--utreexo-csn")
        with node.start(*words):
            node.wait_height(len(chain))
            assert node.rpc("getbestblockhash") == bridge.rpc("getbestblockhash")
            for height in range(1, len(chain) + 1):
                assert roots(node, height) == roots(bridge, height)
            info = node.rpc("getblockchaininfo")
            assert info["pruned"] is True
            services = node.rpc("getnetworkinfo")["localservicesnames"]
            assert "NETWORK_LIMITED" in services and "NETWORK" not in services
            assert node.stop() == 0
            node.start(*words)
            assert roots(node, len(chain)) == roots(bridge, len(chain))
            assert "Traceback" not in node.output() + bridge.output()
            assert node.stop() == 0
