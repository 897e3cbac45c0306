"""Which processors a node runs on (``-cpu-affinity``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.record import record

if TYPE_CHECKING:
    from btcnode.settings.settings import Settings


@record
class Placement:
    """The processors of the loop's thread and of the worker processes; ``everything`` is empty where nobody named any.

    Used on the loop's thread. Threads and processes have the processors of the thread that starts them.
    """

    everything: tuple[int, ...]
    before: frozenset[int]  # what the thread had

    @classmethod
    def of(cls, settings: Settings) -> Placement:
        """What the user wants; raises ConfigError when the system cannot do it, or gives no such processor."""
        wanted = settings.process.cpu_affinity
        if wanted is None:
            return cls((), frozenset())
        if not hasattr(os, "sched_setaffinity"):
            raise ConfigError("-cpu-affinity: this system does not let a program choose its processors")
        there = os.sched_getaffinity(0)
        if lacking := [number for number in wanted if number not in there]:
            names = ", ".join(map(str, sorted(there)))
            raise ConfigError(f"-cpu-affinity: processor {lacking[0]} is not this program's to use; it has {names}")
        return cls(wanted, frozenset(there))

    @property
    def workers(self) -> tuple[int, ...]:
        """Those of worker processes: all but the first, if there is another one."""
        return self.everything[1:] or self.everything

    def begin(self) -> None:
        """Keep to all of them: the number of workers follows from it, and threads that open the node begin so."""
        if self.everything:
            os.sched_setaffinity(0, self.everything)

    def pin_loop(self) -> None:
        """Keep the loop to the first."""
        if self.everything:
            os.sched_setaffinity(0, self.everything[:1])

    def end(self) -> None:
        """As it was before, for the program that the node was part of."""
        if self.everything:
            os.sched_setaffinity(0, self.before)
