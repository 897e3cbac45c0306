"""A bridge in memory: what blocks spend, proven from a forest over any chain, for nodes that keep no coins."""

from __future__ import annotations

from typing import NamedTuple

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.script.scriptparse import is_unspendable
from btcnode.utreexo.block_proof import outside_inputs
from btcnode.utreexo.blocks import added_leaves
from btcnode.utreexo.compact import compact_leaf
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.hashing import leaf_hash
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump


class Known(NamedTuple):
    """A coin of the set, and its leaf."""

    coin: bytes
    leaf: bytes


class _Step(NamedTuple):
    spent: dict[bytes, Known]
    slots: dict[int, bytes]
    created: list[bytes]
    leaves: int


def told(proof: Proof, leaves: list[bytes]) -> bytes:
    """A proof and compact leaves as ``uproof`` has them behind the block's hash."""
    lists = (proof.hashes, [compact_size(target) for target in proof.targets], leaves)
    return b"".join(part for one in lists for part in (compact_size(len(one)), *one))


class MemoryBridge:
    """The set after the blocks that it has taken; begins after genesis."""

    def __init__(self) -> None:
        self.height = 0
        self.forest = Forest(lambda _key: None)
        self.coins: dict[bytes, Known] = {}
        self._slots: dict[bytes, int] = {}
        self._steps: list[_Step] = []

    @property
    def stump(self) -> Stump:
        """The roots now."""
        return self.forest.stump()

    def spent(self, block: ParsedBlock) -> dict[bytes, tuple[Known, bytes]]:
        """The coins that a block spends as far as they are in the set, each with its compact leaf."""
        found = {}
        for outpoint, (i, place) in outside_inputs(block).items():
            known = self.coins.get(outpoint)
            if known is not None:
                tx = block.tx(i)
                witness = tx.witnesses[place] if tx.witnesses else ()
                found[outpoint] = known, compact_leaf(known.coin, tx.script_sigs[place], witness)
        return found

    def prove(self, raw: bytes) -> bytes:
        """The proof of what a block on the present one spends; what is not in the set is not in the proof."""
        spent = self.spent(parse_block(raw, exact=False))
        proof = self.forest.prove([self._slots[known.leaf] for known, _ in spent.values()])
        return told(proof, [leaf for _, leaf in spent.values()])

    def adopt(self, raw: bytes) -> None:
        """The block is the tip."""
        self.height += 1
        block = parse_block(raw, exact=False)
        spent = {outpoint: known for outpoint, (known, _) in self.spent(block).items()}
        slots = {self._slots[known.leaf]: known.leaf for known in spent.values()}
        before = self.forest.leaves
        self.forest.delete(slots)
        added = added_leaves(block, self.height)
        self.forest.add(added)
        for outpoint, known in spent.items():
            del self.coins[outpoint], self._slots[known.leaf]
        created = self._created(block)
        assert [known.leaf for known in created.values()] == added
        self._slots |= {leaf: before + n for n, leaf in enumerate(added)}
        self.coins |= created
        self._steps.append(_Step(spent, slots, list(created), before))

    def _created(self, block: ParsedBlock) -> dict[bytes, Known]:
        gone, created = set(block.prevouts()), {}
        for i, txid in enumerate(block.txids):
            for n, txout in enumerate(block.tx(i).txouts):
                outpoint = txid + n.to_bytes(4, "little")
                _, script = txout[:8], txout[8:]
                size = {0xFD: 3, 0xFE: 5}.get(script[0], 1)
                if outpoint not in gone and not is_unspendable(script[size:]):
                    coin = coin_prefix(self.height, not i) + txout
                    created[outpoint] = Known(coin, leaf_hash(BlockHash(block.hash), outpoint, coin))
        return created

    def back(self) -> None:
        """Take the newest block back."""
        step = self._steps.pop()
        for outpoint in step.created:
            del self._slots[self.coins.pop(outpoint).leaf]
        self.forest.truncate(step.leaves)
        self.forest.restore(step.slots)
        self.coins |= step.spent
        self._slots |= {leaf: slot for slot, leaf in step.slots.items()}
        self.height -= 1
