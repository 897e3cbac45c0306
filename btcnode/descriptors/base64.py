"""Base64 as strictly as Core reads it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

PIECE = 65_536  # characters read at a time: while they are, no other thread runs
_FORM = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def base64_bytes(text: str) -> bytes | None:
    """The bytes of a base64 text: padded to four characters, no white space, no stray bits; else None."""
    if len(text) % 4:
        return None
    parts = []
    for at in range(0, len(text), PIECE):
        piece = text[at : at + PIECE]
        if not _FORM.fullmatch(piece) or (piece.endswith("=") and at + PIECE < len(text)):
            return None
        try:
            data = b64decode(piece)
        except ValueError:
            return None
        if b64encode(data).decode() != piece:
            return None
        parts.append(data)
    return b"".join(parts)
