"""Warnings that stand until their cause goes: told by RPC, and to the command of ``-alertnotify`` when they come up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum


class Alert(IntEnum):
    """What may be wrong, in the order in which it is told."""

    UNKNOWN_RULES = 0
    INVALID_CHAIN = 1
    CLOCK = 2
    FATAL_ERROR = 3
    INDEX_DAMAGED = 4


ANNOUNCED = frozenset({Alert.UNKNOWN_RULES, Alert.INVALID_CHAIN})
"""The ones that the user's command is told of: the others show in the log and by RPC, as in Core."""


class Alerts:
    """At most one warning of each kind; the first text stays while the kind stands."""

    def __init__(self, announce: Callable[[str], None] = lambda text: None) -> None:
        """``announce`` is called with the text of each of ``ANNOUNCED`` that comes up."""
        self._announce = announce
        self._texts: dict[Alert, str] = {}

    def raise_alert(self, kind: Alert, text: str) -> bool:
        """A warning is due; returns whether it is news."""
        if kind in self._texts:
            return False
        self._texts[kind] = text
        if kind in ANNOUNCED:
            self._announce(text)
        return True

    def lower_alert(self, kind: Alert) -> None:
        """Its cause is gone."""
        self._texts.pop(kind, None)

    def warnings(self) -> Sequence[str]:
        """The texts that stand."""
        return [self._texts[kind] for kind in sorted(self._texts)]
