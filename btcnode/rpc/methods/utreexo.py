"""Utreexo: roots, proofs of blocks and of coins (utreexoindex); names as utreexod has them where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NotRequired, TypedDict

from btcnode.errors import DecodeError, ProofError
from btcnode.indexes.utreexo import ForestRecord
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import Coins, Hex, Hint, Named, When, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Strict, Whole
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import find_block, parse_hash, parse_hex, require_data
from btcnode.rpc.methods.mempool_submit import MAX_FEERATE, MaxBurn, MaxFeerate, submit
from btcnode.rpc.room import beside
from btcnode.services.index_readers import UtreexoIndex
from btcnode.services.parts import NodeParts
from btcnode.storage.undo import decode_undo
from btcnode.utreexo.blocks import spent_leaves
from btcnode.utreexo.coin_proof import CoinProof, ProvenCoin, encode_roots
from btcnode.utreexo.compact import block_leaves
from btcnode.utreexo.hashing import EMPTY, HASH_SIZE
from btcnode.utreexo.proof import MAX_TARGETS, Proof
from btcnode.utreexo.stump import Stump

MAX_COINS = 1000  # proven at once


class UtreexoRoots(TypedDict):
    """The roots after a block."""

    roots: Annotated[list[Annotated[Hex, Named("root"), "A root, zeros for an empty one"]], "Highest first"]
    numleaves: Annotated[int, "Leaves that were ever added"]
    blockhash: Annotated[Hex, "The block"]
    height: Annotated[int, "Its height"]
    hex: Annotated[Hex, "Block and roots in one, for verifyutreexoproof and btcnode utreexo verify"]


class UtreexoBlockProof(TypedDict):
    """The proof of what a block spends."""

    proofhashes: Annotated[list[Annotated[Hex, Named("hash"), "A hash"]], "The hashes on the way to the roots"]
    targethashes: Annotated[list[Annotated[Hex, Named("hash"), "A leaf"]], "The leaves, in the order of the inputs"]
    targetpreimages: Annotated[list[Annotated[Hex, Named("leaf"), "What is hashed, without the tags"]], "The coins"]
    prooftargets: Annotated[list[Annotated[int, Named("position"), "A position"]], "Where the leaves are"]


class CoinOfProof(TypedDict):
    """A coin in a proof."""

    txid: Annotated[Hex, "Its transaction"]
    vout: Annotated[int, "Number of the output"]
    value: Annotated[Coins, "Value"]
    scriptPubKey: Annotated[Hex, "Its script"]
    height: Annotated[int, "Height of the block that confirmed it"]
    blockhash: Annotated[Hex, "That block"]
    coinbase: Annotated[bool, "Whether a coinbase made it"]


class CoinProofResult(TypedDict):
    """A proof that coins are unspent after a block."""

    blockhash: Annotated[Hex, "The block after which they are in the set"]
    height: Annotated[int, "Its height"]
    coins: Annotated[list[Annotated[CoinOfProof, Named("coin"), "A coin"]], "The coins"]
    hex: Annotated[Hex, "The proof, for verifyutreexoproof and btcnode utreexo verify"]


class Verdict(TypedDict):
    """What a proof proves."""

    valid: Annotated[bool, "Whether it leads to the roots after its block"]
    error: Annotated[NotRequired[str], "Why not"]
    blockhash: Annotated[Hex, "The block after which the coins are said to be in the set"]
    height: Annotated[int, "Its height"]
    coins: Annotated[list[Annotated[CoinOfProof, Named("coin"), "A coin"]], "The coins"]


class ChainTipProof(TypedDict):
    """A proof in utreexod's form."""

    provedathash: Annotated[Hex, "The block after which the coins are in the set"]
    proofhashes: Annotated[list[Annotated[Hex, Named("hash"), "A hash, reversed"]], "The hashes of the proof"]
    prooftargets: Annotated[list[Annotated[int, Named("position"), "A position"]], "Where the leaves are"]
    hashesproven: Annotated[list[Annotated[Hex, Named("hash"), "A leaf, reversed"]], "The leaves"]
    hex: Annotated[Hex, "All of that"]


class Output(TypedDict):
    """An output."""

    txid: Annotated[Hex, "The transaction id"]
    vout: Annotated[Whole, "Number of the output"]


