"""The mempool as JSON: what is in it, how it hangs together, what it is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from btcnode.errors import StorageError
from btcnode.mempool.entry import MempoolEntry
from btcnode.mempool.pool import Mempool
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.amounts import real_number
from btcnode.rpc.deprecated import is_enabled
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, type_name
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.mempool_json import describe_all, entry_json, freeze, names
from btcnode.rpc.spec import Arg, Kind, arr, boolean, coins, dyn, hexed, number, obj, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.services.parts import NodeParts

ENTRY_RESULT = (
    number("vsize", "Virtual size as policy counts it (BIP141 and sigops)"),
    number("weight", "Weight (BIP141)"),
    time_("time", "When it came in"),
    number("height", "Height of the chain then"),
    number("descendantcount", "Descendants in the mempool, itself included"),
    number("descendantsize", "Their virtual size"),
    number("ancestorcount", "Ancestors in the mempool, itself included"),
    number("ancestorsize", "Their virtual size"),
    hexed("wtxid", "Hash with witness"),
    number("chunkweight", "Sigops-adjusted weight of its chunk"),
    obj(
        "fees",
        "Fees in BTC",
        coins("base", "Its own"),
        coins("modified", "Its own with deltas, as mining sees it"),
        coins("ancestor", "Modified fees of ancestors, itself included"),
        coins("descendant", "Modified fees of descendants, itself included"),
        coins("chunk", "Modified fees of its chunk"),
    ),
    arr("depends", "Unconfirmed transactions that it spends from", hexed("", "Transaction id")),
    arr("spentby", "Unconfirmed transactions that spend from it", hexed("", "Transaction id")),
    boolean("unbroadcast", "Whether no peer has asked for it yet"),
    boolean("bip125-replaceable", "Whether it may be replaced by BIP125 (deprecated)", optional=True),
)
FEW = 500  # entries that are described at once: 5 ms
_TXID = Arg("txid", Kind.HEX, "Transaction id")
_VERBOSE = Arg("verbose", Kind.BOOL, "JSON objects (true), or ids only (false)", False)


def find_entry(node: NodeParts, txid: str) -> MempoolEntry:
    """The entry with a txid as the user gives it; raises RpcError."""
    entry = node.mempool.get(parse_hash(txid, "txid"))
    if entry is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


def _listed(node: NodeParts, entries: Iterable[MempoolEntry], verbose: bool) -> Any:
    if not verbose:
        return names(entries)
    return {to_display(entry.txid): entry_json(node, entry) for entry in entries}


@rpc(
    "blockchain",
    "Ids of all transactions in the mempool.",
    _VERBOSE,
    Arg("mempool_sequence", Kind.BOOL, "With the mempool sequence number (not with verbose)", False),
    returns=(
        arr(
            "",
            "",
            hexed("", "Transaction id"),
            when="for verbose = false",
            given={"verbose": (False,), "mempool_sequence": (False,)},
        ),
        dyn("", "", obj("transactionid", "", *ENTRY_RESULT), when="for verbose = true", given={"verbose": (True,)}),
        obj(
            "",
            "",
            arr("txids", "", hexed("", "Transaction id")),
            number("mempool_sequence", "Mempool sequence number"),
            when="for verbose = false and mempool_sequence = true",
            given={"verbose": (False,), "mempool_sequence": (True,)},
        ),
    ),
    examples=((True,),),
)
async def getrawmempool(node: NodeParts, verbose: bool, mempool_sequence: bool) -> Any:
    """See the declaration."""
    pool = node.mempool
    if verbose:
        if mempool_sequence:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Verbose results cannot contain mempool sequence values.")
        rows, bip125 = freeze(node, pool.in_order()), is_enabled(node, "bip125")
        if len(rows) <= FEW:
            return describe_all(rows, bip125=bip125)
        return await asyncio.to_thread(describe_all, rows, bip125=bip125)
    txids = names(pool.in_order())
    return {"txids": txids, "mempool_sequence": pool.sequence} if mempool_sequence else txids


@rpc(
    "blockchain",
    "What is known of a transaction in the mempool.",
    _TXID,
    returns=obj("", "", *ENTRY_RESULT),
    examples=(("mytxid",),),
)
def getmempoolentry(node: NodeParts, txid: str) -> dict[str, Any]:
    """See the declaration."""
    return entry_json(node, find_entry(node, txid))


_RELATIVES = (
    arr("", "", hexed("", "Transaction id"), when="for verbose = false", given={"verbose": (False,)}),
    dyn("", "", obj("transactionid", "", *ENTRY_RESULT), when="for verbose = true", given={"verbose": (True,)}),
)


@rpc(
    "blockchain",
    "All ancestors of a transaction in the mempool.",
    _TXID,
    _VERBOSE,
    returns=_RELATIVES,
    examples=(("mytxid",),),
)
def getmempoolancestors(node: NodeParts, txid: str, verbose: bool) -> Any:
    """See the declaration."""
    found = node.mempool.ancestors(find_entry(node, txid))
    return _listed(node, sorted(found, key=lambda entry: entry.txid), verbose)


@rpc(
    "blockchain",
    "All descendants of a transaction in the mempool.",
    _TXID,
    _VERBOSE,
    returns=_RELATIVES,
    examples=(("mytxid",),),
)
def getmempooldescendants(node: NodeParts, txid: str, verbose: bool) -> Any:
    """See the declaration."""
    found = node.mempool.descendants(find_entry(node, txid))
    return _listed(node, sorted(found, key=lambda entry: entry.txid), verbose)


@rpc(
    "blockchain",
    "The cluster of a transaction in the mempool: everything connected with it, by chunks.",
    _TXID,
    returns=obj(
        "",
        "",
        number("clusterweight", "Sigops-adjusted weight"),
        number("txcount", "Transactions"),
        arr(
            "chunks",
            "In the order of mining",
            obj(
                "",
                "",
                coins("chunkfee", "Modified fees"),
                number("chunkweight", "Sigops-adjusted weight"),
                arr("txs", "In the order of mining", hexed("", "Transaction id")),
            ),
        ),
    ),
    examples=(("mytxid",),),
)
def getmempoolcluster(node: NodeParts, txid: str) -> dict[str, Any]:
    """See the declaration."""
    cluster = node.mempool.cluster_of(find_entry(node, txid))
    chunks = [
        {"chunkfee": amount(chunk.fee), "chunkweight": chunk.size, "txs": names(chunk.entries)}
        for chunk in cluster.chunks
    ]
    return {"clusterweight": cluster.size, "txcount": len(cluster.entries), "chunks": chunks}


@rpc(
    "hidden",
    "The feerate diagram of the whole mempool.",
    returns=arr("", "", obj("", "", number("weight", "Cumulative weight"), coins("fee", "Cumulative fee"))),
)
def getmempoolfeeratediagram(node: NodeParts) -> list[dict[str, Any]]:
    """See the declaration."""
    weight = fee = 0
    points = [{"weight": 0, "fee": amount(0)}]
    for chunk in node.mempool.chunks():
        weight += chunk.size
        fee += chunk.fee
        points.append({"weight": weight, "fee": amount(fee)})
    return points


@rpc(
    "blockchain",
    "The state of the mempool.",
    returns=obj(
        "",
        "",
        boolean("loaded", "Whether the transactions of the last run are in"),
        number("size", "Transactions"),
        number("bytes", "Sum of their virtual sizes"),
        number("usage", "Memory"),
        coins("total_fee", "Sum of their fees, without deltas"),
        number("maxmempool", "Most memory"),
        coins("mempoolminfee", "Least feerate to get in now, BTC/kvB"),
        coins("minrelaytxfee", "Least feerate to be relayed, BTC/kvB"),
        coins("incrementalrelayfee", "What a replacement pays for its relay, BTC/kvB"),
        number("unbroadcastcount", "Transactions that no peer has asked for yet"),
        boolean("permitbaremultisig", "Whether bare multisig outputs are relayed"),
        number("maxdatacarriersize", "Bytes of OP_RETURN scripts that are relayed"),
        number("limitclustercount", "Most transactions of a cluster"),
        number("limitclustersize", "Most virtual bytes of a cluster"),
        boolean("optimal", "Whether the order is known to be the best"),
        boolean("fullrbf", "Whether anything may be replaced (deprecated)", optional=True),
    ),
)
def getmempoolinfo(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    pool: Mempool = node.mempool
    options = pool.options
    return {
        "loaded": node.mempool_file.loaded,
        "size": len(pool),
        "bytes": pool.total_vsize,
        "usage": pool.memory_usage,
        "total_fee": amount(pool.total_fee),
        "maxmempool": options.max_bytes,
        "mempoolminfee": amount(max(pool.minimum_feerate(node.clock.now()), options.min_relay_feerate)),
        "minrelaytxfee": amount(options.min_relay_feerate),
        "incrementalrelayfee": amount(options.incremental_feerate),
        "unbroadcastcount": len(pool.unbroadcast),
        "permitbaremultisig": options.permit_bare_multisig,
        "maxdatacarriersize": options.max_datacarrier_bytes or 0,
        "limitclustercount": options.cluster_count,
        "limitclustersize": options.cluster_vbytes,
        "optimal": True,
        **({"fullrbf": True} if is_enabled(node, "fullrbf") else {}),
    }


@rpc(
    "blockchain",
    "Which transactions spend the given outputs, in the mempool and, with txospenderindex, in blocks.",
    Arg(
        "outputs",
        Kind.ARR,
        "Outputs",
        inner=(
            Arg(
                "",
                Kind.OBJ,
                "",
                None,
                inner=(Arg("txid", Kind.HEX, "Transaction id"), Arg("vout", Kind.INT, "Output number")),
            ),
        ),
    ),
    Arg(
        "options",
        Kind.OBJ,
        "Options",
        None,
        oneline="options",
        by_name=True,
        inner=(
            Arg(
                "mempool_only",
                Kind.BOOL,
                "If false, what the mempool does not spend is looked up in the txospenderindex",
                None,
                hint="true if txospenderindex unavailable, otherwise false",
            ),
            Arg("return_spending_tx", Kind.BOOL, "With the whole transaction", None, hint="false"),
        ),
    ),
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            hexed("txid", "Transaction id"),
            number("vout", "Output number"),
            hexed("spendingtxid", "What spends it (left out when nothing does)", optional=True),
            hexed("spendingtx", "The same in hex, if wanted", optional=True),
            hexed("blockhash", "Its block, if it is in one", optional=True),
        ),
    ),
    examples=(([{"txid": "mytxid", "vout": 3}],),),
)
async def gettxspendingprevout(
    node: NodeParts, outputs: list[Any], options: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """See the declaration."""
    if not outputs:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, outputs are missing")
    wanted = options or {}
    for key, value in wanted.items():
        if key not in ("mempool_only", "return_spending_tx"):
            raise RpcError(RpcCode.TYPE_ERROR, f"Unexpected key {key}")
        if value is not None and type_name(value) != "bool":
            text = f"JSON value of type {type_name(value)} for field {key} is not of expected type bool"
            raise RpcError(RpcCode.TYPE_ERROR, text)
    with_tx = bool(wanted.get("return_spending_tx"))
    index = node.indexes.spenders
    mempool_only = wanted.get("mempool_only", index is None)
    results, rest = [], []
    for output, outpoint in [(output, _outpoint(output)) for output in outputs]:
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
            place = f"{output['txid']}:{output['vout']}"
            text = f"IO error finding spending tx for outpoint {place}."
            raise RpcError(RpcCode.MISC_ERROR, text) from None
        result = _spent_json(output, spender.tx if spender is not None else None, with_tx=with_tx)
        if spender is not None:
            result["blockhash"] = to_display(node.chain.tree.hash(spender.block))
        results.append(result)
    return results


def _spent_json(output: dict[str, Any], spender: Tx | None, *, with_tx: bool) -> dict[str, Any]:
    """What was asked for, with what spends it."""
    result = {"txid": output["txid"], "vout": output["vout"]}
    if spender is not None:
        result["spendingtxid"] = to_display(spender.txid)
        if with_tx:
            result["spendingtx"] = spender.raw.hex()
    return result


def _outpoint(value: Any) -> bytes:
    """The 36 bytes of an object with txid and output number; raises RpcError as Core's type check does."""
    if type_name(value) != "object":
        raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(value)} is not of expected type object")
    for key, expected in (("txid", "string"), ("vout", "number")):
        if key not in value:
            raise RpcError(RpcCode.TYPE_ERROR, f"Missing {key}")
        got = type_name(value[key])
        if got != expected:
            text = f"JSON value of type {got} for field {key} is not of expected type {expected}"
            raise RpcError(RpcCode.TYPE_ERROR, text)
    for key in value:
        if key not in ("txid", "vout"):
            raise RpcError(RpcCode.TYPE_ERROR, f"Unexpected key {key}")
    txid, vout = parse_hash(value["txid"], "txid"), value["vout"]
    if not isinstance(vout, int) or not -(2**31) <= vout < 2**31:
        raise RpcError(RpcCode.MISC_ERROR, "JSON integer out of range")
    if vout < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    return txid + vout.to_bytes(4, "little")


