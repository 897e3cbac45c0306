"""What a node does when its end comes: each situation from its first state to its last, on from anywhere between."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btcnode.chain import chainstate, proven_coins
from btcnode.embed.node import Node
from btcnode.rpc.errors import RpcError
from btcnode.storage import coin_merge, coin_process, coin_runs
from btcnode.storage.layout import COINS_DIR, DATABASE_FILE
from btcnode.storage.proof_files import ProofFiles
from tests.lib.crashes.world import SET_HEIGHT, TIP, World
from tests.lib.older_layout import WITH_SUMS, WITHOUT_CHECKSUMS, go_back

SECONDS = 60.0  # that a background task may take
FIRST_HEIGHT = 60
MINED = 25
PRUNED = 150
MERGE_EACH = 15

Act = Callable[[Node, World], Awaitable[None]]
Facts = dict[str, Any]


def leave(directory: Path) -> None:
    """Nothing is done to a stopped node's files."""


def as_it_is() -> None:
    """The process keeps the node's limits."""


@dataclass(frozen=True)
class Situation:
    """``prepare`` makes the first state with ``options``; ``act``, with ``more`` too, leads to the last one.

    ``spoil`` changes the files between these. ``finish`` brings a node that was started again, with ``options``, to the
    last state from wherever it is. ``stays``: it has ``more`` too; ``repairs``: it gets that when it does not start
    without. ``tune`` changes limits of each process that lives here. ``side_branches``: the blocks beside the chain are
    among what is compared.
    """

    name: str
    prepare: Act
    act: Act
    finish: Act
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    spoil: Callable[[Path], None] = leave
    tune: Callable[[], None] = as_it_is
    stays: bool = False
    repairs: bool = False
    side_branches: bool = True


def node_of(directory: Path, options: Mapping[str, Any]) -> Node:
    """A node of its own: no peers, no server, time that stands."""
    settled = {"server": False, "mocktime": 2_000_000_000, "checkblocks": 0, "checklevel": 3, **options}
    return Node(datadir=directory, **settled)


async def submit(node: Node, blocks: Sequence[bytes], flush_each: int = 0) -> None:
    """Hand blocks over; what is known already is passed over. Raises AssertionError for one that is refused."""
    for number, raw in enumerate(blocks, 1):
        result = await node.rpc.submitblock(raw.hex())
        assert result in (None, "duplicate", "inconclusive"), result
        if flush_each and not number % flush_each:
            await node.rpc.gettxoutsetinfo("none")


