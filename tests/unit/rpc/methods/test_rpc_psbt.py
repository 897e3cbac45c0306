"""Building, signing and combining transactions: what the methods answer, with Core's vectors where there are any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.psbt_stream import Stream
from btcnode.primitives.coin import coin_prefix
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import hash160

Running = Any
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TXID = "75ddabb27b8845f5247975c8a5ba7c6f336c4570708ebe230caf6db5217ae858"
INPUTS = [{"txid": TXID, "vout": 1}]
SECRET = "cNaQCDwmmh4dS9LzCgVtyy1e1xjCJ21GUDHe9K98nzb689JvinGV"


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@pytest.fixture
def psbts(vectors: Path) -> dict[str, Any]:
    """Core's vectors of BIP174 and BIP371."""
    path = vectors / "core/functional/rpc_psbt.json"
    if not path.exists():
        pytest.skip("no PSBT vectors")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_psbt_vectors_are_read_and_refused_as_core_does(running: Running, psbts: dict[str, Any]) -> None:
    for text in psbts["invalid"]:
        answer = running.call("decodepsbt", text)
        assert answer["code"] == -22 and answer["message"].startswith("TX decode failed"), text
    for text, message in psbts["invalid_with_msg"]:
        assert message in running.call("decodepsbt", text)["message"]
    for text in psbts["valid"]:
        assert "tx" in running.call("decodepsbt", text), text


def test_psbt_vectors_of_the_roles(running: Running, psbts: dict[str, Any]) -> None:
    for case in psbts["creator"]:
        assert running.call("createpsbt", case["inputs"], case["outputs"], 0, False) == case["result"]
    for case in psbts["combiner"]:
        assert running.call("combinepsbt", case["combine"]) == case["result"]
    for case in psbts["finalizer"]:
        assert running.call("finalizepsbt", case["finalize"], False)["psbt"] == case["result"]
    for case in psbts["extractor"]:
        assert running.call("finalizepsbt", case["extract"], True)["hex"] == case["result"]


@pytest.mark.parametrize(
    "params, code, message",
    [
        (["foo", {}], -3, "JSON value of type string is not of expected type array"),
        ([["foo"], {}], -3, "JSON value of type string is not of expected type object"),
        ([[{}], {}], -3, "JSON value of type null is not of expected type string"),
        ([[{"txid": "foo"}], {}], -8, "txid must be of length 64 (not 3, for 'foo')"),
        ([[{"txid": TXID}], {}], -8, "Invalid parameter, missing vout key"),
        ([[{"txid": TXID, "vout": -1}], {}], -8, "Invalid parameter, vout cannot be negative"),
        ([[{"txid": TXID, "vout": 0, "sequence": -1}], {}], -8, "Invalid parameter, sequence number is out of range"),
        ([[], {}, 1 << 32], -8, "Invalid parameter, locktime out of range"),
        ([[], {}, 0, True, 4], -8, "Invalid parameter, version out of range(1~3)"),
        ([[], "foo"], -3, "JSON value of type string is not of expected type array"),
        ([[], None], -8, "Invalid parameter, output argument must be non-null"),
        ([[], {"foo": 0}], -5, "Invalid Bitcoin address: foo"),
        ([[], {"data": "zz"}], -8, "Data must be hexadecimal string (not 'zz')"),
        ([[], {ADDRESS: "foo"}], -3, "Invalid amount"),
        ([[], {ADDRESS: -1}], -3, "Amount out of range"),
        ([[], [{ADDRESS: 1}, {ADDRESS: 1}]], -8, f"Invalid parameter, duplicated address: {ADDRESS}"),
        ([[], [{"data": "aa"}, {"data": "bb"}]], -8, "Invalid parameter, duplicate key: data"),
        ([[], ["foo"]], -8, "Invalid parameter, key-value pair not an object as expected"),
        ([[], [{"a": 1, "b": 2}]], -8, "Invalid parameter, key-value pair must contain exactly one key"),
    ],
)
def test_createrawtransaction_refuses(running: Running, params: list[Any], code: int, message: str) -> None:
    answer = running.call("createrawtransaction", *params)
    assert answer["code"] == code
    assert message in answer["message"]


