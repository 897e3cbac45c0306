"""Taproot script trees: from leaves to output key and control blocks, and back (BIP341)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from btcnode.script.sighash import tapbranch_hash, tapleaf_hash
from btcnode.script.signatures import is_valid_xonly, taproot_tweak_pubkey
from btcnode.script.tapscript import (
    CONTROL_BASE_SIZE,
    CONTROL_NODE_SIZE,
    LEAF_MASK,
    is_valid_control_size,
)
from btcnode.tuples import NamedTuple

MAX_TREE_DEPTH = 128
NO_KEY = bytes(32)  # an internal key or merkle root that is not known


class Leaf(NamedTuple):
    """A script of a tree, with its depth (0 for a tree of one leaf)."""

    depth: int
    version: int
    script: bytes


class _Branch(NamedTuple):
    """The hash of a subtree, and for each leaf below its number and the hashes beside its way up."""

    hash: bytes
    leaves: list[tuple[int, list[bytes]]]


def _join(one: _Branch, other: _Branch) -> _Branch:
    for _, way in one.leaves:
        way.append(other.hash)
    for _, way in other.leaves:
        way.append(one.hash)
    return _Branch(tapbranch_hash(one.hash, other.hash), one.leaves + other.leaves)


def _assemble(leaves: Sequence[Leaf]) -> _Branch | None:
    """The root over leaves in depth-first order; raises ValueError when the depths make no binary tree."""
    open_branches: list[_Branch | None] = []
    for number, leaf in enumerate(leaves):
        depth = leaf.depth
        node = _Branch(tapleaf_hash(leaf.version, leaf.script), [(number, [])])
        if not 0 <= depth <= MAX_TREE_DEPTH or depth + 1 < len(open_branches):
            raise ValueError("not a depth-first order")
        while len(open_branches) > depth and (left := open_branches[depth]) is not None:
            node = _join(node, left)  # the later ones first, as in Core, whose PSBTs tell leaves in this order
            open_branches.pop()
            if depth == 0:
                raise ValueError("more than one tree")
            depth -= 1
        open_branches += [None] * (depth + 1 - len(open_branches))
        open_branches[depth] = node
    if not open_branches:
        return None
    if len(open_branches) > 1 or open_branches[0] is None:
        raise ValueError("unfinished tree")
    return open_branches[0]


def is_complete_tree(leaves: Sequence[Leaf]) -> bool:
    """Whether leaves in this order, with these depths, are exactly one binary tree."""
    try:
        _assemble(leaves)
    except ValueError:
        return False
    return True


def control_order(block: bytes) -> tuple[int, bytes]:
    """Control blocks sort by length first."""
    return len(block), block


class SpendData:
    """What is known about how to spend a taproot output; key and root are ``NO_KEY`` where they are not known.

    ``scripts`` maps (script, leaf version) to its control blocks.
    """

    __slots__ = ("internal_key", "merkle_root", "scripts")

    def __init__(self, internal_key: bytes = NO_KEY, merkle_root: bytes = NO_KEY) -> None:
        self.internal_key = internal_key
        self.merkle_root = merkle_root
        self.scripts: dict[tuple[bytes, int], set[bytes]] = {}

    def merge(self, other: SpendData) -> None:
        """Take over what this one does not know."""
        if self.internal_key == NO_KEY:
            self.internal_key = other.internal_key
        if self.merkle_root == NO_KEY:
            self.merkle_root = other.merkle_root
        for leaf, blocks in other.scripts.items():
            self.scripts.setdefault(leaf, set()).update(blocks)

    def sorted_scripts(self) -> list[tuple[bytes, int, list[bytes]]]:
        """Script, leaf version and control blocks (shortest first), in Core's order."""
        return [
            (script, version, sorted(blocks, key=control_order))
            for (script, version), blocks in sorted(self.scripts.items())
        ]


