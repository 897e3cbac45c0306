"""Names of bitcoind's options, and which of the node's own stand behind them."""

from __future__ import annotations

from functools import cache

from btcnode.cli.settings import Settings, as_text
from btcnode.config import option_table
from btcnode.networks.names import FLAGS

_NAMES = """
? acceptnonstdtxn acceptstalefeeestimates addnode addresstype alertnotify allowignoredconf asmap assumevalid
avoidpartialspends bantime bind blockfilterindex blockmaxweight blockmintxfee blocknotify
blockreconstructionextratxn blockreservedweight blocksdir blocksonly blocksxor blockversion bytespersigop
capturemessages chain changetype checkaddrman checkblockindex checkblocks checklevel checkmempool checkpoints
cjdnsreachable coinstatsindex conf connect consolidatefeerate daemon daemonwait datacarrier datacarriersize datadir
dbbatchsize dbcache dbcrashratio debug debugexclude debuglogfile deprecatedrpc disablewallet discardfee discover dns
dnsseed dustrelayfee externalip fallbackfee fastprune fixedseeds forcecompactdb forcednsseed h help help-debug
i2pacceptincoming i2psam includeconf incrementalrelayfee keypool limitancestorcount limitancestorsize
limitclustercount limitclustersize limitdescendantcount limitdescendantsize listen listenonion loadblock logips
loglevel loglevelalways logratelimit logsourcelocations logthreadnames logtimemicros logtimestamps maxapsfee
maxconnections maxmempool maxreceivebuffer maxsendbuffer maxsigcachesize maxtipage maxtxfee maxuploadtarget
mempoolexpiry minimumchainwork minrelaytxfee mintxfee mocktime natpmp networkactive onion onlynet par
peerblockfilters peerbloomfilters peertimeout permitbaremultisig persistmempool persistmempoolv1 pid port
printpriority printtoconsole privatebroadcast proxy proxyrandomize prune regtest reindex reindex-chainstate rest
rpcallowip rpcauth rpcbind rpccookiefile rpccookieperms rpcdoccheck rpcpassword rpcport rpcservertimeout rpcthreads
rpcuser rpcwhitelist rpcwhitelistdefault rpcworkqueue seednode server settings shrinkdebugfile shutdownnotify signer
signet signetchallenge signetseednode spendzeroconfchange startupnotify stopafterblockimport stopatheight test
testactivationheight testnet testnet4 timeout torcontrol torpassword txconfirmtarget txindex txospenderindex
txreconciliation uacomment unsafesqlitesync v2transport vbparams version wallet walletbroadcast walletcrosschain
walletdir walletnotify walletrbf walletrejectlongchains whitebind whitelist whitelistforcerelay whitelistrelay
zmqpubhashblock zmqpubhashblockhwm zmqpubhashtx zmqpubhashtxhwm zmqpubrawblock zmqpubrawblockhwm zmqpubrawtx
zmqpubrawtxhwm zmqpubsequence zmqpubsequencehwm
"""

CORE_OPTIONS = frozenset(_NAMES.split())
"""Every option that a bitcoind without wallet takes."""

_OWN = frozenset({"network"})


@cache
def node_fields() -> dict[str, tuple[str, str]]:
    """Field and type in ``NodeConfig``, by the option's name."""
    return {info.flag: (name, kind) for name, info, kind, _ in option_table() if name not in _OWN}


