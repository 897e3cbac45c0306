"""What a stranger asks of a node, answered from its figures: in sync? why slow? who abuses it? the disk? which fee?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from btcnode.observe.progress import STATES, Rates, Snapshot, duration
from btcnode.protocol.chronicle import Departure
from btcnode.protocol.connections.peer_score import THROTTLED_BELOW
from btcnode.record import record
from btcnode.services.fee_survey import ProjectedBlock
from btcnode.tuples import NamedTuple

BUSY = 0.7  # above this share of the time a stage is what the others wait for
SHOWN = 60  # characters of the reason of a disconnect
NAMED = 3  # peers that an answer names
DAY = 86_400
SOON = 30 * DAY  # a disk that is full by then is a warning
LITTLE = 1_000_000_000  # bytes of room on a disk that are a warning, however slowly they go
STAGES = {
    "fetch": "blocks to come from peers",
    "decode": "blocks to be checked and stored",
    "validate": "coins to be looked up and spent",
    "scripts": "scripts to be verified; more worker processes (-par) may help",
    "commit": "the disk, which coins are being written to",
}
GB = 1_000_000_000


class Answer(TypedDict):
    """``level`` is good, plain or bad."""

    question: str
    answer: str
    level: str


@record
class Disk:
    """Bytes: ``free``, what the node ``keeps`` free (below it stops), what is ``missing`` until all blocks are here.

    ``rate`` is how fast free bytes fall (a second, None: not known yet); ``guessed`` bytes a day a chain that grows
    takes, 0 for a pruned one.
    """

    free: int
    keeps: int
    missing: int
    rate: float | None
    guessed: int

    def seconds_left(self) -> float | None:
        """Until the node would have to stop; None for never, as far as anybody can tell."""
        room = self.free - self.keeps
        if room <= 0 or room < self.missing:
            return 0.0
        rate = self.rate or ((room - self.missing) and self.guessed / DAY)
        return room / rate if rate else None

    @property
    def is_short(self) -> bool:
        """Whether somebody should see to it."""
        left = self.seconds_left()
        return self.free - self.keeps < LITTLE or (left is not None and left < SOON)


class Suspect(NamedTuple):
    """A connected peer: ``faults`` are broken rules, weighed; ``wasted`` pieces of data that nobody wanted."""

    score: float
    address: str
    faults: float
    wasted: float

    @property
    def is_hostile(self) -> bool:
        """Whether more is wrong with it than that it does not answer."""
        return self.faults >= 1 or self.wasted >= 1


def bottleneck(busy: Mapping[str, float]) -> str:
    """The stage that the others wait for, empty for none."""
    working = {stage: share for stage, share in busy.items() if stage != "fetch"}
    worst = max(working, key=lambda stage: working[stage], default="")
    if worst and working[worst] >= BUSY:
        return worst
    return "fetch" if busy.get("fetch", 0.0) >= BUSY else ""


def in_sync(now: Snapshot, rates: Rates) -> Answer:
    """Is it in sync?"""
    question = "Is it in sync?"
    if now.in_sync:
        return Answer(question=question, level="good", answer=f"Yes. The tip is {duration(now.tip_age)} old.")
    missing = now.headers - now.blocks
    if not now.peers_in + now.peers_out:
        text = "Unknown: no peer is connected that could tell of newer blocks."
        return Answer(question=question, level="bad", answer=text)
    if missing > 0:
        left = f", {duration(rates.seconds_left)} left" if rates.seconds_left is not None else ""
        text = f"No. {missing:,} of {now.headers:,} blocks are missing{left}."
        return Answer(question=question, level="plain", answer=text)
    text = f"Not for sure: the tip is {duration(now.tip_age)} old. The node {STATES[now.state]}."
    return Answer(question=question, level="bad", answer=text)


def why_slow(now: Snapshot, busy: Mapping[str, float]) -> Answer:
    """Why is it slow?"""
    question = "Why is it slow?"
    if not now.peers_in + now.peers_out:
        return Answer(question=question, level="bad", answer="It waits for a peer.")
    if now.state == "stalled":
        return Answer(question=question, level="bad", answer=f"It is {STATES['stalled']}.")
    stage = bottleneck(busy)
    if now.blocks >= now.headers and stage in ("", "fetch"):
        return Answer(question=question, level="good", answer="It is not: there is nothing that waits.")
    if stage:
        text = f"It waits for {STAGES[stage]} ({busy[stage]:.0%} of the time)."
        return Answer(question=question, level="plain", answer=text)
    return Answer(question=question, level="plain", answer="No stage is busy for long: it goes as fast as blocks come.")


def who_abuses(suspects: Sequence[Suspect], gone: Sequence[Departure], offences: int, now: int) -> Answer:
    """Who is abusing me? ``suspects`` are connected; ``offences`` of all since the start."""
    question = "Who is abusing me?"
    bad = sorted(one for one in suspects if one.score < THROTTLED_BELOW)
    hostile = [one for one in bad if one.is_hostile]
    removed = [one for one in gone if (one.broke_rules or one.score < THROTTLED_BELOW) and now - one.unix < DAY]
    if hostile:
        return Answer(question=question, level="bad", answer=f"{_names(hostile)}: answered late and dropped first.")
    if removed:
        last = removed[-1]
        many = "1 has gone that was bad" if len(removed) == 1 else f"{len(removed)} have gone that were bad"
        text = f"Nobody now. {many}, the last {last.address}: {last.reason[:SHOWN]}."
        return Answer(question=question, level="plain", answer=text)
    if bad:
        text = f"Nobody breaks rules, but {_names(bad)} does not answer what it is asked, or is slow."
        return Answer(question=question, level="plain", answer=text)
    told = f" {offences:,} faults of peers since the start." if offences else ""
    return Answer(question=question, level="good", answer=f"Nobody: no peer has a bad score.{told}")


def _names(suspects: Sequence[Suspect]) -> str:
    names = ", ".join(f"{one.address} (score {one.score:.0f})" for one in suspects[:NAMED])
    return f"{names} and {len(suspects) - NAMED} more" if len(suspects) > NAMED else names


def when_full(disk: Disk) -> Answer:
    """When is the disk full?"""
    question = "When is the disk full?"
    left, free = disk.seconds_left(), f"{_size(disk.free)} are free"
    level = "bad" if disk.is_short else "good"
    if disk.free - disk.keeps < disk.missing:
        text = f"Before the sync is over: {free}, {_size(disk.missing)} of blocks are missing. See the option prune."
        return Answer(question=question, level="bad", answer=text)
    if left is None and disk.is_short:
        text = f"Soon: {free}, and at {_size(disk.keeps)} the node stops. Make room, or see the option prune."
        return Answer(question=question, level="bad", answer=text)
    if left is None and disk.rate is None:
        return Answer(question=question, level="plain", answer=f"{free}. How fast they go is known in some minutes.")
    if left is None:
        return Answer(question=question, level="good", answer=f"Not as things go: {free}, and stay so.")
    source = "measured" if disk.rate else "estimated"
    text = f"In {duration(left)} ({source}): {free}. The node stops before that."
    return Answer(question=question, level=level, answer=text)


def _size(count: int) -> str:
    """So many bytes, for people."""
    return f"{count / GB:,.1f} GB" if count >= GB else f"{count / 1_000_000:,.0f} MB"


def which_fee(
    blocks: Sequence[ProjectedBlock], least: float, estimates: Mapping[int, float], full: float, *, in_sync: bool
) -> Answer:
    """What fee do I need? Rates in sat/vB: ``least`` gets in, ``estimates`` by target; ``full``: share of a block that
    counts as full. A node that is not ``in_sync`` does not see what others pay."""
    question = "What fee do I need?"
    if not in_sync:
        text = "Unknown until the node is in sync: its mempool lacks what others send."
        return Answer(question=question, level="plain", answer=text)
    needed = least
    if blocks and blocks[0].weight >= full:
        needed = max(least, blocks[0].low)
    parts = [f"{needed:,.2f} sat/vB would be in the next block as it is now"]
    parts += [f"{rate:,.2f} within {target} blocks, by the last days" for target, rate in estimates.items()]
    return Answer(question=question, level="plain", answer="; ".join(parts) + ".")
