"""The part of the header tree that deals with blocks which are not here although their descendants are.

They were deleted (pruning), or lie below a loaded UTXO set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO
from btcnode.storage.block_index import IndexColumns


class TreeGaps:
    """Mixed into ``HeaderTree``, whose state it works on."""

    __slots__ = ("_has_gaps", "base")

    columns: IndexColumns
    _candidates: dict[int, None]
    _dirty: bytearray
    _unlinked: dict[int, list[int]]

    def __init__(self) -> None:
        self.base = -1  # block of a loaded UTXO set: no chain beside it can become active
        self._has_gaps = False

    if TYPE_CHECKING:

        def _set_status(self, index: int, status: int) -> None: ...
        def _link_from(self, index: int) -> list[int]: ...
        def _recalculate(self) -> None: ...
        def find_fork(self, left: int, right: int) -> int: ...  # noqa: D102

    def forget_data(self, files: Collection[int]) -> list[int]:
        """The blocks in these files are about to be deleted, with their undo data; returns their headers.

        What is known of them stays, as the number of their transactions.
        """
        columns = self.columns
        gone = [index for index, file in enumerate(columns.file) if file in files]
        for index in gone:
            columns.file[index] = -1
            columns.data_pos[index] = columns.undo_pos[index] = 0
            self._set_status(index, columns.status[index] & ~(HAVE_DATA | HAVE_UNDO))
            waiting = self._unlinked.get(columns.prev[index])
            if waiting is not None and index in waiting:
                waiting.remove(index)
        self._has_gaps |= bool(gone)
        return gone

    def link_assumed(self, base: int) -> None:
        """``base``, whose ``chain_tx`` is set, counts as complete from now on, and is what every chain has to have."""
        self.base = base
        self._dirty[base] = 1
        self._candidates[base] = None
        for waiting in self._unlinked.pop(base, ()):
            self._link_from(waiting)

    def unlink(self, indices: Iterable[int]) -> None:
        """The chains of these headers, parents first, are not complete after all."""
        columns = self.columns
        for index in indices:
            columns.chain_tx[index] = 0
            self._dirty[index] = 1
            if columns.status[index] & HAVE_DATA:
                self._unlinked.setdefault(columns.prev[index], []).append(index)
        self._recalculate()

    def _drop_incomplete(self, candidate: int, tip: int) -> bool:
        """Whether a block from ``tip``'s chain up to ``candidate`` was deleted: then what builds on it waits for it."""
        status, prev = self.columns.status, self.columns.prev
        fork = self.find_fork(candidate, tip) if tip >= 0 else -1
        at = candidate
        path: list[int] = []
        lowest = -1  # place in the path of the missing block next to the fork
        while at != fork:
            if not status[at] & HAVE_DATA:
                lowest = len(path)
            path.append(at)
            at = prev[at]
        if lowest < 0:
            return False
        for at in path[: lowest + 1]:
            self._candidates.pop(at, None)
        for at in path[:lowest]:
            waiting = self._unlinked.setdefault(prev[at], [])
            if status[at] & HAVE_DATA and at not in waiting:
                waiting.append(at)
        if prev[path[lowest]] != fork:
            self._candidates[prev[path[lowest]]] = None
        return True
