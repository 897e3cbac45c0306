"""The code in docs/python-api.md is checked by ``mypy --strict`` as a user's would be, and runs."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import btcnode

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/python-api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def written(folder: Path) -> list[Path]:
    """Every block of the page as a module of its own."""
    paths = []
    for number, text in enumerate(BLOCKS):
        name = "test_block" if "def test_" in text else "block"
        paths.append(folder / f"{name}_{number}.py")
        paths[-1].write_text(text)
    return paths


def run(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_code() -> None:
    assert len(BLOCKS) >= 3
    assert all(text.count("\n\n\n") for text in BLOCKS), "a block without a function is not tried by these tests"


def test_every_block_is_strictly_typed(tmp_path: Path) -> None:
    # from a folder of its own: the package is found where it is installed, as by somebody who uses it
    cache = ROOT / ".mypy_cache/python-api"
    run(tmp_path, "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", *written(tmp_path))


def test_every_program_runs(tmp_path: Path) -> None:
    programs = [path for path in written(tmp_path) if "asyncio.run(" in path.read_text()]
    assert programs
    for path in programs:
        assert run(tmp_path, path.stem)


def test_every_test_passes(tmp_path: Path) -> None:
    tests = [path for path in written(tmp_path) if path.name.startswith("test_")]
    assert tests
    assert f"{len(tests)} passed" in run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_every_coroutine_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks that only define a coroutine talk to the node of the user's default directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    blocks = [text for text in BLOCKS if "asyncio.run(" not in text and "def test_" not in text]
    assert blocks

    async def main() -> None:
        async with btcnode.Node(network="regtest", datadir=tmp_path / ".btcnode") as node:
            for text in blocks:
                names: dict[str, object] = {}
                exec(text.replace("18443", str(node.rpc_address[1])), names)
                coroutines = [thing for thing in names.values() if inspect.iscoroutinefunction(thing)]
                assert coroutines
                for coroutine in coroutines:
                    await coroutine()
                    assert capsys.readouterr().out

    asyncio.run(main())
