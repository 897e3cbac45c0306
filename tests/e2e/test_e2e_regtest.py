"""Regtest networks of real processes: mining, relay of blocks, reorganisation, restarts."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import address_for_script
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import NodeProcess, RpcFailure, wait_until

OTHER_ADDRESS = address_for_script(b"\x00\x14" + bytes(20), params_for("regtest"))
ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"


def is_tip(node: NodeProcess, block_hash: str) -> bool:
    return bool(node.rpc("getbestblockhash") == block_hash)


def make_node(stack: ExitStack, base: Path, name: str, *options: str) -> NodeProcess:
    directory = base / name
    directory.mkdir()
    return stack.enter_context(NodeProcess(directory, "regtest", *options))


def test_three_nodes_and_a_longer_fork(tmp_path: Path) -> None:
    """One mines 300 blocks, two sync; a fourth joins with a longer fork and all reorganise to it."""
    with ExitStack() as stack:
        miner = make_node(stack, tmp_path, "miner").start()
        others = [make_node(stack, tmp_path, f"node{i}", "--connect", miner.address).start() for i in range(2)]
        hashes = miner.rpc("generatetoaddress", 300, ADDRESS)
        assert len(hashes) == 300
        for node in others:
            node.wait_height(300)
            assert node.rpc("getbestblockhash") == hashes[-1]
        sums = {node.rpc("gettxoutsetinfo")["hash_serialized_3"] for node in (miner, *others)}
        assert len(sums) == 1

        fork = make_node(stack, tmp_path, "fork").start()
        longer = fork.rpc("generatetoaddress", 310, ADDRESS)
        assert longer[0] != hashes[0]
        fork.rpc("addnode", miner.address, "add")
        everybody = (miner, *others, fork)
        for node in everybody:
            wait_until(partial(is_tip, node, longer[-1]), 60, "the longer fork")
        assert {node.rpc("gettxoutsetinfo")["hash_serialized_3"] for node in everybody} != sums
        assert len({node.rpc("gettxoutsetinfo")["hash_serialized_3"] for node in everybody}) == 1
        statuses = {tip["status"] for tip in miner.rpc("getchaintips")}
        assert statuses == {"active", "valid-fork"}

        # a new block reaches everybody through the nodes in between
        newest = fork.rpc("generatetoaddress", 1, ADDRESS)[0]
        for node in everybody:
            wait_until(partial(is_tip, node, newest), 30, "the new block")
        for node in everybody:
            assert node.stop() == 0


def test_restart_keeps_everything(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        tip = node.rpc("generatetoaddress", 120, ADDRESS)[-1]
        before = node.rpc("gettxoutsetinfo")
        assert node.rpc("stop") == "btcnode stopping"
        assert node.stop() == 0
        node.start()
        assert node.rpc("getbestblockhash") == tip
        assert node.rpc("gettxoutsetinfo")["hash_serialized_3"] == before["hash_serialized_3"]
        node.rpc("generatetoaddress", 1, ADDRESS)
        assert node.height() == 121


def test_invalidate_and_reconsider(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        hashes = node.rpc("generatetoaddress", 10, ADDRESS)
        node.rpc("invalidateblock", hashes[5])
        assert node.rpc("getbestblockhash") == hashes[4]
        assert {"active", "invalid"} == {tip["status"] for tip in node.rpc("getchaintips")}
        # paid to somebody else, as the same block made in the same second is the invalid one again
        other = node.rpc("generatetoaddress", 2, OTHER_ADDRESS)
        assert node.rpc("getbestblockhash") == other[-1]
        node.rpc("reconsiderblock", hashes[5])
        assert node.rpc("getbestblockhash") == hashes[-1]
        with pytest.raises(RpcFailure) as failure:
            node.rpc("invalidateblock", "00" * 32)
        assert failure.value.code == -5


def test_the_same_datadir_twice_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        make_node(stack, tmp_path, "node").start()
        second = stack.enter_context(NodeProcess(tmp_path / "node", "regtest"))
        with pytest.raises(RuntimeError, match="status 1") as failure:
            second.start()
        assert "lock" in str(failure.value)
        assert "Traceback" not in str(failure.value)


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = make_node(stack, tmp_path, "first").start()
        second = make_node(stack, tmp_path, "second")
        second.port = first.port
        with pytest.raises(RuntimeError, match="status 1") as failure:
            second.start()
        assert "bind" in str(failure.value)
        assert "Traceback" not in str(failure.value)


def test_submitblock_answers(tmp_path: Path) -> None:
    """BIP22's words: for a new block, the same again, a damaged copy, a side chain, a block without parent."""
    params = params_for("regtest")
    generator, other = ChainGenerator(params), ChainGenerator(params, seed=2)
    other.time += 1
    blocks, side = [generator.block() for _ in range(3)], [other.block() for _ in range(2)]
    damaged = bytearray(blocks[0])
    damaged[-60] ^= 1  # in an output, not in the witness
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        assert [node.rpc("submitblock", raw.hex()) for raw in blocks[:2]] == [None, None]
        assert node.rpc("submitblock", blocks[0].hex()) == "duplicate"
        assert node.rpc("submitblock", bytes(damaged).hex()) == "bad-txnmrklroot"
        assert node.rpc("submitblock", side[0].hex()) == "inconclusive"
        assert node.rpc("submitblock", side[1].hex()) == "inconclusive"
        node.rpc("invalidateblock", node.rpc("getblockhash", 2))
        assert node.rpc("submitblock", blocks[1].hex()) == "duplicate-invalid"
        assert node.rpc("submitblock", blocks[2].hex()) == "bad-prevblk"
        with pytest.raises(RpcFailure) as failure:
            node.rpc("submitblock", blocks[0][:-1].hex())
        assert (failure.value.code, failure.value.message) == (-22, "Block decode failed")
