"""What is measured: how blocks and transactions spread, what became stale, what the strategies got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from btcnode.record import struct

PERCENTILES = (50, 90, 99, 100)
CURVE_POINTS = 100


@struct
class Spread:
    """How one block or transaction came to the nodes: seconds since it was published, in the order of coming."""

    since: float
    nodes: int  # that ran then
    delays: list[float] = field(default_factory=list)
    reached: dict[int, None] = field(default_factory=dict)

    def reach(self, number: int, now: float) -> None:
        """A node has it."""
        if number not in self.reached:
            self.reached[number] = None
            self.delays.append(now - self.since)


class Spreads:
    """Of all blocks, or of all transactions."""

    def __init__(self) -> None:
        self._all: dict[bytes, Spread] = {}

    def publish(self, name: bytes, now: float, nodes: int) -> None:
        """It begins to spread among this many nodes."""
        self._all.setdefault(name, Spread(now, nodes))

    def reach(self, name: bytes, number: int, now: float) -> None:
        """A node has it; what was not published is not measured."""
        spread = self._all.get(name)
        if spread is not None:
            spread.reach(number, now)

    def __len__(self) -> int:
        return len(self._all)

    def percentiles(self) -> dict[str, float | None]:
        """Seconds until a share of all (node, thing) pairs was reached; None: it was not."""
        delays = sorted(delay for spread in self._all.values() for delay in spread.delays)
        total = sum(max(spread.nodes, len(spread.delays)) for spread in self._all.values())
        found: dict[str, float | None] = {}
        for percent in PERCENTILES:
            at = -(-total * percent // 100) - 1
            found[str(percent)] = delays[at] if 0 <= at < len(delays) else None
        return found

    def reach_share(self) -> float | None:
        """The share of all pairs that was reached; None without any."""
        total = sum(max(spread.nodes, len(spread.delays)) for spread in self._all.values())
        return sum(len(spread.delays) for spread in self._all.values()) / total if total else None

    def curve(self) -> list[tuple[float, float]]:
        """Seconds and the percentage of all pairs reached by then, up to 99 %."""
        delays = sorted(delay for spread in self._all.values() for delay in spread.delays)
        total = sum(max(spread.nodes, len(spread.delays)) for spread in self._all.values())
        points = [(0.0, 0.0)]
        for step in range(1, CURVE_POINTS):
            at = total * step // CURVE_POINTS
            if at < len(delays):
                points.append((delays[at], 100 * step / CURVE_POINTS))
        return points


@struct
class Outcome:
    """What came of a run. Times in seconds, sizes in bytes with the 24 bytes of each message's frame."""

    form: str
    nodes: int
    seconds: float
    digest: str
    blocks: Spreads
    transactions: Spreads
    found: int
    stale: int
    height: int
    tips: int  # different ones that nodes have at the end
    bytes_sent: Counter[str]
    messages_sent: Counter[str]
    disconnects: Counter[str]
    discouraged: int
    connections: float  # of a node on average, at the end
    selfish: dict[str, float] | None
    eclipse: dict[str, float] | None

    def as_json(self) -> dict[str, Any]:
        """All figures, as JSON values."""
        return {
            "block_relay": self.form,
            "nodes": self.nodes,
            "seconds": self.seconds,
            "digest": self.digest,
            "blocks": _spread_json(self.blocks)
            | {"found": self.found, "stale": self.stale, "height": self.height, "tips": self.tips},
            "transactions": _spread_json(self.transactions),
            "bytes": dict(sorted(self.bytes_sent.items())),
            "messages": dict(sorted(self.messages_sent.items())),
            "disconnects": dict(sorted(self.disconnects.items())),
            "discouraged": self.discouraged,
            "connections": self.connections,
            "selfish": self.selfish,
            "eclipse": self.eclipse,
        }


def _spread_json(spreads: Spreads) -> dict[str, Any]:
    return {"measured": len(spreads), "seconds": spreads.percentiles(), "reached": spreads.reach_share()}


def as_text(outcome: Outcome) -> str:
    """The figures for people."""
    lines = [
        f"{outcome.nodes} nodes, {outcome.seconds:,.0f} s, blocks relayed in {outcome.form} form",
        f"  digest        {outcome.digest}",
        _spread_line("blocks", outcome.blocks),
        _spread_line("transactions", outcome.transactions),
        f"  chain         height {outcome.height}, {outcome.found} blocks found, {outcome.stale} stale"
        f" ({_percent(outcome.stale, outcome.found)}), {outcome.tips} tip{'s' * (outcome.tips != 1)} at the end",
        f"  connections   {outcome.connections:.1f} a node; {outcome.discouraged} addresses discouraged",
    ]
    total = outcome.bytes_sent.total()
    lines.append(f"  traffic       {total / 1e6:,.1f} MB in {outcome.messages_sent.total():,} messages")
    lines += [
        f"    {command:<12}{size / 1e6:>12,.2f} MB {outcome.messages_sent[command]:>12,}"
        for command, size in sorted(outcome.bytes_sent.items(), key=lambda item: (-item[1], item[0]))
    ]
    lines += [f"  closed        {count} x {reason}" for reason, count in sorted(outcome.disconnects.items())]
    for name, result in (("selfish", outcome.selfish), ("eclipse", outcome.eclipse)):
        if result is not None:
            lines.append(f"  {name:<14}" + ", ".join(f"{key} {value:.4g}" for key, value in result.items()))
    return "\n".join(lines)


def _spread_line(name: str, spreads: Spreads) -> str:
    share = spreads.reach_share()
    if share is None:
        return f"  {name:<14}none"
    times = spreads.percentiles()
    shown = [f"{percent} % {'never' if (t := times[percent]) is None else f'{t:.2f} s'}" for percent in times]
    return f"  {name:<14}{len(spreads)}: {', '.join(shown)}; {100 * share:.2f} % reached"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def reasons(texts: Sequence[str]) -> Counter[str]:
    """Disconnections by reason, without the numbers and names that differ from one to the next."""
    return Counter(text.split(":")[0].split("=")[0].strip() for text in texts)
