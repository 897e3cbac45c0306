"""Options of blocks that are made here."""

from __future__ import annotations

from btcnode.errors import ConfigError, DecodeError
from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import secret_decode
from btcnode.record import record
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import Feerate, Number, Parsed, Several

MAX_BLOCK_WEIGHT = 4_000_000
MIN_RESERVED_WEIGHT = 2000


def _parse_key(flag: str, text: str) -> tuple[bytes, bool]:
    try:
        return secret_decode(text, params_for("signet"))
    except DecodeError:
        raise ConfigError(f"-{flag} takes a private key of a test network in wallet import format") from None


def _too_much(flag: str) -> str:
    return f"Specified -{flag} ({{}}) exceeds consensus maximum block weight ({MAX_BLOCK_WEIGHT})"


@record(kw_only=True)
class MiningSettings:
    """``signetkey``: 32 bytes each, and whether its public key is written compressed."""

    blockmaxweight: int = option(
        "blockmaxweight",
        "Most weight of a block.",
        Number(0, MAX_BLOCK_WEIGHT, too_high=_too_much("blockmaxweight")),
        str(MAX_BLOCK_WEIGHT),
    )
    blockreservedweight: int = option(
        "blockreservedweight",
        "Weight left free for header and coinbase.",
        Number(
            MIN_RESERVED_WEIGHT,
            MAX_BLOCK_WEIGHT,
            too_low="Specified -blockreservedweight ({}) is lower than minimum safety value of"
            f" ({MIN_RESERVED_WEIGHT})",
            too_high=_too_much("blockreservedweight"),
        ),
        "8000",
    )
    blockmintxfee: int = option(
        "blockmintxfee", "Least feerate of what goes into a block, BTC/kvB.", Feerate(), "0.00000001"
    )
    printpriority: bool = switch("printpriority", "Log the feerates of what goes into a block.", False)
    blockversion: int | None = option("blockversion", "Version of blocks (regtest).", Number(-(2**31), clamp=True))
    signetkey: tuple[tuple[bytes, bool], ...] = option(
        "signetkey",
        "Private key (WIF) that signs blocks of a signet of one's own.",
        Several(Parsed(_parse_key, "KEY")),
        secret=True,
    )
