"""Methods over the utreexoindex: roots, proofs of blocks and of coins."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.services import index_readers
from btcnode.services.index_builder import IndexBuilder
from btcnode.utreexo.coin_proof import CoinProof, decode_roots
from btcnode.utreexo.hashing import EMPTY
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump

Running = Any

ABSENT = "11" * 32
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture
def running(run_server: Any) -> Running:
    return run_server(utreexoindex=True)


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def spend(running: Running) -> Tx:
    """Mine a transaction with two outputs that spends the first coinbase; the tip is its block."""
    first, *_ = running.call("generatetodescriptor", COINBASE_MATURITY, "raw(52)")
    coinbase = bytes.fromhex(running.call("getblock", first)["tx"][0])[::-1]
    txouts = [make_txout(20 * COIN, b"\x51"), make_txout(30 * COIN, b"\x53")]
    tx = Tx(2, [coinbase + bytes(4)], [b""], [0xFFFFFFFF], txouts)
    running.call("generateblock", ADDRESS, [tx.raw.hex()])
    return tx


def stump_of(roots: Any) -> Stump:
    found = tuple(None if root == EMPTY.hex() else bytes.fromhex(root) for root in roots["roots"])
    return Stump(roots["numleaves"], found)


def test_roots_and_proofs_of_blocks(running: Running) -> None:
    tx = spend(running)
    tip = running.call("getbestblockhash")
    roots = running.call("getutreexoroots", tip)
    assert roots == running.call("getutreexoroots")
    assert (roots["height"], roots["numleaves"]) == (101, 103)
    assert decode_roots(bytes.fromhex(roots["hex"])) == (bytes.fromhex(tip)[::-1], stump_of(roots))
    before = stump_of(running.call("getutreexoroots", running.call("getblockhash", 100)))
    shown = running.call("getutreexoproof", tip, 1)
    proof = Proof(tuple(shown["prooftargets"]), tuple(map(bytes.fromhex, shown["proofhashes"])))
    leaves = [bytes.fromhex(leaf) for leaf in shown["targethashes"]]
    before.verify(leaves, proof)
    [preimage] = shown["targetpreimages"]
    assert preimage[64:136] == tx.prevouts[0].hex()
    packed = bytes.fromhex(running.call("getutreexoproof", tip))
    read, at = Proof.decode(packed)
    assert read == proof
    # one leaf: height 1, coinbase, 50 coins, a script of one byte that no input tells
    assert packed[at:].hex() == "01" + "03000000" + (50 * COIN).to_bytes(8, "little").hex() + "00" + "01" + "52"
    assert running.call("getutreexoroots", running.call("getblockhash", 0))["numleaves"] == 0


def test_coins(running: Running) -> None:
    tx = spend(running)
    outputs = [{"txid": tx.txid[::-1].hex(), "vout": vout} for vout in (1, 0)]
    made = running.call("proveutreexocoins", outputs)
    tip = running.call("getbestblockhash")
    assert (made["blockhash"], made["height"]) == (tip, 101)
    assert [(coin["vout"], coin["value"], coin["scriptPubKey"]) for coin in made["coins"]] == [
        (1, 30, "53"), (0, 20, "51"),
    ]  # fmt: skip
    running.call("generatetoaddress", 3, ADDRESS)
    verdict = running.call("verifyutreexoproof", made["hex"])
    assert verdict.pop("valid") is True
    assert verdict == {name: made[name] for name in ("blockhash", "height", "coins")}
    assert running.call("proveutreexocoins", outputs, tip) == made  # the forest goes back to that block
    forged = CoinProof.decode(bytes.fromhex(made["hex"]))
    bent = forged.encode().replace((30 * COIN).to_bytes(8, "little"), (40 * COIN).to_bytes(8, "little"))
    verdict = running.call("verifyutreexoproof", bent.hex())
    assert (verdict["valid"], verdict["error"]) == (False, "the proof does not lead to the roots")
    packed = running.call("proveutxochaintipinclusion", [output["txid"] for output in outputs], [1, 0])
    shown = running.call("proveutxochaintipinclusion", [output["txid"] for output in outputs], [1, 0], 1)
    assert shown["hex"] == packed and len(shown["hashesproven"]) == 2
    assert running.call("verifyutxochaintipinclusionproof", packed) is True
    assert running.call("verifyutxochaintipinclusionproof", packed[:-2] + "00") is False
    running.call("generatetoaddress", 1, ADDRESS)
    why = f"Possibly stale proof: it is about block {shown['provedathash']}, which is not the tip"
    assert running.call("verifyutxochaintipinclusionproof", packed) == error(-1, why)


def test_what_cannot_be_proven(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tx = spend(running)
    txid, spent = tx.txid[::-1].hex(), tx.prevouts[0][31::-1].hex()
    for outputs, code, why in (
        ([], -8, "1 to 1000 outputs are proven at once"),
        ([{"txid": txid, "vout": n} for n in range(1001)], -8, "1 to 1000 outputs are proven at once"),
        (2 * [{"txid": txid, "vout": 0}], -8, "An output is named twice"),
        ([{"txid": ABSENT, "vout": 0}], -5, f"Output {ABSENT}:0 is not in the set"),
        ([{"txid": spent, "vout": 0}], -5, f"Output {spent}:0 is not in the set"),
        ([{"txid": txid, "vout": -1}], -8, "Invalid parameter, vout cannot be negative"),
        ([{"txid": "11", "vout": 0}], -8, "txid must be of length 64 (not 2, for '11')"),
    ):
        assert running.call("proveutreexocoins", outputs) == error(code, why)
    output = [{"txid": txid, "vout": 0}]
    why = f"Output {txid}:0 is not in the set"
    assert running.call("proveutreexocoins", output, running.call("getblockhash", 100)) == error(-5, why)
    assert running.call("proveutreexocoins", output, ABSENT) == error(-5, "Block not found")
    assert running.call("proveutxochaintipinclusion", [txid], []) == error(-8, "1 txids for 0 vouts")
    tip = running.call("getbestblockhash")
    monkeypatch.setattr(index_readers, "MAX_BACK", 2)
    running.call("generatetoaddress", 3, ADDRESS)
    why = "the block is 3 blocks deep, proofs are made of the last 2"
    assert running.call("proveutreexocoins", output, tip) == error(-1, why)
    why = "The genesis block has no Utreexo proof"
    assert running.call("getutreexoproof", running.call("getblockhash", 0)) == error(-8, why)
    for text, why in (("00", "this is no proof of coins"), ("554350310000", "this is no proof of coins")):
        assert running.call("verifyutreexoproof", text) == error(-22, why)
    assert running.call("verifyutxochaintipinclusionproof", "00" * 33)["code"] == -22


def test_reorganisation(running: Running) -> None:
    tx = spend(running)
    tip = running.call("getbestblockhash")
    output = [{"txid": tx.txid[::-1].hex(), "vout": 0}]
    made, roots = running.call("proveutreexocoins", output), running.call("getutreexoroots")
    running.call("invalidateblock", tip)
    assert "is not in the set" in running.call("proveutreexocoins", output)["message"]
    assert running.call("getutreexoroots")["height"] == 100
    running.call("generateblock", ADDRESS, [])
    running.call("generateblock", ADDRESS, [])
    assert running.call("getutreexoroots")["numleaves"] == 102
    assert running.call("verifyutreexoproof", made["hex"])["valid"]  # after its own block it was there
    running.call("reconsiderblock", tip)
    running.call("invalidateblock", running.call("getblockhash", 101))
    running.call("reconsiderblock", tip)
    assert running.call("getutreexoroots", tip) == roots


def test_without_or_behind(run_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = run_server()
    for method, *params in (
        ("getutreexoroots",), ("proveutreexocoins", [{"txid": ABSENT, "vout": 0}]),
        ("getutreexoproof", bare.call("generatetoaddress", 1, ADDRESS)[0]),
    ):  # fmt: skip
        why = "This needs the Utreexo forest: start with -utreexoindex"
        assert bare.call(method, *params) == error(-1, why)


def test_behind(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tx = spend(running)
    assert running.call("getutreexoroots")["height"] == 101
    monkeypatch.setattr(IndexBuilder, "_plan", lambda self: ())
    monkeypatch.setattr("btcnode.services.index_builder.NEAR_BLOCKS", 0)
    running.call("generatetoaddress", 2, ADDRESS)
    assert running.call("getutreexoroots") == error(-1, "The utreexoindex has come to height 101 only")
    tip = running.call("getbestblockhash")
    why = f"the utreexoindex has not come to block {tip} yet"
    assert running.call("proveutreexocoins", [{"txid": tx.txid[::-1].hex(), "vout": 0}]) == error(-1, why)
