"""Answers to clients who ask at the same time go out together.

To wake a client that sleeps on another core can take longer than to answer it. Once one is awake, those beside it on
that core cost little: so the answers of one turn of the loop are kept until its end, where the first of them wakes the
core and the others find it awake. A client who asks alone has each answer at once.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

MOST_BYTES = 16 * 1024  # of an answer that is kept
MOST_S = 0.0005  # that one is kept while others are made


class Client(Protocol):
    """Who is answered."""

    def put(self, answer: bytes) -> None:
        """Send an answer."""


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
        self._last: Client | None = None
        self._is_due = False

    def give(self, client: Client, answer: bytes) -> None:
        """Send an answer: at once to who had the last one too, or where it is large, else with others'."""
        if client is self._last or len(answer) > MOST_BYTES:
            self.flush()
            client.put(answer)
            return
        self._last = client
        if client in self._kept:
            self.flush()
        if not self._kept:
            self._since = self._clock()
        self._kept[client] = answer
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._end_turn)
        elif self._clock() - self._since > MOST_S:
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
        self.flush()
