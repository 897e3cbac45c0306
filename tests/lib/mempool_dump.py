"""A mempool file read as a whole, as tests look at it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from btcnode.mempool.persistence import DumpReader, StoredTx


@dataclass
class MempoolDump:
    """What the file holds."""

    transactions: list[StoredTx] = field(default_factory=list)
    deltas: dict[bytes, int] = field(default_factory=dict)
    unbroadcast: list[bytes] = field(default_factory=list)


def read_dump(data: bytes) -> MempoolDump:
    """The contents of a file's bytes; raises DecodeError."""
    reader, dump = DumpReader(io.BytesIO(data).read), MempoolDump()
    reader.begin()
    while batch := reader.transactions(7):
        dump.transactions += batch
    reader.begin_deltas()
    while deltas := reader.deltas(7):
        dump.deltas |= dict(deltas)
    reader.begin_unbroadcast()
    while txids := reader.unbroadcast(7):
        dump.unbroadcast += txids
    return dump
