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


COOKIE_MODES = {"owner": 0o600, "group": 0o640, "all": 0o644}


def write_cookie(path: Path, mode: int = 0o600) -> str:
    """Write a new cookie, by default readable by its owner only, and return its password; raises BtcnodeError."""
    password = os.urandom(COOKIE_BYTES).hex()
    partial = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            os.fchmod(file.fileno(), mode)
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
        """``accounts`` are ``--rpcauth`` entries: ``user:salt$hmac``; raises BtcnodeError for anything else."""
        self._accounts: list[tuple[bytes, str, str]] = []
        for entry in accounts:
            user, _, rest = entry.partition(":")
            salt, _, digest = rest.partition("$")
            if entry.count(":") != 1 or rest.count("$") != 1:
                raise BtcnodeError("Invalid -rpcauth argument.")
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


class Whitelist:
    """Which methods a user may call (``--rpcwhitelist``); lists that name a user twice leave what both allow."""

    def __init__(self, entries: Iterable[str], closed: bool | None) -> None:
        """``closed``: whether users without an entry may call nothing, None for "when there are entries"."""
        self._methods: dict[str, frozenset[str]] = {}
        for entry in entries:
            user, colon, names = entry.partition(":")
            methods = frozenset(names.replace(" ", ",").split(",")) if colon else frozenset[str]()
            if colon and user in self._methods:
                methods &= self._methods[user]
            elif user in self._methods:
                methods = self._methods[user]
            self._methods[user] = methods
        self._closed = bool(self._methods) if closed is None else closed

    def methods(self, user: str) -> frozenset[str] | None:
        """The methods that a user may call, None for all."""
        return self._methods.get(user, frozenset() if self._closed else None)
