from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.cli import daemon
from btcnode.errors import ConfigError
from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import secret_encode
from btcnode.settings.datadir import default_datadir
from btcnode.settings.doors import Loaded, parse_daemon_words
from btcnode.settings.kinds import MB, MIB, as_flag, leading_number
from btcnode.settings.settings import Settings
from btcnode.settings.sources import Sources
from btcnode.settings.table import is_known
from tests.lib.settings import loaded_by_daemon

CORE_OPTIONS = [
    "?",
    "acceptnonstdtxn",
    "acceptstalefeeestimates",
    "addnode",
    "addresstype",
    "alertnotify",
    "allowignoredconf",
    "asmap",
    "assumevalid",
    "avoidpartialspends",
    "bantime",
    "bind",
    "blockfilterindex",
    "blockmaxweight",
    "blockmintxfee",
    "blocknotify",
    "blockreconstructionextratxn",
    "blockreservedweight",
    "blocksdir",
    "blocksonly",
    "blocksxor",
    "blockversion",
    "bytespersigop",
    "capturemessages",
    "chain",
    "changetype",
    "checkaddrman",
    "checkblockindex",
    "checkblocks",
    "checklevel",
    "checkmempool",
    "checkpoints",
    "cjdnsreachable",
    "coinstatsindex",
    "conf",
    "connect",
    "consolidatefeerate",
    "daemon",
    "daemonwait",
    "datacarrier",
    "datacarriersize",
    "datadir",
    "dbbatchsize",
    "dbcache",
    "dbcrashratio",
    "debug",
    "debugexclude",
    "debuglogfile",
    "deprecatedrpc",
    "disablewallet",
    "discardfee",
    "discover",
    "dns",
    "dnsseed",
    "dustrelayfee",
    "externalip",
    "fallbackfee",
    "fastprune",
    "fixedseeds",
    "forcecompactdb",
    "forcednsseed",
    "h",
    "help",
    "help-debug",
    "i2pacceptincoming",
    "i2psam",
    "includeconf",
    "incrementalrelayfee",
    "keypool",
    "limitancestorcount",
    "limitancestorsize",
    "limitclustercount",
    "limitclustersize",
    "limitdescendantcount",
    "limitdescendantsize",
    "listen",
    "listenonion",
    "loadblock",
    "logips",
    "loglevel",
    "loglevelalways",
    "logratelimit",
    "logsourcelocations",
    "logthreadnames",
    "logtimemicros",
    "logtimestamps",
    "maxapsfee",
    "maxconnections",
    "maxmempool",
    "maxreceivebuffer",
    "maxsendbuffer",
    "maxsigcachesize",
    "maxtipage",
    "maxtxfee",
    "maxuploadtarget",
    "mempoolexpiry",
    "minimumchainwork",
    "minrelaytxfee",
    "mintxfee",
    "mocktime",
    "natpmp",
    "networkactive",
    "onion",
    "onlynet",
    "par",
    "peerblockfilters",
    "peerbloomfilters",
    "peertimeout",
    "permitbaremultisig",
    "persistmempool",
    "persistmempoolv1",
    "pid",
    "port",
    "printpriority",
    "printtoconsole",
    "privatebroadcast",
    "proxy",
    "proxyrandomize",
    "prune",
    "regtest",
    "reindex",
    "reindex-chainstate",
    "rest",
    "rpcallowip",
    "rpcauth",
    "rpcbind",
    "rpccookiefile",
    "rpccookieperms",
    "rpcdoccheck",
    "rpcpassword",
    "rpcport",
    "rpcservertimeout",
    "rpcthreads",
    "rpcuser",
    "rpcwhitelist",
    "rpcwhitelistdefault",
    "rpcworkqueue",
    "seednode",
    "server",
    "settings",
    "shrinkdebugfile",
    "shutdownnotify",
    "signer",
    "signet",
    "signetchallenge",
    "signetseednode",
    "spendzeroconfchange",
    "startupnotify",
    "stopafterblockimport",
    "stopatheight",
    "test",
    "testactivationheight",
    "testnet",
    "testnet4",
    "timeout",
    "torcontrol",
    "torpassword",
    "txconfirmtarget",
    "txindex",
    "txospenderindex",
    "txreconciliation",
    "uacomment",
    "unsafesqlitesync",
    "v2transport",
    "vbparams",
    "version",
    "wallet",
    "walletbroadcast",
    "walletcrosschain",
    "walletdir",
    "walletnotify",
    "walletrbf",
    "walletrejectlongchains",
    "whitebind",
    "whitelist",
    "whitelistforcerelay",
    "whitelistrelay",
    "zmqpubhashblock",
    "zmqpubhashblockhwm",
    "zmqpubhashtx",
    "zmqpubhashtxhwm",
    "zmqpubrawblock",
    "zmqpubrawblockhwm",
    "zmqpubrawtx",
    "zmqpubrawtxhwm",
    "zmqpubsequence",
    "zmqpubsequencehwm",
]


