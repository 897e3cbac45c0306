"""``btcnode-cli`` against a running server: bitcoin-cli's conventions, to the character."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from btcnode.cli import client as cli
from btcnode.cli.arguments import named_params, positional_params
from btcnode.cli.client_options import parse_options
from btcnode.rpc.jsonvalue import encode

Running = Any
GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"


@pytest.fixture
def call(running: Running, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line; returns exit status, stdout, stderr."""

    def run(*words: str, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
        argv = ["-regtest", f"-datadir={running.settings.datadir}", f"-rpcport={running.port}", *options, *words]
        try:
            status = cli.run(argv)
        except cli.CliError as error:
            print(error, file=sys.stderr)
            status = 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_results(call: Any) -> None:
    assert call("getblockcount") == (0, "0\n", "")
    assert call("getbestblockhash") == (0, GENESIS + "\n", "")
    assert call("ping") == (0, "", "")
    assert call("getdifficulty") == (0, "4.656542373906925e-10\n", "")
    assert call("echojson", "[]", '{"a":{}}', "1.50", "true") == (
        0,
        '[\n  [\n  ],\n  {\n    "a": {\n    }\n  },\n  1.50,\n  true\n]\n',
        "",
    )
    assert call("getblockhash", "0")[1] == GENESIS + "\n"


def test_a_lone_dash_ends_the_options(call: Any) -> None:
    assert call("getblockcount", options=("-",)) == (0, "0\n", "")
    assert call("getblockhash", "height=0", options=("-", "-named", "-nosuch"))[0] == 1  # not read any more


@pytest.mark.parametrize("text", ["", "x", "-5", "1_0", "9" * 5000, " 60 ", "+60x"])
def test_times_are_read_as_core_reads_numbers(call: Any, text: str) -> None:
    options = (f"-rpcclienttimeout={text}", f"-rpcwaittimeout={text}")
    assert call("getblockcount", options=options) == (0, "0\n", "")


@pytest.mark.parametrize("text", ["\u0661", "\uff11\uff18", "1_8443", "+18443", " 18443", "9" * 5000, "", "65536"])
def test_ports_are_ascii_digits(call: Any, text: str) -> None:
    assert call("getblockcount", options=(f"-rpcport={text}",))[1:] == (
        "",
        f"error: Invalid port provided in -rpcport: {text}\n",
    )


def test_errors(call: Any) -> None:
    assert call("getblockhash", "5") == (8, "", "error code: -8\nerror message:\nBlock height out of range\n")
    status, _, err = call("nosuch")
    assert (status, err) == (32601 & 0xFF, "error code: -32601\nerror message:\nMethod not found\n")
    assert call("getblockhash", "x") == (1, "", "error: Error parsing JSON: x\n")
    assert call() == (1, "", "error: too few parameters (need at least command)\n")


def test_named(call: Any) -> None:
    assert call("getblockhash", "height=0", options=("-named",))[1] == GENESIS + "\n"
    assert call("getblockheader", GENESIS, "verbose=false", options=("-named",))[0] == 0
    status, _, err = call("getblockhash", "hight=0", options=("-named",))
    assert (status, err) == (8, "error code: -8\nerror message:\nUnknown named parameter hight\n")


def test_stdin(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("0\n"))
    assert call("getblockhash", options=("-stdin",))[1] == GENESIS + "\n"


def test_getinfo(call: Any) -> None:
    status, out, _ = call(options=("-getinfo",))
    assert status == 0
    assert out.startswith("Chain: regtest\nBlocks: 0\nHeaders: 0\nVerification progress: ▒░")
    assert out.endswith("Warnings: (none)\n")
    assert call("x", options=("-getinfo",)) == (1, "", "error: -getinfo takes no arguments\n")


def test_getinfo_tells_of_wallets(call: Any, running: Running) -> None:
    assert "Wallet" not in call(options=("-getinfo",))[1]
    running.call("createwallet", "first")
    _, out, _ = call(options=("-getinfo",))
    assert "Wallet: first\nKeypool size: 4000\nBalance: 0.00000000\n\nWarnings:" in out
    running.call("createwallet", "second", False, False, "secret")
    _, out, _ = call(options=("-getinfo",))
    assert "Wallet:" not in out and "Balances\n0.00000000 first\n0.00000000 second\n\nWarnings:" in out
    _, out, _ = call(options=("-getinfo", "-rpcwallet=second"))
    assert "Wallet: second\nKeypool size: 4000\nUnlocked until: 0\nBalance:" in out
    _, out, _ = call(options=("-getinfo", "-rpcwallet=second", "-color=always"))
    assert "\x1b[35mWallet: second\x1b[0m\n" in out and "\x1b[36mBalance:\x1b[0m 0.00000000\n\n" in out


def test_generate_pays_a_wallet(call: Any, running: Running) -> None:
    assert call(options=("-generate",))[0] == 18
    running.call("createwallet", "w")
    status, out, _ = call("2", options=("-generate",))
    mined = json.loads(out)
    assert status == 0 and len(mined["blocks"]) == 2
    running.call("createwallet", "other")
    assert call(options=("-generate",))[0] == 19
    assert call(options=("-generate", "-rpcwallet=w"))[0] == 0
    assert running.call_wallet("w", "getbalances")["mine"]["immature"] == 150
    assert running.call_wallet("w", "getaddressinfo", mined["address"])["ismine"] is True


def test_addrinfo(call: Any, running: Running) -> None:
    for n in range(3):
        assert running.call("addpeeraddress", f"{n + 1}.2.3.4", 8333, n == 0) == {"success": True}
    status, out, _ = call(options=("-addrinfo",))
    assert status == 0
    assert json.loads(out) == {"addresses_known": {"ipv4": 3, "ipv6": 0, "onion": 0, "i2p": 0, "cjdns": 0, "total": 3}}
    assert call("x", options=("-addrinfo",)) == (1, "", "error: -addrinfo takes no arguments\n")
    both = call(options=("-addrinfo", "-getinfo"))
    assert both == (1, "", "error: Only one of -addrinfo, -getinfo may be specified.\n")


def test_credentials(call: Any, running: Running) -> None:
    file = f"Configuration file: ({running.settings.datadir / 'bitcoin.conf'})"
    text = (
        f"error: Authorization failed: Cookie file credentials were invalid and no rpcpassword was specified. {file}\n"
    )
    for cookie in ("__cookie__:wrong", "[main]\nrpcpassword=secret\n", ""):
        running.settings.cookie_path.write_text(cookie)
        assert call("getblockcount") == (1, "", text)
    running.settings.cookie_path.unlink()
    text = f"error: Authorization failed: Failed to read cookie file and no rpcpassword was specified. {file}\n"
    assert call("getblockcount") == (1, "", text)
    text = f"error: Authorization failed: Incorrect rpcuser or rpcpassword were specified. {file}\n"
    assert call("getblockcount", options=("-rpcuser=a", "-rpcpassword=b")) == (1, "", text)


def test_password(run_server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    running = run_server(rpcuser="a", rpcpassword="b")
    options = ["-regtest", f"-rpcconnect=127.0.0.1:{running.port}", "-rpcuser=a"]
    assert cli.run([*options, "-rpcpassword=b", "getblockcount"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("b\n"))
    assert cli.run([*options, "-stdinrpcpass", "getblockcount"]) == 0
    assert capsys.readouterr().out == "0\n0\n"


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(cli.CliError, match=r"Could not connect to the server 127\.0\.0\.1:1\n"):
        cli.run(["-regtest", f"-datadir={tmp_path}", "-rpcport=1", "getblockcount"])
    for host in ("x y", "a\nb", "a" * 70, "é" * 70, "a..b"):  # no names of hosts
        with pytest.raises(cli.CliError, match="Could not connect to the server "):
            cli.run(["-regtest", f"-datadir={tmp_path}", f"-rpcconnect={host}", "getblockcount"])
    begun = time.monotonic()
    with pytest.raises(cli.CliError):
        cli.run(["-regtest", f"-datadir={tmp_path}", "-rpcport=1", "-rpcwait", "-rpcwaittimeout=1", "getblockcount"])
    assert time.monotonic() - begun >= 1


def test_who_does_not_say_which_wallet_is_told_how_to(call: Any) -> None:
    for name in ("a", "b"):
        assert call("createwallet", name)[0] == 0
    status, out, err = call("getbalance")
    assert (status, out) == (19, "")
    assert err.endswith(
        ' Or for the CLI, specify the "-rpcwallet=<walletname>" option before the command (run "bitcoin-cli -h" for'
        ' help or "bitcoin-cli listwallets" to see which wallets are currently loaded).\n'
    )
    assert call("getbalance", options=("-rpcwallet=b",)) == (0, "0.00000000\n", "")


def test_rpcwait_waits_for_the_warm_up(call: Any, running: Running) -> None:
    running.warm_up("Loading")
    assert call("getblockcount")[2] == "error code: -28\nerror message:\nLoading\n"
    timer = threading.Timer(0.5, running.warm_up, (None,))
    timer.start()
    assert call("getblockcount", options=("-rpcwait",)) == (0, "0\n", "")
    timer.join()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-frob", "x"], "Invalid parameter -frob"),
        (["-frob=1", "x"], "Invalid parameter -frob=1$"),
        (["-rpcport", "x"], "Invalid port provided in -rpcport: $"),
        (["-chain", "x"], r"Unknown chain \.$"),
        (["-nodatadir", "x"], "Negating of -datadir is meaningless and therefore forbidden"),
        (["-norpcid=0", "x"], "Negating of -rpcid is meaningless and therefore forbidden"),
        (["-rpcid", "x"], "Can not set -rpcid with no value. Please specify value with -rpcid=value."),
        (["-conf=/nonexistent", "x"], 'specified config file "/nonexistent" could not be opened.'),
        (["-conf=/", "x"], 'Config file "/" is a directory.'),
        (["-stdinwalletpassphrase", "x"], "only applicable for walletpassphrase"),
        (["-rpcport=x", "x"], "Invalid port provided in -rpcport: x"),
        (["-rpcport=0", "x"], "Invalid port provided in -rpcport: 0"),
        (["-rpcconnect=host:x", "x"], "Invalid port provided in -rpcconnect: host:x"),
        (["-chain=foo", "x"], "Unknown chain foo"),
        (["-regtest", "-signet", "x"], "Can use at most one"),
        (["-datadir=/nonexistent/x", "x"], 'Specified data directory "/nonexistent/x" does not exist'),
    ],
)
def test_wrong_options(argv: list[str], text: str) -> None:
    with pytest.raises(cli.CliError, match=text):
        cli.run(argv)


def test_networks() -> None:
    for options, chain in [
        ([], "main"),
        (["-testnet"], "test"),
        (["-chain=mainnet"], "main"),
        (["--testnet4"], "testnet4"),
    ]:
        parsed, _ = parse_options([*options, "x"])
        assert cli.network_of(parsed).chain == chain
    assert parse_options(["-regtest=0", "-noregtest", "cmd", "-1"]) == ({"regtest": "0"}, ["cmd", "-1"])


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-named"], {"named": "1"}),
        (["-named="], {"named": "1"}),
        (["-named=x"], {"named": "0"}),
        (["-named=2"], {"named": "1"}),
        (["-nonamed=0"], {"named": "1"}),
        (["-nonamed=1", "-nonamed"], {"named": "0"}),
        (["--named=0"], {"named": "0"}),
        (["-norpcpassword"], {"rpcpassword": "0"}),
        (["-norpcclienttimeout"], {"rpcclienttimeout": "0"}),
        (["-noipcconnect", "-noconf"], {"ipcconnect": "0", "conf": "0"}),
        (["-datadir", "-rpcid=a=b"], {"datadir": "", "rpcid": "a=b"}),
        (["-rpcwallet=w", "-signetchallenge=51"], {"rpcwallet": "w", "signetchallenge": "51"}),
        (["-nohelp"], {"help": "0"}),
    ],
)
def test_options_are_read_as_by_bitcoin_cli(words: list[str], options: dict[str, str]) -> None:
    assert parse_options([*words, "cmd", "-x"]) == (options, ["cmd", "-x"])