def _index(node: NodeParts) -> UtreexoIndex:
    if node.indexes.utreexo is None:
        raise RpcError(RpcCode.MISC_ERROR, "This needs the Utreexo forest: start with -utreexoindex")
    return node.indexes.utreexo


async def _record(node: NodeParts, at: int) -> ForestRecord:
    """What a block did to the forest; raises RpcError."""
    index = _index(node)
    ready = await index.until_synced()
    record = await index.read(node.chain.tree.hash(at))
    if record is not None:
        return record
    raise _missing(index, ready=ready)


async def _indexed_roots(node: NodeParts, at: int) -> Stump:
    """The roots after a block, of the index; raises RpcError."""
    index = _index(node)
    ready = await index.until_synced()
    stump = index.roots(node.chain.tree.hash(at))
    if stump is not None:
        return stump
    raise _missing(index, ready=ready)


def _missing(index: UtreexoIndex, *, ready: bool) -> RpcError:
    if not ready:
        return RpcError(RpcCode.MISC_ERROR, f"The utreexoindex has come to height {index.state().height} only")
    return RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "The block was not connected to the active chain")


async def _stump(node: NodeParts, at: int) -> Stump:
    """The roots after a block; raises RpcError."""
    if node.chain.keeps_coins:
        return await _indexed_roots(node, at)
    stump = node.chain.roots_after(at)
    if stump is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "The roots after this block are not kept (any more)")
    return stump


def _at(node: NodeParts, blockhash: str | None) -> int:
    return node.chain.tip() if blockhash is None else find_block(node, blockhash)


@rpc("blockchain", own=True, examples=((), ("myblockhash",)))
async def getutreexoroots(
    node: NodeParts, blockhash: Annotated[Hex | None, "The block", Hint("the tip")] = None
) -> UtreexoRoots:
    """The roots of the Utreexo forest after a block. They are those of -utreexoindex; a node without coins
    (-utreexo-csn) has them of its last 4,096 blocks.
    """
    at = _at(node, blockhash)
    stump = await _stump(node, at)
    block_hash = node.chain.tree.hash(at)
    return {
        "roots": [(root or EMPTY).hex() for root in stump.roots],
        "numleaves": stump.leaves,
        "blockhash": to_display(block_hash),
        "height": node.chain.tree.height(at),
        "hex": encode_roots(block_hash, stump).hex(),
    }


@rpc("blockchain", own=True, examples=(("myblockhash",), ("myblockhash", 1)))
async def getutreexoproof(
    node: NodeParts,
    blockhash: Annotated[Hex, "The block"],
    verbosity: Annotated[int, "0 for hex, 1 for an object"] = 0,
) -> (
    Annotated[Hex, When("for verbosity = 0"), "Proof and compact leaves as peers send them"]
    | Annotated[UtreexoBlockProof, When("for verbosity = 1")]
):
    """The proof that what a block spends was in the forest before it. The node has to run with -utreexoindex, and to
    have the block.
    """
    at = find_block(node, blockhash)
    if not node.chain.tree.height(at):
        raise RpcError(RpcCode.INVALID_PARAMETER, "The genesis block has no Utreexo proof")
    record = await _record(node, at)
    require_data(node, at)
    raw, undo = await node.chain.read_block(at), await node.chain.read_undo(at)
    tree = node.chain.tree

    def packed() -> str:
        leaves = block_leaves(parse_block(raw), decode_undo(undo))
        return (record.proof.encode() + compact_size(len(leaves)) + b"".join(leaves)).hex()

    def shown() -> UtreexoBlockProof:
        spent = spent_leaves(parse_block(raw), decode_undo(undo))
        made_by = [tree.hash(tree.ancestor(at, coin_height(coin))) for _, coin in spent]
        preimages = [own + coin.outpoint + coin.coin for own, coin in zip(made_by, spent, strict=True)]
        return {
            "proofhashes": [hash_.hex() for hash_ in record.proof.hashes],
            "targethashes": [hash_.hex() for hash_ in record.hashes],
            "targetpreimages": [preimage.hex() for preimage in preimages],
            "prooftargets": list(record.proof.targets),
        }

    return await beside(shown if verbosity else packed)


