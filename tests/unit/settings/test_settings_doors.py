"""The four doors: what an option means, follows from it or is refused is the same whichever way it comes in."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from btcnode.cli import main as cli
from btcnode.errors import ConfigError
from btcnode.settings.declaration import Option, options_of
from btcnode.settings.doors import Loaded, from_keywords
from btcnode.settings.settings import Settings
from btcnode.settings.table import GROUPS, OPTIONS
from tests.lib.settings import loaded_by_daemon

ODD = (
    "", "0", "1", "2", "5", "-1", "-0", "+1", " 1", "1 ", "01", "1_0", "12x", "x", "yes", "no", "true", "false",
    "\u0663", "1e3", "1e-5", "NaN", "inf", "0.00001", ".1", "1.", "0.000000001", "9" * 24, "-99999999999999999999",
    "65535", "65536", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:0", "[::1]", "[::1]:7", "::1", "localhost", "host:", "a b",
    "10.0.0.0/8", "10.0.0.0/33", "noban@1.2.3.4", "noban@1.2.3.4:9", "ipv4", "tor", "all", "none", "net", "net:debug",
    "owner", "auto", "density", "1/100", "2/1", "ff", "0x65", "zz", "51", "a:b$c", "u:getblock,help", "segwit@7",
    "testdummy:1:2", "bip94", "unix:/tmp/x", "5M", "7k", "1T", "basic", "u\u00e9",
)  # fmt: skip
NETWORKS = {"mainnet": "main", "signet": "signet", "regtest": "regtest"}
COMMAND = typer.main.get_command(cli.app)
ELSEWHERE = {"datadir"}  # the doors' own directory


def outcome(work: Any) -> Settings | str:
    """The settings, or the refusal as one line without the dashes that differ."""
    try:
        found: Settings = work()
    except ConfigError as error:
        return " ".join(re.sub(r"(?<![^ (])--?(?=[a-z])", "", str(error)).split())
    return found


def through_python(network: str, datadir: Path, flag: str, text: str) -> Settings:
    keyword = OPTIONS[flag].keyword
    return from_keywords({"network": network, "datadir": datadir, keyword: text}).settings


def through_daemon(network: str, datadir: Path, flag: str, text: str) -> Settings:
    words = [f"-chain={NETWORKS[network]}", f"-datadir={datadir}", f"-{flag}={text}", "-nosettings"]
    return loaded_by_daemon(*words).settings


def through_file(network: str, datadir: Path, flag: str, text: str) -> Settings:
    section = f"[{NETWORKS[network]}]\n" if network != "mainnet" else ""
    (datadir / "bitcoin.conf").write_text(f"{section}{flag}={text}\n")
    words = [f"-chain={NETWORKS[network]}", f"-datadir={datadir}", "-nosettings"]
    return loaded_by_daemon(*words).settings


def through_start(monkeypatch: pytest.MonkeyPatch, network: str, datadir: Path, word: str) -> Settings:
    seen: list[Loaded] = []

    def run_node(loaded: Loaded, *, pid_file: Path | None) -> int:
        seen.append(loaded)
        return 0

    monkeypatch.setattr("btcnode.cli.run.run_node", run_node)
    monkeypatch.setattr(cli, "_failed", lambda text: pytest.fail(text))
    words = cli.plain_words(["start", word], COMMAND)
    place = ["--network", network, "--datadir", str(datadir)]
    with contextlib.suppress(typer.Exit):
        COMMAND.main([words[0], *place, *words[1:]], prog_name="btcnode", standalone_mode=False)
    return seen[0].settings


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(network="regtest", flag="txindex", text="false")
@example(network="regtest", flag="listen", text="no")
@example(network="regtest", flag="dbcache", text="450")
@example(network="mainnet", flag="minrelaytxfee", text="1e-5")
@example(network="mainnet", flag="blocksonly", text="1")
@given(
    network=st.sampled_from(sorted(NETWORKS)), flag=st.sampled_from(sorted(set(OPTIONS) - ELSEWHERE)),
    text=st.sampled_from(ODD),
)  # fmt: skip
def test_the_doors_agree(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, network: str, flag: str, text: str
) -> None:
    if text == "0" and flag == "port":
        return  # "any free one", which bitcoind has not
    datadir = tmp_path_factory.mktemp("doors")
    python = outcome(lambda: through_python(network, datadir, flag, text))
    start = outcome(lambda: through_start(monkeypatch, network, datadir, f"-{flag}={text}"))
    daemon = outcome(lambda: through_daemon(network, datadir, flag, text))
    assert same(start, python)
    assert same(daemon, python)
    stripped = text.strip(" \t\r\n")
    if stripped == text and "#" not in text:  # white space around a file's values is not theirs
        assert same(outcome(lambda: through_file(network, datadir, flag, text)), python)


NEGATIONS = {"": False, "=-1": False, "=x": True}


@pytest.mark.parametrize("flag", sorted(set(OPTIONS) - ELSEWHERE - {"port"}))  # 0 is "any free one"
@pytest.mark.parametrize("text", NEGATIONS)
def test_the_doors_agree_on_negations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, text: str) -> None:
    option, word = OPTIONS[flag], f"-no{flag}{text}"
    options = {"network": "regtest", "datadir": tmp_path, option.keyword: NEGATIONS[text]}
    start = outcome(lambda: through_start(monkeypatch, "regtest", tmp_path, word))
    daemon = outcome(lambda: loaded_by_daemon("-regtest", f"-datadir={tmp_path}", "-nosettings", word).settings)
    if option.negatable:
        python = outcome(lambda: from_keywords(options).settings)
        assert same(start, python)
        assert same(daemon, python)
    else:
        assert start == f"Negating of {flag} is meaningless and therefore forbidden"
        assert daemon == f"Error parsing command line arguments: {start}"


@pytest.mark.parametrize("option", [option for option in OPTIONS.values() if option.kind.is_path], ids=lambda o: o.flag)
def test_a_file_called_0_is_one_and_a_negation_is_none(tmp_path: Path, option: Option) -> None:
    def value(given: Any) -> Any:
        settings = from_keywords({"network": "regtest", "datadir": tmp_path, option.keyword: given}).settings
        return next(
            getattr(getattr(settings, name), field)
            for name, (_, group) in GROUPS.items()
            for field, declared in options_of(group).items()
            if declared is option
        )

    if option.flag not in ("datadir", "blocksdir"):
        assert value("0") == ((Path("0"),) if option.kind.several else Path("0"))
    if option.flag != "datadir":
        assert value(False) == (() if option.kind.several else None)


def same(one: Settings | str, other: Settings | str) -> bool:
    """Equal but for the directory that was named."""
    if isinstance(one, Settings) and isinstance(other, Settings):
        return one.changed("process", datadir=None) == other.changed("process", datadir=None)
    return one == other


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("txindex", "false", False),
        ("txindex", False, False),
        ("txindex", 1, True),
        ("txindex", "", True),
        ("dbcache", "450", 450 << 20),
        ("dbcache", 450, 450 << 20),
        ("loadblock", Path("a"), (Path("a"),)),
        ("loadblock", ["a", Path("b")], (Path("a"), Path("b"))),
        ("addnode", [], ()),
        ("addnode", "a", ("a",)),
    ],
)
def test_python_values(option: str, value: Any, expected: Any) -> None:
    found = from_keywords({"network": "regtest", option: value}).settings
    groups = (found.storage, found.connections)
    names = [name for group in groups for name in (option, f"{option}_bytes") if hasattr(group, name)]
    group = next(group for group in groups if hasattr(group, names[0]))
    assert getattr(group, names[0]) == expected


def test_text_that_is_no_number_is_told_of() -> None:
    lines = [text for _, text in from_keywords({"network": "regtest", "dbcache": "lots", "txindex": "yes"}).lines]
    assert "-dbcache=lots is no number: it counts as the number it begins with, or 0" in lines
    assert "-txindex=yes is no number: it counts as no" in lines


def test_a_wallet_in_the_file_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "bitcoin.conf").write_text("regtest=1\nfallbackfee=0.1\n[regtest]\nwallet=one\nwallet=two\n")
    options = loaded_by_daemon(f"-datadir={tmp_path}").settings.wallet
    assert (options.wallet, options.fallbackfee) == (("one", "two"), 10_000_000)


PATHS = ["datadir", *(option.keyword for option in OPTIONS.values() if option.kind.is_path)]


@pytest.mark.parametrize("option", PATHS)
@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800"])
def test_what_no_file_can_be_called_is_refused(option: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"-{option} takes a path, which cannot have"):
        from_keywords({"network": "regtest", option: name})


def test_the_home_of_nobody_is_a_name_like_another(tmp_path: Path) -> None:
    found = from_keywords({"network": "regtest", "datadir": "~no body/x", "rpccookiefile": "~no body/y"}).settings
    assert str(found.rpc.rpccookiefile) == "~no body/y"
    with pytest.raises(ConfigError, match='Specified data directory "~no body/x" does not exist'):
        loaded_by_daemon("-regtest", "-datadir=~no body/x")


REFUSALS = (
    ("Cannot set -peerblockfilters without -blockfilterindex.", {"peerblockfilters": True}),
    ("Cannot set -peerutreexoproofs without -utreexoindex.", {"peerutreexoproofs": True}),
    ("Prune mode is incompatible with -txindex.", {"prune": 1000, "txindex": True}),
    ("Cannot set -forcednsseed to true when setting -dnsseed to false.", {"forcednsseed": True, "dnsseed": False}),
    ("Cannot set -bind or -whitebind together with -listen=0", {"listen": False, "bind": "127.0.0.1:nothing"}),
    ("Cannot set -bind or -whitebind together with -listen=0", {"listen": False, "whitebind": "127.0.0.1:nothing"}),
    ("Cannot set -listen=0 together with -listenonion=1", {"listen": False, "listenonion": True}),
    ("Invalid port specified in -torcontrol: 'host:x'", {"torcontrol": "host:x"}),
)
"""In bitcoind's order."""


@pytest.mark.parametrize("first", range(len(REFUSALS)))
def test_the_first_refusal_is_bitcoinds(first: int) -> None:
    text, _ = REFUSALS[first]
    together = {name: value for _, options in REFUSALS[first:] for name, value in options.items()}
    with pytest.raises(ConfigError, match=re.escape(text)):
        from_keywords({"network": "regtest", **together})
