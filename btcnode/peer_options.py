"""Options about peers among the node's: who may what, and how much they get."""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.address_options import AddressOptions
from btcnode.errors import ConfigError
from btcnode.option import option

CONNECTIONS = "Connections"
_UNITS = {"k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30, "t": 10**12, "T": 2**40}
MAX_BYTES = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions(AddressOptions):
    """Part of ``NodeConfig``."""

    whitebind: tuple[str, ...] = option(
        "whitebind",
        "Address to listen at, and what peers may there.",
        CONNECTIONS,
        (),
        metavar="[PERMISSIONS@]ADDRESS:PORT",
    )
    whitelist: tuple[str, ...] = option(
        "whitelist", "What peers of an address or range may.", CONNECTIONS, (), metavar="[PERMISSIONS@]ADDRESS[/BITS]"
    )
    whitelistrelay: bool | None = option(
        "whitelistrelay", "Relay for peers listed without permissions (default: unless --blocksonly).", CONNECTIONS
    )
    whitelistforcerelay: bool = option(
        "whitelistforcerelay", "Relay again what they send although it is known.", CONNECTIONS, False
    )
    peer_score_learning: bool = option(
        "peer-score-learning", "Let the weights of peers' scores follow what comes of them.", CONNECTIONS, False
    )
    bantime: int = option("bantime", "Seconds that a ban lasts by default.", CONNECTIONS, 86400, metavar="S")
    maxuploadtarget: str = option(
        "maxuploadtarget",
        "Bytes a day beyond which old blocks are not served (0: no limit); k, m, g, t count by 1000, K to T by 1024.",
        CONNECTIONS,
        "0M",
        metavar="N[UNIT]",
    )

    @property
    def upload_target(self) -> int:
        """``maxuploadtarget`` in bytes."""
        return parse_bytes(self.maxuploadtarget, "maxuploadtarget")


def parse_bytes(text: str, name: str) -> int:
    """A number with one of Core's units behind it, M when there is none; raises ConfigError."""
    digits, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, _UNITS["M"])
    value = int(digits) * unit if digits.isascii() and digits.isdigit() else -1
    if not 0 <= value <= MAX_BYTES:
        raise ConfigError(f"Unable to parse -{name}: '{text}'")
    return value


def check_peer_options(options: PeerOptions) -> None:
    """Raises ConfigError."""
    if not 1 <= options.bantime <= 2**40:
        raise ConfigError(f"--bantime takes a number from 1 to {2**40}, not {options.bantime}")
    parse_bytes(options.maxuploadtarget, "maxuploadtarget")
