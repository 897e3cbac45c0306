"""What somebody may have put where an export is, or where block files are; words that contradict each other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from btcnode.cli.main import app
from btcnode.data.command import Cluster, ExportWish, VerifyWish, export_command, verify_command
from btcnode.data.export import EXPORT_FILE, Exported, ExportFolder, ExportForm, Partition, export_chain
from btcnode.data.folder import BlockFolder
from btcnode.data.schema import TABLES
from btcnode.data.tasks import TaskRunner
from btcnode.errors import ConfigError, StorageError
from tests.lib.block_folder import UncheckedChain, busy_chain, folder_of
from tests.lib.mini_chain import REGTEST

WHOLE = ExportForm(TABLES, True, 10)
FIRST = Partition(0, 9)


@pytest.fixture(scope="module")
def chain() -> UncheckedChain:
    return busy_chain(2)


@pytest.fixture(scope="module")
def blocks(chain: UncheckedChain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(chain, tmp_path_factory.mktemp("attacks") / "blocks").path


def run(blocks: Path, out: Path) -> Exported:
    with TaskRunner() as runner:
        return export_chain(BlockFolder(blocks, REGTEST), out, WHOLE, runner=runner)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.*")) if path.is_file()}


@pytest.mark.parametrize("where", ["", "export", "below/export"])
@pytest.mark.parametrize("link", [False, True], ids=["by its name", "by a link"])
def test_an_export_among_the_block_files_is_refused(
    chain: UncheckedChain, tmp_path: Path, where: str, link: bool
) -> None:
    folder = folder_of(chain, tmp_path / "blocks").path
    (tmp_path / "link").symlink_to(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match="lies in the folder of the block files"):
        run(folder, (tmp_path / "link" if link else folder) / where)
    assert sorted(folder.rglob("*")) == before


def test_links_that_lead_nowhere_are_told(blocks: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StorageError, match="cannot make"):
        run(blocks, tmp_path / "loop/out")


def test_files_of_others_are_not_deleted(blocks: Path, tmp_path: Path) -> None:
    """Also where the folder of a table is a link to where somebody lives."""
    run(blocks, tmp_path / "out")
    home = tmp_path / "home"
    (tmp_path / "out/inputs").rename(home)
    (tmp_path / "out/inputs").symlink_to(home)
    others = [".profile", ".x.new", "mine.parquet", "1-2.parquet", "letter.txt", ".0000000000-0000000009.new"]
    ours = [".0000000000-0000000009.0123456789abcdef.new", "0000000000-0000000008.parquet"]
    for name in (*others, *ours):
        (home / name).write_text(name)
    run(blocks, tmp_path / "out")
    assert [name for name in others if not (home / name).exists()] == []
    assert [name for name in ours if (home / name).exists()] == []


def deep(told: dict[str, Any]) -> str:
    return "[" * 200_000


def other_hash(told: dict[str, Any]) -> str:
    return json.dumps(told | {"hashes": [*told["hashes"][:-1], "zz" * 32]})


MANIFESTS: list[Callable[[dict[str, Any]], str]] = [
    deep,
    other_hash,
    lambda told: "",
    lambda told: "null",
    lambda told: json.dumps([told]),
    lambda told: json.dumps(told | {"hashes": None}),
    lambda told: json.dumps(told | {"hashes": "ab" * 32}),
    lambda told: json.dumps(told | {"hashes": {"9": told["hashes"][9]}}),
    lambda told: json.dumps(told | {"hashes": [5] * 10}),
    lambda told: json.dumps(told | {"hashes": told["hashes"][:5]}),
    lambda told: json.dumps(told | {"bytes": {}}),
    lambda told: json.dumps(told | {"bytes": [1, 2, 3, 4]}),
    lambda told: json.dumps(told) + " " * (2 << 20),
]


@pytest.mark.parametrize("change", MANIFESTS)
def test_a_manifest_that_says_something_else_is_of_no_partition(
    blocks: Path, tmp_path: Path, change: Callable[[dict[str, Any]], str]
) -> None:
    run(blocks, tmp_path / "out")
    before = contents(tmp_path / "out")
    path = ExportFolder(tmp_path / "out").manifest_path(FIRST)
    path.write_text(change(json.loads(path.read_text())))
    done = run(blocks, tmp_path / "out")
    assert [item.partition for item in done.written] == [FIRST]
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("table", TABLES)
def test_a_file_that_was_cut_is_written_again(blocks: Path, tmp_path: Path, table: str) -> None:
    run(blocks, tmp_path / "out")
    before = contents(tmp_path / "out")
    path = ExportFolder(tmp_path / "out").table_path(table, FIRST)
    path.write_bytes(path.read_bytes()[:-1])
    assert [item.partition for item in run(blocks, tmp_path / "out").written] == [FIRST]
    assert contents(tmp_path / "out") == before


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(
    chain: UncheckedChain, blocks: Path, tmp_path: Path
) -> None:
    run(blocks, tmp_path / "out")
    before = contents(tmp_path / "out")
    manifest = ExportFolder(tmp_path / "out").manifest_path(FIRST)
    manifest.unlink()
    os.mkfifo(manifest)
    run(blocks, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / EXPORT_FILE).unlink()
    os.mkfifo(tmp_path / "out" / EXPORT_FILE)
    with pytest.raises(ConfigError, match="is no folder of an export"):
        run(blocks, tmp_path / "out")
    folder = folder_of(chain, tmp_path / "blocks").path
    os.mkfifo(folder / "blk00777.dat")
    with pytest.raises(StorageError, match=r"blk00777\.dat: Not a regular file"):
        BlockFolder(folder, REGTEST)


@pytest.mark.parametrize("told", ["[" * 200_000, "null", "[]", '{"tables": 5}', '{"version": 1}'])
def test_an_export_that_says_something_else_is_refused(blocks: Path, tmp_path: Path, told: str) -> None:
    run(blocks, tmp_path / "out")
    (tmp_path / "out" / EXPORT_FILE).write_text(told)
    with pytest.raises(ConfigError, match="is no folder of an export"):
        run(blocks, tmp_path / "out")


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0, 1e9])
def test_a_time_between_looks_that_cannot_be(blocks: Path, tmp_path: Path, seconds: float) -> None:
    wish = ExportWish(blocks, REGTEST, tmp_path / "out", follow_s=seconds)
    with pytest.raises(ConfigError, match="Between two looks"):
        export_command(wish, Cluster(), print)


@pytest.mark.parametrize("workers", [0, -1, 100_000])
def test_workers_that_cannot_be(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"not {workers}"):
        Cluster(workers=workers).runner()


def test_a_report_takes_the_place_of_a_file_only(blocks: Path, tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(ConfigError, match="is no file"):
            verify_command(VerifyWish(blocks, REGTEST, report=path), Cluster(), print)
    both = tmp_path / "both"
    with pytest.raises(ConfigError, match="cannot be one file"):
        verify_command(VerifyWish(blocks, REGTEST, report=both, plot=both), Cluster(), print)
    assert Path(os.devnull).is_char_device() and not both.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("verify", "--ask-node", "--muhash", "00" * 32), "--ask-node asks for"),
        (("verify", "--ask-node", "--to", "5"), "--ask-node asks for"),
        (("verify", "--tables", "out", "--blocks", "blocks"), "not both"),
        (("verify", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"), "workers of its own"),
        (("export", "--out", "out", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"), "workers of its own"),
        (("export", "--out", "out", "--follow", "--to", "5"), "goes on for ever"),
        (("export", "--out", "out", "--from", "5", "--to", "3"), "below the first"),
        (("export", "--out", "out", "--from", "-1"), "no block at height -1"),
        (("export", "--out", "out", "--to", "100000"), "no block at height 100000"),
        (("export", "--out", "out", "--tables", ""), "no table without a name"),
        (("export", "--out", "out", "--partition", "0"), "not 0"),
    ],
)
def test_words_that_contradict_each_other(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = () if "--blocks" in words or "--ask-node" in words else ("--blocks", str(blocks))
    if "--tables" in words and words[0] == "verify":
        folder = ()
    done = CliRunner().invoke(app, [words[0], "--network", "regtest", "--datadir", str(tmp_path), *folder, *words[1:]])
    assert isinstance(done.exception, ConfigError) and text in str(done.exception), (done.exception, done.output)
    assert not list(tmp_path.rglob("*.parquet"))
