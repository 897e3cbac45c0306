"""What a block does to the forest (BIP 182): which leaves go, and which come in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_prefix
from btcnode.primitives.compactsize import read_compact_size
from btcnode.script.scriptparse import is_unspendable
from btcnode.utreexo.hashing import leaf_hash

# mainnet's coinbases of 2010 that were overwritten while unspent (BIP30): their leaves stay, and nobody can spend them
OVERWRITTEN_LEAVES = frozenset(
    bytes.fromhex(text)
    for text in (
        "84b3af0783b410b4564c5d1f361868559f7cf77cfc65ce2be951210357022fe3",
        "bc6b4bf7cebbd33a18d6b0fe1f8ecc7aa5403083c39ee343b985d51fd0295ad8",
    )
)


class SpentCoin(NamedTuple):
    """A coin of an earlier block: the 36-byte outpoint, and the packed coin."""

    outpoint: bytes
    coin: bytes


def spent_leaves(block: ParsedBlock, spent: Sequence[Sequence[bytes]]) -> list[SpentCoin]:
    """The coins that go, in the order of the inputs; ``spent``: packed coins by transaction behind the coinbase.

    What a block spends of its own outputs is never in the forest.
    """
    own = set(block.txids)
    raw, found = block.raw, []
    for i in range(1, block.n_tx):
        inputs = block.in_pos[block.first_in[i] : block.first_in[i + 1]]
        for at, coin in zip(inputs, spent[i - 1], strict=True):
            outpoint = raw[at : at + 36]
            if outpoint[:32] not in own:
                found.append(SpentCoin(outpoint, coin))
    return found


def added_leaves(block: ParsedBlock, height: int) -> list[bytes]:
    """The leaves that come; none of the genesis block, whose output is in no set of coins."""
    if not height:
        return []
    raw, starts = block.raw, block.in_pos[block.first_in[1] :]
    gone = {raw[at : at + 36] for at in starts}
    leaves = []
    for i, txid in enumerate(block.txids):
        prefix = coin_prefix(height, not i)
        for n, at in enumerate(block.out_pos[block.first_out[i] : block.first_out[i + 1]]):
            size, script = read_compact_size(raw, at + 8)
            outpoint = txid + n.to_bytes(4, "little")
            if outpoint not in gone and not is_unspendable(raw[script : script + size]):
                leaves.append(leaf_hash(block.hash, outpoint, prefix + raw[at : script + size]))
    return leaves
