"""Transactions and scripts as JSON."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.context import NodeApi
from btcnode.rpc.decode import tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import is_active, parse_hash, parse_hex_or_none, parse_verbosity
from btcnode.rpc.methods.blocks import SCRIPT_RESULT, read_undo
from btcnode.rpc.spec import Arg, Kind, Result, arr, boolean, coins, ellipsis, hexed, number, obj, rpc, string
from btcnode.rpc.spec import time as time_

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
