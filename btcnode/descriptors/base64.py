"""Base64 as strictly as Core reads it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

_FORM = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def base64_bytes(text: str) -> bytes | None:
    """The bytes of a base64 text: padded to four characters, no white space, no stray bits; else None."""
    if len(text) % 4 or not _FORM.fullmatch(text):
        return None
    try:
        data = b64decode(text)
    except ValueError:
        return None
    return data if b64encode(data).decode() == text else None
