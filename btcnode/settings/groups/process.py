"""Options of the process and of where its settings come from; names of bitcoind's that mean nothing here."""

from __future__ import annotations

from pathlib import Path

from btcnode.networks.names import CHAINS, FLAGS
from btcnode.record import record
from btcnode.settings.declaration import Option, option, switch
from btcnode.settings.kinds import Choice, Flag, Folder, PathName, Processors, Several

SETTINGS_NAME, CONF_NAME = "settings.json", "bitcoin.conf"


@record(kw_only=True)
class ProcessSettings:
    """``datadir`` is None where nobody named one: see ``Settings.datadir``; ``pid`` where none is wanted.

    ``cpu_affinity`` has numbers of processors in the order of importance, None where the system places the node.
    """

    datadir: Path | None = option(
        "datadir",
        "Data directory.",
        Folder(),
        negatable=False,
        usual="~/.btcnode, or ~/.bitcoin where that has a bitcoin.conf and no chain, and the first is missing",
        common=True,
    )
    pid: Path | None = option(
        "pid",
        "File with the process's number, relative to the network's directory.",
        PathName(),
        usual="bitcoind.pid of btcnoded, else none",
        metavar="FILE",
        of_process=True,
    )
    cpu_affinity: tuple[int, ...] | None = option(
        "cpu-affinity",
        "Processors to keep to, such as 0,2-3: the first is for the node's loop, the others for its worker processes.",
        Processors(),
        usual="as the system places them",
    )
    compiled: bool = switch(
        "compiled",
        "Let loops that take most of the time run as machine code, which is made once, where numba is installed.",
        True,
    )


def _named(*options: Option) -> dict[str, Option]:
    return {item.flag: item for item in options}


DAEMON = _named(
    Option("?", "Print this help and exit (also -h, -help).", Flag()),
    Option("allowignoredconf", "An ignored bitcoin.conf in the data directory is a warning, not an error.", Flag()),
    Option(
        "chain",
        "Network: main, test, testnet4, signet or regtest.",
        Choice(CHAINS, "Unknown chain {}."),
        "main",
        metavar="CHAIN",
    ),
    Option(
        "conf",
        "Configuration file, relative to the data directory; negated: none.",
        PathName(),
        CONF_NAME,
        metavar="FILE",
    ),
    Option("daemon", "Run in the background.", Flag()),
    Option("daemonwait", "Run in the background, once the node is up (implies -daemon).", Flag()),
    Option(
        "includeconf",
        "Another configuration file, relative to the data directory, named in the first one.",
        Several(PathName()),
        metavar="FILE",
    ),
    Option(
        "settings",
        "File of settings that change while the node runs, relative to the network's directory; negated: none.",
        PathName(),
        SETTINGS_NAME,
        metavar="FILE",
    ),
    Option("version", "Print the version and exit.", Flag()),
    *(Option(flag, f"The network {network.name}.", Flag()) for flag, network in FLAGS.items()),
)
"""Options of ``btcnoded`` alone: they say where the others come from, or that there shall be no node at all."""

HELP_FLAGS = frozenset({"?", "h", "help", "help-debug"})

OF_GUI = frozenset({"choosedatadir", "lang", "min", "resetguisettings", "splash", "uiplatform"})
"""Of bitcoin-qt: taken without effect, as by bitcoind."""

WITHOUT_EFFECT = {
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
"""bitcoind's options that are taken with a warning in the log: nothing that the user relies on depends on them."""