def load(datadir: Path, *argv: str, conf: str = "") -> tuple[Settings, Loaded]:
    if conf:
        (datadir / "bitcoin.conf").write_text(conf)
    loaded = loaded_by_daemon(f"-datadir={datadir}", *argv)
    return loaded.settings, loaded


def refused(datadir: Path, *argv: str, conf: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        load(datadir, *argv, conf=conf)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "number", "flag"), [("", 0, True), ("1", 1, True), ("0", 0, False), ("12x", 12, True), ("yes", 0, False)]
)
def test_numbers_and_flags_as_core_reads_them(text: str, number: int, flag: bool) -> None:
    assert leading_number(text) == number
    assert as_flag(text) is flag


def test_command_line_last_wins_and_file_first_wins(tmp_path: Path) -> None:
    settings, _ = load(
        tmp_path, "-regtest", "-dbcache=10", "--dbcache=20", conf="dbcache=5\nmaxconnections=3\nmaxconnections=4\n"
    )
    assert (settings.network.name, settings.storage.dbcache_bytes, settings.connections.maxconnections) == (
        "regtest",
        20 * MIB,
        3,
    )


def test_section_before_top_and_network_only_options(tmp_path: Path) -> None:
    settings, _ = load(
        tmp_path, conf="regtest=1\nmaxconnections=3\n[regtest]\nport=7\nmaxconnections=4\n[main]\nport=8\n"
    )
    assert (settings.connections.port, settings.connections.maxconnections) == (7, 4)
    assert refused(tmp_path, conf="regtest=1\nport=7\n") == (
        "Config setting for -port only applied on regtest network when in [regtest] section."
    )


def test_lists_gather_until_a_negation(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, "-regtest", "-uacomment=a", "-uacomment=b", conf="uacomment=c\n")
    assert settings.connections.user_agent == "/btcnode:0.1.0(a; b; c)/"
    settings, _ = load(tmp_path, "-regtest", "-uacomment=a", "-nouacomment", "-uacomment=b")
    assert (
        settings.connections.user_agent == "/btcnode:0.1.0(b; c)/"
    )  # as in Core: the file's values follow what is left
    settings, _ = load(tmp_path, "-regtest", "-nouacomment")
    assert settings.connections.user_agent == "/btcnode:0.1.0/"


def test_double_negation_is_noted(tmp_path: Path) -> None:
    settings, loaded = load(tmp_path, "-regtest", "-nolisten=0")
    assert settings.connections.listen is True
    assert (logging.WARNING, "Parsed potentially confusing double-negative -listen=0") in loaded.lines


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("garbage\n", "parse error on line 1: garbage"),
        ("nono\n", "parse error on line 1: nono, if you intended to specify a negated option, use nono=1 instead"),
        ("-a=1\n", "parse error on line 1: -a=1, options in configuration file must be specified without leading -"),
        ("\nrpcpassword=a#b\n", "parse error on line 2, using # in rpcpassword can be ambiguous and should be avoided"),
        ("includeconf=none.conf\n", "Failed to include configuration file none.conf"),
        ("datadir=/nowhere/x\n", ""),
    ],
)
def test_broken_files(tmp_path: Path, conf: str, message: str) -> None:
    if not message:
        load(tmp_path, "-regtest", conf=conf)  # the command line's directory counts
        return
    assert refused(tmp_path, conf=conf) == f"Error reading configuration file: {message}"


