"""What the indexes make of blocks."""

from __future__ import annotations

import pytest

from btcnode.errors import CorruptionError
from btcnode.indexes.coinstats import CoinStats, CoinStatsRecipe
from btcnode.indexes.filters import BlockFilter, FilterRecipe
from btcnode.indexes.recipe import IndexedBlock
from btcnode.indexes.transactions import SpenderRecipe, TxPlace, TxRecipe, spender_key, tx_key
from btcnode.networks.parameters import params_for
from btcnode.primitives.amounts import COIN
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_prefix, coin_script, coin_value, txout_script
from btcnode.primitives.gcs import filter_header
from btcnode.primitives.hashes import BlockHash
from btcnode.script.scriptparse import is_unspendable
from btcnode.storage.muhash import MuHash
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")


def indexed(raw: bytes, height: int, number: int = 7, previous: bytes = b"") -> IndexedBlock:
    block = parse_block(raw)
    spent = [[bytes(12) + b"\x00"] * len(block.tx(i).prevouts) for i in range(1, block.n_tx)]
    return IndexedBlock(raw, spent, block.hash, height, number, previous)


def busy_block() -> bytes:
    generator = ChainGenerator(PARAMS)
    assert list(generator.spread(50))
    return generator.busy(5)


def test_places_of_transactions() -> None:
    raw = busy_block()
    block = parse_block(raw)
    made = TxRecipe().make(indexed(raw, 103))
    assert made.record == (7).to_bytes(4, "big")
    assert len(made.rows) == block.n_tx > 1
    for i, row in enumerate(made.rows):
        assert row.startswith(tx_key(block.txids[i]) + made.record)
        place = TxPlace.unpack(row[12:])
        assert raw[place.offset : place.offset + place.size] == block.tx_raw(i)


def test_genesis_has_no_transactions() -> None:
    assert TxRecipe().make(indexed(PARAMS.genesis_block, 0, 0)) == (bytes(4), ())


def test_places_of_spenders() -> None:
    raw = busy_block()
    block = parse_block(raw)
    rows = iter(SpenderRecipe().make(indexed(raw, 103)).rows)
    for i in range(1, block.n_tx):
        for outpoint in block.tx(i).prevouts:
            row = next(rows)
            assert row.startswith(spender_key(outpoint) + (7).to_bytes(4, "big"))
            place = TxPlace.unpack(row[16:])
            assert raw[place.offset : place.offset + place.size] == block.tx_raw(i)
    assert next(rows, None) is None


def test_outputs_of_one_transaction_have_keys_of_their_own() -> None:
    txid = bytes(range(32))
    keys = {spender_key(txid + n.to_bytes(4, "little")) for n in (0, 1, 256, 65536)}
    assert len(keys) == 4


def test_filter_headers_follow_each_other() -> None:
    recipe = FilterRecipe()
    first = BlockFilter.unpack(recipe.make(indexed(PARAMS.genesis_block, 0)).record)
    assert first.header == filter_header(first.hash, bytes(32))
    second = recipe.make(indexed(busy_block(), 1, previous=first.header + first.hash + first.data))
    found = BlockFilter.unpack(second.record)
    assert found.header == filter_header(found.hash, first.header)
    assert isinstance(BlockHash(found.hash), bytes)


class CoinSet:
    """The UTXO set in a dict: what the statistics are held against."""

    def __init__(self) -> None:
        self.coins: dict[bytes, bytes] = {}

    def connect(self, raw: bytes, height: int) -> list[list[bytes]]:
        """Apply a block; returns the coins it spends."""
        block, spent = parse_block(raw), []
        for i in range(block.n_tx):
            tx = block.tx(i)
            if i:
                spent.append([self.coins.pop(outpoint) for outpoint in tx.prevouts])
            for n, txout in enumerate(tx.txouts):
                if not is_unspendable(txout_script(txout)):
                    self.coins[tx.txid + n.to_bytes(4, "little")] = coin_prefix(height, not i) + txout
        return spent

    def agrees(self, stats: CoinStats) -> None:
        muhash = MuHash()
        muhash.insert_many([outpoint + coin for outpoint, coin in self.coins.items()])
        assert stats.muhash == muhash.digest()
        assert stats.txouts == len(self.coins)
        assert stats.total_amount == sum(map(coin_value, self.coins.values()))
        assert stats.bogosize == sum(50 + len(coin_script(coin)) for coin in self.coins.values())


def test_statistics_are_those_of_the_set() -> None:
    recipe, coins, generator = CoinStatsRecipe(PARAMS), CoinSet(), ChainGenerator(PARAMS)
    record = recipe.make(indexed(PARAMS.genesis_block, 0)).record
    first = CoinStats.unpack(record)
    assert (first.txouts, first.genesis_block, first.unspendable) == (0, 50 * COIN, 50 * COIN)
    chain = [*generator.spread(100), *(generator.busy(15) for _ in range(3))]
    for height, raw in enumerate(chain, 1):
        before = CoinStats.unpack(record)
        block = IndexedBlock(raw, coins.connect(raw, height), parse_block(raw).hash, height, 0, record)
        record = recipe.make(block).record
        after = CoinStats.unpack(record)
        came = after.prevout_spent - before.prevout_spent + after.subsidy - before.subsidy
        made = after.new_outputs_ex_coinbase - before.new_outputs_ex_coinbase + after.coinbase - before.coinbase
        assert came == made + after.unspendable - before.unspendable
        assert after.pack() == record
    coins.agrees(CoinStats.unpack(record))
    with pytest.raises(CorruptionError):
        CoinStats.unpack(record[:-1])
