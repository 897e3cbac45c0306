"""The block subsidy."""

from __future__ import annotations

from btcnode.params import COIN, NetworkParams

INITIAL_SUBSIDY = 50 * COIN  # satoshi
MAX_MONEY = 21_000_000 * COIN  # satoshi; no amount and no sum of amounts may be above


def block_subsidy(height: int, params: NetworkParams) -> int:
    """New coins (satoshi) that the coinbase at ``height`` may claim besides the fees."""
    halvings = height // params.subsidy_halving_interval
    return INITIAL_SUBSIDY >> halvings if halvings < 64 else 0
