#!/usr/bin/env python3
"""Ways of eviction on the same trace: how much of each block was in the pool, by count and by fee.

    python scripts/bench/eviction.py                          # every trace below, about 5 minutes
    python scripts/bench/eviction.py --traces market,private --hours 24
    python scripts/bench/eviction.py --write DIR              # the traces as files
    python scripts/bench/eviction.py --replay FILE ...        # such files, or those of a network of one's own

A trace is a text file, one event a line, in order of time: ``SECONDS tx NAME VSIZE FEE [PARENT ...]``,
``SECONDS ask NAME SOURCE`` (a peer of that group asks for it), ``SECONDS block NAME ...``. Names are numbers. A pool
that holds a part of what waits at the worst moment takes in what its minimum feerate lets in; a hit is a transaction
of a block that the pool had when the block came. What was refused or evicted is offered again after each six hours, as
wallets do, while it is not mined.

The traces are made here, from a seed; miners see everything that waits:
- ``market``: twice the capacity of blocks by day, half of it by night, feerates that follow the backlog, children that
  pay for parents, miners that take the best feerates;
- ``flood``: the same, and every six hours a flood of cheap transactions that are never mined;
- ``stale``: the same, and a third of what comes pays well and is never mined (its parents are in conflict elsewhere);
- ``private``: everybody pays the same, a third is dead on arrival; peers ask for what lives, and miners take the oldest
  of that;
- ``mixed``: a private network with two classes of fees, where half of the dead pay the higher one.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.eviction import DensityEviction, EvictionPolicy, LruKFeeEviction
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.primitives.tx import Tx
from tests.lib.mempool_lab import START

NO_LOCKS = LockPoints(-1, -1, -1)
BLOCK_VSIZE = 20_000  # blocks, pools and times are those of a small network: figures of eviction depend on ratios
BLOCK_SPACING = 600
AGAIN = 6 * 3600  # seconds until a wallet offers a transaction again
POOL_SHARE = 0.25  # of what waits at the worst moment
SETTINGS = ((1, 0.6, 0.4), (2, 0.6, 0.4), (3, 0.6, 0.4), (3, 0.1, 0.9), (3, 0.02, 0.98), (3, 0.0, 1.0), (3, 0.9, 0.1))

Event = tuple[float, str, list[int]]


# -- traces ------------------------------------------------------------------------------------------------------------


@dataclass
class Maker:
    """Makes a trace; what waits is kept as miners see it."""

    rng: random.Random
    hours: float
    events: list[Event] = field(default_factory=list)
    waiting: dict[int, tuple[float, int, int]] = field(default_factory=dict)  # name -> arrival, vsize, fee
    parents: dict[int, list[int]] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    names: int = 0

    def tx(self, now: float, rate: float, *, dead: bool = False, parent: int | None = None) -> int:
        """A transaction comes; ``rate`` in sat/vB."""
        self.names += 1
        name, vsize = self.names, max(100, int(self.rng.lognormvariate(5.4, 0.5)))
        fee = max(1, int(rate * vsize))
        above = [parent] if parent is not None else []
        self.events.append((now, "tx", [name, vsize, fee, *above]))
        self.waiting[name] = (now, vsize, fee)
        self.parents[name] = above
        if dead:
            self.dead.add(name)
        return name

    def asks(self, name: int, now: float, count: int, over: float) -> None:
        """Peers ask for it now and then."""
        for _ in range(count):
            self.events.append((now + self.rng.uniform(60, over), "ask", [name, self.rng.randrange(40)]))

    def block(self, now: float, by_age: bool) -> None:
        """Miners take the best, or the oldest, of what is not dead."""
        alive = [name for name in self.waiting if name not in self.dead]
        alive.sort(key=lambda name: self._age_key(name) if by_age else self._fee_key(name))
        taken: dict[int, None] = {}
        room = BLOCK_VSIZE
        for name in alive:
            group = [one for one in (*self.parents[name], name) if one in self.waiting and one not in taken]
            size = sum(self.waiting[one][1] for one in group)
            if size <= room and not self.dead & set(group):
                taken.update(dict.fromkeys(group))
                room -= size
        for name in taken:
            del self.waiting[name]
        self.events.append((now, "block", list(taken)))

    def _age_key(self, name: int) -> float:
        return self.waiting[name][0]

    def _fee_key(self, name: int) -> float:
        group = [one for one in (*self.parents[name], name) if one in self.waiting]
        return -sum(self.waiting[one][2] for one in group) / sum(self.waiting[one][1] for one in group)


def market(maker: Maker, *, flood: bool = False, stale: bool = False) -> None:
    """What ``market``, ``flood`` and ``stale`` have in common."""
    rng, end = maker.rng, maker.hours * 3600
    now, next_block, next_flood = 0.0, rng.expovariate(1 / BLOCK_SPACING), AGAIN / 2
    mean = BLOCK_VSIZE / 250  # transactions of a block
    while now < end:
        load = 1.25 + 0.75 * math.sin(2 * math.pi * now / 86400)
        now += rng.expovariate(load * mean / BLOCK_SPACING)
        while next_block < now:
            maker.block(next_block, by_age=False)
            next_block += rng.expovariate(1 / BLOCK_SPACING)
        backlog = len(maker.waiting) / (20 * mean)
        rate = max(1.0, rng.lognormvariate(1.0 + min(backlog, 3.0), 0.9))
        if rng.random() < 0.12 and maker.waiting:
            parent = rng.choice(list(maker.waiting)[-200:])
            if not maker.parents[parent] and parent not in maker.dead:
                maker.tx(now, 2 * rate, parent=parent)
                continue
        name = maker.tx(now, rate, dead=stale and rng.random() < 1 / 3)
        maker.asks(name, now, 1 if name in maker.dead else rng.randrange(4), 4 * 3600)
        if flood and now > next_flood:
            next_flood += AGAIN
            for _ in range(int(20 * mean)):
                maker.tx(now, 1.0 + rng.random(), dead=True)


def private(maker: Maker, *, classes: bool = False) -> None:
    """Everybody is known: fees say little, interest says much."""
    rng, end = maker.rng, maker.hours * 3600
    now, next_block = 0.0, float(BLOCK_SPACING)
    mean = BLOCK_VSIZE / 250
    while now < end:
        now += rng.expovariate(1.35 * mean / BLOCK_SPACING)
        while next_block < now:
            maker.block(next_block, by_age=True)
            next_block += BLOCK_SPACING
        dead = rng.random() < 1 / 3
        rate = 1.0
        if classes:
            rate = 4.0 if rng.random() < (0.5 if dead else 0.25) else 1.0
        name = maker.tx(now, rate, dead=dead)
        if not dead:
            maker.asks(name, now, 6, 2 * 3600)


TRACES: dict[str, Callable[[Maker], None]] = {
    "market": market,
    "flood": partial(market, flood=True),
    "stale": partial(market, stale=True),
    "private": private,
    "mixed": partial(private, classes=True),
}


def make_trace(kind: str, hours: float, seed: int) -> list[Event]:
    """A trace from a seed."""
    maker = Maker(random.Random(seed), hours)
    TRACES[kind](maker)
    return sorted(maker.events, key=lambda event: event[0])


def read_trace(path: Path) -> list[Event]:
    """A trace from a file; raises ValueError for a line that is none."""
    events = []
    for line in path.read_text().splitlines():
        seconds, kind, *numbers = line.split()
        events.append((float(seconds), kind, [int(number) for number in numbers]))
    return events


def write_trace(path: Path, events: Iterable[Event]) -> None:
    """A trace as a file."""
    path.write_text("".join(f"{at:.1f} {kind} {' '.join(map(str, numbers))}\n" for at, kind, numbers in events))


# -- replay ------------------------------------------------------------------------------------------------------------


class ReplayBlock:
    """As much of a block as the pool looks at."""

    def __init__(self, txs: list[Tx]) -> None:
        self.txids = [bytes(32), *(tx.txid for tx in txs)]
        self._prevouts = [prevout for tx in txs for prevout in tx.prevouts]
        self.first_in = [0, 1]
        for tx in txs:
            self.first_in.append(self.first_in[-1] + len(tx.prevouts))

    def prevouts(self) -> list[bytes]:
        """Of all inputs, the coinbase's first."""
        return [bytes(36), *self._prevouts]


