#!/usr/bin/env python3
"""What changes when the weights of peers' scores follow outcomes: a node downloads a chain, again and again.

    python scripts/bench/peer_learning.py                   # all worlds and ways, 20 seeds each: about 5 minutes
    python scripts/bench/peer_learning.py --seeds 3 --worlds gamed --ways fixed,kept

The node is a whole protocol on a virtual clock and network: it chooses its connections out of 60 addresses and fetches
600 blocks, of which a good peer brings one in 1.2 to 16 seconds, so that a run takes some minutes. Equal seeds are
equal runs on every machine.

Worlds: ``honest``: fast, slow and far peers, a fifth of which leaves and comes back. ``mixed``: a quarter of the
addresses stalls, says notfound or changes blocks. ``gamed``: a quarter brings more than others for one to five minutes
of each connection, and nothing after that.

Ways: ``fixed`` weights; ``learnt``, from the defaults on; ``kept``: a run that goes on with the weights that two runs
before it have learnt, with other peers; ``driven``: the worse for this run of two corners of the bounds, where service
counts for nearly all or for nearly nothing: as far as anybody could drive the weights.

It prints seconds until the chain is there, blocks that were asked for in vain, the share of requests that bad peers
got, and how many peers were disconnected: medians, and the 90th percentile of the seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.conduct import Features
from btcnode.protocol.connections.peer_score import BOUNDS, WEIGHTS, Learner
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START, SimNode, Simulator, sim_address
from btcnode.wire.messages import AddrEntry
from tests.lib.block_givers import Denying, Good, Lying, Paced, Stalling, Turning

BLOCKS = 600
ADDRESSES = 60
BAD_SHARE = 0.25
PACES = (1.2, 2.0, 4.0, 4.0, 8.0, 16.0)  # seconds for a block
DELAYS = (0.0, 0.0, 0.2, 0.8)
LIMIT = 7200.0  # seconds after which a run is given up
CORNERS = tuple(
    tuple(bounds[high] for bounds, high in zip(BOUNDS, ends, strict=True)) for ends in ((1, 0, 1), (0, 1, 0))
)
WORLDS = ("honest", "mixed", "gamed")
WAYS = ("fixed", "learnt", "kept", "driven")


class Driven(Learner):
    """Weights that somebody has driven somewhere."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        super().__init__()
        self._driven = weights

    @property
    def weights(self) -> tuple[float, ...]:
        return self._driven

    def learn(self, features: Features, good: bool) -> None:
        """They stay."""


@dataclass(frozen=True)
class Run:
    """Seconds, blocks asked for in vain, share of requests that went to bad peers, disconnections."""

    seconds: float
    in_vain: int
    to_bad: float
    dropped: int


def giver(sim: Simulator, rng: Random, world: str, number: int, chain: list[bytes], genesis: bytes) -> Good:
    """The peer at an address."""
    if world != "honest" and rng.random() < BAD_SHARE:
        if world == "mixed":
            return rng.choice((Stalling, Denying, Lying))(sim, number, chain, genesis)
        turning = Turning(sim, number, chain, genesis)
        turning.pace, turning.honest = PACES[0], rng.uniform(60, 300)
        return turning
    good = Paced(sim, number, chain, genesis)
    good.pace, good.delay = rng.choice(PACES), rng.choice(DELAYS)
    good.patience = 100 if rng.random() < 0.2 else 0
    return good


def download(params: NetworkParams, chain: list[bytes], world: str, seed: int, learner: Learner | None) -> Run:
    """One run; ``learner`` None: with fixed weights."""
    sim, rng = Simulator(seed), Random(f"{world} {seed}")
    givers = [giver(sim, rng, world, i, chain, params.genesis_hash) for i in range(ADDRESSES)]
    config = ProtocolConfig(dns_seed=False, peer_score_learning=learner is not None)
    node = SimNode(sim, sim_address(200), params, config=config, tick=1.0)
    if learner is not None:
        node.protocol._scores.learner = learner
    for peer in givers:
        node.protocol.address_book.add([AddrEntry(int(sim.unix), 9, peer.address)], peer.address, int(sim.unix))
    sim.run(LIMIT, lambda: node.height == len(chain))
    asked = sum(len(peer.asked) for peer in givers)
    bad = sum(len(peer.asked) for peer in givers if type(peer) is not Paced)
    return Run(sim.now, asked - node.height, bad / max(1, asked), len(node.disconnects))


def go(params: NetworkParams, chain: list[bytes], world: str, way: str, seed: int) -> tuple[Run, tuple[float, ...]]:
    """What comes of a way, and the weights at its end."""
    if way == "driven":
        corners = [Driven(corner) for corner in CORNERS]
        runs = [(download(params, chain, world, seed, corner), corner.weights) for corner in corners]
        return max(runs, key=lambda one: one[0].seconds)
    if way == "fixed":
        return download(params, chain, world, seed, None), WEIGHTS
    learner = Learner()
    for before in range(2 if way == "kept" else 0):
        download(params, chain, world, 1000 * (before + 1) + seed, learner)
    return download(params, chain, world, seed, learner), learner.weights


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--ways", default=",".join(WAYS))
    args = parser.parse_args()
    params = params_for("regtest")
    chain = mine_chain(params, BLOCKS, UNIX_START - 120)
    print("| world | weights | seconds | 90 % | in vain | to bad peers | dropped | weights at the end |")
    print("|---|---|---|---|---|---|---|---|")
    for world in args.worlds.split(","):
        for way in args.ways.split(","):
            runs, weights = zip(*(go(params, chain, world, way, seed) for seed in range(args.seeds)), strict=True)
            seconds = sorted(run.seconds for run in runs)
            last = " ".join(f"{statistics.median(w):.2f}" for w in zip(*weights, strict=True))
            print(
                f"| {world} | {way} | {statistics.median(seconds):.0f} | {seconds[len(seconds) * 9 // 10]:.0f} |"
                f" {statistics.median(run.in_vain for run in runs):.0f} |"
                f" {100 * statistics.median(run.to_bad for run in runs):.1f} % |"
                f" {statistics.median(run.dropped for run in runs):.0f} | {last} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
