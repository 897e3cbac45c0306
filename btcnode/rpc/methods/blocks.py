"""Blocks and headers: hashes, headers, whole blocks, coins."""

from __future__ import annotations

import logging
from binascii import hexlify
from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.errors import CorruptionError, StorageError
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_prefix, coin_script, coin_value
from btcnode.primitives.hashes import to_display
from btcnode.rpc.block_text import BlockSizes, block_text, text_of_bytes
from btcnode.rpc.declare import Bits, Coins, Elided, Hex, Like, Named, Real, When, rpc
from btcnode.rpc.decode import (
    BlockInput,
    OutputJson,
    TxHead,
    TxJson,
    UtxoScript,
)
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import Written, double, encode
from btcnode.rpc.lookup import (
    HeaderEnd,
    HeaderJson,
    HeaderStart,
    HeaderVersion,
    difficulty,
    find_block,
    header_json,
    parse_hash,
    parse_verbosity,
    parsed_block,
    require_coins,
    require_data,
    spent_by_block,
)
from btcnode.rpc.room import HEX_FACTOR, VERBOSE_FACTOR, beside, elsewhere, make_room
from btcnode.rpc.tx_text import amount_text, script_text
from btcnode.services.parts import NodeParts

_log = logging.getLogger("btcnode.rpc")

HEX_PIECE = 1 << 18  # bytes that are written as hex in one go


EXAMPLE_HASH = "00000000c937983704a73af28acdec37b049d214adbda81d7e2a3dd146f6ed09"


@rpc("blockchain")
def getdifficulty(node: NodeParts) -> Real:
    """Proof-of-work difficulty of the tip, as a multiple of mainnet's least."""
    return double(difficulty(node.chain.tree.bits(node.chain.tip())))


@rpc("blockchain", examples=((EXAMPLE_HASH,),))
def getblockheader(
    node: NodeParts,
    blockhash: Annotated[Hex, "The block hash"],
    verbose: Annotated[bool, "JSON (true) or hex (false)"] = True,
) -> (
    Annotated[HeaderJson, When("for verbose = true", verbose=(True,))]
    | Annotated[Hex, "The 80 bytes", When("for verbose=false", verbose=(False,))]
):
    """A block header, as JSON or as bytes in hex."""
    index = find_block(node, blockhash, "hash")
    return header_json(node, index) if verbose else node.chain.tree.raw(index).hex()


async def read_block(node: NodeParts, index: int) -> bytes:
    """The bytes of a block; raises RpcError when they are not there."""
    require_data(node, index)
    try:
        return await node.chain.read_block(index)
    except CorruptionError as error:
        raise RpcError(RpcCode.MISC_ERROR, f"Block not found on disk ({error})") from None
    except StorageError:
        raise RpcError(RpcCode.MISC_ERROR, "Block not found on disk") from None


async def undo_bytes(node: NodeParts, index: int) -> bytes | None:
    """The serialised undo data of a block; None when it was never connected; raises RpcError."""
    if not node.chain.block_status(index).have_undo:
        return None
    try:
        return await node.chain.read_undo(index)
    except StorageError as error:
        _log.warning("%s", error)
        text = (
            "Undo data expected but can't be read. This could be due to disk corruption or a conflict with a pruning"
            " event."
        )
        raise RpcError(RpcCode.INTERNAL_ERROR, text) from None


async def read_undo(node: NodeParts, index: int) -> list[list[bytes]] | None:
    """Spent coins per transaction after the coinbase; None when the block was never connected; raises RpcError."""
    raw = await undo_bytes(node, index)
    return None if raw is None else await spent_by_block(node, index, raw)


class BlockHead(HeaderStart, BlockSizes, HeaderVersion):
    """A block up to its transactions."""


class Txids(TypedDict):
    """The transactions of a block by name."""

    tx: Annotated[list[Annotated[Hex, "Transaction id"]], "Transaction ids"]


class BlockJson(BlockHead, Txids, HeaderEnd):
    """A block with its txids."""


class TxEnd(TypedDict):
    """What a block says of a transaction besides."""

    fee: Annotated[NotRequired[Coins], "Fee, where undo data tell"]
    hex: Annotated[Hex, "The transaction"]


class BlockTx(TxJson, TxEnd):
    """A transaction of a block."""


class Txs(TypedDict):
    """The transactions of a block."""

    tx: Annotated[list[Annotated[BlockTx, Elided("As from getrawtransaction", "fee")]], "Transactions"]


class BlockWithTxs(BlockHead, Txs, HeaderEnd):
    """A block with its transactions."""


class BlockSpendingTx(TxHead, TxEnd):
    """A transaction of a block with what it spends."""

    vin: Annotated[list[Annotated[BlockInput, Elided("As with verbosity 2", "prevout")]], "Inputs"]
    vout: Annotated[list[OutputJson], "Outputs"]


