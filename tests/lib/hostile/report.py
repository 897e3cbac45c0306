"""What attacks came to: a line and a row for each, a file of runs that can be joined, and those beyond the aim."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tests.lib.hostile.attacker import Tally
from tests.lib.hostile.observer import Delays, Seen
from tests.lib.hostile.siege import Result

CALL_LIMIT = 0.25  # seconds
PING_LIMIT = 1.0
OURS = "OurNode"


def shown(value: float) -> str:
    """Seconds."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def failures(delays: Delays) -> str:
    """How many questions had no answer."""
    return f"!{delays.failed}" if delays.failed else ""


def nearness(result: Result) -> float:
    """The larger of call and ping as a part of its aim: above 1 is beyond it, infinite is no answer."""
    call, ping = result.seen.call, result.seen.ping
    if result.broken or call.failed or ping.failed or not result.survived:
        return math.inf
    return max(part for part in (call.worst / CALL_LIMIT, ping.worst / PING_LIMIT, 0.0) if not math.isnan(part))


def line(result: Result) -> str:
    """One run, for the terminal."""
    seen, tally = result.seen, result.tally
    parts = [f"{name} {shown(d.worst)}/{shown(d.p99)}{failures(d)}" for name, d in (
        ("rpc", seen.call), ("new", seen.new_call), ("health", seen.health), ("ping", seen.ping), ("block", seen.block)
    )]  # fmt: skip
    reasons = "; ".join(f"{count}x {reason}" for reason, count in result.reasons.most_common(3))
    gone = f"gone {tally.gone} of {tally.connected}, refused {tally.refused}, sent {tally.sent / 1e6:.0f} MB"
    rest = "" if result.survived else " DOES NOT COME TO REST"
    broken = f" NOT DONE: {result.broken}" if result.broken else ""
    name = "ours" if result.node == OURS else "core"
    return (
        f"{name} {result.kind:44} {result.peers:4} {'  '.join(parts)}  {result.memory >> 20} MiB  {gone}"
        f"{' (' + reasons + ')' if reasons else ''}{rest}{broken}"
    )


def table(results: list[Result]) -> str:
    """All runs in Markdown: a row for each kind, beside each other the numbers of peers that it was tried with."""
    both = any(result.node != OURS for result in results)
    head = ["attack", "peers", "getblockcount s", "p99", "new call", "/health", "ping"]
    head += ["block", "MiB", "gone"]
    head += ["bitcoind: getblockcount", "ping", "block", "MiB"] if both else []
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in _names(results):
        of_kind = [r for r in results if r.kind == name]
        wanted = sorted({r.peers for r in of_kind})
        ours = {r.peers: r for r in of_kind if r.node == OURS}
        core = {r.peers: r for r in of_kind if r.node != OURS}
        cells = [name, " · ".join(map(str, wanted)), *_columns([ours.get(size) for size in wanted], full=True)]
        cells += _columns([core.get(size) for size in wanted], full=False) if both else []
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _names(results: list[Result]) -> list[str]:
    return list(dict.fromkeys(result.kind for result in results))


def _columns(results: list[Result | None], *, full: bool) -> list[str]:
    """The cells of one node, with a dash for a number of peers that only the other one was tried with."""

    def each(cell: Callable[[Result], str]) -> str:
        return " · ".join(["-" if r is None else cell(r) for r in results]) if any(results) else "-"

    def worst(delays: Callable[[Seen], Delays]) -> str:
        return each(lambda r: shown(delays(r.seen).worst) + failures(delays(r.seen)))

    call, ping, block = worst(lambda s: s.call), worst(lambda s: s.ping), worst(lambda s: s.block)
    memory = each(lambda r: str(r.memory >> 20))
    if not full:
        return [call, ping, block, memory]
    p99, gone = each(lambda r: shown(r.seen.call.p99)), each(lambda r: str(r.tally.gone))
    return [call, p99, worst(lambda s: s.new_call), worst(lambda s: s.health), ping, block, memory, gone]


def beyond(results: list[Result]) -> list[str]:
    """A line for each run of ours that missed the aim, the worst first, with bitcoind's figures of that run."""
    core = {(r.kind, r.peers): r for r in results if r.node != OURS}
    missed = sorted((r for r in results if r.node == OURS and nearness(r) > 1), key=nearness, reverse=True)
    lines = []
    for result in missed:
        other = core.get((result.kind, result.peers))
        beside = f"; bitcoind: {_figures(other)}" if other is not None else ""
        lines.append(f"{result.kind}, {result.peers} peers: {_figures(result)}{beside}")
    return lines


def _figures(result: Result) -> str:
    if result.broken:
        return f"not done ({result.broken})"
    seen = result.seen
    call, ping = (shown(delays.worst) + failures(delays) for delays in (seen.call, seen.ping))
    return f"getblockcount {call}, ping {ping}" + ("" if result.survived else ", does not come to rest")


# -- files of runs ---------------------------------------------------------------------------------------------------


def add_to(path: Path, result: Result) -> None:
    """Append a run to a file as a line of JSON: what was measured is there whatever ends the rest."""
    with path.open("a") as file:
        file.write(json.dumps({field.name: _plain(getattr(result, field.name)) for field in fields(result)}) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Tally):  # ``asdict`` makes counters of pairs out of counters
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return asdict(value) if isinstance(value, Seen) else value


def read_runs(paths: Iterable[Path]) -> list[Result]:
    """The runs of several files; of one that was done twice the later one, at the first one's place."""
    found: dict[tuple[str, int, str], Result] = {}
    for path in paths:
        for text in path.read_text().splitlines():
            told = json.loads(text)
            told["seen"] = Seen(**{name: Delays(**delays) for name, delays in told["seen"].items()})
            told["tally"] = Tally(**{**told["tally"], "errors": Counter(told["tally"]["errors"])})
            told["reasons"] = Counter(told["reasons"])
            result = Result(**told)
            found[result.kind, result.peers, result.node] = result
    return list(found.values())
