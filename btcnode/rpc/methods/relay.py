"""Transactions on their way: orphans and private broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.protocol.transactions.orphanage import OrphanInfo as Orphan
from btcnode.rpc.declare import Hex, Like, Time, When, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.room import HEX_FACTOR, beside, make_room
from btcnode.rpc.shapes import whole_number
from btcnode.services.parts import NodeParts

OrphanInfo = TypedDict(
    "OrphanInfo",
    {
        "txid": Annotated[Hex, "Transaction id"],
        "wtxid": Annotated[Hex, "Hash with witness"],
        "bytes": Annotated[int, "Size"],
        "vsize": Annotated[int, "Virtual size"],
        "weight": Annotated[int, "Weight"],
        "from": Annotated[list[Annotated[int, "Peer"]], "Peers that announced it"],
    },
)


class OrphanWithTx(OrphanInfo):
    """The same with the transaction."""

    hex: Annotated[Hex, "The transaction"]


@rpc("hidden", examples=((2,),), heavy=True)
async def getorphantxs(
    node: NodeParts, verbosity: Annotated[Any, "0: txids, 1: with details, 2: with the transaction too", Like(int)] = 0
) -> (
    Annotated[list[Annotated[Hex, "Transaction id"]], When("for verbose = 0", verbosity=(0, False))]
    | Annotated[list[OrphanInfo], When("for verbose = 1", verbosity=(1, True))]
    | Annotated[list[OrphanWithTx], When("for verbose = 2", verbosity=(2,))]
):
    """Transactions whose parents are not known."""
    if isinstance(verbosity, bool):
        raise RpcError(RpcCode.TYPE_ERROR, "Verbosity was boolean but only integer allowed")
    level = whole_number(verbosity)
    if not 0 <= level <= 2:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid verbosity value {level}")
    orphans = sorted(node.peers.orphans())
    if level == 2:
        await make_room(HEX_FACTOR * sum(len(orphan.raw) for orphan in orphans))
    return await beside(lambda: _orphans_json(orphans, level))


def _orphans_json(orphans: Sequence[Orphan], level: int) -> list[str] | list[OrphanInfo] | list[OrphanWithTx]:
    if not level:
        return [to_display(orphan.tx.txid) for orphan in orphans]
    if level == 1:
        return [_orphan_json(orphan) for orphan in orphans]
    whole: list[OrphanWithTx] = [{**_orphan_json(orphan), "hex": orphan.raw.hex()} for orphan in orphans]
    return whole


def _orphan_json(orphan: Orphan) -> OrphanInfo:
    tx = orphan.tx
    return {
        "txid": to_display(tx.txid),
        "wtxid": to_display(tx.wtxid),
        "bytes": len(tx.raw),
        "vsize": tx.vsize,
        "weight": tx.weight,
        "from": sorted(orphan.announcers),
    }


class TxHex(TypedDict):
    """A transaction in full."""

    txid: Annotated[Hex, "Transaction id"]
    wtxid: Annotated[Hex, "Hash with witness"]
    hex: Annotated[Hex, "The transaction"]


def _tx_json(tx: Tx) -> TxHex:
    return {"txid": to_display(tx.txid), "wtxid": to_display(tx.wtxid), "hex": tx.raw.hex()}


class PrivateSending(TypedDict):
    """A peer that a transaction was sent to."""

    address: Annotated[str, "Address"]
    sent: Annotated[Time, "When it was chosen for this peer"]
    received: Annotated[NotRequired[Time], "When the peer had it"]


class PrivateBroadcast(TxHex):
    """A transaction under way, and whom it was sent to."""

    time_added: Annotated[Time, "When it was handed in, in Unix seconds"]
    peers: Annotated[list[PrivateSending], "Whom it was sent to"]


class PrivateBroadcasts(TypedDict):
    """What is being broadcast over private connections."""

    transactions: Annotated[list[PrivateBroadcast], "What is under way"]


@rpc("rawtransactions")
def getprivatebroadcastinfo(node: NodeParts) -> PrivateBroadcasts:
    """Transactions that are being broadcast over private connections."""
    transactions: list[PrivateBroadcast] = []
    for info in node.peers.private_broadcasts():
        peers: list[PrivateSending] = []
        for sending in info.sendings:
            peer: PrivateSending = {"address": str(sending.address), "sent": sending.picked}
            if sending.confirmed is not None:
                peer["received"] = sending.confirmed
            peers.append(peer)
        transactions.append({**_tx_json(info.tx), "time_added": info.added, "peers": peers})
    return {"transactions": transactions}


class AbortedBroadcasts(TypedDict):
    """What is not broadcast any more."""

    removed_transactions: Annotated[list[TxHex], "What was given up"]


@rpc("rawtransactions", examples=(("id",),))
def abortprivatebroadcast(node: NodeParts, id: Annotated[Hex, "Its txid or wtxid"]) -> AbortedBroadcasts:
    """Give the private broadcast of a transaction up."""
    removed = node.peers.abort_private_broadcast(parse_hash(id, "id"))
    if not removed:
        text = "Transaction not in private broadcast queue. Check getprivatebroadcastinfo."
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    return {"removed_transactions": [_tx_json(tx) for tx in removed]}
