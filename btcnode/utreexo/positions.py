"""Numbers of nodes in the forest (BIP 181): rows from the leaves up, each from left to right.

``rows`` is the number of rows above the leaves that a forest of ``leaves`` has room for.
"""

from __future__ import annotations

from btcnode.errors import ProofError

MAX_ROWS = 63  # positions are 64-bit numbers


def tree_rows(leaves: int) -> int:
    """How many rows stand above the leaves."""
    return (leaves - 1).bit_length() if leaves else 0


def position(row: int, index: int, rows: int) -> int:
    """The number of the node at ``index`` of a row."""
    return (2 << rows) - (1 << (rows + 1 - row)) + index


def place(number: int, rows: int) -> tuple[int, int]:
    """Row and index of a node; raises ProofError for a number that no node has."""
    missing = ((2 << rows) - 1) ^ number
    if number < 0 or missing <= 0 or number >> (rows + 1):
        raise ProofError(f"position {number} lies outside of the forest")
    row = rows + 1 - missing.bit_length()
    return row, number - position(row, 0, rows)


def root_rows(leaves: int) -> list[int]:
    """The rows of the roots, highest first: one for each bit of the number of leaves."""
    return [row for row in range(leaves.bit_length() - 1, -1, -1) if leaves >> row & 1]


def root_index(leaves: int, row: int) -> int:
    """The index in its row of the root at ``row``."""
    return (leaves >> (row + 1)) << 1
