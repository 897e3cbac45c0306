"""Methods of wallets over a real node."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import StorageError
from btcnode.rpc.errors import RpcError
from btcnode.rpc.methods import every_method
from btcnode.rpc.shapes import Kind
from btcnode.services.wallet_service import WalletService
from btcnode.wallet.descriptor_keys import DescriptorKeys
from btcnode.wallet.sqlite_store import WalletStore
from tests.lib.node_parts import START, regtest_config
from tests.lib.rpc_diff.values import TPRV
from tests.unit.conftest import Running

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
NOT_FOUND = -18


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Running]:
    settings = regtest_config(tmp_path, keypool=3)
    (settings.net_dir / "wallets").mkdir()
    node = Running(settings)
    yield node
    node.close()


def restarted(lab: Running) -> Running:
    lab.close()
    return Running(lab.settings)


def test_which_wallet_is_meant(lab: Running) -> None:
    none = "No wallet is loaded. Load a wallet using loadwallet or create a new one with createwallet."
    assert lab.call("getbalance")["message"].startswith(none)
    assert lab.call("createwallet", "a") == {"name": "a"}
    address = lab.call("getnewaddress")
    assert lab.call("getaddressinfo", address)["ismine"] is True
    lab.call("createwallet", "b/c")
    assert lab.call("getbalance")["code"] == -19
    assert lab.call_wallet("b/c", "getaddressinfo", address)["ismine"] is False
    assert lab.call_wallet("a", "getwalletinfo")["walletname"] == "a"
    assert lab.call_wallet("x", "getwalletinfo") == error(NOT_FOUND, "Requested wallet does not exist or is not loaded")
    assert lab.call("listwallets") == ["a", "b/c"]
    assert [row["name"] for row in lab.call("listwalletdir")["wallets"]] == ["a", "b/c"]


def test_mined_coins_mature_and_survive_a_restart(lab: Running) -> None:
    lab.call("createwallet", "w")
    address = lab.call("getnewaddress", "miner", "bech32m")
    hashes = lab.call("generatetoaddress", 102, address)
    mine = lab.call("getbalances")["mine"]
    assert (mine["trusted"], mine["immature"]) == (100, 5000)
    coins = lab.call("listunspent")
    assert [coin["label"] for coin in coins] == ["miner", "miner"]
    assert coins[0]["desc"].startswith("tr([") and coins[0]["parent_descs"][0].startswith("tr([")
    newest = lab.call("listtransactions", "*", 1)[0]
    assert (newest["category"], newest["blockhash"], newest["confirmations"]) == ("immature", hashes[-1], 1)
    lab.call("invalidateblock", hashes[-1])
    assert lab.call("getbalances")["mine"]["trusted"] == 50
    orphan = lab.call("gettransaction", newest["txid"])
    assert orphan["details"][0]["category"] == "orphan" and orphan["details"][0]["abandoned"] is True
    info = lab.call("getwalletinfo")
    assert info["lastprocessedblock"]["height"] == 101
    again = restarted(lab)
    try:
        assert again.call("loadwallet", "w") == {"name": "w"}
        assert again.call("getbalances")["mine"]["trusted"] == 50
        assert again.call("getwalletinfo")["txcount"] == info["txcount"]
    finally:
        again.close()


def test_blocks_that_came_while_a_wallet_was_away_are_found(lab: Running) -> None:
    lab.call("createwallet", "w")
    addresses = [lab.call("getnewaddress") for _ in range(2)]
    lab.call("unloadwallet", "w")
    lab.call("generatetoaddress", 3, addresses[0])
    lab.call("generatetoaddress", 101, ADDRESS)
    lab.call("loadwallet", "w")
    assert lab.call("getbalance") == 150
    assert lab.call("getreceivedbyaddress", addresses[0]) == 150
    assert lab.call("getreceivedbyaddress", addresses[1]) == 0


def test_what_came_meanwhile_is_found_where_other_chains_are_known(lab: Running) -> None:
    lab.call("createwallet", "w")
    address = lab.call("getnewaddress")
    lab.call("generatetoaddress", 5, ADDRESS)
    for n in range(1, 4):  # leaves four headers behind each time: a header's number is more than its height
        assert lab.call("invalidateblock", lab.call("getblockhash", 2)) is None
        assert len(lab.call("generatetodescriptor", 5, f"raw(5{n})")) == 5
    lab.call("unloadwallet", "w")
    lab.call("generatetoaddress", 1, address)
    assert len(lab.call("getchaintips")) == 4 and lab.call("getblockcount") == 7
    lab.call("loadwallet", "w")
    assert lab.call("getbalances")["mine"]["immature"] == 50


def test_coinbases_of_blocks_that_are_gone_at_the_next_start_are_given_up(lab: Running) -> None:
    lab.call("createwallet", "w")
    tip = lab.call("generatetoaddress", 2, lab.call("getnewaddress"))[1]
    lab.call("unloadwallet", "w")
    lab.call("invalidateblock", tip)
    lab.call("loadwallet", "w")
    assert lab.call("getbalances")["mine"]["immature"] == 50
    (entry,) = (entry for entry in lab.call("listtransactions") if entry["confirmations"] == 0)
    assert (entry["category"], entry["abandoned"]) == ("orphan", True)
    lab.call("reconsiderblock", tip)
    assert lab.call("getbalances")["mine"]["immature"] == 100


def test_a_restored_backup_finds_addresses_beyond_its_pool(lab: Running, tmp_path: Path) -> None:
    lab.call("createwallet", "w")
    assert lab.call("backupwallet", str(tmp_path / "copy")) is None
    own = f"Failed to restore wallet. Database file exists in '{lab.settings.net_dir}/wallets/w/wallet.dat'."
    assert lab.call("restorewallet", "w", str(tmp_path / "copy")) == error(-36, own)
    for _ in range(8):
        lab.call("generatetoaddress", 1, lab.call("getnewaddress"))
    lab.call("unloadwallet", "w")
    assert lab.call("restorewallet", "r", str(tmp_path / "copy")) == {"name": "r"}
    assert lab.call("getbalances")["mine"]["immature"] == 400
    assert lab.call("restorewallet", "", "x") == error(-8, "Wallet name cannot be empty")
    assert lab.call("restorewallet", "y", str(tmp_path / "none")) == error(-8, "Backup file does not exist")


def test_encryption_locks_keys_and_hides_them(lab: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lab.call("createwallet", "w")
    secret = lab.call("listdescriptors", True)["descriptors"][0]["desc"]
    key = secret[secret.index("tprv") : secret.index("/")]
    assert "wallet encrypted" in lab.call("encryptwallet", "open sesame")
    assert lab.call("listdescriptors", True)["code"] == -13
    lab.call("walletpassphrase", "wrong", 10)
    assert lab.call("walletpassphrase", "wrong", 10) == error(
        -14, "Error: The wallet passphrase entered was incorrect."
    )
    assert lab.call("walletpassphrase", "open sesame", 1000) is None
    assert lab.call("getwalletinfo")["unlocked_until"] == START + 1000
    assert len(lab.call("listdescriptors", True)["descriptors"]) == 16
    assert lab.call("walletpassphrasechange", "open sesame", "other") is None
    assert lab.call("walletlock") is None
    assert lab.call("walletpassphrase", "open sesame", 1)["code"] == -14
    assert lab.call("getwalletinfo")["unlocked_until"] == 0
    raw = b"".join(path.read_bytes() for path in (lab.settings.net_dir / "wallets/w").iterdir())
    assert key not in caplog.text and "sesame" not in caplog.text
    assert key.encode() not in raw and b"sesame" not in raw


def test_importing_watches_and_rescans(lab: Running) -> None:
    lab.call("createwallet", "w")
    addresses = [lab.call("getnewaddress") for _ in range(4)]
    for address in addresses:
        lab.call("generatetoaddress", 1, address)
    public = next(
        row["desc"]
        for row in lab.call("listdescriptors")["descriptors"]
        if row["desc"].startswith("wpkh(") and not row["internal"]
    )
    lab.call("unloadwallet", "w")
    lab.call("createwallet", "watch", True)
    request = {"desc": public, "timestamp": 0, "range": [0, 1], "active": True, "next_index": 1}
    assert lab.call("importdescriptors", [request]) == [{"success": True}]
    assert lab.call("getbalances")["mine"]["immature"] == 200
    assert lab.call("getwalletinfo")["private_keys_enabled"] is False
    assert lab.call("rescanblockchain", 1, 2) == {"start_height": 1, "stop_height": 2}
    assert lab.call("importdescriptors", [{"desc": public[:-9], "timestamp": "now"}])[0]["error"]["code"] == -5
    assert lab.call("importdescriptors", [{"desc": public}]) == error(-3, "Missing required timestamp field for key")
    assert lab.call("abortrescan") is False


def test_a_pruned_node_rescans_what_it_has(tmp_path: Path) -> None:
    """The first block of all is gone with the file that it was in."""
    lab = Running(regtest_config(tmp_path, fastprune=True, prune=1))
    try:
        lab.call("createwallet", "w")
        lab.call("generatetoaddress", 620, ADDRESS)
        pruned = lab.call("pruneblockchain", 620)
        assert pruned > 0
        why = "Can't rescan beyond pruned data. Use RPC call getblockchaininfo to determine your pruned height."
        for heights in ((0, 0), (0,), (pruned, pruned), (pruned,)):
            assert lab.call("rescanblockchain", *heights) == error(-1, why)
        assert lab.call("rescanblockchain", pruned + 1) == {"start_height": pruned + 1, "stop_height": 620}
    finally:
        lab.close()


def test_places_of_backups_that_are_none(lab: Running, tmp_path: Path) -> None:
    lab.call("createwallet", "w")
    copy, exists = str(tmp_path / "copy"), "Failed to restore wallet. Database file exists"
    assert lab.call("backupwallet", copy) is None
    assert lab.call("backupwallet", copy + "\0") == error(-4, "Error: Wallet backup failed!")
    assert lab.call("restorewallet", "x", copy + "/") == error(-8, "Backup file does not exist")
    assert lab.call("restorewallet", "w/wallet.dat", copy)["message"].startswith(f"{exists} '")
    assert lab.call("restorewallet", copy, copy) == error(-36, f"{exists} '{copy}'.")
    assert lab.call("restorewallet", "w", copy)["message"].startswith(f"{exists} in '")
    assert lab.call("listwallets") == ["w"]


def test_a_key_is_named_where_it_alone_makes_the_address(lab: Running) -> None:
    """Behind a taproot address with scripts it does not, though it may spend it."""
    lab.call("createwallet", "w", False, True)
    key = TPRV
    other = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
    for text, path in (
        (f"tr({key}/7/*)", "m/7/0"),
        (f"tr({key}/7/*,pk({other}))", None),
        (f"wpkh({key}/7/*)", "m/7/0"),
    ):
        public = lab.call("getdescriptorinfo", text)
        request = {"desc": f"{text}#{public['checksum']}", "timestamp": "now", "range": [0, 0]}
        assert lab.call("importdescriptors", [request])[0]["success"]
        (address,) = lab.call("deriveaddresses", public["descriptor"], [0, 0])
        shown = lab.call("getaddressinfo", address)
        assert shown["solvable"] and shown.get("hdkeypath") == path and ("timestamp" in shown) == (path is not None)


def test_a_value_of_a_wrong_type_ends_an_import(lab: Running) -> None:
    """Other faults are told as what became of the one descriptor."""
    lab.call("createwallet", "w")
    text = "wpkh(02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5)#wg9vgf99"
    for name, value, wanted in (("desc", 1, "string"), ("desc", None, "string"), ("active", None, "bool"),
                                ("label", 1, "string"), ("internal", None, "bool")):  # fmt: skip
        kind = "null" if value is None else "number"
        why = f"JSON value of type {kind} is not of expected type {wanted}"
        assert lab.call("importdescriptors", [{"desc": text, "timestamp": "now", name: value}]) == error(-3, why)
    why = 'Expected number or "now" timestamp value for key. got type null'
    assert lab.call("importdescriptors", [{"desc": text, "timestamp": None}]) == error(-3, why)
    (told,) = lab.call("importdescriptors", [{"desc": text, "timestamp": "now", "range": None}])
    assert told["error"] == error(-8, "Range should not be specified for an un-ranged descriptor")


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("gethdkeys", [{"private": None}], "JSON value of type null is not of expected type bool"),
        ("listunspent", [0, 9, [], True, {"minimumAmount": None}], "Amount is not a number or string"),
        ("listunspent", [0, 9, [], True, {"maximumSumAmount": None}], "Unexpected key maximumSumAmount"),
        (
            "listunspent",
            [0, 9, [], True, {"maximumCount": None}],
            "JSON value of type null is not of expected type number",
        ),
        (
            "listunspent",
            [0, 9, [], True, {"include_immature_coinbase": None}],
            "JSON value of type null is not of expected type bool",
        ),
    ],
)
def test_null_is_no_value_of_these_options(lab: Running, method: str, params: list[Any], why: str) -> None:
    lab.call("createwallet", "w")
    assert lab.call(method, *params) == error(-3, why)


def test_more_coins_than_there_can_be_may_be_asked_for(lab: Running) -> None:
    lab.call("createwallet", "w")
    assert lab.call("listunspent", 0, 9, [], True, {"maximumCount": 1 << 40}) == []


def test_labels_and_locks_are_kept(lab: Running) -> None:
    lab.call("createwallet", "w")
    mine = lab.call("getnewaddress", "one")
    lab.call("setlabel", ADDRESS, "theirs")
    lab.call("generatetoaddress", 101, mine)
    coin = {key: lab.call("listunspent")[0][key] for key in ("txid", "vout")}
    assert lab.call("lockunspent", False, [coin], True) is True
    assert lab.call("lockunspent", False, [coin])["message"] == "Invalid parameter, output already locked"
    lab.call("unloadwallet", "w")
    lab.call("loadwallet", "w")
    assert lab.call("listlockunspent") == [coin] and lab.call("listunspent") == []
    assert lab.call("listlabels") == ["one", "theirs"] and lab.call("listlabels", "send") == ["theirs"]
    assert lab.call("getaddressesbylabel", "theirs") == {ADDRESS: {"purpose": "send"}}


def test_a_node_without_wallets_has_no_methods_for_them(tmp_path: Path) -> None:
    lab = Running(regtest_config(tmp_path, disablewallet=True))
    try:
        assert lab.call("getbalance") == error(-32601, "Method not found")
        assert lab.parts.wallets is None and "== Wallet ==" not in lab.call("help")
    finally:
        lab.close()


def test_names_of_no_wallets_import_nothing(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind wallets is imported with the first one, which takes the loop a tenth of a second."""

    def imported(_: WalletService) -> None:
        raise AssertionError("on the loop")

    monkeypatch.setattr(WalletService, "wallets", property(imported))
    for method in ("getwalletinfo", "getbalances", "listunspent"):
        assert lab.call_wallet("\ufffd", method)["code"] == NOT_FOUND
    assert lab.call("getbalance")["code"] == NOT_FOUND


