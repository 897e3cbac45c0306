"""The block filter index (BIP157, BIP158): ``filter header[32] + filter hash[32] + filter`` of every block."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from btcnode.indexes.recipe import IndexedBlock, Made
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_script
from btcnode.primitives.gcs import basic_elements, encode_filter, filter_hash, filter_header


class BlockFilter(NamedTuple):
    """A filter with its hash and its place in the chain of filter headers (BIP157)."""

    header: bytes
    hash: bytes
    data: bytes

    @classmethod
    def unpack(cls, record: bytes) -> BlockFilter:
        """Decode a record."""
        return cls(record[:32], record[32:64], record[64:])


class FilterRecipe:
    """See the module."""

    name = "basic block filter index"
    file = Path("indexes", "blockfilter", "basic.mdb")
    needs_spent = True
    numbered = False

    def make(self, block: IndexedBlock) -> Made:
        """The basic filter of a block."""
        scripts = (coin_script(coin) for coins in block.spent for coin in coins)
        data = encode_filter(basic_elements(parse_block(block.raw), scripts), block.block_hash)
        own = filter_hash(data)
        return Made(filter_header(own, block.previous[:32] or bytes(32)) + own + data)
