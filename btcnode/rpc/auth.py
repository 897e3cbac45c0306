"""Who may call: the cookie file, ``--rpcuser``/``--rpcpassword`` and ``--rpcauth``."""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from btcnode.errors import BtcnodeError
from btcnode.files import open_at_once

if TYPE_CHECKING:  # btcnode-cli, which reads cookies here, does without the options
    from btcnode.settings.groups.rpc import Account

COOKIE_USER = "__cookie__"
COOKIE_BYTES = 32
MAX_COOKIE_BYTES = 4096  # of which more is no cookie: the name may be a device's, which has no end
SALT_BYTES = 16


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
    """``(user, password)`` of a running node's cookie, None when there is no file to read.

    A first line without a colon is a user without a password, whom every server refuses.
    """
    try:
        with open_at_once(path) as file:
            line = file.readline(MAX_COOKIE_BYTES)
    except OSError:
        return None
    user, _, password = os.fsdecode(line.strip()).partition(":")
    return user, password


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
