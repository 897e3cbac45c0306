"""Signed transactions that nodes take: loose ones over a generated chain's coins, and children of those."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.testing.templates import TEMPLATES, signed_tx
from tests.lib.chain_generator import ChainGenerator, Unspent

KINDS = ("p2wpkh", "p2tr-key")
FEE = 2000  # satoshi for each transaction
PARENTS_KEPT = 500  # outputs of one lane that a child may spend


def loose_tx(sources: list[Unspent], fee: int = FEE) -> tuple[Tx, list[Unspent]]:
    """A transaction of these outputs with one output of each of ``KINDS``, and those outputs."""
    each = (sum(coin.value for coin in sources) - fee) // len(KINDS)
    owners = [TEMPLATES[kind](1) for kind in KINDS]
    txouts = [make_txout(each, owner.script_pubkey) for owner in owners]
    tx = signed_tx([(coin.outpoint, coin.txout, coin.how) for coin in sources], txouts)
    return tx, [Unspent(tx.txid + n.to_bytes(4, "little"), each, owner) for n, owner in enumerate(owners)]


def tx_lanes(
    generator: ChainGenerator, count: int, lanes: int, children: float, rng: Random
) -> Iterator[tuple[int, Tx]]:
    """``(lane, transaction)`` for ``count`` transactions with one input.

    A share of ``children`` spend an output of a loose one that came earlier in the same lane: who keeps the order of
    each lane sends no orphans.
    """
    ready: list[deque[Unspent]] = [deque(maxlen=PARENTS_KEPT) for _ in range(lanes)]
    for n in range(count):
        lane = n % lanes
        if ready[lane] and rng.random() < children:
            yield lane, loose_tx([ready[lane].popleft()])[0]
            continue
        tx, made = loose_tx([generator.take()])
        ready[lane].append(made[0])
        yield lane, tx