@dataclass
class Score:
    """Of all blocks: transactions and fees, and those that the pool had."""

    txs: int = 0
    had: int = 0
    fees: int = 0
    had_fees: int = 0
    seconds: float = 0.0
    highest: int = 0  # minimum feerate

    def row(self) -> str:
        """Shares in percent, cost of a transaction, minimum feerate."""
        return (
            f"{100 * self.had / self.txs:5.1f} % | {100 * self.had_fees / self.fees:5.1f} % |"
            f" {self.highest / 1000:6.1f} sat/vB | {self.seconds:5.1f} s"
        )


class Replay:
    """One pool with one way of eviction over one trace."""

    def __init__(self, events: list[Event], eviction: EvictionPolicy, budget: int) -> None:
        self._events = events
        self._budget = budget
        self._pool = Mempool(MempoolOptions(max_bytes=budget, min_relay_feerate=1000), eviction=eviction)
        self._known: dict[int, tuple[Tx, int, int]] = {}  # name -> transaction, vsize, fee
        self._again: list[tuple[float, int]] = []
        self._mined: set[int] = set()
        self.score = Score()

    def run(self) -> Score:
        """Replay everything."""
        begun = time.perf_counter()
        for at, kind, numbers in self._events:
            while self._again and self._again[0][0] <= at:
                when, name = heappop(self._again)
                self._offer(name, when)
            now = START + int(at)
            if kind == "tx":
                self._known[numbers[0]] = (self._tx(numbers), numbers[1], numbers[2])
                self._offer(numbers[0], at)
            elif kind == "ask":
                entry = self._pool.get(self._known[numbers[0]][0].txid) if numbers[0] in self._known else None
                if entry is not None:
                    self._pool.touch(entry, now, numbers[1])
            elif kind == "block":
                self._block(numbers, now)
            else:
                raise ValueError(f"no event: {kind}")
            self.score.highest = max(self.score.highest, self._pool.minimum_feerate(now))
        self.score.seconds = time.perf_counter() - begun
        return self.score

    def _tx(self, numbers: list[int]) -> Tx:
        name, vsize, _, *parents = numbers
        prevouts = [self._known[parent][0].txid + bytes(4) for parent in parents]
        prevouts = prevouts or [name.to_bytes(32, "little") + bytes(4)]
        txouts = [bytes(8) + b"\x02\x51\x51"] * 2
        script = vsize - 31 - 42 * len(prevouts)  # the rest has so many bytes
        return Tx(
            2,
            prevouts,
            [bytes(script if script < 253 else script - 2), *[b""] * (len(prevouts) - 1)],
            [0] * len(prevouts),
            txouts,
            None,
        )

    def _offer(self, name: int, at: float) -> None:
        tx, _, fee = self._known[name]
        pool, now = self._pool, START + int(at)
        if name in self._mined:
            return
        heappush(self._again, (at + AGAIN, name))
        if tx.txid in pool or any(pool.spender_of(prevout) for prevout in tx.prevouts):
            return
        entry = MempoolEntry(
            tx, fee=fee, weight=tx.weight, sigop_cost=0, time=now, height=1, sequence=1, spends_coinbase=False,
            lock_points=NO_LOCKS,
        )  # fmt: skip
        if 1000 * fee < max(pool.minimum_feerate(now), 1000) * entry.vsize:
            return
        staged = pool.stage([], [entry])
        if not staged.oversized:
            staged.apply(RemovalReason.REPLACED, now)
            pool.trim(self._budget, now)

    def _block(self, names: list[int], now: int) -> None:
        txs = []
        for name in names:
            if name not in self._known:
                continue
            tx, _, fee = self._known[name]
            txs.append(tx)
            self._mined.add(name)
            self.score.txs += 1
            self.score.fees += fee
            if tx.txid in self._pool:
                self.score.had += 1
                self.score.had_fees += fee
        self._pool.remove_for_block(ReplayBlock(txs), now)  # type: ignore[arg-type]


