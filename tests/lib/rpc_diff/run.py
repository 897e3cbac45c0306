"""The run: nodes in every set-up, all calls, the report."""

from __future__ import annotations

import http.client
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

from . import (
    access,
    batches,
    branches,
    command_line,
    connections,
    endpoints,
    expressions,
    forms,
    mixtures,
    names,
    networks,
    option_sets,
    psbt_fields,
    replies,
    rest,
    script_cases,
    signing_cases,
    spellings,
    wallets,
)
from .asking import SHOWN, Asker, Example, Plan, Report
from .assumed import AssumedWorld, write_set
from .cases import Case, Cases, every_method
from .chain_walk import ChainWalk
from .company import Companion, accompany, dismiss
from .compare import Answer, is_below_data, is_overflow
from .fee_walk import FeeWalk
from .mine_walk import MineWalk
from .net_walk import NetWalk
from .nodes import INDEXES, Node, ours, theirs
from .pool_walk import PoolWalk
from .setup import prepare, state, wait_for_mempool
from .text import parse, request, write
from .values import Values, Vectors
from .walk import Walk
from .walking import Walking
from .world import World, wif

TIGHT = (  # a mempool that refuses more, and tells what is deprecated
    "-limitclustercount=7",
    "-limitclustersize=5",
    "-minrelaytxfee=0.000005",
    "-incrementalrelayfee=0.000007",
    "-dustrelayfee=0.00001",
    "-datacarriersize=60",
    "-blockmaxweight=20000",
    "-blockmintxfee=0.00001",
    "-blockreservedweight=3000",
    "-deprecatedrpc=bip125",
    "-deprecatedrpc=fullrbf",
    "-deprecatedrpc=warnings",
)
PASSES: dict[str, tuple[str, ...]] = {
    "indexed": INDEXES,
    "bare": (),
    "pruned": ("-prune=1",),
    "emptied": ("-prune=1", "-fastprune", "-coinstatsindex", "-blockfilterindex"),
    "behind": (),
    "assumed": (),
    "tight": TIGHT,
}
# What is asked of all methods together, by what it is about: requests, or the bodies of requests.
SUBJECTS: dict[str, Callable[[Values, int], Iterator[Case] | Iterator[str] | Iterator[Case | str]]] = {
    "batches": batches.bodies,
    "spellings": spellings.cases,
    "mixtures": mixtures.cases,
    "forms": forms.cases,
    "branches": branches.cases,
    "names": names.cases,
    "psbt-fields": psbt_fields.cases,
    "expressions": expressions.cases,
    "scripts": script_cases.cases,
    "signing": signing_cases.cases,
}
# Requests with any verb to any path: verb, path, body.
ADDRESSED: dict[str, Callable[[Values, int], Iterator[tuple[str, str, str | None]]]] = {
    "rest": rest.paths,
    "endpoints": endpoints.paths,
}
WALKS: dict[str, type[Walk]] = {
    "walk": Walk,
    "walk-pool": PoolWalk,
    "walk-net": NetWalk,
    "walk-mine": MineWalk,
    "walk-fees": FeeWalk,
    "walk-chain": ChainWalk,
}
# Set-ups of their own: new nodes, started with what the set-up wants.
ALONE: dict[str, Callable[[Callable[[], list[Node]], Report, Plan, Random], None]] = {
    "access": access.run,
    "command-line": command_line.run,
    "connections": connections.run,
    "networks": networks.run,
    "options": option_sets.run,
    "replies": replies.run,
    "wallets": wallets.run,
}
EVERY_PASS = (*PASSES, *ALONE)
EMPTIED_HEIGHT = 600  # so that files of blocks are deep enough to be deleted
LATE_S = {"behind": 3 * 24 * 60 * 60}  # how much the clock is ahead of the chain: far behind is initial block download
UNSEEN = frozenset(
    {"setmocktime", "mockscheduler", "setnetworkactive", "addpeeraddress", "pruneblockchain"}
)  # no state tells
SLOW_S = 3.0
SETTLE_S = 3.0  # how long both may take until they are in the same state
GOING_S = 0.2  # a bitcoind's peer that was disconnected is there until its next round
VECTORS = Path(os.environ.get("BTCNODE_VECTORS", Path(__file__).resolve().parents[4] / "shared" / "vectors"))


