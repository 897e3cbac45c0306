"""Options of the chain: which one, what of it is taken on trust, what tests change of its rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.networks.parameters import (
    ACTIVATION_NAMES,
    DEPLOYMENT_NAMES,
    NetworkParams,
    VersionBits,
    params_for,
)
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record, replace
from btcnode.settings.addresses import parse_target
from btcnode.settings.declaration import NETWORK_DEFAULT, option, switch
from btcnode.settings.kinds import INT32_MAX, INT64_MAX, Hex, HexNumber, Number, Parsed, Several, Share

if TYPE_CHECKING:
    from fractions import Fraction

TEST_OPTIONS = ("addrman", "reindex_after_failure_noninteractive_yes", "bip94")
"""What ``-test`` takes: a predictable address book, a reindex when the databases are damaged, BIP94 on regtest."""

_INTEGER = r"-?[0-9]{1,19}"


def parse_activation_height(flag: str, text: str) -> tuple[str, int]:
    """``name@height``; raises ConfigError."""
    name, at, height_text = text.partition("@")
    if not at:
        raise ConfigError(f"Invalid format ({text}) for -{flag}=name@height.")
    height = _integer(height_text, 32)
    if height is None or not 0 <= height < INT32_MAX:
        raise ConfigError(f"Invalid height value ({text}) for -{flag}=name@height.")
    if name not in ACTIVATION_NAMES:
        raise ConfigError(f"Invalid name ({text}) for -{flag}=name@height.")
    return name, height


def parse_version_bits(flag: str, text: str) -> tuple[str, VersionBits]:
    """``deployment:start:end[:min_activation_height]``; raises ConfigError."""
    parts = text.split(":")
    if not 3 <= len(parts) <= 4:
        raise ConfigError("Version bits parameters malformed, expecting deployment:start:end[:min_activation_height]")
    numbers = []
    for label, part in zip(("nStartTime", "nTimeout", "min_activation_height"), parts[1:], strict=False):
        value = _integer(part, 64)
        if value is None:
            raise ConfigError(f"Invalid {label} ({part})")
        numbers.append(value)
    if parts[0] not in DEPLOYMENT_NAMES:
        raise ConfigError(f"Invalid deployment ({parts[0]})")
    return parts[0], VersionBits(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 0)


def _integer(text: str, bits: int) -> int | None:
    """A decimal integer of ``bits`` bits with sign; None for anything else."""
    if not re.fullmatch(_INTEGER, text):
        return None
    value = int(text)
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


@record(kw_only=True)
class ChainSettings:
    """Numbers are as the consensus code has them; ``assumevalid`` 0 is "verify every script", None the network's."""

    assumevalid: int | None = option(
        "assumevalid",
        "Take the scripts of this block's ancestors as valid (0: verify all).",
        HexNumber("Invalid assumevalid block hash specified ({}), must be up to 64 hex digits (or 0 to disable)"),
        usual=NETWORK_DEFAULT,
        metavar="HASH",
    )
    minimumchainwork: int | None = option(
        "minimumchainwork",
        "Least work of a chain worth downloading, in hex.",
        HexNumber("Invalid minimum work specified ({}), must be up to 64 hex digits"),
        usual=NETWORK_DEFAULT,
    )
    signetchallenge: bytes | None = option(
        "signetchallenge",
        "Script that the blocks of a signet of one's own satisfy, in hex.",
        Hex(),
        usual="that of the public signet",
        negatable=False,
        only_on="signet",
    )
    signetseednode: tuple[str, ...] = option(
        "signetseednode",
        "Seed of a signet of one's own, instead of those of the public one.",
        Several(Parsed(parse_target, "HOST[:PORT]")),
        negatable=False,
        only_on="signet",
    )
    shadow_validation: Fraction | int = option(
        "shadow-validation",
        "Verify scripts with libbitcoinkernel as well: 1 for all blocks, 1/100 for one in a hundred, 0 for none.",
        Share(),
        "0",
    )
    shadow_stop: bool = switch(
        "shadow-stop", "Stop the node when the second engine disagrees (else log and go on).", True
    )
    maxtipage_s: int = option(
        "maxtipage", "Tip age in seconds above which the node counts as syncing.", Number(0, INT64_MAX, clamp=True),
        "86400", metavar="S",
    )  # fmt: skip
    mocktime: int = option("mocktime", "Clock to begin with (0: the real one).", Number(0, 2**62), "0", metavar="TIME")
    testactivationheight: tuple[tuple[str, int], ...] = option(
        "testactivationheight",
        "Height at which a rule begins (regtest).",
        Several(Parsed(parse_activation_height, "NAME@HEIGHT")),
        only_on="regtest",
    )
    vbparams: tuple[tuple[str, VersionBits], ...] = option(
        "vbparams",
        "Times and height of a deployment (regtest).",
        Several(Parsed(parse_version_bits, "NAME:START:END[:MIN]")),
        only_on="regtest",
    )
    test: tuple[str, ...] = option(
        "test",
        f"For tests, on regtest only: {', '.join(TEST_OPTIONS)}.",
        Several(Parsed(lambda flag, text: text, "OPTION")),
    )

    def parameters(self, network: str, dns_seeds: tuple[str, ...], *, fast_prune: bool) -> NetworkParams:
        """The parameters of a network (our name of it) with what these options change of them."""
        params = params_for(
            network,
            signet_challenge=self.signetchallenge,
            seed_nodes=self.signetseednode or None,
            activation_overrides=dict(self.testactivationheight) or None,
            version_bits=dict(self.vbparams) or None,
            enforce_bip94="bip94" in self.test and network == "regtest",
            fast_prune=fast_prune,
        )
        if self.minimumchainwork is not None:
            params = replace(params, minimum_chain_work=self.minimumchainwork)
        if dns_seeds:
            params = replace(params, dns_seeds=dns_seeds)
        if self.assumevalid is not None:
            block_hash = BlockHash(self.assumevalid.to_bytes(32, "little")) if self.assumevalid else None
            params = replace(params, assume_valid=block_hash)
        return params
