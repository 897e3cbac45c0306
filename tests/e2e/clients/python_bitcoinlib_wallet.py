"""python-bitcoinlib's wallet calls: arguments URL of a wallet's endpoint, and an address of somebody else's."""

import sys
from decimal import Decimal

import bitcoin
from bitcoin.core import COIN, CMutableTransaction, CMutableTxIn, CMutableTxOut, b2lx, lx
from bitcoin.rpc import Proxy
from bitcoin.wallet import CBitcoinAddress

bitcoin.SelectParams("regtest")
node = Proxy(service_url=sys.argv[1])
other = CBitcoinAddress(sys.argv[2])
mine = node.getnewaddress("savings")
node.call("generatetoaddress", 101, str(mine))
assert node.getbalance() == 50 * COIN, node.getbalance()
txid = node.sendtoaddress(other, COIN // 2, "rent", "landlord")
shown = node.gettransaction(txid)
assert b2lx(txid) in node.call("getrawmempool") and shown["amount"] == Decimal("-0.5"), shown
node.call("generatetoaddress", 1, str(mine))
(coin, *_) = sorted(node.listunspent(1), key=lambda coin: -coin["amount"])
assert coin["spendable"] and coin["confirmations"] >= 1
tx = CMutableTransaction([CMutableTxIn(coin["outpoint"])], [
    CMutableTxOut(COIN, other.to_scriptPubKey()),
    CMutableTxOut(coin["amount"] - COIN - 2000, node.getrawchangeaddress().to_scriptPubKey()),
])  # fmt: skip
signed = node.call("signrawtransactionwithwallet", tx.serialize().hex())
assert signed["complete"], signed
sent = lx(node.call("sendrawtransaction", signed["hex"]))
assert node.gettransaction(sent)["confirmations"] == 0
many = node.sendmany("", {other: COIN, node.getnewaddress(): COIN})
assert node.lockunspent(False, [node.listunspent(0)[0]["outpoint"]]) is True
node.call("generatetoaddress", 1, str(mine))
assert node.gettransaction(many)["confirmations"] == 1
print("ok")
