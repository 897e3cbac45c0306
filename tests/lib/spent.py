"""What blocks spend, told without the node's own way of telling it: from a list of blocks."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_value, make_coin, txout_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.undo import compress_amount
from btcnode.swiftsync.spent_coins import encode_script


def spent_coins(blocks: Sequence[bytes]) -> list[list[bytes]]:
    """The packed coins that each block from height 1 on spends, in order of its inputs."""
    made: dict[bytes, bytes] = {}
    found = []
    for height, raw in enumerate(blocks, 1):
        block = parse_block(raw)
        txs = [block.tx(i) for i in range(block.n_tx)]
        for i, tx in enumerate(txs):
            for vout, txout in enumerate(tx.txouts):
                value = int.from_bytes(txout[:8], "little")
                made[tx.txid + vout.to_bytes(4, "little")] = make_coin(height, i == 0, value, txout_script(txout))
        found.append([made[prevout] for tx in txs[1:] for prevout in tx.prevouts])
    return found


def tell(coins: Sequence[bytes], cutoff: int = 0) -> bytes:
    """What ``bspent`` has behind the block's hash."""
    told = [(n, coin) for n, coin in enumerate(coins) if not cutoff or coin_height(coin) < cutoff]
    return compact_size(len(told)) + b"".join(
        n.to_bytes(4, "little")
        + coin[:4]
        + encode_script(txout_script(coin[4:]))
        + compact_size(compress_amount(coin_value(coin)))
        for n, coin in told
    )


def told_by_hash(blocks: Sequence[bytes]) -> dict[BlockHash, bytes]:
    """By block hash, what is to be told of each block."""
    told = map(tell, spent_coins(blocks))
    return {header_hash(raw[:HEADER_SIZE]): coins for raw, coins in zip(blocks, told, strict=True)}
