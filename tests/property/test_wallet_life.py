"""A wallet of a real node through random lives, beside a ledger that knows nothing but blocks, mempool and addresses.

It spends, replaces, is contradicted, reorganised, killed (its files are copied as they lie on the disk at that moment,
and the copy goes on) and restored from backups. What it says it has is what chain and mempool have for its addresses.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
DERIVED = 120
HOUR = 3600
REFUSALS = (-4, -6, -8, -26)  # nothing to spend, not to be replaced, ...


class World:
    """One node for all lives, with a rich wallet ``m`` beside the one that is tried."""

    node: Running
    folder: tempfile.TemporaryDirectory[str]
    lives = 0
    clock = 1_700_000_000

    @classmethod
    def begin(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="wallet-life-")
        config = regtest_config(Path(cls.folder.name), keypool=30, fallbackfee="0.0001")
        (config.net_dir / "wallets").mkdir()
        cls.node = Running(config)
        cls.node.call("createwallet", "m")
        cls.node.call("generatetoaddress", 10, cls.node.call_wallet("m", "getnewaddress"))
        cls.node.call("generatetoaddress", 100, OTHER)

        cls.pass_time()

    @classmethod
    def pass_time(cls) -> None:
        """Blocks that are made from now on are none that were there before: one that was left stays invalid."""
        cls.clock += HOUR
        cls.node.call("setmocktime", cls.clock)

    @classmethod
    def end(cls) -> None:
        cls.node.close()
        cls.folder.cleanup()


class WalletLife(RuleBasedStateMachine):
    """``names`` counts the files that the wallet has lived in; the last is the one that is loaded."""

    blocks: ClassVar[dict[str, list[Any]]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.node = World.node
        World.lives += 1
        self.names = 0
        self.backups: list[Path] = []
        self.replaced: list[str] = []  # raw transactions that others took the place of
        self.start = self.node.call("getblockcount")

    # -- asking

    @property
    def name(self) -> str:
        return f"w{World.lives}-{self.names}"

    def wallet(self, method: str, *params: Any) -> Any:
        return self.node.call_wallet(self.name, method, *params)

    def is_refused(self, answer: Any) -> bool:
        """Whether a method has refused for a reason that there may be; raises for any other."""
        if not (isinstance(answer, dict) and "code" in answer):
            return False
        assert answer["code"] in REFUSALS, answer
        return True

    def pool(self) -> set[str]:
        return set(self.node.call("getrawmempool"))

    def teardown(self) -> None:
        self.node.call("unloadwallet", self.name)
        while self.pool():
            assert isinstance(self.node.call("generatetoaddress", 1, OTHER), list)

    # -- what happens

    @initialize()
    def a_wallet_is_made(self) -> None:
        self.node.call("createwallet", self.name)
        texts = [item["desc"] for item in self.wallet("listdescriptors")["descriptors"]]
        self.own = {address for text in texts for address in self.node.call("deriveaddresses", text, [0, DERIVED])}
        self.somebody_pays(3)
        self.node.call("generatetoaddress", 1, OTHER)

    @rule(many=st.integers(1, 3))
    def somebody_pays(self, many: int) -> None:
        for _ in range(many):
            assert isinstance(self.node.call_wallet("m", "sendtoaddress", self.wallet("getnewaddress"), 0.4), str)

    @rule(cents=st.integers(1, 60), to_self=st.booleans())
    def it_pays(self, cents: int, to_self: bool) -> None:
        before = self.pool()
        target = self.wallet("getnewaddress") if to_self else OTHER
        answer = self.wallet("sendtoaddress", target, cents / 100)
        if not self.is_refused(answer):
            assert before | {answer} == self.pool(), "a coin that another transaction spends was taken again"

    @rule(data=st.data())
    def it_replaces(self, data: st.DataObject) -> None:
        before = sorted(self.pool())
        if not before:
            return
        txid = data.draw(st.sampled_from(before))
        raw = self.node.call("getrawtransaction", txid)
        answer = self.wallet("bumpfee", txid)
        if isinstance(answer, dict) and answer.get("code") in (-5, *REFUSALS):
            return  # not its own, or it has descendants
        assert set(before) - {txid} | {answer["txid"]} == self.pool()
        self.replaced.append(raw)

    @rule(empty=st.booleans())
    def a_block_comes(self, empty: bool) -> None:
        self.node.call("generateblock", OTHER, []) if empty else self.node.call("generatetoaddress", 1, OTHER)

    @precondition(lambda self: self.replaced)
    @rule()
    def a_block_has_what_was_replaced(self) -> None:
        """Where its inputs are there yet."""
        self.node.call("generateblock", OTHER, [self.replaced.pop()])

    @rule(depth=st.integers(1, 3))
    def the_chain_is_left(self, depth: int) -> None:
        height = max(self.start + 2, self.node.call("getblockcount") - depth + 1)
        if height > self.node.call("getblockcount"):
            return
        self.node.call("invalidateblock", self.node.call("getblockhash", height))
        World.pass_time()
        for _ in range(depth):
            self.node.call("generateblock", OTHER, [])

    @rule()
    def it_is_killed(self) -> None:
        """The files as they are go on; what is only in memory is lost."""
        place = self.node.settings.net_dir / "wallets"
        old, self.names = place / self.name, self.names + 1
        shutil.copytree(old, place / self.name)
        self.node.call("unloadwallet", old.name)
        assert self.node.call("loadwallet", self.name) == {"name": self.name}

    @rule()
    def a_backup_is_made(self) -> None:
        target = Path(World.folder.name) / f"{self.name}-{len(self.backups)}"
        assert self.wallet("backupwallet", str(target)) is None
        self.backups.append(target)

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def a_backup_is_restored(self, data: st.DataObject) -> None:
        backup = data.draw(st.sampled_from(self.backups))
        self.node.call("unloadwallet", self.name)
        self.names += 1
        assert self.node.call("restorewallet", self.name, str(backup)) == {"name": self.name}

    # -- what must hold

    def chain(self) -> list[Any]:
        """All transactions since this life began, as JSON."""
        found = []
        for height in range(self.start + 1, self.node.call("getblockcount") + 1):
            block = self.node.call("getblockhash", height)
            if block not in self.blocks:
                self.blocks[block] = self.node.call("getblock", block, 2)["tx"]
            found += self.blocks[block]
        return found

    def coins_of(self, tx: Any) -> dict[tuple[str, int], int]:
        return {
            (tx["txid"], out["n"]): round(out["value"] * 1e8)
            for out in tx["vout"]
            if out["scriptPubKey"].get("address") in self.own
        }

    @invariant()
    def it_has_what_chain_and_mempool_have(self) -> None:
        if not self.names and not hasattr(self, "own"):
            return
        confirmed = self.chain()
        waiting = {txid: self.node.call("getrawtransaction", txid, 1) for txid in self.pool()}
        spent = {
            (item["txid"], item["vout"])
            for tx in (*confirmed, *waiting.values())
            for item in tx["vin"]
            if "txid" in item
        }
        sure = {coin: value for tx in confirmed for coin, value in self.coins_of(tx).items()}
        pending = {coin: value for tx in waiting.values() for coin, value in self.coins_of(tx).items()}

        def is_trusted(tx: Any) -> bool:
            """Whether it spends nothing but own coins that are sure themselves."""
            return all(
                (item["txid"], item["vout"]) in sure
                or ((item["txid"], item["vout"]) in pending and is_trusted(waiting[item["txid"]]))
                for item in tx["vin"]
            )

        trusted = sum(value for coin, value in sure.items() if coin not in spent)
        untrusted = 0
        for (txid, vout), value in pending.items():
            if (txid, vout) not in spent and is_trusted(waiting[txid]):
                trusted += value
            elif (txid, vout) not in spent:
                untrusted += value
        mine = self.wallet("getbalances")["mine"]
        assert (round(mine["trusted"] * 1e8), round(mine["untrusted_pending"] * 1e8)) == (trusted, untrusted)
        assert mine["immature"] == 0
        listed = self.wallet("listunspent", 0)
        there = {coin for coin in (sure | pending) if coin not in spent}
        assert {(coin["txid"], coin["vout"]) for coin in listed} <= there
        if not mine["nonmempool"]:
            assert len(listed) == len(there)


class TestWalletLife(WalletLife.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))

    @classmethod
    def setUpClass(cls) -> None:
        World.begin()

    @classmethod
    def tearDownClass(cls) -> None:
        World.end()
