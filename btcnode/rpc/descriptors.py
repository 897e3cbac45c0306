"""Descriptors as RPC parameters: ranges, scan objects, the one script of a mining target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from btcnode.descriptors.descriptor import Descriptor
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.spec import Arg, Kind, whole_number

MAX_RANGE = 1_000_000  # positions of one range
DEFAULT_RANGE = (0, 1000)


def scan_objects(name: str = "") -> tuple[Arg, Arg]:
    """Members of an array of descriptors: a text (with the ``name`` that Core gives it), or an object with a range."""
    ranged = (
        Arg("desc", Kind.STR, "The descriptor"),
        Arg("range", Kind.ANY, "The last position, or [first,last]", DEFAULT_RANGE[1], any_type=True),
    )
    return (
        Arg(name, Kind.STR, "A descriptor", None),
        Arg("", Kind.OBJ, "A descriptor with its range", None, inner=ranged),
    )


def parsed(
    text: str, params: NetworkParams, secrets: SigningProvider, *, need_checksum: bool = False
) -> list[Descriptor]:
    """``parse_descriptor`` for a parameter; raises RpcError."""
    try:
        return parse_descriptor(text, params, secrets, need_checksum=need_checksum)
    except DescriptorError as error:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, str(error)) from None


def script_of_descriptor(text: str, params: NetworkParams) -> bytes:
    """The one script that a descriptor stands for; of combo() the P2WPKH one, or P2PKH for an uncompressed key.

    Raises DescriptorError for a text that is none, RpcError for one that stands for several scripts.
    """
    secrets = SigningProvider()
    found = parse_descriptor(text, params, secrets)
    if len(found) > 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Multipath descriptor not accepted")
    if found[0].is_range:
        why = "Ranged descriptor not accepted. Maybe pass through deriveaddresses first?"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    scripts = found[0].expand(0, secrets, SigningProvider())
    if scripts is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Cannot derive script without private keys")
    return scripts[{1: 0, 4: 2}.get(len(scripts), 1)]


def parse_range(value: Any) -> tuple[int, int]:
    """First and last position of a range given as its end or as ``[begin, end]``; raises RpcError."""
    if type_name(value) == "number":
        low, high = 0, whole_number(value, 64)
    elif type_name(value) == "array" and len(value) == 2 and all(type_name(item) == "number" for item in value):
        low, high = (whole_number(item, 64) for item in value)
        if low > high:
            why = "Range specified as [begin,end] must not have begin after end"
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
    else:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Range must be specified as end or as [begin,end]")
    if low < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Range should be greater or equal than 0")
    if high >> 31:
        raise RpcError(RpcCode.INVALID_PARAMETER, "End of range is too high")
    if high >= low + MAX_RANGE:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Range is too large")
    return low, high


def scan_scripts(
    item: Any, params: NetworkParams, provider: SigningProvider, *, with_secrets: bool = False
) -> list[bytes]:
    """The scripts of a scan object: a descriptor, or an object with ``desc`` and ``range``; raises RpcError.

    ``provider`` learns what the descriptor tells about them, and with ``with_secrets`` the private keys. It may take
    long (up to a million derivations): call it outside the loop thread.
    """
    positions = DEFAULT_RANGE
    if type_name(item) == "string":
        text = item
    elif type_name(item) == "object":
        text = item.get("desc")
        if text is None:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Descriptor needs to be provided in scan object")
        if type_name(text) != "string":
            why = f"JSON value of type {type_name(text)} is not of expected type string"
            raise RpcError(RpcCode.TYPE_ERROR, why)
        if item.get("range") is not None:
            positions = parse_range(item["range"])
    else:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Scan object needs to be either a string or an object")
    found = parsed(text, params, provider)
    if not found[0].is_range:
        positions = (0, 0)
    scripts: list[bytes] = []
    for pos in range(positions[0], positions[1] + 1):
        for descriptor in found:
            made = descriptor.expand(pos, provider, provider)
            if made is None:
                why = f"Cannot derive script without private keys: '{text}'"
                raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
            if with_secrets:
                descriptor.add_secrets(pos, provider, provider)
            scripts += made
    return scripts


def scan_needles(items: Iterable[Any], params: NetworkParams) -> dict[bytes, SigningProvider]:
    """The scripts of all scan objects, each with what its object tells about it (``scan_scripts``); raises RpcError."""
    needles: dict[bytes, SigningProvider] = {}
    for item in items:
        provider = SigningProvider()
        for script in scan_scripts(item, params, provider):
            needles.setdefault(script, provider)
    return needles
