"""Bans and permissions between real nodes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lib.process import NodeProcess, wait_until


def test_a_ban_outlives_a_restart_and_noban_goes_past_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with NodeProcess(tmp_path / "a") as a, NodeProcess(tmp_path / "b", listen=False) as b:
        a.start()
        b.start()
        b.rpc("addnode", a.address, "onetry")
        wait_until(lambda: len(a.rpc("getpeerinfo")) == 1)
        assert a.rpc("getpeerinfo")[0]["permissions"] == []
        a.rpc("setban", "127.0.0.0/8", "add", 1000)
        wait_until(lambda: not a.rpc("getpeerinfo") and not b.rpc("getpeerinfo"))
        a.stop()
        stored = json.loads((a.net_dir / "banlist.json").read_text())["banned_nets"]
        assert [(entry["version"], entry["address"]) for entry in stored] == [(1, "127.0.0.0/8")]

        a.start("--whitelist", "noban@127.0.0.1")
        assert [ban["address"] for ban in a.rpc("listbanned")] == ["127.0.0.0/8"]
        b.rpc("addnode", a.address, "onetry")
        wait_until(lambda: len(a.rpc("getpeerinfo")) == 1)
        assert a.rpc("getpeerinfo")[0]["permissions"] == ["noban", "download"]
