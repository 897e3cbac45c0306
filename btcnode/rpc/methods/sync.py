"""How the synchronisation goes: methods of our own."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Annotated, NotRequired, TypedDict

from btcnode.rpc.declare import Named, Real, Time, rpc
from btcnode.rpc.jsonvalue import double
from btcnode.services.parts import NodeParts
from btcnode.sync.profile import SyncReport

SyncStep = TypedDict(
    "SyncStep",
    {
        "time": Annotated[Time, "When"],
        "from": Annotated[str, "State before"],
        "to": Annotated[str, "State after"],
        "event": Annotated[str, "Why"],
        "height": Annotated[int, "Height of the chain"],
    },
)


class SyncState(TypedDict):
    """What the node does about its chain."""

    state: Annotated[
        str, ("idle, import, headers-presync, headers, blocks, catching-up, synced, stalled or shutting-down")
    ]
    since: Annotated[Time, "When it began"]
    refused: Annotated[int, "Events that made no sense in the state of their moment"]
    history: Annotated[list[SyncStep], "Changes, the oldest first"]
    advice: Annotated[NotRequired[str], "What to try, while no peer can be reached"]


@rpc("blockchain", own=True)
def getsyncstate(node: NodeParts) -> SyncState:
    """What the node is doing about its chain, and how it came to that."""
    machine = node.sync.machine
    found: SyncState = {
        "state": machine.state.value,
        "since": machine.since,
        "refused": machine.refused,
        "history": [
            {"time": c.time, "from": c.old.value, "to": c.new.value, "event": c.event.value, "height": c.height}
            for c in machine.history
        ],
    }
    if node.contact.advice is not None:
        found["advice"] = node.contact.advice
    return found


class SyncCosts(TypedDict):
    """Where the time went."""

    duration: Annotated[Real, "Seconds"]
    blocks: Annotated[int, "Blocks connected"]
    transactions: Annotated[int, "Transactions connected"]
    inputs: Annotated[int, "Inputs connected"]
    blocks_per_second: Annotated[Real, "Rate"]
    inputs_per_second: Annotated[Real, "Rate"]
    mean_memory: Annotated[int, "Bytes, node and workers"]
    peak_memory: Annotated[int, "Bytes, node and workers"]
    mean_peers: Annotated[Real, "Peers that blocks were fetched from"]
    most_peers: Annotated[int, "The most at a time"]
    busy: Annotated[dict[str, Annotated[Real, Named("stage"), "0 to 1"]], "Share of the time that each stage worked"]
    bottleneck: Annotated[str, "What the others waited for"]


class ProcessCounts(TypedDict):
    """What the process has of everything that could grow without an end."""

    threads: Annotated[int, "Python threads"]
    tasks: Annotated[int, "Tasks of the event loop"]
    workers: Annotated[int, "Worker processes"]
    allocated_blocks: Annotated[int, "Blocks of memory that Python's objects have, close to the number of objects"]


class SyncProfile(TypedDict):
    """Where the time of the initial download goes, and that of the last minutes."""

    state: Annotated[str, "State of the synchronisation"]
    initial_download: Annotated[NotRequired[SyncCosts], "Figures of the first synchronisation, so far or all of it"]
    recent: Annotated[NotRequired[SyncCosts], "Figures of the last ten minutes, whatever the node did in them"]
    process: Annotated[ProcessCounts, "What the process has now"]


def _costs_of(report: SyncReport) -> SyncCosts:
    return {
        "duration": double(report.duration),
        "blocks": report.blocks,
        "transactions": report.txs,
        "inputs": report.inputs,
        "blocks_per_second": double(report.blocks_per_second),
        "inputs_per_second": double(report.inputs_per_second),
        "mean_memory": report.mean_memory,
        "peak_memory": report.peak_memory,
        "mean_peers": double(report.mean_peers),
        "most_peers": report.most_peers,
        "busy": {stage: double(share) for stage, share in report.busy.items()},
        "bottleneck": report.bottleneck,
    }


@rpc("blockchain", own=True)
def getsyncprofile(node: NodeParts) -> SyncProfile:
    """Where the synchronisation spends its time: the initial download, so far or all of it, and the last minutes."""
    counts: ProcessCounts = {
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "workers": node.sync.stages().workers,
        "allocated_blocks": sys.getallocatedblocks(),
    }
    found: SyncProfile = {"state": node.sync.machine.state.value, "process": counts}
    report, recent = node.sync.report(), node.sync.recent_report()
    if report is not None:
        found["initial_download"] = _costs_of(report)
    if recent is not None:
        found["recent"] = _costs_of(recent)
    return found
