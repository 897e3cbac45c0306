"""Error codes of the JSON-RPC interface: Bitcoin Core's numbers."""

from __future__ import annotations

from enum import IntEnum

from btcnode.errors import BtcnodeError


class RpcCode(IntEnum):
    """The ``code`` of an error object."""

    INVALID_REQUEST = -32600  # HTTP 400
    METHOD_NOT_FOUND = -32601  # HTTP 404
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603  # the node's own fault
    PARSE_ERROR = -32700

    MISC_ERROR = -1
    TYPE_ERROR = -3
    INVALID_ADDRESS_OR_KEY = -5
    OUT_OF_MEMORY = -7
    INVALID_PARAMETER = -8
    DATABASE_ERROR = -20
    DESERIALIZATION_ERROR = -22
    VERIFY_ERROR = -25
    VERIFY_REJECTED = -26
    ALREADY_IN_UTXO_SET = -27
    IN_WARMUP = -28

    WALLET_ERROR = -4
    INSUFFICIENT_FUNDS = -6
    INVALID_LABEL_NAME = -11
    KEYPOOL_RAN_OUT = -12
    UNLOCK_NEEDED = -13
    PASSPHRASE_INCORRECT = -14
    WRONG_ENC_STATE = -15
    ENCRYPTION_FAILED = -16
    ALREADY_UNLOCKED = -17
    WALLET_NOT_FOUND = -18
    WALLET_NOT_SPECIFIED = -19
    METHOD_DEPRECATED = -32
    WALLET_ALREADY_LOADED = -35
    WALLET_ALREADY_EXISTS = -36

    CLIENT_NOT_CONNECTED = -9
    CLIENT_IN_INITIAL_DOWNLOAD = -10
    CLIENT_NODE_ALREADY_ADDED = -23
    CLIENT_NODE_NOT_ADDED = -24
    CLIENT_NODE_NOT_CONNECTED = -29
    CLIENT_INVALID_IP_OR_SUBNET = -30
    CLIENT_NODE_CAPACITY_REACHED = -34


class RpcError(BtcnodeError):
    """What a method answers instead of a result; ``message`` is for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = message

    def as_object(self) -> dict[str, object]:
        """The error object of a reply."""
        return {"code": self.code, "message": self.message}
