"""The catalogue of block cases: more than three hundred ways to be wrong, and some fifty to be right after all.

Importing this module fills ``CASES``; the order matters only in that the last cases bend the chain's clock.
"""

from __future__ import annotations

from tests.lib import edge_blocks, invalid_blocks, invalid_coinbases, invalid_scripts, invalid_spends
from tests.lib.block_cases import CASES, Case, Step

__all__ = [
    "CASES",
    "Case",
    "Step",
    "edge_blocks",
    "invalid_blocks",
    "invalid_coinbases",
    "invalid_scripts",
    "invalid_spends",
]
