"""The roots of a forest: all that a verifier keeps of the set of coins (BIP 181)."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from btcnode.errors import DecodeError, ProofError
from btcnode.record import record
from btcnode.utreexo.hashing import EMPTY, HASH_SIZE, parent_hash
from btcnode.utreexo.positions import MAX_ROWS, place, position, root_index, root_rows, tree_rows
from btcnode.utreexo.proof import Proof


class _Node(NamedTuple):
    """A node on the way up: its hash now, and what it is once the proven leaves are gone."""

    position: int
    hash: bytes
    without: bytes | None


@record
class Stump:
    """``leaves``: how many were ever added; ``roots``: highest first, None for one whose leaves are all gone."""

    leaves: int = 0
    roots: tuple[bytes | None, ...] = ()

    def verify(self, hashes: Sequence[bytes], proof: Proof) -> None:
        """Check that leaves are in the set; raises ProofError, with no more work than the proof is long."""
        self._proven(hashes, proof)

    def after(self, hashes: Sequence[bytes], proof: Proof, added: Sequence[bytes]) -> Stump:
        """The roots once the proven leaves are deleted, then others added in order; raises ProofError."""
        return Stump(self.leaves, self._without(hashes, proof)).plus(added)

    def plus(self, added: Sequence[bytes]) -> Stump:
        """The roots with more leaves behind the others; raises ProofError for too many."""
        if self.leaves + len(added) > 1 << MAX_ROWS:
            raise ProofError("more leaves than a forest can have")
        stack, leaves = list(self.roots), self.leaves
        for leaf in added:
            node: bytes | None = leaf
            full = leaves
            while full & 1:
                node = parent_hash(stack.pop(), node)
                full >>= 1
            stack.append(node)
            leaves += 1
        return Stump(leaves, tuple(stack))

    def _without(self, hashes: Sequence[bytes], proof: Proof) -> tuple[bytes | None, ...]:
        roots = list(self.roots)
        for at, without in self._proven(hashes, proof).items():
            roots[at] = without
        return tuple(roots)

    def _proven(self, hashes: Sequence[bytes], proof: Proof) -> dict[int, bytes | None]:
        """By index, the roots above the proven leaves as they are without them; raises ProofError."""
        if len(hashes) != len(proof.targets):
            raise ProofError(f"{len(hashes)} leaves for a proof of {len(proof.targets)}")
        if any(len(hash_) != HASH_SIZE or hash_ == EMPTY for hash_ in (*hashes, *proof.hashes)):
            raise ProofError("a hash in the proof is empty or has not 32 bytes")
        rows = tree_rows(self.leaves)
        index_of = {
            position(row, root_index(self.leaves, row), rows): at for at, row in enumerate(root_rows(self.leaves))
        }
        above: dict[int, bytes | None] = {}
        for node in self._climb(hashes, proof, index_of.keys(), rows):
            at = index_of[node.position]
            if self.roots[at] != node.hash:
                raise ProofError("the proof does not lead to the roots")
            above[at] = node.without
        return above

    def _climb(self, hashes: Sequence[bytes], proof: Proof, roots: Container[int], rows: int) -> Iterator[_Node]:
        """Hash the way up to the roots and yield them; raises ProofError.

        Parents come up in the order of their children, so that two queues are all there is to sort.
        """
        known = 0
        _check_targets(proof.targets, self.leaves, rows)
        order = sorted(range(len(hashes)), key=proof.targets.__getitem__)
        below = deque(_Node(proof.targets[n], hashes[n], None) for n in order)
        above: deque[_Node] = deque()
        while below or above:
            node = _next(below, above)
            nxt = _peek(below, above)
            if nxt is not None and nxt.position == node.position:
                raise ProofError(f"position {node.position} is proven twice")
            if node.position in roots:
                yield node
                continue
            right = bool(node.position & 1)
            if nxt is not None and not right and nxt.position == node.position + 1:
                sibling = _next(below, above)
            else:
                if known == len(proof.hashes):
                    raise ProofError("the proof has too few hashes")
                hash_ = proof.hashes[known]
                known += 1
                sibling = _Node(0, hash_, hash_)
            left, other = (sibling, node) if right else (node, sibling)
            whole = parent_hash(left.hash, other.hash)
            assert whole is not None
            above.append(_Node(node.position >> 1 | 1 << rows, whole, parent_hash(left.without, other.without)))
        if known != len(proof.hashes):
            raise ProofError("the proof has too many hashes")

    def pack(self) -> bytes:
        """``leaves[u64 LE] + 32 bytes for each root``, zeros for an empty one."""
        return self.leaves.to_bytes(8, "little") + b"".join(root or EMPTY for root in self.roots)

    @classmethod
    def unpack(cls, data: bytes) -> Stump:
        """Decode :meth:`pack`; raises DecodeError."""
        leaves = int.from_bytes(data[:8], "little")
        if len(data) != 8 + HASH_SIZE * leaves.bit_count() or leaves > 1 << MAX_ROWS:
            raise DecodeError(f"roots of {leaves} leaves do not have {len(data)} bytes")
        return cls(leaves, tuple(_root(data[at : at + HASH_SIZE]) for at in range(8, len(data), HASH_SIZE)))


def _root(data: bytes) -> bytes | None:
    return None if data == EMPTY else data


def _check_targets(targets: Sequence[int], leaves: int, rows: int) -> None:
    for target in targets:
        row, index = place(target, rows)
        if index >= leaves >> row:
            raise ProofError(f"position {target} lies outside of the forest")


def _next(below: deque[_Node], above: deque[_Node]) -> _Node:
    """The lowest node of two queues, taken out."""
    if not above or (below and below[0].position <= above[0].position):
        return below.popleft()
    return above.popleft()


def _peek(below: deque[_Node], above: deque[_Node]) -> _Node | None:
    """The lowest node of two queues, which stays there."""
    if not above or (below and below[0].position <= above[0].position):
        return below[0] if below else None
    return above[0]