DAEMON_OPTIONS = {
    "?": "Print this help and exit (also -h, -help).",
    "alertnotify=<cmd>": "Run this command when a warning comes up (%s: its text).",
    "allowignoredconf": "Take an ignored bitcoin.conf in the data directory as a warning, not an error.",
    "blocknotify=<cmd>": "Run this command when the best block changes (%s: its hash).",
    "chain=<chain>": "Network: main, test, testnet4, signet or regtest (default: main).",
    "conf=<file>": "Configuration file, relative to the data directory (default: bitcoin.conf).",
    "daemon": "Run in the background.",
    "daemonwait": "Run in the background, once the node is up (implies -daemon).",
    "includeconf=<file>": "Another configuration file, named in the first one.",
    "pid=<file>": "File with the process's number (default: bitcoind.pid).",
    "regtest": "The regression test network (also -signet, -testnet, -testnet4).",
    "settings=<file>": "File of settings that change while the node runs (default: settings.json; 0: none).",
    "shutdownnotify=<cmd>": "Run this command when the node is asked to stop, and wait for it.",
    "startupnotify=<cmd>": "Run this command when the node is up.",
    "version": "Print the version and exit.",
}
"""Options of the daemon itself, with their help."""

_WALLET_NAMES = """
addresstype avoidpartialspends changetype consolidatefeerate disablewallet discardfee fallbackfee keypool maxapsfee
maxtxfee mintxfee spendzeroconfchange txconfirmtarget wallet walletbroadcast walletcrosschain walletdir
walletnotify walletrbf walletrejectlongchains unsafesqlitesync
"""

WALLET = frozenset(_WALLET_NAMES.split())
"""Taken without effect, as by a bitcoind that is built without wallet."""

HAS_NO_EFFECT = {
    "checkblockindex": "this check does not exist here",
    "checkmempool": "this check does not exist here",
    "checkpoints": "",  # a warning of its own
    "dbbatchsize": "one transaction of the database holds each flush",
    "forcecompactdb": "the database is never compacted",
    "limitancestorcount": "clusters are limited instead: -limitclustercount",
    "limitancestorsize": "",
    "limitdescendantcount": "clusters are limited instead: -limitclustercount",
    "limitdescendantsize": "",
    "maxsigcachesize": "the size of the caches follows -maxmemory",
    "rpcdoccheck": "every result is made by its declaration",
}
"""Taken with a warning in the log, since nothing that the user relies on depends on them."""


def unsupported(settings: Settings) -> str | None:
    """What the settings ask for and this node has not, as one line for the user."""
    daemon = {name.partition("=")[0] for name in DAEMON_OPTIONS}
    accepted = daemon | WALLET | set(HAS_NO_EFFECT) | set(node_fields()) | _OTHERS
    for name in sorted(CORE_OPTIONS - accepted):
        values = settings.many(name)
        if any(_asks_for_something(value) for value in values):
            text = as_text(values[-1], "")
            return f"-{name}{'=' + text if text else ''} is not supported by this node: remove the option."
    return None


_OTHERS = frozenset({"h", "help", "help-debug", *FLAGS})


def _asks_for_something(value: object) -> bool:
    return value is not False and as_text(value, "") != "0"


def notes_of(settings: Settings) -> list[str]:
    """Warnings about options without effect."""
    return [
        f"-{name} has no effect: {reason}"
        for name, reason in HAS_NO_EFFECT.items()
        if reason and settings.is_set(name) and name not in node_fields()
    ]


def help_text(version: str) -> str:
    """The text of -help: the daemon's options, then the node's by group."""
    lines = [
        f"btcnode daemon version v{version}",
        "",
        "Usage:  btcnoded [options]    Run a node until it is stopped",
        "",
        "Options: (-name=value; -name for yes; -noname for no)",
        "",
    ]
    for name, text in DAEMON_OPTIONS.items():
        lines += [f"  -{name}", f"       {text}", ""]
    group = ""
    for name, info, kind, default in option_table():
        if name in _OWN or info.hidden:
            continue
        if info.group != group:
            group = info.group
            lines += [f"{group}:", ""]
        value = "" if kind.startswith("bool") else f"=<{(info.metavar or 'value').lower()}>"
        shown = (
            "" if default in (None, "", ()) or "default" in info.help or "Path" in kind else f" (default: {default})"
        )
        lines += [f"  -{info.flag}{value}", f"       {info.help}{shown}", ""]
    return "\n".join(lines)
