"""The whole forest: what a bridge keeps to make proofs (BIP 181).

Every leaf has a slot for good, the number of leaves that were added before it; where it stood alone beside deleted
ones it only seems to move up. So the forest is a function of its slots: deleting empties one, undoing fills it again,
and taking additions back cuts the slots off. Positions are worked out when something is proven.

Nodes are kept in chunks of ``FAN`` siblings: those of level 0 have leaves, those of level ``n`` the roots of whole
chunks of the level below. What lies between is hashed when it is asked for. A chunk is read from whoever keeps it, by a
key, and changed ones wait until they are taken: so the memory is that of what was touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from btcnode.errors import CorruptionError, ProofError
from btcnode.utreexo.hashing import HASH_SIZE, parent_hash
from btcnode.utreexo.positions import MAX_ROWS, position, root_index, root_rows, tree_rows
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump

FAN_ROWS = 4
FAN = 1 << FAN_ROWS
CACHED_CHUNKS = 20_000  # with some 3 kB each
_Rows = list[list[bytes | None]]


def chunk_key(level: int, index: int) -> bytes:
    """What a chunk is kept under, 9 bytes: chunks of a level lie in order."""
    return level.to_bytes(1, "big") + index.to_bytes(8, "big")


class Forest:
    """A forest of ``leaves`` slots over chunks that ``read`` gets by key, None for one with nothing in it."""

    def __init__(self, read: Callable[[bytes], bytes | None], leaves: int = 0) -> None:
        """The chunks have to be those of so many leaves."""
        self.leaves = leaves
        self._read = read
        self._chunks: dict[bytes, list[bytes | None]] = {}
        self._inner: dict[bytes, _Rows] = {}
        self._changed: set[bytes] = set()

    # -- changing ------------------------------------------------------------------------------------------------

    def delete(self, slots: Iterable[int]) -> None:
        """Empty slots; raises ProofError for one that is empty or given twice."""
        changes: dict[int, bytes | None] = {}
        for slot in slots:
            if slot in changes or self.leaf(slot) is None:
                raise ProofError(f"slot {slot} of the forest has no leaf to delete")
            changes[slot] = None
        self._set(changes)

    def restore(self, leaves: Mapping[int, bytes]) -> None:
        """Fill slots again that were emptied; raises ProofError for one that is not empty."""
        for slot in leaves:
            if not 0 <= slot < self.leaves or self.leaf(slot) is not None:
                raise ProofError(f"slot {slot} of the forest cannot have a leaf back")
        self._set(leaves)

    def add(self, leaves: Sequence[bytes]) -> None:
        """Add leaves behind the others; raises ProofError for too many."""
        first = self.leaves
        if first + len(leaves) > 1 << MAX_ROWS:
            raise ProofError("more leaves than a forest can have")
        self.leaves += len(leaves)
        self._set({first + n: leaf for n, leaf in enumerate(leaves)})

    def truncate(self, leaves: int) -> None:
        """Take additions back, until there are so many slots."""
        level, before, self.leaves = 0, self.leaves, leaves
        while before:
            for index in range(leaves >> FAN_ROWS, -(-before >> FAN_ROWS)):
                keep = max(leaves - index * FAN, 0)
                if keep < FAN:
                    chunk = self._touched(level, index)
                    chunk[keep:] = [None] * (FAN - keep)
            before, leaves, level = before >> FAN_ROWS, leaves >> FAN_ROWS, level + 1

    def _set(self, changes: Mapping[int, bytes | None]) -> None:
        """Write slots, and what follows from them up to the roots."""
        level = 0
        while changes:
            touched = set()
            for index, value in changes.items():
                self._touched(level, index >> FAN_ROWS)[index % FAN] = value
                touched.add(index >> FAN_ROWS)
            whole = self.leaves >> FAN_ROWS * (level + 1)
            changes = {index: self._rows(level, index)[FAN_ROWS][0] for index in sorted(touched) if index < whole}
            level += 1

    # -- asking --------------------------------------------------------------------------------------------------

    def leaf(self, slot: int) -> bytes | None:
        """The leaf in a slot, None for an empty one; raises CorruptionError."""
        return self._chunk(chunk_key(0, slot >> FAN_ROWS))[slot % FAN] if 0 <= slot < self.leaves else None

    def stump(self) -> Stump:
        """The roots; raises CorruptionError."""
        leaves = self.leaves
        return Stump(leaves, tuple(self._node(row, root_index(leaves, row)) for row in root_rows(leaves)))

    def prove(self, slots: Sequence[int]) -> Proof:
        """The proof that the leaves of these slots are there; raises ProofError for an empty one, CorruptionError."""
        rows = tree_rows(self.leaves)
        targets, siblings, computed = [], dict[int, bytes](), set[int]()
        for slot in slots:
            if self.leaf(slot) is None:
                raise ProofError(f"slot {slot} of the forest has no leaf to prove")
            row = (slot ^ self.leaves).bit_length() - 1
            index = root_index(self.leaves, row)
            number = position(row, index, rows)
            for bit, sibling in reversed(list(self._branches(slot, row))):
                row -= 1
                index = index << 1 | bit
                number = position(row, index, rows)
                computed.add(number)
                siblings[number ^ 1] = sibling
            targets.append(number)
        hashes = tuple(siblings[number] for number in sorted(siblings.keys() - computed))
        return Proof(tuple(targets), hashes)

    def _branches(self, slot: int, root_row: int) -> Iterator[tuple[int, bytes]]:
        """From the leaf up: on which side it lies, and the sibling, where there is one."""
        for level in range(-(-root_row // FAN_ROWS)):
            rows = self._rows(level, slot >> FAN_ROWS * (level + 1))
            index = (slot >> FAN_ROWS * level) % FAN
            for row in rows[: min(FAN_ROWS, root_row - FAN_ROWS * level)]:
                sibling = row[index ^ 1]
                if sibling is not None:
                    yield index & 1, sibling
                index >>= 1

    def _node(self, row: int, index: int) -> bytes | None:
        level, inside = divmod(row, FAN_ROWS)
        width = FAN_ROWS - inside
        return self._rows(level, index >> width)[inside][index & (1 << width) - 1]

    # -- chunks --------------------------------------------------------------------------------------------------

    def _chunk(self, key: bytes) -> list[bytes | None]:
        chunk = self._chunks.get(key)
        if chunk is None:
            if len(self._chunks) - len(self._changed) >= CACHED_CHUNKS:
                self._forget()
            chunk = self._chunks[key] = unpack_chunk(self._read(key))
        return chunk

    def _touched(self, level: int, index: int) -> list[bytes | None]:
        key = chunk_key(level, index)
        chunk = self._chunk(key)
        self._changed.add(key)
        self._inner.pop(key, None)
        return chunk

    def _rows(self, level: int, index: int) -> _Rows:
        """All nodes of a chunk by row, up to its root."""
        key = chunk_key(level, index)
        rows = self._inner.get(key)
        if rows is None:
            row = self._chunk(key)
            rows = [row]
            for _ in range(FAN_ROWS):
                row = [parent_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
                rows.append(row)
            self._inner[key] = rows
        return rows

    def _forget(self) -> None:
        """Let go of what was only read."""
        self._chunks = {key: chunk for key, chunk in self._chunks.items() if key in self._changed}
        self._inner.clear()

    @property
    def changed(self) -> int:
        """How many chunks wait to be taken."""
        return len(self._changed)

    def take_changes(self) -> dict[bytes, bytes | None]:
        """What has to be stored now, by key in order; None: to be deleted."""
        changes = {key: pack_chunk(self._chunks[key]) for key in sorted(self._changed)}
        self._changed.clear()
        if len(self._chunks) >= CACHED_CHUNKS:
            self._forget()
        return changes


def pack_chunk(chunk: Sequence[bytes | None]) -> bytes | None:
    """``which of the FAN are there[u16 LE] + their hashes``, None for none of them."""
    there = sum(1 << n for n, hash_ in enumerate(chunk) if hash_ is not None)
    return there.to_bytes(2, "little") + b"".join(filter(None, chunk)) if there else None


def unpack_chunk(data: bytes | None) -> list[bytes | None]:
    """Decode :func:`pack_chunk`; raises CorruptionError."""
    chunk: list[bytes | None] = [None] * FAN
    if data is None:
        return chunk
    there, at = int.from_bytes(data[:2], "little"), 2
    if not there or len(data) != 2 + HASH_SIZE * there.bit_count():
        raise CorruptionError("a part of the Utreexo forest has a wrong size")
    for n in range(FAN):
        if there >> n & 1:
            chunk[n] = data[at : at + HASH_SIZE]
            at += HASH_SIZE
    return chunk
