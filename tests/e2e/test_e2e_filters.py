"""Block filters between real processes: built beside the chain, after a reorganisation and a restart, and served."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from btcnode.networks.parameters import params_for
from btcnode.primitives.gcs import filter_hash, filter_header, matches_any
from btcnode.primitives.hashes import BlockHash, from_display
from btcnode.wire.constants import NODE_COMPACT_FILTERS
from btcnode.wire.messages import CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters, Version
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, RpcFailure

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
OPTIONS = ("--blockfilterindex", "--peerblockfilters")


def headers_fit(node: NodeProcess, tip: int) -> None:
    """Every filter follows from the one before, and holds the script that its block pays to."""
    previous = bytes(32)
    for height in range(tip + 1):
        block_hash = node.rpc("getblockhash", height)
        found = node.rpc("getblockfilter", block_hash)
        data = bytes.fromhex(found["filter"])
        previous = filter_header(filter_hash(data), previous)
        assert found["header"] == previous[::-1].hex()
        script = node.rpc("getblock", block_hash, 2)["tx"][0]["vout"][0]["scriptPubKey"]["hex"]
        assert matches_any(data, BlockHash(from_display(block_hash)), [bytes.fromhex(script)])


def test_index_follows_the_chain(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        stale = node.rpc("generatetoaddress", 12, ADDRESS)
        headers_fit(node, 12)
        assert node.rpc("getindexinfo") == {"basic block filter index": {"synced": True, "best_block_height": 12}}
        node.rpc("invalidateblock", stale[5])
        node.rpc("generatetoaddress", 8, OTHER)
        headers_fit(node, 13)
        assert node.rpc("getblockfilter", stale[-1])["filter"]
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        node.rpc("generatetoaddress", 1, ADDRESS)
        headers_fit(node, 14)
        try:
            node.rpc("getblockfilter", "00" * 32)
        except RpcFailure as error:
            assert (error.code, error.message) == (-5, "Block not found")
        else:
            raise AssertionError("a block that does not exist has a filter")


def test_index_ahead_of_the_chain(tmp_path: Path) -> None:
    """After a kill the index may know blocks that the chain has to learn again."""
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        node.rpc("generatetoaddress", 5, ADDRESS)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        node.rpc("generatetoaddress", 5, ADDRESS)
        headers_fit(node, 10)
        node.kill()
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        node.rpc("generatetoaddress", 3, OTHER)
        headers_fit(node, node.rpc("getblockcount"))


def test_blocks_of_descriptors(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", *OPTIONS, listen=False).start() as node:
        node.rpc("generatetoaddress", 130, ADDRESS)
        mine = node.rpc("generatetoaddress", 2, OTHER)
        node.rpc("generatetoaddress", 5, ADDRESS)
        node.rpc("getblockfilter", node.rpc("getbestblockhash"))  # waits for the index
        wanted = {"action": "start", "scanobjects": [f"addr({OTHER})"]}
        found = node.rpc("scanblocks", *wanted.values())
        assert (found["from_height"], found["to_height"], found["completed"]) == (0, 137, True)
        assert set(mine) <= set(found["relevant_blocks"])
        certain = node.rpc("scanblocks", *wanted.values(), 10, 131, "basic", {"filter_false_positives": True})
        assert certain["relevant_blocks"] == mine[:1] and certain["to_height"] == 131
        assert node.rpc("scanblocks", "status") is None and node.rpc("scanblocks", "abort") is False


def test_light_client(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", *OPTIONS).start() as node:
        node.rpc("generatetoaddress", 1010, ADDRESS)
        tip = bytes.fromhex(node.rpc("getbestblockhash"))[::-1]
        wanted = node.rpc("getblockfilter", tip[::-1].hex())
        at_1000 = node.rpc("getblockfilter", node.rpc("getblockhash", 1000))
        with closing(ScriptedPeer.connect("127.0.0.1", node.port, params_for("regtest"))) as peer:
            peer.handshake()
            version = next(message for message in peer.received if isinstance(message, Version))
            assert version.services & NODE_COMPACT_FILTERS
            peer.send(GetCFilters(0, 20, tip))
            got = [peer.expect(CFilter) for _ in range(991)]
            assert got[-1].block_hash == tip
            assert got[-1].filter.hex() == wanted["filter"]
            peer.send(GetCFHeaders(0, 1, tip))
            headers = peer.expect(CFHeaders)
            assert len(headers.filter_hashes) == 1010
            header = headers.previous_header
            for item in headers.filter_hashes:
                header = filter_header(item, header)
            assert header[::-1].hex() == wanted["header"]
            peer.send(GetCFCheckpt(0, tip))
            assert [item[::-1].hex() for item in peer.expect(CFCheckpt).filter_headers] == [at_1000["header"]]
            peer.send(GetCFilters(0, 5, tip))  # 1,006 are too many
            assert peer.is_closed()
