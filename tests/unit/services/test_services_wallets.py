"""How wallets follow a real node's chain and mempool, and what they do beside the loop."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest

from btcnode.descriptors.bip32 import ExtendedSecret
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.psbt import Psbt
from btcnode.errors import StorageError
from btcnode.primitives.addresses import script_for_address
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.services import wallet_chain
from btcnode.services.chain import Chain
from btcnode.services.spending import surroundings
from btcnode.services.wallet_commands import MAX_COMMANDS
from btcnode.services.wallet_keys import WalletKeys
from btcnode.wallet.descriptor_keys import Derived, DescriptorKeys, derive
from btcnode.wallet.errors import WalletError
from btcnode.wallet.journal import Change
from btcnode.wallet.spending.control import CoinControl, Recipient
from btcnode.wallet.spending.plan import make_plan
from btcnode.wallet.spending.sign import prepare_filling, prepare_signing
from btcnode.wallet.vault import Vault
from btcnode.wallet.wallet import Wallet
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    nodes: list[Running] = []

    def begin(**options: Any) -> Running:
        settings = regtest_config(tmp_path, **{"keypool": 3, "fallbackfee": "0.0001", **options})
        (settings.net_dir / "wallets").mkdir(exist_ok=True)
        nodes.append(Running(settings))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.close()


def test_a_wallet_that_cannot_catch_up_tries_again(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab = start()
    lab.call("createwallet", "w")
    lab.call("generatetoaddress", 5, lab.call("getnewaddress"))
    assert lab.parts.wallets is not None
    wallet, tree = lab.parts.wallets.loaded["w"], lab.parts.chain.tree
    monkeypatch.setattr(wallet_chain, "RETRY_SECONDS", 0.0)

    def forget_three_blocks() -> None:
        for entry in wallet.ledger.in_order()[2:]:
            wallet.ledger.remove([entry.txid])
        wallet.ledger.tip_height, wallet.ledger.tip_hash = 2, tree.hash(lab.parts.chain.driver.chainstate.active.at(2))

    def unreadable(self: Chain, index: int) -> bytes:
        raise StorageError("nothing but dust")

    lab.thread.call(forget_three_blocks)
    with monkeypatch.context() as broken:
        broken.setattr(Chain, "read_block_now", unreadable)
        lab.call("generatetoaddress", 1, ADDRESS)
        lab.until(lambda: "Failed to rescan the wallet" in caplog.text)
    assert lab.call("getwalletinfo")["txcount"] == 2
    lab.call("generatetoaddress", 1, ADDRESS)
    lab.until(lambda: lab.call("getwalletinfo")["txcount"] == 5)
    lab.call("generatetoaddress", 1, ADDRESS)
    lab.until(lambda: lab.call("getwalletinfo")["lastprocessedblock"]["height"] == 8)
    assert lab.call("getbalances")["mine"]["immature"] == 250


def test_the_users_command_runs_for_each_transaction_some_at_a_time(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start(walletnotify="tell %w %s %h %b")
    told, at_work, most, go = list[str](), list[int](), list[int](), threading.Event()

    def run(command: str, **_: Any) -> Any:
        at_work.append(1)
        most.append(len(at_work))
        go.wait(20)
        at_work.pop()
        told.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("btcnode.services.wallet_commands.subprocess.run", run)
    lab.call("createwallet", "a b")
    hashes = lab.call("generatetoaddress", 40, lab.call("getnewaddress"))
    lab.call("rescanblockchain")
    threads = [thread for thread in threading.enumerate() if thread.name == "walletnotify"]
    assert len(threads) == MAX_COMMANDS
    go.set()
    lab.until(lambda: len(told) >= 80)
    txids = {entry["txid"]: entry["blockhash"] for entry in lab.call("listtransactions", "*", 100)}
    assert {*told} == {f"tell 'a b' {txid} {hashes.index(block) + 1} {block}" for txid, block in txids.items()}
    assert max(most) <= MAX_COMMANDS


def test_a_hanging_command_does_not_keep_the_node(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, go = start(walletnotify="hang"), threading.Event()

    def hang(command: str, **_: Any) -> Any:
        go.wait()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("btcnode.services.wallet_commands.subprocess.run", hang)
    lab.call("createwallet", "w")
    lab.call("generatetoaddress", 20, lab.call("getnewaddress"))
    lab.close()
    go.set()


class Turns:
    """How often the loop came to somebody else's work."""

    def __init__(self, lab: Running) -> None:
        self.lab, self.count, self.going = lab, 0, True

    async def take(self) -> None:
        while self.going:
            self.count += 1
            await asyncio.sleep(0)

    def during(self, work: Callable[[], Any]) -> int:
        self.count, self.going = 0, True
        done = asyncio.run_coroutine_threadsafe(self.take(), self.lab.thread.loop)
        result = work()
        self.going = False
        done.result(20)
        assert not (isinstance(result, dict) and "code" in result), result
        return self.count


