"""The address book of a wallet: labels of its own addresses and of others, and which ones were spent from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import TypeVar

from btcnode.primitives.steps import Steps, at_once
from btcnode.wallet.journal import Journal

T = TypeVar("T")

STEP = 500  # entries that are sorted at a time, in a millisecond
RECEIVE, SEND, REFUND = "receive", "send", "refund"
PURPOSES = (RECEIVE, SEND, REFUND)


@dataclass(slots=True)
class BookEntry:
    """``label`` is None for what nobody has named: an address for change that was spent from."""

    label: str | None = None
    purpose: str | None = None
    used: bool = False

    @property
    def is_change(self) -> bool:
        """Whether it is no address that somebody was given."""
        return self.label is None


_KINDS = (b"\x76\xa9\x14", b"\xa9\x14", b"\x00\x20", b"\x00\x14", b"\x51\x20", b"\x51\x02")  # as Core sorts addresses


def address_order(script: bytes) -> tuple[int, bytes]:
    """What addresses are sorted by: the kind, then the bytes."""
    kind = next((place for place, start in enumerate(_KINDS) if script.startswith(start)), len(_KINDS))
    return kind, script


def _order(item: tuple[bytes, object]) -> tuple[int, bytes]:
    return address_order(item[0])


def by_address(pairs: Sequence[tuple[bytes, T]]) -> Steps[list[tuple[bytes, T]]]:
    """Pairs that begin with a script, sorted by its address, in steps: of ten thousand that takes some 30 ms."""
    parts: list[list[tuple[bytes, T]]] = []
    for start in range(0, len(pairs), STEP):
        yield
        parts.append(sorted(pairs[start : start + STEP], key=_order))
    found: list[tuple[bytes, T]] = []
    for number, pair in enumerate(merge(*parts, key=_order)):
        if not number % STEP:
            yield
        found.append(pair)
    return found


class AddressBook:
    """Entries by script_pubkey, by the kind of address and then by its bytes when they are gone through."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: dict[bytes, BookEntry] = {}

    def load(self, script: bytes, entry: BookEntry) -> None:
        """An entry that is on disk."""
        self._entries[script] = entry

    def find(self, script: bytes, *, change_too: bool = False) -> BookEntry | None:
        """The entry of an address that somebody was given."""
        entry = self._entries.get(script)
        return None if entry is None or (entry.is_change and not change_too) else entry

    def entries(self) -> list[tuple[bytes, BookEntry]]:
        """Entries with a label, by script, in no order."""
        return [(script, entry) for script, entry in self._entries.items() if not entry.is_change]

    def __iter__(self) -> Iterator[tuple[bytes, BookEntry]]:
        """Entries with a label, by script, in order."""
        return iter(at_once(by_address(self.entries())))

    def set(self, script: bytes, label: str, purpose: str | None = None) -> None:
        """Give an address a label, and where one is given a purpose."""
        entry = self._entries.setdefault(script, BookEntry())
        entry.label = label
        entry.purpose = purpose if purpose is not None else entry.purpose
        self._note(script, entry)

    def is_used(self, script: bytes) -> bool:
        """Whether the wallet has spent from it (known with the flag avoid_reuse only)."""
        entry = self._entries.get(script)
        return entry is not None and entry.used

    def mark_used(self, script: bytes) -> None:
        """The wallet has spent from it."""
        entry = self._entries.setdefault(script, BookEntry())
        if not entry.used:
            entry.used = True
            self._note(script, entry)

    def labels(self, purpose: str | None = None) -> list[str]:
        """All labels in order, or those of addresses with a purpose."""
        return sorted({entry.label or "" for _, entry in self.entries() if purpose in (None, entry.purpose)})

    def labelled(self, label: str) -> list[bytes]:
        """Scripts with a label, in no order."""
        return [script for script, entry in self.entries() if entry.label == label]

    def _note(self, script: bytes, entry: BookEntry) -> None:
        self._journal.note("address", script, entry.label, entry.purpose, int(entry.used))
