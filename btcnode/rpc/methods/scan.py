"""Looking for the outputs of descriptors: in the UTXO set, in blocks and in the mempool."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors.inference import infer_descriptor
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value, txout_script, txout_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import Coins, Hex, Named, Oneline, When, rpc
from btcnode.rpc.decode import ScriptJson, script_json
from btcnode.rpc.descriptors import ScanItem, ScanObjects, scan_needles
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import ABSENT, Items
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import find_block, is_active, require_coins
from btcnode.rpc.methods.blocks import read_undo
from btcnode.rpc.room import beside, in_slices
from btcnode.rpc.shapes import wrong_type
from btcnode.services.chain import CoinScan
from btcnode.services.parts import NodeParts


class ScannedOutput(TypedDict):
    """An output that was found."""

    txid: Annotated[Hex, "Transaction id"]
    vout: Annotated[int, "Number of the output"]
    scriptPubKey: Annotated[Hex, "Its script"]
    desc: Annotated[str, "A descriptor of just this script"]
    amount: Annotated[Coins, "Its amount"]
    coinbase: Annotated[bool, "Whether it is of a coinbase"]
    height: Annotated[int, "Height of its block"]
    blockhash: Annotated[Hex, "Its block"]
    confirmations: Annotated[int, "Its confirmations"]


class ScanResult(TypedDict):
    """What a scan of the UTXO set found."""

    success: Annotated[bool, "Whether the scan was completed"]
    txouts: Annotated[int, "Outputs looked at"]
    height: Annotated[int, "Height of the chain that was scanned"]
    bestblock: Annotated[Hex, "Its tip"]
    unspents: Annotated[list[ScannedOutput], "What was found"]
    total_amount: Annotated[Coins, "All amounts together"]


class ScanProgress(TypedDict):
    """How far a scan is."""

    progress: Annotated[int, "Percent done"]


@rpc(
    "blockchain",
    examples=(("start", ["raw(76a91411b366edfc0a8b66feebae5c2e25a7b6a5d1cf3188ac)#fm24fxxy"]), ("status",)),
    heavy=True,
)
async def scantxoutset(
    node: NodeParts,
    action: Annotated[str, '"start", "abort" the scan under way, or its "status"'],
    scanobjects: Annotated[ScanObjects | None, "Descriptors, for start", Oneline("[scanobjects,...]")] = ABSENT,
) -> (
    Annotated[ScanResult, When("when action=='start'; only returns after scan completes")]
    | Annotated[bool, "Whether there was a scan to abort", When("when action=='abort'")]
    | Annotated[ScanProgress, When("when action=='status' and a scan is currently in progress")]
    | Annotated[None, When("when action=='status' and no scan is in progress - possibly already completed")]
):
    """Go through the UTXO set for the outputs of descriptors."""
    scan = node.chain.coin_scan
    if action == "status":
        return {"progress": scan.percent} if scan.running else None
    if action == "abort":
        scan.aborted = scan.running
        return scan.running
    if action != "start":
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid action '{action}'")
    require_coins(node)
    if scan.running:
        why = 'Scan already in progress, use action "abort" or "status"'
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    if scanobjects is ABSENT:
        raise RpcError(RpcCode.MISC_ERROR, "scanobjects argument is required for the start action")
    if scanobjects is None:
        raise wrong_type(None, "array")
    scan.running, scan.aborted, scan.percent = True, False, 0
    try:
        return await _scan(node, scanobjects, scan)
    finally:
        scan.running = False


async def _scan(node: NodeParts, objects: Iterable[ScanItem], scan: CoinScan) -> ScanResult:
    params, tree = node.params, node.chain.tree
    needles = await beside(partial(scan_needles, objects, params))
    tip, found = await node.chain.find_coins(needles, scan)
    unspents: list[ScannedOutput] = []
    height, total = tree.height(tip), 0
    async for outpoint, coin in in_slices(found.coins):
        script, at = coin_script(coin), coin_height(coin)
        total += coin_value(coin)
        unspents.append(
            {
                "txid": to_display(outpoint[:32]),
                "vout": int.from_bytes(outpoint[32:], "little"),
                "scriptPubKey": script.hex(),
                "desc": infer_descriptor(script, needles[script], params).text(),
                "amount": amount(coin_value(coin)),
                "coinbase": coin_is_coinbase(coin),
                "height": at,
                "blockhash": to_display(tree.hash(tree.ancestor(tip, at))),
                "confirmations": height - at + 1,
            }
        )
    return {
        "success": found.complete,
        "txouts": found.looked_at,
        "height": height,
        "bestblock": to_display(tree.hash(tip)),
        "unspents": unspents,
        "total_amount": amount(total),
    }


class EventPlace(TypedDict):
    """The block of an event, where it is in one."""

    blockhash: Annotated[NotRequired[Hex], "The block, if it is in one"]
    height: Annotated[NotRequired[int], "Its height"]


class EventHead(TypedDict):
    """What an event is about."""

    type: Annotated[str, '"spend" or "receive"']
    amount: Annotated[Coins, "What was spent or received"]


class SpendEnd(TypedDict):
    """Who spends, and what."""

    spend_txid: Annotated[Hex, "The transaction that spends"]
    spend_vin: Annotated[int, "Its input"]
    prevout_txid: Annotated[Hex, "The transaction that is spent from"]
    prevout_vout: Annotated[int, "Its output"]
    prevout_spk: Annotated[ScriptJson, "The script that is spent"]


class ReceiveEnd(TypedDict):
    """The new output."""

    txid: Annotated[Hex, "The transaction that pays"]
    vout: Annotated[int, "Its output"]
    output_spk: Annotated[ScriptJson, "The script that is paid to"]


class SpendEvent(EventHead, EventPlace, SpendEnd):
    """An output of a descriptor is spent."""


class ReceiveEvent(EventHead, EventPlace, ReceiveEnd):
    """A descriptor receives an output."""


class DescriptorActivity(TypedDict):
    """What has happened to descriptors."""

    activity: Annotated[list[SpendEvent | ReceiveEvent], "Events"]


class _Events:
    """What happens to scripts, as JSON."""

    def __init__(self, node: NodeParts, scripts: Collection[bytes]) -> None:
        self._params = node.params
        self._scripts = scripts
        self.events: list[SpendEvent | ReceiveEvent] = []

    def spends(self, tx: Tx, spent: list[bytes], place: EventPlace) -> None:
        """``spent`` are txouts."""
        for n, txout in enumerate(spent):
            script = txout_script(txout)
            if script in self._scripts:
                outpoint = tx.prevouts[n]
                self.events.append(
                    {
                        "type": "spend",
                        "amount": amount(txout_value(txout)),
                        **place,
                        "spend_txid": to_display(tx.txid),
                        "spend_vin": n,
                        "prevout_txid": to_display(outpoint[:32]),
                        "prevout_vout": int.from_bytes(outpoint[32:], "little"),
                        "prevout_spk": script_json(script, self._params),
                    }
                )

    def in_block(self, raw: bytes, undo: list[list[bytes]], place: EventPlace) -> None:
        """A whole block; ``undo`` are the coins that its transactions spend, the coinbase left out."""
        block = parse_block(raw)
        for n in range(block.n_tx):
            tx = block.tx(n)
            if n:
                self.spends(tx, [coin[4:] for coin in undo[n - 1]], place)
            self.receives(tx, place)

    def receives(self, tx: Tx, place: EventPlace) -> None:
        """The outputs of a transaction."""
        for n, txout in enumerate(tx.txouts):
            script = txout_script(txout)
            if script in self._scripts:
                self.events.append(
                    {
                        "type": "receive",
                        "amount": amount(txout_value(txout)),
                        **place,
                        "txid": to_display(tx.txid),
                        "vout": n,
                        "output_spk": script_json(script, self._params),
                    }
                )


@rpc("blockchain", examples=((["myblockhash"], ["addr(bc1qzl6nsgqzu89a66l50cvwapnkw5shh23zarqkw9)"]),), heavy=True)
async def getdescriptoractivity(
    node: NodeParts,
    blockhashes: Annotated[Items[Annotated[Hex, Named("blockhash"), "A block"]], "The blocks, in any order"],
    scanobjects: Annotated[ScanObjects, Oneline("[scanobjects,...]")],
    include_mempool: Annotated[bool, "Whether to look into the mempool too"] = True,
) -> DescriptorActivity:
    """What descriptors have received and spent in blocks of the active chain, and in the mempool."""
    tree, heights = node.chain.tree, {}
    async for text in in_slices(blockhashes):
        index = find_block(node, text)
        if not is_active(node, index):
            raise RpcError(RpcCode.INVALID_PARAMETER, "Block is not in main chain")
        heights[tree.height(index)] = index
    events = _Events(node, await beside(partial(scan_needles, scanobjects, node.params)))
    for height, index in sorted(heights.items()):
        raw = await node.chain.read_block(index)
        undo = await read_undo(node, index) if height else []
        if undo is None:
            raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
        place: EventPlace = {"blockhash": to_display(tree.hash(index)), "height": height}
        await beside(partial(events.in_block, raw, undo, place))
    if include_mempool:
        async for entry in in_slices(node.mempool.moment().entries()):
            events.spends(entry.tx, await _mempool_spent(node, entry.tx), {})
            events.receives(entry.tx, {})
    return {"activity": events.events}


async def _mempool_spent(node: NodeParts, tx: Tx) -> list[bytes]:
    """The txouts that an unconfirmed transaction spends; none when it has left the mempool meanwhile."""
    spent = []
    for outpoint in tx.prevouts:
        txout = node.mempool.txout(outpoint)
        if txout is None:
            coin = await node.chain.get_coin(outpoint)
            if coin is None:
                return []
            txout = coin[4:]
        spent.append(txout)
    return spent
