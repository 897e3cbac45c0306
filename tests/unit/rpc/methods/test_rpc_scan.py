"""Scans, proofs, orphans, private broadcasts and what else looks at the node from aside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.merkle_proof import build_proof, read_proof
from btcnode.primitives.tx import Tx
from btcnode.protocol.transactions.private_broadcast import PrivateInfo, Sending
from btcnode.services.assumed_chain import ChainPart
from btcnode.storage.coins import CoinsDb
from btcnode.wire.messages import Ping, Pong, TxMessage
from btcnode.wire.netaddr import NetAddress

Running = Any
SCRIPT = "51"
ABSENT = "aa" * 32
TX = Tx(2, [bytes(35) + b"\x01"], [b""], [0], [make_txout(5000, b"\x00\x14" + bytes(20))])


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def test_scantxoutset_finds_what_descriptors_stand_for(running: Running) -> None:
    (mined,) = running.call("generatetodescriptor", 1, f"raw({SCRIPT})")
    assert running.call("scantxoutset", "status") is None
    assert running.call("scantxoutset", "abort") is False
    found = running.call("scantxoutset", "start", [f"raw({SCRIPT})", {"desc": "raw(52)"}])
    (unspent,) = found["unspents"]
    assert found["success"] is True and found["height"] == 1 and found["bestblock"] == mined
    assert unspent["amount"] == 50 == found["total_amount"]
    assert (unspent["blockhash"], unspent["confirmations"], unspent["coinbase"]) == (mined, 1, True)
    assert unspent["desc"].startswith(f"raw({SCRIPT})#")
    scan = "scantxoutset"
    assert running.call(scan, "foo") == error(-8, "Invalid action 'foo'")
    assert running.call(scan, "start") == error(-1, "scanobjects argument is required for the start action")
    assert running.call(scan, "start", None) == error(-3, "JSON value of type null is not of expected type array")
    assert running.call(scan, "start", ["foo"])["code"] == -5
    assert running.call(scan, "start", [{}]) == error(-8, "Descriptor needs to be provided in scan object")
    assert running.parts.chain.coin_scan.running is False


def test_scantxoutset_can_be_watched_and_aborted(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(_: CoinsDb, scripts: Any, report: Callable[[int], bool]) -> tuple[bool, int, list[Any]]:
        report(0)
        gate.wait(20)
        return report(50), 0, []

    monkeypatch.setattr(CoinsDb, "find_scripts", slow)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(running.call("scantxoutset", "start", ["raw(51)"])))
    caller.start()
    while running.call("scantxoutset", "status") is None:
        pass
    assert running.call("scantxoutset", "status") == {"progress": 0}
    busy = error(-8, 'Scan already in progress, use action "abort" or "status"')
    assert running.call("scantxoutset", "start", ["raw(51)"]) == busy
    assert running.call("scantxoutset", "abort") is True
    gate.set()
    caller.join(20)
    assert answers[0]["success"] is False
    assert running.call("scantxoutset", "status") is None


def test_getdescriptoractivity(running: Running) -> None:
    (mined,) = running.call("generatetodescriptor", 1, f"raw({SCRIPT})")
    (event,) = running.call("getdescriptoractivity", [mined], [f"raw({SCRIPT})"])["activity"]
    assert event["type"] == "receive" and event["height"] == 1 and event["blockhash"] == mined
    assert running.call("getdescriptoractivity", [], ["raw(52)"]) == {"activity": []}
    assert running.call("getdescriptoractivity", [ABSENT], []) == error(-5, "Block not found")


def test_txoutproofs(running: Running) -> None:
    (mined,) = running.call("generatetodescriptor", 1, f"raw({SCRIPT})")
    txid = running.call("getblock", mined)["tx"][0]
    proof = running.call("gettxoutproof", [txid])
    assert proof == running.call("gettxoutproof", [txid], mined)
    assert running.call("verifytxoutproof", proof) == [txid]
    assert running.call("verifytxoutproof", proof[:-2] + "00") == []
    assert running.call("verifytxoutproof", proof[:100])["code"] == -1
    get = "gettxoutproof"
    assert running.call(get, []) == error(-8, "Parameter 'txids' cannot be empty")
    assert running.call(get, [txid, txid]) == error(-8, f"Invalid parameter, duplicated txid: {txid}")
    assert running.call(get, [ABSENT]) == error(-5, "Transaction not yet in block")
    elsewhere = "Not all transactions found in specified or retrieved block"
    assert running.call(get, [txid, ABSENT]) == error(-5, elsewhere)
    running.call("invalidateblock", mined)
    assert running.call("verifytxoutproof", proof) == error(-5, "Block not found in chain")


@pytest.mark.parametrize("total", [1, 2, 3, 7, 8, 33])
def test_merkle_proofs_of_every_shape(total: int) -> None:
    txids = [sha256d(bytes((n,))) for n in range(total)]
    root, _ = merkle_root(txids)
    for wanted in ([], txids[:1], txids[-1:], txids[::3], txids):
        hashes, flags = build_proof(txids, set(wanted))
        assert read_proof(total, hashes, flags) == (root, wanted)
        with pytest.raises(DecodeError):
            read_proof(total, [*hashes, hashes[0]], flags)
        with pytest.raises(DecodeError):
            read_proof(total, hashes, flags + b"\0")
        with pytest.raises(DecodeError):
            read_proof(0, hashes, flags)


def test_getorphantxs(running: Running) -> None:
    running.call("generatetodescriptor", 1, f"raw({SCRIPT})")  # no longer far behind
    running.add_peer("192.0.2.1:18444")
    peer = running.add_peer("192.0.2.2:18444")
    peer.send(TxMessage(TX.raw))
    peer.send(Ping(1))
    peer.expect(Pong)
    assert running.call("getorphantxs") == [to_display(TX.txid)]
    (told,) = running.call("getorphantxs", 1)
    assert told["from"] == [1] and told["bytes"] == len(TX.raw)
    assert running.call("getorphantxs", 2)[0]["hex"] == TX.raw.hex()
    assert running.call("getorphantxs", 3) == error(-8, "Invalid verbosity value 3")
    assert running.call("getorphantxs", True) == error(-3, "Verbosity was boolean but only integer allowed")


def test_private_broadcasts(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    address = NetAddress.from_host("192.0.2.1", 8333)
    sendings = (Sending(1, address, 100, 105), Sending(2, address, 101))
    under_way = [PrivateInfo(TX, 99, sendings)]
    protocol = running.assembled.machinery.protocol
    monkeypatch.setattr(protocol, "private_broadcasts", lambda: tuple(under_way))
    (told,) = running.call("getprivatebroadcastinfo")["transactions"]
    assert told["time_added"] == 99
    assert told["peers"] == [
        {"address": "192.0.2.1:8333", "sent": 100, "received": 105},
        {"address": "192.0.2.1:8333", "sent": 101},
    ]
    assert running.call("abortprivatebroadcast", ABSENT)["code"] == -5
    (removed,) = running.call("abortprivatebroadcast", to_display(TX.txid))["removed_transactions"]
    assert removed["hex"] == TX.raw.hex()
    under_way.clear()
    assert running.call("getprivatebroadcastinfo") == {"transactions": []}


def test_small_ones(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[tuple[int, int]] = []

    def verify(_: object, blocks: int, level: int, progress: object) -> bool:
        verified.append((blocks, level))
        return True

    monkeypatch.setattr("btcnode.chain.verify_db.verify_recent", verify)
    state = running.call("getchainstates")
    assert state["headers"] == 0 and state["chainstates"][0]["blocks"] == 0
    assumed = ChainPart(0, 5, running.parts.chain.tree.hash(0), validated=False)
    monkeypatch.setattr(type(running.parts.assumed), "chain_parts", lambda _: [assumed])
    (state,) = running.call("getchainstates")["chainstates"]  # Core tells the set's block after the caches
    assert list(state)[-4:] == ["coins_db_cache_bytes", "coins_tip_cache_bytes", "snapshot_blockhash", "validated"]
    assert running.call("verifychain") is True and running.call("verifychain", 9, -1) is True
    assert verified == [(6, 3), (0, 4)]
    assert running.call("getindexinfo") == {}
    assert running.call("mockscheduler", 0) == error(-1, "delta_time must be between 1 and 3600 seconds (1 hr)")
    assert running.call("mockscheduler", 60) is None
    text = "generate\n\nhas been replaced by the -generate cli option. Refer to -help for more information.\n"
    assert running.call("generate") == error(-32601, text)
    assert running.call("help", "generate") == text
    assert running.call("echo", None, 1, None) == [None, 1, None]
    assert running.call("echo", *[None] * 9, "trigger_internal_bug")["message"].startswith("Internal bug detected: ")
    assert running.call("echoipc", "hello") == "hello"
    assert running.call("enumeratesigners") == error(-1, "Error: restart bitcoind with -signer=<cmd>")
    genesis = running.call("getblockhash", 0)
    assert running.call("getblockfrompeer", ABSENT, 3) == error(-1, "Block header missing")
    assert running.call("getblockfrompeer", genesis, 3) == error(-1, "Block already downloaded")
    heap = running.call("getmemoryinfo")["locked"]
    assert heap["used"] + heap["free"] == heap["total"] and heap["chunks_used"] > 0
    assert running.call("getmemoryinfo", "mallocinfo").startswith("<malloc ")


@pytest.mark.parametrize(("method", "params"), [("gettxoutsetinfo", ["none"]), ("verifychain", [4, 0])])
def test_long_work_ends_when_the_node_stops(
    running: Running, monkeypatch: pytest.MonkeyPatch, method: str, params: list[Any]
) -> None:
    running.call("generatetodescriptor", 2, f"raw({SCRIPT})")
    begun = threading.Event()

    def endless(progress: Callable[..., None]) -> NoReturn:
        begun.set()
        while True:
            progress(0, 0) if method == "verifychain" else progress(0)
            time.sleep(0.01)

    monkeypatch.setattr(CoinsDb, "utxo_stats", lambda _, hash_type, progress, *more: endless(progress))
    monkeypatch.setattr("btcnode.chain.verify_db.verify_recent", lambda *work: endless(work[-1]))
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(running.call(method, *params)))
    caller.start()
    assert begun.wait(20)
    running.close()
    caller.join(20)
    assert answers == [error(-1, "Shutting down")]


def test_orphans_are_in_the_order_of_their_wtxids(running: Running) -> None:
    running.call("generatetodescriptor", 1, f"raw({SCRIPT})")
    txs = [Tx(2, [bytes([n]) * 36], [b""], [0], TX.txouts, [[b"w"]]) for n in range(1, 9)]
    peers = [running.add_peer(f"192.0.2.{n}:18444") for n in (1, 2)]
    for n, tx in enumerate(txs):
        for peer in peers if n % 2 else peers[::-1]:
            peer.send(TxMessage(tx.raw))
    for peer in peers:
        peer.send(Ping(1))
        peer.expect(Pong)
    assert running.call("getorphantxs") == [to_display(tx.txid) for tx in sorted(txs, key=lambda tx: tx.wtxid)]