def test_names_of_no_wallets(lab: Running) -> None:
    directory = lab.settings.net_dir / "wallets"
    assert lab.call("createwallet", "") == error(-8, "Wallet name cannot be empty")
    missing = f"Wallet file verification failed. Failed to load database path '{directory}/x'. Path does not exist."
    assert lab.call("loadwallet", "x") == error(NOT_FOUND, missing)
    assert lab.call("loadwallet", "../x") == error(NOT_FOUND, missing.replace("/x'", "/../x'"))
    (directory / "file").touch()
    assert lab.call("restorewallet", "file/x", "none") == error(-8, "Backup file does not exist")
    (directory / "empty").mkdir()
    assert lab.call("loadwallet", "empty")["message"].endswith("Data is not in recognized format.")
    lab.call("createwallet", "w")
    assert lab.call("createwallet", "w")["code"] == -4
    assert lab.call("loadwallet", "w") == error(-35, 'Wallet "w" is already loaded.')
    assert lab.call("unloadwallet", "y")["code"] == NOT_FOUND
    assert lab.call("unloadwallet")["code"] == -8


def test_what_cannot_be_written_is_told_and_written_later(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.call("createwallet", "w")
    address = lab.call("getnewaddress")
    full = StorageError("the disk is full")

    def fails(self: WalletStore, changes: Any) -> None:
        raise full

    with monkeypatch.context() as broken:
        broken.setattr(WalletStore, "write", fails)
        assert lab.call("getnewaddress", "lost?") == error(-4, "the disk is full")
        lab.call("generatetoaddress", 3, address)
    assert lab.call("getnewaddress", "after") != address
    lab.call("unloadwallet", "w")
    lab.call("loadwallet", "w")
    assert lab.call("listlabels") == ["", "after", "lost?"]
    assert lab.call("getbalances")["mine"]["immature"] == 150


def together(lab: Running, *calls: tuple[Any, ...]) -> list[Any]:
    """The results of these calls at the same time, or their errors."""

    async def main() -> list[Any]:
        work = [lab.table.call_async(lab.table.find(name), list(params)) for name, *params in calls]
        return await asyncio.gather(*work, return_exceptions=True)

    return lab.do(main())


def test_a_wallet_is_encrypted_once(lab: Running) -> None:
    lab.call("createwallet", "w")
    first, second = together(lab, ("encryptwallet", "first"), ("encryptwallet", "second"))
    assert "wallet encrypted" in first
    assert isinstance(second, RpcError) and second.code == -15
    assert lab.call("walletpassphrase", "first", 1000) is None
    assert len(lab.call("listdescriptors", True)["descriptors"]) == 16


def test_what_was_answered_is_kept_also_while_the_wallet_is_unloaded(lab: Running) -> None:
    lab.call("createwallet", "w")
    for order in (slice(None), slice(None, None, -1)):
        calls = [("getnewaddress", "x"), ("unloadwallet", "w"), ("getnewaddress", "y"), ("unloadwallet", "w")]
        results = together(lab, *calls[order])
        lab.call("loadwallet", "w")
        for address in results:
            if isinstance(address, str):
                assert lab.call("getaddressinfo", address)["labels"]
        assert lab.call("getnewaddress") not in results


def test_a_wallet_takes_nobodys_file_and_shows_its_own_to_nobody(lab: Running) -> None:
    directory = lab.settings.net_dir / "wallets"
    (directory / "foreign").mkdir()
    (directory / "foreign/wallet.dat").write_bytes(b"")
    assert lab.call("createwallet", "foreign")["message"].endswith("Database already exists.")
    assert (directory / "foreign/wallet.dat").read_bytes() == b""
    before = os.umask(0)
    try:
        lab.call("createwallet", "own")
        lab.call("backupwallet", str(directory / "copy"))
        lab.call("restorewallet", "again", str(directory / "copy"))
    finally:
        os.umask(before)
    for path in ("own/wallet.dat", "own/wallet.dat-wal", "again/wallet.dat"):
        assert (directory / path).stat().st_mode & 0o777 == 0o600, path


def test_a_payment_that_was_answered_with_an_error_is_given_up(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.call("createwallet", "w")
    lab.call("generatetoaddress", 101, lab.call("getnewaddress"))
    full = StorageError("the disk is full")

    def fails(self: WalletStore, changes: Any) -> None:
        raise full

    with monkeypatch.context() as broken:
        broken.setattr(WalletStore, "write", fails)
        assert lab.call("sendtoaddress", ADDRESS, 1, "", "", False, True, None, "unset", False, 10)["code"] == -4
    assert lab.call("getrawmempool") == []
    rows = [row for row in lab.call("listtransactions") if row["category"] == "send"]
    assert [row["abandoned"] for row in rows] == [True] * len(rows)
    lab.call("unloadwallet", "w")
    lab.call("loadwallet", "w")
    assert lab.call("getrawmempool") == []
    assert lab.call("getbalance") == 50


def test_an_unlocked_wallet_locks_itself_also_after_an_error(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.call("createwallet", "w")
    lab.call("encryptwallet", "pass")
    full = StorageError("the disk is full")

    async def fails(*_: Any) -> None:
        raise full

    with monkeypatch.context() as broken:
        broken.setattr("btcnode.services.wallet_disk.WalletDisk.save", fails)
        assert lab.call("walletpassphrase", "pass", 1000)["code"] == -4
    assert lab.call("getwalletinfo")["unlocked_until"] == START + 1000


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "y/" * 3000])
@pytest.mark.parametrize("method", ["createwallet", "loadwallet", "restorewallet"])
def test_names_that_no_file_can_have(lab: Running, method: str, name: str) -> None:
    given = [name, "backup"] if method == "restorewallet" else [name]
    reply = lab.call(method, *given)
    assert reply["code"] in (-4, -8, -18), reply
    assert "Internal error" not in reply["message"]


def test_a_passphrase_that_could_not_be_written_is_not_the_wallets(
    lab: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.call("createwallet", "w", False, False, "old")
    full = StorageError("no room")

    def refuse(*_: Any) -> None:
        raise full

    with monkeypatch.context() as patched:
        patched.setattr(WalletStore, "write", refuse)
        assert lab.call("walletpassphrasechange", "old", "new") == error(-4, "no room")
    for _ in range(2):
        assert lab.call("walletpassphrase", "new", 9)["code"] == -14
        assert lab.call("walletpassphrase", "old", 9) is None
        lab.call("unloadwallet", "w")
        lab.call("loadwallet", "w")
    with monkeypatch.context() as patched:
        patched.setattr(WalletStore, "rewrite", refuse)  # which only takes away what is zero bytes already
        assert lab.call("walletpassphrasechange", "old", "new") is None
    assert lab.call("walletpassphrase", "new", 9) is None


def test_only_who_was_paid_gets_new_addresses(lab: Running) -> None:
    lab.call("createwallet", "w")
    lab.call("getnewaddress", "", "legacy")
    lab.call("generatetoaddress", 1, lab.call("getnewaddress", "", "bech32"))
    wallets = lab.parts.wallets
    assert wallets is not None
    lab.until(lambda: not wallets.loaded["w"].short)
    assert lab.call("getwalletinfo")["keypoolsize"] == 11  # as bitcoind's: of the legacy one two are left


def test_locked_wallets_judge_types_first(lab: Running) -> None:
    lab.call("createwallet", "w", False, False, "pass")
    wrong = error(-3, "JSON value of type number is not of expected type bool")
    assert lab.call("gethdkeys", {"active_only": 1, "private": True}) == wrong
    assert lab.call("removeprunedfunds", "AA" * 32) == error(
        -4, f"Transaction {'aa' * 32} does not belong to this wallet"
    )


def test_numbers_are_read_where_they_count(lab: Running) -> None:
    numbers = [
        (method, [arg.kind for arg in method.args[: n + 1]])
        for method in every_method()
        if method.category == "wallet"
        for n, arg in enumerate(method.args)
        if arg.kind is Kind.INT
    ]
    assert len(numbers) > 10
    none: dict[Kind, Any] = {Kind.STR: "", Kind.BOOL: True, Kind.ARR: [], Kind.OBJ: {}, Kind.HEX: "", Kind.INT: 1}
    for method, kinds in numbers:
        params = [*(none.get(kind) for kind in kinds[:-1]), 1.5]
        assert lab.call_wallet("x", method.name, *params)["code"] == NOT_FOUND, method.name
    lab.call("createwallet", "w")
    assert lab.call("walletpassphrase", "p", 1.5)["code"] == -15
    assert lab.call("listtransactions", "", 1.5)["code"] == -8
    assert lab.call("getreceivedbylabel", "nobody", 1.5) == error(-4, "Label not found in wallet")
    assert lab.call("listtransactions", "*", 1.5) == error(-1, "JSON integer out of range")


def test_what_is_in_the_place_of_a_backup_is_told_before_what_the_backup_is(lab: Running, tmp_path: Path) -> None:
    lab.call("createwallet", "w")
    assert lab.call("restorewallet", "w", str(tmp_path))["code"] == -36


def test_no_backup_is_read_that_has_no_end(lab: Running) -> None:
    assert lab.call("restorewallet", "r", "/dev/zero") == error(-4, "Backup file '/dev/zero' is no file")
    assert lab.call("listwalletdir") == {"wallets": []}


def test_of_two_new_passphrases_at_once_one_is_refused(lab: Running) -> None:
    lab.call("createwallet", "w")
    lab.call("encryptwallet", "old")
    change = ("walletpassphrasechange", "old")
    first, second = together(lab, (*change, "first"), (*change, "second"))
    assert first is None and isinstance(second, RpcError) and second.code == -14
    assert lab.call("walletpassphrase", "first", 10) is None


def test_who_loads_a_wallet_is_warned_of_high_fees(tmp_path: Path) -> None:
    high = {"fallbackfee": "0.01000001", "maxtxfee": "1.00000001", "mintxfee": "0.01", "maxapsfee": "0.00010001"}
    node = Running(regtest_config(tmp_path, keypool=1, **high))
    expected = [
        "-maxapsfee is set very high! This is the maximum transaction fee you pay (in addition to the normal fee) to"
        " prioritize partial spend avoidance over regular coin selection.",
        "-fallbackfee is set very high! This is the transaction fee you may pay when fee estimates are not available.",
        "-maxtxfee is set very high! Fees this large could be paid on a single transaction.",
    ]
    try:
        assert node.call("createwallet", "w") == {"name": "w", "warnings": expected}
        assert node.call("unloadwallet", "w") == {}
        assert node.call("loadwallet", "w") == {"name": "w", "warnings": expected}
    finally:
        node.close()


def test_no_wallet_pays_at_most_what_nobody_relays(tmp_path: Path) -> None:
    settings = regtest_config(tmp_path, keypool=1)
    node = Running(settings)
    node.call("createwallet", "w")
    node.close()
    node = Running(regtest_config(tmp_path, keypool=1, maxtxfee="0.000009", minrelaytxfee="0.00001"))
    why = (
        "Invalid amount for -maxtxfee=<amount>: '0.000009' (must be at least the minrelay fee of 0.00001000 BTC/kvB to"
        " prevent stuck transactions)"
    )
    try:
        assert node.call("createwallet", "v") == error(-4, f"Wallet creation failed. {why}")
        assert node.call("loadwallet", "w") == error(-4, f"Wallet loading failed. {why}")
        assert [row["name"] for row in node.call("listwalletdir")["wallets"]] == ["w"]
    finally:
        node.close()


def test_no_address_is_given_out_that_the_keys_do_not_make(lab: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.call("createwallet", "w")
    lab.call("unloadwallet", "w")
    load = DescriptorKeys.load_position

    def strange(self: DescriptorKeys, pos: int, scripts: bytes, pubkeys: bytes) -> None:
        is_it = pos == 1 and "wpkh(" in self.descriptor.text()
        load(self, pos, b"\x16\x00\x14" + bytes(20) if is_it else scripts, pubkeys)

    with monkeypatch.context() as broken:
        broken.setattr(DescriptorKeys, "load_position", strange)
        assert lab.call("loadwallet", "w") == {"name": "w"}
    assert lab.call("getnewaddress", "", "bech32").startswith("bcrt1q")
    damaged = "Error: The wallet's file is damaged: its keys do not make the address that stands there"
    assert lab.call("getnewaddress", "", "bech32") == error(-4, damaged)
    assert lab.call("getnewaddress", "", "bech32m").startswith("bcrt1p")


def test_nothing_is_migrated(lab: Running) -> None:
    lab.call("createwallet", "w")
    already = error(-4, "Error: This wallet is already a descriptor wallet")
    assert lab.call("migratewallet", "w") == lab.call_wallet("w", "migratewallet") == already
    lab.call("unloadwallet", "w")
    assert lab.call("migratewallet", "w") == already
    assert lab.call("migratewallet", "none") == error(-4, "Error: Wallet does not exist")
    neither = "Either the RPC endpoint wallet or the wallet name parameter must be provided"
    assert lab.call("migratewallet") == error(-8, neither)
    legacy = lab.settings.net_dir / "wallets" / "old"
    legacy.mkdir()
    (legacy / "wallet.dat").write_bytes(bytes(12) + bytes.fromhex("62310500") + bytes(4096))
    answer = lab.call("migratewallet", "old")
    assert answer["code"] == -4 and answer["message"].startswith("Wallets of earlier formats cannot be read here")


def test_addresses_are_told_in_the_order_of_their_kinds(lab: Running) -> None:
    lab.call("createwallet", "w")
    made = [lab.call("getnewaddress", "x", kind) for kind in ("bech32m", "bech32", "p2sh-segwit", "legacy")]
    assert list(lab.call("getaddressesbylabel", "x")) == made[::-1]


def test_groups_are_told_in_the_order_of_addresses(lab: Running) -> None:
    lab.call("createwallet", "w")
    made = [lab.call("getnewaddress", "", kind) for kind in ("bech32m", "legacy", "bech32", "p2sh-segwit")]
    for address in made:
        lab.call("generatetoaddress", 1, address)
    lab.call("generatetoaddress", 100, ADDRESS)
    order = [made[1], made[3], made[2], made[0]]
    assert [[row[0] for row in group] for group in lab.call("listaddressgroupings")] == [[one] for one in order]
    inputs = [{key: coin[key] for key in ("txid", "vout")} for coin in lab.call("listunspent")]
    spends = [coin for coin, row in zip(inputs, lab.call("listunspent"), strict=True) if row["address"] != made[2]]
    outputs = {ADDRESS: sum(row["amount"] for row in lab.call("listunspent") if row["address"] != made[2]) - 1}
    lab.call("sendrawtransaction", lab.call("signrawtransactionwithwallet", lab.call(
        "createrawtransaction", spends, outputs))["hex"], 0)  # fmt: skip
    lab.call("generatetoaddress", 1, ADDRESS)
    groups = [[row[0] for row in group] for group in lab.call("listaddressgroupings")]
    assert groups == [[made[1], made[3], made[0]], [made[2]]]  # joined by one transaction, whatever came between


def test_a_wrong_type_ends_an_import(lab: Running) -> None:
    lab.call("createwallet", "w")
    wrong = error(-3, "JSON value of type number is not of expected type string")
    assert lab.call("importdescriptors", [{"desc": 1, "timestamp": "now"}]) == wrong
    every_junk: tuple[Any, ...] = (1, None, "x", [])
    wrong = error(-3, "JSON value of type number is not of expected type bool")
    request = {"desc": "raw(51)#8lvh9jxk", "timestamp": "now", "range": 1, "internal": 1}
    assert lab.call("importdescriptors", [request]) == wrong
    no_time = error(-3, "Missing required timestamp field for key")
    assert [lab.call("importdescriptors", [junk]) for junk in every_junk] == [no_time] * 4
    assert lab.call("restorewallet", "r", "") == error(-8, "Backup file does not exist")
    why = f"Unexpected exception: filesystem error: status: File name too long [{'z' * 300}]"
    assert lab.call("restorewallet", "r", "z" * 300) == error(-4, why)
    raw = lab.call("createrawtransaction", [], {ADDRESS: 1})
    missing = "JSON value of type null is not of expected type string"
    assert lab.call("fundrawtransaction", raw, {"input_weights": [[[]]]}) == error(-3, missing)
    assert lab.call("listunspent", 0, 9, [], True, {"maximumCount": 1 << 40}) == []
    position = '"Position 5 (subtractfeefrom)": "JSON value of type number is not of expected type array"'
    why = f"Wrong type passed:\n{{\n    {position}\n}}"
    assert lab.call("sendmany", "", {ADDRESS: 1}, 1, "", 5) == error(-3, why)
    short = error(-1, "JSON value is not an object or array as expected")
    assert lab.call("send", {ADDRESS: 1}, None, None, None, {"subtract_fee_from_outputs": 1}) == short
