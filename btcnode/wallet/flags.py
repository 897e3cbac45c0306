"""What a wallet is: flags with Core's numbers and names."""

from __future__ import annotations

from enum import IntFlag


class WalletFlag(IntFlag):
    """Those from the 33rd bit on must be known by whoever opens the wallet."""

    AVOID_REUSE = 1 << 0
    KEY_ORIGIN_METADATA = 1 << 1
    LAST_HARDENED_XPUB_CACHED = 1 << 2
    DISABLE_PRIVATE_KEYS = 1 << 32
    BLANK = 1 << 33
    DESCRIPTORS = 1 << 34
    EXTERNAL_SIGNER = 1 << 35


MUST_BE_KNOWN = ~((1 << 32) - 1)

FLAG_NAMES = {
    WalletFlag.AVOID_REUSE: "avoid_reuse",
    WalletFlag.BLANK: "blank",
    WalletFlag.KEY_ORIGIN_METADATA: "key_origin_metadata",
    WalletFlag.LAST_HARDENED_XPUB_CACHED: "last_hardened_xpub_cached",
    WalletFlag.DISABLE_PRIVATE_KEYS: "disable_private_keys",
    WalletFlag.DESCRIPTORS: "descriptor_wallet",
    WalletFlag.EXTERNAL_SIGNER: "external_signer",
}
MUTABLE_FLAGS = WalletFlag.AVOID_REUSE
