"""Scripts as JSON, and the addresses that could wrap them."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors.descriptor import p2sh_script, p2wsh_script
from btcnode.descriptors.inference import infer_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.solutions import solve
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.hashes import hash160
from btcnode.rpc.declare import Hex, rpc
from btcnode.rpc.decode import script_json
from btcnode.rpc.lookup import parse_hex
from btcnode.script.opcodes import MAX_SCRIPT_ELEMENT_SIZE, OP_CHECKSIGADD, OP_SUCCESS
from btcnode.script.scriptparse import BAD_OP, is_unspendable, iter_ops
from btcnode.services.parts import NodeParts

MAX_OPCODE = 0xB9  # OP_NOP10: what comes after has no meaning outside tapscript
_WRAPPABLE = ("multisig", "nonstandard", "pubkey", "pubkeyhash", "witness_v0_keyhash", "witness_v0_scripthash")


def _can_wrap(script: bytes, kind: str) -> bool:
    """Whether it makes sense as the redeem script of an address."""
    if kind not in _WRAPPABLE or is_unspendable(script):
        return False
    for op, data in iter_ops(script):
        if op == BAD_OP or op > MAX_OPCODE or len(data) > MAX_SCRIPT_ELEMENT_SIZE:
            return False
        if op == OP_CHECKSIGADD or OP_SUCCESS[op]:
            return False
    return True


def _can_wrap_in_witness(kind: str, data: list[bytes]) -> bool:
    """Whether it can be a witness script: no witness program, no uncompressed keys."""
    if kind in ("pubkey", "multisig"):
        return all(len(item) in (1, 33) for item in data)
    return kind in ("nonstandard", "pubkeyhash")


def p2sh_address(script: bytes, params: NetworkParams) -> str:
    """The address of the P2SH script that wraps ``script``."""
    return address_for_script(p2sh_script(script), params) or ""


_Wrapped = TypedDict(
    "_Wrapped", {"p2sh-segwit": Annotated[str, "Address of the P2SH script that wraps the witness program"]}
)


class WrappingScript(TypedDict):
    """A script_pubkey, with its descriptor last."""

    asm: Annotated[str, "The script in words"]
    hex: Annotated[Hex, "The script"]
    type: Annotated[str, "Its type"]
    address: Annotated[NotRequired[str], "Its address, where it has one"]
    desc: Annotated[str, "A descriptor of the script"]


class WrappingProgram(WrappingScript, _Wrapped):
    """The witness program that wraps a script."""


class ScriptAddress(TypedDict):
    """The address of a script, where it has one."""

    address: Annotated[NotRequired[str], "Its address, where it has one"]


class Wrappings(TypedDict):
    """The addresses that could wrap a script."""

    p2sh: Annotated[NotRequired[str], "Address of the P2SH script that wraps it"]
    segwit: Annotated[NotRequired[WrappingProgram], "The witness program that wraps it"]


class ScriptStart(TypedDict):
    """A script by itself."""

    asm: Annotated[str, "The script in words"]
    desc: Annotated[str, "A descriptor of it"]
    type: Annotated[str, "Its type"]


class DecodedScript(ScriptStart, ScriptAddress, Wrappings):
    """A script, and the addresses that could wrap it."""


def _segwit_json(script: bytes, kind: str, data: list[bytes], params: NetworkParams) -> WrappingProgram:
    """The witness program that wraps a script; what it is the hash of is known when it is described."""
    provider = SigningProvider()
    if kind == "pubkey":
        program = b"\x00\x14" + hash160(data[0])
    elif kind == "pubkeyhash":
        program = b"\x00\x14" + data[0]
    else:
        provider.add_script(script)
        program = p2wsh_script(script)
    plain = script_json(program, params)
    plain["desc"] = infer_descriptor(program, provider, params).text()
    return {**plain, "p2sh-segwit": p2sh_address(program, params)}


@rpc("rawtransactions", examples=(("hexstring",),), pure=True)
def decodescript(node: NodeParts, hexstring: Annotated[Hex, "The script"]) -> DecodedScript:
    """A script in hex as JSON, and the addresses that could wrap it."""
    script = parse_hex(hexstring, "argument") if hexstring else b""
    params = node.params
    shown = script_json(script, params)
    address: ScriptAddress = {"address": shown["address"]} if "address" in shown else {}
    wrappings: Wrappings = {}
    kind, data = solve(script)
    if _can_wrap(script, kind):
        wrappings["p2sh"] = p2sh_address(script, params)
        if _can_wrap_in_witness(kind, data):
            wrappings["segwit"] = _segwit_json(script, kind, data, params)
    return {"asm": shown["asm"], "desc": shown["desc"], **address, "type": shown["type"], **wrappings}
