"""Scripts as JSON, and the addresses that could wrap them."""

from __future__ import annotations

from typing import Any

from btcnode.descriptors.descriptor import p2sh_script, p2wsh_script
from btcnode.descriptors.inference import infer_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.solutions import solve
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.hashes import hash160
from btcnode.rpc.decode import script_json
from btcnode.rpc.lookup import parse_hex
from btcnode.rpc.methods.blocks import SCRIPT_RESULT
from btcnode.rpc.spec import Arg, Kind, obj, rpc, string
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


def _segwit_json(script: bytes, kind: str, data: list[bytes], params: NetworkParams) -> dict[str, Any]:
    """The witness program that wraps a script; what it is the hash of is known when it is described."""
    provider = SigningProvider()
    if kind == "pubkey":
        program = b"\x00\x14" + hash160(data[0])
    elif kind == "pubkeyhash":
        program = b"\x00\x14" + data[0]
    else:
        provider.add_script(script)
        program = p2wsh_script(script)
    result = dict(script_json(program, params))
    result["desc"] = infer_descriptor(program, provider, params).text()
    result["p2sh-segwit"] = p2sh_address(program, params)
    return result


@rpc(
    "rawtransactions",
    "A script in hex as JSON, and the addresses that could wrap it.",
    Arg("hexstring", Kind.HEX, "The script"),
    returns=obj(
        "",
        "",
        string("asm", "The script in words"),
        string("desc", "A descriptor of it"),
        string("address", "Its address, where it has one", optional=True),
        string("type", "Its type"),
        string("p2sh", "Address of the P2SH script that wraps it", optional=True),
        obj(
            "segwit",
            "The witness program that wraps it",
            *SCRIPT_RESULT,
            string("p2sh-segwit", "Address of the P2SH script that wraps the witness program"),
            optional=True,
        ),
    ),
    examples=(("hexstring",),),
)
def decodescript(node: NodeParts, hexstring: str) -> dict[str, Any]:
    """See the declaration."""
    script = parse_hex(hexstring, "argument") if hexstring else b""
    params = node.params
    result = script_json(script, params, include_hex=False)
    kind, data = solve(script)
    if not _can_wrap(script, kind):
        return result
    result["p2sh"] = p2sh_address(script, params)
    if _can_wrap_in_witness(kind, data):
        result["segwit"] = _segwit_json(script, kind, data, params)
    return result
