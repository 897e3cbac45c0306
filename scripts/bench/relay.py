"""Relay of a block in short forms: bytes against the whole block, and where the time goes on the receiving side.

    python scripts/bench/relay.py [--transactions 2500] [--pool 50000] [--missing 0.1]

One process, no sockets, no scripts and no coins: the codec, the search in the mempool and the putting together, then
parsing and checking the block as validation does before it connects it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.consensus.blocks import check_block
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.steps import at_once
from btcnode.protocol.blocks.partial_block import PartialBlock
from btcnode.protocol.blocks.thin_block import ThinBlock
from btcnode.protocol.limits import MAX_XTHIN_FILTER_ELEMENTS
from btcnode.protocol.serving.compact_serving import compact_payload
from btcnode.testing.memory_chain import MemoryChain
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend
from btcnode.wire.bloom_filter import contains, make_filter
from btcnode.wire.messages import BlockTxn, CmpctBlock, GetBlockTxn, GetXBlockTx, GetXThin, XBlockTx, XThinBlock


def timed(label: str, work: Callable[[], Any]) -> Any:
    """Do it, print how long it took, return what it gives."""
    start = time.perf_counter()
    result = work()
    print(f"    {label:<44}{1000 * (time.perf_counter() - start):8.2f} ms")
    return result


def compact(raw: bytes, pool: SmallPool) -> int:
    """Receive the block as a compact one; returns the bytes that went over the wire."""
    block = parse_block(raw)
    payload = timed("sender: make cmpctblock", lambda: compact_payload(block, 5))
    message = timed("decode cmpctblock", lambda: CmpctBlock.decode(payload))
    partial = PartialBlock(message)
    timed(f"search {len(pool.entries)} transactions", lambda: at_once(partial.collect(message, pool.by_wtxid(), {})))
    missing = partial.missing()
    size = len(payload)
    txs: tuple[bytes, ...] = ()
    if missing:
        answer = BlockTxn(message.hash, tuple(block.tx_raw(i) for i in missing)).encode()
        size += len(GetBlockTxn(message.hash, missing).encode()) + len(answer)
        txs = timed("decode blocktxn", lambda: BlockTxn.decode(answer)).transactions
    whole = timed("put together", lambda: partial.fill(txs))
    assert whole == raw
    print(f"    round trips: {1 if missing else 0}")
    return size


def thin(raw: bytes, pool: SmallPool) -> int:
    """Receive the block as a thin one; returns the bytes that went over the wire."""
    block = parse_block(raw)
    known = [entry.wtxid for entry in pool.best(MAX_XTHIN_FILTER_ELEMENTS)]
    data, funcs = timed(f"make a filter of {len(known)} transactions", lambda: make_filter(known, 9))
    request = GetXThin(block.hash, data, funcs, 9).encode()
    cheap = tuple(wtxid[:8] for wtxid in block.wtxids)
    lacking = timed(
        "sender: look at the filter",
        lambda: [i for i, w in enumerate(block.wtxids) if not i or not contains(data, funcs, 9, w)],
    )
    payload = XThinBlock(raw[:80], cheap, tuple(block.tx_raw(i) for i in lacking)).encode()
    message = timed("decode xthinblock", lambda: XThinBlock.decode(payload))
    building = ThinBlock()

    def search() -> None:
        assert building.begin(message)
        assert building.put(message.transactions)
        building.collect({w: entry.tx.raw for w, entry in pool.by_wtxid().items() if building.has(w)})

    timed(f"search {len(pool.entries)} transactions", search)
    missing = building.missing()
    size = len(request) + len(payload)
    if missing:
        wanted = set(missing)
        txs = tuple(block.tx_raw(i) for i, c in enumerate(cheap) if c in wanted)
        size += len(GetXBlockTx(block.hash, missing).encode()) + len(XBlockTx(block.hash, txs).encode())
        assert building.put(txs)
    whole = timed("put together", building.raw)
    assert whole == raw
    print(f"    round trips: {2 if missing else 1}")
    return size


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=2500)
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--missing", type=float, default=0.1)
    options = parser.parse_args()
    params = params_for("regtest")
    chain = MemoryChain(params)
    count = options.transactions
    txs = [spend([coin(n)], COIN_VALUE, 2000, outputs=2, witness=bytes(107)) for n in range(count)]
    raw = chain.mine(chain.tree.time(0) + 600, txs=txs)
    others = [spend([coin(count + n)], COIN_VALUE, 2000, witness=bytes(107)) for n in range(options.pool - count)]
    print(f"block of {count} transactions, {len(raw)} bytes; validation before connecting:")
    block = timed("parse", lambda: parse_block(raw))
    timed("check (merkle tree and rules)", lambda: check_block(block, params))
    for share in (0.0, options.missing):
        pool = SmallPool()
        for tx in [*txs[int(count * share) :], *others]:  # the block has the best
            pool.add(tx, 2000)
        for title, receive in (("compact", compact), ("xthin", thin)):
            print(f"{title}, {share:.0%} missing:")
            size = receive(raw, pool)
            print(f"    {size} bytes, {1 - size / len(raw):.1%} saved")


if __name__ == "__main__":
    main()