async def _coin_proof(node: NodeParts, outpoints: Sequence[bytes], at: int) -> tuple[CoinProof, tuple[bytes, ...]]:
    """A proof of coins after a block, and their leaves; raises RpcError."""
    index, tree = _index(node), node.chain.tree
    if not outpoints or len(outpoints) > MAX_COINS:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"1 to {MAX_COINS} outputs are proven at once")
    if len(set(outpoints)) != len(outpoints):
        raise RpcError(RpcCode.INVALID_PARAMETER, "An output is named twice")
    found = await node.chain.get_coins(outpoints)
    coins: list[tuple[bytes, bytes]] = []
    for outpoint, coin in zip(outpoints, found, strict=True):
        if coin is None or coin_height(coin) > tree.height(at):
            why = f"Output {to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little')} is not in the set"
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
        coins.append((outpoint, coin))
    await index.until_synced()
    try:
        proven = await index.prove(coins, at)
    except ProofError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    made = tuple(
        ProvenCoin(tree.hash(tree.ancestor(at, coin_height(coin))), outpoint, coin) for outpoint, coin in coins
    )
    return CoinProof(proven.block_hash, made, proven.proof), proven.hashes


def _outpoint(txid: str, vout: Whole) -> bytes:
    """Raises RpcError."""
    number = vout.read()
    if number < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    return parse_hash(txid, "txid") + number.to_bytes(4, "little")


def _coin_json(coin: ProvenCoin) -> CoinOfProof:
    return {
        "txid": to_display(coin.outpoint[:32]),
        "vout": int.from_bytes(coin.outpoint[32:], "little"),
        "value": amount(coin_value(coin.coin)),
        "scriptPubKey": coin_script(coin.coin).hex(),
        "height": coin_height(coin.coin),
        "blockhash": to_display(coin.block_hash),
        "coinbase": coin_is_coinbase(coin.coin),
    }


@rpc("blockchain", own=True, examples=(([{"txid": "mytxid", "vout": 0}],),))
async def proveutreexocoins(
    node: NodeParts,
    outputs: Annotated[
        Items[Annotated[Strict[Output], Named("output"), "An output"]], f"The outputs, at most {MAX_COINS}"
    ],
    blockhash: Annotated[Hex | None, "A block of the last 100, after which they are proven", Hint("the tip")] = None,
) -> CoinProofResult:
    """Prove that outputs which are unspent now were in the set after a block; anybody with its roots can verify it. The
    node has to run with -utreexoindex.
    """
    outpoints = [_outpoint(one["txid"], one["vout"]) for one in (output.read() for output in outputs[: MAX_COINS + 1])]
    at = _at(node, blockhash)
    proof, _ = await _coin_proof(node, outpoints, at)
    return {
        "blockhash": to_display(proof.after),
        "height": node.chain.tree.height(at),
        "coins": [_coin_json(coin) for coin in proof.coins],
        "hex": proof.encode().hex(),
    }


def _given(proof: str) -> CoinProof:
    """A proof as ``proveutreexocoins`` gives it; raises RpcError."""
    try:
        return CoinProof.decode(parse_hex(proof, "proof"))
    except DecodeError as error:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, str(error)) from None


async def _show(node: NodeParts, proof: str) -> CoinProof:
    """Have the coins of a proof known; raises RpcError."""
    given = _given(proof)
    if node.chain.keeps_coins:
        raise RpcError(RpcCode.MISC_ERROR, "This node keeps all coins itself")
    try:
        await node.chain.show_coins(given)
    except ProofError as error:
        raise RpcError(RpcCode.VERIFY_ERROR, str(error)) from None
    return given


@rpc("blockchain", own=True, examples=(("myproof",),))
async def showutreexocoins(
    node: NodeParts, proof: Annotated[Hex, "A proof of proveutreexocoins, after this node's tip"]
) -> Annotated[list[Annotated[CoinOfProof, Named("coin"), "A coin"]], "The coins of the proof, which are known now"]:
    """Show coins to a node that keeps none (-utreexo-csn), so that its mempool takes what spends them. They are known
    until a block spends them, 20,000 more were shown, or the node stops. A proof about another block than the tip is
    refused.
    """
    given = await _show(node, proof)
    return [_coin_json(coin) for coin in given.coins]


