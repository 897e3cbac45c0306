"""A desktop wallet that watches through the node, as Sparrow does: argument URL of the node, without a path.

It asks by names of parameters, keeps one wallet without keys for all that it watches, learns what happened from
listsinceblock, and signs by itself: here bdkpython has the keys.
"""

import json
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import bdkpython as bdk

place = urlsplit(sys.argv[1])
WALLET = "cormorant"


def call(method: str, wallet: str | None = None, **params: Any) -> Any:
    """A result, or the error object."""
    url = f"http://{place.hostname}:{place.port}" + ("" if wallet is None else f"/wallet/{wallet}")
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    request = urllib.request.Request(url, json.dumps(body).encode())
    request.add_header("Authorization", "Basic " + b64encode(f"{place.username}:{place.password}".encode()).decode())
    try:
        with urllib.request.urlopen(request) as answer:
            reply = json.load(answer)
    except urllib.error.HTTPError as error:
        reply = json.load(error)
    return reply["error"] if "error" in reply else reply["result"]


def connect() -> None:
    """What is asked before anything is shown."""
    assert call("getnetworkinfo")["version"] >= 240_000
    assert call("getblockchaininfo")["initialblockdownload"] is False
    names = [item["name"] for item in call("listwalletdir")["wallets"]]
    if WALLET not in names:
        made = call(
            "createwallet", wallet_name=WALLET, disable_private_keys=True, blank=True, passphrase="", avoid_reuse=True,
            descriptors=True, load_on_startup=True, external_signer=False,
        )  # fmt: skip
        assert made["name"] == WALLET, made
    elif WALLET not in call("listwallets"):
        assert call("loadwallet", filename=WALLET, load_on_startup=True)["name"] == WALLET
    info = call("getwalletinfo", WALLET)
    assert info["private_keys_enabled"] is False and info["descriptors"] is True and info["scanning"] is False
    assert isinstance(call("listdescriptors", WALLET, private=False)["descriptors"], list)
    assert call("getmempoolinfo")["loaded"] is True
    assert call("estimatesmartfee", conf_target=6)["errors"] == ["Insufficient data or no feerate found"]


kind_of_network = bdk.NetworkKind.TEST
root = bdk.DescriptorSecretKey(kind_of_network, bdk.Mnemonic(bdk.WordCount.WORDS12), None)
pair = [
    bdk.Descriptor.new_bip84(root, kind, kind_of_network)
    for kind in (bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL)
]
signer = bdk.Wallet(*pair, bdk.Network.REGTEST, bdk.Persister.new_in_memory())
first = str(signer.peek_address(bdk.KeychainKind.EXTERNAL, 3).address)
before = call("getblockchaininfo")
call("generatetoaddress", nblocks=101, address=first)  # before the wallet is known: the rescan has to find it

connect()
texts = [call("getdescriptorinfo", descriptor=str(descriptor))["descriptor"] for descriptor in pair]
imported = call("importdescriptors", WALLET, requests=[
    {"desc": text, "active": False, "range": [0, 60], "timestamp": before["time"] - 7200, "internal": bool(internal)}
    for internal, text in enumerate(texts)
])  # fmt: skip
assert all(item["success"] for item in imported), imported
while call("getwalletinfo", WALLET)["scanning"]:
    sleep(0.1)
listed = [item["desc"] for item in call("listdescriptors", WALLET)["descriptors"]]
assert len(listed) == 2 and all(f"/{branch}/*)#" in text for branch, text in enumerate(sorted(listed))), listed

since = call("listsinceblock", WALLET, blockhash="", target_confirmations=1, include_watchonly=True,
             include_removed=True, include_change=True)  # fmt: skip
assert len(since["transactions"]) == 101 and {item["address"] for item in since["transactions"]} == {first}
(coin,) = call("listunspent", WALLET, minconf=1)
assert coin["desc"].startswith("wpkh([") and coin["solvable"] and coin["parent_descs"] == sorted(listed)[:1]
scanned = call("scantxoutset", action="start", scanobjects=[{"desc": texts[0], "range": 60}])
assert scanned["success"] and len(scanned["unspents"]) == 101

target = str(signer.peek_address(bdk.KeychainKind.EXTERNAL, 4).address)
change = str(signer.peek_address(bdk.KeychainKind.INTERNAL, 0).address)
made = call("walletcreatefundedpsbt", WALLET, inputs=[], outputs=[{target: 12.5}], locktime=0,
            options={"changeAddress": change, "fee_rate": 3, "includeWatching": True}, bip32derivs=True)  # fmt: skip
filled = call("walletprocesspsbt", WALLET, psbt=made["psbt"], sign=False)
assert filled["complete"] is False
psbt = bdk.Psbt(filled["psbt"])
assert signer.sign(psbt, None)
done = call("finalizepsbt", psbt=psbt.serialize(), extract=True)
assert done["complete"] is True, done
txid = call("sendrawtransaction", hexstring=done["hex"], maxfeerate=0)
news = call("listsinceblock", WALLET, blockhash=since["lastblock"], include_change=True)["transactions"]
shown = {(item["txid"], item["category"], item["address"], item["confirmations"]) for item in news}
both = {(txid, category, address, 0) for category in ("send", "receive") for address in (target, change)}
assert shown == both, news
entry = call("getmempoolentry", txid=txid)
assert entry["vsize"] == call("getrawtransaction", txid=txid, verbose=True)["vsize"]
(mined,) = call("generatetoaddress", nblocks=1, address="bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
found = call("gettransaction", WALLET, txid=txid, include_watchonly=True, verbose=True)
assert (found["confirmations"], found["blockhash"]) == (1, mined) and found["decoded"]["txid"] == txid
assert call("getblockheader", blockhash=mined)["height"] == found["blockheight"]
used = {item["address"]: item["reused"] for item in call("listunspent", WALLET)}
assert used == {first: True, target: False, change: False}, used  # avoid_reuse: its first coinbases matured meanwhile
assert call("unloadwallet", wallet_name=WALLET) == {}
connect()
assert len(call("listunspent", WALLET)) == 3
print("ok")
