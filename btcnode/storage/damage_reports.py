"""Who is told of damage, whichever of a store's databases it is met in."""

from __future__ import annotations

from collections.abc import Callable

from btcnode.errors import CorruptionError

Listener = Callable[[CorruptionError], None]


class DamageReports:
    """Made before the databases of a store, and handed to each of them, also to those that are opened later.

    Nobody listens while a store is opened and repaired: whoever opens it gets the error itself.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener``, from any thread, with each error that names what is damaged."""
        self._listeners.append(listener)

    def report(self, error: CorruptionError) -> CorruptionError:
        """Tell the listeners; returns the error, to be raised."""
        for listener in self._listeners:
            listener(error)
        return error
