"""Bits of a block's status, as Bitcoin Core has them: how far it was validated, what of it is on disk."""

from __future__ import annotations

VALID_TREE = 2  # header checked, all ancestors known
VALID_TRANSACTIONS = 3  # block checked without coins, ``n_tx`` known
VALID_CHAIN = 4  # connected: coins, values, maturity
VALID_SCRIPTS = 5  # connected: scripts too
VALID_MASK = 7
HAVE_DATA = 8
HAVE_UNDO = 16
FAILED_VALID = 32
FAILED_CHILD = 64
FAILED_MASK = FAILED_VALID | FAILED_CHILD
OPT_WITNESS = 128
