"""What many methods share: reading hashes from parameters, finding blocks, headers as JSON."""

from __future__ import annotations

import re
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.consensus.pow import bits_to_target
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.declare import Hex, Real, Time
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double, type_name
from btcnode.rpc.room import beside
from btcnode.rpc.shapes import whole_number, wrong_type
from btcnode.services.parts import NodeParts
from btcnode.storage.undo import decode_undo

HEX_PIECE = 1 << 18  # characters
LARGE_TEXT = 100_000  # characters: a transaction of 50 kB takes a millisecond or two
_HEX = r"(?a)(?:[0-9a-fA-F]{2})*"
_is_hash = re.compile("[0-9a-fA-F]{64}").fullmatch


def parse_hash(text: Any, name: str) -> bytes:
    """The 32 bytes (internal order) of a hash parameter; raises RpcError as Core's ParseHashV."""
    if type(text) is str and _is_hash(text):  # nearly always, and a quarter of the time
        return bytes.fromhex(text)[::-1]
    if type_name(text) != "string":
        raise wrong_type(text, "string")
    length = len(text.encode("utf-8", "surrogatepass"))  # Core counts bytes
    if length != 64:
        why = f"{name} must be of length 64 (not {length}, for '{text}')"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    if not re.fullmatch(_HEX, text):
        raise RpcError(RpcCode.INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{text}')")
    return bytes.fromhex(text)[::-1]


def parse_hex(text: str, name: str) -> bytes:
    """The bytes of a hex parameter, which must not be empty; raises RpcError as Core's ParseHexV."""
    data = parse_hex_or_none(text)
    if not data:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{text}')")
    return data


def parse_hex_or_none(text: str) -> bytes | None:
    """The bytes of a hex text, None when it is none. Read in pieces: while one is, no other thread runs."""
    parts = []
    for at in range(0, len(text), HEX_PIECE):
        piece = text[at : at + HEX_PIECE]
        try:
            data = bytes.fromhex(piece)  # a regular expression takes forty times as long for a large one
        except ValueError:
            return None
        if 2 * len(data) != len(piece):  # white space between bytes was passed over
            return None
        parts.append(data)
    return b"".join(parts)


def is_large(text: str) -> bool:
    """Whether it is better decoded beside the loop."""
    return len(text) > LARGE_TEXT


def parse_verbosity(value: Any, default: int) -> int:
    """A verbosity given as number or boolean."""
    if value is None:
        return default
    if isinstance(value, bool):
        return int(value)
    return whole_number(value)


def require_coins(node: NodeParts) -> None:
    """Raise RpcError where there is no UTXO set to answer from."""
    if not node.chain.keeps_coins:
        raise RpcError(RpcCode.MISC_ERROR, "This node keeps no UTXO set, only its roots (-utreexo-csn)")


def require_data(node: NodeParts, index: int, *, undo: bool = False) -> None:
    """Raise RpcError when the block's bytes (or its undo data) are not here, saying why."""
    status = node.chain.block_status(index)
    if status.have_undo if undo else status.have_data:
        return
    if status.n_tx and not status.have_data:
        why = f"{'Undo data' if undo else 'Block'} not available (pruned data)"
    else:
        why = "Undo data not available" if undo else "Block not available (not fully downloaded)"
    raise RpcError(RpcCode.MISC_ERROR, why)


async def parsed_block(node: NodeParts, index: int, raw: bytes | None = None) -> ParsedBlock:
    """A block, parsed beside the loop unless it was asked for lately; ``raw`` are its bytes where they were read.

    Raises StorageError when it is not here or cannot be read.
    """
    kept = node.chain.parsed_lately(index)
    if kept is not None:
        return kept
    data = await node.chain.read_block(index) if raw is None else raw
    block = await beside(lambda: parse_block(data))  # the largest take tens of milliseconds
    node.chain.keep_parsed(index, block)
    return block


def find_block(node: NodeParts, text: Any, name: str = "blockhash") -> int:
    """Index of the block with this hash parameter; raises RpcError when it is unknown."""
    index = node.chain.tree.find(BlockHash(parse_hash(text, name)))
    if index < 0:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found")
    return index


def find_by_hash_or_height(node: NodeParts, value: Any) -> int:
    """Index of a block given by hash or by height in the active chain; raises RpcError."""
    if type_name(value) != "number":
        return find_block(node, value, "hash_or_height")
    tree, height = node.chain.tree, whole_number(value)
    if height < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Target block height {height} is negative")
    tip = node.chain.height()
    if height > tip:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Target block height {height} after current tip {tip}")
    return tree.ancestor(node.chain.tip(), height)


async def spent_by_block(node: NodeParts, index: int, raw: bytes | None = None) -> list[list[bytes]]:
    """What a block spends, packed, per transaction after the coinbase and input; raises StorageError.

    ``raw`` are its undo data where they were read.
    """
    data = await node.chain.read_undo(index) if raw is None else raw
    return await beside(lambda: decode_undo(data))


def is_active(node: NodeParts, index: int) -> bool:
    """Whether the block is in the active chain."""
    return node.chain.is_active(index)


def fork_height(node: NodeParts, index: int) -> int:
    """Height of the last block that ``index`` has in common with the active chain."""
    tree, tip = node.chain.tree, node.chain.tip()
    low, high = 0, min(tree.height(index), tree.height(tip))
    while low < high:
        middle = (low + high + 1) // 2
        if tree.ancestor(index, middle) == tree.ancestor(tip, middle):
            low = middle
        else:
            high = middle - 1
    return low


def difficulty(bits: int) -> float:
    """How many times harder than the easiest target of mainnet, computed in doubles as Core does."""
    size, word = bits >> 24 & 0xFF, bits & 0x00FFFFFF
    if not word:
        return float("inf")
    value = 0x0000FFFF / word
    while size < 29:
        value *= 256.0
        size += 1
    while size > 29:
        value /= 256.0
        size -= 1
    return value


def uint256_hex(value: int) -> str:
    """A 256-bit number as 64 hex digits."""
    return f"{value:064x}"


class HeaderStart(TypedDict):
    """A header and its place in the chain: what a block begins with."""

    hash: Annotated[Hex, "Hash of the block"]
    confirmations: Annotated[int, "Blocks from this one to the tip, both counted; -1 outside the active chain"]


class HeaderVersion(TypedDict):
    """Height and version, up to the transactions."""

    height: Annotated[int, "Height"]
    version: Annotated[int, "Version"]
    versionHex: Annotated[Hex, "Version in hex"]
    merkleroot: Annotated[Hex, "Root of the transaction tree"]


class HeaderEnd(TypedDict):
    """What comes behind the transactions."""

    time: Annotated[Time, "Time the block claims, in Unix seconds"]
    mediantime: Annotated[Time, "Median time of the block and the ten before it, in Unix seconds"]
    nonce: Annotated[int, "Nonce"]
    bits: Annotated[Hex, "Target in compact form"]
    target: Annotated[Hex, "Target"]
    difficulty: Annotated[Real, "Difficulty as a multiple of the least one on mainnet"]
    chainwork: Annotated[Hex, "Hashes expected for the chain up to this block"]
    nTx: Annotated[int, "Transactions in the block"]
    previousblockhash: Annotated[NotRequired[Hex], "Hash of the parent"]
    nextblockhash: Annotated[NotRequired[Hex], "Hash of the next block in the active chain"]


class HeaderJson(HeaderStart, HeaderVersion, HeaderEnd):
    """A header and its place in the chain."""


def header_json(node: NodeParts, index: int) -> HeaderJson:
    """The fields of a header and its place in the chain."""
    tree, tip = node.chain.tree, node.chain.tip()
    height, bits, raw = tree.height(index), tree.bits(index), tree.raw(index)
    version = tree.version(index)
    following = -1
    confirmations = -1
    if is_active(node, index):
        confirmations = tree.height(tip) - height + 1
        following = tree.ancestor(tip, height + 1) if index != tip else -1
    result: HeaderJson = {
        "hash": to_display(tree.hash(index)),
        "confirmations": confirmations,
        "height": height,
        "version": version,
        "versionHex": f"{version & 0xFFFFFFFF:08x}",
        "merkleroot": to_display(raw[36:68]),
        "time": tree.time(index),
        "mediantime": tree.median_time_past(index),
        "nonce": int.from_bytes(raw[76:80], "little"),
        "bits": f"{bits:08x}",
        "target": uint256_hex(bits_to_target(bits)),
        "difficulty": double(difficulty(bits)),
        "chainwork": uint256_hex(tree.chainwork(index)),
        "nTx": node.chain.block_status(index).n_tx,
    }
    if tree.prev(index) >= 0:
        result["previousblockhash"] = to_display(tree.hash(tree.prev(index)))
    if following >= 0:
        result["nextblockhash"] = to_display(tree.hash(following))
    return result
