"""``btcnode-cli`` and ``bitcoin-cli`` at one node: what the same words and standard input give."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
_OWN_NAME = re.compile(r"bitcoin-cli|btcnode-cli|bitcoind?|btcnoded?|Bitcoin Core|v(0\.1\.0|31\.99\.0)[-\w]*")
# Other by intent, see docs/differences.md: warnings of a build, why no connection came about, help, what a call costs.
_MEANT = re.compile(
    r"(?<=Warnings:)(\x1b\[0m)? .*$| \((error code \d|\[Errno|timed out).*\)$|\d{13}(?=,$)", re.MULTILINE
)
NOT_ASKED = frozenset({"waitfornewblock", "waitforblock", "waitforblockheight", "getmemoryinfo", "uptime", "getrpcinfo",
                       "help"})  # fmt: skip
Line = tuple[tuple[str, ...], tuple[str, ...], str]  # options, words, standard input
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
            for line in lines(rng, values, plan.rounds):
                if time.monotonic() > deadline:
                    return
                outcomes = list(pool.map(partial(_outcome, node, line=line), programs))
                report.calls += 1
                if "Traceback" in outcomes[0] or outcomes[0] != outcomes[-1]:
                    shown = f"{' '.join(map(repr, line[0]))} | {' '.join(map(repr, line[1]))} < {line[2]!r}"
                    report.add("command line", outcomes[0][:80], Example(shown, outcomes[0], outcomes[-1]))
    finally:
        node.stop()


def _outcome(node: Node, program: list[str], line: Line) -> str:
    """Status, output and errors of one program, without its own name."""
    options, words, stdin = line
    argv = [
        *program, "-regtest", f"-datadir={node.directory}", f"-rpcport={node.rpc_port}", f"-rpcuser={USER}",
        f"-rpcpassword={PASSWORD}", *options, *words,
    ]  # fmt: skip
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=TIMEOUT_S, env=environment())
    text = (done.stdout + b" / " + done.stderr).decode(errors="replace")
    return _MEANT.sub("", _OWN_NAME.sub("NAME", f"{done.returncode} / {text}"))
