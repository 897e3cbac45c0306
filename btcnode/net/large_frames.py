"""Large messages under way from peers that connected: how many of them are read at a time.

A message of 4 MB may be announced and never end; who announces it has us hold what came of it, 110 peers 430 MB. So
all of them share a budget by what they have announced. Who finds no room is not read from until there is some, the
smallest first. While somebody waits, who does not go on gives way: an honest line brings ``PROGRESS`` bytes in
``STALLED`` seconds. While nobody waits a message may take as long as Core lets it, which holds them all.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.record import struct

BUDGET = 64_000_000  # bytes announced; 16 messages of the largest size
PROGRESS = 16_384
STALLED = 2.0


@struct
class _Frame:
    size: int
    held: int  # when it last went on
    since: float


class LargeFrames:
    """Whose large messages are read, by peer; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float], budget: int = BUDGET) -> None:
        self._clock = clock
        self.budget = budget
        self._reading: dict[int, _Frame] = {}
        self._waiting: dict[int, int] = {}
        self._announced = 0  # of those that are read

    def may_read(self, peer_id: int, size: int, held: int) -> bool:
        """Whether to go on reading a message of ``size`` bytes of which ``held`` are here; asked again and again."""
        frame = self._reading.get(peer_id)
        if frame is not None and (frame.size != size or held < frame.held):  # another one already
            self.forget(peer_id)
            frame = None
        if frame is not None:
            if held - frame.held >= PROGRESS:
                frame.held, frame.since = held, self._clock()
            return True
        self._waiting[peer_id] = size
        if self._announced + size > self.budget or min(self._waiting.values()) < size:
            return False
        del self._waiting[peer_id]
        self._reading[peer_id] = _Frame(size, held, self._clock())
        self._announced += size
        return True

    def forget(self, peer_id: int) -> None:
        """The message is here, or its peer is gone."""
        self._waiting.pop(peer_id, None)
        frame = self._reading.pop(peer_id, None)
        if frame is not None:
            self._announced -= frame.size

    def stalled(self) -> list[int]:
        """Peers whose messages do not go on while others wait."""
        if not self._waiting:
            return []
        latest = self._clock() - STALLED
        return [peer_id for peer_id, frame in self._reading.items() if frame.since < latest]
