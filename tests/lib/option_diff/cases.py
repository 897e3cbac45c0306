"""Words and files to try: every option of bitcoind with values of every form, and random mixtures with files."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator

from btcnode.settings import declaration
from btcnode.settings.groups.wallet import WalletSettings

from .run import Case

HIDDEN = (
    "choosedatadir", "lang", "min", "resetguisettings", "splash", "uiplatform", "dbcrashratio", "forcecompactdb",
    "checkpoints", "limitancestorsize", "limitdescendantsize", "h", "?", "help-debug",
)  # fmt: skip
"""Options that bitcoind takes and its help does not tell."""

WALLET = [option.flag for option in declaration.options_of(WalletSettings).values()]

VALUES = (
    None, "", "0", "1", "-1", "2", "00", "+1", " 1", "1 ", "0x10", "1.5", "1e3", "true", "x", "é", "\udcff", "'", '"',
    "2147483647", "2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "99999999999999999999", "0.00001", "0.000000001", "21000001", ".1",
    "127.0.0.1", "127.0.0.1:0", "127.0.0.1:1", "127.0.0.1:65536", "[::1]", "[::1]:9", "::1", "localhost", "no host",
    "256.1.1.1", "1.2.3.4/33", "1.2.3.0/24", "fc00::1", "fc00::/8", "unix:/x", "unix:", "tcp://127.0.0.1:1", "ab",
    "ab" * 32, "ab" * 33, "all", "none", "net", "net:debug", "debug", "trace", "a:b", "a:b$c", "u:getinfo,stop", ":",
    "noban@127.0.0.1:1", "in@1.2.3.4", "out@1.2.3.4", "bad@1.2.3.4", "relay,noban@1.2.3.0/24", "@", "ipv4", "IPv6",
    "onion", "i2p", "cjdns", "tor", "9.9.9.9=ipv4", "9.9.9.9=", "9.9.9.9=foo", "basic", "regtest", "main", "{dir}",
    "{dir}/none", ".", "~", "/", "csv@1", "segwit@-1", "csv@x", "foo@1", "testdummy:0:1", "testdummy:0:1:2",
    "testdummy:0", "testdummy:x:1", "foo:0:1", "addrman", "owner", "group", "1k", "1K", "5M", "1z", "M", "5 M",
)  # fmt: skip

IN_SETTINGS: tuple[object, ...] = (
    "1", "0", "x", "", 1, 0, -1, 1.5, 10**30, True, False, None, [], [1], ["a", "b"], ["1"], [True], {}, {"a": 1},
    [[1]],
)  # fmt: skip
"""Values of settings.json."""

BASE = ("-datadir={dir}", "-regtest")


def options_of(bitcoind: str) -> list[str]:
    """Every option that bitcoind takes, but for the wallet's and those that make it leave its parent."""
    text = subprocess.run([bitcoind, "-help-debug"], capture_output=True, text=True, check=True).stdout
    return sorted({*re.findall(r"^  -([a-z0-9-]+)", text, re.M), *HIDDEN} - {"daemon", "daemonwait", *WALLET})


def systematic(seed: int, options: list[str]) -> Iterator[Case]:
    """Every option with every value on the command line; negated; in either part of bitcoin.conf; in settings.json.

    The seed makes their order.
    """
    cases = [case for name in options for case in _alone(name)]
    random.Random(seed).shuffle(cases)
    yield from cases


def _alone(name: str) -> Iterator[Case]:
    for value in VALUES:
        yield Case((*BASE, f"-{name}" if value is None else f"-{name}={value}"))
    for word in (f"-no{name}", f"-no{name}=0", f"-no{name}=", f"-no{name}=x", f"--{name}", f"-{name.upper()}"):
        yield Case((*BASE, word))
    for line in (f"{name}=1", f"{name}=x", f"no{name}=1", f"no{name}=0", f"{name}", f"no{name}", f"{name}="):
        for section in ("", "[regtest]\n", "[main]\n"):
            yield Case(BASE, {"bitcoin.conf": f"{section}{line}\n".encode("utf-8", "surrogateescape")})
    for given in IN_SETTINGS:
        yield Case(BASE, {"regtest/settings.json": json.dumps({name: given}).encode()})


def mixtures(seed: int, options: list[str]) -> Iterator[Case]:
    """Random ones without end."""
    made = _Mixtures(seed, options)
    while True:
        yield made.case()


