"""Addresses and descriptors."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError
from btcnode.primitives.addresses import address_for_script, script_for_address
from btcnode.rpc.context import NodeApi
from btcnode.rpc.decode import descriptor_checksum
from btcnode.rpc.descriptors import script_of_descriptor
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.spec import Arg, Kind, arr, boolean, hexed, number, obj, rpc, string
from btcnode.script.scriptparse import is_p2sh, witness_program


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
    except DecodeError as error:
        return {"isvalid": False, "error_locations": [], "error": str(error)}
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
