"""Every network from its genesis block, and regtest with rules that begin at other heights: what a node tells there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import to_display

from .asking import Asker, Plan, Report
from .nodes import Node
from .text import request, write
from .values import BAD_ADDRESSES, MAINNET_ADDRESSES, TPRV, TPUB, XPUB
from .world import PUBKEYS, START_TIME, wif

NAMES = ("main", "test", "testnet4", "signet")
BURIED = ("segwit", "bip34", "dersig", "cltv", "csv")
ADDRESSES = (
    *MAINNET_ADDRESSES,
    *BAD_ADDRESSES,
    "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
    "2N2JD6wb56AfK4tfmM6PwdVmoYk2dCKf4Br",
    "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
)
NOW = START_TIME + 60_000_000  # after every genesis block
MINED = 10


def _calls(genesis: str) -> Iterator[tuple[str, list[Any]]]:
    """What any node tells, whatever its network."""
    for method in (
        "getblockchaininfo", "getchaintips", "getchainstates", "getdeploymentinfo", "getmininginfo", "getmempoolinfo",
        "getdifficulty", "getbestblockhash", "getrawmempool", "getindexinfo", "getnetworkinfo", "getpeerinfo",
        "getaddednodeinfo", "listbanned", "getzmqnotifications", "getprioritisedtransactions", "getnettotals",
        "getchaintxstats", "getorphantxs", "getmempoolfeeratediagram", "getaddrmaninfo", "getrawaddrman",
        "getnodeaddresses", "getblocktemplate", "generate", "logging", "getprivatebroadcastinfo",
    ):  # fmt: skip
        yield method, []
    for rules in (["segwit"], ["signet", "segwit"], ["signet"], [], ["!segwit"]):
        yield "getblocktemplate", [{"rules": rules}]
    for verbosity in range(4):
        yield "getblock", [genesis, verbosity]
    yield "getblockheader", [genesis]
    yield "getblockstats", [0]
    yield "getblockstats", [genesis, ["height"]]
    yield "getdeploymentinfo", [genesis]
    yield "getblockhash", [0]
    yield "getblockhash", [1]
    for kind in ("none", "muhash", "hash_serialized_3"):
        yield "gettxoutsetinfo", [kind]
    yield "getnetworkhashps", []
    yield "getnetworkhashps", [-1]
    yield "verifychain", [4, 0]
    yield "estimatesmartfee", [2]
    yield "scantxoutset", ["start", ["raw(51)"]]
    yield "scanblocks", ["start", ["raw(51)"]]
    yield "savemempool", []
    yield from _keys()


def _keys() -> Iterator[tuple[str, list[Any]]]:
    """Keys and addresses, which belong to a network."""
    key = PUBKEYS[1].hex()
    for address in ADDRESSES:
        yield "validateaddress", [address]
        yield "createrawtransaction", [[], {address: 1}]
        yield "generatetoaddress", [0, address]
        yield "getdescriptorinfo", [f"addr({address})"]
    for private in (wif(1), wif(1, prefix=0x80), wif(1, compressed=False, prefix=0x80)):
        yield "signmessagewithprivkey", [private, "x"]
        yield "getdescriptorinfo", [f"wpkh({private})"]
        yield "signrawtransactionwithkey", ["02000000000100000000000000000000000000", [private]]
    for extended in (TPUB, TPRV, XPUB):
        yield "getdescriptorinfo", [f"wpkh({extended}/0/*)"]
    for kind in ("legacy", "p2sh-segwit", "bech32"):
        yield "createmultisig", [1, [key], kind]
    for script in (
        "51",
        "6a",
        f"21{key}ac",
        "5120" + "ab" * 32,
        "0014" + "ab" * 20,
        "51024e73",
        "a914" + "ab" * 20 + "87",
    ):
        yield "decodescript", [script]


def _rules(rng: Random) -> tuple[str, ...]:
    """Options of regtest that change when rules begin."""
    options = [f"-testactivationheight={name}@{rng.choice((0, 1, 2, 5, 200))}" for name in rng.sample(BURIED, 3)]
    options.append(f"-testactivationheight={rng.choice(BURIED)}@{rng.choice((1, 7))}")  # perhaps once more
    start, end = rng.choice(((0, 2**63 - 1), (-1, 0), (-2, 2**63 - 1), (NOW - 50, NOW + 10**6), (0, 1), (NOW, NOW)))
    last = rng.choice(("", ":0", ":5", ":1000"))
    options.append(f"-vbparams=testdummy:{start}:{end}{last}")
    return ("-regtest", *rng.sample(options, rng.randrange(1, len(options) + 1)))


def _networks(rng: Random) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in NAMES:
        yield name, (f"-chain={name}",)
    challenge = rng.choice(("51", f"5121{PUBKEYS[2].hex()}51ae"))
    yield "signet", ("-signet", f"-signetchallenge={challenge}")
    while True:
        yield "regtest", _rules(rng)


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes. Each network once, then regtest with other rules, ``plan.rounds`` times."""
    deadline = time.monotonic() + plan.seconds
    for _, (name, options) in zip(range(len(NAMES) + 1 + plan.rounds), _networks(rng), strict=False):
        if time.monotonic() > deadline:
            return
        nodes = make()
        try:
            for node in nodes:
                node.network = options
                node.options = [f"-mocktime={NOW}"]
                node.start()
            _ask(Asker(nodes, report), name, " ".join(options))
        finally:
            for node in nodes:
                node.stop()


def _ask(asker: Asker, name: str, options: str) -> None:
    for method, params in _calls(to_display(params_for(name).genesis_hash)):
        asker.compare(method, f"{options}: {method} {write(params)}", asker.post(request(method, params)))
    if name != "regtest":
        return
    for height in range(1, MINED + 1):
        for method, params in (
            ("generatetodescriptor", [1, "raw(51)"]),
            ("getblockhash", [height]),
            ("getdeploymentinfo", []),
            ("getblockchaininfo", []),
            ("getblocktemplate", [{"rules": ["segwit"]}]),
            ("getmininginfo", []),
            ("getblockstats", [height]),
        ):
            asker.compare(
                method, f"{options}: {method} {write(params)} at {height}", asker.post(request(method, params))
            )
