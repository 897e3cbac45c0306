"""Wallets as wholes: making, loading, describing, saving them."""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic
from typing import Annotated, NotRequired, TypedDict, cast

from btcnode.errors import StorageError
from btcnode.rpc.declare import MAY_HOLD_EQUALS, Hint, Like, Named, Real, Time, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.wallets import (
    RESCANNING,
    LastProcessed,
    last_processed,
    named_wallet,
    prepared_wallets,
    the_wallet,
    wallet_errors,
    wallets_of,
)
from btcnode.services.parts import NodeParts

log = logging.getLogger("btcnode.wallet")

WALLET_VERSION = 169900
Warnings = Annotated[list[Annotated[str, "Warning"]], "What the user should know"]
LoadOnStartup = Annotated[
    bool | None, "Whether to load it at the next start, too (true) or not any more (false); without it as before"
]
REUSE_NOTE = (
    "You need to rescan the blockchain in order to correctly mark used destinations in the past. Until this is done,"
    " some destinations may be considered unused, even if the opposite is the case."
)


class Scanning(TypedDict):
    """How far a rescan is."""

    duration: Annotated[int, "Seconds since it began"]
    progress: Annotated[Real, "Share that is done, 0 to 1"]


class WalletInfo(TypedDict):
    """What a wallet is."""

    walletname: Annotated[str, "Its name"]
    walletversion: Annotated[int, "Always 169900"]
    format: Annotated[str, "What its file is: sqlite"]
    txcount: Annotated[int, "Transactions"]
    keypoolsize: Annotated[int, "Addresses derived ahead of their use"]
    keypoolsize_hd_internal: Annotated[NotRequired[int], "The same for change"]
    unlocked_until: Annotated[NotRequired[Time], "When it is locked again, 0 if it is (encrypted wallets)"]
    private_keys_enabled: Annotated[bool, "Whether it may have private keys"]
    avoid_reuse: Annotated[bool, "Whether it keeps track of addresses that were spent from"]
    scanning: Annotated[Scanning | bool, Like(Scanning), "A rescan under way, false without one"]
    descriptors: Annotated[bool, "Always true"]
    external_signer: Annotated[bool, "Whether an external signer has its keys"]
    blank: Annotated[bool, "Whether it was made without keys"]
    birthtime: Annotated[NotRequired[Time], "No transaction of it is older"]
    flags: Annotated[list[Annotated[str, Named("flag"), "Name of a flag"]], "Its flags"]
    lastprocessedblock: LastProcessed


@rpc("wallet")
def getwalletinfo(node: NodeParts) -> WalletInfo:
    """What the wallet is, and how many transactions and addresses it has."""
    from btcnode.wallet.flags import FLAG_NAMES, WalletFlag
    from btcnode.wallet.wallet import UNKNOWN_TIME

    wallet = the_wallet(node)
    external, internal = wallet.pool_sizes()
    scan = wallet.scan
    result: dict[str, object] = {
        "walletname": wallet.name,
        "walletversion": WALLET_VERSION,
        "format": "sqlite",
        "txcount": len(wallet.ledger.transactions),
        "keypoolsize": external,
        "keypoolsize_hd_internal": internal,
    }
    if wallet.vault.is_encrypted:
        result["unlocked_until"] = wallet.relocking.until
    result["private_keys_enabled"] = not wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS)
    result["avoid_reuse"] = wallet.has(WalletFlag.AVOID_REUSE)
    result["scanning"] = scan.running and {
        "duration": int(monotonic() - scan.began), "progress": double(scan.progress),
    }  # fmt: skip
    result["descriptors"] = True
    result["external_signer"] = wallet.has(WalletFlag.EXTERNAL_SIGNER)
    result["blank"] = wallet.has(WalletFlag.BLANK)
    if wallet.birth_time != UNKNOWN_TIME:
        result["birthtime"] = wallet.birth_time
    result["flags"] = [FLAG_NAMES[flag] for flag in WalletFlag if wallet.has(flag)]
    result["lastprocessedblock"] = last_processed(wallet)
    return cast(WalletInfo, result)


