"""Options of the log and the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from btcnode.errors import ConfigError
from btcnode.record import record
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import Kind, PathName

LOG_CATEGORIES = (
    "addrman", "bench", "blockstorage", "cmpctblock", "coindb", "estimatefee", "http", "i2p", "ipc", "kernel",
    "leveldb", "libevent", "mempool", "mempoolrej", "net", "privatebroadcast", "proxy", "prune", "qt", "rand",
    "reindex", "rpc", "scan", "selectcoins", "tor", "txpackages", "txreconciliation", "validation", "walletdb", "zmq",
)  # fmt: skip
"""Debug categories: all of Core's; ``btcnode.<category>`` is the logger, where this node has something to say."""

LOG_NAME = "debug.log"
LOG_LEVELS = ("info", "debug", "trace")
"""How much an enabled category tells; this node writes nothing below debug."""

EVERY = frozenset(LOG_CATEGORIES)


class _Categories(Kind):
    """Names of categories; ``all``, ``1`` or nothing for every one, ``-debug=0`` and ``none`` forget those before."""

    metavar = "CATEGORY"
    several = True

    def read(self, flag: str, text: str) -> str:
        """The name, to be judged once it is known which ones count."""
        return text

    def collect(self, values: Sequence[Any]) -> frozenset[str]:
        """The categories named."""
        forget = ("0", "none") if self.flag == "debug" else ()
        start = 1 + max((n for n, text in enumerate(values) if text in forget), default=-1)
        found: frozenset[str] = frozenset()
        for text in values[start:]:
            if text not in (*LOG_CATEGORIES, "", "1", "all"):
                raise ConfigError(f"Unsupported logging category -{self.flag}={text}.")
            found |= EVERY if text in ("", "1", "all") else {text}
        return found

    def __init__(self, flag: str) -> None:
        self.flag = flag


class _Levels(Kind):
    """A level for all categories, or ``category:level`` for one."""

    metavar = "LEVEL"
    several = True

    def read(self, flag: str, text: str) -> tuple[str, str]:
        """Category ("" for all) and level."""
        category, colon, level = text.partition(":")
        if not colon:
            category, level = "", text
        if not colon and level not in LOG_LEVELS:
            raise ConfigError(
                f"Unsupported global logging level -{flag}={text}. Valid values: {', '.join(LOG_LEVELS)}."
            )
        if colon and (category not in LOG_CATEGORIES or level not in LOG_LEVELS):
            raise ConfigError(
                f"Unsupported category-specific logging level -{flag}={text}."
                f" Expected -{flag}=<category>:<loglevel>."
                f" Valid categories: {', '.join(LOG_CATEGORIES)}. Valid loglevels: {', '.join(LOG_LEVELS)}."
            )
        return category, level

    def collect(self, values: Sequence[Any]) -> Mapping[str, str]:
        """The level of every category."""
        default, own = "debug", {}
        for category, level in values:
            if category:
                own[category] = level
            else:
                default = level
        return {category: own.get(category, default) for category in LOG_CATEGORIES}


@record(kw_only=True)
class LogSettings:
    """``debug`` are the categories switched on but for ``debugexclude``; ``loglevel`` has a level for each category."""

    debug: frozenset[str] = option(
        "debug", "Log this category in detail (all: every one).", _Categories("debug"), of_process=True
    )
    debugexclude: frozenset[str] = option(
        "debugexclude", "Leave this category out of -debug.", _Categories("debugexclude"), of_process=True
    )
    loglevel: Mapping[str, str] = option(
        "loglevel",
        "How much the categories of -debug tell: info (nothing more), debug or trace; CATEGORY:LEVEL for one.",
        _Levels(),
        negatable=False,
        needs_value=True,
        of_process=True,
    )
    debuglogfile: Path | None = option(
        "debuglogfile",
        "Log file, relative to the network's directory; negated: none.",
        PathName(LOG_NAME),
        LOG_NAME,
        metavar="FILE",
        of_process=True,
    )
    printtoconsole: bool | None = switch(
        "printtoconsole",
        "Log to the console.",
        usual="on unless the live display is, or the node is in background",
        of_process=True,
    )
    progress: bool | None = switch(
        "progress", "Live display.", usual="on at a terminal, but off of btcnoded", of_process=True
    )
    logips: bool = switch("logips", "Addresses of peers in the log.", False)
    loglevelalways: bool = switch(
        "loglevelalways", "Category and level in every line of the log.", False, of_process=True
    )
    logratelimit: bool = switch(
        "logratelimit", "Write at most 1 MiB an hour from one place in the source.", True, of_process=True
    )
    logtimemicros: bool = switch("logtimemicros", "Microseconds in the log.", False, of_process=True)
    logtimestamps: bool = switch("logtimestamps", "Time in the log.", True, of_process=True)
    logthreadnames: bool = switch("logthreadnames", "Name of the thread in the log.", False, of_process=True)
    logsourcelocations: bool = switch("logsourcelocations", "Place in the source in the log.", False, of_process=True)
    shrinkdebugfile: bool | None = switch(
        "shrinkdebugfile", "Cut a large log at start.", usual="on unless -debug is given", of_process=True
    )

    @property
    def categories(self) -> frozenset[str]:
        """Categories that are switched on; how much they tell is up to ``loglevel``."""
        return self.debug - self.debugexclude