class SpendingTxs(TypedDict):
    """The transactions of a block with what they spend."""

    tx: Annotated[list[Annotated[BlockSpendingTx, Elided(None, "vin")]], "Transactions"]


class BlockWithSpent(BlockHead, SpendingTxs, HeaderEnd):
    """A block with its transactions and what they spend."""


@rpc("blockchain", examples=((EXAMPLE_HASH,),), heavy=True)
async def getblock(
    node: NodeParts,
    blockhash: Annotated[Hex, "The block hash"],
    verbosity: Annotated[Any, "0, 1, 2 or 3; false and true are 0 and 1", Like(int), Named("|verbose")] = 1,
) -> (
    Annotated[Hex, "The block", When("for verbosity = 0", verbosity=(0, False))]
    | Annotated[BlockJson, When("for verbosity = 1", verbosity=(1, True))]
    | Annotated[BlockWithTxs, Elided("As with verbosity 1", "tx"), When("for verbosity = 2", verbosity=(2,))]
    | Annotated[BlockWithSpent, Elided("As with verbosity 2", "tx"), When("for verbosity = 3", verbosity=(3,))]
):
    """A block: as bytes in hex (verbosity 0), with its txids (1), its transactions (2), and what they spend (3)."""
    parse_hash(blockhash, "blockhash")  # a fault of the hash is told before one of the level, an unknown block after it
    level = parse_verbosity(verbosity, 1)
    index = find_block(node, blockhash)
    if level <= 0:
        raw = await read_block(node, index)
        await make_room(len(raw) * HEX_FACTOR)
        return cast(str, await hex_text(raw))
    text = await _block_text(node, index, min(level, 3))
    return cast(BlockJson, Written(encode(header_json(node, index))[:-1], *text))


async def hex_text(raw: bytes) -> Written:
    """Bytes as a JSON string of hex: beside the loop and in pieces where they are many."""
    if len(raw) <= HEX_PIECE:
        return Written(b'"%b"' % hexlify(raw))
    pieces = [raw[at : at + HEX_PIECE] for at in range(0, len(raw), HEX_PIECE)]
    return Written(b'"', *await beside(lambda: [hexlify(piece) for piece in pieces]), b'"')


async def _block_text(node: NodeParts, index: int, level: int) -> tuple[bytes, ...]:
    """``block_text`` of a block of this node, made beside the loop unless it was asked for lately; raises RpcError."""
    require_data(node, index)
    with_spent = level > 1 and node.chain.block_status(index).have_undo
    key = ("block", index, level, with_spent)
    kept: tuple[bytes, ...] | None = node.chain.lately.get(key)
    if kept is not None and node.chain.is_stored(index, undo=with_spent):
        await make_room(sum(map(len, kept)))
        return kept
    raw = await read_block(node, index)
    await make_room(len(raw) * (VERBOSE_FACTOR if level > 1 else HEX_FACTOR))
    spent = await undo_bytes(node, index) if level > 1 else None
    text = await elsewhere(text_of_bytes, node.params.name.encode(), b"%d" % level, raw, *filter(None, (spent,)))
    if text is None:
        undo = None if spent is None else await spent_by_block(node, index, spent)
        block = await parsed_block(node, index, raw)
        text = await beside(lambda: block_text(block, node.params, undo, level))
    node.chain.lately.put((*key[:-1], spent is not None), text, sum(map(len, text)))
    return text


class UnspentOutput(TypedDict):
    """An unspent output and the tip at that moment."""

    bestblock: Annotated[Hex, "Hash of the tip"]
    confirmations: Annotated[int, "Confirmations"]
    value: Annotated[Coins, "Value"]
    scriptPubKey: Annotated[UtxoScript, "Script"]
    coinbase: Annotated[bool, "Whether a coinbase made it"]


@rpc("blockchain", examples=(("txid", 1),), prompt=True)
async def gettxout(
    node: NodeParts,
    txid: Annotated[str, "The transaction id"],
    n: Annotated[Whole, "Number of the output", Bits(-32)],
    include_mempool: Annotated[bool, "Whether unconfirmed transactions count"] = True,
) -> Annotated[None, When("If the UTXO was not found")] | Annotated[UnspentOutput, When("Otherwise")]:
    """An unspent transaction output."""
    require_coins(node)
    outpoint = parse_hash(txid, "txid") + n.read().to_bytes(4, "little")
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
    confirmations = 0 if unconfirmed else tree.height(tip) - coin_height(coin) + 1
    text = (
        f'{{"bestblock":"{to_display(tree.hash(tip))}","confirmations":{confirmations},'
        f'"value":{amount_text(coin_value(coin))},"scriptPubKey":{script_text(coin_script(coin), node.params)},'
        f'"coinbase":{"true" if coin_is_coinbase(coin) else "false"}}}'
    )
    return cast(UnspentOutput, Written(text.encode()))
