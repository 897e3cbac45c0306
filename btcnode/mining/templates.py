"""Block templates for miners: what getblocktemplate hands out, made anew when something better exists."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import field
from typing import Annotated, TypedDict

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.headers import check_version
from btcnode.consensus.subsidy import block_subsidy
from btcnode.descriptors.provider import SigningProvider
from btcnode.mempool.pool import Mempool
from btcnode.mining.assembler import coinbase_transaction
from btcnode.mining.selection import BlockLimits, Selection, select
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import Tx
from btcnode.primitives.units import Unit
from btcnode.record import struct

REFRESH_SECONDS = 5  # a changed mempool alone is no reason for a new template more often (Core's rule)
_ANYONE = b"\x51"

log = logging.getLogger("btcnode.mining")


class TemplateTx(TypedDict):
    """A transaction of a template."""

    data: Annotated[str, Unit.HEX, "The transaction"]
    txid: Annotated[str, Unit.HEX, "Hash without witness"]
    hash: Annotated[str, Unit.HEX, "Hash with witness"]
    depends: Annotated[list[Annotated[int, "Place in this list, from 1"]], "Transactions before it that it needs"]
    fee: Annotated[int, "Satoshi"]
    sigops: Annotated[int, "Sigop cost"]
    weight: Annotated[int, "Weight"]


@struct
class Template:
    """A choice of transactions on top of ``tip``; ``version`` is that of the mempool it was made from."""

    tip: int
    height: int
    version: int
    time: int
    chosen: Selection
    value: int  # subsidy and fees, satoshi
    commitment: bytes  # script_pubkey of the witness commitment's output
    transactions: list[TemplateTx] = field(default_factory=list)


def log_new_block(coinbase: Tx, chosen: Selection) -> None:
    """Core's line when a block or template has been made; what is reserved for the coinbase counts among the sigops."""
    count = len(chosen.entries)
    weight = 4 * (HEADER_SIZE + len(compact_size(1 + count))) + coinbase.weight + sum(e.weight for e in chosen.entries)
    log.info("CreateNewBlock(): block weight: %d txs: %d fees: %d sigops %d", weight, count, chosen.fees, chosen.sigops)


class TemplateMaker:
    """Chooses what goes into blocks, and keeps the last template.

    ``version`` overrides the version of blocks (for tests of forks); ``keys`` sign blocks of a signet of one's own.
    ``last_choice`` is weight (with what is reserved) and number of transactions of the newest block or template.
    """

    def __init__(
        self,
        params: NetworkParams,
        limits: BlockLimits | None = None,
        *,
        version: int | None = None,
        keys: SigningProvider | None = None,
        on_chosen: Callable[[Selection], None] = lambda chosen: None,
    ) -> None:
        """``on_chosen`` is called with every choice."""
        self._params = params
        self.limits = limits if limits is not None else BlockLimits()
        self.version = version
        self.keys = keys if keys is not None else SigningProvider()
        self._last: Template | None = None
        self.made = 0
        self.last_choice: tuple[int, int] | None = None
        self._on_chosen = on_chosen

    @property
    def last_version(self) -> int:
        """The mempool's version in the last template, 0 before the first."""
        return 0 if self._last is None else self._last.version

    def choose(self, pool: Mempool | None, height: int, median_time: int) -> Selection:
        """What a block at ``height`` takes from the pool, nothing without one.

        Raises RuleViolation when no block there can have the version that overrides others.
        """
        if pool is None:
            chosen = Selection(weight=self.limits.reserved_weight, sigops=self.limits.reserved_sigops)
        else:
            chosen = select(pool, height, median_time, self.limits)
        self.last_choice = (chosen.weight, len(chosen.entries))
        self._on_chosen(chosen)
        if self.version is not None:
            check_version(self.version, height, self._params)
        return chosen

    def template(self, pool: Mempool, tree: Ancestry, tip: int, now: int) -> Template:
        """The template for a block on ``tip``: the last one as long as nothing better can be had.

        Raises RuleViolation as ``choose`` does.
        """
        last = self._last
        fresh = last is not None and (last.version == pool.version or now - last.time <= REFRESH_SECONDS)
        if last is not None and last.tip == tip and fresh:
            return last
        self._last = made = self._make(pool, tree, tip, now)
        self.made += 1
        return made

    def _make(self, pool: Mempool, tree: Ancestry, tip: int, now: int) -> Template:
        height = tree.height(tip) + 1
        chosen = self.choose(pool, height, tree.median_time_past(tip))
        txs = [entry.tx for entry in chosen.entries]
        segwit = height >= self._params.segwit_height
        coinbase = coinbase_transaction(height, 0, _ANYONE, txs, with_witness=segwit)
        log_new_block(coinbase, chosen)
        commitment = coinbase.outputs[1].script_pubkey
        value = block_subsidy(height, self._params) + chosen.fees
        template = Template(tip, height, pool.version, now, chosen, value, commitment)
        place: dict[bytes, int] = {}
        for n, entry in enumerate(chosen.entries, 1):
            depends = [place[txid] for prevout in entry.tx.prevouts if (txid := prevout[:32]) in place]  # as the inputs
            place[entry.txid] = n
            template.transactions.append(
                {
                    "data": entry.tx.raw.hex(),
                    "txid": to_display(entry.txid),
                    "hash": to_display(entry.wtxid),
                    "depends": depends,
                    "fee": entry.fee,
                    "sigops": entry.sigop_cost if segwit else entry.sigop_cost // 4,
                    "weight": entry.weight,
                }
            )
        return template