@rpc(
    "mining",
    "Let mining take a transaction for one that pays more or less than it does.",
    _TXID,
    Arg("dummy", Kind.NUM, "Must be 0 or null", None),
    Arg("fee_delta", Kind.INT, "Satoshi to add (may be negative)", bits=64),
    returns=boolean("", "True"),
    examples=(("mytxid", 0.0, 10000),),
)
def prioritisetransaction(node: NodeParts, txid: str, dummy: float | None, fee_delta: int) -> bool:
    """See the declaration."""
    wanted = parse_hash(txid, "txid")
    if dummy is not None and real_number(dummy):
        text = "Priority is no longer supported, dummy argument to prioritisetransaction must be 0."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    entry = node.mempool.get(wanted)
    if entry is not None and node.submissions.has_dust(entry.tx):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Priority is not supported for transactions with dust outputs.")
    node.mempool.prioritise(wanted, fee_delta)
    return True


@rpc(
    "mining",
    "All fee deltas that were given by prioritisetransaction.",
    returns=dyn(
        "",
        "By transaction id",
        obj(
            "transactionid",
            "",
            number("fee_delta", "Satoshi"),
            boolean("in_mempool", "Whether the transaction is in the mempool"),
            number("modified_fee", "Its fee with the delta, satoshi", optional=True),
        ),
    ),
)
def getprioritisedtransactions(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    results = {}
    for txid, delta in sorted(node.mempool.deltas.items()):
        entry = node.mempool.get(txid)
        result: dict[str, Any] = {"fee_delta": delta, "in_mempool": entry is not None}
        if entry is not None:
            result["modified_fee"] = entry.modified_fee
        results[to_display(txid)] = result
    return results


_FILE = string("filename", "Where it was saved")


@rpc(
    "blockchain",
    "Write the mempool to disk. It fails until that of the last run is loaded.",
    returns=obj("", "", _FILE),
)
async def savemempool(node: NodeParts) -> dict[str, str]:
    """See the declaration."""
    if not node.mempool_file.loaded:
        raise RpcError(RpcCode.MISC_ERROR, "The mempool was not loaded yet")
    try:
        path = await node.mempool_file.save()
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, f"Unable to dump mempool to disk: {error}") from error
    return {"filename": str(path)}
