"""The cookie file, which lets in who may read the node's directory. Light enough for ``btcnode-cli``."""

from __future__ import annotations

import os
from pathlib import Path

from btcnode.errors import BtcnodeError
from btcnode.files import open_at_once

COOKIE_USER = "__cookie__"
COOKIE_BYTES = 32
MAX_COOKIE_BYTES = 4096  # of which more is no cookie: the name may be a device's, which has no end


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
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
    user, _, password = os.fsdecode(line.strip()).partition(":")
    return user, password
