"""The mempool as JSON: what is in it, how it hangs together, what it is worth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, NotRequired, TypedDict, cast

from btcnode.errors import StorageError
from btcnode.mempool.entry import MempoolEntry
from btcnode.mempool.pool import Mempool, PoolMoment
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.amounts import real_number
from btcnode.rpc.declare import BY_NAME, NO_NULL, NOTHING, UNTOLD, AnyNumber, Bits, Coins, Hex, Hint, Named, When, rpc
from btcnode.rpc.deprecated import is_enabled
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Strict, Whole
from btcnode.rpc.jsonvalue import DuplicateKeysDict, amount
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.mempool_json import (
    Frozen,
    MempoolEntryJson,
    by_txid,
    describe_all,
    entry_text,
    freeze,
    freeze_all,
    names,
)
from btcnode.rpc.room import MEMPOOL_ENTRY_BYTES, TXID_BYTES, aside, in_slices, make_room, of_a_moment
from btcnode.services.parts import NodeParts

FEW = 500  # entries that are described at once: 3 ms
MANY = 5000  # txids whose list is large


AnyTxid = Annotated[Hex, "Transaction id"]
Verbose = Annotated[bool, "JSON objects (true), or ids only (false)"]
Relatives = (
    Annotated[list[Annotated[Hex, "Transaction id"]], When("for verbose = false", verbose=(False,))]
    | Annotated[
        dict[str, Annotated[MempoolEntryJson, Named("transactionid")]], When("for verbose = true", verbose=(True,))
    ]
)


def find_entry(node: NodeParts, txid: str) -> MempoolEntry:
    """The entry with a txid as the user gives it; raises RpcError."""
    entry = node.mempool.get(parse_hash(txid, "txid"))
    if entry is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


def _listed(
    node: NodeParts, of: MempoolEntry, found: Collection[MempoolEntry], verbose: bool
) -> list[str] | dict[str, MempoolEntryJson]:
    """Relatives of an entry by their txids."""
    in_order = names(sorted(found, key=lambda entry: entry.txid))
    if not verbose:
        return in_order
    whole = describe_all(freeze(node, of.cluster.entries), bip125=is_enabled(node, "bip125"))
    return cast(dict[str, MempoolEntryJson], by_txid({txid: whole[txid] for txid in in_order}))


def _whole(rows: Sequence[Frozen], *, bip125: bool) -> dict[str, MempoolEntryJson]:
    """All entries; on any thread."""
    return cast(dict[str, MempoolEntryJson], by_txid(describe_all(rows, bip125=bip125)))


class TxidsInSequence(TypedDict):
    """The mempool's transactions at a point of its sequence."""

    txids: list[Annotated[Hex, "Transaction id"]]
    mempool_sequence: Annotated[int, "Mempool sequence number"]


@rpc("blockchain", examples=((True,),))
async def getrawmempool(
    node: NodeParts,
    verbose: Verbose = False,
    mempool_sequence: Annotated[bool, "With the mempool sequence number (not with verbose)"] = False,
) -> (
    Annotated[
        list[Annotated[Hex, "Transaction id"]], When("for verbose = false", verbose=(False,), mempool_sequence=(False,))
    ]
    | Annotated[
        dict[str, Annotated[MempoolEntryJson, Named("transactionid")]], When("for verbose = true", verbose=(True,))
    ]
    | Annotated[
        TxidsInSequence,
        When("for verbose = false and mempool_sequence = true", verbose=(False,), mempool_sequence=(True,)),
    ]
):
    """Ids of all transactions in the mempool."""
    pool = node.mempool
    if verbose:
        if mempool_sequence:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Verbose results cannot contain mempool sequence values.")
        bip125 = is_enabled(node, "bip125")
        if len(pool) <= FEW:
            return _whole(freeze(node, pool.in_order()), bip125=bip125)
        await make_room(len(pool) * MEMPOOL_ENTRY_BYTES)
        return await of_a_moment(pool.moment, lambda then: _whole(freeze_all(then), bip125=bip125))
    if len(pool) > MANY:
        await make_room(len(pool) * TXID_BYTES)
        txids, sequence = await of_a_moment(pool.moment, lambda then: (names(then.entries()), then.sequence))
    else:
        txids, sequence = names(pool.in_order()), pool.sequence
    return {"txids": txids, "mempool_sequence": sequence} if mempool_sequence else txids


