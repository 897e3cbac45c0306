"""Regions of the world: shares of reachable nodes, and how long packets take between them.

Shares follow what crawlers of the network publish, times are about half of the round trips between data centres that
cloud operators publish: rounded, for the shape of the network and not for its third digit.
"""

from __future__ import annotations

REGIONS = ("north-america", "europe", "asia", "south-america", "oceania", "africa")

SHARES = (0.34, 0.45, 0.13, 0.03, 0.03, 0.02)

_UPPER = (  # milliseconds in one direction, in the order of REGIONS
    (20.0, 48.0, 80.0, 62.0, 82.0, 110.0),
    (12.0, 95.0, 98.0, 135.0, 70.0),
    (35.0, 150.0, 62.0, 125.0),
    (18.0, 150.0, 165.0),
    (15.0, 170.0),
    (25.0,),
)


def one_way(first: int, second: int) -> float:
    """Seconds between two regions, by their places in ``REGIONS``."""
    low, high = sorted((first, second))
    return _UPPER[low][high - low] / 1000
