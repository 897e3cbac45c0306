"""Descriptors as RPC parameters: ranges, scan objects, the one script of a mining target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.descriptors.descriptor import Descriptor
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.rpc.declare import MUST, AnyRange, Default, Named, Otherwise
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.shapes import whole_number

MAX_RANGE = 1_000_000  # positions of one range
DEFAULT_RANGE = (0, 1000)  # of a ranged descriptor without a range


class ScanObject(TypedDict):
    """A descriptor with its range."""

    desc: Annotated[NotRequired[str], "The descriptor", MUST]
    range: Annotated[AnyRange, "The last position, or [first,last]", Default(DEFAULT_RANGE[1])]


ScanItem = str | Lenient[ScanObject]
_NO_ITEM = Otherwise(RpcCode.INVALID_PARAMETER, "Scan object needs to be either a string or an object")
ScanObjects = Annotated[
    Items[
        Annotated[str, Named("descriptor"), "A descriptor"]
        | Annotated[Lenient[ScanObject], "A descriptor with its range"]
    ],
    "Descriptors",
    _NO_ITEM,
]
PsbtDescriptors = Annotated[
    Items[Annotated[str, "A descriptor"] | Annotated[Lenient[ScanObject], "A descriptor with its range"]],
    "Descriptors",
    _NO_ITEM,
]


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
    item: ScanItem, params: NetworkParams, provider: SigningProvider, *, with_secrets: bool = False
) -> list[bytes]:
    """The scripts of a scan object: a descriptor, or an object with ``desc`` and ``range``; raises RpcError.

    ``provider`` learns what the descriptor tells about them, and with ``with_secrets`` the private keys. It may take
    long (up to a million derivations): call it outside the loop thread.
    """
    positions = (0, 0)
    if isinstance(item, str):
        text, spread = item, DEFAULT_RANGE
    else:
        given = item.read()
        if "desc" not in given:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Descriptor needs to be provided in scan object")
        text, spread = given["desc"], parse_range(given["range"])
    found = parsed(text, params, provider)
    if found[0].is_range:
        positions = spread
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


def scan_needles(items: Iterable[ScanItem], params: NetworkParams) -> dict[bytes, SigningProvider]:
    """The scripts of all scan objects, each with what its object tells about it (``scan_scripts``); raises RpcError."""
    needles: dict[bytes, SigningProvider] = {}
    for item in items:
        provider = SigningProvider()
        for script in scan_scripts(item, params, provider):
            needles.setdefault(script, provider)
    return needles
