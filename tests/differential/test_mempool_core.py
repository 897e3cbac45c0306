"""What enters the mempool, beside Bitcoin Core: the same verdicts, words, sizes and fees for random transactions.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched. ``BTCNODE_FUZZ_SEED`` and
``BTCNODE_FUZZ_COUNT`` choose other and more transactions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from btcnode.mempool.acceptance import Admission
from btcnode.mempool.feerate import rate_of
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.mempool.rejection import Accepted, AlreadyThere, OtherWitness, PackageFault, PackageTxVerdict, TxResult
from btcnode.primitives.hashes import from_display, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcError
from tests.lib.bitcoind import Bitcoind, find_bitcoind
from tests.lib.mempool_lab import START, MempoolLab, outcome
from tests.lib.tx_fuzz import KINDS, TxFuzzer

COUNT = int(os.environ.get("BTCNODE_FUZZ_COUNT", "400"))
SEED = int(os.environ.get("BTCNODE_FUZZ_SEED", "1"))
SATOSHI = 100_000_000


def amount(value: Any) -> int:
    """Satoshi of an amount as RPC writes it."""
    satoshi: int = round(value * SATOSHI)
    return satoshi


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    with Bitcoind(daemon, tmp_path_factory.mktemp("core")) as core:
        yield core


class Pair:
    """The lab with our pool, and Core on the same chain."""

    def __init__(self, core: Bitcoind, seed: int) -> None:
        self.core = core
        self.lab = MempoolLab(KINDS, free=max(400, COUNT))
        for raw in self.lab.raws:
            assert core.rpc("submitblock", raw.hex()) is None
        self.pool = Mempool()
        self.admission = Admission(self.pool, self.lab.coins, self.lab, MempoolOptions())
        self.rng = Random(seed)
        self.fuzzer = TxFuzzer(self.lab, self.rng)

    def sync(self) -> None:
        """Both pools hold the same in the same order, and the fuzzer knows."""
        order = [from_display(txid) for txid in self.core.rpc("getrawmempool")]
        theirs = set(order)
        ours = {txid for txid in self.fuzzer.pool if self.pool.get(txid) is not None}
        assert ours == theirs, f"only ours: {len(ours - theirs)}, only theirs: {len(theirs - ours)}"
        assert [entry.txid for entry in self.pool.in_order()] == order
        self.fuzzer.keep(theirs)

    def told(self, tx: Tx, verdict: PackageTxVerdict | None, problem: str) -> dict[str, Any]:
        """Our verdict in the words of testmempoolaccept."""
        said: dict[str, Any] = {"txid": to_display(tx.txid), "wtxid": to_display(tx.wtxid)}
        if problem:
            said["package-error"] = problem
        if isinstance(verdict, Accepted):
            said["allowed"] = True
            said["vsize"] = verdict.vsize
            said["fees"] = fees(verdict)
        elif verdict is not None:
            said["allowed"] = False
            assert not isinstance(verdict, AlreadyThere | OtherWitness)
            missing = verdict.result is TxResult.MISSING_INPUTS
            said["reject-reason"] = "missing-inputs" if missing else verdict.reason
            if not missing:
                said["reject-details"] = verdict.text
        return said

    def test(self, txs: list[Tx]) -> list[dict[str, Any]]:
        """Both judge, and say the same; returns what is said."""
        theirs = self.core.rpc("testmempoolaccept", [tx.raw.hex() for tx in txs], 0)
        for said in theirs:
            if "fees" in said:
                for name in ("base", "effective-feerate"):
                    said["fees"][name] = amount(said["fees"][name])
        result = outcome(self.admission.test_steps(txs, START))
        problem = result.text if result.fault is PackageFault.POLICY else ""
        ours = [self.told(tx, result.transactions.get(tx.wtxid), problem) for tx in txs]
        assert ours == theirs, [tx.raw.hex() for tx in txs]
        return ours

    def send(self, tx: Tx) -> None:
        assert self.core.rpc("sendrawtransaction", tx.raw.hex(), 0, 21_000_000) == to_display(tx.txid)
        assert isinstance(self.admission.accept(tx, START), Accepted)
        self.fuzzer.adopt(tx)
        self.sync()

    def submit(self, txs: list[Tx]) -> str:
        """Both are given a package; returns what is said of it as a whole."""
        try:
            theirs = self.core.rpc("submitpackage", [tx.raw.hex() for tx in txs], 0, 21_000_000)
        except RpcError as error:
            return error.message
        result = outcome(self.admission.package_steps(txs, START))
        assert (result.text or "success") == theirs["package_msg"]
        replaced: set[str] = set()
        for tx in txs:
            said = theirs["tx-results"][to_display(tx.wtxid)]
            for name in ("base", "effective-feerate"):
                if name in said.get("fees", {}):
                    said["fees"][name] = amount(said["fees"][name])
            verdict = result.transactions.get(tx.wtxid)
            assert self.told_of_package(tx, verdict) == said
            if isinstance(verdict, Accepted):
                replaced.update(to_display(old.txid) for old in verdict.replaced)
                self.fuzzer.adopt(tx)
        assert sorted(replaced) == sorted(theirs["replaced-transactions"])
        self.sync()
        return str(theirs["package_msg"])

    def told_of_package(self, tx: Tx, verdict: PackageTxVerdict | None) -> dict[str, Any]:
        """Our verdict in the words of submitpackage."""
        said: dict[str, Any] = {"txid": to_display(tx.txid)}
        if verdict is None:
            said["error"] = "package-not-validated"
        elif isinstance(verdict, Accepted):
            said |= {"vsize": verdict.vsize, "fees": fees(verdict)}
        elif isinstance(verdict, AlreadyThere):
            said |= {"vsize": verdict.vsize, "fees": {"base": verdict.fee}}
        elif isinstance(verdict, OtherWitness):
            said["other-wtxid"] = to_display(verdict.wtxid)
        else:
            said["error"] = verdict.text
        return said

    def prioritise(self) -> None:
        """Move the fee of a transaction, mostly of one in the pool."""
        able = [txid for txid, tx in self.fuzzer.pool.items() if not self.admission.checks.outputs.dust(tx.txouts)]
        if able:
            txid = self.rng.choice(able)
            delta = self.rng.choice((-1000, -10, 10, 1000))
            self.core.rpc("prioritisetransaction", to_display(txid), None, delta)
            self.pool.prioritise(txid, delta)


def fees(verdict: Accepted) -> dict[str, Any]:
    return {
        "base": verdict.fee,
        "effective-feerate": rate_of(verdict.effective_fee, verdict.effective_vsize),
        "effective-includes": [to_display(wtxid) for wtxid in verdict.effective_wtxids],
    }


def test_random_transactions(core: Bitcoind) -> None:
    pair = Pair(core, SEED)
    reasons: set[str] = set()
    for step in range(COUNT):
        tx = pair.fuzzer.next()
        said = pair.test([tx])[0]
        reasons.add(said.get("reject-reason", "allowed"))
        if said["allowed"] and (len(pair.pool) < 250 or pair.rng.random() < 0.1):
            pair.send(tx)
        if step % 4 == 0:
            txs = pair.fuzzer.package()
            if len(txs) <= 25:
                reasons.update(one.get("package-error", one.get("reject-reason", "allowed")) for one in pair.test(txs))
                reasons.add(pair.submit(txs))
        if step % 25 == 0:
            pair.prioritise()
    print(sorted({reason.split(",")[0] for reason in reasons}))
    assert len(reasons) > 20