@rpc("blockchain", examples=(("mytxid",),))
def getmempoolentry(node: NodeParts, txid: AnyTxid) -> MempoolEntryJson:
    """What is known of a transaction in the mempool."""
    return cast(MempoolEntryJson, entry_text(node, find_entry(node, txid)))


@rpc("blockchain", examples=(("mytxid",),))
def getmempoolancestors(
    node: NodeParts,
    txid: AnyTxid,
    verbose: Verbose = False,
) -> Relatives:
    """All ancestors of a transaction in the mempool."""
    entry = find_entry(node, txid)
    return _listed(node, entry, node.mempool.ancestors(entry), verbose)


@rpc("blockchain", examples=(("mytxid",),))
def getmempooldescendants(
    node: NodeParts,
    txid: AnyTxid,
    verbose: Verbose = False,
) -> Relatives:
    """All descendants of a transaction in the mempool."""
    entry = find_entry(node, txid)
    return _listed(node, entry, node.mempool.descendants(entry), verbose)


class ChunkInfo(TypedDict):
    """Transactions that are mined together."""

    chunkfee: Annotated[Coins, "Modified fees"]
    chunkweight: Annotated[int, "Sigops-adjusted weight"]
    txs: Annotated[list[Annotated[Hex, "Transaction id"]], "In the order of mining"]


class ClusterInfo(TypedDict):
    """Transactions that hang together."""

    clusterweight: Annotated[int, "Sigops-adjusted weight"]
    txcount: Annotated[int, "Transactions"]
    chunks: Annotated[list[ChunkInfo], "In the order of mining"]


@rpc("blockchain", examples=(("mytxid",),))
def getmempoolcluster(node: NodeParts, txid: AnyTxid) -> ClusterInfo:
    """The cluster of a transaction in the mempool: everything connected with it, by chunks."""
    cluster = node.mempool.cluster_of(find_entry(node, txid))
    chunks: list[ChunkInfo] = [
        {"chunkfee": amount(chunk.fee), "chunkweight": chunk.size, "txs": names(chunk.entries)}
        for chunk in cluster.chunks
    ]
    return {"clusterweight": cluster.size, "txcount": len(cluster.entries), "chunks": chunks}


class DiagramPoint(TypedDict):
    """A point of the feerate diagram."""

    weight: Annotated[int, "Cumulative weight"]
    fee: Annotated[Coins, "Cumulative fee"]


@rpc("hidden", heavy=True)
async def getmempoolfeeratediagram(node: NodeParts) -> Annotated[list[DiagramPoint], When("mempool chunks")]:
    """The feerate diagram of the whole mempool."""
    return await of_a_moment(node.mempool.moment, _diagram)


def _diagram(moment: PoolMoment) -> list[DiagramPoint]:
    """The sums of sizes and fees, chunk by chunk."""
    weight = fee = 0
    points: list[DiagramPoint] = [{"weight": 0, "fee": amount(0)}]
    for chunk in moment.chunks:
        weight += chunk.size
        fee += chunk.fee
        points.append({"weight": weight, "fee": amount(fee)})
    return points