@rpc("blockchain", own=True, examples=(("signedhex", "myproof"),))
async def sendutreexotransaction(
    node: NodeParts,
    hexstring: Annotated[Hex, "The transaction"],
    proof: Annotated[Hex, "A proof of proveutreexocoins of what it spends, after this node's tip"],
    maxfeerate: MaxFeerate = MAX_FEERATE,
    maxburnamount: MaxBurn = "0.00",
) -> Annotated[Hex, "Transaction id"]:
    """Hand a transaction in at a node that keeps no coins (-utreexo-csn): showutreexocoins, then sendrawtransaction.
    The coins stay known also when the transaction is refused.
    """
    await _show(node, proof)
    return await submit(node, hexstring, maxfeerate, maxburnamount)


@rpc("blockchain", own=True, examples=(("myproof",),))
async def verifyutreexoproof(node: NodeParts, proof: Annotated[Hex, "The proof"]) -> Verdict:
    """Verify a proof of coins against this node's roots after the block that it names. The node has to run with
    -utreexoindex or -utreexo-csn.
    """
    given = _given(proof)
    tree = node.chain.tree
    at = tree.find(given.after)
    if at < 0:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found")
    stump = await _stump(node, at)
    verdict: Verdict = {
        "valid": True,
        "blockhash": to_display(given.after),
        "height": tree.height(at),
        "coins": [_coin_json(coin) for coin in given.coins],
    }
    try:
        await beside(lambda: given.verify(stump))
    except ProofError as error:
        verdict |= {"valid": False, "error": str(error)}
    return verdict


@rpc("blockchain", own=True, examples=((["mytxid"], [0]),))
async def proveutxochaintipinclusion(
    node: NodeParts,
    txids: Annotated[Items[Annotated[Hex, Named("txid"), "Transaction id"]], f"The transactions, at most {MAX_COINS}"],
    vouts: Annotated[Items[Annotated[Whole, Named("vout"), "Number of an output"]], "An output of each"],
    verbosity: Annotated[int, "0 for hex, 1 for an object"] = 0,
) -> Annotated[Hex, When("for verbosity = 0"), "The proof"] | Annotated[ChainTipProof, When("for verbosity = 1")]:
    """Prove, in utreexod's form, that outputs are in the set after the tip. The node has to run with -utreexoindex."""
    if len(txids) != len(vouts):
        raise RpcError(RpcCode.INVALID_PARAMETER, f"{len(txids)} txids for {len(vouts)} vouts")
    few = slice(MAX_COINS + 1)
    outpoints = [_outpoint(txid, vout) for txid, vout in zip(txids[few], vouts[few], strict=True)]
    proof, hashes = await _coin_proof(node, outpoints, node.chain.tip())
    packed = b"".join((proof.after, proof.proof.encode(), len(hashes).to_bytes(4, "little"), *hashes)).hex()
    if not verbosity:
        return packed
    return {
        "provedathash": to_display(proof.after),
        "proofhashes": [to_display(hash_) for hash_ in proof.proof.hashes],
        "prooftargets": list(proof.proof.targets),
        "hashesproven": [to_display(hash_) for hash_ in hashes],
        "hex": packed,
    }


@rpc("blockchain", own=True, examples=(("myproof",),))
async def verifyutxochaintipinclusionproof(
    node: NodeParts, proof: Annotated[Hex, "The proof"]
) -> Annotated[bool, "Whether it leads to the roots after the tip"]:
    """Verify a proof in utreexod's form, which has to be about the tip. The node has to run with -utreexoindex or
    -utreexo-csn.
    """
    data = parse_hex(proof, "proof")
    try:
        read, at = Proof.decode(data, HASH_SIZE)
        count, first = int.from_bytes(data[at : at + 4], "little"), at + 4
        if count > MAX_TARGETS or len(data) != first + count * HASH_SIZE:
            raise DecodeError("the proof has a wrong size")
    except DecodeError as error:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, f"Couldn't decode the given proof: {error}") from None
    tip, after = node.chain.tip(), data[:HASH_SIZE]
    stump = await _stump(node, tip)
    if node.chain.tree.hash(tip) != after:
        why = f"Possibly stale proof: it is about block {to_display(after)}, which is not the tip"
        raise RpcError(RpcCode.MISC_ERROR, why)
    hashes = [data[start : start + HASH_SIZE] for start in range(first, len(data), HASH_SIZE)]
    try:
        await beside(lambda: stump.verify(hashes, read))
    except ProofError:
        return False
    return True
