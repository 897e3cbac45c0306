"""Looking for the outputs of descriptors: in the UTXO set, in blocks and in the mempool."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from btcnode.descriptors.inference import infer_descriptor
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value, txout_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.decode import script_json
from btcnode.rpc.descriptors import scan_needles, scan_objects
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import find_block, is_active
from btcnode.rpc.methods.blocks import read_undo
from btcnode.rpc.spec import Arg, Kind, anything, arr, boolean, coins, hexed, nothing, number, obj, rpc, string
from btcnode.services.chain import CoinScan
from btcnode.services.parts import NodeParts

SCAN_OBJECTS = scan_objects("descriptor")


@rpc(
    "blockchain",
    "Go through the UTXO set for the outputs of descriptors.",
    Arg("action", Kind.STR, '"start", "abort" the scan under way, or its "status"'),
    Arg("scanobjects", Kind.ARR, "Descriptors, for start", None, inner=SCAN_OBJECTS, oneline="[scanobjects,...]"),
    returns=(
        obj(
            "",
            "",
            boolean("success", "Whether the scan was completed"),
            number("txouts", "Outputs looked at"),
            number("height", "Height of the chain that was scanned"),
            hexed("bestblock", "Its tip"),
            arr(
                "unspents",
                "What was found",
                obj(
                    "",
                    "",
                    hexed("txid", "Transaction id"),
                    number("vout", "Number of the output"),
                    hexed("scriptPubKey", "Its script"),
                    string("desc", "A descriptor of just this script"),
                    coins("amount", "Its amount"),
                    boolean("coinbase", "Whether it is of a coinbase"),
                    number("height", "Height of its block"),
                    hexed("blockhash", "Its block"),
                    number("confirmations", "Its confirmations"),
                ),
            ),
            coins("total_amount", "All amounts together"),
            when="when action=='start'; only returns after scan completes",
        ),
        boolean("", "Whether there was a scan to abort", when="when action=='abort'"),
        obj(
            "",
            "",
            number("progress", "Percent done"),
            when="when action=='status' and a scan is currently in progress",
        ),
        nothing("", "", when="when action=='status' and no scan is in progress"),
    ),
    examples=(("start", ["raw(76a91411b366edfc0a8b66feebae5c2e25a7b6a5d1cf3188ac)#fm24fxxy"]), ("status",)),
    heavy=True,
)
async def scantxoutset(node: NodeParts, action: str, scanobjects: list[Any] | None) -> Any:
    """See the declaration."""
    scan = node.chain.coin_scan
    if action == "status":
        return {"progress": scan.percent} if scan.running else None
    if action == "abort":
        scan.aborted = scan.running
        return scan.running
    if action != "start":
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid action '{action}'")
    if scan.running:
        why = 'Scan already in progress, use action "abort" or "status"'
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    if scanobjects is None:
        raise RpcError(RpcCode.MISC_ERROR, "scanobjects argument is required for the start action")
    scan.running, scan.aborted, scan.percent = True, False, 0
    try:
        return await _scan(node, scanobjects, scan)
    finally:
        scan.running = False


async def _scan(node: NodeParts, objects: list[Any], scan: CoinScan) -> dict[str, Any]:
    params, tree = node.params, node.chain.tree
    needles = await asyncio.to_thread(scan_needles, objects, params)
    tip, found = await node.chain.find_coins(needles, scan)
    height, unspents, total = tree.height(tip), [], 0
    for outpoint, coin in found.coins:
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


class _Events:
    """What happens to scripts, as JSON."""

    def __init__(self, node: NodeParts, scripts: Collection[bytes]) -> None:
        self._params = node.params
        self._scripts = scripts
        self.events: list[dict[str, Any]] = []

    def spends(self, tx: Tx, spent: list[bytes], place: dict[str, Any]) -> None:
        """``spent`` are txouts."""
        for n, txout in enumerate(spent):
            script = txout_script(txout)
            if script in self._scripts:
                outpoint = tx.prevouts[n]
                self.events.append(
                    {"type": "spend", "amount": amount(int.from_bytes(txout[:8], "little"))}
                    | place
                    | {
                        "spend_txid": to_display(tx.txid),
                        "spend_vin": n,
                        "prevout_txid": to_display(outpoint[:32]),
                        "prevout_vout": int.from_bytes(outpoint[32:], "little"),
                        "prevout_spk": script_json(script, self._params),
                    }
                )

    def in_block(self, raw: bytes, undo: list[list[bytes]], place: dict[str, Any]) -> None:
        """A whole block; ``undo`` are the coins that its transactions spend, the coinbase left out."""
        block = parse_block(raw)
        for n in range(block.n_tx):
            tx = block.tx(n)
            if n:
                self.spends(tx, [coin[4:] for coin in undo[n - 1]], place)
            self.receives(tx, place)

    def receives(self, tx: Tx, place: dict[str, Any]) -> None:
        """The outputs of a transaction."""
        for n, txout in enumerate(tx.txouts):
            script = txout_script(txout)
            if script in self._scripts:
                self.events.append(
                    {"type": "receive", "amount": amount(int.from_bytes(txout[:8], "little"))}
                    | place
                    | {"txid": to_display(tx.txid), "vout": n, "output_spk": script_json(script, self._params)}
                )


@rpc(
    "blockchain",
    "What descriptors have received and spent in blocks of the active chain, and in the mempool.",
    Arg("blockhashes", Kind.ARR, "The blocks, in any order", inner=(Arg("blockhash", Kind.HEX, "A block", None),)),
    Arg("scanobjects", Kind.ARR, "The descriptors", inner=SCAN_OBJECTS, oneline="[scanobjects,...]"),
    Arg("include_mempool", Kind.BOOL, "Whether to look into the mempool too", True),
    returns=obj(
        "",
        "",
        arr("activity", 'Events: "spend" with what is spent and by whom, "receive" with the new output', anything()),
    ),
    examples=((["myblockhash"], ["addr(bc1qzl6nsgqzu89a66l50cvwapnkw5shh23zarqkw9)"]),),
    heavy=True,
)
async def getdescriptoractivity(
    node: NodeParts, blockhashes: list[Any], scanobjects: list[Any], include_mempool: bool
) -> dict[str, Any]:
    """See the declaration."""
    tree, heights = node.chain.tree, {}
    for text in blockhashes:
        index = find_block(node, text)
        if not is_active(node, index):
            raise RpcError(RpcCode.INVALID_PARAMETER, "Block is not in main chain")
        heights[tree.height(index)] = index
    events = _Events(node, await asyncio.to_thread(scan_needles, scanobjects, node.params))
    for height, index in sorted(heights.items()):
        raw = await node.chain.read_block(index)
        undo = await read_undo(node, index) if height else []
        if undo is None:
            raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
        place = {"blockhash": to_display(tree.hash(index)), "height": height}
        await asyncio.to_thread(events.in_block, raw, undo, place)
    if include_mempool:
        for entry in node.mempool.in_order():
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