def test_command_line_errors(tmp_path: Path) -> None:
    prefix = "Error parsing command line arguments:"
    for words, message in [
        (["-foo=1"], "Invalid parameter -foo=1"),
        (["-proxy"], "Can not set -proxy with no value. Please specify value with -proxy=value."),
        (["-nodatadir"], "Negating of -datadir is meaningless and therefore forbidden"),
        (["-includeconf=a"], '-includeconf cannot be used from commandline; -includeconf="a"'),
    ]:
        with pytest.raises(ConfigError) as caught:
            parse_daemon_words(words)
        assert str(caught.value) == f"{prefix} {message}"
    token = "Command line contains unexpected token 'foo', see btcnoded -h for a list of options."
    assert refused(tmp_path, "-regtest", "foo", "-unknown=1") == token
    assert refused(tmp_path / "none", "foo") == f'Specified data directory "{tmp_path / "none"}" does not exist.'
    assert refused(tmp_path, "-regtest", "-signet").startswith("Invalid combination of -regtest")
    assert refused(tmp_path / "none") == f'Specified data directory "{tmp_path / "none"}" does not exist.'


def test_every_option_of_core_is_taken_or_refused(tmp_path: Path) -> None:
    assert all(is_known(name) for name in CORE_OPTIONS)
    assert refused(tmp_path, "-regtest", "-ipcbind=unix").endswith("Invalid parameter -ipcbind=unix")
    load(tmp_path, "-regtest", "-disablewallet", "-fallbackfee=1")
    _, loaded = load(tmp_path, "-regtest", "-dbbatchsize=3")
    why = "one transaction of the database holds each flush"
    assert (logging.WARNING, f"-dbbatchsize has no effect: {why}") in loaded.lines


def test_settings_file(tmp_path: Path) -> None:
    load(tmp_path, "-regtest")
    path = tmp_path / "regtest" / "settings.json"
    assert list(json.loads(path.read_text())) == ["_warning_"]
    path.write_text('{"maxconnections": 9, "odd": [1, 2]}')
    settings, loaded = load(tmp_path, "-regtest", conf="maxconnections=3\n")
    assert settings.connections.maxconnections == 9
    assert (logging.INFO, "Setting file arg: odd = [1,2]") in loaded.lines
    assert json.loads(path.read_text())["odd"] == [1, 2]
    path.write_text('{"a": 1, "a": 2}')
    assert "Found duplicate key a in settings file" in refused(tmp_path, "-regtest")
    for text in ('{"a": NaN}', '{"a": -Infinity}', "{", '{"a": 1}x', "\ufeff{}"):
        path.write_text(text)
        assert "does not contain valid JSON" in refused(tmp_path, "-regtest")
    path.write_text("[]")
    assert "Found non-object value [] in settings file" in refused(tmp_path, "-regtest")
    load(tmp_path, "-regtest", "-nosettings")


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ('{"listen": 1}', "Settings file, listen: JSON value of type number is not of expected type string"),
        ('{"dbcache": [450]}', "Settings file, dbcache: JSON value of type array is not of expected type string"),
        ('{"dbcache": 4.5}', "Settings file, dbcache: JSON integer out of range"),
        ('{"uacomment": {}}', "Settings file, uacomment: JSON value of type object is not of expected type string"),
        (
            '{"uacomment": ["a", 1]}',
            "Settings file, uacomment: JSON value of type number is not of expected type string",
        ),
        ('{"uacomment": [null]}', "Settings file, uacomment: JSON value of type null is not of expected type string"),
        ('{"minrelaytxfee": ["0.1"]}', "Settings file, minrelaytxfee: JSON value of type array is not of expected"),
    ],
)
def test_types_of_the_settings_file(tmp_path: Path, content: str, refusal: str) -> None:
    load(tmp_path, "-regtest")
    (tmp_path / "regtest" / "settings.json").write_text(content)
    assert refused(tmp_path, "-regtest").startswith(refusal)


