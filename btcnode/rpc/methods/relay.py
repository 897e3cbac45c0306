"""Transactions on their way: orphans and private broadcasts."""

from __future__ import annotations

from typing import Any

from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.spec import Arg, Kind, Result, arr, hexed, number, obj, rpc, string, whole_number
from btcnode.rpc.spec import time as time_
from btcnode.services.parts import NodeParts

_ORPHAN: tuple[Result, ...] = (
    hexed("txid", "Transaction id"),
    hexed("wtxid", "Hash with witness"),
    number("bytes", "Size"),
    number("vsize", "Virtual size"),
    number("weight", "Weight"),
    arr("from", "Peers that announced it", number("peer_id", "Peer")),
)
_TX: tuple[Result, ...] = (
    hexed("txid", "Transaction id"),
    hexed("wtxid", "Hash with witness"),
    hexed("hex", "The transaction"),
)


@rpc(
    "hidden",
    "Transactions whose parents are not known.",
    Arg("verbosity", Kind.INT, "0: txids, 1: with details, 2: with the transaction too", 0, any_type=True),
    returns=(
        arr("", "", hexed("txid", "Transaction id"), when="for verbose = 0", given={"verbosity": (0, False)}),
        arr("", "", obj("", "", *_ORPHAN), when="for verbose = 1", given={"verbosity": (1, True)}),
        arr(
            "",
            "",
            obj("", "", *_ORPHAN, hexed("hex", "The transaction")),
            when="for verbose = 2",
            given={"verbosity": (2,)},
        ),
    ),
    examples=((2,),),
)
def getorphantxs(node: NodeParts, verbosity: Any) -> list[Any]:
    """See the declaration."""
    if isinstance(verbosity, bool):
        raise RpcError(RpcCode.TYPE_ERROR, "Verbosity was boolean but only integer allowed")
    level = whole_number(verbosity)
    if not 0 <= level <= 2:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid verbosity value {level}")
    orphans = node.peers.orphans()
    if not level:
        return [to_display(tx.txid) for tx, _ in orphans]
    result = []
    for tx, announcers in orphans:
        entry: dict[str, Any] = {
            "txid": to_display(tx.txid),
            "wtxid": to_display(tx.wtxid),
            "bytes": len(tx.raw),
            "vsize": tx.vsize,
            "weight": tx.weight,
            "from": list(announcers),
        }
        result.append(entry | {"hex": tx.raw.hex()} if level == 2 else entry)
    return result


def _tx_json(tx: Tx) -> dict[str, Any]:
    return {"txid": to_display(tx.txid), "wtxid": to_display(tx.wtxid), "hex": tx.raw.hex()}


@rpc(
    "rawtransactions",
    "Transactions that are being broadcast over private connections.",
    returns=obj(
        "",
        "",
        arr(
            "transactions",
            "What is under way",
            obj(
                "",
                "",
                *_TX,
                time_("time_added", "When it was handed in, in Unix seconds"),
                arr(
                    "peers",
                    "Whom it was sent to",
                    obj(
                        "",
                        "",
                        string("address", "Address"),
                        time_("sent", "When it was chosen for this peer"),
                        time_("received", "When the peer had it", optional=True),
                    ),
                ),
            ),
        ),
    ),
)
def getprivatebroadcastinfo(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    transactions = []
    for info in node.peers.private_broadcasts():
        peers = []
        for sending in info.sendings:
            peer: dict[str, Any] = {"address": str(sending.address), "sent": sending.picked}
            peers.append(peer if sending.confirmed is None else peer | {"received": sending.confirmed})
        transactions.append(_tx_json(info.tx) | {"time_added": info.added, "peers": peers})
    return {"transactions": transactions}


@rpc(
    "rawtransactions",
    "Give the private broadcast of a transaction up.",
    Arg("id", Kind.HEX, "Its txid or wtxid"),
    returns=obj("", "", arr("removed_transactions", "What was given up", obj("", "", *_TX))),
    examples=(("id",),),
)
def abortprivatebroadcast(node: NodeParts, tx_hash: str) -> dict[str, Any]:
    """See the declaration."""
    removed = node.peers.abort_private_broadcast(parse_hash(tx_hash, "id"))
    if not removed:
        text = "Transaction not in private broadcast queue. Check getprivatebroadcastinfo."
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    return {"removed_transactions": [_tx_json(tx) for tx in removed]}
