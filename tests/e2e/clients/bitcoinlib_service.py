"""bitcoinlib's service client reads chain and transactions: arguments URL, a txid in the chain, one in the mempool."""

import sys

from bitcoinlib.services.bitcoind import BitcoindClient

url, mined, waiting = sys.argv[1:4]
client = BitcoindClient("regtest", url)
height = client.blockcount()
tx = client.gettransaction(mined)
assert tx.txid == mined and tx.status == "confirmed" and tx.confirmations >= 1, tx
assert client.getrawtransaction(mined) == tx.raw_hex()
assert client.mempool(waiting) == [waiting]
block = client.getblock(tx.block_height, False, 1, 10)
assert mined in block["txs"], block
assert block["depth"] == height - tx.block_height + 1, block
assert client.getinfo()["blockcount"] == height
print("ok")
