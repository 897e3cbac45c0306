"""The block subsidy."""

from __future__ import annotations

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.amounts import COIN

INITIAL_SUBSIDY = 50 * COIN  # satoshi


def block_subsidy(height: int, params: NetworkParams) -> int:
    """New coins (satoshi) that the coinbase at ``height`` may claim besides the fees."""
    halvings = height // params.subsidy_halving_interval
    return INITIAL_SUBSIDY >> halvings if halvings < 64 else 0
