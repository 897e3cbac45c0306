from __future__ import annotations

from random import Random

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.tx_stream import FEE, KINDS, loose_tx, tx_lanes


def generator() -> ChainGenerator:
    made = ChainGenerator(params_for("regtest"), mix=dict.fromkeys(KINDS, 1))
    list(made.spread(60))
    return made


def test_a_loose_transaction_pays_its_fee() -> None:
    chain = generator()
    coins = [chain.take() for _ in range(2)]
    tx, made = loose_tx(coins)
    assert tx.prevouts == [coin.outpoint for coin in coins]
    assert FEE <= sum(coin.value for coin in coins) - sum(coin.value for coin in made) < FEE + len(KINDS)
    assert [coin.txout for coin in made] == list(tx.txouts)


def test_children_come_after_their_parents_in_the_same_lane() -> None:
    stream = list(tx_lanes(generator(), 60, 3, 0.5, Random(1)))
    lanes: dict[bytes, int] = {tx.txid: lane for lane, tx in stream}
    assert len(lanes) == 60 and {lane for lane, _ in stream} == {0, 1, 2}
    seen: set[bytes] = set()
    children = 0
    for lane, tx in stream:
        for prevout in tx.prevouts:
            if prevout[:32] in lanes:
                children += 1
                assert prevout[:32] in seen and lanes[prevout[:32]] == lane
        seen.add(tx.txid)
    assert children > 10
