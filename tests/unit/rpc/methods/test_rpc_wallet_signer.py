"""Wallets whose keys an external signer has: a script here, which really signs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
SIGNER = """
import json, sys
from pathlib import Path
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.psbt_reader import decode_psbt
from btcnode.descriptors.psbt_roles import sign_input
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.networks.parameters import params_for

here = Path(__file__).parent
args = sys.argv[1:] + (sys.stdin.read().split() if "--stdin" in sys.argv else [])
with (here / "asked").open("a") as asked:
    asked.write(" ".join(args) + "\\n")
mood = (here / "mood").read_text() if (here / "mood").exists() else ""
if args == ["enumerate"]:
    devices = [{"fingerprint": "00000001", "model": "a"}, {"fingerprint": "00000002"}]
    print(json.dumps(devices[: {"gone": 0, "two": 2}.get(mood, 1)]))
elif mood:
    print(mood)
elif "getdescriptors" in args:
    print((here / "descriptors").read_text())
elif "displayaddress" in args:
    print(json.dumps({"address": (here / "address").read_text()}))
else:
    psbt, provider = decode_psbt(args[-1]), SigningProvider()
    for text in (here / "private").read_text().split():
        for number in range(3):
            secrets = SigningProvider()
            descriptor = parse_descriptor(text, params_for("regtest"), secrets)[0]
            descriptor.expand(number, secrets, provider)
            descriptor.add_secrets(number, secrets, provider)
    for index in range(len(psbt.inputs)):
        sign_input(provider, psbt, index, finalize=False)
    print(json.dumps({"psbt": encode_psbt(psbt)}))
"""
SECRET = (
    "tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Running]:
    script = tmp_path / "signer.py"
    script.write_text(SIGNER)
    settings = regtest_config(tmp_path, keypool=3, fallbackfee="0.0001", signer=f"{sys.executable} {script}")
    private = [f"wpkh([00000001/84h/1h/0h]{SECRET}/{branch}/*)" for branch in (0, 1)]
    (tmp_path / "private").write_text("\n".join(private))
    public = []
    for text in private:
        secrets = SigningProvider()
        public.append(parse_descriptor(text, settings.params, secrets)[0].text())
    rows = {"receive": [public[0], "raw(51)"], "internal": public[1:]}
    (tmp_path / "descriptors").write_text(json.dumps(rows))
    node = Running(settings)
    yield node
    node.close()


def refused(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def create(lab: Running, name: str = "hww") -> Any:
    return lab.call("createwallet", name, True, False, None, None, True, None, True)


def test_a_device_signs_and_its_wallet_spends(lab: Running, tmp_path: Path) -> None:
    assert create(lab) == {"name": "hww"}
    info = lab.call("getwalletinfo")
    assert (info["external_signer"], info["private_keys_enabled"], info["keypoolsize"]) == (True, False, 3)
    address = lab.call("getnewaddress", "", "bech32")
    lab.call("generatetoaddress", 1, address)
    lab.call("generatetoaddress", 100, OTHER)
    (tmp_path / "asked").unlink()
    sent = lab.call("send", {OTHER: 1})
    assert sent["complete"] is True and lab.call("getrawmempool") == [sent["txid"]]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "enumerate"
    assert asked[1].startswith("--stdin --fingerprint 00000001 --chain regtest signtx cHNidP") and len(asked) == 2
    bumped = lab.call("bumpfee", sent["txid"])
    assert lab.call("getrawmempool") == [bumped["txid"]] and bumped["fee"] > bumped["origfee"]
    psbt = lab.call("walletcreatefundedpsbt", [], {OTHER: 1}, 0, {"include_unsafe": True})["psbt"]
    assert lab.call("walletprocesspsbt", psbt)["complete"] is True
    assert lab.call("walletprocesspsbt", psbt, False)["complete"] is False
    assert lab.call("sendtoaddress", OTHER, 1) == refused(-4, "Error: Private keys are disabled for this wallet")


def test_its_address_is_compared_with_what_the_device_shows(lab: Running, tmp_path: Path) -> None:
    create(lab)
    address = lab.call("getnewaddress", "", "bech32")
    (tmp_path / "address").write_text(address)
    assert lab.call("walletdisplayaddress", address) == {"address": address}
    assert "displayaddress --desc wpkh([00000001/84h/1h/0h/0/0]" in (tmp_path / "asked").read_text()
    (tmp_path / "address").write_text(OTHER)
    assert lab.call("walletdisplayaddress", address) == refused(-1, f"Signer echoed unexpected address {OTHER}")
    nobody = refused(-1, "There is no ScriptPubKeyManager for this address")
    assert lab.call("walletdisplayaddress", OTHER) == nobody
    assert lab.call("walletdisplayaddress", "x") == refused(-5, "Invalid address")


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        ("gone", refused(-1, "No external signers found")),
        ("two", refused(-1, "More than one external signer found. Please connect only one at a time.")),
        ("3", refused(-1, "SetupDescriptorScriptPubKeyMans: Unexpected result")),
        ("nonsense", refused(-1, "Unable to parse JSON: nonsense")),
        ('{"receive": ["wpkh(x)"], "internal": []}', refused(
            -1, 'SetupDescriptorScriptPubKeyMans: Invalid descriptor "wpkh(x)" (wpkh(): key \'x\' is not valid)')),
    ],
)  # fmt: skip
def test_no_wallet_is_left_where_the_device_has_none(
    lab: Running, tmp_path: Path, mood: str, expected: dict[str, Any]
) -> None:
    (tmp_path / "mood").write_text(mood)
    assert create(lab) == expected
    (tmp_path / "mood").unlink()
    assert create(lab) == {"name": "hww"}


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        ("gone", refused(-25, "External signer not found")),
        ('{"error": "cancelled"}', refused(-25, "External signer failed to sign")),
        ('{"psbt": "x"}', refused(-25, "External signer failed to sign")),
        ('{"psbt": "cHNi"}', refused(-25, "External signer failed to sign")),
        ("[]", refused(-25, "External signer failed to sign")),
    ],
)
def test_what_the_device_does_not_sign(lab: Running, tmp_path: Path, mood: str, expected: dict[str, Any]) -> None:
    create(lab)
    lab.call("generatetoaddress", 1, lab.call("getnewaddress", "", "bech32"))
    lab.call("generatetoaddress", 100, OTHER)
    (tmp_path / "mood").write_text(mood)
    assert lab.call("send", {OTHER: 1}) == expected
    assert lab.call("getrawmempool") == []


def test_keys_have_to_be_outside(lab: Running) -> None:
    expected = refused(-4, "Private keys must be disabled when using an external signer")
    assert lab.call("createwallet", "w", False, False, None, None, True, None, True) == expected
