"""Ephemeral dust: an output below the dust limit may stand in a transaction without fee, if a child spends it at once.

Nobody has a reason to mine such a transaction alone, so its dust never reaches the UTXO set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from btcnode.mempool.policy import OutputPolicy
from btcnode.mempool.rejection import Rejection, TxResult
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx

if TYPE_CHECKING:
    from btcnode.mempool.entry import MempoolEntry

NO_FEE_WANTED = Rejection(TxResult.NOT_STANDARD, "dust", "tx with dust output must be 0-fee")


def check_spends(
    tx: Tx, parents: Sequence[MempoolEntry], package: Mapping[bytes, MempoolEntry], outputs: OutputPolicy
) -> Rejection | None:
    """Why a transaction leaves dust of its parents behind, None when it does not.

    ``parents`` are those in the mempool, ``package`` what is judged with it, by txid.
    """
    unspent: set[bytes] = set()
    prevouts = tx.prevouts
    in_package = {txid for txid in (prevout[:32] for prevout in prevouts) if txid in package} if package else ()
    for parent in (*parents, *(package[txid] for txid in in_package)):
        if parent.fee:  # with a fee it was admitted without dust
            continue
        txid = parent.txid
        unspent.update(txid + n.to_bytes(4, "little") for n in outputs.dust(parent.tx.txouts))
    if unspent and not unspent.issubset(prevouts):
        debug = f"tx {to_display(tx.txid)} (wtxid={to_display(tx.wtxid)}) did not spend parent's ephemeral dust"
        return Rejection(TxResult.MEMPOOL_POLICY, "missing-ephemeral-spends", debug)
    return None
