"""Proofs that a transaction is in a block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from btcnode.errors import DecodeError, StorageError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.merkle_proof import build_proof, read_proof
from btcnode.rpc.declare import Hex, Named, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.lookup import find_block, is_active, parse_hash, parse_hex, parsed_block, require_coins, require_data
from btcnode.rpc.room import aside, beside
from btcnode.services.parts import NodeParts
from btcnode.wire.messages import MerkleBlock


async def _block_of(node: NodeParts, txids: list[bytes]) -> int:
    """The block of the first of the transactions that has an unspent output, or is indexed; raises RpcError."""
    for txid in txids:
        coin = await node.chain.find_coin(txid)
        if coin is not None:
            return node.chain.tree.ancestor(node.chain.tip(), coin_height(coin))
    index = node.indexes.transactions
    if index is not None:
        await index.until_synced()
        found = await index.find(txids[0])
        if found is not None:
            return found.block
    require_coins(node)
    raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Transaction not yet in block")


@rpc("blockchain", examples=((["mytxid"], "myblockhash"),))
async def gettxoutproof(
    node: NodeParts,
    txids: Annotated[Items[Annotated[Hex, Named("txid"), "Transaction id"]], "The transactions"],
    blockhash: Annotated[Hex | None, "The block to look into"] = None,
) -> Annotated[str, "The proof in hex: a header and a partial merkle tree"]:
    """A proof that transactions are in a block. Without blockhash one must be unspent, or in the txindex."""
    if not txids:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Parameter 'txids' cannot be empty")
    wanted = await aside(lambda: _wanted(txids))
    index = find_block(node, blockhash) if blockhash is not None else await _block_of(node, sorted(wanted))
    require_data(node, index)
    try:
        block = await parsed_block(node, index)
    except StorageError:
        raise RpcError(RpcCode.INTERNAL_ERROR, "Can't read block from disk") from None
    header = node.chain.tree.raw(index)
    return await beside(lambda: _proof(header, block, wanted))


def _wanted(texts: Iterable[str]) -> set[bytes]:
    """The txids; raises RpcError when one is none, or comes twice."""
    wanted: set[bytes] = set()
    for text in texts:
        txid = parse_hash(text, "txid")
        if txid in wanted:
            raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid parameter, duplicated txid: {text}")
        wanted.add(txid)
    return wanted


def _proof(header: bytes, block: ParsedBlock, wanted: set[bytes]) -> str:
    """The proof that these are in a block; raises RpcError when one is not."""
    if not wanted <= set(block.txids):
        text = "Not all transactions found in specified or retrieved block"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    hashes, flags = build_proof(block.txids, wanted)
    return MerkleBlock(header, block.n_tx, tuple(hashes), flags).encode().hex()


@rpc("blockchain", examples=(("proof",),))
async def verifytxoutproof(
    node: NodeParts, proof: Annotated[Hex, "The answer of gettxoutproof"]
) -> list[Annotated[Hex, "Transaction id"]]:
    """The transactions that a proof proves; none when it proves nothing. Its block must be in the active chain."""
    message, txids = await aside(lambda: _proven(proof))
    if txids is None:
        return []
    index = node.chain.tree.find(BlockHash(header_hash(message.header[:HEADER_SIZE])))
    if index < 0 or not is_active(node, index) or not node.chain.block_status(index).n_tx:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found in chain")
    if node.chain.block_status(index).n_tx != message.total_txs:
        return []
    return [to_display(txid) for txid in txids]


def _proven(proof: str) -> tuple[MerkleBlock, list[bytes] | None]:
    """What a proof says, and the transactions that its header proves if it does; raises RpcError when it is none."""
    try:
        message = MerkleBlock.decode(parse_hex(proof, "proof"))
    except DecodeError:
        raise RpcError(RpcCode.MISC_ERROR, "SpanReader::read(): end of data: iostream error") from None
    try:
        root, txids = read_proof(message.total_txs, message.hashes, message.flags)
    except DecodeError:
        return message, None
    return message, txids if root == message.header[36:68] else None