def test_leaves_of_a_tree_are_told_from_the_last_one(running: Running) -> None:
    """So a bitcoind tells them; other programs and a second round take them as they stand."""
    key = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
    a, b, c = (f"and_v(v:pk({key}),older({age}))" for age in (1, 2, 3))
    for tree, order in ((f"{{{a},{b}}}", "21"), (f"{{{a},{{{b},{c}}}}}", "321"), (f"{{{{{a},{b}}},{c}}}", "321")):
        text = running.call("getdescriptorinfo", f"tr({key},{tree})")["descriptor"]
        (address,) = running.call("deriveaddresses", text)
        psbt = running.call("createpsbt", INPUTS, [{address: 1}])
        for _ in range(2):
            psbt = running.call("utxoupdatepsbt", psbt, [text])
            leaves = running.call("decodepsbt", psbt)["outputs"][0]["taproot_tree"]
            assert "".join(str(int(leaf["script"][-4:-2], 16) - 0x50) for leaf in leaves) == order
            assert {leaf["depth"] for leaf in leaves} == ({1} if len(order) == 2 else {1, 2})


def test_createrawtransaction_builds(running: Running) -> None:
    raw = running.call("createrawtransaction", INPUTS, [{ADDRESS: "0.5"}, {"data": "00" * 80}], 7)
    tx = running.call("decoderawtransaction", raw)
    assert tx["locktime"] == 7 and tx["version"] == 2
    assert tx["vin"][0]["sequence"] == 0xFFFFFFFD
    assert tx["vout"][0]["scriptPubKey"]["address"] == ADDRESS
    assert tx["vout"][1]["scriptPubKey"]["hex"] == "6a4c50" + "00" * 80
    empty = running.call("createrawtransaction", [], {})
    assert running.call("decoderawtransaction", empty)["vin"] == []
    contradiction = running.call("createrawtransaction", [{**INPUTS[0], "sequence": 0xFFFFFFFF}], {ADDRESS: 1}, 0, True)
    text = "Invalid parameter combination: Sequence number(s) contradict replaceable option"
    assert contradiction == error(-8, text)


def test_transactions_without_inputs_are_told_by_their_scripts(running: Running) -> None:
    raw = running.call("createrawtransaction", [], {ADDRESS: 1})
    assert running.call("decoderawtransaction", raw)["vout"][0]["value"] == 1
    assert running.call("decoderawtransaction", raw, True) == error(-22, "TX decode failed")
    assert running.call("converttopsbt", raw).startswith("cHNidP8")


def _coin(running: Running, script: bytes, value: int = 100_000_000) -> None:
    outpoint = bytes.fromhex(TXID)[::-1] + (1).to_bytes(4, "little")
    txout = value.to_bytes(8, "little") + compact_size(len(script)) + script
    running.plant_coin(outpoint, coin_prefix(1, False) + txout)


def test_signrawtransactionwithkey_signs_what_the_chain_has(running: Running) -> None:
    key = running.call("getdescriptorinfo", f"wpkh({SECRET})")["descriptor"]
    script = running.call("deriveaddresses", key)[0]
    _coin(running, bytes.fromhex(running.call("validateaddress", script)["scriptPubKey"]))
    raw = running.call("createrawtransaction", INPUTS, {ADDRESS: 0.5})
    signed = running.call("signrawtransactionwithkey", raw, [SECRET])
    assert signed["complete"] is True
    assert len(running.call("decoderawtransaction", signed["hex"])["vin"][0]["txinwitness"]) == 2
    unsigned = running.call("signrawtransactionwithkey", raw, [])
    assert unsigned["complete"] is False
    assert unsigned["errors"][0]["txid"] == TXID
    assert running.call("combinerawtransaction", [raw, signed["hex"]]) == signed["hex"]
    assert running.call("combinerawtransaction", [])["message"] == "Missing transactions"
    bad = running.call("signrawtransactionwithkey", raw, ["foo"])
    assert bad == error(-5, "Invalid private key")
    assert running.call("signrawtransactionwithkey", raw, [SECRET], [], "all") == error(
        -8, "'all' is not a valid sighash parameter."
    )


