"""Options about the log and for tests among the node's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from btcnode.errors import ConfigError
from btcnode.option import option

LOG = "Log"
TEST = "Debugging and testing"

LOG_CATEGORIES = (
    "addrman", "bench", "blockstorage", "cmpctblock", "coindb", "estimatefee", "http", "i2p", "ipc", "kernel",
    "leveldb", "libevent", "mempool", "mempoolrej", "net", "privatebroadcast", "proxy", "prune", "qt", "rand",
    "reindex", "rpc", "scan", "selectcoins", "tor", "txpackages", "txreconciliation", "validation", "walletdb", "zmq",
)  # fmt: skip
"""Debug categories: all of Core's; ``btcnode.<category>`` is the logger, where this node has something to say."""

LOG_LEVELS = ("info", "debug", "trace")
"""How much an enabled category tells; this node writes nothing below debug."""

TEST_OPTIONS = ("addrman", "reindex_after_failure_noninteractive_yes", "bip94")
"""What ``--test`` takes: a predictable address book, a reindex when the databases are damaged, BIP94 on regtest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugOptions:
    """Part of ``NodeConfig``."""

    debug: tuple[str, ...] = option(
        "debug", "Log this category in detail (all: every one).", LOG, (), metavar="CATEGORY"
    )
    debugexclude: tuple[str, ...] = option(
        "debugexclude", "Leave this category out of --debug.", LOG, (), metavar="CATEGORY"
    )
    loglevel: tuple[str, ...] = option(
        "loglevel",
        "How much the categories of --debug tell: info (nothing more), debug or trace; CATEGORY:LEVEL for one.",
        LOG,
        (),
        metavar="LEVEL",
    )
    debuglogfile: str = option(
        "debuglogfile", "Log file, relative to the network's directory (0: none).", LOG, "debug.log", metavar="FILE"
    )
    printtoconsole: bool | None = option(
        "printtoconsole", "Log to the console (default: unless the live display is on).", LOG
    )
    progress: bool | None = option("progress", "Live display (default: on a terminal).", LOG)
    logips: bool = option("logips", "Addresses of peers in the log.", LOG, False)
    loglevelalways: bool = option("loglevelalways", "Category and level in every line of the log.", LOG, False)
    logratelimit: bool = option("logratelimit", "Write at most 1 MiB an hour from one place in the source.", LOG, True)
    logtimemicros: bool = option("logtimemicros", "Microseconds in the log.", LOG, False)
    logtimestamps: bool = option("logtimestamps", "Time in the log.", LOG, True)
    logthreadnames: bool = option("logthreadnames", "Name of the thread in the log.", LOG, False)
    logsourcelocations: bool = option("logsourcelocations", "Place in the source in the log.", LOG, False)
    shrinkdebugfile: bool | None = option(
        "shrinkdebugfile", "Cut a large log at start (default: unless --debug is given).", LOG
    )

    stopafterblockimport: bool = option(
        "stopafterblockimport", "Stop when the blocks of --loadblock or --reindex are in.", TEST, False
    )
    deprecatedrpc: tuple[str, ...] = option(
        "deprecatedrpc",
        "Still answer this deprecated method, or with this field.",
        TEST,
        (),
        metavar="NAME",
    )
    test: tuple[str, ...] = option(
        "test", f"For tests, on regtest only: {', '.join(TEST_OPTIONS)}.", TEST, (), metavar="OPTION"
    )

    @property
    def debug_categories(self) -> frozenset[str]:
        """Categories that are switched on; how much they tell is up to ``category_levels``."""
        every = frozenset(LOG_CATEGORIES)
        wanted = every if {"all", "1"} & set(self.debug) else frozenset(self.debug) & every
        return wanted - frozenset(self.debugexclude)

    @property
    def category_levels(self) -> Mapping[str, str]:
        """One of ``LOG_LEVELS`` for every category."""
        default, own = "debug", {}
        for text in self.loglevel:
            category, colon, level = text.rpartition(":")
            if colon:
                own[category] = level
            else:
                default = level
        return {category: own.get(category, default) for category in LOG_CATEGORIES}


def check_debug_options(options: DebugOptions, network: str) -> None:
    """Names of categories, levels and test options, in Core's words; raises ConfigError."""
    for name, categories in (("debug", options.debug), ("debugexclude", options.debugexclude)):
        for category in categories:
            if category not in (*LOG_CATEGORIES, "all", "1", "0", "none"):
                raise ConfigError(f"Unsupported logging category --{name}={category}.")
    for text in options.loglevel:
        category, colon, level = text.partition(":")
        if not colon and text not in LOG_LEVELS:
            raise ConfigError(
                f"Unsupported global logging level --loglevel={text}. Valid values: {', '.join(LOG_LEVELS)}."
            )
        if colon and (category not in LOG_CATEGORIES or level not in LOG_LEVELS):
            raise ConfigError(
                f"Unsupported category-specific logging level --loglevel={text}."
                " Expected --loglevel=<category>:<loglevel>."
                f" Valid categories: {', '.join(LOG_CATEGORIES)}. Valid loglevels: {', '.join(LOG_LEVELS)}."
            )
    if options.test and network != "regtest":
        raise ConfigError("--test=<option> can only be used with regtest")