def test_what_network_it_is_is_not_up_to_the_settings_file(tmp_path: Path) -> None:
    """It is read when the network is known already, as in Core, where such values have no effect."""
    bare, _ = load(tmp_path, "-regtest")
    (tmp_path / "regtest" / "settings.json").write_text('{"testactivationheight": ["a"], "vbparams": true}')
    settings, _ = load(tmp_path, "-regtest")
    assert settings.chain == bare.chain


def test_null_in_the_settings_file_hides_what_is_below(tmp_path: Path) -> None:
    load(tmp_path, "-regtest")
    (tmp_path / "regtest" / "settings.json").write_text('{"maxconnections": null, "uacomment": ["a", true, false]}')
    settings, _ = load(tmp_path, "-regtest", conf="maxconnections=3\n")
    assert settings.connections.maxconnections == 125
    assert settings.connections.user_agent.endswith("(a; 1; 0)/")


@pytest.mark.parametrize("words", [("-conf",), ("-conf=",)])
def test_an_empty_name_is_that_of_the_usual_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    settings, _ = load(tmp_path, "-regtest", *words, conf="[regtest]\nport=5\n")
    assert settings.connections.port == 5


@pytest.mark.parametrize("word", ["-version", "-help", "-?"])
def test_errors_come_before_help_and_version(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    (tmp_path / "bitcoin.conf").write_text("garbage\n")
    assert daemon.run([f"-datadir={tmp_path}", word]) == 1
    assert capsys.readouterr().err == "Error: Error reading configuration file: parse error on line 1: garbage\n"
    (tmp_path / "bitcoin.conf").write_text(f"{word.strip('-')}=1\n")
    assert daemon.run([f"-datadir={tmp_path}", "-regtest"]) == 0
    assert capsys.readouterr().out
    assert not (tmp_path / "regtest").exists()


def test_negated_chain_and_strange_sections(tmp_path: Path) -> None:
    assert refused(tmp_path, "-nochain") == "Unknown chain 0."
    _, loaded = load(tmp_path, "-regtest", conf="[a]\nregtest.listen=0\n[regtest]\nmain.listen=0\n.port=1\nx=1\n")
    path = tmp_path / "bitcoin.conf"
    strange = [(1, "a"), (2, "a.regtest"), (4, "regtest.main"), (5, "regtest.")]
    lines = [f"{path}:{number} Section [{name}] is not recognized." for number, name in strange]
    assert loaded.warnings == ["\n".join(lines)]


def test_options_of_the_gui_and_the_wallet_are_taken(tmp_path: Path) -> None:
    load(tmp_path, "-regtest", "-splash=~", "-nomin", "-lang=de", "-uiplatform", "-choosedatadir", "-resetguisettings")


def test_targets_are_judged_when_they_are_tried(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, "-regtest", "-addnode=5 M", "-seednode=[::1", "-connect=host:")
    assert settings.connections.connect == ("host:",)


def test_short_addresses(tmp_path: Path) -> None:
    words = ["-bind=127.1:5", "-whitebind=1:6", "-rpcbind=0x7f.1", "-rpcallowip=10.1/16", "-externalip=0x01020304"]
    settings, _ = load(tmp_path, "-regtest", *words)
    assert [str(place.host) for place in settings.connections.bind] == ["127.0.0.1"]
    assert str(settings.connections.whitebind[0].address) == "0.0.0.1:6"
    assert [place.host for place in settings.rpc.rpcbind] == ["127.0.0.1"]
    assert [str(network) for network in settings.rpc.rpcallowip] == ["10.0.0.0/16"]
    assert [place.host for place in settings.connections.externalip] == ["1.2.3.4"]


@pytest.mark.parametrize("line", ["includeconf=", "regtest.includeconf=", "noincludeconf=0"])
def test_an_include_without_a_name_is_refused(tmp_path: Path, line: str) -> None:
    text = refused(tmp_path, "-regtest", conf=f"{line}\n")
    assert text.startswith("Error reading configuration file: Failed to include configuration file ")


def test_a_negation_forgets_includes_before_it(tmp_path: Path) -> None:
    (tmp_path / "inc.conf").write_text("maxconnections=3\n")
    settings, _ = load(tmp_path, "-regtest", conf="includeconf=none.conf\nnoincludeconf=1\nincludeconf=inc.conf\n")
    assert settings.connections.maxconnections == 3


def test_a_file_is_read_to_its_end_before_it_is_judged(tmp_path: Path) -> None:
    text = refused(tmp_path, "-regtest", conf="conf=x\ngarbage\n")
    assert text == "Error reading configuration file: parse error on line 2: garbage"


def test_the_settings_file_cannot_choose_the_network(tmp_path: Path) -> None:
    path = tmp_path / "regtest" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"regtest": true}')
    load(tmp_path, "-regtest")
    for content in ('{"signet": true}', '{"chain": "main"}'):
        path.write_text(content)
        assert refused(tmp_path, "-regtest").startswith("Invalid combination of -regtest")
    path.write_text('{"regtest": true}')
    (tmp_path / "settings.json").write_text('{"regtest": true}')
    assert refused(tmp_path) == f"{tmp_path / 'settings.json'} cannot choose another network than main"


