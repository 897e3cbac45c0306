"""What scripts/docs makes from the declarations is up to date; what the pages name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
OF_BITCOIND = {"rpcauth.py"}
REPOSITORY_PATH = re.compile(r"(?<![\w/.-])((?:btcnode|tests|scripts|docs|docker|\.ci)/[\w./*-]*\w\*?/?)")


def test_generated_files_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts/generate/main.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nTo bring them up to date run: scripts/docs"


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``: the page's headings as they are shown on the web."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    missing = [name for name in REPOSITORY_PATH.findall(page.read_text()) if not list(ROOT.glob(name.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    """Also by their last parts, as ``blocks/xthin.py`` and ``..._transactions.py`` are."""
    folders = ("btcnode", "tests", "scripts", "docker")
    there = [f"/{path.relative_to(ROOT).as_posix()}" for folder in folders for path in (ROOT / folder).rglob("*.py*")]
    named = set(re.findall(r"(?<![\w/*-])([\w/]*\w\.pyi?)\b", page.read_text())) - OF_BITCOIND
    ends = {name: name if name.startswith("_") else f"/{name}" for name in named}
    assert [name for name in sorted(named) if not any(path.endswith(ends[name]) for path in there)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_constants_that_a_page_names_are_there(page: Path) -> None:
    constant = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
    known: set[str] = set()
    for folder in ("btcnode", "tests/lib"):
        for path in (ROOT / folder).rglob("*.py"):
            known.update(re.findall(rf"(?:^ *|, |\")({constant})(?:\b.* = |\")", path.read_text(), re.M))
    named = set(re.findall(f"`({constant})`", page.read_text()))
    assert sorted(named - known) == []


def complete(name: str, *words: str) -> list[str]:
    """What bash would offer for the last word; words are split as bash does, "=" standing alone."""
    script = f"""
        source {ROOT}/scripts/completions/{name}.bash
        compopt() {{ :; }}
        COMP_WORDS=({" ".join(f"'{word}'" for word in (name, *words))}) COMP_CWORD={len(words)}
        _{name.replace("-", "_")}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["-reg"], ["-regtest"]),
        (["-chain", "=", "test"], ["test", "testnet4"]),
        (["-dbcac"], ["-dbcache="]),
        (["-regtest", "-printto"], ["-printtoconsole"]),
        (["-dbcache", "=", "4"], []),
    ],
)
def test_completion_of_the_daemon(words: list[str], offered: list[str]) -> None:
    assert complete("btcnoded", *words) == offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["-rpcwaitt"], ["-rpcwaittimeout="]),
        (["getblockco"], ["getblockcount"]),
        (["-regtest", "-rpcport", "=", "1", "getbestb"], ["getbestblockhash"]),
        (["help", "getbestb"], ["getbestblockhash"]),
        (["help", "--o"], ["--openrpc"]),
        (["getblock", "getb"], []),
        (["-chain", "=", ""], ["main", "test", "testnet4", "signet", "regtest"]),
    ],
)
def test_completion_of_the_client(words: list[str], offered: list[str]) -> None:
    assert complete("btcnode-cli", *words) == offered


PROGRAM = """
from decimal import Decimal
import btcnode

async def main(node: btcnode.NodeClient, local: btcnode.Node) -> None:
    height: int = await node.getblockcount()
    info = await local.rpc.getblockchaininfo()
    name: str = info["chain"]
    fee: Decimal = (await node.getmempoolinfo())["mempoolminfee"]
    await node.gettxout(name, height, include_mempool=False)
    await node.sendrawtransaction("00", maxfeerate=fee)
    block = await node.getblock("00", 1)
    name = block["hash"]
    name = await node.getblock("00", 0)
    ids: list[str] = await node.getrawmempool()
    sequence: int = (await node.getrawmempool(mempool_sequence=True))["mempool_sequence"]
    wrong: str = await node.getblockcount()  # error 1
    await node.getblockhash("0")  # error 2
    await node.nosuchmethod()  # error 3
"""


def test_a_type_checker_knows_the_methods(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    expected = [n for n, line in enumerate(PROGRAM.splitlines(), 1) if "# error" in line]
    assert lines == expected, done.stdout + done.stderr