class FoundWallet(TypedDict):
    """A wallet in the directory."""

    name: Annotated[str, "Its name"]
    warnings: Annotated[NotRequired[Warnings], "What the user should know"]


class FoundWallets(TypedDict):
    """The wallets in the directory."""

    wallets: Annotated[list[FoundWallet], "Wallets"]


@rpc("wallet")
async def listwalletdir(node: NodeParts) -> FoundWallets:
    """The wallets in the wallets' directory, loaded or not."""
    found = await (await prepared_wallets(node)).disk.listed()
    return {"wallets": [{"name": name, "warnings": warnings} for name, warnings in found]}


@rpc("wallet")
def listwallets(node: NodeParts) -> list[Annotated[str, Named("walletname"), "Name of a wallet"]]:
    """The names of the wallets that are loaded."""
    assert node.wallets is not None
    return list(node.wallets.loaded)


class LoadedWallet(TypedDict):
    """A wallet that was loaded."""

    name: Annotated[str, "Its name"]
    warnings: Annotated[NotRequired[Warnings], "What the user should know"]


def _loaded(name: str, warnings: list[str]) -> LoadedWallet:
    return {"name": name, "warnings": warnings} if warnings else {"name": name}


@rpc("wallet", examples=(("walletname",),))
async def loadwallet(
    node: NodeParts,
    filename: Annotated[str, "Name of the wallet, below the wallets' directory, or its path", MAY_HOLD_EQUALS],
    load_on_startup: LoadOnStartup = None,
) -> LoadedWallet:
    """Load a wallet that is there."""
    with wallet_errors():
        return _loaded(filename, await (await prepared_wallets(node)).load(filename, load_on_startup))


@rpc("wallet", examples=(("testwallet",),))
async def createwallet(
    node: NodeParts,
    wallet_name: Annotated[str, "Its name, below the wallets' directory, or its path", MAY_HOLD_EQUALS],
    disable_private_keys: Annotated[bool, "Never have private keys"] = False,
    blank: Annotated[bool, "Make no keys"] = False,
    passphrase: Annotated[str | None, "Encrypt it with this passphrase", MAY_HOLD_EQUALS] = None,
    avoid_reuse: Annotated[bool, "Keep track of addresses that were spent from"] = False,
    descriptors: Annotated[bool, "Must be true"] = True,
    load_on_startup: LoadOnStartup = None,
    external_signer: Annotated[bool, "Its keys are those of an external signer (-signer)"] = False,
) -> LoadedWallet:
    """Make a wallet, and load it."""
    from btcnode.wallet.flags import WalletFlag

    flags = WalletFlag(0)
    for wanted, flag in (
        (disable_private_keys, WalletFlag.DISABLE_PRIVATE_KEYS),
        (blank, WalletFlag.BLANK),
        (avoid_reuse, WalletFlag.AVOID_REUSE),
        (external_signer, WalletFlag.EXTERNAL_SIGNER),
    ):
        flags |= flag if wanted else WalletFlag(0)
    warnings = []
    if passphrase == "":
        warnings.append("Empty string given as passphrase, wallet will not be encrypted.")
    if not descriptors:
        why = 'descriptors argument must be set to "true"; it is no longer possible to create a legacy wallet.'
        raise RpcError(RpcCode.WALLET_ERROR, why)
    with wallet_errors():
        warnings += await (await prepared_wallets(node)).create(wallet_name, flags, passphrase or "", load_on_startup)
    return _loaded(wallet_name, warnings)


class UnloadedWallet(TypedDict):
    """A wallet that was unloaded."""

    warnings: Annotated[NotRequired[Warnings], "What the user should know"]


