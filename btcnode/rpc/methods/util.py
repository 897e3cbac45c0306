"""Addresses and descriptors."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError
from btcnode.params import NetworkParams
from btcnode.primitives.addresses import (
    BECH32,
    BECH32M,
    MAX_BECH32_LENGTH,
    address_for_script,
    base58_decode,
    base58check_decode,
    bech32_decode,
    script_for_address,
)
from btcnode.rpc.context import NodeApi
from btcnode.rpc.decode import descriptor_checksum
from btcnode.rpc.descriptors import script_of_descriptor
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.spec import Arg, Kind, arr, boolean, hexed, number, obj, rpc, string
from btcnode.script.scriptparse import is_p2sh, witness_program

MAX_BASE58_PAYLOAD = 21  # prefix and hash
MAX_BASE58_DATA = 100  # bytes: longer texts are taken for no base58 at all


def why_no_address(text: str, params: NetworkParams) -> str:
    """What is wrong with a text that is no address of the network, in Core's words."""
    if text[: len(params.bech32_hrp)].lower() == params.bech32_hrp:
        return _why_no_segwit_address(text, params.bech32_hrp)
    try:
        data = base58_decode(text)
    except DecodeError:
        return "Invalid or unsupported Segwit (Bech32) or Base58 encoding."
    try:
        payload = base58check_decode(text)
    except DecodeError:
        payload = b""
    if not payload or len(payload) > MAX_BASE58_PAYLOAD:
        if len(data) > MAX_BASE58_DATA:
            return "Invalid or unsupported Segwit (Bech32) or Base58 encoding."
        return "Invalid checksum or length of Base58 address (P2PKH or P2SH)"
    if payload[:1] in (params.pubkey_prefix, params.script_prefix):
        return "Invalid length for Base58 address (P2PKH or P2SH)"
    return "Invalid or unsupported Base58-encoded address."


def _why_no_segwit_address(text: str, expected_hrp: str) -> str:
    """As ``why_no_address``, for what begins like a segwit address."""
    try:
        hrp, values, constant = bech32_decode(text)
    except DecodeError:
        return "Bech32 string too long" if len(text) > MAX_BECH32_LENGTH else "Invalid Bech32 checksum"
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


@rpc(
    "util",
    "What an address stands for, or why it is none of this network.",
    Arg("address", Kind.STR, "The address"),
    returns=obj(
        "",
        "",
        boolean("isvalid", "Whether it is an address of this network"),
        string("address", "The address", optional=True),
        hexed("scriptPubKey", "Its script", optional=True),
        boolean("isscript", "Whether it is the hash of a script", optional=True),
        boolean("iswitness", "Whether it is a witness program", optional=True),
        number("witness_version", "Version of the witness program", optional=True),
        hexed("witness_program", "The witness program", optional=True),
        string("error", "What is wrong", optional=True),
        arr("error_locations", "Where, as far as it can be told", number("", "Position"), optional=True),
    ),
    examples=(("bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl",),),
)
def validateaddress(node: NodeApi, address: str) -> dict[str, Any]:
    """See the declaration."""
    try:
        script = script_for_address(address, node.params)
    except DecodeError:
        return {"isvalid": False, "error_locations": [], "error": why_no_address(address, node.params)}
    program = witness_program(script)
    result: dict[str, Any] = {
        "isvalid": True,
        "address": address_for_script(script, node.params),
        "scriptPubKey": script.hex(),
        "isscript": is_p2sh(script) or (program is not None and (program[0], len(program[1])) in ((0, 32), (1, 32))),
        "iswitness": program is not None,
    }
    if program is not None:
        result["witness_version"] = program[0]
        result["witness_program"] = program[1].hex()
    return result


@rpc(
    "util",
    "Addresses of a descriptor of one fixed script.",
    Arg("descriptor", Kind.STR, "The descriptor, with checksum"),
    returns=arr("", "Addresses", string("", "Address")),
    examples=(("addr(myaddress)#checksum",),),
)
def deriveaddresses(node: NodeApi, descriptor: str) -> list[str]:
    """See the declaration."""
    try:
        if "#" not in descriptor:
            raise DecodeError("Missing checksum")
        address = address_for_script(script_of_descriptor(descriptor, node.params), node.params)
    except DecodeError as error:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, str(error)) from None
    if address is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Descriptor does not have a corresponding address")
    return [address]


@rpc(
    "util",
    "Checksum of a descriptor of one fixed script.",
    Arg("descriptor", Kind.STR, "The descriptor"),
    returns=obj(
        "",
        "",
        string("descriptor", "The descriptor with its checksum"),
        string("checksum", "The checksum of the text as given"),
        boolean("isrange", "Whether it stands for several scripts"),
        boolean("issolvable", "Whether it tells how to spend"),
        boolean("hasprivatekeys", "Whether it holds private keys"),
    ),
    examples=(("raw(51)",),),
)
def getdescriptorinfo(node: NodeApi, descriptor: str) -> dict[str, Any]:
    """See the declaration."""
    try:
        script_of_descriptor(descriptor, node.params)
    except DecodeError as error:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, str(error)) from None
    body = descriptor.partition("#")[0]
    checksum = descriptor_checksum(body)
    return {
        "descriptor": f"{body}#{checksum}",
        "checksum": checksum,
        "isrange": False,
        "issolvable": not body.startswith(("addr(", "raw(")),
        "hasprivatekeys": False,
    }
