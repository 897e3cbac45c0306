"""``btcnode``: options from the table, one clear line for what is wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.cli import main as cli
from btcnode.errors import ConfigError
from btcnode.settings.doors import Loaded, make_net_dir
from btcnode.settings.kinds import MIB
from btcnode.settings.settings import Settings
from btcnode.settings.table import OPTIONS


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["start", "--frob"], "No such option: --frob"),
        (["frob"], "No such command 'frob'"),
        (
            ["start", "--network", "x"],
            "Unknown network 'x': choose one of mainnet, testnet3, testnet4, signet, regtest",
        ),
        (["start", "--port", "x"], "Invalid port specified in -port: 'x'"),
        (["start", "--port", "99999"], "Invalid port specified in -port: '99999'"),
        (["start", "--minrelaytxfee", "NaN"], "Invalid amount for -minrelaytxfee=<amount>: 'NaN'"),
        (["start", "-regtest", "-frob=1"], "There is no option -frob: see btcnode start --help"),
        (["start", "--stunserver", "host:x"], "Invalid port in 'host:x'"),
        (["start", "extra"], "extra"),
        (["start", "-regtest", "-testnet4=1"], "Choose one network, not -regtest and -testnet4"),
        (["hints", "make", "-frob", "x"], "There is no option -frob: see btcnode hints make --help"),
        (["start", "--dbcache"], "--dbcache"),
    ],
)
def test_wrong_command_lines(capsys: pytest.CaptureFixture[str], argv: list[str], text: str) -> None:
    assert cli.run(argv) == 1
    out, errors = lines(capsys)
    assert out == ""
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert text in errors[0]


def started_with(monkeypatch: pytest.MonkeyPatch, *argv: str) -> Settings:
    seen: list[Settings] = []

    def run_node(loaded: Loaded, *, pid_file: Path | None) -> int:
        assert pid_file is None
        seen.append(loaded.settings)
        return 7

    monkeypatch.setattr("btcnode.cli.run.run_node", run_node)
    assert cli.run(["start", *argv]) == 7
    (settings,) = seen
    return settings


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    argv = ["--network", "regtest", "--datadir", str(tmp_path), "--connect", "a:1", "--connect", "b"]
    argv += ["--no-listen", "--dbcache", "99", "--loadblock", "x", "--shadow-validation", "1/10", "--no-blocksxor"]
    settings = started_with(monkeypatch, *argv)
    assert (settings.network.name, settings.datadir) == ("regtest", tmp_path)
    assert settings.connections.connect == ("a:1", "b")
    assert not settings.connections.listen
    assert not settings.connections.dnsseed
    assert settings.storage.dbcache_bytes == 99 * MIB
    assert settings.storage.loadblock == (Path("x"),)
    assert not settings.storage.blocksxor


def test_words_as_bitcoind_takes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    argv = ["-regtest", f"-datadir={tmp_path}", "-txindex", "-nolisten", "-dbcache=9", "-connect=a", "-nodebuglogfile"]
    settings = started_with(monkeypatch, *argv)
    assert settings.log_path is None
    assert settings.changed("log", debuglogfile=Path("0")) == started_with(
        monkeypatch, "--network", "regtest", "--datadir", str(tmp_path), "--txindex", "--no-listen", "--dbcache", "9",
        "--connect", "a", "--debuglogfile", "0",
    )  # fmt: skip
    assert settings.storage.txindex
    assert started_with(monkeypatch, "-chain=test", "-txindex=0").network.name == "testnet3"
    for words in (["--listen=0"], ["--nolisten"], ["-listen=0"], ["-nolisten"], ["--no-listen"]):
        assert not started_with(monkeypatch, "--regtest", *words).connections.listen
    assert started_with(monkeypatch, "--uacomment", "-x", "--uacomment=-y").connections.user_agent.endswith("(-x; -y)/")


@pytest.mark.parametrize(
    ("words", "network"),
    [
        (["-regtest"], "regtest"),
        (["--regtest=1"], "regtest"),
        (["-chain=test"], "testnet3"),
        (["-regtest=0"], "mainnet"),
        (["-noregtest"], "mainnet"),
        (["-noregtest=0"], "regtest"),
        (["-regtest", "-noregtest", "-signet"], "signet"),
        (["--uacomment", "-regtest"], "mainnet"),
    ],
)
def test_networks_as_bitcoind_chooses_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], network: str
) -> None:
    assert started_with(monkeypatch, f"-datadir={tmp_path}", *words).network.name == network


@pytest.mark.parametrize(
    "command", [["stop"], ["status"], ["hints", "make", "x"], ["export", "--out", "x", "--to", "-5"], ["verify"]]
)
def test_every_command_about_a_node_takes_the_words_of_bitcoind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    seen: list[dict[str, object]] = []

    def from_keywords(options: dict[str, object]) -> Loaded:
        seen.append(options)
        raise ConfigError("enough")

    monkeypatch.setattr(cli, "from_keywords", from_keywords)
    assert cli.run([*command, "-regtest", f"-datadir={tmp_path}"]) == 1
    assert (seen[0]["network"], seen[0]["datadir"]) == ("regtest", str(tmp_path))


def test_help_names_every_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for argv in (["start", "--help-all"], ["--help-all"]):
        assert cli.run(argv) == 0
        out, _ = lines(capsys)
        for flag in OPTIONS:
            assert f"--{flag}" in out


def test_help_is_short(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for argv in (["--help"], ["start", "--help"], ["stop", "--help"], ["status", "--help"]):
        assert cli.run(argv) == 0
        out, _ = lines(capsys)
        assert len(out.splitlines()) < 80
    assert cli.run(["start", "--help"]) == 0
    out, _ = lines(capsys)
    assert (
        all(f"--{flag}" in out for flag, option in OPTIONS.items() if option.common)
        and "--blockreconstructionextratxn" not in out
    )
    assert "--help-all" in out


def test_version_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert lines(capsys)[0].startswith("btcnode version ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["version"]) == 0
    assert lines(capsys)[0].startswith("btcnode version ")


def test_stop_without_a_node(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["stop", "--network", "regtest", "--datadir", str(tmp_path)]) == 1
    assert "No running node found" in lines(capsys)[1][0]


@pytest.mark.parametrize("options", [(), ("--rpcport", "0")])
def test_the_port_of_a_node_that_chose_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    ready = tmp_path / "regtest" / "ready.json"
    ready.parent.mkdir()
    ready.write_text('{"rpc": [{"host": "127.0.0.1", "port": 1}]}')
    (ready.parent / ".cookie").write_text("a:b")
    assert cli.run(["status", "--network", "regtest", "--datadir", str(tmp_path), *options]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def start_node(*options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "btcnode", "start", "--network", "regtest", "--connect", "0", "--port", "0", *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start_node("--datadir", str(tmp_path), "--rpcport", str(port), "--no-printtoconsole")
    assert done.returncode == 1
    assert done.stderr == f"Error: Cannot listen for RPC at 127.0.0.1:{port}: the port is in use\n"


def test_locked_datadir(tmp_path: Path) -> None:
    from btcnode.storage.locking import DirectoryLock

    folder = tmp_path / "regtest"
    folder.mkdir()
    lock = DirectoryLock(folder)
    done = start_node("--datadir", str(tmp_path), "--rpcport", "0")
    lock.release()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Cannot obtain a lock on directory" in done.stderr
    assert not (folder / "debug.log").exists()


def test_datadir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = start_node("--datadir", str(tmp_path / "file"), "--rpcport", "0")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "argv",
    [
        ["start", "--datadir", "x"], ["stop", "--datadir", "x"], ["hints", "make", "x"], ["export", "--out", "x"],
    ],
)  # fmt: skip
def test_a_working_directory_that_is_gone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.run([*argv, "-regtest", *([] if "--datadir" in argv else [f"-datadir={tmp_path}"])]) == 1
    assert lines(capsys)[1] == ["Error: The current working directory, from which 'x' counts, is gone"]


def test_a_data_directory_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot make the data directory .*: Not a directory\. Choose another"):
        make_net_dir(tmp_path / "file" / "x" / "regtest")


@pytest.mark.parametrize("name", ["stacks.txt", ".fault", ".lock", "ready.json"])
def test_a_folder_in_the_place_of_a_file_is_named_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "regtest" / name).mkdir(parents=True)
    done = start_node("--datadir", str(tmp_path), "--rpcport", "0", "--no-printtoconsole", "--no-listen")
    assert done.returncode == 1 and done.stderr.startswith("Error: ")
    assert str(tmp_path / "regtest") in done.stderr and "Is a directory" in done.stderr
    assert "Errno" not in done.stderr and "Traceback" not in done.stderr
