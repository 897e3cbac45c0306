"""What the metrics say of RPC."""

from __future__ import annotations

from collections.abc import Iterator

from btcnode.observe import catalogue as c
from btcnode.observe.metrics import Reading
from btcnode.rpc.table import MethodTable


def rpc_metrics(table: MethodTable) -> Iterator[Reading]:
    """Calls by method, of the methods that were called; names that are no method's are not among them."""
    yield c.RPC_SECONDS.by({name: tally.seconds for name, tally in table.tallies.items()})
    yield c.RPC_FAILED.by({name: tally.failed for name, tally in table.tallies.items()})
    yield c.RPC_ACTIVE.reads(len(table.in_progress()))
