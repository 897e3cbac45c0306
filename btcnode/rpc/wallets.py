"""What methods of wallets share: which wallet is meant, Core's codes for what goes wrong, common parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypedDict

from btcnode.descriptors.descriptor import OutputType
from btcnode.errors import DecodeError, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import script_for_address
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import Hex
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.wallet_name import WALLET_NAME
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.services.wallets import Wallets
    from btcnode.wallet.book import BookEntry
    from btcnode.wallet.wallet import Wallet

NEEDS_PASSPHRASE = "Of an encrypted wallet walletpassphrase must have been called before."
ADDRESS_TYPES = ", ".join(f'"{kind}"' for kind in OutputType)
RESCANNING = "Wallet is currently rescanning. Abort existing rescan or wait."


class LastBlock(TypedDict):
    """A block that a wallet knows."""

    hash: Annotated[Hex, "Its hash"]
    height: Annotated[int, "Its height"]


LastProcessed = Annotated[LastBlock, "The last block that the wallet was told of"]


async def prepared_wallets(node: NodeParts) -> Wallets:
    """The node's wallets, for who may be the first to ask for one."""
    assert node.wallets is not None
    return await node.wallets.prepare()


def wallets_of(node: NodeParts) -> Wallets:
    """The node's wallets."""
    assert node.wallets is not None  # a node without any has no such methods
    return node.wallets.wallets


def the_wallet(node: NodeParts) -> Wallet:
    """The wallet that a request is about: that of its path, else the only one; raises RpcError with Core's texts."""
    assert node.wallets is not None
    loaded = node.wallets.loaded  # which imports nothing where there are none
    name = WALLET_NAME.get()
    if name is not None:
        if name not in loaded:
            raise RpcError(RpcCode.WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
        return loaded[name]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    if not loaded:
        raise RpcError(
            RpcCode.WALLET_NOT_FOUND,
            "No wallet is loaded. Load a wallet using loadwallet or create a new one with createwallet. (Note: A"
            " default wallet is no longer automatically created)",
        )
    raise RpcError(
        RpcCode.WALLET_NOT_SPECIFIED,
        "Multiple wallets are loaded. Please select which wallet to use by requesting the RPC through the"
        " /wallet/<walletname> URI path.",
    )


def named_wallet(name: str | None) -> str:
    """The name of the wallet that path and argument name together; raises RpcError."""
    path = WALLET_NAME.get()
    if path is None:
        if name is None:
            why = "Either the RPC endpoint wallet or the wallet name parameter must be provided"
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
        return name
    if name is not None and name != path:
        why = "The RPC endpoint wallet and the wallet name parameter specify different wallets"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    return path


@contextmanager
def wallet_errors() -> Iterator[None]:
    """Errors of wallets inside become RPC errors with Core's codes."""
    from btcnode.wallet.errors import Trouble, WalletError, WalletLockedError

    codes = {
        Trouble.NOT_FOUND: RpcCode.WALLET_NOT_FOUND,
        Trouble.BAD_FORMAT: RpcCode.WALLET_NOT_FOUND,
        Trouble.LEGACY: RpcCode.WALLET_NOT_FOUND,
        Trouble.ALREADY_LOADED: RpcCode.WALLET_ALREADY_LOADED,
        Trouble.ALREADY_EXISTS: RpcCode.WALLET_ALREADY_EXISTS,
        Trouble.UNNAMED: RpcCode.INVALID_PARAMETER,
        Trouble.INVALID_BACKUP: RpcCode.INVALID_PARAMETER,
        Trouble.ENCRYPTION: RpcCode.ENCRYPTION_FAILED,
        Trouble.ENCRYPTED_ALREADY: RpcCode.WRONG_ENC_STATE,
        Trouble.KEYPOOL: RpcCode.KEYPOOL_RAN_OUT,
        Trouble.SIGNER: RpcCode.MISC_ERROR,
    }
    try:
        yield
    except WalletLockedError as error:
        raise RpcError(RpcCode.UNLOCK_NEEDED, str(error)) from None
    except WalletError as error:
        raise RpcError(codes.get(error.trouble, RpcCode.WALLET_ERROR), str(error)) from None
    except StorageError as error:
        raise RpcError(RpcCode.WALLET_ERROR, str(error)) from None


def check_unlocked(wallet: Wallet) -> None:
    """Raise RpcError where private keys need the passphrase first."""
    with wallet_errors():
        wallet.check_unlocked()


async def book_in_order(wallet: Wallet) -> list[tuple[bytes, BookEntry]]:
    """The addresses that have a label, by script, sorted as Core's are."""
    from btcnode.wallet.book import by_address

    return await in_turns(by_address(wallet.book.entries()))


def last_processed(wallet: Wallet) -> LastBlock:
    """The last block that a wallet was told of."""
    return {"hash": to_display(wallet.ledger.tip_hash), "height": wallet.ledger.tip_height}


def label_from(text: str | None) -> str:
    """A label as parameter; raises RpcError for the one that stands for all."""
    if text == "*":
        raise RpcError(RpcCode.INVALID_LABEL_NAME, "Invalid label name")
    return text or ""


def parse_output_type(text: str) -> OutputType:
    """A kind of address; raises RpcError."""
    if text not in list(OutputType):
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"Unknown address type '{text}'")
    return OutputType(text)


def destination(text: str, params: NetworkParams, why: str = "Invalid Bitcoin address") -> bytes:
    """The script of an address; raises RpcError with ``why``."""
    try:
        return script_for_address(text, params)
    except DecodeError:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why) from None
