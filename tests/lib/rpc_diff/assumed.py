"""A world on a loaded UTXO set: the chain goes on from block 200, and some blocks below it are still to come.

The first 200 blocks are those whose set bitcoind knows for the fuzz tests of its own (``CreateBlockChain`` and height
200 of regtest's sets), so that both nodes load it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from btcnode.consensus.subsidy import block_subsidy
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.testing.blocks import BlockTemplate, push_number

from .nodes import Node
from .text import request
from .world import Coin, World, p2wsh_true

BASE = 200
HEIGHT = 228
OLD_VERSION = 4
NOT_FINAL = 0xFFFFFFFE
CONNECTED = 195  # blocks of the history that are here; a gap would end bitcoind at its next start (an assertion)


@dataclass(slots=True)
class AssumedWorld(World):
    """The same as another world, but that its first blocks pay nobody in particular."""

    height: int = HEIGHT

    def _mine_rewards(self) -> list[Coin]:
        how = p2wsh_true()
        time = int.from_bytes(self.params.genesis_block[68:72], "little")
        rewards = []
        for height in range(1, BASE + 1):
            value = block_subsidy(height, self.params)
            script = push_number(height) + b"\x00"
            txouts = [make_txout(value, how.script_pubkey)]
            coinbase = Tx(2, [NULL_OUTPOINT], [script], [NOT_FINAL], txouts, lock_time=height - 1)
            prev = bytes.fromhex(self.hashes[-1])[::-1]
            raw = BlockTemplate(
                self.params, prev, height, time + height, self.params.pow_limit_bits, version=OLD_VERSION,
                coinbase=coinbase,
            ).build()  # fmt: skip
            self.blocks.append(raw)
            self.hashes.append(to_display(header_hash(raw[:HEADER_SIZE])))
            self.txs.append(coinbase)
            rewards.append(Coin(coinbase.txid + bytes(4), value, how))
        return rewards

    @property
    def awaited(self) -> list[bytes]:
        """Blocks of the history that a walk may bring, in order."""
        return self.blocks[CONNECTED:BASE]


def write_set(node: Node, world: AssumedWorld, path: Path) -> None:
    """Have a new node write the set that the others load."""
    node.start()
    try:
        for raw in world.blocks[:BASE]:
            node.result(request("submitblock", [raw.hex()]))
        node.result(request("dumptxoutset", [str(path), "latest"]))
    finally:
        node.stop()


def load_set(node: Node, world: AssumedWorld, path: Path) -> None:
    """Give all headers, the set, the blocks above it, and those of the history that both have."""
    for raw in world.blocks:
        node.result(request("submitheader", [raw[:HEADER_SIZE].hex()]))
    node.result(request("loadtxoutset", [str(path)]))
    for raw in [*world.blocks[BASE:], *world.blocks[:CONNECTED]]:
        node.result(request("submitblock", [raw.hex()]))
