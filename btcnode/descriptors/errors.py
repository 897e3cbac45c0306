"""What is wrong with a descriptor or a partially signed transaction, in Core's words."""

from __future__ import annotations

from btcnode.errors import DecodeError


class DescriptorError(DecodeError):
    """A text that is no descriptor; the message may be empty where Core's is."""


class PsbtError(DecodeError):
    """Bytes that are no partially signed transaction."""