class TaprootTree:
    """An internal key and the leaves under it, with everything that follows from them.

    Raises ValueError for depths that make no tree and for a key that is none.
    """

    __slots__ = ("_root", "internal_key", "leaves", "merkle_root", "output_key", "parity")

    def __init__(self, internal_key: bytes, leaves: Iterable[Leaf] = ()) -> None:
        self.internal_key = internal_key
        self.leaves = tuple(leaves)
        self._root = _assemble(self.leaves)
        self.merkle_root = self._root.hash if self._root else NO_KEY
        root = self._root.hash if self._root else b""
        self.output_key, self.parity = taproot_tweak_pubkey(internal_key, root)

    @property
    def script_pubkey(self) -> bytes:
        """The output's script."""
        return b"\x51\x20" + self.output_key

    def spend_data(self) -> SpendData:
        """Root and control blocks of all leaves."""
        data = SpendData(self.internal_key, self.merkle_root)
        for number, way in self._root.leaves if self._root else ():
            leaf = self.leaves[number]
            control = bytes((leaf.version | self.parity,)) + self.internal_key + b"".join(way)
            data.scripts.setdefault((leaf.script, leaf.version), set()).add(control)
        return data

    def ordered_leaves(self) -> list[Leaf]:
        """The leaves in the order in which joining the branches left them: depth first, from the last one."""
        return [self.leaves[number] for number, _ in self._root.leaves] if self._root else []


class _Place:
    """A place in a tree that is put together from control blocks."""

    __slots__ = ("hash", "leaf", "sides")

    def __init__(self, known: bytes = NO_KEY) -> None:
        self.hash = known
        self.leaf: tuple[bytes, int] | None = None
        self.sides: tuple[_Place, _Place] | None = None


def _enter(place: _Place, partner: bytes) -> _Place | None:
    """One level down, to the side whose sibling has the hash ``partner``; None when no side can be it."""
    if place.leaf is not None:
        return None
    if place.sides is None:
        place.sides = (_Place(), _Place(partner))
        return place.sides[0]
    for side in (0, 1):
        here, there = place.sides[side], place.sides[1 - side]
        if here.hash == partner or (here.hash == NO_KEY and there.hash != partner):
            here.hash = partner
            return there
    return None


def _flatten(place: _Place, depth: int) -> list[Leaf] | None:
    """The leaves from here on, depth first; None when a part of the tree is not known."""
    result: list[Leaf] = []
    todo = [(place, depth)]
    while todo:
        node, level = todo.pop()
        if node.leaf is not None:
            result.append(Leaf(level, node.leaf[1], node.leaf[0]))
            continue
        if node.sides is None:
            return None
        left, right = node.sides
        unknown = right.leaf is None and right.sides is None
        if unknown and right.hash != NO_KEY and tapbranch_hash(right.hash, right.hash) == node.hash:
            right = left  # two equal halves: control blocks cannot tell them apart
        todo += [(right, level + 1), (left, level + 1)]
    return result


def infer_tree(data: SpendData, output_key: bytes) -> list[Leaf] | None:
    """The whole tree behind an output key, as far as control blocks tell it; None when they do not tell all of it."""
    root = data.merkle_root if data.merkle_root != NO_KEY else b""
    if not is_valid_xonly(data.internal_key) or taproot_tweak_pubkey(data.internal_key, root)[0] != output_key:
        return None
    if not root:
        return []
    top = _Place(root)
    for script, version, blocks in data.sorted_scripts():
        for control in blocks:
            if not 0 <= version < 256 or version & 1 or not is_valid_control_size(len(control)):
                continue
            ways = [
                control[at : at + CONTROL_NODE_SIZE] for at in range(CONTROL_BASE_SIZE, len(control), CONTROL_NODE_SIZE)
            ]
            leaf_hash = found = tapleaf_hash(version, script)
            for partner in ways:
                found = tapbranch_hash(found, partner)
            if control[0] & LEAF_MASK != version or found != root:
                continue
            place: _Place | None = top
            for partner in reversed(ways):
                place = _enter(place, partner) if place is not None else None
            if place is None or place.sides is not None:
                return None
            place.leaf = (script, version)
            place.hash = leaf_hash
    return _flatten(top, 0)