COINS = 40


@pytest.fixture
def rich(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> Running:
    """A node whose wallet has forty coins on as many addresses, and where every step of long work is a long one."""
    lab = start()
    lab.call("createwallet", "w")
    for _ in range(COINS):
        lab.call("generatetoaddress", 1, lab.call("getnewaddress"))
    lab.call("generatetoaddress", 101, ADDRESS)
    monkeypatch.setattr("btcnode.services.loop_turns.TURN_SECONDS", -1.0)
    for module in ("coins", "book", "spending.plan"):
        monkeypatch.setattr(f"btcnode.wallet.{module}.STEP", 1)
    return lab


@pytest.mark.parametrize(
    "method",
    [
        ("listtransactions", "*", 1000), ("listsinceblock",), ("listunspent",), ("listreceivedbyaddress",),
        ("listreceivedbylabel",), ("getbalance",), ("getbalances",), ("listaddressgroupings",),
        ("getreceivedbylabel", ""), ("getreceivedbyaddress", "@mine"), ("getaddressesbylabel", ""),
    ],
    ids=lambda method: str(method[0]),
)  # fmt: skip
def test_long_work_on_the_loop_lets_others_have_their_turns(rich: Running, method: tuple[Any, ...]) -> None:
    """Turns are counted until the answer is there, so that what needs none has few: less than one for each coin."""

    mine = rich.call("getnewaddress")
    given = [mine if item == "@mine" else item for item in method[1:]]

    def work() -> Any:
        async def answer() -> Any:
            return await rich.table.call_async(rich.table.find(method[0]), given)

        return rich.do(answer())

    assert Turns(rich).during(work) >= COINS


def test_many_coins_are_locked_in_turns(rich: Running) -> None:
    coins = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in rich.call("listunspent")]
    checked = list[int]()

    async def answer() -> Any:
        return await rich.table.call_async(rich.table.find("lockunspent"), [False, coins])

    async def lock() -> Any:
        turns = asyncio.create_task(answer())
        while not turns.done():
            checked.append(1)
            await asyncio.sleep(0)
        return turns.result()

    wallets = rich.parts.wallets
    assert wallets is not None and rich.do(lock()) is True  # nothing of it is written, so nothing else is waited for
    assert len(checked) > COINS and len(rich.call("listlockunspent")) == COINS


def test_a_plan_for_many_coins_is_made_in_steps(rich: Running) -> None:
    async def steps() -> int:
        wallets = rich.parts.wallets
        assert wallets is not None
        wallet = wallets.loaded["w"]
        control, node = CoinControl(rate=1000), surroundings(rich.parts, wallet)
        recipients = [Recipient(script_for_address(ADDRESS, rich.settings.params), 100_000)]
        return sum(1 for _ in make_plan(wallet, node, recipients, control, Random(1)))

    assert rich.do(steps()) >= 3 * COINS  # coins are looked for, looked at, and priced