async def submit_missing(node: Node, blocks: Sequence[bytes]) -> None:
    """The blocks of the chain above the node's tip."""
    await submit(node, blocks[await node.rpc.getblockcount() :])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait; raises TimeoutError."""
    async with asyncio.timeout(SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.005)


async def indexes_synced(node: Node) -> bool:
    """Whether every index has the tip."""
    return all(state["synced"] for state in (await node.rpc.getindexinfo()).values())


async def validated(node: Node) -> bool:
    """Whether no loaded set waits for its chain."""
    return all(state["validated"] for state in (await node.rpc.getchainstates())["chainstates"])


async def facts_of(node: Node, situation: Situation, directory: Path) -> Facts:
    """Everything that must be as on a node that was never disturbed."""
    rpc = node.rpc
    await until(lambda: indexes_synced(node))
    facts: Facts = {}
    compact = "utreexo_csn" in situation.options
    if not compact:
        facts["set"] = await rpc.gettxoutsetinfo("hash_serialized_3", use_index=False)
        facts["set"].pop("disk_size")
    facts["info"] = {name: (await rpc.getblockchaininfo())[name] for name in ("bestblockhash", "blocks", "chainwork")}
    if situation.side_branches:
        facts["tips"] = sorted(json.dumps(tip, default=str) for tip in await rpc.getchaintips())
    height, indexes = await rpc.getblockcount(), await rpc.getindexinfo()
    hashes = [await rpc.getblockhash(at) for at in range(height + 1)]
    if compact:
        facts["roots"] = [await rpc.getutreexoroots(one) for one in hashes[1:]]
        facts["headers"] = [await rpc.getblockheader(one, False) for one in hashes]
    rows: dict[str, list[Any]] = {name: [] for name in indexes}
    if "basic block filter index" in indexes:
        rows["basic block filter index"] = [await rpc.getblockfilter(one) for one in hashes]
    if "coinstatsindex" in indexes:
        rows["coinstatsindex"] = [await rpc.gettxoutsetinfo("muhash", one) for one in hashes[1:]]
        assert rows["coinstatsindex"][-1]["muhash"] == (await rpc.gettxoutsetinfo("muhash", use_index=False))["muhash"]
    if "txindex" in indexes:
        for one in hashes[1:]:
            block = await rpc.getblock(one, 1)
            rows["txindex"] += [(await rpc.getrawtransaction(txid, 1))["blockhash"] for txid in block["tx"]]
    if "txospenderindex" in indexes:
        for one in hashes[-20:]:
            for tx in (await rpc.getblock(one, 2))["tx"][1:]:
                spent = [{"txid": source["txid"], "vout": source["vout"]} for source in tx["vin"]]
                rows["txospenderindex"].append(await rpc.gettxspendingprevout(spent))
    if "utreexoindex" in indexes:
        for one in hashes[1:]:
            found: Any = await rpc.getutreexoproof(one, 1)
            rows["utreexoindex"].append([await rpc.getutreexoroots(one), found["proofhashes"], found["prooftargets"]])
    facts["indexes"] = {name: _digest(found) for name, found in rows.items()}
    if not (await rpc.getblockchaininfo())["pruned"]:
        assert await rpc.verifychain(4, 0) is True
        facts["blocks"] = _digest([await rpc.getblock(one, 0) for one in hashes])
    facts["files"] = _dumps(directory)
    if situation.spoil is spoil_small:  # elsewhere the mempool is written by a good end only
        facts["small"] = [await rpc.getrawmempool(), await rpc.listbanned()]
    return facts


def _dumps(directory: Path) -> dict[str, str]:
    found = sorted(directory.glob("regtest/dump-*"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _digest(found: object) -> str:
    return hashlib.sha256(json.dumps(found, default=str).encode()).hexdigest()


# -- the situations --------------------------------------------------------------------------------------------------


async def nothing(node: Node, world: World) -> None:
    """A new node."""


async def first_blocks(node: Node, world: World) -> None:
    await submit(node, world.chain[:FIRST_HEIGHT])


async def whole_chain(node: Node, world: World) -> None:
    await submit(node, world.chain)


async def long_chain(node: Node, world: World) -> None:
    await submit(node, world.long[:-20])


async def sync(node: Node, world: World) -> None:
    await submit(node, world.chain, flush_each=40)


async def go_on(node: Node, world: World) -> None:
    await submit_missing(node, world.chain)


async def mine(node: Node, world: World) -> None:
    await node.rpc.generatetodescriptor(MINED, "raw(51)")
    await node.rpc.gettxoutsetinfo("none")
    await node.rpc.generatetodescriptor(MINED, "raw(51)")


async def mine_missing(node: Node, world: World) -> None:
    missing = TIP + 2 * MINED - await node.rpc.getblockcount()
    if missing > 0:
        await node.rpc.generatetodescriptor(missing, "raw(51)")


async def reorganise(node: Node, world: World) -> None:
    await submit(node, world.branch)
    await node.rpc.gettxoutsetinfo("none")


async def both_branches(node: Node, world: World) -> None:
    await submit(node, world.chain)
    await submit(node, world.branch)


async def prune(node: Node, world: World) -> None:
    await node.rpc.pruneblockchain(PRUNED)
    await submit(node, world.long[-20:])
    await node.rpc.pruneblockchain(2 * PRUNED)


async def prune_missing(node: Node, world: World) -> None:
    await submit_missing(node, world.long)
    await until(lambda: indexes_synced(node))
    await node.rpc.pruneblockchain(2 * PRUNED)


async def build_indexes(node: Node, world: World) -> None:
    await until(lambda: indexes_synced(node))


async def load_set(node: Node, world: World) -> None:
    for raw in world.chain:
        await node.rpc.submitheader(raw[:80].hex())
    await node.rpc.loadtxoutset(str(world.utxo_file))
    await submit(node, world.chain[SET_HEIGHT:])
    await submit(node, world.chain[:SET_HEIGHT])
    await until(lambda: validated(node))


async def load_missing(node: Node, world: World) -> None:
    await submit(node, world.chain)
    await until(lambda: validated(node))


async def dump(node: Node, world: World) -> None:
    await node.rpc.dumptxoutset("dump-back", "rollback", {"rollback": FIRST_HEIGHT})
    await node.rpc.dumptxoutset("dump-tip", "latest")


async def dump_missing(node: Node, world: World) -> None:
    for name, *more in (("dump-back", "rollback", {"rollback": FIRST_HEIGHT}), ("dump-tip", "latest")):
        try:
            await node.rpc.dumptxoutset(name, *more)
        except RpcError as error:
            if "already exists" not in str(error):
                raise


async def merges(node: Node, world: World) -> None:
    for begin in range(0, TIP, MERGE_EACH):
        await submit(node, world.chain[begin : begin + MERGE_EACH], flush_each=MERGE_EACH)
        await asyncio.to_thread(node.parts.chain.driver.chainstate.store.database.coin_runs.wait)


def merge_little(process: Callable[..., object] = coin_process.MergeProcess) -> None:
    """Runs of some coins are merged beside the flushes, by ``process``; flushes are written by processes too."""
    vars(coin_merge)["FLOOR"] = 1
    vars(coin_runs).update({"BACKGROUND_ENTRIES": 40, "MergeProcess": process, "WRITE_ENTRIES": 0})


def merge_here() -> None:
    """The same without a process of its own, whose moments would not be seen."""

    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no process")

    merge_little(none)
    vars(coin_runs)["WriteProcess"] = none


def without_checksums(directory: Path) -> None:
    go_back(directory / "regtest", WITHOUT_CHECKSUMS)


def with_sums(directory: Path) -> None:
    go_back(directory / "regtest", WITH_SUMS)


def spoil_indexes(directory: Path) -> None:
    for path in (directory / "regtest" / "indexes").rglob("*.mdb"):
        flip(path)


def spoil_coins(directory: Path) -> None:
    flip(
        max(((directory / "regtest" / DATABASE_FILE).parent / COINS_DIR).glob("*.mdb"), key=lambda p: p.stat().st_size)
    )


def spoil_small(directory: Path) -> None:
    for name in ("mempool.dat", "fee_estimates.dat", "banlist.json"):
        flip(directory / "regtest" / name)


def flip(path: Path) -> None:
    """Change a byte in each piece of a file."""
    data = bytearray(path.read_bytes())
    for at in range(min(100, len(data) // 2), len(data), 500):
        data[at] ^= 0x55
    path.write_bytes(data)


async def small_files(node: Node, world: World) -> None:
    await whole_chain(node, world)
    await node.rpc.setban("10.1.2.3", "add", 10**8)


async def indexed_chain(node: Node, world: World) -> None:
    await whole_chain(node, world)
    await until(lambda: indexes_synced(node))


async def prove(node: Node, world: World) -> None:
    """Put the proofs of all blocks where those lie that peers have told."""
    files = node.parts.chain.driver.chainstate.proven._proofs  # type: ignore[union-attr]
    assert isinstance(files, ProofFiles)
    for block_hash, (height, proof) in world.proofs.items():
        await asyncio.to_thread(files.put, block_hash, height, proof)


async def go_on_proven(node: Node, world: World) -> None:
    await prove(node, world)
    await go_on(node, world)


async def reorganise_proven(node: Node, world: World) -> None:
    await prove(node, world)
    await submit(node, world.branch)


async def both_proven(node: Node, world: World) -> None:
    await prove(node, world)
    await both_branches(node, world)


def write_often() -> None:
    """Roots and headers go to the disk more often, and few of a header are let go of together."""
    vars(proven_coins)["FLUSH_BLOCKS"] = 30
    vars(chainstate)["HEADERS_PER_FLUSH"] = 25


async def nothing_more(node: Node, world: World) -> None:
    """The start alone does it."""


PRUNES = {"fastprune": True, "prune": 1}
REBUILD = {"reindex_chainstate": True}
ALL_INDEXES = {"txindex": True, "txospenderindex": True, "coinstatsindex": True, "blockfilterindex": True}
FOREST = {"utreexoindex": True}
COMPACT = {"utreexo_csn": True}

SITUATIONS = {
    situation.name: situation
    for situation in (
        Situation("sync", nothing, sync, go_on),
        Situation("small-cache", nothing, sync, go_on, more={"dbcache": 4}),
        Situation("mining", whole_chain, mine, mine_missing),
        Situation("reorganisation", whole_chain, reorganise, both_branches),
        Situation("prune", long_chain, prune, prune_missing, PRUNES),
        Situation("prune-filters", long_chain, prune, prune_missing, {**PRUNES, "blockfilterindex": True}),
        Situation("prune-coinstats", long_chain, prune, prune_missing, {**PRUNES, "coinstatsindex": True}),
        Situation("indexes", whole_chain, build_indexes, build_indexes, more=ALL_INDEXES, stays=True),
        Situation("indexes-sync", nothing, sync, go_on, ALL_INDEXES),
        Situation("forest", nothing, sync, go_on, FOREST),
        Situation("forest-later", whole_chain, build_indexes, build_indexes, more=FOREST, stays=True),
        Situation("forest-back", indexed_chain, reorganise, both_branches, FOREST),
        Situation("mend-forest", indexed_chain, build_indexes, build_indexes, FOREST, spoil=spoil_indexes),
        Situation("compact", nothing, go_on_proven, go_on_proven, COMPACT, tune=write_often),
        Situation("compact-back", go_on_proven, reorganise_proven, both_proven, COMPACT, tune=write_often),
        Situation("reindex", whole_chain, go_on, go_on, more={"reindex": True}),
        Situation("reindex-chainstate", whole_chain, go_on, go_on, more=REBUILD),
        Situation("load-set", nothing, load_set, load_missing),
        Situation("dump", whole_chain, dump, dump_missing),
        Situation("take-over", load_set, nothing_more, nothing_more),
        Situation("merge", nothing, merges, go_on, tune=merge_here),
        Situation("merge-beside", nothing, merges, go_on, tune=merge_little),
        Situation("migrate", whole_chain, nothing_more, nothing_more, spoil=with_sums),
        Situation("migrate-oldest", whole_chain, nothing_more, nothing_more, spoil=without_checksums),
        Situation("mend-indexes", indexed_chain, build_indexes, build_indexes, ALL_INDEXES, spoil=spoil_indexes),
        Situation("mend-coins", whole_chain, go_on, go_on, more=REBUILD, spoil=spoil_coins, repairs=True),
        Situation("mend-small", small_files, nothing_more, nothing_more, spoil=spoil_small),
        Situation("shutdown", first_blocks, whole_chain, go_on),
    )
}
