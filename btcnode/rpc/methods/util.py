"""Addresses and signed messages."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors.base64 import base64_bytes
from btcnode.descriptors.messages import recover_message_key, sign_message
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.address_errors import locate_bech32_errors
from btcnode.primitives.addresses import (
    BECH32,
    BECH32M,
    address_for_script,
    base58_decode,
    base58check_decode,
    bech32_decode,
    script_for_address,
    secret_decode,
)
from btcnode.primitives.hashes import hash160
from btcnode.rpc.declare import MAY_HOLD_EQUALS, NO_EQUALS, Hex, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.signer import SignerJson, enumerate_signers
from btcnode.script.scriptparse import witness_program
from btcnode.script.solver import script_type
from btcnode.services.parts import NodeParts

MAX_BASE58_PAYLOAD = 21  # prefix and hash
MAX_BASE58_DATA = 100  # bytes: longer texts are taken for no base58 at all


def why_no_address(text: str, params: NetworkParams) -> tuple[str, list[int]]:
    """What is wrong with a text that is no address of the network, in Core's words, and at which characters."""
    if text[: len(params.bech32_hrp)].lower() == params.bech32_hrp:
        return _why_no_segwit_address(text, params.bech32_hrp)
    try:
        data = base58_decode(text)
    except DecodeError:
        return "Invalid or unsupported Segwit (Bech32) or Base58 encoding.", []
    try:
        payload = base58check_decode(text)
    except DecodeError:
        payload = b""
    if not payload or len(payload) > MAX_BASE58_PAYLOAD:
        if len(data) > MAX_BASE58_DATA:
            return "Invalid or unsupported Segwit (Bech32) or Base58 encoding.", []
        return "Invalid checksum or length of Base58 address (P2PKH or P2SH)", []
    if payload[:1] in (params.pubkey_prefix, params.script_prefix):
        return "Invalid length for Base58 address (P2PKH or P2SH)", []
    return "Invalid or unsupported Base58-encoded address.", []


def _why_no_segwit_address(text: str, expected_hrp: str) -> tuple[str, list[int]]:
    """As ``why_no_address``, for what begins like a segwit address."""
    try:
        hrp, values, constant = bech32_decode(text)
    except DecodeError:
        return locate_bech32_errors(text)
    return _why_no_program(hrp, values, constant, expected_hrp), []


def _why_no_program(hrp: str, values: list[int], constant: int, expected_hrp: str) -> str:
    """What is wrong with a bech32 text whose checksum is right."""
    if not values:
        return "Empty Bech32 data section"
    if hrp != expected_hrp:
        return f"Invalid or unsupported prefix for Segwit (Bech32) address (expected {expected_hrp}, got {hrp})."
    version, size = values[0], (len(values) - 1) * 5 // 8
    if version == 0 and constant != BECH32:
        return "Version 0 witness address must use Bech32 checksum"
    if version and constant != BECH32M:
        return "Version 1+ witness address must use Bech32m checksum"
    rest = (len(values) - 1) * 5 % 8
    if rest >= 5 or (rest and values[-1] & (1 << rest) - 1):
        return "Invalid padding in Bech32 data section"
    unit = "byte" if size == 1 else "bytes"
    if version == 0:
        return f"Invalid Bech32 v0 address program size ({size} {unit}), per BIP141"
    if version > 16:
        return "Invalid Bech32 address witness version"
    return f"Invalid Bech32 address program size ({size} {unit})"


class ValidatedAddress(TypedDict):
    """Whether a text is an address, and what it stands for."""

    isvalid: Annotated[bool, "Whether it is an address of this network"]
    address: Annotated[NotRequired[str], "The address"]
    scriptPubKey: Annotated[NotRequired[Hex], "Its script"]
    isscript: Annotated[NotRequired[bool], "Whether it is the hash of a script"]
    iswitness: Annotated[NotRequired[bool], "Whether it is a witness program"]
    witness_version: Annotated[NotRequired[int], "Version of the witness program"]
    witness_program: Annotated[NotRequired[Hex], "The witness program"]
    error: Annotated[NotRequired[str], "What is wrong"]
    error_locations: Annotated[NotRequired[list[Annotated[int, "Position"]]], "Where, as far as it can be told"]


@rpc("util", examples=(("bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl",),), pure=True)
def validateaddress(node: NodeParts, address: Annotated[str, "The address"]) -> ValidatedAddress:
    """Return information about the given bitcoin address."""
    try:
        script = script_for_address(address, node.params)
    except DecodeError:
        why, places = why_no_address(address, node.params)
        return {"isvalid": False, "error_locations": places, "error": why}
    kind = script_type(script)
    program = witness_program(script)
    result: ValidatedAddress = {
        "isvalid": True,
        "address": address_for_script(script, node.params) or "",
        "scriptPubKey": script.hex(),
    }
    if kind != "witness_unknown":
        result["isscript"] = kind not in ("pubkeyhash", "witness_v0_keyhash")
    result["iswitness"] = program is not None
    if program is not None and kind != "anchor":
        result["witness_version"] = program[0]
        result["witness_program"] = program[1].hex()
    return result


@rpc("util", examples=(("1D1ZrZNe3JUo7ZycKEYQQiQAWd9y54F4XX", "signature", "my message"),), pure=True)
def verifymessage(
    node: NodeParts,
    address: Annotated[str, "The address", NO_EQUALS],
    signature: Annotated[str, "The signature in base64", MAY_HOLD_EQUALS],
    message: Annotated[str, "The message", MAY_HOLD_EQUALS],
) -> Annotated[bool, "Whether it is"]:
    """Whether a signature of a message is by the key of an address."""
    try:
        script = script_for_address(address, node.params)
    except DecodeError:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Invalid address") from None
    if script_type(script) != "pubkeyhash":
        raise RpcError(RpcCode.TYPE_ERROR, "Address does not refer to key")
    raw = base64_bytes(signature)
    if raw is None:
        raise RpcError(RpcCode.TYPE_ERROR, "Malformed base64 encoding")
    key = recover_message_key(message, raw)
    return key is not None and hash160(key) == script[3:23]


@rpc("util", examples=(("privkey", "my message"),), pure=True)
def signmessagewithprivkey(
    node: NodeParts,
    privkey: Annotated[str, "The private key", NO_EQUALS],
    message: Annotated[str, "The message", MAY_HOLD_EQUALS],
) -> Annotated[str, "The signature in base64"]:
    """Sign a message with a private key."""
    try:
        secret, compressed = secret_decode(privkey, node.params)
    except DecodeError:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Invalid private key") from None
    return b64encode(sign_message(message, secret, compressed=compressed)).decode()


class Signers(TypedDict):
    """The devices of the external signer."""

    signers: Annotated[list[SignerJson], "Signers"]


@rpc("signer")
async def enumeratesigners(node: NodeParts) -> Signers:
    """The devices that the external signer (-signer) knows."""
    return {"signers": await enumerate_signers(node.settings.rpc.signer)}
