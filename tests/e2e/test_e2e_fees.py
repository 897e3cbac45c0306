"""Fee estimates of a real node: learnt from its mempool, kept over a restart, dropped when they are old or damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.lib.mempool_lab import START, MempoolLab, pay
from tests.lib.process import NodeProcess

NOTHING = {"errors": ["Insufficient data or no feerate found"], "blocks": 0}


def test_estimates_outlive_the_process(tmp_path: Path) -> None:
    lab = MempoolLab(free=60, each=1)
    with NodeProcess(tmp_path, "regtest", "--maxtipage=999999999", f"--mocktime={START}") as node:
        node.start()
        for raw in lab.raws:
            assert node.rpc("submitblock", raw.hex()) is None
        assert node.rpc("estimatesmartfee", 2) == NOTHING
        for _ in range(12):
            node.rpc("setmocktime", lab.tree.time(lab.tip) + 60)
            txs = [pay([lab.coin()], 2000) for _ in range(5)]
            for tx in txs:
                node.rpc("sendrawtransaction", tx.raw.hex())
            assert node.rpc("submitblock", lab.mine(*txs).hex()) is None
        learnt = node.rpc("estimatesmartfee", 2)
        assert learnt["blocks"] == 2
        assert learnt["feerate"] * 100_000_000 == round(2000 * 1000 // txs[0].vsize)
        assert node.stop() == 0

        node.start()
        assert node.rpc("estimatesmartfee", 2) == learnt
        assert node.stop() == 0

        file = tmp_path / "regtest" / "fee_estimates.dat"
        good = file.read_bytes()
        old = time.time() - 61 * 3600 - 60
        os.utime(file, (old, old))
        node.start()
        assert node.rpc("estimatesmartfee", 2) == NOTHING
        assert "too old (age=61 > 60 hours)" in node.output()
        node.kill()
        node.start("--acceptstalefeeestimates")
        assert node.rpc("estimatesmartfee", 2) == learnt
        node.kill()

        file.write_bytes(good[:-1])
        node.start()
        assert node.rpc("estimatesmartfee", 2) == NOTHING
        assert "Failed to read fee estimates" in node.output()
        assert node.stop() == 0
        assert len(file.read_bytes()) == len(good)
