"""Transactions and scripts as JSON."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from btcnode.errors import DecodeError
from btcnode.params import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import BlockHash, hash160, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.context import NodeApi
from btcnode.rpc.decode import infer_descriptor, script_json, tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import is_active, parse_hash, parse_hex, parse_hex_or_none, parse_verbosity
from btcnode.rpc.methods.blocks import SCRIPT_RESULT, read_undo
from btcnode.rpc.spec import Arg, Kind, Result, arr, boolean, coins, ellipsis, hexed, number, obj, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.script.opcodes import MAX_SCRIPT_ELEMENT_SIZE, OP_CHECKSIGADD, OP_SUCCESS
from btcnode.script.scriptparse import BAD_OP, is_unspendable, iter_ops
from btcnode.script.solver import match_multisig, match_pubkey, script_type

MAX_OPCODE = 0xB9  # OP_NOP10: what comes after has no meaning outside tapscript

TX_RESULT: tuple[Result, ...] = (
    hexed("txid", "Transaction id"),
    hexed("hash", "Hash with witness"),
    number("version", "Version"),
    number("size", "Bytes"),
    number("vsize", "Virtual size"),
    number("weight", "Weight"),
    number("locktime", "Lock time"),
    arr(
        "vin",
        "Inputs",
        obj(
            "",
            "",
            hexed("coinbase", "Script of a coinbase's input", optional=True),
            hexed("txid", "Transaction it spends from", optional=True),
            number("vout", "Output it spends", optional=True),
            obj("scriptSig", "Script", string("asm", "In words"), hexed("hex", "In hex"), optional=True),
            arr("txinwitness", "Witness", hexed("", "Element"), optional=True),
            obj("prevout", "The output it spends", ellipsis("", "As in getblock"), optional=True),
            number("sequence", "Sequence"),
        ),
    ),
    arr(
        "vout",
        "Outputs",
        obj("", "", coins("value", "Value"), number("n", "Position"), obj("scriptPubKey", "Script", *SCRIPT_RESULT)),
    ),
)


def decode_transaction(text: str) -> Tx:
    """A transaction in hex; raises RpcError."""
    try:
        return Tx.parse(parse_hex_or_none(text) or b"")
    except DecodeError:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "TX decode failed") from None


@rpc(
    "rawtransactions",
    "A transaction in hex as JSON.",
    Arg("hexstring", Kind.HEX, "The transaction"),
    Arg("iswitness", Kind.BOOL, "Whether it is in the form with witness", None, hint="depends on heuristic tests"),
    returns=obj("", "", *TX_RESULT),
    examples=(("hexstring",),),
)
def decoderawtransaction(node: NodeApi, hexstring: str, iswitness: bool | None) -> dict[str, Any]:
    """See the declaration."""
    return tx_json(decode_transaction(hexstring), node.params, include_hex=False)


@rpc(
    "rawtransactions",
    "A transaction of a block. Without blockhash only unconfirmed transactions are looked up.",
    Arg("txid", Kind.HEX, "Transaction id"),
    Arg("verbosity|verbose", Kind.INT, "0: hex, 1: JSON, 2: JSON with fee and spent outputs", 0, any_type=True),
    Arg("blockhash", Kind.HEX, "The block to look into", None),
    returns=(
        string("", "The transaction in hex", when="if verbosity is not set or set to 0"),
        obj(
            "",
            "",
            boolean("in_active_chain", "Whether the block is in the active chain", optional=True),
            *TX_RESULT,
            coins("fee", "Fee, with verbosity 2", optional=True),
            hexed("blockhash", "The block", optional=True),
            number("confirmations", "Confirmations", optional=True),
            time_("time", "Time of the block", optional=True),
            time_("blocktime", "The same", optional=True),
            hexed("hex", "The transaction in hex"),
            when="if verbosity is set to 1 or 2",
        ),
    ),
    examples=(("mytxid", 1, "myblockhash"),),
)
async def getrawtransaction(node: NodeApi, txid: str, verbosity: Any, blockhash: str | None) -> Any:
    """See the declaration."""
    wanted = parse_hash(txid, "parameter 1")
    if wanted == parse_block(node.params.genesis_block).txids[0]:
        text = "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    level = parse_verbosity(verbosity, 0)
    if blockhash is None:
        entry = node.mempool.get(wanted)
        if entry is not None:
            return entry.tx.raw.hex() if level <= 0 else tx_json(entry.tx, node.params)
        text = (
            "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction"
            " queries. Use gettransaction for wallet transactions."
        )
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    index = node.tree.find(BlockHash(parse_hash(blockhash, "parameter 3")))
    if index < 0:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block hash not found")
    if not node.block_status(index).have_data:
        raise RpcError(RpcCode.MISC_ERROR, "Block not available")
    block = parse_block(await node.read_block(index))
    if wanted not in block.txids:
        text = "No such transaction found in the provided block. Use gettransaction for wallet transactions."
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    position = block.txids.index(wanted)
    tx = block.tx(position)
    if level <= 0:
        return tx.raw.hex()
    spent = None
    if level > 1 and position:
        undo = await read_undo(node, index)
        spent = undo[position - 1] if undo is not None else None
    return _confirmed_json(node, index, tx, spent)


def _confirmed_json(node: NodeApi, index: int, tx: Tx, spent: list[bytes] | None) -> dict[str, Any]:
    tree, active = node.tree, is_active(node, index)
    result: dict[str, Any] = {"in_active_chain": active}
    result |= tx_json(tx, node.params, spent=spent, prevouts=spent is not None)
    result["blockhash"] = to_display(tree.hash(index))
    if active:
        result["confirmations"] = tree.height(node.tip()) - tree.height(index) + 1
        result["time"] = result["blocktime"] = tree.time(index)
    else:
        result["confirmations"] = 0
    return result


def _can_wrap(script: bytes, kind: str) -> bool:
    """Whether it makes sense as the redeem script of an address."""
    if kind not in ("multisig", "nonstandard", "pubkey", "pubkeyhash", "witness_v0_keyhash", "witness_v0_scripthash"):
        return False
    if is_unspendable(script):
        return False
    for op, data in iter_ops(script):
        if op == BAD_OP or op > MAX_OPCODE or len(data) > MAX_SCRIPT_ELEMENT_SIZE:
            return False
        if op == OP_CHECKSIGADD or OP_SUCCESS[op]:
            return False
    return True


def _can_wrap_in_witness(script: bytes, kind: str) -> bool:
    """Whether it can be a witness script: no witness program, no uncompressed keys."""
    if kind == "pubkey":
        return len(match_pubkey(script) or b"") == 33
    if kind == "multisig":
        found = match_multisig(script)
        return found is not None and all(len(key) == 33 for key in found[1])
    return kind in ("nonstandard", "pubkeyhash")


def p2sh_address(script: bytes, params: NetworkParams) -> str:
    """The address of the P2SH script that wraps ``script``."""
    return address_for_script(b"\xa9\x14" + hash160(script) + b"\x87", params) or ""


def _witness_script(script: bytes, kind: str) -> tuple[bytes, bytes | None]:
    """The witness program that wraps ``script``, and the script itself where its hash is what counts."""
    if kind == "pubkey":
        return b"\x00\x14" + hash160(match_pubkey(script) or b""), None
    if kind == "pubkeyhash":
        return b"\x00\x14" + script[3:23], None
    return b"\x00\x20" + sha256(script).digest(), script


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
def decodescript(node: NodeApi, hexstring: str) -> dict[str, Any]:
    """See the declaration."""
    script = parse_hex(hexstring, "argument") if hexstring else b""
    params = node.params
    result = script_json(script, params, include_hex=False)
    kind = script_type(script)
    if not _can_wrap(script, kind):
        return result
    result["p2sh"] = p2sh_address(script, params)
    if _can_wrap_in_witness(script, kind):
        program, inner = _witness_script(script, kind)
        segwit = dict(script_json(program, params))
        segwit["desc"] = infer_descriptor(program, params, inner)
        segwit["p2sh-segwit"] = p2sh_address(program, params)
        result["segwit"] = segwit
    return result
