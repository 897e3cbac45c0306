"""Wallets of a real process: killed at any moment, what was answered is there at the next start."""

from __future__ import annotations

from pathlib import Path

from tests.lib.process import NodeProcess


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


def test_what_is_wrong_with_wallets_at_the_start_is_told_on_stderr(tmp_path: Path) -> None:
    options = ("--wallet", "w", "--keypool", "1", "--fallbackfee", "0.02")
    with NodeProcess(tmp_path, "regtest", *options, listen=False) as node:
        node.start()
        assert "Warning: Skipping -wallet path that doesn't exist." in node.output()
        assert node.rpc("createwallet", "w")["warnings"][0].startswith("-fallbackfee is set very high!")
        assert node.stop() == 0 and "Warning: -fallbackfee" not in node.output()
        node.start()
        assert "Warning: -fallbackfee is set very high!" in node.output()
