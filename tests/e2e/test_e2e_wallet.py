"""Wallets of a real process: killed at any moment, what was answered is there at the next start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.full_disk import fill, small_disk
from tests.lib.process import NodeProcess, RpcFailure

OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def test_what_a_wallet_has_answered_survives_kill_9(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--wallet", "w", "--keypool", "5", listen=False) as node:
        node.start()
        assert node.rpc("listwallets") == []
        node.rpc("createwallet", "w")
        given = []
        for n in range(12):
            address = node.rpc("getnewaddress", f"label {n}")
            assert address not in given
            given.append(address)
            if not n % 3:
                node.rpc("generatetoaddress", 1, address)
            if not n % 4:
                node.kill()
                node.start()
                assert node.rpc("listwallets") == ["w"]
        node.rpc("encryptwallet", "open sesame")
        node.kill()
        node.start()
        # the chain may be shorter after a kill: all blocks that there are were mined to the wallet
        assert node.rpc("getbalances")["mine"]["immature"] == 50 * node.height()
        assert [node.rpc("getaddressinfo", address)["labels"] for address in given] == [
            [f"label {n}"] for n in range(12)
        ]
        assert node.rpc("getwalletinfo")["unlocked_until"] == 0
        node.rpc("walletpassphrase", "open sesame", 60)
        assert node.rpc("getnewaddress") not in given
        assert node.stop() == 0
        assert "Traceback" not in node.output() and "sesame" not in node.output()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    with small_disk(tmp_path / "disk", 16 << 20):
        yield tmp_path / "disk"


def test_a_full_disk_loses_nothing_of_a_wallet(disk: Path, tmp_path: Path) -> None:
    ballast, backup, data = disk / "ballast", disk / "backup", tmp_path / "data"
    data.mkdir()
    full = r"cannot be written: database or disk is full \(-4\)"
    options = ("--walletdir", str(disk), "--keypool", "5", "--fallbackfee", "0.0001")
    with NodeProcess(data, "regtest", *options, listen=False) as node:
        node.start()
        node.rpc("createwallet", "w")
        mine = node.rpc("getnewaddress")
        node.rpc("generatetoaddress", 101, mine)
        node.rpc("backupwallet", str(backup))
        before = backup.read_bytes()
        fill(ballast)
        for call in (("createwallet", "x"), ("getnewaddress",), ("sendtoaddress", OTHER, 1), ("setlabel", OTHER, "x")):
            with pytest.raises(RpcFailure, match=full):
                node.rpc(*call)
        assert node.rpc("getrawmempool") == []  # nothing that is not kept is sent
        with pytest.raises(RpcFailure, match="Wallet backup failed"):
            node.rpc("backupwallet", str(backup))
        assert backup.read_bytes() == before
        with pytest.raises(RpcFailure, match="No space left on device"):
            node.rpc("restorewallet", "r", str(backup))
        node.rpc("generatetoaddress", 1, mine)
        assert float(node.rpc("getbalance")) == 100  # what it could not write it knows all the same
        assert sorted(path.name for path in disk.iterdir()) == ["backup", "ballast", "w"]
        with pytest.raises(RpcFailure, match=r"is full; the wallet is encrypted and locked .* keep the pass"):
            node.rpc("encryptwallet", "pass")
        assert node.rpc("getwalletinfo")["unlocked_until"] == 0
        ballast.unlink()
        node.kill()
        node.start("--wallet", "w")
        balances = node.rpc("getbalances")["mine"]  # the chain may be shorter after a kill
        assert float(balances["trusted"]) + float(balances["immature"]) == 50 * node.height()
        node.rpc("generatetoaddress", 101, mine)
        assert "unlocked_until" not in node.rpc("getwalletinfo")  # it is as it was
        node.rpc("encryptwallet", "pass")
        node.rpc("walletpassphrase", "pass", 1000)
        assert node.rpc("sendtoaddress", OTHER, 1) in node.rpc("getrawmempool")
        node.rpc("backupwallet", str(backup))
        node.rpc("restorewallet", "r", str(backup))
        for name in ("w", "r"):
            node.rpc("unloadwallet", name)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for call in (("loadwallet", "w"), ("createwallet", "x"), ("restorewallet", "x", str(backup))):
            with pytest.raises(RpcFailure, match="Read-only file system"):
                node.rpc(*call)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        node.rpc("loadwallet", "w")
        assert "Traceback" not in node.output()
        assert node.stop() == 0


def test_what_is_wrong_with_wallets_at_the_start_is_told_on_stderr(tmp_path: Path) -> None:
    options = ("--wallet", "w", "--keypool", "1", "--fallbackfee", "0.02")
    with NodeProcess(tmp_path, "regtest", *options, listen=False) as node:
        node.start()
        assert "Warning: Skipping -wallet path that doesn't exist." in node.output()
        assert node.rpc("createwallet", "w")["warnings"][0].startswith("-fallbackfee is set very high!")
        assert node.stop() == 0 and "Warning: -fallbackfee" not in node.output()
        node.start()
        assert "Warning: -fallbackfee is set very high!" in node.output()
