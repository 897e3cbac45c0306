"""The block subsidy."""

from __future__ import annotations

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.amounts import COIN

INITIAL_SUBSIDY = 50 * COIN  # satoshi


def block_subsidy(height: int, params: NetworkParams) -> int:
    """New coins (satoshi) that the coinbase at ``height`` may claim besides the fees."""
    halvings = height // params.subsidy_halving_interval
    return INITIAL_SUBSIDY >> halvings if halvings < 64 else 0


def subsidies_up_to(height: int, params: NetworkParams) -> int:
    """The new coins (satoshi) of all blocks from height 1 to ``height``."""
    interval = params.subsidy_halving_interval
    total = 0
    for first in range(0, min(height + 1, 64 * interval), interval):
        total += (min(height + 1, first + interval) - max(first, 1)) * block_subsidy(first, params)
    return total