def budget_of(events: list[Event]) -> int:
    """``POOL_SHARE`` of the memory of what waits at the worst moment, when nothing is ever refused."""
    replay = Replay(events, DensityEviction(), 10**12)
    most = 0
    for at, kind, numbers in events:
        if kind == "tx":
            replay._known[numbers[0]] = (replay._tx(numbers), numbers[1], numbers[2])
            replay._offer(numbers[0], at)
        elif kind == "block":
            replay._block(numbers, START + int(at))
        most = max(most, replay._pool.memory_usage)
    return int(most * POOL_SHARE)


def ways() -> Iterator[tuple[str, EvictionPolicy]]:
    """What is compared."""
    yield "density", DensityEviction()
    for k, alpha, beta in SETTINGS:
        yield f"lruk-fee K={k} alpha={alpha} beta={beta}", LruKFeeEviction(k, alpha, beta)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", default=",".join(TRACES))
    parser.add_argument("--hours", type=float, default=48.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--replay", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if options.replay:
        traces = {path.name: read_trace(path) for path in options.replay}
    else:
        traces = {kind: make_trace(kind, options.hours, options.seed) for kind in options.traces.split(",")}
    for name, events in traces.items():
        if options.write is not None:
            options.write.mkdir(parents=True, exist_ok=True)
            write_trace(options.write / f"{name}.trace", events)
            continue
        budget = budget_of(events)
        txs = sum(kind == "tx" for _, kind, _ in events)
        print(f"{name}: {txs:,} transactions, a pool of {budget / 1e6:.1f} MB", flush=True)
        print("| way | hits | by fee | highest minimum | took |\n|---|---|---|---|---|")
        for way, eviction in ways():
            print(f"| {way} | {Replay(events, eviction, budget).run().row()} |", flush=True)


if __name__ == "__main__":
    main()
