"""Every method that takes a block, asked about a block of every kind: active, stale, a header alone, invalid, none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from btcnode.primitives.header import HEADER_SIZE, header_hash

from .cases import Case
from .values import Values

HEIGHTS: tuple[Any, ...] = (0, 1, 2, 50, 99, 101, 102, 103, 104, 105, 120, 128, 129, 130, 131, -1, -2, 2**31 - 1)
BLOCK = "BLOCK"
CALLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    *(("getblock", (BLOCK, verbosity)) for verbosity in (0, 1, 2, 3, 4, -1, True, False)),
    *(("getblockheader", (BLOCK, verbose)) for verbose in (True, False)),
    *(("getblockstats", (BLOCK, stats)) for stats in (None, ["height"], ["utxo_increase", "avgfee"], ["x"], [])),
    ("getblockfilter", (BLOCK,)),
    ("getblockfilter", (BLOCK, "basic")),
    ("getblockfilter", (BLOCK, "x")),
    ("getdeploymentinfo", (BLOCK,)),
    *(("getchaintxstats", (nblocks, BLOCK)) for nblocks in (None, 0, 1, 5, 127, 130, 131, -1)),
    *(("gettxoutsetinfo", (kind, BLOCK)) for kind in ("hash_serialized_3", "muhash", "none", "x", None)),
    *(("gettxoutsetinfo", (kind, BLOCK, False)) for kind in ("muhash", "none")),
    ("getblockfrompeer", (BLOCK, 0)),
    ("getblockfrompeer", (BLOCK, 1)),
    ("getblockfrompeer", (BLOCK, 7)),
    *(("getdescriptoractivity", ([BLOCK], ["raw(51)"], mempool)) for mempool in (True, False)),
    ("getdescriptoractivity", ([BLOCK, BLOCK], ["raw(51)"])),
    *(("getrawtransaction", ("TX", verbosity, BLOCK)) for verbosity in (0, 1, 2)),
    *(("gettxoutproof", (["TX"], BLOCK)) for _ in range(2)),
    ("waitforblock", (BLOCK, 1)),
    ("waitfornewblock", (1, BLOCK)),
    ("scanblocks", ("start", ["raw(51)"], BLOCK)),
    ("scanblocks", ("start", ["raw(51)"], 0, BLOCK)),
    ("scanblocks", ("start", ["raw(51)"], 0, None, "basic", {"filter_false_positives": True})),
    ("getblockhash", (BLOCK,)),
    ("getnetworkhashps", (5, BLOCK)),
    ("getnetworkhashps", (-1, BLOCK)),
    ("getnetworkhashps", (0, BLOCK)),
    ("pruneblockchain", (BLOCK,)),
    ("dumptxoutset", ("set-of-a-block.dat", "x", {"rollback": BLOCK})),
    ("preciousblock", (BLOCK,)),
)


def cases(values: Values, _cases: int) -> Iterator[Case]:
    """Each call with each block, by hash and by height; those that change the active chain are left out."""
    world = values.world
    beside = [*world.side_blocks, *world.lone_headers, *world.bad_blocks]
    hashes = [header_hash(raw[:HEADER_SIZE])[::-1].hex() for raw in beside]
    hashes += [world.hashes[height] for height in (0, 1, 2, 60, 102, 103, 104, 105, -8, -7, -6, -2, -1)]
    hashes += [hashes[0].upper(), "0x" + hashes[0], hashes[0][:-1], "00" * 32, "ff" * 32, ""]
    txids = [world.txs[0], world.txs[60], world.txs[104], world.txs[-1], values.mempool_txs[0]]
    for method, params in CALLS:
        for block in (*hashes, *HEIGHTS, None):
            if method == "preciousblock" and block == world.hashes[-1]:
                continue
            for tx in txids if _mentions(params, "TX") else txids[:1]:
                yield Case(method, [_put(part, block, tx.txid[::-1].hex()) for part in params])


def _mentions(params: tuple[Any, ...], word: str) -> bool:
    return any(part == word or part == [word] for part in params)


def _put(part: Any, block: Any, txid: str) -> Any:
    if isinstance(part, dict):
        return {key: _put(inner, block, txid) for key, inner in part.items()}
    if isinstance(part, list):
        return [_put(inner, block, txid) for inner in part]
    return {BLOCK: block, "TX": txid}.get(part, part) if isinstance(part, str) else part
