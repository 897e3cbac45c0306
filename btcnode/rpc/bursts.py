"""Answers to clients who ask at the same time go out together.

To wake a client that sleeps on another core can take longer than to answer it. Once one is awake, those beside it on
that core cost little: so the answers of one turn of the loop are kept until its end, where the first of them wakes the
core and the others find it awake. A client who asks alone has each answer at once, but for its first, and so has
everybody for a while after something else has made a turn long.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Protocol

MOST_BYTES = 16 * 1024  # of an answer that is kept
MOST_S = 0.0005  # that one is kept while others are made
LONG_S = 0.0005  # between two answers, or to the end of the turn: the loop has something else to do
PAUSE_S = 0.1  # without keeping any after that


class Client(Protocol):
    """Who is answered."""

    def put(self, answer: bytes) -> None:
        """Send an answer; raises nothing."""


class Bursts:
    """What is kept; ``call_soon`` has the loop call something when it has done what is due.

    Who sends in another way, or closes a connection, calls ``flush`` before: the order is the callers'.
    """

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._call_soon = call_soon
        self._clock = clock
        self._kept: dict[Client, bytes] = {}
        self._since = 0.0  # what is kept longest
        self._given = 0.0  # when there was an answer last
        self._last: Client | None = None
        self._is_due = False
        self._paused_until = -inf

    def give(self, client: Client, answer: bytes) -> None:
        """Send an answer: at once to who had the last one too, or where it is large, else with others'."""
        now = self._clock()
        if client is self._last or len(answer) > MOST_BYTES or now < self._paused_until:
            self._last = client
            self.flush()
            client.put(answer)
            return
        self._last = client
        if client in self._kept:
            self.flush()
        if self._kept:
            self._look_back(now)
        else:
            self._since = now
        self._given = now
        self._kept[client] = answer
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._end_turn)
        elif now - self._since > MOST_S:
            self.flush()

    def flush(self) -> None:
        """Send what is kept."""
        if self._kept:
            kept, self._kept = self._kept, {}
            for client, answer in kept.items():
                client.put(answer)

    def forget(self, client: Client) -> None:
        """A client has gone."""
        self._kept.pop(client, None)
        if self._last is client:
            self._last = None

    def _end_turn(self) -> None:
        self._is_due = False
        if self._kept:
            self._look_back(self._clock())
            self.flush()

    def _look_back(self, now: float) -> None:
        """Keep none for a while where there were no answers for long although some were kept."""
        if now - self._given > LONG_S:
            self._paused_until = now + PAUSE_S
