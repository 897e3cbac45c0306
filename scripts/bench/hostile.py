"""Attackers by the dozen: does the node answer meanwhile, and how much memory does it take?

    python scripts/bench/hostile.py [--bitcoind PATH] [--peers 20 50 110] [--near 0.3] [--kinds WORD ...] [--list]
    python scripts/bench/hostile.py --part 1/3 --json one.jsonl       # a third of the kinds; a line for each run
    python scripts/bench/hostile.py --join one.jsonl two.jsonl ...    # nothing is run: one table of all of them

One process holds all hostile connections of a kind (real TCP; what they send is made before). Meanwhile another one
asks getblockcount over a lasting and over new connections, ``/health``, pings as an honest peer, and brings blocks as
another: announced by headers, with the time until getblockcount shows the new height. Printed are the worst of each
and, for calls, the 99th percentile; the peak of resident memory; how many attackers were thrown out, and why. Each
kind begins with a fresh node; with ``--bitcoind`` the same is done to it, where it knows the messages.

``--near SHARE`` tries each kind with the most peers first, and with fewer only where that came to such a share of the
aim (0.25 s for getblockcount, 1 s for a ping), or where the kind is known to do more harm with few (``Kind.few``).

The table comes last, in Markdown, and the runs beyond the aim. Exit status 1 when there are any, among them those that
could not be done: a kind that fails is told and does not end the others.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.hostile.attacker import Tally
from tests.lib.hostile.catalogue import KINDS
from tests.lib.hostile.kinds import Kind
from tests.lib.hostile.observer import Seen
from tests.lib.hostile.report import CALL_LIMIT, OURS, PING_LIMIT, add_to, beyond, line, nearness, read_runs, table
from tests.lib.hostile.siege import Result, attack
from tests.lib.hostile.sites import Node, Stable
from tests.lib.hostile.world import World, make_world

HONEST = 24  # blocks that the observer may bring to one node


def spare_coins(peers: list[int]) -> int:
    """How many a kind may take for all numbers of peers: at most 2,500 for each and 200 for each connection."""
    return 2_500 * len(peers) + 200 * sum(peers)


class Ground:
    """One node as long as it recovers; then, and at the first time, a fresh one."""

    def __init__(self, stable: Stable, kind: Kind, world: World, seconds: float) -> None:
        self.stable, self.kind, self.world, self.seconds = stable, kind, world, seconds
        self._stack = contextlib.ExitStack()
        self._node: Node | None = None

    def run(self, count: int) -> Result:
        """One attack; what goes wrong with it is told by the result."""
        try:
            node = self._ready()
            source = self.kind.prepare(self.world, count)
            result = attack(node, self.kind, source, count, self.seconds, self.world)
            result.survived = node.settle()
            if not result.survived or node.height >= len(self.world.blocks) + len(self.world.honest) - 2:
                self.close()
        except Exception as error:  # whatever it is: the other kinds are still wanted
            traceback.print_exc()
            self.close()
            name = OURS if self.stable.daemon is None else "Bitcoind"
            return Result(
                name, self.kind.name, count, Seen(), Tally(), 0, Counter(), survived=False, broken=_told(error)
            )
        return result

    def _ready(self) -> Node:
        if self._node is None:
            self._node = self._stack.enter_context(self.stable.node(pool=self.kind.pool))
            if not self._node.settle():
                raise TimeoutError("it does not come to rest before the attack")
        return self._node

    def close(self) -> None:
        """End the node."""
        self._node = None
        self._stack.close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def run_kind(stables: list[Stable], kind: Kind, options: argparse.Namespace, world: World) -> Iterator[Result]:
    """All numbers of peers that are wanted, on one node of each sort after the other."""
    coins, sizes = world.coins, sorted(set(options.peers))
    if kind.fixed:
        sizes = [kind.fixed]
    elif options.near is not None:
        sizes.reverse()
    wanted: list[int] = []
    for stable in stables:
        world.coins = coins.copy()  # each node has them all
        ours = stable.daemon is None
        if not ours and not kind.both:
            continue
        with contextlib.closing(Ground(stable, kind, world, options.seconds)) as ground:
            for count in sizes if ours else wanted.copy():
                result = ground.run(count)
                yield result
                if ours:
                    wanted.append(count)
                    if options.near is not None and not kind.few and nearness(result) < options.near:
                        break
    world.coins = coins


def chosen(options: argparse.Namespace) -> list[Kind]:
    """The kinds whose name has one of the words, all without words; of these the part that is asked for."""
    kinds = [kind for kind in KINDS if not options.kinds or any(word in kind.name for word in options.kinds)]
    number, parts = options.part
    return kinds[number - 1 :: parts]


def part_of(text: str) -> tuple[int, int]:
    """``2/3`` as numbers."""
    number, parts = map(int, text.split("/"))
    if not 1 <= number <= parts:
        raise ValueError(text)
    return number, parts


def conclusion(results: list[Result]) -> int:
    """Print the table and what is beyond the aim; returns the exit status."""
    places = {kind.name: number for number, kind in enumerate(KINDS)}
    results = sorted(results, key=lambda result: (places.get(result.kind, len(places)), result.peers))
    missed = beyond(results)
    print(f"\n{table(results)}\n")
    print("\n".join(missed))
    runs = sum(result.node == OURS for result in results)
    print(f"{len(missed)} of {runs} runs are beyond {CALL_LIMIT} s for a call or {PING_LIMIT} s for a ping")
    return 1 if missed else 0


def besiege_all(options: argparse.Namespace, kinds: list[Kind]) -> list[Result]:
    """Run them, each result being printed and written at once."""
    begun = time.monotonic()
    world = make_world(options.pool, HONEST, spare_coins(options.peers))
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as directory:
        stables = [Stable(Path(directory), world, None, tuple(options.option))]
        if options.bitcoind is not None:
            stables.append(Stable(Path(directory), world, options.bitcoind))
        for stable in stables:
            stable.prepare()
        print(f"prepared in {time.monotonic() - begun:.0f} s; worst/99th percentile in seconds, !failures", flush=True)
        for kind in kinds:
            for result in run_kind(stables, kind, options, world):
                results.append(result)
                print(f"{time.monotonic() - begun:6.0f} {line(result)}", flush=True)
                if options.json is not None:
                    add_to(options.json, result)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitcoind", type=Path)
    parser.add_argument("--peers", type=int, nargs="+", default=[20, 50, 110])
    parser.add_argument("--near", type=float, metavar="SHARE", help="fewer peers only where most came so near the aim")
    parser.add_argument("--kinds", nargs="+", default=[], help="words of names, see --list")
    parser.add_argument("--part", type=part_of, default=(1, 1), metavar="K/N", help="every N-th kind from the K-th on")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pool", type=int, default=6_000, help="transactions in the mempool")
    parser.add_argument("--option", action="append", default=[], help="for this node, as --option=--debug=net")
    parser.add_argument("--json", type=Path, help="append each run there, as a line")
    parser.add_argument("--join", type=Path, nargs="+", help="no runs: the table of what such files have")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.join:
        return conclusion(read_runs(options.join))
    kinds = chosen(options)
    if options.list or not kinds:
        print("\n".join(kind.name for kind in KINDS))
        return 0
    return conclusion(besiege_all(options, kinds))


if __name__ == "__main__":
    raise SystemExit(main())
