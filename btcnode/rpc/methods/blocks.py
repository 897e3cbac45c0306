"""Blocks and headers: hashes, headers, whole blocks, coins."""

from __future__ import annotations

import asyncio
from typing import Any

from btcnode.errors import StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_prefix, coin_script, coin_value
from btcnode.primitives.hashes import to_display
from btcnode.rpc.decode import script_json, tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, double
from btcnode.rpc.lookup import (
    HEADER_RESULT,
    difficulty,
    find_block,
    header_json,
    parse_hash,
    parse_verbosity,
    require_data,
)
from btcnode.rpc.spec import (
    Arg,
    Kind,
    Result,
    arr,
    boolean,
    coins,
    ellipsis,
    hexed,
    nothing,
    number,
    obj,
    real,
    rpc,
    string,
)
from btcnode.services.parts import NodeParts

EXAMPLE_HASH = "00000000c937983704a73af28acdec37b049d214adbda81d7e2a3dd146f6ed09"

SCRIPT_RESULT: tuple[Result, ...] = (
    string("asm", "The script in words"),
    string("desc", "A descriptor of the script"),
    hexed("hex", "The script"),
    string("address", "Its address, where it has one", optional=True),
    string("type", "Its type"),
)


@rpc("blockchain", "Height of the active chain's tip.", returns=number("", "The height; that of genesis is 0"))
def getblockcount(node: NodeParts) -> int:
    """See the declaration."""
    return node.chain.tree.height(node.chain.tip())


@rpc("blockchain", "Hash of the active chain's tip.", returns=hexed("", "The block hash"))
def getbestblockhash(node: NodeParts) -> str:
    """See the declaration."""
    return to_display(node.chain.tree.hash(node.chain.tip()))


@rpc("blockchain", "Proof-of-work difficulty of the tip, as a multiple of mainnet's least.", returns=real("", ""))
def getdifficulty(node: NodeParts) -> Any:
    """See the declaration."""
    return double(difficulty(node.chain.tree.bits(node.chain.tip())))


@rpc(
    "blockchain",
    "Hash of the block at a height of the active chain.",
    Arg("height", Kind.INT, "The height"),
    returns=hexed("", "The block hash"),
    examples=((1000,),),
)
def getblockhash(node: NodeParts, height: int) -> str:
    """See the declaration."""
    tree, tip = node.chain.tree, node.chain.tip()
    if not 0 <= height <= tree.height(tip):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Block height out of range")
    return to_display(tree.hash(tree.ancestor(tip, height)))


@rpc(
    "blockchain",
    "A block header, as JSON or as bytes in hex.",
    Arg("blockhash", Kind.HEX, "The block hash"),
    Arg("verbose", Kind.BOOL, "JSON (true) or hex (false)", True),
    returns=(
        obj("", "", *HEADER_RESULT, when="for verbose = true", given={"verbose": (True,)}),
        hexed("", "The 80 bytes", when="for verbose = false", given={"verbose": (False,)}),
    ),
    examples=((EXAMPLE_HASH,),),
)
def getblockheader(node: NodeParts, blockhash: str, verbose: bool) -> Any:
    """See the declaration."""
    index = find_block(node, blockhash, "hash")
    return header_json(node, index) if verbose else node.chain.tree.raw(index).hex()


async def read_block(node: NodeParts, index: int) -> bytes:
    """The bytes of a block; raises RpcError when they are not there."""
    require_data(node, index)
    try:
        return await node.chain.read_block(index)
    except StorageError:
        raise RpcError(RpcCode.MISC_ERROR, "Block not found on disk") from None


async def read_undo(node: NodeParts, index: int) -> list[list[bytes]] | None:
    """Spent coins per transaction after the coinbase; None when the block was never connected."""
    if not node.chain.block_status(index).have_undo:
        return None
    try:
        return await node.chain.read_undo(index)
    except StorageError:
        text = (
            "Undo data expected but can't be read. This could be due to disk corruption or a conflict with a pruning"
            " event."
        )
        raise RpcError(RpcCode.INTERNAL_ERROR, text) from None


def _coinbase_json(block: ParsedBlock) -> dict[str, Any]:
    tx = block.tx(0)
    result: dict[str, Any] = {
        "version": tx.version,
        "locktime": tx.lock_time,
        "sequence": tx.sequences[0],
        "coinbase": tx.script_sigs[0].hex(),
    }
    if tx.witnesses and tx.witnesses[0]:
        result["witness"] = tx.witnesses[0][0].hex()
    return result


