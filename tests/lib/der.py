"""Signatures in DER form, written without any library."""

from __future__ import annotations


def to_der(compact: bytes) -> bytes:
    """The DER form of ``r[32] + s[32]``."""
    body = _integer(compact[:32]) + _integer(compact[32:])
    return bytes((0x30, len(body))) + body


def _integer(value: bytes) -> bytes:
    shortest = value.lstrip(b"\0") or b"\0"
    if shortest[0] & 0x80:
        shortest = b"\0" + shortest
    return bytes((0x02, len(shortest))) + shortest
