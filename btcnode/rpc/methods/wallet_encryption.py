"""The passphrase of a wallet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from btcnode.rpc.declare import MAY_HOLD_EQUALS, Bits, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.wallets import the_wallet, wallet_errors, wallets_of
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.wallet.wallet import Wallet

MAX_SECONDS = 100_000_000
_EMPTY = "passphrase cannot be empty"
_WRONG = "Error: The wallet passphrase entered was incorrect."
_BEFORE = "please try again with only the characters up to — but not including — the first null character."
_ZERO = (
    "Error: The wallet passphrase entered is incorrect. It contains a null character (ie - a zero byte). If the"
    f" passphrase was set with a version of this software prior to 25.0, {_BEFORE} If this is successful, please set a"
    " new passphrase to avoid this issue in the future."
)
_OLD_ZERO = (
    "Error: The old wallet passphrase entered is incorrect. It contains a null character (ie - a zero byte). If the old"
    f" passphrase was set with a version of this software prior to 25.0, {_BEFORE}"
)


def _check_encrypted(wallet: Wallet, method: str) -> None:
    if not wallet.vault.is_encrypted:
        why = f"Error: running with an unencrypted wallet, but {method} was called."
        raise RpcError(RpcCode.WRONG_ENC_STATE, why)


def _check_not_scanning(wallet: Wallet, what: str) -> None:
    if wallet.scan.running and wallet.scan.needs_passphrase:
        raise RpcError(
            RpcCode.WALLET_ERROR,
            "Error: the wallet is currently being used to rescan the blockchain for related transactions. Please call"
            f" `abortrescan` before {what}.",
        )


@rpc("wallet", examples=(("my pass phrase", 60),))
async def walletpassphrase(
    node: NodeParts,
    passphrase: Annotated[str, "The passphrase", MAY_HOLD_EQUALS],
    timeout: Annotated[Whole, "Seconds until it is locked again, at most 100000000", Bits(64)],  # noqa: ASYNC109
) -> None:
    """Unlock the wallet for a time. Of an unlocked one the time is set anew."""
    wallet = the_wallet(node)
    _check_encrypted(wallet, "walletpassphrase")
    seconds = timeout.read()
    if seconds < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Timeout cannot be negative.")
    if not passphrase:
        raise RpcError(RpcCode.INVALID_PARAMETER, _EMPTY)
    with wallet_errors():
        if not await wallets_of(node).keys.unlock(wallet, passphrase, min(seconds, MAX_SECONDS)):
            raise RpcError(RpcCode.PASSPHRASE_INCORRECT, _ZERO if "\0" in passphrase else _WRONG)


@rpc("wallet", examples=(("old one", "new one"),))
async def walletpassphrasechange(
    node: NodeParts,
    oldpassphrase: Annotated[str, "The passphrase", MAY_HOLD_EQUALS],
    newpassphrase: Annotated[str, "The one that it shall be", MAY_HOLD_EQUALS],
) -> None:
    """Change the passphrase of the wallet."""
    wallet = the_wallet(node)
    _check_encrypted(wallet, "walletpassphrasechange")
    _check_not_scanning(wallet, "changing the passphrase")
    if not oldpassphrase or not newpassphrase:
        raise RpcError(RpcCode.INVALID_PARAMETER, _EMPTY)
    with wallet_errors():
        if not await wallets_of(node).keys.change_passphrase(wallet, oldpassphrase, newpassphrase):
            raise RpcError(RpcCode.PASSPHRASE_INCORRECT, _OLD_ZERO if "\0" in oldpassphrase else _WRONG)


@rpc("wallet")
def walletlock(node: NodeParts) -> None:
    """Forget the keys of the wallet until its passphrase is given again."""
    wallet = the_wallet(node)
    _check_encrypted(wallet, "walletlock")
    _check_not_scanning(wallet, "locking the wallet")
    wallets_of(node).keys.lock(wallet)


@rpc("wallet", examples=(("my pass phrase",),))
async def encryptwallet(
    node: NodeParts, passphrase: Annotated[str, "The passphrase that it shall have", MAY_HOLD_EQUALS]
) -> Annotated[str, "What to do now"]:
    """Encrypt the wallet's keys. It gets a new seed and new descriptors: make a new backup."""
    from btcnode.wallet.flags import WalletFlag

    wallet = the_wallet(node)
    if wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS):
        why = "Error: wallet does not contain private keys, nothing to encrypt."
        raise RpcError(RpcCode.ENCRYPTION_FAILED, why)
    if wallet.vault.is_encrypted:
        why = "Error: running with an encrypted wallet, but encryptwallet was called."
        raise RpcError(RpcCode.WRONG_ENC_STATE, why)
    _check_not_scanning(wallet, "encrypting the wallet")
    if not passphrase:
        raise RpcError(RpcCode.INVALID_PARAMETER, _EMPTY)
    with wallet_errors():
        await wallets_of(node).keys.encrypt(wallet, passphrase)
    return (
        "wallet encrypted; The keypool has been flushed and a new HD seed was generated. You need to make a new backup"
        " with the backupwallet RPC."
    )
