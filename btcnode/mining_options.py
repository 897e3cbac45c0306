"""The miner's options among the node's."""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.errors import ConfigError, DecodeError
from btcnode.networks.parameters import params_for
from btcnode.option import option
from btcnode.primitives.addresses import secret_decode
from btcnode.storage_options import StorageOptions

MINING = "Block creation"
MAX_BLOCK_WEIGHT = 4_000_000
MIN_RESERVED_WEIGHT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions(StorageOptions):
    """What goes into blocks that are made here; part of ``NodeConfig``."""

    blockmaxweight: int = option("blockmaxweight", "Most weight of a block.", MINING, MAX_BLOCK_WEIGHT, metavar="N")
    blockreservedweight: int = option(
        "blockreservedweight", "Weight left free for header and coinbase.", MINING, 8000, metavar="N"
    )
    blockmintxfee: str = option(
        "blockmintxfee", "Least feerate of what goes into a block, BTC/kvB.", MINING, "0.00000001", metavar="FEERATE"
    )
    printpriority: bool = option("printpriority", "Log the feerates of what goes into a block.", MINING, False)
    blockversion: int | None = option("blockversion", "Version of blocks (regtest).", MINING, metavar="N")
    signetkey: tuple[str, ...] = option(
        "signetkey", "Private key (WIF) that signs blocks of a signet of one's own.", MINING, (), metavar="KEY"
    )


def check_mining_options(options: MiningOptions) -> None:
    """Weights within what consensus allows, in Core's words, and keys that are some; raises ConfigError."""
    for name in ("blockmaxweight", "blockreservedweight"):
        weight = getattr(options, name)
        if weight > MAX_BLOCK_WEIGHT:
            text = f"Specified -{name} ({weight}) exceeds consensus maximum block weight ({MAX_BLOCK_WEIGHT})"
            raise ConfigError(text)
    if options.blockmaxweight < 0:
        raise ConfigError("--blockmaxweight takes no number below 0")
    if options.blockreservedweight < MIN_RESERVED_WEIGHT:
        raise ConfigError(
            f"Specified -blockreservedweight ({options.blockreservedweight}) is lower than minimum safety value of"
            f" ({MIN_RESERVED_WEIGHT})"
        )
    for key in options.signetkey:
        try:
            secret_decode(key, params_for("signet"))
        except DecodeError:
            raise ConfigError("--signetkey takes a private key of a test network in wallet import format") from None
