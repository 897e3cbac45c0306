"""Bloom filters of light clients, matched in one go and not in steps."""

from __future__ import annotations

from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol.serving.pieces import Meter
from btcnode.protocol.serving.tx_filter import FilteredBlock, filter_steps, match_steps
from btcnode.wire.bloom_filter import BloomFilter


def match(filter_: BloomFilter, tx: Tx) -> bool:
    """Whether the filter wants the transaction; it grows by what matched."""
    return at_once(match_steps(filter_, tx, Meter()))


def filter_block(raw: bytes, filter_: BloomFilter) -> FilteredBlock:
    """The part of a block that the filter wants; it grows by what matched."""
    return at_once(filter_steps(raw, filter_))
