"""What a block's object has behind its header's members, as JSON text made from the block's bytes.

Everything here is pure, and in few modules: it is done in processes beside the node too (``room.elsewhere``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NotRequired, TypedDict

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.rpc.declare import Hex
from btcnode.rpc.jsonvalue import encode
from btcnode.rpc.tx_text import block_txs_text
from btcnode.storage.undo import decode_undo


class CoinbaseJson(TypedDict):
    """What a miner put into a coinbase."""

    version: Annotated[int, "Its version"]
    locktime: Annotated[int, "Its lock time"]
    sequence: Annotated[int, "Sequence of its input"]
    coinbase: Annotated[Hex, "Script of its input"]
    witness: Annotated[NotRequired[Hex], "Witness of its input"]


class BlockSizes(TypedDict):
    """What is known of a block's bytes."""

    size: Annotated[int, "Bytes"]
    strippedsize: Annotated[int, "Bytes without witness"]
    weight: Annotated[int, "Weight (BIP141)"]
    coinbase_tx: Annotated[CoinbaseJson, "The coinbase transaction"]


def _coinbase_json(block: ParsedBlock) -> CoinbaseJson:
    tx = block.tx(0)
    result: CoinbaseJson = {
        "version": tx.version,
        "locktime": tx.lock_time,
        "sequence": tx.sequences[0],
        "coinbase": tx.script_sigs[0].hex(),
    }
    if tx.witnesses and tx.witnesses[0]:
        result["witness"] = tx.witnesses[0][0].hex()
    return result


def block_text(
    block: ParsedBlock, params: NetworkParams, undo: list[list[bytes]] | None, verbosity: int
) -> tuple[bytes, ...]:
    """What a block's object has behind its header's members, in pieces, up to its end.

    ``verbosity`` 1 lists txids, 2 transactions, 3 also what they spend.
    """
    sizes: BlockSizes = {
        "strippedsize": block.stripped_size,
        "size": block.size,
        "weight": block.weight,
        "coinbase_tx": _coinbase_json(block),
    }
    start = b',%b,"tx":[' % encode(sizes)[1:-1]
    if verbosity == 1:
        return (b'%b"%b"]}' % (start, '","'.join([txid[::-1].hex() for txid in block.txids]).encode()),)
    return start, *block_txs_text(block, params, undo, prevouts=verbosity > 2), b"]}"


_params = lru_cache(maxsize=1)(params_for)  # one object: what is kept of scripts is kept by it


def text_of_bytes(network: bytes, verbosity: bytes, raw: bytes, *undo: bytes) -> tuple[bytes, ...]:
    """``block_text`` of serialised blocks and undo data (none where it is not told), all arguments being bytes.

    Raises DecodeError.
    """
    spent = decode_undo(undo[0]) if undo else None
    return block_text(parse_block(raw), _params(network.decode()), spent, int(verbosity))
