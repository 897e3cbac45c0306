"""A proof about coins that goes from hand to hand: which coins, after which block, and the way to the roots.

``"UCP1" + block hash[32] + CompactSize(n) + n * (block hash[32] + outpoint[36] + CompactSize(size) + packed coin)``,
then a proof as utreexod encodes it. Whoever has the roots after that block needs nothing else. The form is our own.
"""

from __future__ import annotations

from btcnode.errors import DecodeError, ProofError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record
from btcnode.utreexo.blocks import OVERWRITTEN_LEAVES
from btcnode.utreexo.hashing import HASH_SIZE, leaf_hash
from btcnode.utreexo.proof import MAX_TARGETS, Proof
from btcnode.utreexo.stump import Stump

_MAGIC = b"UCP1"
_OUTPOINT_SIZE = 36
_COIN_HEAD = 12  # height and value
_MAX_COIN = 12 + 3 + 10_000


@record
class ProvenCoin:
    """A coin: the block that confirmed it, its 36-byte outpoint, and the packed coin."""

    block_hash: BlockHash
    outpoint: bytes
    coin: bytes

    def leaf(self) -> bytes:
        """Its leaf in the forest."""
        return leaf_hash(self.block_hash, self.outpoint, self.coin)


@record
class CoinProof:
    """``coins`` are in the set after the block ``after``, in the order of the proof's targets."""

    after: BlockHash
    coins: tuple[ProvenCoin, ...]
    proof: Proof

    def verify(self, stump: Stump) -> None:
        """Check it against the roots after that block; raises ProofError."""
        leaves = [coin.leaf() for coin in self.coins]
        if not leaves:
            raise ProofError("the proof is about no coin")
        if not OVERWRITTEN_LEAVES.isdisjoint(leaves):
            raise ProofError("the coin was overwritten in 2010: nobody can spend it")
        stump.verify(leaves, self.proof)

    def encode(self) -> bytes:
        """See the module."""
        parts = [_MAGIC, self.after, compact_size(len(self.coins))]
        for coin in self.coins:
            parts += [coin.block_hash, coin.outpoint, compact_size(len(coin.coin)), coin.coin]
        return b"".join((*parts, self.proof.encode()))

    @classmethod
    def decode(cls, data: bytes) -> CoinProof:
        """Read :meth:`encode`; raises DecodeError for anything else."""
        if data[:4] != _MAGIC or len(data) < 4 + HASH_SIZE:
            raise DecodeError("this is no proof of coins")
        count, at = read_compact_size(data, 4 + HASH_SIZE, MAX_TARGETS)
        coins = []
        for _ in range(count):
            outpoint = at + HASH_SIZE
            size, begin = read_compact_size(data, outpoint + _OUTPOINT_SIZE, _MAX_COIN)
            block_hash, at = BlockHash(data[at:outpoint]), begin + size
            coins.append(ProvenCoin(block_hash, data[outpoint : outpoint + _OUTPOINT_SIZE], data[begin:at]))
            _check_coin(data[begin:at], size)
        proof, at = Proof.decode(data, at)
        if at != len(data):
            raise DecodeError("bytes behind the proof of coins")
        return cls(BlockHash(data[4 : 4 + HASH_SIZE]), tuple(coins), proof)


def _check_coin(coin: bytes, size: int) -> None:
    """Raises DecodeError for what is no packed coin."""
    length, begin = read_compact_size(coin, _COIN_HEAD)
    if len(coin) != size or begin + length != size:
        raise DecodeError("a coin in the proof has a wrong size")


def encode_roots(block_hash: BlockHash, stump: Stump) -> bytes:
    """``block hash[32] + roots``: the roots after a block, to go from hand to hand."""
    return block_hash + stump.pack()


def decode_roots(data: bytes) -> tuple[BlockHash, Stump]:
    """Read :func:`encode_roots`; raises DecodeError."""
    return BlockHash(data[:HASH_SIZE]), Stump.unpack(data[HASH_SIZE:])
