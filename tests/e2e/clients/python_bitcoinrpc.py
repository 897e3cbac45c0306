"""python-bitcoinrpc against a regtest node with a mined chain: argument URL."""

import sys
from decimal import Decimal

from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

node = AuthServiceProxy(sys.argv[1])
height = node.getblockcount()
block = node.getblock(node.getblockhash(height), 2)
assert block["height"] == height
value = block["tx"][0]["vout"][0]["value"]
assert value == Decimal(50) and isinstance(value, Decimal), value
# its batch_ says JSON-RPC 2.0 and reads 1.1 answers, which fails with bitcoind since version 28 as well
hashes = [node.getblockhash(n) for n in range(height + 1)]
assert hashes[-1] == block["hash"]
txid = block["tx"][0]["txid"]
raw = node.createrawtransaction([{"txid": txid, "vout": 0}], {sys.argv[2]: Decimal("0.12345678")})
assert node.decoderawtransaction(raw)["vout"][0]["value"] == Decimal("0.12345678")
try:
    node.sendrawtransaction(raw)
except JSONRPCException as error:
    assert error.code in (-25, -26), error.error
    assert error.message, error.error
else:
    raise AssertionError("an unsigned transaction was taken")
try:
    node.getblock("00" * 32)
except JSONRPCException as error:
    assert (error.code, error.message) == (-5, "Block not found")
print("ok")
