"""kill -9 at random moments of a sync: the next start resumes by itself, and nothing is lost or doubled."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess

PARAMS = params_for("regtest")
KILLS = 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_kills_during_a_sync(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(4000), *(generator.busy(120) for _ in range(250))]
    options = ("--dbcache", "4", "--checkblocks", "20", "--checklevel", "3")
    with ChainServer.of_blocks(PARAMS, chain) as server:
        undisturbed = tmp_path / "undisturbed"
        undisturbed.mkdir()
        with NodeProcess(undisturbed, "regtest", *options, "--connect", server.address, listen=False) as node:
            node.start()
            node.wait_height(len(chain), 240)
            expected = node.rpc("gettxoutsetinfo")
            assert node.stop() == 0

        disturbed = tmp_path / "disturbed"
        disturbed.mkdir()
        rng = random.Random(1)
        reached = []
        with NodeProcess(disturbed, "regtest", *options, "--connect", server.address, listen=False) as node:
            for _ in range(KILLS):
                node.start()
                time.sleep(rng.uniform(0, 0.7))
                reached.append(node.height())
                node.kill()
            node.start()
            node.wait_height(len(chain), 240)
            actual = node.rpc("gettxoutsetinfo")
            assert node.stop() == 0
            assert "Traceback" not in node.output()
    assert max(reached[:-1]) > 0
    for key in ("hash_serialized_3", "txouts", "total_amount", "bestblock"):
        assert actual[key] == expected[key]
