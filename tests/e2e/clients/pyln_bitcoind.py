"""pyln-testing's BitcoinD as Core Lightning's tests use it: argument is an empty directory.

``bitcoind`` is found on PATH. It is started, mines to its wallet, pays from it, and has a block reorganised.
"""

import sys

from pyln.testing.utils import BitcoinD

node = BitcoinD(bitcoin_dir=sys.argv[1])
try:
    node.start()
    node.generate_block(101)
    assert node.rpc.getbalance() == 50
    address = node.getnewaddress()
    txid = node.send_and_mine_block(address, 1_000_000)
    height = node.rpc.getblockcount()
    assert node.rpc.gettransaction(txid)["confirmations"] == 1
    node.rpc.sendmany("", {address: 0.5, node.getnewaddress(): 0.25})
    node.generate_block(1, wait_for_mempool=1)
    assert node.rpc.listunspent(1, 9999999, [address])
    hashes = node.simple_reorg(height)
    assert node.rpc.getblockcount() == height + 2 and node.rpc.getbestblockhash() == hashes[-1]
    assert node.rpc.gettransaction(txid)["blockhash"] == hashes[0]
    moved = node.simple_reorg(height, shift=1)
    assert node.rpc.gettransaction(txid)["blockhash"] == moved[1]
    assert node.rpc.listunspent()  # not what was paid last: its lock time is above the chain that was left
finally:
    node.stop()
print("ok")
