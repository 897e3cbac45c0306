"""What the node is doing about its chain, as named states and the changes between them that make sense.

The machine is pure. ``classify`` turns an observation into the event that it is, ``SyncStateMachine.fire`` changes the
state or refuses. Initial download ends once and for all, so there is no way from ``synced`` or ``catching-up`` back to
``blocks``; nothing follows ``shutting-down``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum

from btcnode.errors import BtcnodeError
from btcnode.record import record
from btcnode.tuples import NamedTuple

STALL_SECONDS = 60.0  # without a new header or block, while there are some to come
NOBODY_SECONDS = 6.0  # the same, and nobody to ask
HISTORY = 64  # changes that are remembered
HOVER_SECONDS = 30  # a way from the tip and back that takes no longer is not remembered: each block makes one


class SyncState(StrEnum):
    """What the node is doing."""

    IDLE = "idle"
    IMPORT = "import"
    HEADERS_PRESYNC = "headers-presync"
    HEADERS = "headers"
    BLOCKS = "blocks"
    CATCHING_UP = "catching-up"
    SYNCED = "synced"
    STALLED = "stalled"
    SHUTTING_DOWN = "shutting-down"


class SyncEvent(StrEnum):
    """What has happened."""

    IMPORT = "import"  # blocks come from files: -loadblock, -reindex
    NOTHING_TO_DO = "nothing-to-do"  # far behind, and nobody to ask
    PRESYNC = "presync"  # a peer's headers are weighed before they are kept
    HEADERS_COME = "headers-come"
    BLOCKS_COME = "blocks-come"  # in initial download
    BEHIND = "behind"  # after it
    AT_TIP = "at-tip"
    NO_PROGRESS = "no-progress"
    STOP = "stop"


_S, _E = SyncState, SyncEvent
_TARGET: Mapping[SyncEvent, SyncState] = {
    _E.IMPORT: _S.IMPORT,
    _E.NOTHING_TO_DO: _S.IDLE,
    _E.PRESYNC: _S.HEADERS_PRESYNC,
    _E.HEADERS_COME: _S.HEADERS,
    _E.BLOCKS_COME: _S.BLOCKS,
    _E.BEHIND: _S.CATCHING_UP,
    _E.AT_TIP: _S.SYNCED,
    _E.NO_PROGRESS: _S.STALLED,
    _E.STOP: _S.SHUTTING_DOWN,
}
_BEFORE = frozenset({_E.NOTHING_TO_DO, _E.PRESYNC, _E.HEADERS_COME, _E.BLOCKS_COME, _E.NO_PROGRESS, _E.STOP, _E.IMPORT})
_AFTER = frozenset({_E.BEHIND, _E.AT_TIP, _E.NO_PROGRESS, _E.STOP, _E.IMPORT})
TRANSITIONS: Mapping[SyncState, frozenset[SyncEvent]] = {
    _S.IDLE: _BEFORE | _AFTER,
    _S.IMPORT: _BEFORE | _AFTER,
    _S.HEADERS_PRESYNC: _BEFORE | {_E.AT_TIP},
    _S.HEADERS: _BEFORE | _AFTER,
    _S.BLOCKS: _BEFORE | _AFTER,
    _S.CATCHING_UP: _AFTER,
    _S.SYNCED: _AFTER,
    _S.STALLED: _BEFORE | _AFTER,
    _S.SHUTTING_DOWN: frozenset({_E.STOP}),
}
"""The events that each state allows; an event that leads to the state itself changes nothing."""

CHANGES_DISK = frozenset({_S.IMPORT, _S.BLOCKS, _S.CATCHING_UP, _S.SYNCED, _S.SHUTTING_DOWN})
"""States in which blocks are connected or everything is flushed: a checkpoint is written before they are entered."""

NEAR_TIP = frozenset({_S.CATCHING_UP, _S.SYNCED})
"""States between which each new block goes to and fro: neither a record nor a line in the log is made of that."""


class IllegalTransition(BtcnodeError):
    """An event that makes no sense in the present state."""


@record
class Observation:
    """The node at one moment; heights, and seconds since a header or a block was new."""

    tip_height: int
    best_header_height: int
    initial_download: bool
    presync: bool
    peers: int
    idle_seconds: float
    headers_grow: bool
    importing: bool = False
    stopping: bool = False

    @property
    def seconds_until_late(self) -> float | None:
        """When the passing of time alone makes another event of it; None for never."""
        rests = self.is_at_best and (self.peers > 0 or not self.headers_grow or not self.initial_download)
        if self.importing or self.stopping or rests:
            return None
        limits = (STALL_SECONDS,) if self.peers else (NOBODY_SECONDS, STALL_SECONDS)
        return min((limit - self.idle_seconds for limit in limits if self.idle_seconds <= limit), default=None)

    @property
    def is_at_best(self) -> bool:
        """Whether no block is missing."""
        return self.best_header_height == self.tip_height


class Change(NamedTuple):
    """One change of state: Unix seconds, from, to, why, and the height of the tip."""

    time: int
    old: SyncState
    new: SyncState
    event: SyncEvent
    height: int


def classify(seen: Observation) -> SyncEvent:
    """The event that an observation is."""
    if seen.stopping:
        return SyncEvent.STOP
    if seen.importing:
        return SyncEvent.IMPORT
    missing = seen.best_header_height - seen.tip_height
    if not seen.initial_download:
        if not missing:
            return SyncEvent.AT_TIP
        return SyncEvent.NO_PROGRESS if seen.peers and seen.idle_seconds > STALL_SECONDS else SyncEvent.BEHIND
    if not seen.peers and seen.idle_seconds > NOBODY_SECONDS:
        return SyncEvent.NOTHING_TO_DO
    if seen.idle_seconds > STALL_SECONDS:
        return SyncEvent.NO_PROGRESS
    if seen.presync:
        return SyncEvent.PRESYNC
    if missing:
        return SyncEvent.BLOCKS_COME
    return SyncEvent.HEADERS_COME if seen.peers or seen.headers_grow else SyncEvent.NOTHING_TO_DO


class SyncStateMachine:
    """The present state and how it came about."""

    def __init__(self, now: int) -> None:
        self.state = SyncState.IDLE
        self.since = now
        self.history: deque[Change] = deque(maxlen=HISTORY)
        self.refused = 0
        self.entered: dict[SyncState, int] = dict.fromkeys(SyncState, 0)
        self.entered[SyncState.IDLE] = 1

    def target(self, event: SyncEvent) -> SyncState:
        """The state that an event leads to; raises IllegalTransition, and then nothing has changed."""
        if event not in TRANSITIONS[self.state]:
            self.refused += 1
            raise IllegalTransition(f"{event} makes no sense while the node is {self.state}")
        return _TARGET[event]

    def fire(self, event: SyncEvent, now: int, height: int) -> Change | None:
        """Change the state; None when it is that already. Raises IllegalTransition."""
        new = self.target(event)
        if new is self.state:
            return None
        change = Change(now, self.state, new, event, height)
        if self._hovers(change):
            self.history.pop()
        else:
            self.history.append(change)
        self.state, self.since = new, now
        self.entered[new] += 1
        return change

    def _hovers(self, change: Change) -> bool:
        """Whether the node is back at the tip, where it was a moment ago."""
        if change.new is not SyncState.SYNCED or not self.history:
            return False
        left = self.history[-1]
        was_there = left.old is SyncState.SYNCED and left.new is SyncState.CATCHING_UP
        return was_there and 0 <= change.time - left.time <= HOVER_SECONDS
