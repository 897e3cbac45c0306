"""What the source of a block has earned: whose blocks are judged first once a bad one was among those at hand."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

MAX_REMEMBERED = 4096  # blocks that are not judged yet: 4,096 x 100 B


class Standing(IntEnum):
    """Of who brought a block; a higher one goes first."""

    BAD = 0  # it has brought a block that broke a rule
    UNASKED = 1  # a stranger, without being asked
    ASKED = 2  # a stranger, asked
    PROVEN = 3  # it has brought blocks that were connected, or we have chosen it
    OWN = 4  # no peer: the user, or files of ours


class Standings:
    """Of blocks, by header index, that wait for their judgement; of others all is equal."""

    def __init__(self) -> None:
        self._known: dict[int, Standing] = {}

    def set(self, index: int, standing: Standing) -> None:
        """The block came from such a source; the best one counts."""
        self._known[index] = max(standing, self._known.get(index, standing))
        if len(self._known) > MAX_REMEMBERED:
            del self._known[next(iter(self._known))]

    def of(self, index: int) -> Standing:
        """What a block's source has earned."""
        return self._known.get(index, Standing.OWN)

    def degrade(self, indices: Iterable[int]) -> None:
        """Whoever brought these has brought a bad one, too."""
        for index in indices:
            if index in self._known:
                self._known[index] = Standing.BAD

    def forget(self, index: int) -> None:
        """The block is judged."""
        self._known.pop(index, None)