def test_the_endpoint_of_a_wallet(call: Any) -> None:
    code, _, told = call("getwalletinfo", options=("-rpcwallet=a b/c",))
    assert (code, told.splitlines()[-1]) == (18, "Requested wallet does not exist or is not loaded")
    assert call("getblockcount", options=("-rpcwallet=a b/c",)) == (0, "0\n", "")
    assert call("getblockcount", options=("-norpcwallet",)) == (0, "0\n", "")
    assert cli.Caller({"rpcwallet": "a b/c", "regtest": "1"}).path == "/wallet/a%20b%2Fc"


def test_a_text_of_0_is_no_negation(tmp_path: Path) -> None:
    """As with bitcoin-cli: it is a file's or a wallet's name."""
    options, _ = parse_options([f"-datadir={tmp_path}", "-regtest", "-rpcport=1", "-conf=0", "x"])
    with pytest.raises(cli.CliError, match=r"specified config file \".*/0\" could not be opened"):
        cli.Caller(options)
    cookie = tmp_path / "regtest" / "0"
    cookie.parent.mkdir()
    cookie.write_text("user:pass")
    words = [f"-datadir={tmp_path}", "-regtest", "-rpcport=1", "-rpccookiefile=0", "-rpcwallet=0"]
    options, _ = parse_options([*words, "-noconf"])
    caller = cli.Caller(options)
    assert caller.credentials() == ("user", "pass", True) and caller.path == "/wallet/0"
    options, _ = parse_options([*words, "-norpccookiefile", "-norpcwallet"])
    caller = cli.Caller(options)
    assert caller.credentials() == ("", "", False) and caller.path == "/"
    (tmp_path / "bitcoin.conf").write_text("[regtest]\nnorpccookiefile=1\n")
    options, _ = parse_options(words[:3])
    assert cli.Caller(options).credentials() == ("", "", False)
    (tmp_path / "bitcoin.conf").write_text("[regtest]\nrpccookiefile=0\n")
    options, _ = parse_options(words[:3])
    assert cli.Caller(options).credentials() == ("user", "pass", True)
    cookie.rename(cookie.with_name(".cookie"))
    options, _ = parse_options([*words[:3], "-rpccookiefile="])  # as if nothing had been said
    assert cli.Caller(options).credentials() == ("user", "pass", True)


