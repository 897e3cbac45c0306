"""Transactions as a mempool would have them: what is known of them before a block has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btcnode.consensus.sigops import transaction_sigop_cost
from btcnode.consensus.transactions import check_transaction, check_tx_inputs
from btcnode.errors import RuleViolation
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_is_coinbase
from btcnode.primitives.tx import Tx
from btcnode.record import record
from btcnode.script.flags import STANDARD_VERIFY_FLAGS

_MEMPOOL_CODE = (0x7FFFFFFF << 1).to_bytes(4, "little")


@record
class Judged:
    """A transaction that was admitted."""

    tx: Tx
    fee: int
    sigop_cost: int
    spends_coinbase: bool

    @property
    def txid(self) -> bytes:
        return self.tx.txid

    @property
    def wtxid(self) -> bytes:
        return self.tx.wtxid


def judge_all(
    block: ParsedBlock, height: int, get_many: Callable[[Sequence[bytes]], Sequence[bytes | None]]
) -> tuple[Judged | None, ...]:
    """Of each transaction of a block what a mempool at its parent would have found out; None for what it refuses.

    ``get_many`` gives coins before the block. Scripts are not looked at.
    """
    made: dict[bytes, bytes] = {}
    found: list[Judged | None] = []
    for i in range(block.n_tx):
        tx = block.tx(i)
        outside = dict(zip(tx.prevouts, get_many(tx.prevouts), strict=True))
        coins = [made.get(outpoint) or outside[outpoint] for outpoint in tx.prevouts]
        judged: Judged | None = None
        if i and not tx.is_coinbase:
            try:
                fee = check_tx_inputs(coins, check_transaction(tx), height)
            except RuleViolation:
                pass
            else:
                spent = [coin for coin in coins if coin is not None]
                cost = transaction_sigop_cost(tx, spent, STANDARD_VERIFY_FLAGS)
                judged = Judged(tx, fee, cost, any(map(coin_is_coinbase, spent)))
        found.append(judged)
        if judged is not None:
            made |= {tx.txid + n.to_bytes(4, "little"): _MEMPOOL_CODE + out for n, out in enumerate(tx.txouts)}
    return tuple(found)