def test_a_settings_file_that_cannot_be_written(tmp_path: Path) -> None:
    text = refused(tmp_path, "-regtest", f"-settings={tmp_path / 'none' / 's.json'}")
    first = f"Settings file could not be written:\n- Error: Unable to open settings file {tmp_path}/none/s.json.tmp for"
    assert text.startswith(first)


def test_numbers_that_core_takes(tmp_path: Path) -> None:
    words = ["-bytespersigop=0", "-bantime=x", "-maxreceivebuffer=", "-checkaddrman=99999999", "-maxtipage=-1"]
    settings, _ = load(
        tmp_path,
        "-regtest",
        *words,
        "-limitclustercount=0",
        "-limitclustersize=",
        "-dustrelayfee=2",
        "-blockversion=9e9",
    )
    assert (settings.mempool.bytespersigop, settings.mempool.limitclustercount) == (0, 0)
    assert (settings.mempool.limitclustersize_vbytes, settings.mempool.dustrelayfee) == (0, 200_000_000)
    assert (settings.connections.bantime_s, settings.connections.maxreceivebuffer_bytes) == (0, 1000)
    assert (settings.connections.checkaddrman, settings.chain.maxtipage_s) == (1_000_000, 0)
    assert settings.mining.blockversion == 9
    too_many = "limitclustercount must be less than or equal to 64"
    assert refused(tmp_path, "-regtest", "-limitclustercount=65") == too_many
    assert refused(tmp_path, "-regtest", "-maxconnections=-1") == "-maxconnections must be greater or equal than zero"


def test_an_empty_name_of_the_log_is_the_usual_one(tmp_path: Path) -> None:
    assert load(tmp_path, "-regtest", "-debuglogfile=")[0].log_path == tmp_path / "regtest" / "debug.log"
    assert load(tmp_path, "-regtest", "-nodebuglogfile")[0].log_path is None


def test_secrets_do_not_reach_the_log(tmp_path: Path) -> None:
    _, loaded = load(tmp_path, "-regtest", "-rpcuser=me", "-rpcpassword=hunter2")
    text = "\n".join(line for _, line in loaded.lines)
    assert "Command-line arg: rpcpassword=****" in text
    assert "hunter2" not in text
    key = secret_encode(b"\x01" * 32, True, params_for("signet"))
    settings, loaded = load(tmp_path, "-signet", f"-signetkey={key}")
    assert settings.mining.signetkey == ((b"\x01" * 32, True),)
    assert all(key not in line for _, line in loaded.lines)


