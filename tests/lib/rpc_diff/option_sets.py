"""Options that show in answers: a few at a time by chance, then all that a node tells of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

from .asking import Asker, Example, Plan, Report
from .compare import without_places
from .nodes import Node
from .setup import wait_for_indexes
from .text import request, write
from .values import Values, Vectors
from .world import START_TIME, World

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
NOW = START_TIME + 10_000
AT_A_TIME = 9
# One of each row at most, since of two the last or both would count.
ROWS: tuple[tuple[str, ...], ...] = (
    ("-blocksonly", "-blocksonly=0", "-noblocksonly", "-whitelistrelay=0"),
    ("-peerbloomfilters", "-peerbloomfilters=0"),
    ("-blockfilterindex", "-blockfilterindex=basic", "-blockfilterindex=0"),
    ("-peerblockfilters",),
    ("-txindex", "-txindex=0"),
    ("-coinstatsindex", "-txospenderindex"),
    ("-prune=1", "-prune=550", "-prune=100000", "-prune=0"),
    ("-maxuploadtarget=0", "-maxuploadtarget=1", "-maxuploadtarget=5000", "-maxuploadtarget=10k",
     "-maxuploadtarget=1G"),
    ("-uacomment=test", "-uacomment=a b", "-uacomment=x.y,z", "-uacomment=_-?@"),
    ("-externalip=1.2.3.4", "-externalip=1.2.3.4:1234", f"-externalip={ONION}", "-externalip=2001:db8::1",
     "-externalip=10.0.0.1", "-externalip=[2a00::1]:5"),
    ("-proxy=127.0.0.1:9", "-proxy=127.0.0.1", "-proxy=[::1]:9", "-proxy=0", "-noproxy", "-proxy=127.0.0.1:9=ipv4",
     "-proxy=127.0.0.1:9=tor", "-proxy=127.0.0.1:9=cjdns", "-proxy=unix:/tmp/nosuch"),
    ("-onion=127.0.0.1:9", "-onion=0", "-noonion"),
    ("-onlynet=ipv4", "-onlynet=ipv6", "-onlynet=cjdns", "-onlynet=ipv4 -onlynet=ipv6"),
    ("-proxyrandomize=0", "-proxyrandomize"),
    ("-cjdnsreachable",),
    ("-i2psam=127.0.0.1:7", "-i2pacceptincoming=0"),
    ("-networkactive=0", "-networkactive=1", "-nonetworkactive"),
    ("-maxconnections=0", "-maxconnections=1", "-maxconnections=40", "-maxconnections=-5"),
    ("-v2transport=0", "-v2transport"),
    ("-minrelaytxfee=0", "-minrelaytxfee=0.0001", "-minrelaytxfee=1e-5", "-minrelaytxfee=.00001"),
    ("-incrementalrelayfee=0", "-incrementalrelayfee=0.0005", "-incrementalrelayfee=0.00000001"),
    ("-dustrelayfee=0", "-dustrelayfee=0.001"),
    ("-blockmintxfee=0", "-blockmintxfee=0.001", "-blockmintxfee=0.00000001"),
    ("-blockmaxweight=0", "-blockmaxweight=100000", "-blockmaxweight=4000000"),
    ("-blockreservedweight=2000", "-blockreservedweight=4000000", "-blockreservedweight=100000"),
    ("-blockversion=5", "-blockversion=-1", "-blockversion=0x20000001", "-blockversion=x"),
    ("-printpriority",),
    ("-permitbaremultisig=0", "-permitbaremultisig"),
    ("-datacarrier=0", "-datacarriersize=0", "-datacarriersize=83"),
    ("-bytespersigop=1", "-bytespersigop=200"),
    ("-acceptnonstdtxn", "-acceptnonstdtxn=0"),
    ("-limitclustercount=1", "-limitclustercount=64", "-limitclustersize=1"),
    ("-mempoolexpiry=1", "-persistmempool=0", "-persistmempoolv1"),
    ("-maxmempool=5", "-maxmempool=50"),
    ("-debug=net", "-debug=net -debug=rpc", "-debug=1", "-debug", "-debug=none", "-debug=1 -debugexclude=net",
     "-nodebug"),
    ("-loglevel=trace", "-loglevel=net:trace", "-loglevelalways"),
    ("-zmqpubhashblock=tcp://127.0.0.1:0", "-zmqpubrawtx=tcp://127.0.0.1:*", "-zmqpubsequence=unix:/tmp/nosuch-dir/x"),
    ("-zmqpubhashtx=tcp://127.0.0.1:* -zmqpubhashtxhwm=5",),
    ("-whitelist=127.0.0.1", "-whitelist=noban,in@127.0.0.1/8", "-whitelistforcerelay"),
    ("-bantime=1", "-bantime=99999"),
    ("-alertnotify=true", "-blocknotify=true", "-startupnotify=true"),
    ("-checkblocks=1", "-checklevel=0", "-checkblocks=0"),
    ("-assumevalid=0", "-assumevalid=" + "ab" * 32, "-noassumevalid"),
    ("-minimumchainwork=0", "-minimumchainwork=ff", "-minimumchainwork=0x10"),
    ("-maxtipage=1", "-maxtipage=999999999"),
    ("-deprecatedrpc=warnings", "-deprecatedrpc=x"),
    ("-deprecatedrpc=bip125", "-deprecatedrpc=fullrbf"),
    ("-rpcdoccheck", "-rpcthreads=1", "-rpcworkqueue=1"),
    ("-rest=0", "-norest"),
    ("-noasmap",),
    ("-par=1", "-par=-2", "-dbcache=4", "-dbcache=100"),
    ("-stopatheight=0", "-test=bip94", "-test=reindex_after_failure_noninteractive_yes"),
    ("-addnode=127.0.0.1:9", "-addnode=127.0.0.1:9 -addnode=127.0.0.1:7", f"-addnode={ONION}"),
    ("-seednode=127.0.0.1:9", "-forcednsseed=0"),
    ("-fixedseeds=0", "-dns=0"),
    ("-testactivationheight=segwit@0", "-testactivationheight=csv@3"),
    ("-vbparams=testdummy:0:999999999999", "-fastprune"),
    ("-privatebroadcast=0", "-txreconciliation", "-capturemessages=0"),
    ("-peertimeout=1", "-timeout=1", "-timeout=99999"),
    ("-server=1", "-nosettings", "-settings=x.json"),
    ("-signetchallenge=51", "-signetseednode=x"),
    ("-wallet=x", "-nowallet", "-fallbackfee=0.1", "-walletrbf"),
)  # fmt: skip
PLAIN = (
    "getblockchaininfo", "getnetworkinfo", "getmempoolinfo", "getmininginfo", "getindexinfo", "getzmqnotifications",
    "logging", "getnettotals", "getaddednodeinfo", "getconnectioncount", "getpeerinfo", "getchainstates",
    "getdeploymentinfo", "listbanned", "getaddrmaninfo", "getrawmempool", "getprivatebroadcastinfo", "getchaintips",
    "getorphantxs", "getnodeaddresses", "savemempool", "getmempoolfeeratediagram", "getprioritisedtransactions",
)  # fmt: skip
CALLS: tuple[tuple[str, list[Any]], ...] = (
    *((method, []) for method in PLAIN),
    ("getblocktemplate", [{"rules": ["segwit"]}]),
    ("getblockfilter", ["HASH"]),
    ("getblockstats", [2]),
    ("gettxoutsetinfo", ["muhash"]),
    ("gettxoutsetinfo", ["muhash", 1]),
    ("pruneblockchain", [1]),
    ("estimatesmartfee", [5]),
    ("verifychain", []),
    ("scanblocks", ["start", ["raw(51)"]]),
    ("getrawtransaction", ["ab" * 32]),
    ("gettxspendingprevout", [[{"txid": "ab" * 32, "vout": 0}]]),
    ("addnode", ["127.0.0.1:9", "add"]),
    ("addnode", ["127.0.0.1:7", "onetry", False]),
    ("addconnection", ["127.0.0.1:9", "x", True]),
    ("setnetworkactive", [True]),
    ("setban", ["1.2.3.4", "add"]),
    ("testmempoolaccept", [["00"]]),
    ("help", ["nosuch"]),
)


def _chosen(rng: Random) -> list[str]:
    return [word for row in rng.sample(ROWS, AT_A_TIME) for word in rng.choice(row).split(" -")]


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes. ``plan.rounds`` times two sets of options; a set that both refuse is passed over."""
    deadline = time.monotonic() + plan.seconds
    values = Values(World(plan.seed), rng, Vectors(None))
    for _ in range(2 * plan.rounds):
        if time.monotonic() > deadline:
            return
        words = [word if word.startswith("-") else f"-{word}" for word in _chosen(rng)]
        nodes = make()
        try:
            refused = [_refusal(node, words) for node in nodes]
            if any(refused):
                report.calls += 1
                if refused[0] != refused[-1]:
                    report.add("options", "refused", Example(" ".join(words), refused[0], refused[-1]))
            else:
                _ask(Asker(nodes, report), values, " ".join(words))
        finally:
            for node in nodes:
                node.stop()


def _refusal(node: Node, words: list[str]) -> str:
    """Why a node does not start with the options; empty when it does."""
    node.options = [f"-mocktime={NOW}", *words]
    return without_places(node.refusal())


def _ask(asker: Asker, values: Values, options: str) -> None:
    for stage in range(2):
        for node in asker.nodes:
            wait_for_indexes(node)
        for method, params in CALLS:
            shown = f"{options}: {method} {write(params)} in stage {stage}"
            asker.compare(method, shown, asker.post(request(method, params)))
        if stage == 0:
            for raw in values.world.blocks[:105]:
                asker.compare("submitblock", options, asker.post(request("submitblock", [raw.hex()])))
            for _ in range(20):
                asker.compare(
                    "sendrawtransaction", options, asker.post(request("sendrawtransaction", [values.tx_hex()]))
                )
