"""Random operations on a Utreexo forest, held against a naive one and a verifier that has the roots only."""

from __future__ import annotations

from collections import Counter
from random import Random

from btcnode.errors import DecodeError, ProofError
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.hashing import EMPTY, parent_hash
from btcnode.utreexo.proof import MAX_TARGETS, Proof
from btcnode.utreexo.stump import Stump


def naive_roots(slots: list[bytes | None]) -> tuple[bytes | None, ...]:
    """The roots over all slots, hashed anew from the leaves."""
    roots: list[bytes | None] = []
    at = 0
    for row in range(len(slots).bit_length() - 1, -1, -1):
        if len(slots) >> row & 1:
            nodes = slots[at : at + (1 << row)]
            at += 1 << row
            while len(nodes) > 1:
                nodes = [parent_hash(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=True)]
            roots += nodes
    return tuple(roots)


class ForestLab:
    """A forest over a dictionary, with all that was done to it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.kept: dict[bytes, bytes] = {}
        self.forest = Forest(self._read)
        self.stump = Stump()
        self.slots: list[bytes | None] = []
        self.alive: list[int] = []  # slots, in no order
        self.history: list[tuple[Stump, dict[int, bytes], int]] = []
        self.seen: Counter[str] = Counter()

    def _read(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def block(self, deleted: int, added: int) -> None:
        """Prove and delete random leaves and add others, as a block does."""
        before, first = self.stump, len(self.slots)
        gone: dict[int, bytes] = {}
        for _ in range(min(deleted, len(self.alive))):
            at = self.random.randrange(len(self.alive))
            self.alive[at], self.alive[-1] = self.alive[-1], self.alive[at]
            slot = self.alive.pop()
            leaf = self.slots[slot]
            assert leaf is not None
            gone[slot], self.slots[slot] = leaf, None
        proof = self.forest.prove(list(gone))
        assert list(proof.hashes) == [h for h in proof.hashes if h != EMPTY]
        assert Proof.decode(proof.encode()) == (proof, len(proof.encode()))
        new = [self.random.randbytes(32) for _ in range(added)]
        self.stump = before.after(list(gone.values()), proof, new)
        assert Stump.unpack(self.stump.pack()) == self.stump
        self.forest.delete(gone)
        self.forest.add(new)
        self.slots += new
        self.alive += range(first, first + added)
        self.history.append((before, gone, first))
        self.seen.update(deleted=len(gone), added=added, empty=self.stump.roots.count(None))
        self.check()

    def clear(self) -> None:
        """Delete all leaves, in as many blocks as that takes: nothing but empty roots is left."""
        while self.alive:
            self.block(MAX_TARGETS, 0)
        assert not any(self.stump.roots)

    def undo(self) -> None:
        """Take the last block back."""
        if not self.history:
            return
        self.stump, gone, first = self.history.pop()
        self.forest.truncate(first)
        self.forest.restore(gone)
        del self.slots[first:]
        self.alive = [slot for slot in self.alive if slot < first] + list(gone)
        for slot, leaf in gone.items():
            self.slots[slot] = leaf
        self.seen["undone"] += len(gone)
        self.check()

    def check(self) -> None:
        """Forest and roots agree, and chunks survive being stored."""
        assert self.forest.stump() == self.stump
        if self.random.random() < 0.3:
            self.store()

    def store(self) -> None:
        """Store what has changed, and go on with what is read again."""
        for key, chunk in self.forest.take_changes().items():
            if chunk is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = chunk
        self.forest = Forest(self._read, len(self.slots))

    def forge(self) -> None:
        """A bent proof is refused, and costs no more than its length."""
        chosen = self.random.sample(self.alive, min(len(self.alive), self.random.randrange(1, 6)))
        if not chosen:
            return
        leaves = [leaf for slot in chosen if (leaf := self.slots[slot]) is not None]
        good = self.forest.prove(chosen)
        targets, hashes = list(good.targets), list(good.hashes)
        kind = self.random.choice(
            ("leaf", "target", "hash", "fewer", "more", "twice", "empty", "ancestor", "swapped", "bytes")
        )
        at = self.random.randrange(len(targets))
        if kind == "leaf":
            leaves[at] = self.random.randbytes(32)
        elif kind == "target":
            targets[at] = self.random.choice((0, 1, targets[at] ^ 1, 2**64 - 1, self.random.getrandbits(40)))
        elif kind == "hash" and hashes:
            hashes[self.random.randrange(len(hashes))] = self.random.randbytes(32)
        elif kind == "fewer" and hashes:
            del hashes[self.random.randrange(len(hashes))]
        elif kind == "more":
            hashes.insert(self.random.randrange(len(hashes) + 1), self.random.randbytes(32))
        elif kind == "twice":
            targets.append(targets[at])
            leaves.append(leaves[at])
        elif kind == "empty":
            leaves[at] = EMPTY
        elif kind == "ancestor":
            rows = (len(self.slots) - 1).bit_length()
            targets.append(targets[at] >> 1 | 1 << rows)
            leaves.append(self.random.randbytes(32))
        elif kind == "swapped" and len(set(leaves)) > 1:
            leaves = leaves[1:] + leaves[:1]
        elif kind == "bytes":
            self._bend(good)
            return
        proof = Proof(tuple(targets), tuple(hashes))
        if proof == good and leaves == [self.slots[slot] for slot in chosen]:
            return
        try:
            self.stump.verify(leaves, proof)
        except ProofError:
            self.seen[f"refused: {kind}"] += 1
        else:
            raise AssertionError(f"a forged proof was believed ({kind})")

    def _bend(self, proof: Proof) -> None:
        data = bytearray(proof.encode())
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        del data[self.random.randrange(len(data)) :]
        try:
            read, _ = Proof.decode(bytes(data))
        except DecodeError:
            self.seen["bytes refused"] += 1
        else:
            assert Proof.decode(read.encode())[0] == read
            self.seen["bytes read"] += 1


def fuzz(operations: int, seed: int, sizes: tuple[int, ...] = (0, 1, 3, 20, 200, 2000)) -> Counter[str]:
    """At least so many leaves added, deleted, or brought back; raises AssertionError for the first difference."""
    lab = ForestLab(seed)
    while sum(lab.seen[what] for what in ("added", "deleted", "undone")) < operations:
        growing = lab.random.random() < 0.6
        size = lab.random.choice(sizes)
        lab.block(lab.random.randrange(size + 1), lab.random.randrange(size + 1) * (2 if growing else 1))
        if lab.random.random() < 0.01:
            lab.clear()
        if lab.random.random() < 0.3:
            for _ in range(lab.random.randrange(6)):
                lab.undo()
        lab.forge()
        if lab.random.random() < 0.05 or len(lab.slots) < 300:
            assert naive_roots(lab.slots) == lab.stump.roots
    assert naive_roots(lab.slots) == lab.stump.roots
    return lab.seen
