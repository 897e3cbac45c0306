"""Attackers by the dozen: does the node answer meanwhile, and how much memory does it take?

    python scripts/bench/hostile.py [--bitcoind PATH] [--peers 20 50 110] [--kinds WORD ...] [--seconds 3] [--list]

One process holds all hostile connections of a kind (real TCP; what they send is made before). Meanwhile another one
asks getblockcount over a lasting and over new connections, ``/health``, pings as an honest peer, and brings blocks as
another: announced by headers, with the time until getblockcount shows the new height. Printed are the worst of each
and, for calls, the 99th percentile; the peak of resident memory; how many attackers were thrown out, and why. Each
kind begins with a fresh node; with ``--bitcoind`` the same is done to it, where it knows the messages. The table comes
last, in Markdown. Exit status 1 when getblockcount took longer than 0.25 s, or a ping longer than 1 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.hostile.catalogue import KINDS
from tests.lib.hostile.kinds import Kind
from tests.lib.hostile.observer import Delays, Seen
from tests.lib.hostile.siege import Result, attack
from tests.lib.hostile.sites import Node, Stable
from tests.lib.hostile.world import World, make_world

CALL_LIMIT = 0.25
PING_LIMIT = 1.0
HONEST = 24  # blocks that the observer may bring to one node


def run_kind(stable: Stable, kind: Kind, options: argparse.Namespace, world: World) -> Iterator[Result]:
    """All numbers of peers, on one node as long as it recovers."""
    with contextlib.ExitStack() as stack:
        node: Node | None = None
        for count in [kind.fixed] if kind.fixed else options.peers:
            if node is None:
                stack.close()
                node = stack.enter_context(stable.node(pool=kind.pool))
                if not node.settle():
                    raise SystemExit(f"{stable.name} does not come to rest before the attack")
            result = attack(node, kind, kind.prepare(world, count), count, options.seconds, world)
            result.survived = node.settle()
            if not result.survived or node.height >= len(world.blocks) + len(world.honest) - 2:
                node = None
            yield result


# -- output ----------------------------------------------------------------------------------------------------------


def shown(value: float) -> str:
    """Seconds."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def line(result: Result) -> str:
    """One run, for the terminal."""
    seen, tally = result.seen, result.tally
    parts = [f"{name} {shown(d.worst)}/{shown(d.p99)}{failures(d)}" for name, d in (
        ("rpc", seen.call), ("new", seen.new_call), ("health", seen.health), ("ping", seen.ping), ("block", seen.block)
    )]  # fmt: skip
    reasons = "; ".join(f"{count}x {reason}" for reason, count in result.reasons.most_common(3))
    gone = f"gone {tally.gone} of {tally.connected}, refused {tally.refused}, sent {tally.sent / 1e6:.0f} MB"
    rest = "" if result.survived else " DOES NOT COME TO REST"
    name = "ours" if result.node == "OurNode" else "core"
    return (
        f"{name} {result.kind:44} {result.peers:4} {'  '.join(parts)}  {result.memory >> 20} MiB  {gone}"
        f"{' (' + reasons + ')' if reasons else ''}{rest}"
    )


def failures(delays: Delays) -> str:
    """How many questions had no answer."""
    return f"!{delays.failed}" if delays.failed else ""


def table(results: list[Result], peers: list[int]) -> str:
    """All runs in Markdown: a row for each kind, the numbers of peers beside each other."""
    both = any(result.node != "OurNode" for result in results)
    sizes = " · ".join(map(str, peers))
    head = [f"attack (peers: {sizes})", "getblockcount s", "p99", "new call", "/health", "ping", "block", "MiB", "gone"]
    head += ["bitcoind: getblockcount", "ping", "block", "MiB"] if both else []
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in dict.fromkeys(result.kind for result in results):
        ours = [r for r in results if r.kind == name and r.node == "OurNode"]
        core = [r for r in results if r.kind == name and r.node != "OurNode"]
        cells = [name, *columns(ours, full=True)] + (columns(core, full=False) if both else [])
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def columns(results: list[Result], *, full: bool) -> list[str]:
    """The cells of one node."""

    def worst(delays: Callable[[Seen], Delays]) -> str:
        return " · ".join(shown(delays(r.seen).worst) + failures(delays(r.seen)) for r in results) or "-"

    call, ping, block = worst(lambda s: s.call), worst(lambda s: s.ping), worst(lambda s: s.block)
    memory = " · ".join(str(r.memory >> 20) for r in results) or "-"
    if not full:
        return [call, ping, block, memory]
    p99 = " · ".join(shown(r.seen.call.p99) for r in results)
    gone = " · ".join(str(r.tally.gone) for r in results)
    return [call, p99, worst(lambda s: s.new_call), worst(lambda s: s.health), ping, block, memory, gone]


def by_name(record: Any) -> dict[str, Any]:
    """The fields of a dataclass, for JSON (``asdict`` makes counters of pairs out of counters)."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def as_asked(result: Result) -> bool:
    """Whether one of our runs met the aim."""
    seen = result.seen
    answered = not seen.call.failed and not seen.ping.failed and result.survived
    return answered and seen.call.worst <= CALL_LIMIT and seen.ping.worst <= PING_LIMIT


def chosen(words: list[str]) -> list[Kind]:
    """The kinds whose name has one of the words; all without words."""
    return [kind for kind in KINDS if not words or any(word in kind.name for word in words)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitcoind", type=Path)
    parser.add_argument("--peers", type=int, nargs="+", default=[20, 50, 110])
    parser.add_argument("--kinds", nargs="+", default=[], help="words of names, see --list")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pool", type=int, default=6_000, help="transactions in the mempool")
    parser.add_argument("--option", action="append", default=[], help="for this node, as --option=--debug=net")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    kinds = chosen(options.kinds)
    if options.list or not kinds:
        print("\n".join(kind.name for kind in KINDS))
        return 0
    begun = time.monotonic()
    world = make_world(options.pool, HONEST, 2_000 + 4_500 * len(options.peers))
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as directory:
        stables = [Stable(Path(directory), world, None, tuple(options.option))]
        if options.bitcoind is not None:
            stables.append(Stable(Path(directory), world, options.bitcoind))
        for stable in stables:
            stable.prepare()
        print(f"prepared in {time.monotonic() - begun:.0f} s; worst/99th percentile in seconds, !failures", flush=True)
        for kind in kinds:
            for stable in stables:
                if stable.daemon is None or kind.both:
                    for result in run_kind(stable, kind, options, world):
                        results.append(result)
                        print(line(result), flush=True)
    print(f"\n{time.monotonic() - begun:.0f} s\n\n{table(results, options.peers)}")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1, default=by_name))
    missed = [r for r in results if r.node == "OurNode" and not as_asked(r)]
    print(f"\n{len(missed)} runs are beyond {CALL_LIMIT} s for a call or {PING_LIMIT} s for a ping")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
