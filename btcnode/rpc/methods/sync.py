"""How the synchronisation goes: methods of our own."""

from __future__ import annotations

from typing import Any

from btcnode.rpc.jsonvalue import double
from btcnode.rpc.spec import arr, dyn, number, obj, real, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.services.parts import NodeParts


@rpc(
    "blockchain",
    "What the node is doing about its chain, and how it came to that.",
    returns=obj(
        "",
        "",
        string("state", "idle, headers-presync, headers, blocks, catching-up, synced, stalled or shutting-down"),
        time_("since", "When it began"),
        number("refused", "Events that made no sense in the state of their moment"),
        arr(
            "history",
            "Changes, the oldest first",
            obj(
                "",
                "",
                time_("time", "When"),
                string("from", "State before"),
                string("to", "State after"),
                string("event", "Why"),
                number("height", "Height of the chain"),
            ),
        ),
    ),
)
def getsyncstate(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    machine = node.sync.machine
    return {
        "state": machine.state.value,
        "since": machine.since,
        "refused": machine.refused,
        "history": [
            {"time": c.time, "from": c.old.value, "to": c.new.value, "event": c.event.value, "height": c.height}
            for c in machine.history
        ],
    }


@rpc(
    "blockchain",
    "Where the synchronisation spends its time: figures of the initial download, so far or of all of it.",
    returns=obj(
        "",
        "",
        string("state", "State of the synchronisation"),
        real("duration", "Seconds", optional=True),
        number("blocks", "Blocks connected", optional=True),
        number("transactions", "Transactions connected", optional=True),
        number("inputs", "Inputs connected", optional=True),
        real("blocks_per_second", "Rate", optional=True),
        real("inputs_per_second", "Rate", optional=True),
        number("mean_memory", "Bytes, node and workers", optional=True),
        number("peak_memory", "Bytes, node and workers", optional=True),
        real("mean_peers", "Peers that blocks were fetched from", optional=True),
        number("most_peers", "The most at a time", optional=True),
        dyn("busy", "Share of the time that each stage worked", real("stage", "0 to 1"), optional=True),
        string("bottleneck", "What the others waited for", optional=True),
    ),
)
def getsyncprofile(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    report = node.sync.report()
    answer: dict[str, Any] = {"state": node.sync.machine.state.value}
    if report is None:
        return answer
    return answer | {
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
