"""Who may call: the cookie file, ``--rpcuser``/``--rpcpassword`` and ``--rpcauth``."""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from btcnode.errors import BtcnodeError

COOKIE_USER = "__cookie__"
COOKIE_BYTES = 32
SALT_BYTES = 16


def write_cookie(path: Path) -> str:
    """Write a new cookie, readable by its owner only, and return its password; raises BtcnodeError."""
    password = os.urandom(COOKIE_BYTES).hex()
    partial = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{COOKIE_USER}:{password}")
        partial.replace(path)
    except OSError as error:
        raise BtcnodeError(f"Cannot write the RPC cookie {path}: {error.strerror}") from error
    return password


def read_cookie(path: Path) -> tuple[str, str] | None:
    """``(user, password)`` of a running node's cookie, None when there is none to read."""
    try:
        user, colon, password = path.read_text().strip().partition(":")
    except OSError:
        return None
    return (user, password) if colon else None


def hashed(salt: str, password: str) -> str:
    """The hex HMAC-SHA256 that ``--rpcauth`` holds."""
    return hmac.new(salt.encode(), password.encode(), sha256).hexdigest()


class Authenticator:
    """Checks ``Authorization`` headers; passwords are kept salted and hashed only."""

    def __init__(self, accounts: Iterable[str] = ()) -> None:
        """``accounts`` are ``--rpcauth`` entries: ``user:salt$hmac``."""
        self._accounts: list[tuple[bytes, str, str]] = []
        for entry in accounts:
            user, _, rest = entry.partition(":")
            salt, _, digest = rest.partition("$")
            self._accounts.append((user.encode(), salt, digest))

    def add(self, user: str, password: str) -> None:
        """Allow a user."""
        salt = os.urandom(SALT_BYTES).hex()
        self._accounts.append((user.encode(), salt, hashed(salt, password)))

    def user(self, header: str) -> str | None:
        """The user whose credentials an ``Authorization`` header carries, None when they are wrong."""
        if not header.startswith("Basic "):
            return None
        try:
            user, colon, password = b64decode(header[6:].strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        if not colon:
            return None
        for name, salt, digest in self._accounts:
            if hmac.compare_digest(name, user.encode()) and hmac.compare_digest(hashed(salt, password), digest):
                return user
        return None