class _Mixtures:
    """Mixtures, the same for the same seed."""

    def __init__(self, seed: int, options: list[str]) -> None:
        self._random = random.Random(seed)
        self._options = options

    def case(self) -> Case:
        """One more."""
        pick = self._random
        words = [*BASE] if pick.random() < 0.8 else self._odd_base()
        words += [self._word() for _ in range(pick.choice((0, 1, 2, 2, 3, 6)))]
        files: dict[str, bytes] = {}
        if pick.random() < 0.6:
            files["bitcoin.conf"] = self._conf()
        if pick.random() < 0.25:
            files["inc.conf"] = self._conf()
        if pick.random() < 0.1:
            files["other.conf"] = self._conf()
        if pick.random() < 0.2:
            files["regtest/settings.json"] = self._settings()
        if pick.random() < 0.05:
            files["dir.conf/"] = b""
        return Case(tuple(words), files)

    def _odd_base(self) -> list[str]:
        pick = self._random
        datadir = pick.choice(("{dir}", "{dir}", "{dir}/", "d", "./d", "{dir}/none", "{dir}/bitcoin.conf", "{dir}/."))
        network = pick.choice(
            ("-regtest=1", "-regtest=0", "-noregtest", "-signet", "-testnet", "-testnet4", "-chain=regtest", "-chain=x",
             "-chain=", "-chain", "-nochain", "-chain=test", "", "-regtest -signet", "-regtest -chain=regtest")
        )  # fmt: skip
        return [f"-datadir={datadir}", *network.split()]

    def _word(self) -> str:
        pick = self._random
        if pick.random() < 0.12:
            return pick.choice(
                ("-conf=other.conf", "-conf={dir}/other.conf", "-conf=none.conf", "-noconf", "-conf=", "-conf=dir.conf",
                 "-conf", "-noincludeconf", "-includeconf=inc.conf", "-nosettings", "-settings=s.json", "-settings=",
                 "-settings=/nowhere/s.json", "-allowignoredconf", "-", "word", "", "--", "-=", "-=x", "-no", "-nono",
                 "-nonolisten", "-regtest.listen=1", "-unknown", "-nounknown=1", "-rpcport", "-NoListen", "-listen.")
            )  # fmt: skip
        name, value = pick.choice(self._options), pick.choice(VALUES)
        dashes, no = pick.choice(("-", "-", "-", "--", "---")), pick.choice(("", "", "", "no", "no", "nono"))
        return f"{dashes}{no}{name}" + ("" if value is None else f"={value}")

    def _conf(self) -> bytes:
        pick = self._random
        lines = [self._line() for _ in range(pick.choice((0, 1, 2, 4, 8)))]
        text = pick.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
        head = pick.choice(("", "", "", "", "", "\ufeff", "\n\n", "\0"))
        tail = pick.choice(("\n", "\n", "", "\0", "#", "[regtest]", "\n[", "\n]", "="))
        return (head + text + tail).encode("utf-8", "surrogateescape")

    def _line(self) -> str:
        pick = self._random
        kind = pick.random()
        if kind < 0.2:
            return pick.choice(
                ("[regtest]", "[main]", "[test]", "[signet]", "[foo]", "[]", "[ regtest ]", " [regtest] ", "[regtest]#",
                 "[regtest] x", "[[regtest]]", "[RegTest]", "[testnet4]", "[regtest.x]", "[regtest]=1")
            )  # fmt: skip
        if kind < 0.4:
            return pick.choice(
                ("# nothing", "", " ", "\t", "#", "=", "=1", "x", "nox", "-listen=1", "unknown=1", "foo.bar=1", "a=b=c",
                 "regtest.listen=0", "main.listen=0", "foo.listen=0", "a.b.listen=0", ".listen=0", "conf=x",
                 "includeconf=inc.conf", "includeconf=none.conf", "includeconf=", "noincludeconf=1", "regtest=1",
                 "chain=regtest", "chain=main", "signet=1", "testnet=0", "noregtest=1", "datadir={dir}", "datadir=",
                 "datadir={dir}/none", "rpcpassword=a#b", "rpcpassword=a", "regtest.rpcpassword=a#b", "x=rpcpassword#",
                 "listen = 1", " listen=0 ", "listen=0 # no", "listen=0;", "\u00a0listen=0", "\vlisten=0",
                 "uacomment=é",
                 "uacomment=" + "a" * 300, "x=" + "y" * 5000, "reindex=0", "noreindex=1", "includeconf=dir.conf",
                 "regtest.includeconf=inc.conf", "reindex=1", "settings=x", "allowignoredconf=1", "version=1", "help=0")
            )  # fmt: skip
        name, value = pick.choice(self._options), pick.choice(VALUES)
        no = pick.choice(("", "", "", "no"))
        section = pick.choice(("", "", "", "", "regtest.", "main.", "test."))
        space = pick.choice(("", "", "", " ", "\t"))
        return f"{space}{section}{no}{name}{space}={space}{value or ''}"

    def _settings(self) -> bytes:
        pick = self._random
        if pick.random() < 0.4:
            return pick.choice(
                (b"", b"{}", b"[]", b"null", b"1", b'"x"', b"{", b'{"a":1,"a":2}', b'{"a":1}x', b"\xef\xbb\xbf{}",
                 b'{"listen":0}\n', b'{"_warning_":1}', b'{"":1}', b'{"regtest.listen":"0"}', b'{"nolisten":"1"}',
                 b'{"wallet":["a"]}', b'{"listen":' + b"[" * 600 + b"]" * 600 + b"}", b'{"listen":01}', b'{"x":"\xff"}',
                 b'{"chain":"main"}', b'{"conf":"x"}', b'{"datadir":"/none"}', b"{'a':1}", b'{"a":NaN}')
            )  # fmt: skip
        names = pick.sample(self._options, pick.choice((1, 2)))
        return json.dumps({name: pick.choice(IN_SETTINGS) for name in names}).encode()
