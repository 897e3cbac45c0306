"""Block templates for miners: what getblocktemplate hands out, made anew when something better exists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, TypedDict

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.headers import check_version
from btcnode.consensus.subsidy import block_subsidy
from btcnode.mempool.entry import Chunk
from btcnode.mempool.pool import Mempool
from btcnode.mining.assembler import coinbase_transaction
from btcnode.mining.selection import BlockLimits, Selection, select
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import Tx
from btcnode.primitives.units import Unit
from btcnode.record import record, struct

if TYPE_CHECKING:
    from btcnode.descriptors.provider import SigningProvider

REFRESH_SECONDS = 5  # a changed mempool alone is no reason for a new template more often (Core's rule)
MOST_CHUNKS = 20_000  # that are taken at once, a millisecond or two: more than a block holds
FEW_CHUNKS = 500  # of which a block is chosen and made in a few milliseconds
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
    coinbase: Tx  # without what it pays
    transactions: list[TemplateTx] = field(default_factory=list)

    @property
    def commitment(self) -> bytes:
        """The script_pubkey of the witness commitment's output."""
        return self.coinbase.outputs[1].script_pubkey


@record
class Choice:
    """What a block is chosen from: the best chunks of a moment, ``whole`` if those are all. ``make`` on any thread."""

    chunks: Sequence[Chunk]
    whole: bool
    height: int
    median_time: int
    limits: BlockLimits

    @property
    def is_large(self) -> bool:
        """Whether making it takes more than a few milliseconds."""
        return len(self.chunks) > FEW_CHUNKS

    def make(self) -> Selection | None:
        """What the block takes; None when it takes more chunks to say."""
        left = iter(self.chunks)
        chosen = select(left, self.height, self.median_time, self.limits)
        return chosen if self.whole or next(left, None) is not None else None


@record
class Draft:
    """What a template is made of. ``make`` on any thread."""

    choice: Choice
    params: NetworkParams
    tip: int
    version: int
    time: int

    def make(self) -> Template | None:
        """The template; None when it takes more chunks to say what is in it."""
        chosen = self.choice.make()
        return None if chosen is None else self._fill(chosen)

    def _fill(self, chosen: Selection) -> Template:
        height = self.choice.height
        segwit = height >= self.params.segwit_height
        txs = [entry.tx for entry in chosen.entries]
        coinbase = coinbase_transaction(height, 0, _ANYONE, txs, with_witness=segwit)
        value = block_subsidy(height, self.params) + chosen.fees
        template = Template(self.tip, height, self.version, self.time, chosen, value, coinbase)
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
        self.keys = keys
        self._last: Template | None = None
        self.making = asyncio.Lock()  # who makes a template beside the loop has others wait for it
        self.made = 0
        self.last_choice: tuple[int, int] | None = None
        self._on_chosen = on_chosen

    @property
    def last_version(self) -> int:
        """The mempool's version in the last template, 0 before the first."""
        return 0 if self._last is None else self._last.version

    def choice(self, pool: Mempool | None, height: int, median_time: int, most: int = MOST_CHUNKS) -> Choice:
        """What a block at ``height`` may take from the pool, nothing without one: at most the ``most`` best chunks."""
        chunks = [] if pool is None else pool.best_chunks(most)
        return Choice(chunks, pool is None or len(chunks) == pool.chunk_count, height, median_time, self.limits)

    def choose(self, pool: Mempool | None, height: int, median_time: int) -> Selection:
        """What a block at ``height`` takes from the pool, nothing without one.

        Raises RuleViolation when no block there can have the version that overrides others.
        """
        choice = self.choice(pool, height, median_time, MOST_CHUNKS if pool is None else pool.chunk_count)
        chosen = choice.make()
        assert chosen is not None  # it has seen everything
        self.note(chosen, height)
        return chosen

    def note(self, chosen: Selection, height: int) -> None:
        """A choice for a block at ``height`` was made; raises as ``choose`` does."""
        self.last_choice = (chosen.weight, len(chosen.entries))
        self._on_chosen(chosen)
        if self.version is not None:
            check_version(self.version, height, self._params)

    def draft(self, pool: Mempool, tree: Ancestry, tip: int, now: int, most: int = MOST_CHUNKS) -> Draft | None:
        """A template for a block on ``tip`` to be made of the ``most`` best chunks, None when the last one will do."""
        last = self._last
        fresh = last is not None and (last.version == pool.version or now - last.time <= REFRESH_SECONDS)
        if last is not None and last.tip == tip and fresh:
            return None
        choice = self.choice(pool, tree.height(tip) + 1, tree.median_time_past(tip), most)
        return Draft(choice, self._params, tip, pool.version, now)

    def keep(self, made: Template) -> None:
        """Hand this template out from now on; raises as ``choose`` does."""
        self.note(made.chosen, made.height)
        log_new_block(made.coinbase, made.chosen)
        self._last = made
        self.made += 1

    def template(self, pool: Mempool, tree: Ancestry, tip: int, now: int) -> Template:
        """The template for a block on ``tip``: the last one as long as nothing better can be had.

        Raises RuleViolation as ``choose`` does.
        """
        draft = self.draft(pool, tree, tip, now, pool.chunk_count)
        if draft is not None:
            made = draft.make()
            assert made is not None  # it has seen everything
            self.keep(made)
        assert self._last is not None
        return self._last
