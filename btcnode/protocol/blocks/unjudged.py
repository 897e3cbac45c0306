"""What a peer sent and that is not judged yet, in its order.

Bitcoin Core is through with a message before it takes the peer's next one, and programs rely on it: when a pong comes,
what was sent before the ping has had its effect. Here verdicts come later, so pongs wait for them.
"""

from __future__ import annotations

from dataclasses import field

from btcnode.record import struct


@struct
class Unjudged:
    """Of one peer: at most as much as validation takes of it (``limits.py``)."""

    place: int = 0  # of what came last
    again: int = 0  # orphans and packages of the peer that are looked at once more
    _open: dict[int, int] = field(default_factory=dict)  # what -> place, oldest first

    def add_tx(self, number: int) -> None:
        """A transaction is judged under this number."""
        self._add(2 * number)

    def add_block(self, index: int) -> None:
        """The block of this header is processed."""
        self._add(2 * index + 1)

    def _add(self, key: int) -> None:
        self.place += 1
        self._open.setdefault(key, self.place)

    def end_tx(self, number: int) -> None:
        """The verdict is there."""
        self._open.pop(2 * number, None)

    def end_block(self, index: int) -> None:
        """The block is connected, refused, or has no effect."""
        self._open.pop(2 * index + 1, None)

    def txs(self) -> list[int]:
        """Numbers of transactions without a verdict."""
        return [key >> 1 for key in self._open if not key & 1]

    def blocks(self) -> list[int]:
        """Header indices of blocks without a verdict."""
        return [key >> 1 for key in self._open if key & 1]

    def clear_up_to(self, place: int) -> bool:
        """Whether all that came up to this place is judged."""
        return not self.again and (not self._open or next(iter(self._open.values())) > place)

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self.again or self._open)