def test_signrawtransactionwithkey_checks_what_it_is_told_of_outputs(running: Running) -> None:
    raw = running.call("createrawtransaction", INPUTS, {ADDRESS: 0.5})
    told = {"txid": TXID, "vout": 1, "scriptPubKey": "a914" + hash160(b"\x00").hex() + "87"}
    sign = "signrawtransactionwithkey"
    assert running.call(sign, raw, [], [{"txid": TXID, "vout": 1}]) == error(-3, "Missing scriptPubKey")
    assert running.call(sign, raw, [], [{**told, "vout": -1}]) == error(-22, "vout cannot be negative")
    assert running.call(sign, raw, [], [told]) == error(-8, "Missing redeemScript/witnessScript")
    wrong = running.call(sign, raw, [], [{**told, "redeemScript": "52"}])
    assert wrong == error(-8, "redeemScript/witnessScript does not match scriptPubKey")
    assert running.call(sign, raw, [], [{**told, "redeemScript": "00"}])["complete"] is False
    program = running.call("validateaddress", ADDRESS)["scriptPubKey"]
    key = running.call("deriveaddresses", running.call("getdescriptorinfo", f"wpkh({SECRET})")["descriptor"])[0]
    mine = running.call("validateaddress", key)["scriptPubKey"]
    missing = running.call(sign, raw, [SECRET], [{"txid": TXID, "vout": 1, "scriptPubKey": mine}])
    assert missing == error(-3, f"Missing amount for CTxOut(nValue=21000000.00000000, scriptPubKey={mine[:30]})")
    _coin(running, bytes.fromhex(mine))
    mismatch = running.call(sign, raw, [], [{"txid": TXID, "vout": 1, "scriptPubKey": program}])
    assert mismatch["message"].startswith("Previous output scriptPubKey mismatch:\n0 ")


def test_psbt_from_creation_to_transaction(running: Running) -> None:
    public = running.call("getdescriptorinfo", f"wpkh({SECRET})")["descriptor"]
    address = running.call("deriveaddresses", public)[0]
    _coin(running, bytes.fromhex(running.call("validateaddress", address)["scriptPubKey"]))
    blank = running.call("createpsbt", INPUTS, {address: 0.5})
    assert running.call("analyzepsbt", blank) == {
        "inputs": [{"has_utxo": False, "is_final": False, "next": "updater"}],
        "next": "updater",
    }
    updated = running.call("utxoupdatepsbt", blank, [public])
    decoded = running.call("decodepsbt", updated)
    assert decoded["fee"] == 0.5
    assert decoded["inputs"][0]["witness_utxo"]["amount"] == 1
    analysis = running.call("analyzepsbt", updated)
    assert analysis["next"] == "signer" and analysis["fee"] == 0.5
    assert analysis["estimated_vsize"] == 110
    signed = running.call("descriptorprocesspsbt", updated, [f"wpkh({SECRET})"], "ALL", True, False)
    assert signed["complete"] is False
    assert running.call("analyzepsbt", signed["psbt"])["next"] == "finalizer"
    final = running.call("finalizepsbt", running.call("combinepsbt", [updated, signed["psbt"]]))
    done = running.call("descriptorprocesspsbt", updated, [f"wpkh({SECRET})"])
    assert done["complete"] is True and done["hex"] == final["hex"]
    refused = running.call("descriptorprocesspsbt", updated, [f"wpkh({SECRET})"], "foo")
    assert refused == error(-8, "'foo' is not a valid sighash parameter.")


MUSIG = (  # spends tr(musig()) of the keys of the descriptor below
    "cHNidP8BAFMCAAAAAem1IRg0iR3srqUHHv979G5M2JF1YwbyZCG2411EJYzCAAAAAAD9////AahhAAAAAAAAF6kU4GPAyNTg7A6m"
    "wsIyGpdpA80dJgKHZAAAAAABAF4CAAAAAQv2Q+3XIonOuQoBW86XbPkJvne0DicybGnp5Sy3TJbMqeOMAAAAAAAAAVDDAAAAAAAA"
    "IlEgCQznkGa1tJRKai510t/ffvgvWXGWRfnbw+kpMmvRHjUAAAAAAQErUMMAAAAAAAAiUSAJDOeQZrW0lEpqLnXS399++C9ZcZZF"
    "+dvD6Skya9EeNQEDBAEAAAAAAA=="
)
MUSIG_KEY = "024de5e6866448cd2400e24a2cee5f7eafcf87893ea04775d28a94894c3dda4a4d"


