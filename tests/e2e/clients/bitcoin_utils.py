"""bitcoin-utils signs a payment and sends it: arguments host, port, user, password."""

import sys

from bitcoinutils.keys import PrivateKey
from bitcoinutils.proxy import NodeProxy
from bitcoinutils.setup import setup
from bitcoinutils.transactions import Transaction, TxInput, TxOutput, TxWitnessInput

host, port, user, password = sys.argv[1:5]
setup("regtest")
node = NodeProxy(user, password, host, int(port))
key = PrivateKey(secret_exponent=4242)
owner = key.get_public_key().get_segwit_address()
node.generatetoaddress(101, owner.to_string())
coin = node.getblock(node.getblockhash(node.getblockcount() - 100), 2)["tx"][0]
amount = 50 * 10**8
tx = Transaction([TxInput(coin["txid"], 0)], [TxOutput(amount - 10_000, owner.to_script_pub_key())], has_segwit=True)
code = key.get_public_key().get_address().to_script_pub_key()
signature = key.sign_segwit_input(tx, 0, code, amount)
tx.witnesses.append(TxWitnessInput([signature, key.get_public_key().to_hex()]))
txid = node.sendrawtransaction(tx.serialize())
assert txid == tx.get_txid()
assert node.getrawmempool() == [txid]
node.generatetoaddress(1, owner.to_string())
assert node.getrawmempool() == []
assert node.gettxout(txid, 0)["confirmations"] == 1
print("ok")