@rpc("wallet", examples=(("wallet_name",),))
async def unloadwallet(
    node: NodeParts,
    wallet_name: Annotated[
        str | None,
        "Its name; the same as in the path, where both are given",
        Hint("the wallet name from the RPC endpoint"),
        MAY_HOLD_EQUALS,
    ] = None,
    load_on_startup: LoadOnStartup = None,
) -> UnloadedWallet:
    """Save a wallet and let go of it."""
    wallets = await prepared_wallets(node)
    name = named_wallet(wallet_name)
    wallet = wallets.loaded.get(name)
    if wallet is None:
        raise RpcError(RpcCode.WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
    if wallet.scan.running:
        raise RpcError(RpcCode.WALLET_ERROR, RESCANNING)
    with wallet_errors():
        warnings = await wallets.unload(wallet, load_on_startup)
    return {"warnings": warnings} if warnings else {}


class ChangedFlag(TypedDict):
    """A flag that was changed."""

    flag_name: Annotated[str, "Its name"]
    flag_state: Annotated[bool, "What it is now"]
    warnings: Annotated[NotRequired[str], "What the user should know"]


@rpc("wallet", examples=(("avoid_reuse",),))
async def setwalletflag(
    node: NodeParts,
    flag: Annotated[str, "Its name: avoid_reuse is the only one that can be changed"],
    value: Annotated[bool, "What it shall be"] = True,
) -> ChangedFlag:
    """Change a flag of the wallet."""
    from btcnode.wallet.flags import FLAG_NAMES, MUTABLE_FLAGS

    wallet = the_wallet(node)
    found = next((known for known, name in FLAG_NAMES.items() if name == flag), None)
    if found is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Unknown wallet flag: {flag}")
    if not found & MUTABLE_FLAGS:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Wallet flag is immutable: {flag}")
    if wallet.has(found) is value:
        state = "true" if value else "false"
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Wallet flag is already set to {state}: {flag}")
    wallet.set_flag(found, on=value)
    with wallet_errors():
        await wallets_of(node).disk.save(wallet)
    result: ChangedFlag = {"flag_name": flag, "flag_state": value}
    if value:
        result["warnings"] = REUSE_NOTE
    return result


@rpc("wallet", examples=(("backup.dat",),))
async def backupwallet(node: NodeParts, destination: Annotated[str, "The file to write", MAY_HOLD_EQUALS]) -> None:
    """Copy the wallet's file."""
    wallet = the_wallet(node)
    try:
        await wallets_of(node).backup(wallet, Path(destination))
    except StorageError as error:
        log.error("%s", error)
        raise RpcError(RpcCode.WALLET_ERROR, "Error: Wallet backup failed!") from None


@rpc("wallet", examples=(("testwallet", "backup.bak"),))
async def restorewallet(
    node: NodeParts,
    wallet_name: Annotated[str, "The name that it shall have", MAY_HOLD_EQUALS],
    backup_file: Annotated[str, "The copy", MAY_HOLD_EQUALS],
    load_on_startup: LoadOnStartup = None,
) -> LoadedWallet:
    """Load a copy of a wallet under a name that is free."""
    if wallet_name and (not backup_file or backup_file.endswith("/")):  # no file's name
        raise RpcError(RpcCode.INVALID_PARAMETER, "Backup file does not exist")
    with wallet_errors():
        return _loaded(
            wallet_name, await (await prepared_wallets(node)).restore(wallet_name, Path(backup_file), load_on_startup)
        )


class MigratedWallet(TypedDict):
    """A wallet that was made of an older one."""

    wallet_name: Annotated[str, "Its name"]
    watchonly_name: Annotated[NotRequired[str], "Name of the one with scripts that were only watched"]
    solvables_name: Annotated[NotRequired[str], "Name of the one with scripts that were not watched either"]
    backup_path: Annotated[str, "The copy of the older one"]


@rpc("wallet", examples=((),))
async def migratewallet(
    node: NodeParts,
    wallet_name: Annotated[
        str | None,
        "Its name; the same as in the path, where both are given",
        Hint("the wallet name from the RPC endpoint"),
        MAY_HOLD_EQUALS,
    ] = None,
    passphrase: Annotated[str | None, "Its passphrase", MAY_HOLD_EQUALS] = None,
) -> MigratedWallet:
    """Always an error: there are only descriptor wallets here, and those of earlier formats cannot be read.

    Bitcoin Core makes descriptor wallets of legacy ones: by listdescriptors there and importdescriptors here they come.
    """
    from btcnode.wallet.errors import WalletError

    name = named_wallet(wallet_name)
    try:
        why = await (await prepared_wallets(node)).why_not_migrated(name)
    except WalletError as error:
        why = str(error)
    raise RpcError(RpcCode.WALLET_ERROR, why)
