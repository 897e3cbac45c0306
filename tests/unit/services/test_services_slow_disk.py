"""A disk that takes seconds: nothing waits for it on the loop, where peers and users are answered."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
Running = Any


def test_nothing_that_waits_for_the_disk_is_done_on_the_loop(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[str]] = {}
    work = ""

    def noting(given: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            threads.setdefault(work, set()).add(threading.current_thread().name)
            return given(*args)

        return noted

    for name in ("fsync", "fdatasync", "pread", "preadv", "sync"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, noting(getattr(os, name)))
    calls: list[tuple[str, list[Any]]] = [
        ("generatetoaddress", [3, ADDRESS]),
        ("getblock", [running.call("getblockhash", 0), 2]),
        ("savemempool", []),
        ("setban", ["1.2.3.4", "add"]),
        ("clearbanned", []),
        ("gettxoutsetinfo", []),
        ("dumptxoutset", [str(tmp_path / "set.dat"), "latest"]),
        ("dumptxoutset", [str(tmp_path / "old.dat"), "rollback", {"rollback": 1}]),
        ("dumphints", [str(tmp_path / "hints.dat")]),
        ("verifychain", [4, 0]),
        ("scantxoutset", ["start", [f"addr({ADDRESS})"]]),
    ]
    for work, params in calls:
        answer = running.call(work, *params)
        assert not (isinstance(answer, dict) and "code" in answer), (work, answer)
    work = "end"
    on_the_loop = {name for name, found in threads.items() if any("run_forever" in thread for thread in found)}
    assert not on_the_loop
    assert {"savemempool", "gettxoutsetinfo", "dumptxoutset", "dumphints"} <= set(threads)