def test_debug_is_cleared_by_none(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, "-regtest", "-debug=http", "-debug=abc", "-debug=none", "-debug=rpc")
    assert settings.log.categories == {"rpc"}
    settings, _ = load(tmp_path, "-regtest", "-debug", "-debugexclude=net")
    assert "net" not in settings.log.categories
    assert "rpc" in settings.log.categories


def test_connect_zero_among_others(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, "-regtest", "-connect=a", conf="[regtest]\nconnect=0\n")
    assert settings.connections.connect == ("a",)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon.run(["-version"]) == 0
    assert daemon.run(["-?"]) == 0
    assert "Options:" in capsys.readouterr().out
    assert daemon.run(["-foo"]) == 1
    assert capsys.readouterr().err == "Error: Error parsing command line arguments: Invalid parameter -foo\n"


def test_nothing_said_is_the_default() -> None:
    assert Sources().one("dbcache") is None
    assert Sources().many("addnode") == []


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("=1", True), ("=0", False), ("=basic", True)])
def test_types_of_block_filters(tmp_path: Path, value: str, wanted: bool) -> None:
    settings, _ = load(tmp_path, f"-blockfilterindex{value}")
    assert settings.storage.blockfilterindex is wanted


def test_unknown_type_of_block_filters(tmp_path: Path) -> None:
    assert refused(tmp_path, "-blockfilterindex=abc") == "Unknown -blockfilterindex value abc."
    why = "Cannot set -peerblockfilters without -blockfilterindex."
    assert refused(tmp_path, "-blockfilterindex=0", "-peerblockfilters") == why


@pytest.mark.parametrize("option", ["-port=0", "-port=65536", "-rpcport=x", "-rpcbind=127.0.0.1:0", "-rpcbind=[::1]:x"])
def test_ports_that_are_none(tmp_path: Path, option: str) -> None:
    name, _, text = option.partition("=")
    with pytest.raises(ConfigError, match="Invalid port specified") as refused:
        load(tmp_path, "-regtest", option)
    assert str(refused.value) == f"Invalid port specified in {name}: '{text}'"


def test_what_follows_from_options(tmp_path: Path) -> None:
    def lines(*options: str) -> list[str]:
        return [text for _, text in load(tmp_path, "-regtest", *options)[1].lines]

    settings, loaded = load(tmp_path, "-regtest", "-connect=0", "-blocksonly")
    assert (settings.connections.listen, settings.connections.dnsseed, settings.mempool.maxmempool_bytes) == (
        False,
        False,
        5 * MB,
    )
    told = [text for _, text in loaded.lines]
    assert "parameter interaction: -connect or -maxconnections=0 set -> setting -dnsseed=0" in told
    assert "parameter interaction: -listen=0 -> setting -discover=0" in told
    settings, _ = load(tmp_path, "-regtest", "-connect=a.example", "-listen", "-maxmempool=50", "-blocksonly")
    assert (settings.connections.listen, settings.mempool.maxmempool_bytes) == (True, 50 * MB)
    assert load(tmp_path, "-regtest", "-maxconnections=0", "-bind=127.0.0.1")[0].connections.listen is True
    assert "-seednode is ignored when -connect is used" in lines("-connect=a.example", "-seednode=b.example")
    assert "-seednode is ignored when -connect is used" not in lines("-noconnect", "-seednode=b.example")
    ignored = "-dnsseed is ignored when -connect is used and -proxy is specified"
    assert ignored in lines("-noconnect", "-dnsseed", "-proxy=127.0.0.1:9050")
    assert ignored not in lines("-noconnect", "-proxy=127.0.0.1:9050")
    assert "cluster size limits" in load(tmp_path, "-regtest", "-limitancestorsize=1")[1].warnings[0]


