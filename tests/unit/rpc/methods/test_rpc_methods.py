"""What the methods answer, field for field; every result is also held against its declaration."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.primitives.amounts import COIN
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode
from btcnode.rpc.methods import every_method
from btcnode.rpc.table import MethodTable
from btcnode.testing.blocks import BlockTemplate
from btcnode.wire.messages import GetData, Ping, Pong
from tests.lib.node_parts import START
from tests.lib.peer import ChainServer

Running = Any
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
ABSENT = "aa" * 32


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def test_the_methods_of_the_first_release_are_there(running: Running) -> None:
    wanted = """getblockchaininfo getblockcount getbestblockhash getblockhash getblockheader getblock getpeerinfo
        getnetworkinfo getconnectioncount getnettotals addnode disconnectnode getaddednodeinfo ping getchaintips
        gettxout gettxoutsetinfo submitblock submitheader generatetoaddress generateblock generatetodescriptor
        invalidateblock reconsiderblock preciousblock getdifficulty getchaintxstats getdeploymentinfo getblockstats
        uptime help stop getrpcinfo logging getmemoryinfo echo echojson setmocktime waitfornewblock waitforblock
        waitforblockheight syncwithvalidationinterfacequeue decoderawtransaction decodescript getrawtransaction
        validateaddress
        getmininginfo getnetworkhashps setnetworkactive deriveaddresses getdescriptorinfo"""
    assert set(wanted.split()) <= set(running.table.methods)


def test_a_method_is_loaded_with_its_subject_alone() -> None:
    loaded = list[str]()

    def source(subject: str, *names: str) -> Callable[[], list[Any]]:
        def load() -> list[Any]:
            loaded.append(subject)
            return [SimpleNamespace(name=name, help=f"help of {name}".strip) for name in names]

        return load

    sources = {"chain": source("chain", "a"), "net": source("net", "b", "c"), "new": source("new", "d")}
    table = MethodTable(cast(Any, None), sources, subject_of={"a": "chain", "b": "net", "c": "net", "gone": "wallet"})
    assert table.help("c") == "help of c"
    assert loaded == ["net"]
    assert table.help("d") == "help of d"  # not in the list yet: looked for everywhere
    assert loaded == ["net", "chain", "new"]
    assert table.help("gone") == "help: unknown command: gone"
    assert not table.load_more()


def test_help_lists_all_but_the_hidden(running: Running) -> None:
    text = running.call("help")
    assert text.startswith("== Blockchain ==\n")
    assert 'getblock "blockhash" ( verbosity )\n' in text
    assert "echo" not in text
    assert running.call("help", "nosuch") == "help: unknown command: nosuch"


@pytest.mark.parametrize("method", every_method(), ids=lambda method: method.name)
def test_help_of_each_method_is_complete(running: Running, method: Any) -> None:
    text = running.call("help", method.name)
    assert text.startswith(method.usage() + "\n\n")
    assert "\nResult" in text or method.name in ("generate", "echo", "echojson")
    for n, arg in enumerate(method.args, 1):
        if arg.hidden:
            break
        assert f"\n{n}. {arg.names[0]} " in text
        assert arg.text or arg.by_name


def test_wrong_number_of_arguments_answers_with_the_help(running: Running) -> None:
    for params in ([], [1, 2]):
        answer = running.call("getblockhash", *params)
        assert answer["code"] == -1
        assert answer["message"].startswith("getblockhash height\n")


def wrong(got: str, expected: str) -> dict[str, Any]:
    return error(-3, f"JSON value of type {got} is not of expected type {expected}")


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("getblocktemplate", [{"rules": ["segwit", 1]}], wrong("number", "string")),
        ("gettxspendingprevout", [[{"txid": ABSENT, "vout": 0}], {"mempool_only": None}], wrong("null", "bool")),
        ("gettxspendingprevout", [[{"txid": ABSENT, "vout": 0}], {"x": 1}], error(-3, "Unexpected key x")),
        ("gettxspendingprevout", [[{"txid": ABSENT, "vout": 0, "y": 1}]], error(-3, "Unexpected key y")),
        ("gettxspendingprevout", [[1]], wrong("number", "object")),
        ("gettxspendingprevout", [[]], error(-8, "Invalid parameter, outputs are missing")),
        ("dumptxoutset", ["x", "rollback", {"rollback": None}], wrong("null", "string")),
        ("createmultisig", [1, [1]], wrong("number", "string")),
        ("createmultisig", [1, [None]], wrong("null", "string")),
        ("logging", [[1]], wrong("number", "string")),
        ("generateblock", ["raw(51)", [None]], wrong("null", "string")),
        ("createrawtransaction", [[1], {}], wrong("number", "object")),
        ("createrawtransaction", [[{"txid": None}], {}], wrong("null", "string")),
        ("getblockstats", [0, [1]], wrong("number", "string")),
        ("testmempoolaccept", [[1]], wrong("number", "string")),
        ("submitpackage", [[None]], wrong("null", "string")),
        ("combinepsbt", [[1]], wrong("number", "string")),
        ("gettxoutproof", [[1]], wrong("number", "string")),
        ("scantxoutset", ["start", [{"desc": 1}]], wrong("number", "string")),
        ("utxoupdatepsbt", ["", [1]], error(-8, "Scan object needs to be either a string or an object")),
        ("deriveaddresses", ["raw(51)#8lvh9jxk", None],
         error(-8, "Range should not be specified for an un-ranged descriptor")),
        ("gettxout", ["ab", -1], error(-8, "txid must be of length 64 (not 2, for 'ab')")),
        ("setban", ["x", "y", 2**70], error(-1, "setban \"subnet\" \"command\" ( bantime absolute )")),
        ("pruneblockchain", [2**40], error(-1, "Cannot prune blocks because node is not in prune mode.")),
    ],
)  # fmt: skip
def test_types_are_refused_as_by_bitcoind(
    running: Running, method: str, params: list[Any], expected: dict[str, Any]
) -> None:
    answer = running.call(method, *params)
    assert {**answer, "message": answer["message"].partition("\n")[0]} == expected


def test_every_wrong_type_is_told(running: Running) -> None:
    answer = running.call("gettxout", 1, "x", 3)
    assert answer["code"] == -3
    assert json.loads(answer["message"].removeprefix("Wrong type passed:\n")) == {
        "Position 1 (txid)": "JSON value of type number is not of expected type string",
        "Position 2 (n)": "JSON value of type string is not of expected type number",
        "Position 3 (include_mempool)": "JSON value of type number is not of expected type bool",
    }


def test_chain_on_genesis(running: Running) -> None:
    info = running.call("getblockchaininfo")
    assert list(info) == [
        "chain", "blocks", "headers", "bestblockhash", "bits", "target", "difficulty", "time", "mediantime",
        "verificationprogress", "initialblockdownload", "chainwork", "size_on_disk", "pruned", "warnings",
    ]  # fmt: skip
    assert info["bestblockhash"] == GENESIS
    assert info["chainwork"] == "0" * 63 + "2"
    assert running.call("getchaintips") == [{"height": 0, "hash": GENESIS, "branchlen": 0, "status": "active"}]
    assert running.call("getblock", GENESIS)["tx"] == [
        "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    ]
    assert "previousblockhash" not in running.call("getblockheader", GENESIS)


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("getblockhash", [-1], error(-8, "Block height out of range")),
        ("getblockhash", [1], error(-8, "Block height out of range")),
        ("getblockheader", [ABSENT], error(-5, "Block not found")),
        ("getblockheader", ["ab"], error(-8, "hash must be of length 64 (not 2, for 'ab')")),
        ("getblockheader", ["zz" * 32], error(-8, f"hash must be hexadecimal string (not '{'zz' * 32}')")),
        ("getblock", [ABSENT], error(-5, "Block not found")),
        ("getblock", [GENESIS, "x"], error(-3, "JSON value of type string is not of expected type number")),
        ("gettxout", [ABSENT, -1], error(-1, "JSON integer out of range")),
        ("gettxout", [ABSENT, 0], None),
        ("getblockstats", [5], error(-8, "Target block height 5 after current tip 0")),
        ("getblockstats", [-5], error(-8, "Target block height -5 is negative")),
        ("getblockstats", [0, ["nope"]], error(-8, "Invalid selected statistic 'nope'")),
        ("getchaintxstats", [-1], error(-8, "Invalid block count: should be between 0 and the block's height - 1")),
        ("getchaintxstats", [None, ABSENT], error(-5, "Block not found")),
        ("gettxoutsetinfo", ["sha1"], error(-8, "'sha1' is not a valid hash_type")),
        ("gettxoutsetinfo", ["none", 3], error(-8, "Querying specific block heights requires coinstatsindex")),
        ("invalidateblock", [ABSENT], error(-5, "Block not found")),
        ("reconsiderblock", [ABSENT], error(-5, "Block not found")),
        ("preciousblock", [ABSENT], error(-5, "Block not found")),
        ("waitfornewblock", [-1], error(-1, "Negative timeout")),
        ("submitblock", ["00"], error(-22, "Block decode failed")),
        ("submitblock", ["zz"], error(-22, "Block decode failed")),
        ("submitheader", ["00"], error(-22, "Block header decode failed")),
        ("submitheader", ["aa" * 80], error(-25, f"Must submit previous header ({ABSENT}) first")),
        ("generatetoaddress", [1, "x"], error(-5, "Error: Invalid address")),
        ("generatetodescriptor", [1, "foo(1)"], error(-5, "'foo(1)' is not a valid descriptor function")),
        ("generateblock", ["x", []], error(-5, "Error: Invalid address or descriptor")),
        ("generateblock", ["raw(51)", [ABSENT]], error(-5, f"Transaction {ABSENT} not in mempool.")),
        ("disconnectnode", [], error(-32602, "Only one of address and nodeid should be provided.")),
        ("disconnectnode", ["1.2.3.4"], error(-29, "Node not found in connected nodes")),
        ("disconnectnode", ["", 99], error(-29, "Node not found in connected nodes")),
        (
            "addnode",
            ["h", "remove"],
            error(-24, "Error: Node could not be removed. It has not been added previously."),
        ),
        ("getaddednodeinfo", ["h"], error(-24, "Error: Node has not been added.")),
        ("logging", [["nope"]], error(-8, "unknown logging category nope")),
        ("getmemoryinfo", ["x"], error(-8, "unknown mode x")),
        ("setmocktime", [-1], error(-8, "Mocktime must be in the range [0, 9223372036], not -1.")),
        ("decoderawtransaction", ["00"], error(-22, "TX decode failed")),
        ("decodescript", ["0"], error(-8, "argument must be hexadecimal string (not '0')")),
        ("getrawtransaction", [ABSENT, 1, ABSENT], error(-5, "Block hash not found")),
        (
            "getrawtransaction",
            [ABSENT, 1, GENESIS],
            error(-5, "No such transaction found in the provided block. Use gettransaction for wallet transactions."),
        ),
        ("getnetworkhashps", [0], error(-8, "Invalid nblocks. Must be a positive number or -1.")),
        ("getnetworkhashps", [1, 5], error(-8, "Block does not exist at specified height")),
        ("deriveaddresses", ["raw(51)"], error(-5, "Missing checksum")),
    ],
)
def test_refusals(running: Running, method: str, params: list[Any], expected: Any) -> None:
    assert running.call(method, *params) == expected


def test_generated_blocks_can_be_read_in_every_form(running: Running) -> None:
    hashes = running.call("generatetoaddress", 20, ADDRESS)
    assert running.call("getblockcount") == 20
    assert running.call("getbestblockhash") == hashes[-1]
    raw = bytes.fromhex(running.call("getblock", hashes[17], 0))
    assert sha256d(raw[:80])[::-1].hex() == hashes[17]
    block = running.call("getblock", hashes[17], 2)
    assert (block["height"], block["confirmations"], block["nTx"]) == (18, 3, 1)
    assert (block["previousblockhash"], block["nextblockhash"]) == (hashes[16], hashes[18])
    assert block["coinbase_tx"]["coinbase"] == "0112" + "00"  # BIP34
    coinbase = block["tx"][0]
    assert [output["value"] for output in coinbase["vout"]] == [50.0, 0.0]
    assert coinbase["vout"][0]["scriptPubKey"]["address"] == ADDRESS
    assert coinbase["vout"][1]["scriptPubKey"]["hex"].startswith("6a24aa21a9ed")  # BIP141
    assert coinbase["locktime"] == 17
    assert running.call("getblock", hashes[17], True)["tx"] == [coinbase["txid"]]
    assert running.call("getrawtransaction", coinbase["txid"], 0, hashes[17]) == coinbase["hex"]
    shown = running.call("getrawtransaction", coinbase["txid"], 1, hashes[17])
    assert (shown["in_active_chain"], shown["confirmations"], shown["blockhash"]) == (True, 3, hashes[17])
    assert shown["time"] == shown["blocktime"] == block["time"]
    running.call("invalidateblock", hashes[16])
    left = running.call("getrawtransaction", coinbase["txid"], True, hashes[17])
    assert (left["in_active_chain"], left["confirmations"], left["blockhash"]) == (False, 0, hashes[17])
    assert left.keys() == shown.keys() - {"time", "blocktime"}
    running.call("reconsiderblock", hashes[16])
    assert running.call("getrawtransaction", coinbase["txid"], 1, hashes[17]) == shown
    decoded = running.call("decoderawtransaction", coinbase["hex"])
    assert decoded == {key: value for key, value in coinbase.items() if key != "hex"}
    coin = running.call("gettxout", coinbase["txid"], 0)
    assert (coin["value"], coin["confirmations"], coin["coinbase"]) == (50.0, 3, True)
    assert running.call("getchaintxstats", 10)["window_tx_count"] == 10
    header = running.call("getblockheader", hashes[17])
    assert {key: block[key] for key in header} == header
    assert running.call("getblockheader", hashes[17], False) == raw[:80].hex()


def test_no_template_with_a_version_that_no_block_can_have(running: Running) -> None:
    running.parts.templates.version = 1
    text = "TestBlockValidity failed: bad-version(0x00000001), rejected nVersion=0x00000001 block"
    refused = {"code": -1, "message": text}
    assert running.call("getblocktemplate", {"rules": ["segwit"]}) == refused
    assert running.call("generatetodescriptor", 1, "raw(51)") == refused
    assert running.call("generateblock", ADDRESS, [], False) == refused
    assert running.call("getmininginfo")["currentblocktx"] == 0  # it was made before it was refused
    running.parts.templates.version = 4
    assert running.call("getblocktemplate", {"rules": ["segwit"]})["version"] == 4


def test_generate_to_descriptor_and_of_given_transactions(running: Running) -> None:
    (first,) = running.call("generatetodescriptor", 1, "raw(51)")
    assert running.call("getblock", first, 2)["tx"][0]["vout"][0]["scriptPubKey"]["hex"] == "51"
    made = running.call("generateblock", ADDRESS, [], False)
    assert running.call("getblockcount") == 1
    assert running.call("submitblock", made["hex"]) is None
    assert running.call("submitblock", made["hex"]) == "duplicate"
    assert running.call("getbestblockhash") == made["hash"]
    assert running.call("generateblock", "raw(52)", []).keys() == {"hash"}
    assert running.call("getblockcount") == 3
    foreign = parse_block(bytes.fromhex(made["hex"])).tx(0).raw.hex()
    refused = running.call("generateblock", "raw(52)", [foreign], False)
    assert refused == {"code": -25, "message": "TestBlockValidity failed: bad-cb-multiple, more than one coinbase"}


def test_submitblock_adds_the_coinbase_witness_that_miners_leave_out(running: Running) -> None:
    raw = bytes.fromhex(running.call("generateblock", ADDRESS, [], False)["hex"])
    coinbase = parse_block(raw).tx(0)
    stripped = raw[:81] + coinbase.stripped()
    assert len(stripped) < len(raw)
    assert running.call("submitblock", stripped.hex()) is None
    assert running.call("getblock", running.call("getbestblockhash"), 0) == raw.hex()


def test_submitheader(running: Running) -> None:
    raw = bytes.fromhex(running.call("generateblock", ADDRESS, [], False)["hex"])
    assert running.call("submitheader", raw[:80].hex()) is None
    assert running.call("getblockchaininfo")["headers"] == 1
    tips = running.call("getchaintips")
    assert [tip["status"] for tip in tips] == ["headers-only", "active"]
    assert running.call("getblock", tips[0]["hash"]) == error(-1, "Block not available (not fully downloaded)")
    late = bytearray(raw[:80])
    late[68:72] = (1).to_bytes(4, "little")
    for nonce in range(1000):
        late[76:80] = nonce.to_bytes(4, "little")
        if sha256d(bytes(late))[31] < 0x7F:
            break
    assert running.call("submitheader", bytes(late).hex()) == error(-25, "time-too-old")


def statuses(running: Running) -> dict[str, str]:
    return {tip["hash"]: tip["status"] for tip in running.call("getchaintips")}


def block_on(running: Running, prev: str, height: int) -> bytes:
    """A valid block on top of another than the tip."""
    params = running.parts.params
    prev_hash = BlockHash(bytes.fromhex(prev)[::-1])
    return BlockTemplate(params, prev_hash, height, START + 9, params.pow_limit_bits).build()


def test_a_block_may_be_asked_of_a_peer_again(running: Running) -> None:
    raw = block_on(running, running.call("getblockhash", 0), 1)
    assert running.call("submitheader", raw[:80].hex()) is None
    block_hash = sha256d(raw[:80])[::-1].hex()
    peers = [running.add_peer(f"9.9.{n}.9:1000") for n in range(2)]
    for n in (0, 0, 1, 0):
        assert running.call("getblockfrompeer", block_hash, n) == {}, "Core forgets all requests before"
        (item,) = peers[n].expect(GetData).items
        assert item.hash == sha256d(raw[:80])
    assert [len(peer["inflight"]) for peer in running.call("getpeerinfo")] == [1, 0]


def test_forks(running: Running) -> None:
    hashes = running.call("generatetoaddress", 3, ADDRESS)
    assert running.call("invalidateblock", hashes[1]) is None
    assert running.call("getblockcount") == 1
    other = running.call("generatetodescriptor", 2, "raw(51)")
    tips = running.call("getchaintips")
    assert sorted(tips, key=lambda tip: tip["status"]) == [
        {"height": 3, "hash": other[1], "branchlen": 0, "status": "active"},
        {"height": 3, "hash": hashes[2], "branchlen": 2, "status": "invalid"},
    ]
    assert running.call("getblockheader", hashes[2])["confirmations"] == -1
    assert "nextblockhash" not in running.call("getblockheader", hashes[2])
    assert running.call("getblockheader", hashes[0])["nextblockhash"] == other[0]
    assert running.call("getchaintxstats", 1, hashes[2]) == error(-8, "Block is not in main chain")
    assert running.call("reconsiderblock", hashes[2]) is None
    assert running.call("getbestblockhash") == hashes[2]
    assert statuses(running)[other[1]] == "valid-fork"
    assert running.call("preciousblock", other[1]) is None
    assert running.call("getbestblockhash") == other[1]
    assert statuses(running)[hashes[2]] == "valid-fork"
    side = block_on(running, hashes[0], 2)
    assert running.call("submitblock", side.hex()) == "inconclusive"
    side_hash = sha256d(side[:80])[::-1].hex()
    assert statuses(running)[side_hash] == "valid-headers"
    assert "fee" not in running.call("getblock", side_hash, 3)["tx"][0]
    assert running.call("getblockstats", side_hash) == error(-1, "Undo data not available")


def test_fees_and_prevouts_come_from_the_undo_data(running: Running) -> None:
    first, *_ = running.call("generatetodescriptor", COINBASE_MATURITY, "raw(52)")
    coinbase = bytes.fromhex(running.call("getblock", first)["tx"][0])[::-1]
    value = 50 * COIN - 4000
    spend = Tx(2, [coinbase + bytes(4)], [b""], [0xFFFFFFFF], [make_txout(value, b"\x51")])
    block_hash = running.call("generateblock", ADDRESS, [spend.raw.hex()])["hash"]
    tx = running.call("getblock", block_hash, 3)["tx"][1]
    assert tx["fee"] == 0.00004
    assert tx["vin"][0]["prevout"] == {
        "generated": True,
        "height": 1,
        "value": 50,
        "scriptPubKey": {"asm": "2", "desc": "raw(52)#qu92mhx7", "hex": "52", "type": "nonstandard"},
    }
    assert "prevout" not in running.call("getblock", block_hash, 2)["tx"][1]["vin"][0]
    txid = tx["txid"]
    assert running.call("getrawtransaction", txid, 2, block_hash)["fee"] == 0.00004
    stats = running.call("getblockstats", COINBASE_MATURITY + 1)
    expected = {
        "totalfee": 4000, "ins": 1, "outs": 3, "txs": 2, "total_out": value, "utxo_increase": 2, "avgfeerate": 65,
    }  # fmt: skip
    assert {key: stats[key] for key in expected} == expected
    assert stats["feerate_percentiles"] == [65] * 5
    wanted = {"minfee": 4000, "height": COINBASE_MATURITY + 1}
    assert running.call("getblockstats", block_hash, ["minfee", "height"]) == wanted
    assert running.call("getblockstats", block_hash) == stats


def test_utxo_set(running: Running) -> None:
    running.call("generatetoaddress", 2, ADDRESS)
    info = running.call("gettxoutsetinfo")
    assert list(info) == [
        "height", "bestblock", "txouts", "bogosize", "hash_serialized_3", "total_amount", "transactions", "disk_size",
    ]  # fmt: skip
    assert len(bytes.fromhex(info["hash_serialized_3"])) == 32
    assert (info["total_amount"], info["txouts"], info["transactions"], info["height"]) == (100.0, 2, 2, 2)
    running.call("generatetoaddress", 1, ADDRESS)
    assert running.call("gettxoutsetinfo")["hash_serialized_3"] != info["hash_serialized_3"]
    assert "hash_serialized_3" not in running.call("gettxoutsetinfo", "none")
    assert "muhash" in running.call("gettxoutsetinfo", "muhash")


def test_deployments(running: Running) -> None:
    info = running.call("getdeploymentinfo")
    assert list(info["deployments"]) == ["bip34", "bip66", "bip65", "csv", "segwit", "testdummy"]
    assert info["deployments"]["bip34"] == {"type": "buried", "active": True, "height": 1}
    assert info["deployments"]["testdummy"]["bip9"]["status"] == "defined"
    assert "statistics" not in info["deployments"]["testdummy"]["bip9"]
    hashes = running.call("generatetoaddress", 200, ADDRESS)
    vote = running.call("getdeploymentinfo", hashes[-1])["deployments"]["testdummy"]["bip9"]
    assert (vote["status"], vote["bit"], vote["since"]) == ("started", 28, 144)
    assert vote["statistics"] == {"period": 144, "elapsed": 57, "count": 57, "threshold": 108, "possible": True}
    assert vote["signalling"] == "#" * 57


def test_peers(running: Running) -> None:
    peer = running.add_peer("1.2.3.4:18444", services=0x409)
    other = running.add_peer("1.2.3.5:5")
    first, second = running.call("getpeerinfo")
    assert (first["id"], first["addr"], second["id"]) == (0, "1.2.3.4:18444", 1)
    assert first["servicesnames"] == ["NETWORK", "WITNESS", "NETWORK_LIMITED"]
    assert (first["network"], first["inbound"], first["connection_type"]) == ("ipv4", True, "inbound")
    assert first["bytesrecv_per_msg"]["version"] > 100
    assert "minping" not in first
    assert "addrlocal" not in first
    assert running.call("getconnectioncount") == 2
    assert running.call("ping") is None
    peer.expect(Ping)
    assert running.call("disconnectnode", "1.2.3.4:18444") is None
    assert peer.is_closed()
    assert running.call("disconnectnode", "", 1) is None
    assert other.is_closed()
    assert running.call("getconnectioncount") == 0
    assert running.call("getnettotals")["totalbytesrecv"] > 200
    assert running.call("setnetworkactive", False) is False
    network = running.call("getnetworkinfo")
    assert (network["networkactive"], network["version"], network["connections_out"]) == (False, 310_000, 0)
    assert [net["name"] for net in network["networks"] if net["reachable"]] == ["ipv4", "ipv6"]


def test_the_fees_of_the_options_are_told(run_server: Any) -> None:
    running = run_server(minrelaytxfee="0.00003", incrementalrelayfee="0.00002")
    info = running.call("getnetworkinfo")
    assert (info["relayfee"], info["incrementalfee"]) == (0.00003, 0.00002)


def test_a_node_that_cannot_be_remembered_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.protocol.connections.added_nodes.MAX_ADDED_NODES", 2)
    for number in range(2):
        assert running.call("addnode", f"{number}.example", "add") is None
    code, text = RpcCode.CLIENT_NODE_CAPACITY_REACHED, "Error: No more than 1024 nodes can be added"
    assert running.call("addnode", "2.example", "add") == error(code, text)
    assert running.call("addnode", "1.example", "remove") is None
    assert running.call("addnode", "2.example", "add") is None


def test_added_nodes(run_server: Any) -> None:
    running = run_server(dns=False, v2transport=False)
    refused = error(-8, "Error: v2transport requested but not enabled (see -v2transport)")
    assert running.call("addnode", "h", "add", True) == refused
    params = running.parts.params
    with ChainServer(params, [params.genesis_block[:80]]) as server:
        assert running.call("addnode", server.address, "add") is None
        assert running.call("addnode", "down.example", "add") is None
        assert running.call("addnode", "down.example", "add") == error(-23, "Error: Node already added")
        assert running.call("addnode", "[::1]:1", "onetry") is None
        up = {
            "addednode": server.address,
            "connected": True,
            "addresses": [{"address": server.address, "connected": "outbound"}],
        }
        running.until(lambda: running.tick() or running.call("getaddednodeinfo")[0]["connected"])
        assert running.call("getaddednodeinfo") == [
            up,
            {"addednode": "down.example", "connected": False, "addresses": []},
        ]
        assert running.call("addnode", "down.example", "remove") is None
        assert running.call("getaddednodeinfo") == [up]
        assert running.call("getaddednodeinfo", server.address) == [up]
    assert running.call("addnode", "x", "frob")["message"].startswith('addnode "node" "command" ( v2transport )\n')


def test_control(running: Running) -> None:
    assert running.call("uptime") in range(60)
    shown = running.call("logging", ["net", "rpc"], ["rpc"])
    assert (shown["net"], shown["rpc"], shown["http"]) == (True, False, False)
    assert all(running.call("logging", ["all"]).values())
    assert not any(running.call("logging", [], ["all"]).values())
    info = running.call("getrpcinfo")
    assert info["logpath"] == str(running.settings.log_path)
    assert [row["method"] for row in info["active_commands"]] == ["getrpcinfo"]
    assert running.call("getmemoryinfo")["process"]["peak_resident"] > 1_000_000
    assert running.call("echo", "a", 1, None, [True]) == ["a", 1, None, [True]]
    assert running.call("setmocktime", 1_800_000_000) is None
    assert running.now == 1_800_000_000
    assert running.call("stop") == "btcnode stopping"
    assert running.launch.control.stop_requested.is_set()


def test_what_happened_before_the_clock_is_set_happened_at_the_old_time(running: Running) -> None:
    peer = running.add_peer("9.9.9.9:1000")
    peer.send(Pong(peer.expect(Ping).nonce))
    running.until(lambda: "pingtime" in running.call("getpeerinfo")[0])
    assert running.call("ping") is None
    assert running.call("setmocktime", running.now + 60) is None
    (info,) = running.call("getpeerinfo")
    assert info["pingwait"] == 60


def test_waiting(running: Running) -> None:
    assert running.call("waitfornewblock", 30)["height"] == 0
    assert running.call("waitforblockheight", 0)["height"] == 0
    assert running.call("waitforblock", GENESIS)["hash"] == GENESIS
    assert running.call("waitforblock", ABSENT, 30)["hash"] == GENESIS
    answers: list[Any] = []
    waiter = threading.Thread(target=lambda: answers.append(running.call("waitforblockheight", 2, 20_000)))
    waiter.start()
    deadline = time.monotonic() + 10
    while not running.table.active and time.monotonic() < deadline:
        time.sleep(0.01)
    hashes = running.call("generatetoaddress", 2, ADDRESS)
    waiter.join(20)
    assert answers == [{"hash": hashes[1], "height": 2}]
    assert running.call("syncwithvalidationinterfacequeue") is None


def test_addresses(running: Running) -> None:
    assert running.call("validateaddress", ADDRESS) == {
        "isvalid": True,
        "address": ADDRESS,
        "scriptPubKey": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
        "isscript": False,
        "iswitness": True,
        "witness_version": 0,
        "witness_program": "751e76e8199196d454941c45d1b3a323f1433bd6",
    }
    for text, why, at in [
        ("foo", "Invalid checksum or length of Base58 address (P2PKH or P2SH)", []),
        ("0OIl", "Invalid or unsupported Segwit (Bech32) or Base58 encoding.", []),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "Invalid or unsupported Base58-encoded address.", []),
        (ADDRESS[:-1] + "q", "Invalid Bech32 checksum", [len(ADDRESS) - 1]),
    ]:
        assert running.call("validateaddress", text) == {"isvalid": False, "error": why, "error_locations": at}
    described = running.call(
        "getdescriptorinfo", "wpkh(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798)"
    )
    assert described["descriptor"].endswith("#" + described["checksum"])
    assert running.call("deriveaddresses", described["descriptor"]) == [ADDRESS]


def test_mining_info(running: Running) -> None:
    info = running.call("getmininginfo")
    assert (info["blocks"], info["next"]["height"], info["bits"], info["blockmintxfee"]) == (0, 1, "207fffff", 1e-08)
    assert info["pooledtx"] == 0
    assert "currentblocktx" not in info
    running.call("generatetoaddress", 3, ADDRESS)
    info = running.call("getmininginfo")
    assert (info["currentblockweight"], info["currentblocktx"]) == (8000, 0)
    assert running.call("getnetworkhashps", 2) == pytest.approx(float(Decimal(4)), rel=1)
