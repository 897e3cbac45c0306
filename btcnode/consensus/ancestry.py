"""Read access to a tree of block headers, as far as consensus rules need it."""

from __future__ import annotations

from typing import Protocol

from btcnode.primitives.hashes import BlockHash

MEDIAN_TIME_SPAN = 11  # blocks whose median timestamp is a block's median time past


class ParentView(Protocol):
    """As much of a tree of headers as the rules of a block that is not connected ask for."""

    def height(self, index: int) -> int:
        """Distance from genesis, which is at 0."""

    def median_time_past(self, index: int) -> int:
        """Median timestamp of the header and up to ten ancestors (the upper one of an even number)."""


class Ancestry(Protocol):
    """Headers by index; an index is valid once its header has been added, and -1 means "none".

    What is read of a header never changes: rules may run in another thread than the one that adds headers.
    """

    def height(self, index: int) -> int:
        """Distance from genesis, which is at 0."""

    def version(self, index: int) -> int:
        """Signed 32-bit version."""

    def time(self, index: int) -> int:
        """Timestamp in Unix seconds."""

    def bits(self, index: int) -> int:
        """Compact target."""

    def hash(self, index: int) -> BlockHash:
        """Block hash, internal order."""

    def prev(self, index: int) -> int:
        """Index of the parent; -1 for genesis."""

    def ancestor(self, index: int, height: int) -> int:
        """Index of the ancestor at ``height``, the header itself included; -1 when there is none."""

    def median_time_past(self, index: int) -> int:
        """Median timestamp of the header and up to ten ancestors (the upper one of an even number)."""

    def chainwork(self, index: int) -> int:
        """Expected hashes to make the chain from genesis to this header."""