def test_keys_for_many_inputs_are_looked_up_in_steps_and_opened_once(
    rich: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[bytes]()
    real = DescriptorKeys.open_secrets

    def noted(self: DescriptorKeys, vault: Vault) -> SigningProvider:
        opened.append(self.id)
        return real(self, vault)

    monkeypatch.setattr(DescriptorKeys, "open_secrets", noted)
    wallets = rich.parts.wallets
    assert wallets is not None
    wallet = wallets.loaded["w"]
    prevouts = list(wallet.ledger.coins)
    txouts = [make_txout(1000, script) for script in list(wallet.scripts)[:COINS]]
    tx = Tx(2, prevouts, [b""] * len(prevouts), [0] * len(prevouts), txouts)

    async def steps() -> tuple[int, int]:
        signing = sum(1 for _ in prepare_signing(wallet, tx))
        return signing, sum(1 for _ in prepare_filling(wallet, Psbt.of(tx), sign=True, origins=True))

    signing, filling = rich.do(steps())
    assert signing >= COINS and filling >= 2 * COINS
    assert len(opened) <= 2 * len(wallet.descriptors)


def test_nobody_unloads_a_wallet_that_has_begun_to_look_for_blocks(rich: Running) -> None:
    wallets = rich.parts.wallets
    assert wallets is not None
    wallet = wallets.loaded["w"]

    async def unload() -> None:
        async with wallet.turn:
            going = asyncio.create_task(wallets.wallets.unload(wallet, None))
            await asyncio.sleep(0)  # it waits for its turn
            wallet.scan.running = True
        try:
            await going
        finally:
            wallet.scan.running = False

    with pytest.raises(WalletError, match="currently rescanning"):
        rich.do(unload())
    assert rich.call("listwallets") == ["w"]


def test_what_the_first_wallet_needs_is_imported_beside_the_loop(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[str]()

    def noted(name: str) -> object:
        threads.append(threading.current_thread().name)
        return import_module(name)

    monkeypatch.setattr("btcnode.services.wallet_service.import_module", noted)
    lab = start()
    lab.call("createwallet", "w")
    assert len(threads) == 1 and threads[0].startswith("asyncio_")


def test_many_addresses_are_entered_in_parts(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.services.wallet_keys.PART", 20)
    monkeypatch.setattr("btcnode.services.wallet_keys.MANY_CHANGES", 50)
    entered = list[int]()
    real = DescriptorKeys.take

    def take(self: DescriptorKeys, derived: Iterable[Derived]) -> None:
        found = list(derived)
        entered.append(len(found))
        real(self, found)

    monkeypatch.setattr(DescriptorKeys, "take", take)
    lab = start()
    lab.call("createwallet", "w")
    lab.call("keypoolrefill", 130)
    lab.call("createwallet", "watch", True, True)
    key = ExtendedSecret.from_seed(b"seed" * 8).public().text(lab.settings.params)
    text = lab.call("getdescriptorinfo", f"wpkh({key}/*)")["descriptor"]
    given = [{"desc": text, "range": [0, 499], "timestamp": "now"}]
    assert lab.call_wallet("watch", "importdescriptors", given)[0]["success"] is True
    assert max(entered) == 20 and sum(entered) == 8 * 130 + 500
    address = lab.call("deriveaddresses", text, [499, 499])[0]
    assert lab.call_wallet("watch", "getaddressinfo", address)["ismine"] is True
    for name in ("w", "watch"):
        lab.call("unloadwallet", name)
        lab.call("loadwallet", name)
    assert lab.call_wallet("watch", "getaddressinfo", address)["ismine"] is True
    assert lab.call_wallet("w", "getwalletinfo")["keypoolsize"] == 4 * 130
    assert sum(entered) == 8 * 130 + 500  # nothing was derived again


def test_a_descriptor_is_on_disk_before_its_keys(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes are written while others are still being made; a kill leaves a wallet that can be loaded."""
    lab = start()
    lab.call("createwallet", "w", False, True)
    written = list[Change]()
    real = WalletKeys._derive

    async def derive(self: WalletKeys, wallet: Wallet, keys: DescriptorKeys, size: int) -> bool:
        written.extend(wallet.journal.take())  # as when a block comes at this moment
        return await real(self, wallet, keys, size)

    monkeypatch.setattr(WalletKeys, "_derive", derive)
    master = ExtendedSecret.from_seed(b"seed" * 8)
    assert lab.parts.wallets is not None
    wallets = lab.parts.wallets.wallets
    lab.do(wallets.keys.add_usual(wallets.loaded["w"], master, internals=(False,)))
    known = set[object]()
    for statement, values in written:
        known |= {values[0]} if statement == "descriptor" else set()
        assert statement not in ("key", "position") or values[0] in known
    assert [statement for statement, _ in written].count("key") == 4


def test_addresses_that_a_block_has_used_are_replaced_beside_the_loop(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start(keypool=60)
    lab.call("createwallet", "w")
    threads = list[str]()
    real = derive

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr("btcnode.wallet.wallet.derive", noted)
    addresses = lab.call("deriveaddresses", lab.call("listdescriptors")["descriptors"][0]["desc"], [0, 59])
    lab.call("generatetoaddress", 1, addresses[2])  # a twentieth of the keypool
    assert not threads
    lab.until(lambda: lab.call("getwalletinfo")["keypoolsize"] == 240)
    lab.call("generatetoaddress", 1, addresses[40])
    assert len(threads) == 1  # many are missing: at once, as the next transaction may pay to one of them
    assert lab.call("getwalletinfo")["keypoolsize"] == 240
