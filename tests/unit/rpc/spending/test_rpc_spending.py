"""Methods that make a wallet's transactions, over a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcError
from btcnode.services.wallet_broadcast import Broadcast
from btcnode.wallet.states import INACTIVE
from btcnode.wallet.wallet import Wallet
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"
NOBODY = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Running]:
    """A node with a wallet of three coins of 50 BTC, of which one is on a taproot address."""
    settings = regtest_config(tmp_path, keypool=5, fallbackfee="0.0001")
    node = Running(settings)
    node.call("createwallet", "w")
    node.call("generatetoaddress", 2, node.call("getnewaddress"))
    node.call("generatetoaddress", 1, node.call("getnewaddress", "", "bech32m"))
    node.call("generatetoaddress", 100, OTHER)
    yield node
    node.close()


def fee_rate(lab: Running, txid: str) -> float:
    """Satoshi per vbyte."""
    entry = lab.call("getmempoolentry", txid)
    return float(entry["fees"]["base"]) * 1e8 / float(entry["vsize"])


def txid_of(answer: Any) -> str:
    assert isinstance(answer, str), answer
    return answer


def change_keys(lab: Running) -> dict[str, Any]:
    """The descriptor of change that goes to P2WPKH."""
    rows = lab.call("listdescriptors")["descriptors"]
    found: dict[str, Any] = next(row for row in rows if row["internal"] and row["desc"].startswith("wpkh("))
    return found


def test_each_try_without_change_takes_an_address_for_it(lab: Running) -> None:
    """As in Core, so that wallets with the same keys go on to the same addresses."""
    first, second = ({"txid": row["txid"], "vout": row["vout"]} for row in lab.call("listunspent")[:2])
    assert change_keys(lab)["next_index"] == 0
    exactly = {"inputs": [first], "add_inputs": False, "subtract_fee_from_outputs": [0]}
    assert lab.call("send", [{OTHER: 50}], None, None, 2, exactly)["complete"]
    assert change_keys(lab)["next_index"] == 2
    assert lab.call("send", [{OTHER: 1}], None, None, 2, {"inputs": [second], "add_inputs": False})["complete"]
    assert change_keys(lab)["next_index"] == 3
    refused = lab.call("send", [{OTHER: 51}], None, None, 2, {"inputs": [first], "add_inputs": False})
    assert refused["code"] == -4 and change_keys(lab)["next_index"] == 3


def test_change_of_the_second_try_goes_to_the_second_address(tmp_path: Path) -> None:
    lab = Running(regtest_config(tmp_path, fallbackfee="0.0001", maxapsfee="0.01"))
    try:
        lab.call("createwallet", "w")
        lab.call("generatetoaddress", 2, lab.call("getnewaddress"))
        lab.call("generatetoaddress", 100, OTHER)
        txid = txid_of(lab.call("sendtoaddress", OTHER, 50, "", "", True))  # both coins, since they are one address's
        decoded = lab.call("gettransaction", txid, True, True)["decoded"]
        assert len(decoded["vin"]) == 2
        (change,) = (out for out in decoded["vout"] if out.get("ischange"))
        keys = change_keys(lab)
        assert lab.call("deriveaddresses", keys["desc"], [1, 1]) == [change["scriptPubKey"]["address"]]
        assert keys["next_index"] == 2
    finally:
        lab.close()


def test_notes_of_a_transaction_stand_in_order_of_their_names(lab: Running) -> None:
    txid = txid_of(lab.call("sendtoaddress", OTHER, 1, "rent", "landlord"))
    bumped = lab.call("bumpfee", txid)["txid"]
    names = [name for name in lab.call("gettransaction", txid) if name in ("comment", "to", "replaced_by_txid")]
    assert names == ["comment", "replaced_by_txid", "to"]
    names = [name for name in lab.call("gettransaction", bumped) if name in ("comment", "to", "replaces_txid")]
    assert names == ["comment", "replaces_txid", "to"]


def test_sending_to_an_address(lab: Running) -> None:
    txid = txid_of(lab.call("sendtoaddress", OTHER, 1, "rent", "landlord"))
    assert lab.call("getrawmempool") == [txid]
    shown = lab.call("gettransaction", txid)
    assert (shown["comment"], shown["to"], shown["amount"]) == ("rent", "landlord", -1)
    tx = lab.call("decoderawtransaction", shown["hex"])
    assert sorted(float(out["value"]) for out in tx["vout"])[0] == 1 and len(tx["vout"]) == 2
    assert tx["vin"][0]["sequence"] == 0xFFFFFFFD and 3 <= tx["locktime"] <= 103
    assert 9.9 < fee_rate(lab, txid) < 10.5
    change = next(out for out in tx["vout"] if out["value"] != 1)
    shown = lab.call("gettransaction", txid, True, True)["decoded"]["vout"]
    assert [out["n"] for out in shown if out.get("ischange")] == [change["n"]]
    assert change["scriptPubKey"]["type"] == "witness_v0_keyhash"  # as what is paid to
    told = lab.call("sendtoaddress", TAPROOT, 1, "", "", True, False, None, None, None, 25, True)
    assert told["fee_reason"] == "None"
    tx = lab.call("decoderawtransaction", lab.call("gettransaction", told["txid"])["hex"])
    assert {out["scriptPubKey"]["type"] for out in tx["vout"]} == {"witness_v1_taproot"}
    assert tx["vin"][0]["sequence"] == 0xFFFFFFFE and all(out["value"] != 1 for out in tx["vout"])
    assert 24.9 < fee_rate(lab, told["txid"]) < 26
    lab.call("generatetoaddress", 1, OTHER)
    assert lab.call("gettransaction", txid)["confirmations"] == 1


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (("x", 1), error(-5, "Invalid Bitcoin address: x")),
        ((OTHER, 200), error(-6, "Insufficient funds")),
        ((OTHER, 150), error(-6, "The total exceeds your balance when the 0.0000042 transaction fee is included.")),
        ((OTHER, "0.00000001"), error(-6, "Transaction amount too small")),
        ((OTHER, 1, "", "", False, None, 6, "wrong"), error(
            -8, 'Invalid estimate_mode parameter, must be one of: "unset", "economical", "conservative"')),
        ((OTHER, 1, "", "", False, None, 1009), error(-8, "Invalid conf_target, must be between 1 and 1008")),
        ((OTHER, 1, "", "", False, None, 6, None, None, 1), error(
            -8, "Cannot specify both conf_target and fee_rate. Please provide either a confirmation target in blocks"
            " for automatic fee estimation, or an explicit fee rate.")),
        ((OTHER, 1, "", "", False, None, None, None, None, "0.0001"), error(-3, "Invalid amount")),
        ((OTHER, 1, "", "", False, None, None, None, None, 0.5), error(
            -6, "Fee rate (0.500 sat/vB) is lower than the minimum fee rate setting (1.000 sat/vB).\nConsider modifying"
            " -mintxfee (1.000 sat/vB) or -minrelaytxfee (0.100 sat/vB).")),
        ((OTHER, 1, "", "", False, None, None, None, True), error(
            -4, 'wallet does not have the "avoid reuse" feature enabled')),
        ((OTHER, 1, "", "", False, None, None, None, None, 500_000), error(
            -6, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)")),
    ],
)  # fmt: skip
def test_what_is_refused(lab: Running, params: tuple[Any, ...], expected: dict[str, Any]) -> None:
    assert lab.call("sendtoaddress", *params) == expected
    assert lab.call("getrawmempool") == []


RAW = "02000000000100e1f50500000000160014751e76e8199196d454941c45d1b3a323f1433bd600000000"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"input_weights": [None]}, error(-3, "JSON value of type null is not of expected type string")),
        ({"input_weights": ["x", 1]}, error(-3, "JSON value of type null is not of expected type string")),
        ({"subtractFeeFromOutputs": 1}, error(-1, "JSON value is not an object or array as expected")),
        ({"subtractFeeFromOutputs": "x"}, error(-1, "JSON value is not an object or array as expected")),
        (
            {"subtractFeeFromOutputs": {}},
            error(-3, "JSON value of type object for field subtractFeeFromOutputs is not of expected type array"),
        ),
    ],
)
def test_types_inside_options_are_judged_as_core_does(
    lab: Running, params: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert lab.call("fundrawtransaction", RAW, params) == expected


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("sendall", [[1]], error(-8, "Must provide at least one address without a specified amount")),
        ("sendall", [[OTHER, True]], error(-8, "Invalid parameter, key-value pair not an object as expected")),
        ("walletcreatefundedpsbt", ["x", {OTHER: 1}], error(
            -3, "Wrong type passed:\n{\n    \"Position 1 (inputs)\":"
            " \"JSON value of type string is not of expected type array\"\n}")),
        ("simulaterawtransaction", [], error(-3, "JSON value of type null is not of expected type array")),
        ("simulaterawtransaction", [None], error(-3, "JSON value of type null is not of expected type array")),
    ],
)  # fmt: skip
def test_junk_gets_cores_answers(lab: Running, method: str, params: list[Any], expected: dict[str, Any]) -> None:
    assert lab.call(method, *params) == expected


def test_a_wallet_that_has_nothing_says_nothing_of_inputs(lab: Running) -> None:
    raw = lab.call("createrawtransaction", [{"txid": "00" * 32, "vout": 0}], {OTHER: 1})
    lab.call("createwallet", "empty", True)
    expected = {"hex": raw, "complete": False}
    assert lab.call_wallet("empty", "signrawtransactionwithwallet", raw) == expected
    assert lab.call_wallet("w", "signrawtransactionwithwallet", raw)["errors"]


def test_one_transaction_pays_many_who_share_its_fee(lab: Running) -> None:
    amounts = {OTHER: 1, TAPROOT: 2, NOBODY: 3}
    txid = txid_of(lab.call("sendmany", "", amounts, 1, "wages", [OTHER, TAPROOT]))
    shown = lab.call("gettransaction", txid)
    outs = lab.call("decoderawtransaction", shown["hex"])["vout"]
    paid = {out["scriptPubKey"]["address"]: round(float(out["value"]) * 1e8) for out in outs}
    short = [100_000_000 - paid[OTHER], 200_000_000 - paid[TAPROOT]]
    assert paid[NOBODY] == 300_000_000 and abs(short[0] - short[1]) <= 1
    assert sum(short) == -round(float(shown["fee"]) * 1e8)
    assert lab.call("sendmany", "x", amounts) == error(-8, 'Dummy value must be set to ""')
    duplicate = lab.call("sendmany", "", amounts, 1, "", [OTHER, OTHER])
    assert duplicate == error(-8, "Invalid parameter 'subtract fee from output', duplicated position: 0")


def test_send_tells_what_is_missing(lab: Running) -> None:
    coin = lab.call("listunspent")[0]
    named = {"inputs": [{"txid": coin["txid"], "vout": coin["vout"]}], "change_position": 1, "lock_unspents": True}
    kept = lab.call("send", {OTHER: 1}, None, "unset", 2, {**named, "add_to_wallet": False})
    assert kept["complete"] is True and lab.call("getrawmempool") == []
    tx = lab.call("decoderawtransaction", kept["hex"])
    assert [vin["txid"] for vin in tx["vin"]] == [coin["txid"]] and tx["vout"][0]["value"] == 1
    assert lab.call("listlockunspent") == [{"txid": coin["txid"], "vout": coin["vout"]}]
    assert lab.call("send", {OTHER: 100}, None, None, None, named)["message"].startswith("The preselected coins total")
    assert lab.call("send", {OTHER: 1}, 6) == error(-8, "Specify estimate_mode")
    both = lab.call("send", {OTHER: 1}, 6, "economical", None, {"conf_target": 6})
    assert both["code"] == -8 and "but not both" in both["message"]
    old = lab.call("send", {OTHER: 1}, None, None, None, {"changePosition": 1})
    assert old == error(-8, "Use change_position instead of changePosition")
    assert lab.call("send", {OTHER: 1}, None, None, None, {"nosuch": 1}) == error(-3, "Unexpected key nosuch")
    sent = lab.call("send", [{OTHER: 1}, {"data": "00"}])
    assert lab.call("getrawmempool") == [sent["txid"]] and list(sent) == ["txid", "complete"]


def test_sendall_leaves_nothing(lab: Running) -> None:
    assert (
        lab.call("sendall", [{OTHER: 1}])["message"] == "Must provide at least one address without a specified amount"
    )
    sent = lab.call("sendall", [{NOBODY: 10}, OTHER, TAPROOT], None, "unset", 3)
    outs = lab.call("getrawtransaction", sent["txid"], True)["vout"]
    paid = {out["scriptPubKey"]["address"]: round(float(out["value"]) * 1e8) for out in outs}
    assert paid[NOBODY] == 1_000_000_000 and 0 <= paid[OTHER] - paid[TAPROOT] <= 1
    assert lab.call("getbalance") == 0 and 2.9 < fee_rate(lab, sent["txid"]) < 3.1
    assert lab.call("sendall", [OTHER])["code"] == -6


def test_funding_and_signing_apart(lab: Running) -> None:
    raw = lab.call("createrawtransaction", [], [{OTHER: 60}])
    funded = lab.call("fundrawtransaction", raw, {"fee_rate": 7, "changePosition": 0, "change_type": "p2sh-segwit"})
    tx = lab.call("decoderawtransaction", funded["hex"])
    assert funded["changepos"] == 0 and tx["vout"][0]["scriptPubKey"]["type"] == "scripthash" and len(tx["vin"]) == 2
    signed = lab.call("signrawtransactionwithwallet", funded["hex"])
    assert signed["complete"] is True
    assert lab.call("testmempoolaccept", [signed["hex"]])[0]["allowed"] is True
    change = lab.call("simulaterawtransaction", [signed["hex"]])["balance_change"]
    assert change == pytest.approx(-60 - float(funded["fee"]))
    assert lab.call("simulaterawtransaction", [signed["hex"], signed["hex"]])["code"] == -8
    assert lab.call("fundrawtransaction", raw, {"changePosition": 2}) == error(-8, "changePosition out of bounds")
    assert lab.call("fundrawtransaction", "00") == error(-22, "TX decode failed")
    light = lab.call("fundrawtransaction", raw, {"max_tx_weight": 600})
    assert light["code"] == -4 and light["message"].startswith("The inputs size exceeds the maximum weight.")


def test_psbts_from_creation_to_the_mempool(lab: Running) -> None:
    made = lab.call(
        "walletcreatefundedpsbt", [], [{OTHER: 60}], 0, {"subtractFeeFromOutputs": [0], "lockUnspents": True}
    )
    decoded = lab.call("decodepsbt", made["psbt"])
    assert all("bip32_derivs" in item or "taproot_bip32_derivs" in item for item in decoded["inputs"])
    assert lab.call("analyzepsbt", made["psbt"])["next"] == "signer"
    assert len(lab.call("listlockunspent")) == len(decoded["inputs"])
    looked_at = lab.call("walletprocesspsbt", made["psbt"], False)
    assert looked_at["complete"] is False and "hex" not in looked_at
    signed = lab.call("walletprocesspsbt", made["psbt"], True, "ALL", False, False)
    assert signed["complete"] is False and lab.call("finalizepsbt", signed["psbt"])["complete"] is True
    done = lab.call("walletprocesspsbt", made["psbt"])
    assert done["complete"] is True
    assert lab.call("sendrawtransaction", done["hex"]) in lab.call("getrawmempool")
    wrong = lab.call(
        "walletprocesspsbt", lab.call("converttopsbt", lab.call("createrawtransaction", [], [])), True, "x"
    )
    assert wrong == error(-8, "'x' is not a valid sighash parameter.")


def test_a_watched_wallet_asks_for_signatures(lab: Running) -> None:
    public = [{"desc": item["desc"], "timestamp": "now", "active": True, "internal": item["internal"], "range": 5}
              for item in lab.call("listdescriptors")["descriptors"]]  # fmt: skip
    lab.call("createwallet", "watching", True)
    assert all(done["success"] for done in lab.call_wallet("watching", "importdescriptors", public))
    lab.call_wallet("w", "sendtoaddress", lab.call_wallet("watching", "getnewaddress"), 5)
    lab.call("generatetoaddress", 1, OTHER)
    refused = lab.call_wallet("watching", "sendtoaddress", OTHER, 1)
    assert refused == error(-4, "Error: Private keys are disabled for this wallet")
    asked = lab.call_wallet("watching", "send", {OTHER: 1})
    assert asked["complete"] is False and "txid" not in asked
    signed = lab.call_wallet("w", "walletprocesspsbt", asked["psbt"])
    assert signed["complete"] is True
    txid = txid_of(lab.call("sendrawtransaction", signed["hex"]))
    assert lab.call_wallet("watching", "gettransaction", txid)["confirmations"] == 0
    assert lab.call_wallet("watching", "bumpfee", txid)["message"].startswith("bumpfee is not available")
    bumped = lab.call_wallet("watching", "psbtbumpfee", txid)
    again = lab.call_wallet("w", "walletprocesspsbt", bumped["psbt"])
    assert lab.call("sendrawtransaction", again["hex"]) in lab.call("getrawmempool")
    assert txid not in lab.call("getrawmempool")


def test_bumping_replaces_and_remembers(lab: Running) -> None:
    txid = txid_of(lab.call("sendtoaddress", OTHER, 1, "rent"))
    bumped = lab.call("bumpfee", txid, {"fee_rate": 30})
    assert bumped["errors"] == [] and bumped["fee"] > bumped["origfee"]
    assert lab.call("getrawmempool") == [bumped["txid"]] and 29.9 < fee_rate(lab, bumped["txid"]) < 31
    new, old = lab.call("gettransaction", bumped["txid"]), lab.call("gettransaction", txid)
    assert new["replaces_txid"] == txid and old["replaced_by_txid"] == bumped["txid"]
    assert new["comment"] == "rent" and old["confirmations"] == 0 and txid in new["walletconflicts"]
    twice = lab.call("bumpfee", txid)
    assert twice["code"] == -4 and "which was already bumped by transaction" in twice["message"]
    assert lab.call("bumpfee", "00" * 32) == error(-5, "Invalid or non-wallet transaction id")
    low = lab.call("bumpfee", bumped["txid"], {"fee_rate": 30})
    assert low["code"] == -8 and low["message"].startswith("Insufficient total fee")
    other = lab.call("bumpfee", bumped["txid"], {"outputs": [{NOBODY: 2}]})
    outs = lab.call("getrawtransaction", other["txid"], True)["vout"]
    assert NOBODY in {out["scriptPubKey"]["address"] for out in outs}
    lab.call("generatetoaddress", 1, OTHER)
    mined = lab.call("bumpfee", other["txid"])
    assert mined["code"] == -1 and mined["message"].endswith(" is already spent")


def test_ancestors_are_paid_for(lab: Running) -> None:
    txid = txid_of(lab.call("sendtoaddress", lab.call("getnewaddress"), 149, "", "", False, None, None, None, None, 1))
    child = txid_of(lab.call("sendtoaddress", OTHER, 148.9, "", "", False, None, None, None, None, 20))
    entry = lab.call("getmempoolentry", child)
    together = float(entry["fees"]["ancestor"]) * 1e8 / entry["ancestorsize"]
    assert entry["ancestorcount"] == 2 and together == pytest.approx(20, rel=0.01)
    assert lab.call("bumpfee", txid)["message"] == "Transaction has descendants in the wallet"


def test_a_locked_wallet_signs_nothing(lab: Running) -> None:
    lab.call("encryptwallet", "open")
    address = lab.call("getnewaddress")
    lab.call("generatetoaddress", 1, address)
    locked = error(-13, "Error: Please enter the wallet passphrase with walletpassphrase first.")
    raw = lab.call("createrawtransaction", [{"txid": "00" * 32, "vout": 0}], {OTHER: 1})
    for method, *params in (
        ("sendtoaddress", OTHER, 1), ("sendmany", "", {OTHER: 1}), ("bumpfee", "00" * 32),
        ("signrawtransactionwithwallet", raw), ("sendtoaddress", "x", 1), ("sendtoaddress", OTHER, "x"),
    ):  # fmt: skip
        assert lab.call(method, *params) == locked
    assert lab.call("send", {OTHER: 1})["complete"] is False
    lab.call("walletpassphrase", "open", 60)
    assert lab.call("send", {OTHER: 1})["complete"] is True


def test_what_was_sent_is_on_disk_before_it_is_broadcast(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that dies after the broadcast knows at its next start which coins it spent."""
    seen = []
    wallets = lab.parts.wallets
    assert wallets is not None
    real = wallets.wallets.broadcast._submit

    async def submit(tx: Any, **how: Any) -> str:
        files = lab.settings.net_dir.rglob("w/wallet.dat*")  # the database and its log
        seen.append(any(tx.raw in path.read_bytes() for path in files))
        return await real(tx, **how)

    monkeypatch.setattr(wallets.wallets.broadcast, "_submit", submit)
    first = txid_of(lab.call("sendtoaddress", OTHER, 1))
    lab.call("bumpfee", first)
    lab.call("send", {OTHER: 1})
    assert seen == [True, True, True]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("sendtoaddress", (OTHER, 1)),
        ("sendmany", ("", {OTHER: 1})),
        ("send", ({OTHER: 1},)),
        ("sendall", ([OTHER],)),
    ],
)
def test_a_coin_that_was_spent_while_the_transaction_was_made_is_not_spent_again(
    lab: Running, monkeypatch: pytest.MonkeyPatch, method: str, params: tuple[Any, ...]
) -> None:
    commit = Broadcast.commit

    async def late(self: Broadcast, wallet: Wallet, tx: Tx, *rest: Any, **more: Any) -> str:
        other = Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, tx.witnesses, tx.lock_time + 1)
        wallet.ledger.add(other, INACTIVE, wallet.now())
        return await commit(self, wallet, tx, *rest, **more)

    monkeypatch.setattr(Broadcast, "commit", late)
    why = "A coin that was chosen for the transaction was spent meanwhile. Please try again."
    assert lab.call(method, *params) == error(-4, why)
    assert lab.call("getrawmempool") == []
    assert len(lab.call("listtransactions", "*", 100)) < 10  # of the two only the other one is there


def test_a_coin_that_the_user_names_is_spent_in_any_case(lab: Running) -> None:
    coin = lab.call("listunspent")[0]
    named = {"inputs": [{"txid": coin["txid"], "vout": coin["vout"]}]}
    first = lab.call("send", {OTHER: 1}, None, "unset", 2, named)["txid"]
    assert lab.call("getrawmempool") == [first]
    second = lab.call("send", {OTHER: 1}, None, "unset", 20, named)["txid"]
    assert lab.call("getrawmempool") == [second]


def test_nothing_is_given_up_while_it_is_offered_to_the_mempool(lab: Running) -> None:
    txid = txid_of(lab.call("sendtoaddress", OTHER, 1))
    assert lab.parts.wallets is not None
    wallet = lab.parts.wallets.loaded["w"]

    async def during() -> bool:
        async with wallet.turn:
            asking = asyncio.ensure_future(lab.table.call_async(lab.table.find("abandontransaction"), [txid]))
            done, _ = await asyncio.wait([asking], timeout=0.2)
        with pytest.raises(RpcError, match="not eligible for abandonment"):
            await asking
        return bool(done)

    assert lab.do(during()) is False
