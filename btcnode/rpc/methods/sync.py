"""How the synchronisation goes: methods of our own."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from btcnode.rpc.declare import Named, Real, Time, rpc
from btcnode.rpc.jsonvalue import double
from btcnode.services.parts import NodeParts

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


@rpc("blockchain")
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


class SyncProfile(TypedDict):
    """Where the time of the initial download goes."""

    state: Annotated[str, "State of the synchronisation"]
    duration: Annotated[NotRequired[Real], "Seconds"]
    blocks: Annotated[NotRequired[int], "Blocks connected"]
    transactions: Annotated[NotRequired[int], "Transactions connected"]
    inputs: Annotated[NotRequired[int], "Inputs connected"]
    blocks_per_second: Annotated[NotRequired[Real], "Rate"]
    inputs_per_second: Annotated[NotRequired[Real], "Rate"]
    mean_memory: Annotated[NotRequired[int], "Bytes, node and workers"]
    peak_memory: Annotated[NotRequired[int], "Bytes, node and workers"]
    mean_peers: Annotated[NotRequired[Real], "Peers that blocks were fetched from"]
    most_peers: Annotated[NotRequired[int], "The most at a time"]
    busy: Annotated[
        NotRequired[dict[str, Annotated[Real, Named("stage"), "0 to 1"]]], "Share of the time that each stage worked"
    ]
    bottleneck: Annotated[NotRequired[str], "What the others waited for"]


@rpc("blockchain")
def getsyncprofile(node: NodeParts) -> SyncProfile:
    """Where the synchronisation spends its time: figures of the initial download, so far or of all of it."""
    report = node.sync.report()
    if report is None:
        return {"state": node.sync.machine.state.value}
    return {
        "state": node.sync.machine.state.value,
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