def block_json(
    head: dict[str, Any], raw: bytes, params: NetworkParams, undo: list[list[bytes]] | None, verbosity: int
) -> dict[str, Any]:
    """A whole block below its header's fields; ``verbosity`` 1 lists txids, 2 transactions, 3 also what they spend."""
    block = parse_block(raw)
    result = {
        **head,
        "strippedsize": block.stripped_size,
        "size": block.size,
        "weight": block.weight,
        "coinbase_tx": _coinbase_json(block),
    }
    if verbosity == 1:
        result["tx"] = [to_display(txid) for txid in block.txids]
        return result
    result["tx"] = [
        tx_json(block.tx(i), params, spent=undo[i - 1] if undo and i else None, prevouts=verbosity > 2)
        for i in range(block.n_tx)
    ]
    return result


_COINBASE_RESULT = obj(
    "coinbase_tx",
    "The coinbase transaction",
    number("version", "Its version"),
    number("locktime", "Its lock time"),
    number("sequence", "Sequence of its input"),
    hexed("coinbase", "Script of its input"),
    hexed("witness", "Witness of its input", optional=True),
)


@rpc(
    "blockchain",
    "A block: as bytes in hex (verbosity 0), with its txids (1), its transactions (2), and what they spend (3).",
    Arg("blockhash", Kind.HEX, "The block hash"),
    Arg("verbosity|verbose", Kind.INT, "0, 1, 2 or 3; false and true are 0 and 1", 1, any_type=True),
    returns=(
        hexed("", "The block", when="for verbosity = 0", given={"verbosity": (0, False)}),
        obj(
            "",
            "",
            *HEADER_RESULT[:-2],
            number("strippedsize", "Bytes without witness"),
            number("size", "Bytes"),
            number("weight", "Weight (BIP141)"),
            _COINBASE_RESULT,
            arr("tx", "Transaction ids", hexed("", "Transaction id")),
            *HEADER_RESULT[-2:],
            when="for verbosity = 1",
            given={"verbosity": (1, True)},
        ),
        obj(
            "",
            "",
            ellipsis("", "As for verbosity 1"),
            arr("tx", "Transactions", obj("", "", ellipsis("", "As from getrawtransaction, with fee"))),
            when="for verbosity = 2",
            given={"verbosity": (2,)},
        ),
        obj(
            "",
            "",
            ellipsis("", "As for verbosity 2, and in every input:"),
            obj(
                "prevout",
                "The output it spends",
                boolean("generated", "Whether a coinbase made it"),
                number("height", "Height of the block that made it"),
                coins("value", "Its value"),
                obj("scriptPubKey", "Its script", *SCRIPT_RESULT),
            ),
            when="for verbosity = 3",
            given={"verbosity": (3,)},
        ),
    ),
    examples=((EXAMPLE_HASH,),),
    heavy=True,
)
async def getblock(node: NodeParts, blockhash: str, verbosity: Any) -> Any:
    """See the declaration."""
    parse_hash(blockhash, "blockhash")  # a fault of the hash is told before one of the level, an unknown block after it
    level = parse_verbosity(verbosity, 1)
    index = find_block(node, blockhash)
    raw = await read_block(node, index)
    if level <= 0:
        return raw.hex()
    undo = await read_undo(node, index) if level > 1 else None
    head = header_json(node, index)
    return await asyncio.to_thread(block_json, head, raw, node.params, undo, level)


@rpc(
    "blockchain",
    "An unspent transaction output.",
    Arg("txid", Kind.STR, "The transaction id"),
    Arg("n", Kind.INT, "Number of the output", bits=-32),
    Arg("include_mempool", Kind.BOOL, "Whether unconfirmed transactions count", True),
    returns=(
        nothing("", "", when="If there is no such unspent output"),
        obj(
            "",
            "",
            hexed("bestblock", "Hash of the tip"),
            number("confirmations", "Confirmations"),
            coins("value", "Value"),
            obj("scriptPubKey", "Script", *SCRIPT_RESULT),
            boolean("coinbase", "Whether a coinbase made it"),
            when="Otherwise",
        ),
    ),
    examples=(("txid", 1),),
)
async def gettxout(node: NodeParts, txid: str, n: int, include_mempool: bool) -> Any:
    """See the declaration."""
    outpoint = parse_hash(txid, "txid") + n.to_bytes(4, "little")
    coin = await node.chain.get_coin(outpoint)
    unconfirmed = False
    if include_mempool:
        if node.mempool.spender_of(outpoint) is not None:
            return None
        txout = node.mempool.txout(outpoint) if coin is None else None
        if txout is not None:
            coin, unconfirmed = coin_prefix(0, False) + txout, True
    if coin is None:
        return None
    tree, tip = node.chain.tree, node.chain.tip()
    return {
        "bestblock": to_display(tree.hash(tip)),
        "confirmations": 0 if unconfirmed else tree.height(tip) - coin_height(coin) + 1,
        "value": amount(coin_value(coin)),
        "scriptPubKey": script_json(coin_script(coin), node.params),
        "coinbase": coin_is_coinbase(coin),
    }
