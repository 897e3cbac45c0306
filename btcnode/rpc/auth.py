"""Who may call: the cookie (``cookie.py``), ``--rpcuser``/``--rpcpassword`` and ``--rpcauth``."""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping

from btcnode.settings.groups.rpc import Account
from btcnode.tuples import NamedTuple

SALT_BYTES = 16


def hashed(salt: str, password: bytes) -> str:
    """The hex HMAC-SHA256 that ``-rpcauth`` holds."""
    return hmac.digest(_raw(salt), password, "sha256").hex()


def _raw(text: str) -> bytes:
    """The bytes of an option, which need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


class Caller(NamedTuple):
    """Who calls: ``methods`` are those that the user may call, None for all; ``is_refused`` may call nothing."""

    user: str = ""
    methods: frozenset[str] | None = None
    is_refused: bool = False


class Authenticator:
    """Checks ``Authorization`` headers; passwords are kept salted and hashed only."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        """``accounts`` are those of ``-rpcauth``."""
        self._accounts = [(_raw(account.user), account.salt, _raw(account.digest)) for account in accounts]

    def add(self, user: str, password: str) -> None:
        """Allow a user."""
        salt = os.urandom(SALT_BYTES).hex()
        self._accounts.append((_raw(user), salt, hashed(salt, _raw(password)).encode()))

    def user(self, header: bytes) -> str | None:
        """The user whose credentials an ``Authorization`` header carries, None when they are wrong."""
        if not header.startswith(b"Basic "):
            return None
        text = header[6:].strip(b" \f\n\r\t\v")
        try:
            decoded = b64decode(text)
        except binascii.Error:
            return None
        user, colon, password = decoded.partition(b":")
        if not colon or b64encode(decoded) != text:  # b64decode overlooks what does not belong there
            return None
        for name, salt, digest in self._accounts:
            if hmac.compare_digest(name, user) and hmac.compare_digest(hashed(salt, password).encode(), digest):
                return user.decode("utf-8", "backslashreplace")
        return None


class Whitelist:
    """Which methods a user may call (``-rpcwhitelist``)."""

    def __init__(self, methods: Mapping[str, frozenset[str]], closed: bool | None) -> None:
        """``closed``: whether users without an entry may call nothing, None for "when there are entries"."""
        self._methods = methods
        self._closed = bool(self._methods) if closed is None else closed

    def caller(self, user: str) -> Caller:
        """A user, with what he may call."""
        methods = self._methods.get(user)
        return Caller(user, methods, is_refused=methods is None and self._closed)
