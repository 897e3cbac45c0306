"""UTXO sets in files."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.errors import DecodeError, StorageError
from btcnode.networks.assumeutxo import known_sets
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import (
    BY_NAME,
    JSON_OR_TEXT,
    MAY_HOLD_EQUALS,
    NO_NULL,
    NOTHING,
    AnyNumber,
    Default,
    Hex,
    Label,
    Like,
    rpc,
)
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Lenient, Whole
from btcnode.rpc.lookup import find_by_hash_or_height, parse_hash, require_coins
from btcnode.services.file_names import joined
from btcnode.services.parts import NodeParts
from btcnode.services.snapshot_files import SnapshotBlocksError, SnapshotFileError, SnapshotRefusedError
from btcnode.services.utxo_fetch import FetchError


class DumpOptions(TypedDict):
    """What else dumptxoutset is told."""

    rollback: Annotated[
        NotRequired[Any],
        "Height or hash of the block",
        Like(AnyNumber),
        Label("string or numeric"),
        NO_NULL,
        JSON_OR_TEXT,
    ]
    in_memory: Annotated[bool, "Keep the changes of the way back in memory, not in a file", Default(False), NO_NULL]


class DumpedSet(TypedDict):
    """A UTXO set that was written."""

    coins_written: Annotated[int, "Coins in the file"]
    base_hash: Annotated[Hex, "The block after which they are"]
    base_height: Annotated[int, "Its height"]
    path: Annotated[str, "The file"]
    txoutset_hash: Annotated[Hex, "Hash of the set"]
    nchaintx: Annotated[int, "Transactions in the chain up to the block"]


@rpc("blockchain", examples=(("utxo.dat", "latest"),), heavy=True)
async def dumptxoutset(
    node: NodeParts,
    path: Annotated[str, "The file, relative to the network's directory", MAY_HOLD_EQUALS],
    type: Annotated[
        str,
        (
            '"latest" for the tip, "rollback" for an earlier block: the one of the option, or '
            "the last one whose UTXO set\ncan be loaded"
        ),
    ] = "",
    options: Annotated[Lenient[DumpOptions], BY_NAME] = NOTHING,
) -> DumpedSet:
    """Write the UTXO set to a file that loadtxoutset takes, as of the tip or as of an earlier block."""
    require_coins(node)
    given = options.read()
    if "rollback" in given:
        if type not in ("", "rollback"):
            text = f'Invalid snapshot type "{type}" specified with rollback option'
            raise RpcError(RpcCode.INVALID_PARAMETER, text)
        target = find_by_hash_or_height(node, given["rollback"])
    elif type == "rollback":
        target = find_by_hash_or_height(node, known_sets(node.params)[-1].height)
    elif type == "latest":
        target = node.chain.tip()
    else:
        text = f'Invalid snapshot type "{type}" specified. Please specify "rollback" or "latest"'
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    place = joined(node.settings.net_dir, path)
    try:
        written = await node.snapshots.write(place, target, lambda: given["in_memory"])
    except SnapshotFileError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, str(error)) from None
    except SnapshotBlocksError as error:
        raise RpcError(RpcCode.INTERNAL_ERROR, str(error)) from None
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


class LoadedSet(TypedDict):
    """A UTXO set that was loaded."""

    coins_loaded: Annotated[int, "Coins in the file"]
    tip_hash: Annotated[Hex, "The block after which they are"]
    base_height: Annotated[int, "Its height"]
    path: Annotated[str, "The file"]


@rpc("blockchain", examples=(("utxo.dat",),), heavy=True)
async def loadtxoutset(
    node: NodeParts, path: Annotated[str, "The file, relative to the network's directory", MAY_HOLD_EQUALS]
) -> LoadedSet:
    """Load a UTXO set that dumptxoutset has written and whose hash this program knows, and go on from its block.
    The chain below is validated in the background.
    """
    require_coins(node)
    place = joined(node.settings.net_dir, path) if path else ""
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


class BegunDownload(TypedDict):
    """A download that has begun."""

    height: Annotated[int, "Height of the set's block"]
    blockhash: Annotated[Hex, "The block"]


@rpc("blockchain", own=True, examples=((840_000,),))
def downloadutxoset(
    node: NodeParts,
    height: Annotated[Whole, "Height of a block whose UTXO set can be loaded"],
    merkle_root: Annotated[
        Hex,
        "Root of the tree over the hashes of the set's chunks, where it is known otherwise; else this program knows it,"
        "\nor two peers have to tell the same",
    ] = "",
) -> BegunDownload:
    """Ask peers for a UTXO set (BIP 452, draft), and load it as loadtxoutset does once it is here. The node has to run
    with -peerutxosets or -downloadutxoset. getchainstates tells how far it is.
    """
    require_coins(node)
    wanted = height.read()
    known = next((one for one in known_sets(node.params) if one.height == wanted), None)
    if known is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"No assumeutxo data for height {wanted}")
    root = parse_hash(merkle_root, "merkle_root") if merkle_root else None
    try:
        node.utxo_fetch.begin(known, root)
    except FetchError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return {"height": known.height, "blockhash": to_display(known.block_hash)}


class AbortedDownload(TypedDict):
    """A download that was given up."""

    height: Annotated[int, "Height of the set's block"]
    blockhash: Annotated[Hex, "The block"]
    chunks: Annotated[int, "Chunks in all, 0 before peers have told"]
    chunks_stored: Annotated[int, "Chunks that were here"]


@rpc("blockchain", own=True, examples=((), (True,)))
async def abortutxosetdownload(
    node: NodeParts,
    keep: Annotated[bool, "Leave what is here for downloadutxoset or the next start to go on with"] = False,
) -> AbortedDownload:
    """Give up the download of a UTXO set that downloadutxoset or -downloadutxoset has begun, as long as it is not being
    loaded. With -downloadutxoset the next start begins it again.
    """
    try:
        status = await node.utxo_fetch.abort(keep=keep)
    except FetchError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    except OSError as error:
        raise RpcError(RpcCode.MISC_ERROR, f"What is here cannot be deleted: {error.strerror}") from None
    return {
        "height": status.known.height,
        "blockhash": to_display(status.known.block_hash),
        "chunks": status.chunks,
        "chunks_stored": status.stored,
    }
