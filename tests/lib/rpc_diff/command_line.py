"""``btcnode-cli`` and ``bitcoin-cli`` at one node: what the same words and standard input give."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

from tests.lib.process import environment

from .asking import Example, Plan, Report
from .cases import METHODS, Cases
from .nodes import PASSWORD, USER, Node
from .text import Number, Raw, request, write
from .values import Values, Vectors
from .world import START_TIME, World

TIMEOUT_S = 120.0
OWN_NAME = re.compile(r"bitcoin-cli|btcnode-cli|bitcoind?|btcnoded?|Bitcoin Core|v(0\.1\.0|31\.99\.0)[-\w]*")
# Other by intent, see docs/differences.md: warnings of a build, why no connection came about, help, what a call costs.
MEANT = re.compile(
    r"(?<=Warnings:)(\x1b\[0m)? .*$"
    r"| \((error code \d|\[Errno|timed out|Remote end|the connection|not an? (HTTP|length)).*\)$"
    r"|\d{13}(?=,$)",
    re.MULTILINE,
)
NOT_ASKED = frozenset({"waitfornewblock", "waitforblock", "waitforblockheight", "getmemoryinfo", "uptime", "getrpcinfo",
                       "help"})  # fmt: skip
Line = tuple[tuple[str, ...], tuple[str, ...], str]  # options, words, standard input
FileLine = tuple[str, tuple[str, ...], tuple[str, ...], str]  # more of a bitcoin.conf, then as a line
HASH = "ab" * 32
WORDS = (
    "", " ", "0", "-0", "1", "01", "1.0", "1.", ".1", "+1", "-1", "1e2", "1e400", "0x1", "1_0", "true", "True", "null",
    "None", "[]", "[", "[1,2]", "[1,]", "{}", '{"a":1}', "{'a':1}", '"x"', "x", "a=b", "=", "height=0", "-x", "é",
    "1 2", "\n", "nan", HASH, "[" * 600, '"\\ud800"', "9" * 400,
)  # fmt: skip
LINES: tuple[Line, ...] = (
    ((), (), ""),
    ((), ("getblockcount",), ""),
    ((), ("getblockcount", "1"), ""),
    ((), ("getblockhash",), ""),
    ((), ("getblockhash", "0", "1"), ""),
    ((), ("getblockhash", "-5"), ""),
    ((), ("nosuch",), ""),
    ((), ("",), ""),
    ((), ("getblockcount", ""), ""),
    ((), ("GETBLOCKCOUNT",), ""),
    ((), ("echo", "a", "b=c", "1", "é"), ""),
    ((), ("echo",) + ("x",) * 12, ""),
    ((), ("echojson", "1", "[2]", '{"a":null}', '"t"', "true"), ""),
    ((), ("getrawmempool", "true", "true"), ""),
    ((), ("getnetworkinfo",), ""),
    ((), ("getdescriptorinfo", "raw(51)"), ""),
    ((), ("deriveaddresses", "raw(51)#8lvh9jxk"), ""),
    ((), ("ping",), ""),
    ((), ("getzmqnotifications",), ""),
    ((), ("getnewaddress",), ""),
    ((), ("sendtoaddress", "x", "1"), ""),
    ((), ("createwallet", "x"), ""),
    ((), ("-getinfo",), ""),
    ((), ("getblockcount", "-named"), ""),
    ((), ("getblockhash", "--", "0"), ""),
    (("-named",), ("getblockhash", "height=0"), ""),
    (("-named",), ("getblockhash", "0"), ""),
    (("-named",), ("getblockhash", "height=0", "height=0"), ""),
    (("-named",), ("getblockhash", "0", "height=0"), ""),
    (("-named",), ("getblockhash", "args=[0]"), ""),
    (("-named",), ("getblockhash", "args=0"), ""),
    (("-named",), ("getblockhash", "=0"), ""),
    (("-named",), ("getblockhash", "height="), ""),
    (("-named",), ("getblockhash", "hight=0"), ""),
    (("-named",), ("getblockheader", f"blockhash={HASH}", "verbose=false"), ""),
    (("-named",), ("getblock", HASH, "verbose=1"), ""),
    (("-named",), ("getblock", HASH, "verbosity=x"), ""),
    (("-named",), ("echo", "arg0=a", "arg3=b=c", "x"), ""),
    (("-named",), ("echo", "a", "arg5=x"), ""),
    (("-named",), ("echojson", "arg0=1", "arg1=[1]"), ""),
    (("-named",), ("getblockcount",), ""),
    (("-named=0",), ("getblockhash", "height=0"), ""),
    (("-nonamed",), ("getblockhash", "0"), ""),
    (("-stdin",), ("getblockhash",), "0\n"),
    (("-stdin",), ("getblockhash",), "0"),
    (("-stdin",), ("getblockhash",), "\n0\n"),
    (("-stdin",), ("getblockhash",), ""),
    (("-stdin",), (), "getblockhash\n0\n"),
    (("-stdin",), ("echo", "a"), "b\r\nc \n\n"),
    (("-stdin",), ("echo",), "a\0b\n"),
    (("-stdin",), ("echo",), "é\n"),
    (("-stdin", "-named"), ("getblockhash",), "height=0\n"),
    (("-stdinrpcpass",), ("getblockcount",), f"{PASSWORD}\n"),
    (("-stdinrpcpass",), ("getblockcount",), PASSWORD),
    (("-stdinrpcpass",), ("getblockcount",), "wrong\n"),
    (("-stdinrpcpass",), ("getblockcount",), ""),
    (("-stdinrpcpass", "-stdin"), ("getblockhash",), f"{PASSWORD}\n0\n"),
    (("-stdinwalletpassphrase",), ("getblockcount",), "x\n"),
    (("-stdinwalletpassphrase",), ("walletpassphrase", "60"), "x\n"),
    (("-stdinwalletpassphrase",), ("walletpassphrase",), "x\n"),
    (("-stdinwalletpassphrase", "-stdin"), ("walletpassphrase",), "x\n60\n"),
    (("-getinfo",), (), ""),
    (("-getinfo",), ("x",), ""),
    (("-getinfo=0",), ("getblockcount",), ""),
    (("-getinfo", "-netinfo"), (), ""),
    (("-getinfo", "-named"), (), ""),
    (("-getinfo", "-color=never"), (), ""),
    (("-getinfo", "-color=always"), (), ""),
    (("-getinfo", "-color=auto"), (), ""),
    (("-getinfo", "-color=x"), (), ""),
    (("-color=x",), ("getblockcount",), ""),
    *(((("-netinfo"),), words, "") for words in (
        (), ("0",), ("1",), ("2",), ("3",), ("4",), ("5",), ("-1",), ("x",), ("",), ("256",), ("1", "2"), ("4", "o"),
        ("4", "outonly"), ("o",), ("outonly",))),
    *((("-addrinfo",), words, "") for words in ((), ("x",))),
    (("-addrinfo", "-netinfo"), (), ""),
    (("-addrinfo", "-getinfo"), (), ""),
    *((("-generate",), words, "") for words in ((), ("1",), ("0",), ("1", "2"), ("x",), ("1", "2", "3"))),
    (("-generate", "-getinfo"), (), ""),
    (("-generate", "-rpcwallet=x"), ("1",), ""),
    (("-rpcwallet=x",), ("getblockcount",), ""),
    (("-rpcwallet=",), ("getblockcount",), ""),
    (("-rpcwallet=a/b c",), ("getblockcount",), ""),
    (("-rpcwallet=x",), ("-getinfo",), ""),
    (("-rpcwallet=x", "-getinfo"), (), ""),
    (("-ipcconnect=unix",), ("getblockcount",), ""),
    (("-ipcconnect=auto",), ("getblockcount",), ""),
    (("-ipcconnect=0",), ("getblockcount",), ""),
    (("-rpcuser=x",), ("getblockcount",), ""),
    (("-rpcuser=",), ("getblockcount",), ""),
    (("-norpcuser",), ("getblockcount",), ""),
    (("-rpcpassword=x",), ("getblockcount",), ""),
    (("-rpcpassword=",), ("getblockcount",), ""),
    (("-norpcpassword",), ("getblockcount",), ""),
    (("-norpcpassword", "-rpccookiefile=/nowhere/x"), ("getblockcount",), ""),
    (("-rpcpassword=", "-norpccookiefile"), ("getblockcount",), ""),
    (("-rpcport=1",), ("getblockcount",), ""),
    (("-rpcport=0",), ("getblockcount",), ""),
    (("-rpcport=x",), ("getblockcount",), ""),
    (("-rpcconnect=127.0.0.1:1",), ("getblockcount",), ""),
    (("-rpcconnect=127.0.0.1:0",), ("getblockcount",), ""),
    (("-rpcconnect=127.0.0.1:x",), ("getblockcount",), ""),
    (("-rpcconnect=127.0.0.1:99999",), ("getblockcount",), ""),
    (("-rpcconnect=[::1]:x",), ("getblockcount",), ""),
    (("-rpcconnect=",), ("getblockcount",), ""),
    (("-rpcconnect=localhost",), ("getblockcount",), ""),
    (("-rpcconnect=127.0.0.1", "-rpcconnect=127.0.0.2"), ("getblockcount",), ""),
    (("-rpcwait",), ("getblockcount",), ""),
    (("-rpcwait", "-rpcwaittimeout=1", "-rpcport=1"), ("getblockcount",), ""),
    (("-rpcwait", "-rpcwaittimeout=1", "-rpcport=1", "-getinfo"), (), ""),
    (("-rpcwait", "-rpcpassword=x"), ("getblockcount",), ""),
    (("-rpcwait",), ("nosuch",), ""),
    (("-rpcwaittimeout=-1",), ("getblockcount",), ""),
    (("-rpcclienttimeout=0",), ("getblockcount",), ""),
    (("-rpcclienttimeout=-1",), ("getblockcount",), ""),
    (("-rpcclienttimeout=1",), ("waitfornewblock", "1500"), ""),
    (("-nosuch",), ("getblockcount",), ""),
    (("-nosuch=1",), ("getblockcount",), ""),
    (("--named",), ("getblockhash", "height=0"), ""),
    (("-NAMED",), ("getblockhash", "height=0"), ""),
    (("-named=x",), ("getblockhash", "0"), ""),
    (("-",), ("getblockcount",), ""),
    (("--",), ("getblockcount",), ""),
    (("-=",), ("getblockcount",), ""),
    (("-conf=nowhere.conf",), ("getblockcount",), ""),
    (("-conf=/",), ("getblockcount",), ""),
    (("-noconf",), ("getblockcount",), ""),
    (("-datadir=/nowhere/at/all",), ("getblockcount",), ""),
    (("-datadir=",), ("getblockcount",), ""),
    (("-chain=x",), ("getblockcount",), ""),
    (("-chain=test",), ("getblockcount",), ""),
    (("-testnet",), ("getblockcount",), ""),
    (("-signet", "-testnet4"), ("getblockcount",), ""),
    (("-regtest=0",), ("getblockcount",), ""),
    (("-noregtest",), ("getblockcount",), ""),
    (("-server",), ("getblockcount",), ""),
    (("-txindex",), ("getblockcount",), ""),
    (("-main.rpcport=1",), ("getblockcount",), ""),
    (("-includeconf=x",), ("getblockcount",), ""),
)  # fmt: skip


COUNT, BY_NAME, BY_PLACE = ("getblockcount",), ("getblockhash", "height=0"), ("getblockhash", "0")
FILE_LINES: tuple[FileLine, ...] = (  # but for two choices of a chain, and includeconf: see docs/differences.md
    *((line, (), words, "") for words in (BY_NAME, BY_PLACE) for line in (
        "named=1", "named=0", "named=", "named=x", "nonamed=1", "nonamed=0", "regtest.named=1", "main.named=1",
        "named=0\nnamed=1", "named=1\nnamed=0", "[regtest]\nnamed=1", "NAMED=1")),
    ("named=1", ("-nonamed",), BY_PLACE, ""),
    ("named=1", ("-named=0",), BY_PLACE, ""),
    ("named=1", ("-noconf",), BY_NAME, ""),
    *((line, (), words, "") for words in (COUNT, ()) for line in (
        "getinfo=1", "getinfo=0", "nogetinfo=1", "addrinfo=1", "addrinfo=0", "netinfo=1", "netinfo=4", "netinfo=0",
        "generate=1", "generate=0", "getinfo=1\naddrinfo=1", "getinfo=0\naddrinfo=1")),
    *((line, (option,), (), "") for option in ("-netinfo", "-addrinfo", "-getinfo", "-getinfo=0", "-nogetinfo")
      for line in ("getinfo=1", "getinfo=0", "nogetinfo=1", "netinfo=0")),
    *((line, (), words, text) for line in ("stdin=1", "stdin=0", "nostdin=1", "stdin=")
      for words, text in ((("getblockhash",), "0\n"), ((), "getblockhash\n0\n"), (COUNT, ""))),
    *((f"norpcpassword=1\n{line}", (), words, text)
      for line in ("stdinrpcpass=1", "stdinrpcpass=0", "stdinrpcpass=1\nstdin=1")
      for words, text in ((COUNT, f"{PASSWORD}\n"), (COUNT, "x\n"), (COUNT, ""))),
    ("norpcpassword=1\nstdinrpcpass=1\nstdin=1", (), ("getblockhash",), f"{PASSWORD}\n0\n"),
    *((line, (), words, text) for line in ("stdinwalletpassphrase=1", "nostdinwalletpassphrase=1")
      for words, text in ((COUNT, "x\n"), (("walletpassphrase", "60"), "x\n"), ((), ""))),
    *((line, ("-getinfo",), (), "") for line in (
        "color=always", "color=never", "color=x", "color=", "nocolor=1", "nocolor=0", "regtest.color=always")),
    *((line, (), COUNT, "") for line in (
        "rpcid=5", "rpcid=", "norpcid=1", "norpcid=0", "rpcwaittimeout=1", "norpcwaittimeout=1", "nodatadir=1",
        "datadir=/nowhere/at/all", "datadir=", "ipcconnect=unix", "ipcconnect=auto", "ipcconnect=0", "noipcconnect=1",
        "noipcconnect=0", "ipcconnect=", "ipcconnect=unix\nrpcconnect=127.0.0.1", "ipcconnect=unix\nnorpcconnect=1",
        "rpcwallet=x", "rpcwallet=", "norpcwallet=1", "norpcwallet=0", "rpcwallet=a/b c", "rpcclienttimeout=0",
        "rpcclienttimeout=-1", "rpcclienttimeout=x", "norpcclienttimeout=1", "rpcclienttimeout=99999999999999999999",
        "rpcuser=x", "norpcuser=1", "norpcpassword=1", "regtest.rpcpassword=x", "rpcpassword=x",
        "rpcconnect=127.0.0.1", "rpcconnect=localhost", "rpcconnect=", "norpcconnect=1", "norpcconnect=0",
        "rpcconnect=127.0.0.1:1", "rpcconnect=127.0.0.1:x", "rpcconnect=127.0.0.1:0", "main.rpcconnect=127.0.0.1:x",
        "rpcport=1", "rpcport=x", "norpcport=1", "rpcwait=1", "rpcwait=0", "norpccookiefile=1", "rpccookiefile=/x",
        "conf=x", "noconf=1", "regtest.conf=x", "version=1", "help=1", "nohelp=1", "nosuch=1", "server=1", "wallet=x",
        "rpcpassword=a#x", "rpcuser=x # y", "-rpcuser=x", "rpcuser", "norpcuser", "[x]\nrpcuser=y",
        "[regtest]\nregtest.rpcuser=y", "signetchallenge=x", "nosignetchallenge=1", "vbparams=x", "novbparams=1",
        "nosignetseednode=1", "reindex=1", "noblocksdir=1", "blocksdir=/nowhere", "=", "= x", "a=b=c", "\tnamed =1",
        "rpcid=\u00e9", "rpcid=a\0b", "n\0=b", "rpcwait=1\nrpcwaittimeout=1\nrpcconnect=127.0.0.1:1")),
    ("norpcpassword=1\nrpccookiefile=a.cookie", (), COUNT, ""),
    ("norpcpassword=1\nnorpccookiefile=1", (), COUNT, ""),
    ("rpcwaittimeout=1", ("-rpcwait", "-rpcport=1"), COUNT, ""),
    ("rpcwait=1\nregtest.rpcwaittimeout=1", ("-rpcport=1",), ("-getinfo",), ""),
    ("rpcclienttimeout=1", (), ("waitfornewblock", "2500"), ""),
    ("rpcwallet=x", ("-norpcwallet",), COUNT, ""),
    ("rpcuser=x", (f"-rpcuser={USER}",), COUNT, ""),
    ("rpcconnect=127.0.0.1:x", (), (), ""),
    ("rpcport=x", (), (), ""),
)  # fmt: skip


def lines(rng: Random, values: Cases, rounds: int) -> Iterator[Line]:
    """What ``LINES`` has, then words of every kind for methods of every kind, as they are and by name."""
    yield from LINES
    for word in WORDS:
        yield (), ("echojson", word), ""
        yield (), ("getblockhash", word), ""
        yield ("-named",), ("echo", "x", word), ""
        yield ("-named",), ("getblockstats", f"hash_or_height={word}", 'stats=["height"]'), ""
        yield ("-stdin",), ("echo",), word
    for method in rng.sample(
        sorted(set(METHODS) - {"waitfornewblock", "waitforblock", "waitforblockheight"}), 8 * rounds
    ):
        params = values.random(method)
        if isinstance(params, dict):
            words = [f"{key}={_word(value)}" for key, value in params.items()]
            yield ("-named",), (method, *words), ""
        else:
            yield (), (method, *map(_word, params)), ""


def _word(value: object) -> str:
    """A value as people write it in a shell; no NUL, which no argument of a process can have."""
    text = value if isinstance(value, str) and not isinstance(value, Raw | Number) else write(value)
    return text.replace("\0", "0")


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes, of which the last is asked by both programs (by one where there is no bitcoind)."""
    deadline = time.monotonic() + plan.seconds
    *_, node = nodes = make()
    programs = [[sys.executable, "-m", "btcnode.cli.client"]]
    if len(nodes) > 1:
        programs.append([str(Path(node.command[0]).with_name("bitcoin-cli"))])
    node.options = [f"-mocktime={START_TIME}"]
    node.start()
    values = Cases(Values(World(plan.seed), rng, Vectors(None)))
    try:
        node.result(request("generatetodescriptor", [3, "raw(51)"]))
        with ThreadPoolExecutor(len(programs)) as pool:
            both: Iterator[tuple[str | None, Line]] = chain(
                ((file, (options, words, text)) for file, options, words, text in FILE_LINES),
                ((None, line) for line in lines(rng, values, plan.rounds)),
            )
            for file, line in both:
                if time.monotonic() > deadline:
                    return
                outcomes = list(pool.map(partial(_outcome, node, file, line), programs))
                report.calls += 1
                if "Traceback" in outcomes[0] or outcomes[0] != outcomes[-1]:
                    shown = f"{file!r}: {' '.join(map(repr, line[0]))} | {' '.join(map(repr, line[1]))} < {line[2]!r}"
                    report.add("command line", outcomes[0][:80], Example(shown, outcomes[0], outcomes[-1]))
    finally:
        node.stop()


