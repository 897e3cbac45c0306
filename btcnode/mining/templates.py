"""Block templates for miners: what getblocktemplate hands out, made anew when something better exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.subsidy import block_subsidy
from btcnode.mempool.pool import Mempool
from btcnode.mining.assembler import coinbase_transaction
from btcnode.mining.selection import BlockLimits, Selection, select
from btcnode.params import NetworkParams
from btcnode.primitives.hashes import to_display

REFRESH_SECONDS = 5  # a changed mempool alone is no reason for a new template more often (Core's rule)
_ANYONE = b"\x51"


@dataclass(slots=True)
class Template:
    """A choice of transactions on top of ``tip``; ``version`` is that of the mempool it was made from."""

    tip: int
    height: int
    version: int
    time: int
    chosen: Selection
    value: int  # subsidy and fees, satoshi
    commitment: bytes | None  # script_pubkey of the witness commitment's output, None before segwit
    transactions: list[Mapping[str, Any]] = field(default_factory=list)


class TemplateMaker:
    """Keeps the last template."""

    def __init__(self, params: NetworkParams, limits: BlockLimits | None = None) -> None:
        self._params = params
        self._limits = limits if limits is not None else BlockLimits()
        self._last: Template | None = None
        self.made = 0

    @property
    def last_version(self) -> int:
        """The mempool's version in the last template, 0 before the first."""
        return 0 if self._last is None else self._last.version

    def template(self, pool: Mempool, tree: Ancestry, tip: int, now: int) -> Template:
        """The template for a block on ``tip``: the last one as long as nothing better can be had."""
        last = self._last
        fresh = last is not None and (last.version == pool.version or now - last.time <= REFRESH_SECONDS)
        if last is not None and last.tip == tip and fresh:
            return last
        self._last = made = self._make(pool, tree, tip, now)
        self.made += 1
        return made

    def _make(self, pool: Mempool, tree: Ancestry, tip: int, now: int) -> Template:
        height = tree.height(tip) + 1
        chosen = select(pool, height, tree.median_time_past(tip), self._limits)
        txs = [entry.tx for entry in chosen.entries]
        segwit = height >= self._params.segwit_height
        coinbase = coinbase_transaction(height, 0, _ANYONE, txs, with_witness=segwit)
        commitment = coinbase.outputs[1].script_pubkey if segwit else None
        value = block_subsidy(height, self._params) + chosen.fees
        template = Template(tip, height, pool.version, now, chosen, value, commitment)
        place: dict[bytes, int] = {}
        for n, entry in enumerate(chosen.entries, 1):
            depends = {place[txid] for prevout in entry.tx.prevouts if (txid := prevout[:32]) in place}
            place[entry.txid] = n
            template.transactions.append(
                {
                    "data": entry.tx.raw.hex(),
                    "txid": to_display(entry.txid),
                    "hash": to_display(entry.wtxid),
                    "depends": sorted(depends),
                    "fee": entry.fee,
                    "sigops": entry.sigop_cost if segwit else entry.sigop_cost // 4,
                    "weight": entry.weight,
                }
            )
        return template
