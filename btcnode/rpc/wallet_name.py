"""Which wallet a request is about: the end of the path ``/wallet/NAME`` to which it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WALLET_NAME: ContextVar[str | None] = ContextVar("wallet_name", default=None)
"""None: no wallet was named."""


@contextmanager
def at_wallet(name: str | None) -> Iterator[None]:
    """Inside, in this task, methods are called for a wallet."""
    token = WALLET_NAME.set(name)
    try:
        yield
    finally:
        WALLET_NAME.reset(token)
