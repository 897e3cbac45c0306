"""UTXO sets in files, with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.storage.utxo_snapshot import HEADER, parse_header
from tests.lib.process import NodeProcess, RpcFailure

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def test_dump_of_the_tip_and_of_an_earlier_block(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", listen=False).start() as node:
        node.rpc("generatetoaddress", 120, ADDRESS)
        early = node.rpc("dumptxoutset", "early.dat", "latest")
        stats = node.rpc("gettxoutsetinfo")
        assert early["txoutset_hash"] == stats["hash_serialized_3"] and early["coins_written"] == stats["txouts"] == 120
        node.rpc("generatetoaddress", 30, ADDRESS)
        for name, options in (("a.dat", {"rollback": 120}), ("b.dat", {"rollback": 120, "in_memory": True})):
            late = node.rpc("dumptxoutset", name, "rollback", options)
            assert late | {"path": ""} == early | {"path": ""}
            assert (node.net_dir / name).read_bytes() == (node.net_dir / "early.dat").read_bytes()
        assert node.rpc("getblockcount") == 150
        with pytest.raises(RpcFailure, match="already exists"):
            node.rpc("dumptxoutset", "a.dat", "latest")
        assert not [*node.net_dir.glob("*.incomplete"), *node.net_dir.glob("temp_utxo*")]
        header = parse_header((node.net_dir / "early.dat").read_bytes()[: HEADER.size], params_for("regtest"))
        assert (header.block_hash[::-1].hex(), header.coins) == (early["base_hash"], 120)