def test_numbers_are_brought_into_range(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, "-regtest", "-dbcache=1", "-checklevel=9", "-checkblocks=-3", "-timeout=0")
    assert (
        settings.storage.dbcache_bytes,
        settings.storage.checklevel,
        settings.storage.checkblocks,
        settings.connections.timeout_ms,
    ) == (4 * MIB, 4, 0, 5000)


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    core = tmp_path / ".bitcoin"
    assert default_datadir() == tmp_path / ".btcnode"
    (core / "signet").mkdir(parents=True)
    assert default_datadir() == tmp_path / ".btcnode"
    (core / "bitcoin.conf").write_text("")
    assert default_datadir() == core
    (core / "signet" / "chainstate").mkdir()
    (core / "signet" / "chainstate" / "CURRENT").write_text("")
    assert default_datadir() == tmp_path / ".btcnode"  # a bitcoind lives there
    (core / "signet" / "chainstate" / "CURRENT").unlink()
    (tmp_path / ".btcnode").mkdir()
    assert default_datadir() == tmp_path / ".btcnode"


def test_any_free_port_for_rpc(tmp_path: Path) -> None:
    assert load(tmp_path, "-regtest", "-rpcport=0")[0].rpc.rpcport == 0


def test_a_relative_directory_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert any("Relative datadir option 'data'" in text for _, text in load(Path("data"), "-regtest")[1].lines)
    assert not any("Relative datadir" in text for _, text in load(tmp_path / "data", "-regtest")[1].lines)


def test_what_a_start_loads(tmp_path: Path) -> None:
    """Until the node is ready: most of the time that a start takes goes into loading modules."""
    code = (
        "import gc, os, signal, sys, typing\nfrom btcnode.cli import daemon, run_hooks\n"
        "from btcnode.imports import QuickLoader\n"
        "def started(self, node):\n"
        "    slow = typing.NamedTuple  # that of btcnode.tuples takes half as long\n"
        "    print(*[name for name in sys.modules if name.startswith('btcnode')"
        " and getattr(sys.modules[name], 'NamedTuple', None) is slow])\n"
        "    found = [name for name, module in sys.modules.items()"
        " if isinstance(getattr(module, '__loader__', None), QuickLoader)]\n"
        "    print(len(found), len(collected))\n"
        "    print(*sys.modules)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "run_hooks.RunHooks.started = started\n"
        "collected = []\ngc.callbacks.append(lambda phase, facts: collected.append(phase))\n"
        f"sys.exit(daemon.run(['-regtest', '-datadir={tmp_path}', '-listen=0', '-dnsseed=0', '-printtoconsole=0',"
        " '-rpcport=0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    slow, numbers, loaded_text = done.stdout.rstrip("\n").split("\n")
    found, collected = map(int, numbers.split())
    assert not slow
    loaded = set(loaded_text.split())
    late = {"cryptography", "ctypes.util", "datetime", "decimal", "email", "fractions", "http", "httptools", "lzma",
            "pickle", "rich", "shutil", "sqlite3", "tempfile", "typer", "zmq", "btcnode.chain.shadow",
            "btcnode.descriptors.descriptor", "btcnode.descriptors.provider", "btcnode.net.nat", "btcnode.rpc.rest",
            "btcnode.rpc.methods.net", "btcnode.rpc.decode", "btcnode.rpc.large_json", "btcnode.rpc.metrics_server",
            "btcnode.net.proxy.socks5", "btcnode.net.proxy.i2p", "btcnode.sync.importer", "btcnode.chain.verify_db",
            "btcnode.storage.older_layout", "btcnode.storage.snapshot_load",
            "btcnode.wallet.wallet", "btcnode.wire.v2_transport", "btcnode.services.swift_sync",
            "btcnode.indexes.store", "btcnode.swiftsync.fold", "btcnode.utreexo.stump"}  # fmt: skip
    assert "btcnode.rpc.methods.active_chain" in loaded
    assert late & loaded == set()
    ours = len([name for name in loaded if name.startswith("btcnode")])
    assert ours <= 432
    assert not collected  # nothing of what is loaded is garbage
    assert found >= ours - 3  # all but those that are there before anything can be found quickly
