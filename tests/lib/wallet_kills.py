"""A node with a wallet that spends, killed at any moment, beside what was answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.lib.process import NodeProcess, RpcFailure

OPTIONS = ("--wallet", "w", "--keypool", "20", "--fallbackfee", "0.0001")
BUSY = (
    "sendtoaddress", "sendtoaddress", "sendmany", "send", "bumpfee", "bumpfee", "mine", "getnewaddress", "sendall",
)  # fmt: skip
INTERNAL_ERROR = -32603
SAME_BLOCK = "ProcessNewBlock, block not accepted"  # in one second the same block comes out again
LEAST = 20  # coins: with less there are new ones
OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


class SpendingLife:
    """One node's life through kills. ``problems`` is empty as long as all is well.

    After each start every transaction and address that was answered has to be the wallet's, no coin may have two
    spenders unless one replaces the other, and what the wallet says it has is what the UTXO set has for its
    descriptors.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = Random(seed)
        self.node = NodeProcess(folder, "regtest", *OPTIONS, listen=False)
        self.answered: list[str] = []  # txids
        self.addresses: list[str] = []
        self.problems: list[str] = []
        self.counts: dict[str, int] = defaultdict(int)
        self.signers: dict[tuple[str, int], list[str]] = defaultdict(list)  # by coin, in order of their answers
        self._highest = 0  # block that there was
        self._stopping = False
        self._under_way: dict[str, str] = {}  # by thread

    def begin(self) -> None:
        """Have a wallet with forty coins."""
        self.node.start()
        self.node.rpc("createwallet", "w")
        self._fund()

    def _fund(self) -> None:
        """Mine forty coins that no kill takes away: without its coinbase a transaction is abandoned."""
        self.node.rpc("generatetoaddress", 40, self.node.rpc("getnewaddress"))
        self.node.rpc("generatetoaddress", 100, OTHER)
        self.node.stop()  # what a kill leaves of the chain is what was flushed
        self.node.start()

    def round(self, seconds: float, *, rescanning: bool = False) -> None:
        """Work for so long, ``rescanning`` all the time beside it or not, be killed, start, and look."""
        self._stopping = False
        workers = [threading.Thread(target=self._work, args=("spend", self._some_work))]
        if rescanning:
            workers.append(threading.Thread(target=self._work, args=("scan", lambda: self._do("rescan"))))
        for worker in workers:
            worker.start()
        time.sleep(seconds)
        for what in sorted(self._under_way.values()):
            self.counts[f"killed in {what}"] += 1
        self.node.kill()
        self._stopping = True
        for worker in workers:
            worker.join()
        self.node.start()
        self.check()
        self._mine_back()

    def _mine_back(self) -> None:
        """Have as many blocks as before: a kill takes those away that were not flushed, and what the wallet has sent is
        locked to the height of its time, so that it is not final and its change cannot be spent below."""
        lost = self._highest - self.node.height()
        if lost > 0:
            self.node.rpc("generatetoaddress", lost, OTHER)

    def _some_work(self) -> None:
        self._do(self.random.choice(BUSY))

    def _work(self, thread: str, work: Callable[[], None]) -> None:
        while not self._stopping:
            try:
                work()
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                return  # it is dead
            except RpcFailure as error:
                self.counts["refused"] += 1
                if error.code == INTERNAL_ERROR and error.message != SAME_BLOCK:
                    self.problems.append(error.message)
            except Exception as error:
                self.problems.append(repr(error))
                raise
            finally:
                self._under_way.pop(thread, None)

    def _do(self, what: str) -> None:
        rpc, random = self.node.rpc, self.random
        self.counts[what] += 1
        self._under_way["scan" if what == "rescan" else "spend"] = what
        if what == "mine":
            rpc("generatetoaddress", 1, OTHER)
            self._highest = max(self._highest, self.node.height())
        elif what == "getnewaddress":
            self.addresses.append(rpc("getnewaddress", "", random.choice(["bech32", "bech32m", "legacy"])))
        elif what == "rescan":
            rpc("rescanblockchain", 0)
        else:
            txid = self._spend(what)
            if txid:
                self.answered.append(txid)
                self._check_coins_of(txid)

    def _spend(self, what: str) -> str:
        """The txid of a new transaction, empty where there is nothing to spend this way."""
        rpc, random = self.node.rpc, self.random
        amount = f"{random.randrange(10_000, 30_000_000) / 1e8:.8f}"
        if what == "sendtoaddress":
            return str(rpc("sendtoaddress", random.choice([OTHER, *self.addresses[-3:]]), amount))
        if what == "sendmany":
            return str(rpc("sendmany", "", {OTHER: amount, **dict.fromkeys(self.addresses[-2:], amount)}))
        if what == "send":
            return str(rpc("send", {OTHER: amount})["txid"])
        if what == "bumpfee" and self.answered:
            return str(rpc("bumpfee", random.choice(self.answered[-5:]))["txid"])
        if what == "sendall" and not random.randrange(6) and self.addresses:
            return str(rpc("sendall", [self.addresses[-1]])["txid"])
        return ""

    # -- looking

    def _check_coins_of(self, txid: str) -> None:
        """No coin may be in two transactions, unless one replaces the other or the earlier one is dead at this moment.

        Asked right after the answer: later a transaction may die that was alive when its coin was taken again.
        """
        entry = self.node.rpc("gettransaction", txid, True, True)
        coins = [(item["txid"], item["vout"]) for item in entry["decoded"]["vin"]]
        replaced, before = set(), entry.get("replaces_txid")
        while before:
            replaced.add(before)
            before = self.node.rpc("gettransaction", before).get("replaces_txid")
        for coin in coins:
            for other in self.signers[coin]:
                if other not in replaced and not self._is_dead_now(other):
                    self.problems.append(f"{coin} is in {txid} although {other} lives, which it does not replace")
            self.signers[coin].append(txid)

    def _is_dead_now(self, txid: str) -> bool:
        entry = self.node.rpc("gettransaction", txid)
        abandoned = any(detail["abandoned"] for detail in entry["details"])
        return abandoned or entry["confirmations"] < 0 or bool(entry["mempoolconflicts"])

    def check(self) -> None:
        """Compare the wallet with what it has answered and with the chain."""
        rpc = self.node.rpc
        known = {entry["txid"] for entry in rpc("listtransactions", "*", 100_000)}
        missing = [txid for txid in self.answered if txid not in known]
        if missing:
            self.problems.append(f"transactions that were answered are lost: {missing}")
        if not all(rpc("getaddressinfo", address)["ismine"] for address in self.addresses):
            self.problems.append("an address that was answered is lost")
        self._check_sums()
        self._check_spenders(known)

    def _check_spenders(self, known: set[str]) -> None:
        """No coin may be spent twice by what the wallet made, but for replacements, and where one was dead before."""
        shown = {txid: self.node.rpc("gettransaction", txid, True, True) for txid in known}
        replaced = {txid: entry["replaces_txid"] for txid, entry in shown.items() if entry.get("replaces_txid")}
        roots = {txid: _root(txid, replaced) for txid in known}
        spenders: dict[tuple[str, int], set[str]] = defaultdict(set)
        for txid, entry in shown.items():
            for item in entry["decoded"]["vin"]:
                if "txid" in item:
                    spenders[item["txid"], item["vout"]].add(txid)
        kin: dict[str, list[str]] = defaultdict(list)
        for txid, root in roots.items():
            kin[root].append(txid)

        @cache  # a chain of payments has as many ways up as it doubles
        def is_dead(txid: str) -> bool:
            """Whether a relative is in a block instead, or that of an ancestor."""
            if any(other != txid and shown[other]["confirmations"] > 0 for other in kin[roots[txid]]):
                return True
            parents = {item.get("txid") for item in shown[txid]["decoded"]["vin"]}
            return any(is_dead(parent) for parent in parents if parent in shown)

        for outpoint, txids in spenders.items():
            living = {roots[txid] for txid in txids if not is_dead(txid)}
            if len(living) > 1:
                self.problems.append(f"{outpoint} is spent by {sorted(txids)}, of which none replaces the other")

    def _check_sums(self) -> None:
        """When all is mined the wallet has what the UTXO set has for its descriptors."""
        rpc = self.node.rpc
        for _ in range(5):
            if not rpc("getmempoolinfo")["size"]:
                break
            rpc("generatetoaddress", 1, OTHER)
        mine = rpc("getbalances")["mine"]
        said = round((mine["trusted"] + mine["immature"] + mine["untrusted_pending"]) * 1e8)
        wanted = [
            {"desc": item["desc"], "range": item["range"][1] + 30} for item in rpc("listdescriptors")["descriptors"]
        ]
        there = round(rpc("scantxoutset", "start", wanted)["total_amount"] * 1e8)
        pending = [entry for entry in rpc("listtransactions", "*", 100_000) if self._is_pending(entry)]
        if said != there and not pending:
            self.problems.append(f"the wallet says {said} satoshi, the chain {there}")
        free = mine["trusted"] + mine["nonmempool"]  # less what is tied up in payments that are not pending either
        if free < LEAST:
            self._fund()

    @staticmethod
    def _is_pending(entry: dict[str, Any]) -> bool:
        return bool(entry["confirmations"] == 0 and not entry.get("abandoned"))


def _root(txid: str, replaced: dict[str, str]) -> str:
    while txid in replaced:
        txid = replaced[txid]
    return txid