class MempoolInfo(TypedDict):
    """The state and the limits of the mempool."""

    loaded: Annotated[bool, "Whether the transactions of the last run are in"]
    size: Annotated[int, "Transactions"]
    bytes: Annotated[int, "Sum of their virtual sizes"]
    usage: Annotated[int, "Memory"]
    total_fee: Annotated[Coins, "Sum of their fees, without deltas"]
    maxmempool: Annotated[int, "Most memory"]
    mempoolminfee: Annotated[Coins, "Least feerate to get in now, BTC/kvB"]
    minrelaytxfee: Annotated[Coins, "Least feerate to be relayed, BTC/kvB"]
    incrementalrelayfee: Annotated[Coins, "What a replacement pays for its relay, BTC/kvB"]
    unbroadcastcount: Annotated[int, "Transactions that no peer has asked for yet"]
    permitbaremultisig: Annotated[bool, "Whether bare multisig outputs are relayed"]
    maxdatacarriersize: Annotated[int, "Bytes of OP_RETURN scripts that are relayed"]
    limitclustercount: Annotated[int, "Most transactions of a cluster"]
    limitclustersize: Annotated[int, "Most virtual bytes of a cluster"]
    optimal: Annotated[bool, "Whether the order is known to be the best"]
    fullrbf: Annotated[NotRequired[bool], "Whether anything may be replaced (deprecated)", UNTOLD]


@rpc("blockchain")
def getmempoolinfo(node: NodeParts) -> MempoolInfo:
    """The state of the mempool."""
    pool: Mempool = node.mempool
    options = pool.options
    result: MempoolInfo = {
        "loaded": node.mempool_file.loaded,
        "size": len(pool),
        "bytes": pool.total_vsize,
        "usage": pool.memory_usage,
        "total_fee": amount(pool.total_fee),
        "maxmempool": pool.max_bytes,
        "mempoolminfee": amount(max(pool.minimum_feerate(node.clock.now()), options.min_relay_feerate)),
        "minrelaytxfee": amount(options.min_relay_feerate),
        "incrementalrelayfee": amount(options.incremental_feerate),
        "unbroadcastcount": len(pool.unbroadcast),
        "permitbaremultisig": options.permit_bare_multisig,
        "maxdatacarriersize": options.max_datacarrier_bytes or 0,
        "limitclustercount": options.cluster_count,
        "limitclustersize": options.cluster_vbytes,
        "optimal": True,
    }
    if is_enabled(node, "fullrbf"):
        result["fullrbf"] = True
    return result


class Outpoint(TypedDict):
    """An output to be looked for."""

    txid: Annotated[Hex, "Transaction id"]
    vout: Annotated[Whole, "Output number"]


class SpenderOptions(TypedDict):
    """How spenders are looked for."""

    mempool_only: Annotated[
        NotRequired[bool],
        "If false, what the mempool does not spend is looked up in the txospenderindex",
        Hint("true if txospenderindex unavailable, otherwise false"),
        NO_NULL,
    ]
    return_spending_tx: Annotated[NotRequired[bool], "With the whole transaction", Hint("false"), NO_NULL]


class SpenderOf(TypedDict):
    """An output and what spends it."""

    txid: Annotated[Hex, "Transaction id"]
    vout: Annotated[int, "Output number"]
    spendingtxid: Annotated[NotRequired[Hex], "What spends it (left out when nothing does)"]
    spendingtx: Annotated[NotRequired[Hex], "The same in hex, if wanted"]
    blockhash: Annotated[NotRequired[Hex], "Its block, if it is in one"]


@rpc("blockchain", examples=(([{"txid": "mytxid", "vout": 3}],),))
async def gettxspendingprevout(
    node: NodeParts,
    outputs: Annotated[Items[Strict[Outpoint]], "Outputs"],
    options: Annotated[Strict[SpenderOptions], BY_NAME] = NOTHING,
) -> list[SpenderOf]:
    """Which transactions spend the given outputs, in the mempool and, with txospenderindex, in blocks."""
    if not outputs:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, outputs are missing")
    wanted = options.read()
    with_tx = wanted.get("return_spending_tx", False)
    index = node.indexes.spenders
    mempool_only = wanted.get("mempool_only", index is None)
    results: list[SpenderOf] = []
    rest: list[tuple[Strict[Outpoint], bytes]] = []
    wanted_outputs = await aside(lambda: [(output, _outpoint(output.read())) for output in outputs])
    async for output, outpoint in in_slices(wanted_outputs):
        found = node.mempool.spender_of(outpoint)
        if found is not None or mempool_only:
            results.append(_spent_json(output, found.tx if found is not None else None, with_tx=with_tx))
        else:
            rest.append((output, outpoint))
    if not rest:
        return results
    if index is None or not await index.until_synced():
        text = "Mempool lacks a relevant spend, and txospenderindex is unavailable."
        raise RpcError(RpcCode.MISC_ERROR, text)
    for output, outpoint in rest:
        try:
            spender = await index.find(outpoint)
        except StorageError:
            place = f"{to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little')}"
            text = f"IO error finding spending tx for outpoint {place}."
            raise RpcError(RpcCode.MISC_ERROR, text) from None
        result = _spent_json(output, spender.tx if spender is not None else None, with_tx=with_tx)
        if spender is not None:
            result["blockhash"] = to_display(node.chain.tree.hash(spender.block))
        results.append(result)
    return results


