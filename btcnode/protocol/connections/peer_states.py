"""The life of a connection as a table: states, events, and which event leads from which state to which.

What is not in the table does not happen: an event that does not fit is refused and logged, the state stays. Who wants
to do something about changes registers a handler; the dispatcher does not know them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple


class PeerState(Enum):
    """Where a connection is in its life."""

    DISCONNECTED = "disconnected"  # before the first and after the last event; nothing is remembered of it
    CONNECTING = "connecting"  # we asked for a connection
    CONNECTED = "connected"  # the socket stands, the handshake is under way
    STABLE = "stable"  # the handshake is complete, data comes
    DEGRADED = "degraded"  # nothing came for three minutes although we asked
    SHUTTING_DOWN = "shutting-down"  # what was sent is flushed, then the socket is closed


class PeerEvent(Enum):
    """What happens to a connection."""

    CONNECT_INITIATED = "connect initiated"
    CONNECTED = "connected"
    TIMEOUT = "timeout"  # a connection that does not come to stand, a handshake or an answer that is overdue
    HEARTBEAT_MISSED = "heartbeat missed"
    DATA_SYNCED = "data synced"  # the handshake is complete, or a degraded peer sends again
    RECONNECT = "reconnect"  # another try at an address, in version 1 of the transport
    GRACEFUL_SHUTDOWN = "graceful shutdown"  # we close the connection
    LOST = "lost"  # the socket is closed, whoever did it


_S, _E = PeerState, PeerEvent

TRANSITIONS: dict[tuple[PeerState, PeerEvent], PeerState] = {
    (_S.DISCONNECTED, _E.CONNECT_INITIATED): _S.CONNECTING,
    (_S.DISCONNECTED, _E.RECONNECT): _S.CONNECTING,
    (_S.DISCONNECTED, _E.CONNECTED): _S.CONNECTED,  # inbound
    (_S.CONNECTING, _E.CONNECTED): _S.CONNECTED,
    (_S.CONNECTING, _E.TIMEOUT): _S.DISCONNECTED,
    (_S.CONNECTING, _E.GRACEFUL_SHUTDOWN): _S.SHUTTING_DOWN,
    (_S.CONNECTED, _E.DATA_SYNCED): _S.STABLE,
    (_S.CONNECTED, _E.TIMEOUT): _S.SHUTTING_DOWN,
    (_S.CONNECTED, _E.GRACEFUL_SHUTDOWN): _S.SHUTTING_DOWN,
    (_S.CONNECTED, _E.LOST): _S.DISCONNECTED,
    (_S.STABLE, _E.HEARTBEAT_MISSED): _S.DEGRADED,
    (_S.STABLE, _E.TIMEOUT): _S.SHUTTING_DOWN,
    (_S.STABLE, _E.GRACEFUL_SHUTDOWN): _S.SHUTTING_DOWN,
    (_S.STABLE, _E.LOST): _S.DISCONNECTED,
    (_S.DEGRADED, _E.DATA_SYNCED): _S.STABLE,
    (_S.DEGRADED, _E.TIMEOUT): _S.SHUTTING_DOWN,
    (_S.DEGRADED, _E.GRACEFUL_SHUTDOWN): _S.SHUTTING_DOWN,
    (_S.DEGRADED, _E.LOST): _S.DISCONNECTED,
    (_S.SHUTTING_DOWN, _E.LOST): _S.DISCONNECTED,
}


class AttemptKey(NamedTuple):
    """Key of an attempt to connect, which has no peer's number yet; ``number`` is that of the ``Connect`` effect."""

    number: int

    def __str__(self) -> str:
        return f"attempt {self.number}"


Key = int | AttemptKey
"""A peer's number, or an attempt to connect."""


class Change(NamedTuple):
    """A transition that was made."""

    key: Key
    before: PeerState
    event: PeerEvent
    after: PeerState


Handler = Callable[[Change], None]


class PeerStates:
    """The state of every connection and attempt; ``log`` takes one line for each event that is refused."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._states: dict[Key, PeerState] = {}
        self._handlers: list[tuple[PeerEvent | None, Handler]] = []
        self.refused = 0

    def on(self, event: PeerEvent | None, handler: Handler) -> None:
        """Call ``handler`` after every transition by ``event`` (None: by any), in the order of registration."""
        self._handlers.append((event, handler))

    def state(self, key: Key) -> PeerState:
        """The present state."""
        return self._states.get(key, PeerState.DISCONNECTED)

    def adopt(self, attempt: int, peer_id: int) -> None:
        """The attempt of this number became a connection: its state goes on under the peer's number."""
        state = self._states.pop(AttemptKey(attempt), None)
        if state is not None:
            self._states[peer_id] = state

    def handle(self, key: Key, event: PeerEvent) -> bool:
        """Make the transition that the table has for the event; False (and a line in the log) when it has none."""
        before = self.state(key)
        after = TRANSITIONS.get((before, event))
        if after is None:
            self.refused += 1
            self._log(f"connection {key}: {event.value!r} does not fit the state {before.value!r}")
            return False
        if after is PeerState.DISCONNECTED:
            self._states.pop(key, None)
        else:
            self._states[key] = after
        change = Change(key, before, event, after)
        for wanted, handler in self._handlers:
            if wanted is None or wanted is event:
                handler(change)
        return True

    def __len__(self) -> int:
        return len(self._states)
