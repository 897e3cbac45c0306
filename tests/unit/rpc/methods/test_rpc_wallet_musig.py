"""Coins of several wallets together (MuSig2): nonces, partial signatures, the signature of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.descriptors.checksum import with_checksum
from btcnode.descriptors.provider import MAX_NONCES, SecretNonces
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Running]:
    """A node with the wallets a and b, which share the keys behind one descriptor, and a coin there."""
    node = Running(regtest_config(tmp_path, keypool=2, fallbackfee="0.0001"))
    keys = []
    for name in ("a", "b"):
        node.call("createwallet", name)
        rows = node.call_wallet(name, "gethdkeys", {"private": True})
        keys.append((rows[0]["xprv"], rows[0]["xpub"]))
    node.call("createwallet", "a2", False, True)
    node.call("createwallet", "b2", False, True)
    for n, name in enumerate(("a2", "b2")):
        parts = [key[0 if n == place else 1] for place, key in enumerate(keys)]
        text = with_checksum(f"tr(musig({parts[0]},{parts[1]})/<0;1>/*)")
        request = {"desc": text, "active": True, "timestamp": "now"}
        assert node.call_wallet(name, "importdescriptors", [request])[0]["success"] is True
    node.call("generatetoaddress", 1, node.call_wallet("a2", "getnewaddress", "", "bech32m"))
    node.call("generatetoaddress", 100, OTHER)
    yield node
    node.close()


def first_input(lab: Running, psbt: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.call("decodepsbt", psbt)["inputs"][0]
    return found


def processed(lab: Running, name: str, psbt: str) -> str:
    answer = lab.call_wallet(name, "walletprocesspsbt", psbt)
    assert answer["complete"] is False
    text: str = answer["psbt"]
    return text


def test_two_wallets_sign_with_one_signature(lab: Running) -> None:
    funded = lab.call_wallet("a2", "walletcreatefundedpsbt", [], {OTHER: 5}, 0, {"change_type": "bech32m"})["psbt"]
    nonces = lab.call("combinepsbt", [processed(lab, name, funded) for name in ("a2", "b2")])
    assert len(first_input(lab, nonces)["musig2_pubnonces"]) == 2
    parts = [processed(lab, name, nonces) for name in ("a2", "b2")]
    both = lab.call("combinepsbt", parts)
    assert len(first_input(lab, both)["musig2_partial_sigs"]) == 2
    final = lab.call("finalizepsbt", both)
    assert final["complete"] is True
    assert len(lab.call("decoderawtransaction", final["hex"])["vin"][0]["txinwitness"]) == 1
    assert isinstance(lab.call("sendrawtransaction", final["hex"]), str)


def test_a_nonce_is_used_once(lab: Running) -> None:
    funded = lab.call_wallet("a2", "walletcreatefundedpsbt", [], {OTHER: 5}, 0, {"change_type": "bech32m"})["psbt"]
    nonces = lab.call("combinepsbt", [processed(lab, name, funded) for name in ("a2", "b2")])
    assert len(first_input(lab, processed(lab, "a2", nonces))["musig2_partial_sigs"]) == 1
    assert "musig2_partial_sigs" not in first_input(lab, processed(lab, "a2", nonces))
    # another nonce of the same key for the same message does not help what was begun with the first one
    again = processed(lab, "b2", funded)
    assert len(first_input(lab, processed(lab, "b2", nonces))["musig2_partial_sigs"]) == 1
    mixed = lab.call("combinepsbt", [processed(lab, "a2", funded), again])
    assert len(first_input(lab, processed(lab, "b2", mixed))["musig2_partial_sigs"]) == 1


def test_so_many_nonces_are_kept_and_no_more() -> None:
    nonces = SecretNonces(bytes)
    for n in range(MAX_NONCES + 1):
        nonces.keep(b"key", b"digest", n.to_bytes(4), n)
    assert nonces.take(b"key", b"digest", bytes(4)) is None
    assert nonces.take(b"key", b"digest", (1).to_bytes(4)) == 1
    assert nonces.take(b"key", b"digest", (1).to_bytes(4)) is None
