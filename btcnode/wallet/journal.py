"""What has changed in a wallet since it was written last.

A wallet lives in memory, on the loop thread; its file follows. Whatever changes is noted here, in order, and whoever
answers a user has it written before (``Wallet.save``): one transaction of the database, beside the loop.
"""

from __future__ import annotations

from typing import NamedTuple

Value = bytes | str | int | None


class Change(NamedTuple):
    """A statement by its name (the store has its text), and its values."""

    statement: str
    values: tuple[Value, ...]


class Journal:
    """Changes that are not on disk yet, oldest first."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[Change] = []

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, statement: str, *values: Value) -> None:
        """Add a change."""
        self._pending.append(Change(statement, values))

    def take(self) -> list[Change]:
        """All changes; they are whoever's who writes them now."""
        taken, self._pending = self._pending, []
        return taken

    def give_back(self, changes: list[Change]) -> None:
        """They could not be written."""
        self._pending = changes + self._pending
