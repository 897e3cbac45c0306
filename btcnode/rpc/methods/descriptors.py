"""Descriptors and multisig addresses."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors.checksum import split_checksum
from btcnode.descriptors.descriptor import Descriptor, OutputType, multisig_script, p2sh_script, p2wsh_script
from btcnode.descriptors.inference import infer_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.rpc.declare import AnyRange, Hex, Named, When, in_order, rpc
from btcnode.rpc.descriptors import parse_range, parsed
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import ABSENT, Items
from btcnode.rpc.lookup import parse_hex_or_none
from btcnode.rpc.room import aside, beside
from btcnode.script.encoding import is_sized_pubkey
from btcnode.script.opcodes import MAX_PUBKEYS_PER_MULTISIG, MAX_SCRIPT_ELEMENT_SIZE
from btcnode.script.signatures import is_valid_pubkey
from btcnode.script.solver import match_pubkey
from btcnode.services.parts import NodeParts

SMALL_RANGE = 100  # positions that are derived on the loop thread
_DESCRIPTOR = (
    "wpkh([d34db33f/84h/0h/0h]xpub6DJ2dNUysrn5Vt36jH2KLBT2i1auw1tTSSomg8PhqNiUtx8QX2SvC9nrHu81fT41fvDUnhMjEzQgXnQjKEu3o"
    "aqMSzhSrHMxyyoEAmUHQbY/0/*)#cjjspncu"
)
_KEY = "0279be667ef9dcbbac55a06295Ce870b07029Bfcdb2dce28d959f2815b16f81798"


class DescriptorInfo(TypedDict):
    """What a descriptor says."""

    descriptor: Annotated[
        str, ("The descriptor in its usual form, with public keys only; the first one of a multipath")
    ]
    multipath_expansion: Annotated[
        NotRequired[list[Annotated[str, "Descriptor"]]], "All that a multipath descriptor stands for"
    ]
    checksum: Annotated[str, "The checksum of the text as given"]
    isrange: Annotated[bool, "Whether it stands for many scripts"]
    issolvable: Annotated[bool, "Whether it tells how to spend"]
    hasprivatekeys: Annotated[bool, "Whether the text holds a private key"]


@rpc("util", examples=((f"wpkh([d34db33f/84h/0h/0h]{_KEY})",),), pure=True)
def getdescriptorinfo(node: NodeParts, descriptor: Annotated[str, "The descriptor"]) -> DescriptorInfo:
    """What a descriptor says, and its checksum."""
    secrets = SigningProvider()
    found = parsed(descriptor, node.params, secrets)
    result: DescriptorInfo = {
        "descriptor": found[0].text(),
        "checksum": split_checksum(descriptor)[1],
        "isrange": found[0].is_range,
        "issolvable": found[0].is_solvable,
        "hasprivatekeys": bool(secrets.secrets),
    }
    if len(found) > 1:
        result["multipath_expansion"] = [item.text() for item in found]
    return in_order(DescriptorInfo, result)


def _addresses(
    descriptor: Descriptor, low: int, high: int, secrets: SigningProvider, params: NetworkParams
) -> list[str]:
    result = []
    for pos in range(low, high + 1):
        scripts = descriptor.expand(pos, secrets, SigningProvider())
        if scripts is None:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Cannot derive script without private keys")
        for script in scripts:
            address = address_for_script(script, params)
            if address is not None:
                result.append(address)
            elif len(scripts) == 1 or match_pubkey(script) is None:  # the P2PK script of combo() has none
                why = "Descriptor does not have a corresponding address"
                raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
    if not result:
        raise RpcError(RpcCode.MISC_ERROR, "Unexpected empty result")
    return result


@rpc("util", examples=((_DESCRIPTOR, [0, 2]),), heavy=True)
async def deriveaddresses(
    node: NodeParts,
    descriptor: Annotated[str, "The descriptor, with checksum"],
    range: Annotated[AnyRange | None, "Of a ranged descriptor: the last position, or [first,last]"] = ABSENT,
) -> (
    Annotated[list[Annotated[str, "Address"]], When("for single derivation descriptors")]
    | Annotated[
        list[list[Annotated[str, "Address"]]],
        "For each branch of the multipath, in order",
        When("for multipath descriptors"),
    ]
):
    """Addresses of a descriptor. A ranged one needs the range; a multipath one gives a list for each of its
    branches.
    """
    is_given = range is not ABSENT  # null counts as given, and stands for the first position
    low, high = parse_range(range) if is_given and range is not None else (0, 0)
    secrets, params = SigningProvider(), node.params
    found = await aside(lambda: parsed(descriptor, params, secrets, need_checksum=True))
    if is_given and not found[0].is_range:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Range should not be specified for an un-ranged descriptor")
    if not is_given and found[0].is_range:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Range must be specified for a ranged descriptor")

    def derive() -> list[list[str]]:
        return [_addresses(item, low, high, secrets, params) for item in found]

    lists = derive() if high - low < SMALL_RANGE else await beside(derive)
    return lists[0] if len(lists) == 1 else lists


def parse_pubkey(text: str) -> bytes:
    """A public key given in hex; raises RpcError."""
    key = parse_hex_or_none(text)
    if not key:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f'Pubkey "{text}" must be a hex string')
    if len(key) not in (33, 65):
        why = f'Pubkey "{text}" must have a length of either 33 or 65 bytes'
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
    if not is_sized_pubkey(key) or not is_valid_pubkey(key):
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f'Pubkey "{text}" must be cryptographically valid.')
    return key


def _multisig(required: int, keys: list[bytes]) -> bytes:
    """The script; raises RpcError."""
    if required < 1:
        why = "a multisignature address must require at least one key to redeem"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    if len(keys) < required:
        why = f"not enough keys supplied (got {len(keys)} keys, but need at least {required} to redeem)"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    if len(keys) > MAX_PUBKEYS_PER_MULTISIG:
        why = "Number of keys involved in the multisignature address creation > {}\nReduce the number"
        raise RpcError(RpcCode.INVALID_PARAMETER, why.format(MAX_PUBKEYS_PER_MULTISIG))
    return multisig_script(required, keys)


class MultisigAddress(TypedDict):
    """An address that takes several signatures."""

    address: Annotated[str, "The address"]
    redeemScript: Annotated[Hex, "The script behind it"]
    descriptor: Annotated[str, "Its descriptor"]
    warnings: Annotated[NotRequired[list[Annotated[str, "Warning"]]], "What is not as asked for"]


@rpc(
    "util",
    examples=(
        (
            2,
            [
                "03789ed0bb717d88f7d321a368d905e7430207ebbd82bd342cf11ae157a7ace5fd",
                "03dbc6764b8884a92e871274b87583e6d5c2a58819473e17e107ef3f6aa5a61626",
            ],
        ),
    ),
    pure=True,
)
def createmultisig(
    node: NodeParts,
    nrequired: Annotated[int, "Signatures that spending takes"],
    keys: Annotated[Items[Annotated[Hex, Named("key"), "Public key"]], "The public keys"],
    address_type: Annotated[str, 'Type of the address: "legacy", "p2sh-segwit" or "bech32"'] = "legacy",
) -> MultisigAddress:
    """A multisig address of so many keys."""
    pubkeys = [parse_pubkey(key) for key in keys]
    if address_type not in list(OutputType):
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"Unknown address type '{address_type}'")
    wanted = OutputType(address_type)
    if wanted is OutputType.BECH32M:
        why = "createmultisig cannot create bech32m multisig addresses"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
    inner = _multisig(nrequired, pubkeys)
    kind = wanted if all(len(key) == 33 for key in pubkeys) else OutputType.LEGACY
    if kind is OutputType.LEGACY and len(inner) > MAX_SCRIPT_ELEMENT_SIZE:
        why = f"redeemScript exceeds size limit: {len(inner)} > {MAX_SCRIPT_ELEMENT_SIZE}"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    provider = SigningProvider()
    provider.add_script(inner)
    program = p2wsh_script(inner)
    provider.add_script(program)
    scripts = {
        OutputType.LEGACY: p2sh_script(inner), OutputType.P2SH_SEGWIT: p2sh_script(program), OutputType.BECH32: program,
    }  # fmt: skip
    descriptor = infer_descriptor(scripts[kind], provider, node.params)
    result: MultisigAddress = {
        "address": address_for_script(scripts[kind], node.params) or "",
        "redeemScript": inner.hex(),
        "descriptor": descriptor.text(),
    }
    if descriptor.output_type is not wanted:
        result["warnings"] = [
            "Unable to make chosen address type, please ensure no uncompressed public keys are present."
        ]
    return result
