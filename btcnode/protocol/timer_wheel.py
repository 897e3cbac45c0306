"""A timer wheel: many deadlines, few of them due, constant work for each."""

from __future__ import annotations

SLOTS = 256
RESOLUTION = 0.5  # seconds; a timer comes at most this late and never early


class TimerWheel:
    """At most one timer for each key. Times are seconds of the clock handed in as ``now``."""

    def __init__(self, now: float) -> None:
        self._slots: list[dict[int, None]] = [{} for _ in range(SLOTS)]
        self._due: dict[int, int] = {}  # key -> number of the tick
        self._now = int(now / RESOLUTION)

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: int, when: float) -> None:
        """Let the timer of ``key`` come at ``when``, and not when it was to come before."""
        self.cancel(key)
        due = max(self._now + 1, -int(-when // RESOLUTION))
        self._due[key] = due
        self._slots[due % SLOTS][key] = None

    def cancel(self, key: int) -> None:
        """Forget the timer of ``key``, if there is one."""
        due = self._due.pop(key, None)
        if due is not None:
            del self._slots[due % SLOTS][key]

    def advance(self, now: float) -> list[int]:
        """The keys whose time has come, soonest first; their timers are gone."""
        end = int(now / RESOLUTION)
        keys: list[int] = []
        first = max(self._now + 1, end - SLOTS + 1)  # one round sees every slot
        for tick in range(first, end + 1):
            if slot := self._slots[tick % SLOTS]:
                keys += [key for key in slot if self._due[key] <= end]
        if not keys:
            self._now = end
            return keys
        self._now = end  # earlier than before when the user has turned the clock back
        keys.sort(key=lambda key: self._due[key])
        for key in keys:
            self.cancel(key)
        return keys
