"""A PSBT between a watched wallet of the node and the keys in bdkpython: argument URL of the node, without a path.

As with a hardware wallet: the node knows descriptors with public keys only, makes the PSBT, and BDK signs.
"""

import json
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

import bdkpython as bdk

place = urlsplit(sys.argv[1])


def call(method: str, *params: Any, wallet: str = "watched") -> Any:
    url = f"http://{place.hostname}:{place.port}/wallet/{wallet}"
    request = urllib.request.Request(url, json.dumps({"id": 1, "method": method, "params": params}).encode())
    request.add_header("Authorization", "Basic " + b64encode(f"{place.username}:{place.password}".encode()).decode())
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["result"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from None


network, kind_of_network = bdk.Network.REGTEST, bdk.NetworkKind.TEST
root = bdk.DescriptorSecretKey(kind_of_network, bdk.Mnemonic(bdk.WordCount.WORDS12), None)
pair = [
    bdk.Descriptor.new_bip84(root, kind, kind_of_network)
    for kind in (bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL)
]
signer = bdk.Wallet(*pair, network, bdk.Persister.new_in_memory())
call("createwallet", "watched", True, True)
public = [str(descriptor) for descriptor in pair]
imported = call("importdescriptors", [
    {"desc": call("getdescriptorinfo", text)["descriptor"], "active": True, "internal": internal, "timestamp": "now",
     "range": [0, 20]} for text, internal in zip(public, (False, True), strict=True)
])  # fmt: skip
assert all(item["success"] for item in imported), imported
address = call("getnewaddress")
assert address == str(signer.peek_address(bdk.KeychainKind.EXTERNAL, 0).address), address
call("generatetoaddress", 101, address)
(coin,) = call("listunspent")
assert coin["solvable"] and coin["amount"] > 12.5
target = str(signer.peek_address(bdk.KeychainKind.EXTERNAL, 7).address)
made = call("walletcreatefundedpsbt", [], [{target: 12.5}], 0, {"fee_rate": 3})
assert call("walletprocesspsbt", made["psbt"])["complete"] is False
psbt = bdk.Psbt(made["psbt"])
assert signer.sign(psbt, None)
done = call("finalizepsbt", psbt.serialize())
assert done["complete"] is True, done
txid = call("sendrawtransaction", done["hex"])
call("generatetoaddress", 1, target)
assert call("gettransaction", txid)["confirmations"] == 1
assert call("getreceivedbyaddress", target) >= 12.5
print("ok")