def test_the_configuration_file_says_where_the_directory_is(tmp_path: Path) -> None:
    """A service's file lies elsewhere, and names the directory with the cookie."""
    data, conf = tmp_path / "data", tmp_path / "node.conf"
    (data / "regtest").mkdir(parents=True)
    (data / "regtest" / ".cookie").write_text("user:pass")
    conf.write_text(f"regtest=1\ndatadir={data}\n")
    options, _ = parse_options([f"-conf={conf}", "-rpcport=1", "x"])
    caller = cli.Caller(options)
    assert caller.net_dir == data / "regtest" and caller.credentials() == ("user", "pass", True)
    assert caller.conf_path == conf
    conf.write_text(f"regtest=1\ndatadir={tmp_path}/none\n")
    options, _ = parse_options([f"-conf={conf}", "-rpcport=1", "x"])
    with pytest.raises(cli.CliError, match=r'specified data directory ".*/none" does not exist'):
        cli.Caller(options)


@pytest.fixture
def call_with_file(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Run a command line with a configuration file that says how the node is reached, and more; as ``call``."""
    user, _, password = running.settings.cookie_path.read_text().partition(":")

    def run(more: str, *words: str, stdin: str = "", secret: bool = False) -> tuple[int, str, str]:
        login = f"rpcuser={user}\n" + ("" if secret else f"rpcpassword={password}\n")
        (tmp_path / "bitcoin.conf").write_text(f"{login}regtest.rpcport={running.port}\n{more}\n")
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin.replace("SECRET", password)))
        try:
            status = cli.run([f"-datadir={tmp_path}", "-regtest", *words])
        except cli.CliError as error:
            print(error, file=sys.stderr)
            status = 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_the_configuration_file_has_the_options_of_the_command_line(call_with_file: Any) -> None:
    """Every one that bitcoin-cli has; the answers are those of a bitcoin-cli with the same file."""
    by_name, found = ("getblockhash", "height=0"), (0, GENESIS + "\n", "")
    for line in ("named=1", "named=", "nonamed=0", "[regtest]\nnamed=1", "named=1\nnamed=0"):  # of a file, the first
        assert call_with_file(line, *by_name) == found, line
    for line in ("named=0", "named=x", "nonamed=1", "nonamed=0\nnonamed=1", "[main]\nnamed=1"):
        assert call_with_file(line, *by_name) == (1, "", "error: Error parsing JSON: height=0\n"), line
    assert call_with_file("named=1", "-nonamed", "getblockhash", "0") == found
    assert call_with_file("stdin=1", "getblockhash", stdin="0\n") == found
    assert call_with_file("stdinrpcpass=1", "getblockcount", stdin="SECRET\n", secret=True) == (0, "0\n", "")
    assert call_with_file("getinfo=1")[1].startswith("Chain: regtest\n")
    assert call_with_file("getinfo=1\ncolor=always")[1].startswith("\x1b[34mChain: regtest")
    assert '"addresses_known"' in call_with_file("addrinfo=1")[1]
    assert "Local services" in call_with_file("netinfo=1")[1]
    assert call_with_file("rpcwallet=w", "getwalletinfo")[0] == 18
    assert call_with_file("rpcwallet=w", "-norpcwallet", "getblockcount") == (0, "0\n", "")
    assert call_with_file("rpcconnect=localhost\nversion=1\nhelp=1\nserver=1\nx=1", "getblockcount") == (0, "0\n", "")


@pytest.mark.parametrize(
    ("line", "words", "text"),
    [
        ("norpcid=1", ("x",), "Error reading configuration file: Negating of -rpcid is meaningless and"),
        ("nocolor=0", ("x",), "Error reading configuration file: Negating of -color is meaningless and"),
        ("chain=x", ("-noregtest", "x"), "Error: Unknown chain x."),
        ("chain=main", ("x",), "Error: Invalid combination of -regtest"),
        ("getinfo=1", ("getblockcount",), "error: -getinfo takes no arguments"),
        ("getinfo=0\naddrinfo=1", (), "error: Only one of -addrinfo, -getinfo may be specified."),
        ("getinfo=0", ("-netinfo",), "error: Only one of -getinfo, -netinfo may be specified."),
        ("color=x", ("-getinfo",), "error: Invalid value for -color option."),
        ("ipcconnect=unix", ("x",), "error: bitcoin-cli was not built with IPC support"),
        ("ipcconnect=unix\nrpcconnect=a", ("x",), "error: -rpcconnect and -ipcconnect options cannot both be enabled"),
        ("rpcconnect=127.0.0.1:x", ("x",), "error: Invalid port provided in -rpcconnect: 127.0.0.1:x"),
        ("rpcconnect=127.0.0.1:x", (), "error: too few parameters (need at least command)"),
        ("stdinwalletpassphrase=1", ("x",), "error: -stdinwalletpassphrase is only applicable for"),
        ("stdinrpcpass=1", ("x",), "error: -stdinrpcpass specified but failed to read from standard input"),
        ("regtest.rpcport=1\nrpcwait=1\nrpcwaittimeout=1", ("-rpcport=1", "x"), "error: timeout on transient error: C"),
    ],
)
def test_what_a_configuration_file_says_is_refused_as_on_the_command_line(
    call_with_file: Any, line: str, words: tuple[str, ...], text: str
) -> None:
    status, out, error = call_with_file(line, *words)
    assert (status, out) == (1, "") and error.startswith(text)


def test_a_configuration_file_that_the_client_does_not_read_is_no_error(tmp_path: Path) -> None:
    """It is one for the node, which would miss something."""
    (tmp_path / "bitcoin.conf").write_text("rpcport=7\n")
    (tmp_path / "other.conf").write_text("rpcport=8\n")
    assert cli.Caller({"datadir": str(tmp_path), "conf": "other.conf"}).address == ("127.0.0.1", 8)


def test_conversion() -> None:
    assert encode(positional_params("getblockhash", ["-1"])) == b"[-1]"
    assert encode(positional_params("nosuch", ["1", "x"])) == b'["1","x"]'
    assert encode(positional_params("getblockstats", ["abc", '["a"]'])) == b'["abc",["a"]]'
    assert encode(positional_params("getblockstats", ["7"])) == b"[7]"
    assert encode(named_params("gettxout", ["ab", "n=1", "n=2"])) == b'{"n":2,"args":["ab"]}'
    named = named_params("gettxspendingprevout", ["[]", "mempool_only=true"])
    assert encode(named) == b'{"mempool_only":true,"args":[[]]}'
    with pytest.raises(ValueError, match=r"Error parsing JSON: \{"):
        positional_params("logging", ["{"])


@pytest.mark.parametrize(
    ("method", "words", "params"),
    [
        ("decodepsbt", ["cHNidA=="], {"args": ["cHNidA=="]}),
        ("decodepsbt", ["psbt=cHNidA=="], {"psbt": "cHNidA=="}),
        ("finalizepsbt", ["cHNidA==", "extract=false"], {"extract": False, "args": ["cHNidA=="]}),
        ("descriptorprocesspsbt", ["a=", "[]", "sighashtype=ALL"], {"sighashtype": "ALL", "args": ["a=", []]}),
        ("dumptxoutset", ["a=b.dat", "rollback=853"], {"rollback": 853, "args": ["a=b.dat"]}),
        ("dumptxoutset", ["path=a=b.dat", "rollback=ab"], {"rollback": "ab", "path": "a=b.dat"}),
        ("importmempool", ["/a=b/mempool.dat"], {"args": ["/a=b/mempool.dat"]}),
        ("loadtxoutset", ["a=b"], {"args": ["a=b"]}),
        ("verifymessage", ["address", "AA==", "a=b"], {"args": ["address", "AA==", "a=b"]}),
        ("signmessagewithprivkey", ["key", "x=1"], {"args": ["key", "x=1"]}),
        ("echoipc", ["a=b"], {"args": ["a=b"]}),
        ("getblock", ["a=b"], {"a": "b"}),
        ("createpsbt", ['[{"a":"="}]'], {"args": [[{"a": "="}]]}),
    ],
)
def test_equals_signs_that_are_no_names(method: str, words: list[str], params: Any) -> None:
    assert json.loads(encode(named_params(method, words))) == params


def test_no_heavy_imports() -> None:
    """A whole call, to nobody: what it loads is what it takes most of its time for."""
    heavy = {"asyncio", "typer", "rich", "httptools", "lmdb", "coincurve", "btclib_secp256k1", "inspect", "http.client",
             "ssl", "email", "decimal", "fractions", "hmac", "hashlib", "encodings.idna", "argparse",
             "logging", "typing"}  # fmt: skip
    code = (
        "import sys\nfrom btcnode.cli.client import main\nsys.argv[1:] = ['-regtest', '-rpcport=1', 'getblockcount']\n"
        f"try:\n    main()\nexcept SystemExit:\n    print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Could not connect" in done.stderr
    assert done.stdout.strip() == "[]"


def test_as_a_process(running: Running) -> None:
    argv = [sys.executable, "-m", "btcnode.cli.client", "-regtest", f"-datadir={running.settings.datadir}"]
    done = subprocess.run([*argv, f"-rpcport={running.port}", "getblockhash", "3"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        8, "", "error code: -8\nerror message:\nBlock height out of range\n",
    )  # fmt: skip
    done = subprocess.run([*argv, "-version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout[:27]) == (0, "btcnode RPC client version ")