class Session(Asker):
    """One set-up: the nodes over the world, asked and compared."""

    def __init__(self, plan: Plan, nodes: Sequence[Node], world: World, report: Report, deadline: float) -> None:
        super().__init__(nodes, report)
        self.plan = plan
        self.world = world
        self.deadline = deadline
        self.company: list[list[Companion]] = [accompany(node, world) for node in nodes]
        self.baseline = state(nodes[0])

    # -- one call ------------------------------------------------------------------------------------------------

    def call(self, case: Case) -> None:
        """Make a call everywhere."""
        body, started = case.body, time.monotonic()
        answers = self.post(body)
        shown = f"{case.method} {write(case.params)}"
        if self.plan.verbose and time.monotonic() - started > SLOW_S:
            print(f"{time.monotonic() - started:.1f} s: {shown[:SHOWN]}", flush=True)
        if is_below_data(case.method, answers[0]):
            self.report.calls += 1
            self.revive()
            return
        differed = self.compare(case.method, shown, answers)
        worked = any(isinstance(answer, Answer) and answer.status == http.client.OK for answer in answers)
        if any(isinstance(answer, str) for answer in answers) or (case.method == "stop" and (worked or differed)):
            self.revive()
        elif case.changes and (differed or worked):
            self.compare_states(case, shown)

    def compare_states(self, case: Case, shown: str) -> None:
        """After a call that may have changed something: the same everywhere, then back to where it was."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            states = [state(node) for node in self.nodes]
            if states[0] == states[-1] or time.monotonic() > deadline:
                break
            time.sleep(0.1)  # peers go and connections come a moment later
        for one, two in zip(states[0], states[-1], strict=True):
            if one != two and not is_overflow(case.params, one, two):
                self.report.add(case.method, "state after it", Example(shown, str(one), str(two)))
        if case.method in UNSEEN or any(found != self.baseline for found in states):
            self.revive()

    def revive(self) -> None:
        """All nodes as they were, and their peers."""
        self.close()
        for node in self.nodes:
            node.restore()
        for node in self.nodes:
            wait_for_mempool(node)
        self.company = [accompany(node, self.world) for node in self.nodes]

    def close(self) -> None:
        """The peers hang up."""
        for companions in self.company:
            dismiss(companions)

    # -- all calls -----------------------------------------------------------------------------------------------

    def run(self, pass_name: str) -> None:
        """Every method of the plan."""
        for method in self.plan.methods or [*every_method(), *SUBJECTS, *ADDRESSED, *WALKS]:
            if time.monotonic() > self.deadline:
                return
            started, calls = time.monotonic(), self.report.calls
            rng = Random(f"{self.plan.seed} {pass_name} {method}")
            values = Values(self.world, rng, Vectors(VECTORS))
            self._learn(values)
            if method in ADDRESSED:
                self.addressed(method, ADDRESSED[method](values, self.plan.cases))
            elif method in WALKS:
                self.walk(WALKS[method], values, pass_name)
            elif method in SUBJECTS:
                self.subject(method, SUBJECTS[method](values, self.plan.cases))
            else:
                for case in Cases(values).of(method, self.plan.cases, systematic=self.plan.systematic):
                    if time.monotonic() > self.deadline:
                        return
                    self.call(case)
            if self.plan.verbose:
                print(
                    f"{pass_name} {method}: {self.report.calls - calls} calls in {time.monotonic() - started:.1f} s",
                    flush=True,
                )
        return

    def subject(self, name: str, items: Iterable[Case | str]) -> None:
        """Requests that are about one thing; what they change adds up, and the nodes are compared after the last."""
        for item in items:
            if time.monotonic() > self.deadline:
                break
            if isinstance(item, Case):
                self.call(item)
                if item.method == "disconnectnode":
                    time.sleep(GOING_S)
                continue
            answers = self.post(item)
            self.compare(name, item, answers)
            if any(isinstance(answer, str) for answer in answers):
                self.revive()
        self.compare_states(Case(name, []), name)

    def walk(self, kind: type[Walk], values: Values, pass_name: str) -> None:
        """Change both nodes step by step, and compare all they tell after each; ends where they part."""
        for node in self.nodes:
            node.publishes = True
        self.revive()
        walk = kind(values, self.nodes, self.world.now + LATE_S.get(pass_name, 0))
        company = self.company if walk.has_company else [[] for _ in self.nodes]
        if not walk.has_company:
            self.close()
        with closing(Walking(self, walk, company)) as walking:
            walking.go(self.plan.steps, self.deadline)
        for node in self.nodes:
            node.publishes = False
        self.revive()

    def addressed(self, name: str, items: Iterable[tuple[str, str, str | None]]) -> None:
        """Requests that are about where they are sent, and with which verb."""
        for verb, path, body in items:
            if time.monotonic() > self.deadline:
                return
            answers = self.ask(lambda node, verb=verb, path=path, body=body: node.send(verb, path, body))  # type: ignore[misc]
            self.compare(name, f"{verb} {path} {body or ''}".rstrip(), answers)
            if any(isinstance(answer, str) or answer.status != http.client.OK for answer in answers):
                for node in self.nodes:
                    node.hang_up()  # some refusals end the connection and do not say so

    def _learn(self, values: Values) -> None:
        """Psbts, proofs and signatures that only a node can make, from the first node; none of it is random."""
        node = self.nodes[0]
        for tx in (values.signable() for _ in range(6)):
            for text in _psbts(node, tx.raw.hex()):
                values.psbts.append(text)
        for tx in values.world.txs[100:130:7]:
            answer = parse(node.call(request("gettxoutproof", [[tx.txid[::-1].hex()], None]))[1])
            if isinstance(answer["result"], str):
                values.proofs.append(answer["result"])
        for seed in range(3):
            message = f"message {seed}"
            signature = node.result(request("signmessagewithprivkey", [wif(seed), message]))
            address = node.result(
                request(
                    "deriveaddresses", [node.result(request("getdescriptorinfo", [f"pkh({wif(seed)})"]))["descriptor"]]
                )
            )
            values.signatures.append((address[0], signature, message))


def _psbts(node: Node, tx_hex: str) -> Iterator[str]:
    """A transaction as psbt: new, with its coins, with signatures."""
    new = node.result(request("converttopsbt", [tx_hex]))
    yield new
    yield node.result(request("utxoupdatepsbt", [new]))
    yield node.result(request("descriptorprocesspsbt", [new, [f"wpkh({wif(n)})" for n in range(6)]]))["psbt"]
    yield node.result(request("descriptorprocesspsbt", [new, [f"tr({wif(n)})" for n in range(6)], "ALL", True, False]))[
        "psbt"
    ]


def new_nodes(commands: dict[str, list[str]], directory: Path, *options: str) -> list[Node]:
    """Nodes that have not been started, with directories of their own."""
    return [Node(name, command, directory / name, options) for name, command in commands.items()]


def run(plan: Plan, directory: Path, bitcoind: str | None, report: Report) -> None:
    """Carry the plan out in every set-up, findings into ``report``; raises RuntimeError when a node does not start."""
    deadline = time.monotonic() + plan.seconds
    commands = {"ours": ours(), **({"core": theirs(bitcoind)} if bitcoind else {})}
    for pass_name in plan.passes:
        if pass_name in ALONE:
            places = (directory / f"{pass_name}{n}" for n in itertools.count())
            make = partial(lambda places: new_nodes(commands, next(places)), places)
            ALONE[pass_name](make, report, plan, Random(f"{plan.seed} {pass_name}"))
            continue
        world, utxo_set = World(plan.seed), None
        if pass_name == "assumed":
            world, utxo_set = AssumedWorld(plan.seed), directory / "utxo.dat"
            write_set(Node("maker", ours(), directory / "maker", ()), world, utxo_set)
        if pass_name == "emptied":
            world = World(plan.seed, EMPTIED_HEIGHT)
        now = world.now + LATE_S.get(pass_name, 0)
        options = (*PASSES[pass_name], f"-mocktime={now}")
        nodes = new_nodes(commands, directory / pass_name, *options)
        try:
            for node in nodes:
                prepare(node, world, utxo_set, without_old_blocks=pass_name == "emptied")
            with closing(Session(plan, nodes, world, report, deadline)) as session:
                session.run(pass_name)
        finally:
            for node in nodes:
                node.stop()
