"""The indexes of transactions: where each lies (txindex), and which spends an output (txospenderindex).

A row is a key, the block's number[u32 BE], and the transaction's place in the block: offset[u24 BE], size[u24 BE].
The key is the first 8 bytes of the txid, for spent outputs with the output's number[u32 LE]. Two transactions whose
txids begin alike can be made on purpose; whoever looks one up compares the transaction itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from btcnode.indexes.recipe import NUMBER_SIZE, IndexedBlock, Made
from btcnode.primitives.block import parse_block

KEY_SIZE = 8
_PLACE = 3  # bytes of an offset or size: a block has less than 4 MB


class TxPlace(NamedTuple):
    """Where a transaction lies in its block, in bytes."""

    offset: int
    size: int

    def pack(self) -> bytes:
        """What ends a row."""
        return self.offset.to_bytes(_PLACE, "big") + self.size.to_bytes(_PLACE, "big")

    @classmethod
    def unpack(cls, data: bytes) -> TxPlace:
        """Decode the end of a row."""
        return cls(int.from_bytes(data[:_PLACE], "big"), int.from_bytes(data[_PLACE:], "big"))


def tx_key(txid: bytes) -> bytes:
    """What rows about a transaction begin with."""
    return txid[:KEY_SIZE]


def spender_key(outpoint: bytes) -> bytes:
    """What rows about the spenders of a 36-byte outpoint begin with."""
    return outpoint[:KEY_SIZE] + outpoint[32:]


class TxRecipe:
    """Where every transaction lies, but the genesis block's, whose output nobody can spend."""

    name = "txindex"
    file = Path("indexes", "txindex", "txindex.mdb")
    needs_spent = False
    numbered = True

    def make(self, block: IndexedBlock) -> Made:
        """One row for each transaction."""
        number = block.number.to_bytes(NUMBER_SIZE, "big")
        if not block.height:
            return Made(number)
        parsed = parse_block(block.raw)
        starts = parsed.tx_pos
        rows = [
            tx_key(txid) + number + TxPlace(starts[i], starts[i + 1] - starts[i]).pack()
            for i, txid in enumerate(parsed.txids)
        ]
        return Made(number, rows)


class SpenderRecipe:
    """Which transaction spends an output."""

    name = "txospenderindex"
    file = Path("indexes", "txospenderindex", "txospenderindex.mdb")
    needs_spent = False
    numbered = True

    def make(self, block: IndexedBlock) -> Made:
        """One row for each input but coinbases'."""
        number = block.number.to_bytes(NUMBER_SIZE, "big")
        parsed = parse_block(block.raw)
        raw, starts = parsed.raw, parsed.tx_pos
        rows = []
        for i in range(1, parsed.n_tx):
            end = number + TxPlace(starts[i], starts[i + 1] - starts[i]).pack()
            inputs = parsed.in_pos[parsed.first_in[i] : parsed.first_in[i + 1]]
            rows += [spender_key(raw[p : p + 36]) + end for p in inputs]
        return Made(number, rows)