def _spent_json(output: Strict[Outpoint], spender: Tx | None, *, with_tx: bool) -> SpenderOf:
    """What was asked for, as it was written (a member named twice too), with what spends it."""
    pairs = list(output.sent.items())
    if spender is not None:
        pairs.append(("spendingtxid", to_display(spender.txid)))
        if with_tx:
            pairs.append(("spendingtx", spender.raw.hex()))
    return cast(SpenderOf, DuplicateKeysDict(pairs) if isinstance(output.sent, DuplicateKeysDict) else dict(pairs))


def _outpoint(given: Outpoint) -> bytes:
    """The 36 bytes of an outpoint; raises RpcError."""
    txid = parse_hash(given["txid"], "txid")
    vout = given["vout"].read()
    if vout < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    return txid + vout.to_bytes(4, "little")


@rpc("mining", examples=(("mytxid", 0.0, 10000),))
def prioritisetransaction(
    node: NodeParts,
    txid: Annotated[Hex, "Transaction id"],
    dummy: Annotated[AnyNumber | None, "Must be 0 or null"],
    fee_delta: Annotated[Whole, "Satoshi to add (may be negative)", Bits(64)],
) -> Annotated[bool, "True"]:
    """Let mining take a transaction for one that pays more or less than it does."""
    wanted = parse_hash(txid, "txid")
    priority = 0.0 if dummy is None else real_number(dummy)
    delta = fee_delta.read()
    if priority:
        text = "Priority is no longer supported, dummy argument to prioritisetransaction must be 0."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    entry = node.mempool.get(wanted)
    if entry is not None and node.submissions.has_dust(entry.tx):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Priority is not supported for transactions with dust outputs.")
    node.mempool.prioritise(wanted, delta)
    return True


class FeeDelta(TypedDict):
    """What was added to a transaction's fee for mining."""

    fee_delta: Annotated[int, "Satoshi"]
    in_mempool: Annotated[bool, "Whether the transaction is in the mempool"]
    modified_fee: Annotated[NotRequired[int], "Its fee with the delta, satoshi"]


@rpc("mining", heavy=True)
def getprioritisedtransactions(
    node: NodeParts,
) -> Annotated[dict[str, Annotated[FeeDelta, Named("<transactionid>")]], "By transaction id"]:
    """All fee deltas that were given by prioritisetransaction."""
    results: dict[str, FeeDelta] = {}
    for txid, delta in sorted(node.mempool.deltas.items()):
        entry = node.mempool.get(txid)
        result: FeeDelta = {"fee_delta": delta, "in_mempool": entry is not None}
        if entry is not None:
            result["modified_fee"] = entry.modified_fee
        results[to_display(txid)] = result
    return results


class SavedMempool(TypedDict):
    """Where the mempool was saved."""

    filename: Annotated[str, "Where it was saved"]


@rpc("blockchain")
async def savemempool(node: NodeParts) -> SavedMempool:
    """Write the mempool to disk. It fails until that of the last run is loaded."""
    if not node.mempool_file.loaded:
        raise RpcError(RpcCode.MISC_ERROR, "The mempool was not loaded yet")
    try:
        path = await node.mempool_file.save()
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, f"Unable to dump mempool to disk: {error}") from error
    return {"filename": str(path)}