def test_a_participant_offers_a_nonce(running: Running) -> None:
    other = "032efb30ff33915d6adb52cec59e8b325b205696a37a8fbf3be69245e4cdffad29"
    descriptor = f"tr(musig({other},cTnMFxnfB5bSr4ZQ3TWgX4eB6CUSrVXL3JMUp6YvCuVwRdHhqtL4))"
    answers = [running.call("descriptorprocesspsbt", MUSIG, [descriptor], "ALL") for _ in range(2)]
    offers = [running.call("decodepsbt", answer["psbt"])["inputs"][0]["musig2_pubnonces"] for answer in answers]
    assert [[offer["participant_pubkey"] for offer in offered] for offered in offers] == [[MUSIG_KEY]] * 2
    assert offers[0][0]["pubnonce"] != offers[1][0]["pubnonce"]


def test_joinpsbts_and_refusals(running: Running) -> None:
    one = running.call("createpsbt", INPUTS, {ADDRESS: 0.5})
    two = running.call("createpsbt", [{"txid": TXID, "vout": 2}], {ADDRESS: 0.25})
    joined = running.call("decodepsbt", running.call("joinpsbts", [one, two]))["tx"]
    assert sorted(item["vout"] for item in joined["vin"]) == [1, 2]
    assert running.call("joinpsbts", [one]) == error(-8, "At least two PSBTs are required to join PSBTs.")
    assert running.call("joinpsbts", [one, one]) == error(-8, f"Input {TXID}:1 exists in multiple PSBTs")
    assert running.call("combinepsbt", []) == error(-8, "Parameter 'txs' cannot be empty")
    assert running.call("combinepsbt", [one, two]) == error(-8, "PSBTs not compatible (different transactions)")
    assert running.call("decodepsbt", "")["code"] == -22


def test_multisig_without_keys_is_padded_as_by_bitcoind(running: Running) -> None:
    """bitcoind's loop stops halfway: three signatures are missing, two empty elements stand for them and the dummy."""
    redeem = (
        "5321032efb30ff33915d6adb52cec59e8b325b205696a37a8fbf3be69245e4cdffad2921024de5e6866448cd2400e24a2cee5f7eafcf8789"
        "3ea04775d28a94894c3dda4a4d21028cb63d403224767413f61a318fdb0e1993981c9203c152b4653f78f8680e4f7a53ae"
    )
    raw = "0200000001" + "11" * 32 + "0000000000ffffffff01e8030000000000000151" + "00000000"
    script = "a9145a0978179bcf632bd951ca05a4b923c6d91fa42b87"
    prevtx = {"txid": "11" * 32, "vout": 0, "scriptPubKey": script, "redeemScript": redeem}
    (found,) = running.call("signrawtransactionwithkey", raw, [], [prevtx])["errors"]
    assert found["scriptSig"] == "0000004c69" + redeem
    assert found["error"] == "Unable to sign input, invalid stack size (possibly missing key)"


def test_taproot_inputs_that_are_complete_have_no_estimate(running: Running, psbts: dict[str, Any]) -> None:
    """bitcoind estimates without the spent outputs, by which it cannot verify such an input again."""
    answers = [running.call("analyzepsbt", text) for text in psbts["valid"][14:16]]
    (answer,) = [answer for answer in answers if answer["next"] == "finalizer"]
    assert "estimated_vsize" not in answer and "estimated_feerate" not in answer
    assert answer["fee"] == 0.00003


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("02000000feffffffff", "ReadCompactSize(): size too large"),
        ("02000000fd0100", "non-canonical ReadCompactSize()"),
        ("0200000001", "SpanReader::read(): end of data"),
        ("020000000002010000", "SpanReader::read(): end of data"),
        ("020000000001000000000000", "Superfluous witness record"),
        ("0200000000020000" + "00000000", "Unknown transaction optional data"),
    ],
)
def test_the_first_wrong_field_of_a_transaction_is_told(raw: str, message: str) -> None:
    with pytest.raises(PsbtError) as caught:
        Stream(bytes.fromhex(raw)).transaction(witness=True)
    assert str(caught.value) == f"{message}: iostream error"
