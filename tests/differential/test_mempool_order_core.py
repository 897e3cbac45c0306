"""What the mempool looks like, beside Bitcoin Core: the same transactions stand in the same order everywhere.

Clusters are made to be full of ties (equal feerates and sizes), which only Core's own rules of order decide. Needs a
``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched. ``BTCNODE_FUZZ_SEED`` and
``BTCNODE_FUZZ_COUNT`` choose other and more transactions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcError
from tests.lib.bitcoind import Bitcoind, find_bitcoind
from tests.lib.block_lab import LabCoin
from tests.lib.mempool_lab import START, MempoolLab, coins_of, pay
from tests.lib.process import NodeProcess, RpcFailure

COUNT = int(os.environ.get("BTCNODE_FUZZ_COUNT", "300"))
SEED = int(os.environ.get("BTCNODE_FUZZ_SEED", "1"))
REFRESH = 6  # seconds after which a template is made anew
VOLATILE = ("longpollid", "curtime", "mintime")


class Pair:
    """Both nodes on the same chain, and the unconfirmed coins that both know."""

    def __init__(self, ours: NodeProcess, theirs: Bitcoind, seed: int) -> None:
        self.ours, self.theirs = ours, theirs
        self.lab = MempoolLab(free=COUNT, each=0)
        self.now = START
        self.rng = Random(seed)
        self.coins: list[LabCoin] = []
        self.spent: list[LabCoin] = []
        self.both("setmocktime", self.now)
        for raw in self.lab.raws:
            self.both("submitblock", raw.hex())

    def both(self, method: str, *params: Any) -> Any:
        """Ask both, and have the same answer; an error counts as one."""
        ours, theirs = _answer(self.ours, method, params), _answer(self.theirs, method, params)
        assert _ordered(ours) == _ordered(theirs), (method, params)
        return ours

    def transaction(self) -> Tx:
        """One that pays a multiple of a quarter of a satoshi for each weight unit, so that many pay the same."""
        rng = self.rng
        unconfirmed = min(len(self.coins), rng.choice((0, 1, 1, 1, 2, 2, 3)))
        coins = [self.coins.pop(rng.randrange(len(self.coins))) for _ in range(unconfirmed)]
        if not coins or rng.random() < 0.2:
            coins.append(self.lab.coin())
        if self.spent and rng.random() < 0.05:
            coins[-1] = rng.choice(self.spent)  # a replacement
        outputs = rng.choice((1, 1, 2, 2, 3, 5))
        quarters = rng.choice((1, 2, 4, 4, 4, 4, 8, 12))
        tx = pay(coins, quarters * 8, outputs)
        fee = tx.weight * quarters // 4 + (rng.randrange(5) if rng.random() < 0.2 else 0)
        self.spent += coins
        return pay(coins, fee, outputs)

    def add(self) -> None:
        """Another transaction, for both."""
        tx = self.transaction()
        if self.both("sendrawtransaction", tx.raw.hex(), 0, 21_000_000) == to_display(tx.txid):
            self.coins += [coin for coin in coins_of(tx) if coin.value > 20_000]

    def compare(self) -> None:
        """Everything in which the order shows."""
        self.now += REFRESH
        self.both("setmocktime", self.now)
        txids = self.both("getrawmempool")
        ours, theirs = [dict(_ordered(node.rpc("getmempoolinfo"))) for node in (self.ours, self.theirs)]
        assert {name for name in ours if ours[name] != theirs[name]} <= {"usage"}
        self.both("getrawmempool", True)
        self.both("getrawmempool", False, True)
        self.both("getmempoolfeeratediagram")
        for txid in self.rng.sample(txids, min(5, len(txids))):
            self.both("getmempoolcluster", txid)
            for method in ("getmempoolancestors", "getmempooldescendants"):
                self.both(method, txid)
                self.both(method, txid, True)
        self.both("getprioritisedtransactions")
        request = {"rules": ["segwit"]}
        templates = [node.rpc("getblocktemplate", request) for node in (self.ours, self.theirs)]
        for template in templates:
            for name in VOLATILE:
                del template[name]
        assert _ordered(templates[0]) == _ordered(templates[1])

    def prioritise(self) -> None:
        """Change what a transaction is taken to pay."""
        txids = self.theirs.rpc("getrawmempool")
        if txids:
            self.both("prioritisetransaction", self.rng.choice(txids), 0, self.rng.choice((-400, -100, 100, 400)))

    def mine(self, share: float) -> None:
        """A block with the first of the mempool."""
        txids = self.theirs.rpc("getrawmempool")
        kept = txids[: int(len(txids) * share)]
        made = self.theirs.rpc("generateblock", "raw(51)", kept, False)
        self.both("submitblock", made["hex"])
        assert self.both("getbestblockhash") == made["hash"]

    def spread(self) -> None:
        """Confirmed transactions of few coins, whose outputs are then spent by more than one cluster may hold."""
        rng = self.rng
        self.coins.clear()
        roots = [pay([self.lab.coin()], 4000, rng.choice((5, 8, 13))) for _ in range(rng.choice((1, 2, 3)))]
        if rng.random() < 0.5:
            roots.append(pay([coins_of(root)[0] for root in roots], 4000, 5))
        spent = {prevout for root in roots for prevout in root.prevouts}
        for root in roots:
            self.both("sendrawtransaction", root.raw.hex(), 0, 21_000_000)
        self.mine(1.0)
        self.coins = [coin for root in roots for coin in coins_of(root) if coin.outpoint not in spent]
        self.spent.clear()

    def undo(self) -> None:
        """Its transactions come back."""
        self.both("invalidateblock", self.theirs.rpc("getbestblockhash"))


def _answer(node: NodeProcess | Bitcoind, method: str, params: tuple[Any, ...]) -> Any:
    try:
        return node.rpc(method, *params)
    except (RpcError, RpcFailure) as error:
        return {"code": error.code, "message": error.message}


def _ordered(value: Any) -> Any:
    """Objects as lists of pairs, so that the order of their keys counts, and amounts as they are written."""
    if isinstance(value, dict):
        return [(key, _ordered(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return float(value) if hasattr(value, "as_tuple") else value


@pytest.fixture(params=[SEED, SEED + 1, SEED + 2])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both nodes, and a seed."""
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    directories = tmp_path / "core", tmp_path / "ours"
    for directory in directories:
        directory.mkdir()
    node = NodeProcess(directories[1], "regtest", "--maxtipage", "999999999", listen=False)
    with Bitcoind(daemon, directories[0]) as theirs, node.start() as ours:
        yield Pair(ours, theirs, request.param)


def test_the_order_of_everything(pair: Pair) -> None:
    for step in range(1, COUNT + 1):
        pair.add()
        if step % 20 == 0:
            pair.compare()
        if step % 30 == 0:
            pair.prioritise()
            pair.compare()
        if step % 150 == 0:
            pair.mine(0.3)
            pair.compare()
            pair.undo()
            pair.compare()


def test_a_reorganisation_that_joins_too_much(pair: Pair) -> None:
    """Confirmed transactions come back under clusters that are too large together: the same ones have to go."""
    trimmed = 0
    for _ in range(4):
        pair.spread()
        for _ in range(COUNT // 2):
            pair.add()
        before = len(pair.both("getrawmempool"))
        pair.undo()
        pair.compare()
        trimmed += before > len(pair.both("getrawmempool"))
        pair.mine(1.0)
    assert trimmed
