"""Options about addresses of peers among the node's: where the first ones come from, and how they are grouped."""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.errors import ConfigError
from btcnode.mining_options import MiningOptions
from btcnode.option import option

CONNECTIONS, TESTING = "Connections", "Debugging and testing"
MAX_CHECK_RATIO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOptions(MiningOptions):
    """Part of ``NodeConfig``."""

    asmap: str = option(
        "asmap",
        "Map of autonomous systems to group addresses by, relative to the network's directory (1: the package's own).",
        CONNECTIONS,
        "0",
        metavar="FILE",
    )
    fixedseeds: bool = option(
        "fixedseeds", "Use built-in addresses when there are no others of a network.", CONNECTIONS, True
    )
    forcednsseed: bool = option(
        "forcednsseed", "Ask DNS seeds even if there are addresses already.", CONNECTIONS, False
    )
    capturemessages: bool = option(
        "capturemessages", "Write every message from and to peers into files.", TESTING, False
    )
    checkaddrman: int = option(
        "checkaddrman", "Check the address book once in N operations (0: never).", TESTING, 0, metavar="N"
    )


def check_address_options(options: AddressOptions, *, asks_dns_seeds: bool) -> None:
    """Raises ConfigError."""
    if options.forcednsseed and not asks_dns_seeds:
        raise ConfigError("Cannot set -forcednsseed to true when setting -dnsseed to false.")
    if not 0 <= options.checkaddrman <= MAX_CHECK_RATIO:
        raise ConfigError(f"--checkaddrman takes a number from 0 to {MAX_CHECK_RATIO}, not {options.checkaddrman}")
