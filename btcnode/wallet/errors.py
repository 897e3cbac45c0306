"""What goes wrong with wallets."""

from __future__ import annotations

from enum import Enum, auto

from btcnode.errors import BtcnodeError


class Trouble(Enum):
    """What kind of error it is, for whoever answers a user."""

    NOT_FOUND = auto()
    BAD_FORMAT = auto()
    LEGACY = auto()
    ALREADY_LOADED = auto()
    ALREADY_EXISTS = auto()
    UNNAMED = auto()
    INVALID_BACKUP = auto()
    ENCRYPTION = auto()
    ENCRYPTED_ALREADY = auto()
    KEYPOOL = auto()
    SIGNER = auto()
    OTHER = auto()


class WalletError(BtcnodeError):
    """A wallet cannot do what it was asked; the text is for the user."""

    def __init__(self, text: str, trouble: Trouble = Trouble.OTHER) -> None:
        super().__init__(text)
        self.trouble = trouble


class WalletLockedError(WalletError):
    """Private keys are needed, and the passphrase was not given."""

    def __init__(self) -> None:
        super().__init__("Error: Please enter the wallet passphrase with walletpassphrase first.")
