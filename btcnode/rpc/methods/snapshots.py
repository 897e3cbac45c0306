"""UTXO sets in files."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError, StorageError
from btcnode.networks.assumeutxo import known_sets
from btcnode.primitives.hashes import to_display
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.lookup import find_block, is_active
from btcnode.rpc.spec import Arg, Kind, hexed, number, obj, rpc, string, whole_number
from btcnode.services.file_names import joined
from btcnode.services.parts import NodeParts
from btcnode.services.snapshot_files import SnapshotFileError, SnapshotRefusedError


@rpc(
    "blockchain",
    "Write the UTXO set to a file that loadtxoutset takes, as of the tip or as of an earlier block.",
    Arg("path", Kind.STR, "The file, relative to the network's directory"),
    Arg(
        "type",
        Kind.STR,
        '"latest" for the tip, "rollback" for an earlier block: the one of the option, or the last one whose UTXO set\n'
        "can be loaded",
        "",
    ),
    Arg(
        "options",
        Kind.OBJ,
        "What else is wanted",
        None,
        inner=(
            Arg("rollback", Kind.NUM, "Height or hash of the block", None, any_type=True),
            Arg("in_memory", Kind.BOOL, "Keep the changes of the way back in memory, not in a file", False),
        ),
        by_name=True,
    ),
    returns=obj(
        "",
        "",
        number("coins_written", "Coins in the file"),
        hexed("base_hash", "The block after which they are"),
        number("base_height", "Its height"),
        string("path", "The file"),
        hexed("txoutset_hash", "Hash of the set"),
        number("nchaintx", "Transactions in the chain up to the block"),
    ),
    examples=(("utxo.dat", "latest"),),
    heavy=True,
)
async def dumptxoutset(node: NodeParts, path: str, kind: str, options: dict[str, Any] | None) -> dict[str, Any]:
    """See the declaration."""
    given = options or {}
    if given.get("rollback") is not None:
        if kind not in ("", "rollback"):
            text = f'Invalid snapshot type "{kind}" specified with rollback option'
            raise RpcError(RpcCode.INVALID_PARAMETER, text)
        target = _block_of(node, given["rollback"])
    elif kind == "rollback":
        target = _block_of(node, known_sets(node.params)[-1].height)
    elif kind == "latest":
        target = node.chain.tip()
    else:
        text = f'Invalid snapshot type "{kind}" specified. Please specify "rollback" or "latest"'
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    place = joined(node.config.net_dir, path)
    try:
        written = await node.snapshots.write(place, target, in_memory=bool(given.get("in_memory")))
    except SnapshotFileError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, str(error)) from None
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return {
        "coins_written": written.coins,
        "base_hash": to_display(node.chain.tree.hash(target)),
        "base_height": node.chain.tree.height(target),
        "path": place,
        "txoutset_hash": to_display(written.utxo_hash),
        "nchaintx": written.chain_tx,
    }


def _block_of(node: NodeParts, text: Any) -> int:
    """The block of the active chain with this height or hash; raises RpcError."""
    tree, tip = node.chain.tree, node.chain.tip()
    if type_name(text) != "number":
        index = find_block(node, text, "hash_or_height")
        if not is_active(node, index):
            raise RpcError(RpcCode.INVALID_PARAMETER, "Block is not in main chain")
        return index
    height = whole_number(text)
    if height < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Target block height {height} is negative")
    if height > tree.height(tip):
        why = f"Target block height {height} after current tip {tree.height(tip)}"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    return tree.ancestor(tip, height)


@rpc(
    "blockchain",
    "Load a UTXO set that dumptxoutset has written and whose hash this program knows, and go on from its block. The\n"
    "chain below is validated in the background.",
    Arg("path", Kind.STR, "The file, relative to the network's directory"),
    returns=obj(
        "",
        "",
        number("coins_loaded", "Coins in the file"),
        hexed("tip_hash", "The block after which they are"),
        number("base_height", "Its height"),
        string("path", "The file"),
    ),
    examples=(("utxo.dat",),),
    heavy=True,
)
async def loadtxoutset(node: NodeParts, path: str) -> dict[str, Any]:
    """See the declaration."""
    place = joined(node.config.net_dir, path) if path else ""
    try:
        loaded = await node.assumed.load(place)
    except DecodeError as error:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, f"Unable to parse metadata: {error}: iostream error") from None
    except SnapshotFileError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, str(error)) from None
    except SnapshotRefusedError as error:
        text = f"Unable to load UTXO snapshot: {error}. ({place})"
        raise RpcError(RpcCode.INTERNAL_ERROR, text) from None
    return {
        "coins_loaded": loaded.coins,
        "tip_hash": to_display(node.chain.tree.hash(loaded.base)),
        "base_height": node.chain.tree.height(loaded.base),
        "path": place,
    }
