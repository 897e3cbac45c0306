"""Transactions and scripts as JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from btcnode.descriptors.sign_transaction import MISSING_AMOUNT, combine_signatures, sign_transaction
from btcnode.errors import StorageError
from btcnode.primitives.amounts import format_amount
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import txout_script
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.decode import tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import is_active, parse_hash, parse_verbosity
from btcnode.rpc.methods.blocks import SCRIPT_RESULT
from btcnode.rpc.spec import Arg, Kind, Result, arr, boolean, coins, ellipsis, hexed, number, obj, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.rpc.transactions import (
    NO_INPUT_HINT,
    build_transaction,
    decode_transaction,
    find_transaction,
    find_txouts,
    parse_prevouts,
    parse_secrets,
    parse_sighash,
)
from btcnode.services.indexes import IndexedTx
from btcnode.services.parts import NodeParts

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


INPUTS_ARG = Arg(
    "inputs",
    Kind.ARR,
    "The inputs",
    inner=(
        Arg(
            "",
            Kind.OBJ,
            "An input",
            None,
            inner=(
                Arg("txid", Kind.HEX, "Transaction it spends from"),
                Arg("vout", Kind.INT, "Output it spends"),
                Arg("sequence", Kind.INT, "Sequence", None, hint="depends on replaceable and locktime"),
            ),
        ),
    ),
)
OUTPUTS_ARG = Arg(
    "outputs",
    Kind.ARR,
    "The outputs, each with an address and its amount, or one with data; an object with all of them will do too",
    any_type=True,
    inner=(
        Arg("", Kind.OBJ, "A payment", None, inner=(Arg("address", Kind.AMOUNT, "Amount in BTC"),)),
        Arg("", Kind.OBJ, "Data", None, inner=(Arg("data", Kind.HEX, "What follows OP_RETURN"),)),
    ),
)
CREATE_ARGS = (
    INPUTS_ARG,
    OUTPUTS_ARG,
    Arg("locktime", Kind.INT, "Lock time", 0, bits=64),
    Arg("replaceable", Kind.BOOL, "Whether it can be replaced by one with a higher fee (BIP125)", None, hint="true"),
    Arg("version", Kind.INT, "Version", 2, bits=-32),
)
SIGHASH_ARG = Arg(
    "sighashtype",
    Kind.STR,
    "What the signatures are to cover: DEFAULT, ALL, NONE or SINGLE, the last three also with |ANYONECANPAY",
    None,
    hint="DEFAULT for Taproot, ALL otherwise",
)


@rpc(
    "rawtransactions",
    "A transaction without signatures, in hex. It is neither kept nor sent.",
    *CREATE_ARGS,
    returns=hexed("", "The transaction"),
    examples=(([{"txid": "myid", "vout": 0}], [{"address": 0.01}]), ([{"txid": "myid", "vout": 0}], [{"data": "00"}])),
)
def createrawtransaction(
    node: NodeParts, inputs: list[Any], outputs: Any, locktime: int, replaceable: bool | None, version: int
) -> str:
    """See the declaration."""
    return build_transaction(inputs, outputs, locktime, replaceable, version, node.params).raw.hex()


@rpc(
    "rawtransactions",
    "A transaction in hex as JSON.",
    Arg("hexstring", Kind.HEX, "The transaction"),
    Arg("iswitness", Kind.BOOL, "Whether it is in the form with witness", None, hint="depends on heuristic tests"),
    returns=obj("", "", *TX_RESULT),
    examples=(("hexstring",),),
)
def decoderawtransaction(node: NodeParts, hexstring: str, iswitness: bool | None) -> dict[str, Any]:
    """See the declaration."""
    return tx_json(decode_transaction(hexstring, witness=iswitness), node.params, include_hex=False)


@rpc(
    "rawtransactions",
    "A transaction: of the mempool, with -txindex of any block too, or of the block with blockhash.",
    Arg("txid", Kind.HEX, "Transaction id"),
    Arg("verbosity|verbose", Kind.INT, "0: hex, 1: JSON, 2: JSON with fee and spent outputs", 0, any_type=True),
    Arg("blockhash", Kind.HEX, "The block to look into", None),
    returns=(
        string(
            "", "The transaction in hex", when="if verbosity is not set or set to 0", given={"verbosity": (0, False)}
        ),
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
            given={"verbosity": (1, 2, True)},
        ),
    ),
    examples=(("mytxid", 1, "myblockhash"),),
)
async def getrawtransaction(node: NodeParts, txid: str, verbosity: Any, blockhash: str | None) -> Any:
    """See the declaration."""
    wanted = parse_hash(txid, "parameter 1")
    if wanted == parse_block(node.params.genesis_block).txids[0]:
        text = "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    level = parse_verbosity(verbosity, 0)
    index = -1
    if blockhash is not None:
        index = node.chain.tree.find(BlockHash(parse_hash(blockhash, "parameter 3")))
        if index < 0:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block hash not found")
    ready = (
        blockhash is None and node.indexes.transactions is not None and await node.indexes.transactions.until_synced()
    )
    found = await (find_transaction(node, wanted) if index < 0 else _find_in_block(node, wanted, index))
    if found is None:
        raise _not_found(node, index, ready=ready)
    tx, block = found
    if level <= 0:
        return tx.raw.hex()
    head = {"in_active_chain": is_active(node, index)} if index >= 0 else {}
    return head | await _transaction_json(node, tx, block, level)


def _not_found(node: NodeParts, index: int, *, ready: bool) -> RpcError:
    """Why there is no such transaction; ``index`` of the block that was asked for, or -1."""
    if index >= 0:
        if not node.chain.block_status(index).have_data:
            return RpcError(RpcCode.MISC_ERROR, "Block not available")
        why = "No such transaction found in the provided block"
    elif node.indexes.transactions is None:
        why = (
            "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction queries"
        )
    elif not ready:
        why = "No such mempool transaction. Blockchain transactions are still in the process of being indexed"
    else:
        why = "No such mempool or blockchain transaction"
    return RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"{why}. Use gettransaction for wallet transactions.")


async def _find_in_block(node: NodeParts, txid: bytes, index: int) -> IndexedTx | None:
    """A transaction of a block, None when it or the block is not there."""
    try:
        raw = await node.chain.read_block(index)
    except StorageError:
        return None
    tx = await asyncio.to_thread(_pick, raw, txid)  # the largest blocks take tens of milliseconds
    return None if tx is None else IndexedTx(tx, index)


def _pick(raw: bytes, txid: bytes) -> Tx | None:
    block = parse_block(raw)
    return block.tx(block.txids.index(txid)) if txid in block.txids else None


async def _transaction_json(node: NodeParts, tx: Tx, block: int, level: int) -> dict[str, Any]:
    """A transaction with its place in the chain; ``block`` is -1 for one of the mempool."""
    if block < 0:
        return tx_json(tx, node.params)
    status, spent = node.chain.block_status(block), None
    if level > 1 and not tx.is_coinbase and (status.have_data or status.have_undo):
        spent = await _read_spent(node, tx, block)
    tree = node.chain.tree
    result = tx_json(tx, node.params, spent=spent, prevouts=spent is not None)
    result["blockhash"] = to_display(tree.hash(block))
    if is_active(node, block):
        result["confirmations"] = tree.height(node.chain.tip()) - tree.height(block) + 1
        result["time"] = result["blocktime"] = tree.time(block)
    else:
        result["confirmations"] = 0
    return result


async def _read_spent(node: NodeParts, tx: Tx, index: int) -> list[bytes]:
    """The packed coins that a transaction of a block spends; raises RpcError."""
    text = (
        "{} data expected but can't be read. This could be due to disk corruption or a conflict with a pruning event."
    )
    try:
        undo = await node.chain.read_undo(index)
    except StorageError:
        raise RpcError(RpcCode.INTERNAL_ERROR, text.format("Undo")) from None
    try:
        raw = await node.chain.read_block(index)
    except StorageError:
        raise RpcError(RpcCode.INTERNAL_ERROR, text.format("Block")) from None
    return undo[parse_block(raw).txids.index(tx.txid) - 1]


@rpc(
    "rawtransactions",
    "One transaction with the signatures that several copies of it have together.",
    Arg("txs", Kind.ARR, "The copies", inner=(Arg("hexstring", Kind.HEX, "A transaction", None),)),
    returns=hexed("", "The transaction"),
    examples=((["myhex1", "myhex2"],),),
)
async def combinerawtransaction(node: NodeParts, txs: list[Any]) -> str:
    """See the declaration."""
    failed = "TX decode failed for tx {}. Make sure the tx has at least one input."
    variants = [decode_transaction(text, witness=True, error=failed.format(n)) for n, text in enumerate(txs)]
    if not variants:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Missing transactions")
    prevouts = variants[0].prevouts
    txouts = await find_txouts(node, prevouts)
    if len(txouts) < len(set(prevouts)):
        raise RpcError(RpcCode.VERIFY_ERROR, "Input not found or already spent")
    return combine_signatures(variants, [txouts[outpoint] for outpoint in prevouts]).raw.hex()


def _error_json(tx: Tx, index: int, error: str) -> dict[str, Any]:
    outpoint = tx.prevouts[index]
    return {
        "txid": to_display(outpoint[:32]),
        "vout": int.from_bytes(outpoint[32:], "little"),
        "witness": [item.hex() for item in tx.witnesses[index]] if tx.witnesses else [],
        "scriptSig": tx.script_sigs[index].hex(),
        "sequence": tx.sequences[index],
        "error": error,
    }


@rpc(
    "rawtransactions",
    "Sign a transaction with the keys given, and no others.",
    Arg("hexstring", Kind.STR, "The transaction in hex"),
    Arg("privkeys", Kind.ARR, "Private keys", inner=(Arg("privatekey", Kind.HEX, "Wallet import format", None),)),
    Arg(
        "prevtxs",
        Kind.ARR,
        "Outputs it spends that the chain and the mempool do not have",
        None,
        inner=(
            Arg(
                "",
                Kind.OBJ,
                "An output",
                None,
                inner=(
                    Arg("txid", Kind.HEX, "Transaction id"),
                    Arg("vout", Kind.INT, "Number of the output"),
                    Arg("scriptPubKey", Kind.HEX, "Its script"),
                    Arg("redeemScript", Kind.HEX, "Redeem script, for P2SH", None),
                    Arg("witnessScript", Kind.HEX, "Witness script, for P2WSH, wrapped in P2SH or not", None),
                    Arg("amount", Kind.AMOUNT, "Its amount, for segwit", None),
                ),
            ),
        ),
    ),
    SIGHASH_ARG,
    returns=obj(
        "",
        "",
        hexed("hex", "The transaction"),
        boolean("complete", "Whether nothing is missing"),
        arr(
            "errors",
            "What is wrong with inputs",
            obj(
                "",
                "",
                hexed("txid", "Transaction it spends from"),
                number("vout", "Output it spends"),
                arr("witness", "Witness", hexed("", "Element")),
                hexed("scriptSig", "Script"),
                number("sequence", "Sequence"),
                string("error", "What is wrong"),
            ),
            optional=True,
        ),
    ),
    examples=(("myhex", ["key1", "key2"]),),
)
async def signrawtransactionwithkey(
    node: NodeParts, hexstring: str, privkeys: list[Any], prevtxs: list[Any] | None, sighashtype: str | None
) -> dict[str, Any]:
    """See the declaration."""
    tx = decode_transaction(hexstring, witness=True, error=NO_INPUT_HINT)
    provider = parse_secrets(privkeys, node.params)
    txouts = await find_txouts(node, tx.prevouts)
    parse_prevouts(prevtxs or [], provider, txouts)
    signed, errors = sign_transaction(tx, provider, txouts, parse_sighash(sighashtype) or 0)
    for index, error in errors.items():
        if error == MISSING_AMOUNT:
            txout = txouts[tx.prevouts[index]]
            value = format_amount(int.from_bytes(txout[:8], "little"))
            text = f"CTxOut(nValue={value}, scriptPubKey={txout_script(txout).hex()[:30]})"
            raise RpcError(RpcCode.TYPE_ERROR, f"Missing amount for {text}")
    result: dict[str, Any] = {"hex": signed.raw.hex(), "complete": not errors}
    if errors:
        result["errors"] = [_error_json(signed, index, error) for index, error in errors.items()]
    return result
