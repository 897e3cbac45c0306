"""Files that a client names, as C++ programs take them: relative to a directory, and to the system up to a NUL."""

from __future__ import annotations

from pathlib import Path

MAX_NAME = 65_536  # characters


def joined(base: Path, text: str) -> str:
    """The name below ``base``, or the name alone when it is absolute; letter for letter, as messages show it."""
    if text.startswith("/"):
        return text
    return f"{base}/{text}" if text else str(base)


def system_name(name: str) -> str:
    """What the system sees of a name; lone surrogates, which no file has, as a replacement character.

    Of one that is too long for any file system there is enough left to be that.
    """
    return name[:MAX_NAME].partition("\0")[0].encode("utf-8", "replace").decode()