def _outcome(node: Node, file: str | None, line: Line, program: list[str]) -> str:
    """Status, output and errors of one program, without its own name.

    How the node is reached is told on the command line, or in a ``bitcoin.conf`` with more behind it (``file``).
    """
    options, words, stdin = line
    login = {"rpcport": str(node.rpc_port), "rpcuser": USER, "rpcpassword": PASSWORD}
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:
        argv = [*program, "-regtest"]
        if file is None:
            argv += [f"-datadir={node.directory}", *(f"-{name}={value}" for name, value in login.items())]
        else:
            argv.append(f"-datadir={directory}")
            told = [name for name in ("rpcuser", "rpcpassword") if not re.search(rf"^(no)?{name}\b", file, re.M)]
            own = [f"regtest.rpcport={node.rpc_port}", *(f"{name}={login[name]}" for name in told)]
            Path(directory, "bitcoin.conf").write_text("\n".join([*own, file, ""]))
        done = subprocess.run(
            [*argv, *options, *words], input=stdin.encode(), capture_output=True, timeout=TIMEOUT_S, env=environment()
        )
    text = (done.stdout + b" / " + done.stderr).decode(errors="replace").replace(directory, "DIR")
    return MEANT.sub("", OWN_NAME.sub("NAME", f"{done.returncode} / {text}"))
