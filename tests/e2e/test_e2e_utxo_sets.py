"""A UTXO set from several peers at once: one lies, one leaves, the node is killed on the way and goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from btcnode.primitives.chunk_tree import chunk_hash
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE
from tests.lib.process import RpcFailure, wait_until
from tests.lib.utxo_sets import SetNode, SetServer, SetWorld, bent, leaver, shown

COINS, CHUNK = 4000, 20_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SetWorld:
    return SetWorld.make(tmp_path_factory.mktemp("world"), COINS, CHUNK)


def share(node: SetNode, world: SetWorld) -> None:
    """Put the set where the node shares it from."""
    folder = node.net_dir / "share"
    folder.mkdir(parents=True)
    shutil.copy(world.file, folder / "any-name.dat")


def stored(node: SetNode) -> int:
    found = node.download().get("chunks_stored", 0)
    assert isinstance(found, int)
    return found


def check_loaded(node: SetNode, world: SetWorld) -> None:
    wait_until(lambda: node.download().get("state") == "loaded", 30, "the set")
    states = node.rpc("getchainstates")["chainstates"]
    assert states[-1]["snapshot_blockhash"] == shown(world)
    stats = node.rpc("gettxoutsetinfo")
    assert (stats["txouts"], stats["hash_serialized_3"]) == (COINS, to_display(world.utxo_hash))


def test_one_lies_one_leaves_and_a_kill_costs_nothing(tmp_path: Path, world: SetWorld) -> None:
    count = len(world.hashes)
    assert count >= 8
    node = SetNode(tmp_path / "node", world, f"--downloadutxoset={len(world.blocks)}")
    with node, SetServer(world, bent) as liar, leaver(world, 2) as (leaving, manner):
        enough: list[int] = []

        def few(chunk: int, data: bytes) -> bytes | None:
            """The rest is held back, so that the kill comes in the middle."""
            enough.append(chunk)
            return data if len(enough) <= 2 else None

        with SetServer(world, few) as slow:
            node.start("--connect", liar.address, "--connect", leaving.address, "--connect", slow.address)
            named = f"({liar.address})"
            wait_until(lambda: stored(node) >= 4 and manner.gone.is_set() and named in node.output(), 30, "some chunks")
            assert 4 <= stored(node) < count
            node.kill()
    said = node.output()
    name = f"after block {shown(world)}: chunk {liar.given[0]} does not have its hash"
    assert f"wrong part of a UTXO set {name}, disconnecting peer=" in said

    server = SetNode(tmp_path / "server", world, "--peerutxosets")
    share(server, world)
    with server, node, SetServer(world) as honest:
        server.start("--connect", honest.address)
        wait_until(lambda: "sharing the UTXO set after block" in server.output(), 30, "the shared set")
        wait_until(lambda: server.rpc("getblockchaininfo")["headers"] == len(world.blocks), 30, "the headers")
        node.start("--connect", server.address)
        wait_until(lambda: node.download()["state"] == "waiting for headers", 30, "all chunks")
        for raw in world.blocks:
            node.rpc("submitheader", raw[:HEADER_SIZE].hex())
        check_loaded(node, world)
        assert "4 here already" in node.output() or "5 here already" in node.output()
        for raw in world.blocks:  # the chain below proves the set
            node.rpc("submitblock", raw.hex())
        wait_until(lambda: len(node.rpc("getchainstates")["chainstates"]) == 1, 30, "validation")
        assert node.stop() == 0 and server.stop() == 0
    for process in (node, server):
        assert "Traceback" not in process.output()


def test_a_set_is_asked_for_by_rpc_and_passed_on(tmp_path: Path, world: SetWorld) -> None:
    """Without a known root two peers have to tell the same; who has fetched a set shares it."""
    first = SetNode(tmp_path / "first", world, "--peerutxosets", with_root=False)
    with SetServer(world) as one, SetServer(world) as two, first:
        first.start("--connect", one.address)
        assert first.rpc("getnetworkinfo")["protocolversion"] == 70017
        assert first.rpc("downloadutxoset", len(world.blocks)) == {
            "height": len(world.blocks),
            "blockhash": shown(world),
        }
        with pytest.raises(RpcFailure, match="already be in progress"):
            first.rpc("downloadutxoset", len(world.blocks))
        wait_until(lambda: one.trees == 1, 30, "the question")
        assert first.download()["state"] == "looking for peers"
        assert first.rpc("abortutxosetdownload")["chunks_stored"] == 0
        assert first.download()["state"] == "aborted"
        with pytest.raises(RpcFailure, match="No UTXO set is being downloaded"):
            first.rpc("abortutxosetdownload")
        first.rpc("downloadutxoset", len(world.blocks))
        first.rpc("addnode", two.address, "onetry")
        check_loaded(first, world)
        with pytest.raises(RpcFailure, match="more than once"):
            first.rpc("downloadutxoset", len(world.blocks))
        wait_until(lambda: "sharing the UTXO set" in first.output(), 90, "the shared set")
        second = SetNode(tmp_path / "second", world, "--peerutxosets")
        with second:
            second.start("--connect", first.address)
            with pytest.raises(RpcFailure, match="No assumeutxo data for height 9"):
                second.rpc("downloadutxoset", 9)
            second.rpc("downloadutxoset", len(world.blocks), to_display(world.root))
            for raw in world.blocks:
                second.rpc("submitheader", raw[:HEADER_SIZE].hex())
            check_loaded(second, world)
            assert second.stop() == 0
        assert first.stop() == 0


def test_a_set_that_is_not_the_known_one_is_deleted(tmp_path: Path, world: SetWorld) -> None:
    """Peers may agree on what is wrong: the hash of the coins decides."""
    other = SetWorld.make(tmp_path, 3000, CHUNK)
    with world.file.open("rb") as right, other.file.open("r+b") as wrong:
        wrong.write(right.read(51)[:-8])  # header: the other set says that it is the one after that block
    forged = SetWorld(world.blocks, other.file, world.utxo_hash, world.chain_tx, 3000, CHUNK)
    forged.hashes = [chunk_hash(forged.chunk(0)), *other.hashes[1:]]
    node = SetNode(tmp_path / "node", world, "--downloadutxoset", str(len(world.blocks)), with_root=False)
    with SetServer(forged) as one, SetServer(forged) as two, node:
        node.start("--connect", one.address, "--connect", two.address)
        wait_until(lambda: node.download().get("state") == "failed", 30, "the verdict")
        assert "it is deleted" in str(node.download()["error"])
        assert not list((node.net_dir / "share").iterdir())
        assert len(node.rpc("getchainstates")["chainstates"]) == 1
        assert node.stop() == 0


def test_an_unknown_set_is_refused_at_the_start(tmp_path: Path, world: SetWorld) -> None:
    node = SetNode(tmp_path, world, "--downloadutxoset=77")
    with node, pytest.raises(RuntimeError, match="there are those of heights 115"):
        node.start()
