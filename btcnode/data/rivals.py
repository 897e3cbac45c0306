"""Whose undo data it is, among blocks with one parent: the checksum is the same for all children of a block.

Data that has a block's form is a rival's where the coins are those of the rival's inputs. One input in which both
differ tells: the coin is looked up in the block that is said to have made it. Where no input tells, both blocks spend
the same coins, and only how often the data is there says which of them were connected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from btcnode.consensus.connect import block_outputs
from btcnode.data.block_reader import coins_for
from btcnode.errors import DecodeError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_height

BlockAt = Callable[[int], ParsedBlock | None]
"""The block at a height below, on the chain that is asked about; None where it cannot be read."""


def is_undo_of(data: bytes, block: ParsedBlock, height: int, rivals: Sequence[ParsedBlock], block_at: BlockAt) -> bool:
    """Whether undo data, which is of one of some blocks at ``height``, is (also) that of ``block``."""
    try:
        told = list(chain.from_iterable(coins_for(block, data)))
    except DecodeError:
        return False
    own = block.prevouts()[1:]
    for rival in rivals:
        try:
            coins_for(rival, data)
        except DecodeError:
            continue  # it has another form
        for outpoint, other, coin in zip(own, rival.prevouts()[1:], told, strict=True):
            if outpoint != other:
                if not _has_made(outpoint, coin, block, height, block_at):
                    return False
                if not _has_made(other, coin, rival, height, block_at):
                    break  # it is not this rival's
    return True


def _has_made(outpoint: bytes, coin: bytes, block: ParsedBlock, height: int, block_at: BlockAt) -> bool:
    """Whether a coin is what an outpoint names, for a block at ``height``."""
    at = coin_height(coin)
    maker = block if at == height else block_at(at) if 0 < at < height else None
    if maker is None:
        return False
    return any(
        dict(block_outputs(maker, i, at)).get(outpoint) == coin
        for i, txid in enumerate(maker.txids)
        if txid == outpoint[:32]
    )
