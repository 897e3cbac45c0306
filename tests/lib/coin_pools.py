"""Coins out of thin air, for trying how they are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from btcnode.descriptors.descriptor import OutputType
from btcnode.descriptors.sizes import Satisfaction
from btcnode.primitives.coin import make_txout
from btcnode.wallet.spending.coins import CoinGroup, PricedCoin
from btcnode.wallet.spending.sizes import InputSize

P2WPKH_VSIZE = 68
_numbers = count()


def coin(
    value: int,
    *,
    rate: int = 0,
    long_term_rate: int = 10_000,
    vsize: int = P2WPKH_VSIZE,
    effective: bool = True,
    script: bytes = b"\0\x14" + bytes(20),
    kind: OutputType | None = OutputType.BECH32,
    depth: int = 1,
    ancestors: int = 0,
    bump_fee: int = 0,
) -> PricedCoin:
    """A coin of this value, or (``effective``) of this value when it has paid for its input at ``rate``."""
    outpoint = next(_numbers).to_bytes(32, "big") + bytes(4)
    size = InputSize(Satisfaction(0, 0, True), True, vsize * 4)
    txout = make_txout(value + (-(-rate * vsize // 1000) if effective else 0), script)
    made = PricedCoin(outpoint, txout, size, depth, kind, False, ancestors, ancestors)
    return made.priced(rate, long_term_rate, bump_fee)


def groups(values: Iterable[int], *, rate: int = 5000, vsize: int = P2WPKH_VSIZE) -> list[CoinGroup]:
    """A group for each effective value."""
    return [CoinGroup([coin(value, rate=rate, vsize=vsize)]) for value in values]
