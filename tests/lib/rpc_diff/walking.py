"""A walk carried out: each step at all nodes, then all that they tell, compared."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from btcnode.wire.codec import Message

from .asking import SHOWN, Example
from .company import Companion, accompany, dismiss
from .compare import LATER, Answer, Excuses, kinds, reindexed, without_places
from .hearing import Hearing
from .nodes import Node
from .setup import wait_for_indexes, wait_for_mempool
from .text import Tree, request, write
from .walk import NETWORK_DIR, Call, Many, Restart, Step, Waiting, Walk, shown

if TYPE_CHECKING:
    from .run import Session

ASKS_PEERS = frozenset({"setmocktime", "mockscheduler", "ping"})  # pings follow, a moment later
PING_S = 0.25
SETTLE_S = 3.0  # how long nodes may take until they are in the same state
LOADED_S = 60.0  # how long a reindex may take
STEPS_SHOWN = 6


class Walking:
    """A walk and the nodes of a session that it changes. ``company``: the peers of each node, if there are any."""

    def __init__(self, session: Session, walk: Walk, company: list[list[Companion]]) -> None:
        self.session = session
        self.nodes = session.nodes
        self.report = session.report
        self.walk = walk
        self.company = company
        self.history: list[str] = []
        self.options = [list(node.options) for node in self.nodes]  # that the session gave
        self.hearing = Hearing(self.nodes, walk.values.good_address()) if walk.is_heard else None
        self._excuses = LATER
        self._loaded = known_blocks(self.nodes[-1])  # blocks that were read from disk at the last start
        self._rebuilt = ""  # the tip after a start with -reindex-chainstate, until there is another one

    def close(self) -> None:
        """Hear no more; the nodes have their own options again."""
        if self.hearing is not None:
            self.hearing.close()
        for node, options in zip(self.nodes, self.options, strict=True):
            node.options = options

    @property
    def _behind(self) -> str:
        return " <- " + " <- ".join(self.history[::-1][:STEPS_SHOWN])

    def go(self, steps: int, deadline: float) -> None:
        """So many steps, or until the nodes part."""
        for _ in range(steps):
            if time.monotonic() > deadline:
                return
            step = self.walk.next()
            self.history.append(shown(step))
            if not self._take(step) or self._is_tie() or self._is_trim_tie():
                return
            if self._parted(self.walk.observed()) or not self._heard_the_same():
                return

    # -- steps ---------------------------------------------------------------------------------------------------

    def _take(self, step: Step) -> bool:
        """Carry out a step; False when the nodes answer differently."""
        match step:
            case Many(steps):
                return all(map(self._take, steps))
            case Waiting(call, then):
                return self._wait(call, then)
            case Restart(options):
                return self._restart(options)
            case (str() as method, params):
                return self._call(method, params)
            case (int() as which, Message() as message):
                return self._tell(which, message)
        raise TypeError(step)

    def _call(self, method: str, params: list[object]) -> bool:
        body = request(method, params)
        answers = self.session.ask(
            lambda node: node.send("POST", "/", body.replace(NETWORK_DIR, str(node.network_dir)))
        )
        if method in ASKS_PEERS and any(self.company):
            time.sleep(PING_S)
        differs = self.session.compare(
            method, f"{method} {write(params)[:SHOWN]}{self._behind}", answers, later=self._excuses
        )
        return not differs and all(isinstance(answer, Answer) for answer in answers)

    def _tell(self, which: int, message: Message) -> bool:
        """Have a companion tell something everywhere; False when only one of the nodes hangs up."""
        stayed = [companions[which].tell(message) for companions in self.company]
        if not any(stayed):
            for node, companions in zip(self.nodes, self.company, strict=True):
                companions[which] = companions[which].again(node)
        if len(set(stayed)) > 1:
            self.report.add("peer", "who hangs up", Example(self._behind, str(stayed[0]), str(stayed[-1])))
        return len(set(stayed)) == 1

    def _wait(self, call: Call, then: Step) -> bool:
        """Ask what is answered when something happens, on a connection of its own; have it happen."""
        method, params = call
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            waiting = [pool.submit(node.call_apart, request(method, params)) for node in self.nodes]
            time.sleep(PING_S)
            early = [call.done() for call in waiting]
            same = self._take(then)
            answers = [_answer(call) for call in waiting]
        if len(set(early)) > 1:
            self.report.add(method, "who waits", Example(self._behind, str(early[0]), str(early[-1])))
            return False
        return not self.session.compare(method, self._behind, answers, later=self._excuses) and same

    def _restart(self, options: Sequence[str]) -> bool:
        """Stop all and start them with other options; without those again where these are refused."""
        for companions in self.company:
            dismiss(companions)
        for node in self.nodes:
            node.stop()
        refusals = [self._start(node, own, options) for node, own in zip(self.nodes, self.options, strict=True)]
        if len(set(refusals)) > 1:
            self.report.add("restart", "refused", Example(self._behind, refusals[0], refusals[-1]))
            return False
        if refusals[0]:
            self.walk.refused(options)
            for node, own in zip(self.nodes, self.options, strict=True):
                self._start(node, own, self.walk.options)
        self._loaded = known_blocks(self.nodes[-1])
        self._rebuilt = ""
        for node in self.nodes:
            try:
                wait_for_mempool(node)
            except OSError as error:  # it has ended after its start
                self.report.add(
                    f"restart of {node.name}", type(error).__name__, Example(self._behind, node.output(), "")
                )
                return False
        self._wait_for_same_tip()
        if "-reindex-chainstate" in options:
            self._rebuilt = self.nodes[-1].result(request("getbestblockhash", []))
        self.company = [accompany(node, self.session.world) if self.walk.has_company else [] for node in self.nodes]
        self.session.company = self.company
        if self.hearing is not None:
            self.hearing.close()
            self.hearing = Hearing(self.nodes, self.walk.values.good_address())
        return True

    def _start(self, node: Node, own: Sequence[str], options: Sequence[str]) -> str:
        """Why a node does not start; empty when it does."""
        node.options = [word for word in own if not word.startswith("-mocktime")]
        node.options += [f"-mocktime={self.walk.now}", *options]
        return without_places(node.refusal())

    def _wait_for_same_tip(self) -> None:
        """A reindex goes on behind the start."""
        deadline = time.monotonic() + LOADED_S
        body = request("getblockcount", [])
        while len({node.result(body) for node in self.nodes}) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)

    def _is_tie(self) -> bool:
        """Whether the nodes have chosen differently among blocks of equal work that were read from disk.

        See docs/differences.md; what they tell from then on means nothing.
        """
        if len(self.nodes) < 2:
            return False
        deadline = time.monotonic() + SETTLE_S
        while True:
            tips = [node.result(request("getchaintips", [])) for node in self.nodes]
            if statuses(tips[0]) == statuses(tips[-1]) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return is_tie(tips[0], tips[-1], self._loaded) or is_judged_anew(tips[0], tips[-1], self._loaded)

    def _is_trim_tie(self) -> bool:
        """Whether the nodes have let go of other transactions that were worth the same.

        A reorganisation has made a cluster too large; see docs/differences.md.
        """
        if len(self.nodes) < 2:
            return False
        pools = [node.result(request("getrawmempool", [True])) for node in self.nodes]
        only = [{txid: pool[txid] for txid in pool.keys() - other.keys()} for pool, other in (pools, pools[::-1])]
        worth = [sorted((tx["weight"], tx["fees"]["base"]) for tx in txs.values()) for txs in only]
        undone = any(word in self.history[-1] for word in ("block", "Block", "generate"))
        return bool(worth[0]) and worth[0] == worth[-1] and undone

    # -- what is told --------------------------------------------------------------------------------------------

    def _parted(self, observed: Iterable[Call]) -> bool:
        """Whether the nodes tell other than each other, also when asked again a little later."""
        for node in self.nodes:
            node.call(request("syncwithvalidationinterfacequeue", []))
            wait_for_indexes(node)
        parted = False
        self._excuses = self._excused_now()
        self._answer_pings()
        deadline = time.monotonic() + SETTLE_S
        for method, params in observed:
            answers = self.session.post(request(method, params))
            while not _agree(method, answers, self._excuses) and time.monotonic() < deadline:
                time.sleep(0.1)
                self._answer_pings()
                answers = self.session.post(request(method, params))
            shown = f"{method} {write(params)[:SHOWN]}{self._behind}"
            parted |= self.session.compare(method, shown, answers, later=self._excuses)
        return parted or self._paths_part()

    def _excused_now(self) -> Excuses:
        """What may differ in the course of a walk, and after a chain that was connected again."""
        info = self.nodes[-1].result(request("getblockchaininfo", []))
        return reindexed(int(info["blocks"])) if info["bestblockhash"] == self._rebuilt else LATER

    def _paths_part(self) -> bool:
        """The same over REST."""
        parted = False
        for path in self.walk.observed_paths():
            answers = self.session.ask(lambda node, path=path: node.send("GET", path))  # type: ignore[misc]
            parted |= self.session.compare("rest", f"{path}{self._behind}", answers, later=self._excuses)
        return parted

    def _answer_pings(self) -> None:
        """Have the companions answer what their nodes have asked a moment after the clock was set."""
        for companion in self._companions():
            companion.tell()

    def _companions(self) -> Iterator[Companion]:
        for companions in self.company:
            yield from companions

    def _heard_the_same(self) -> bool:
        """Whether the nodes have published the same."""
        if self.hearing is None:
            return True
        told = self.hearing.since(SETTLE_S)
        if told[0] == told[-1]:
            return True
        same = next((n for n, (one, two) in enumerate(zip(*told, strict=False)) if one != two), min(map(len, told)))
        self.report.add("zmq", "what is published", Example(self._behind, str(told[0][same:]), str(told[-1][same:])))
        return False


def known_blocks(node: Node) -> set[str]:
    """Hashes of all blocks whose data a node has, on whichever branch."""
    found: set[str] = set()
    for tip in node.result(request("getchaintips", [])):
        name = tip["hash"]
        for _ in range(int(tip["branchlen"]) or int(tip["height"])):
            found.add(name)
            name = node.result(request("getblockheader", [name]))["previousblockhash"]
    return found


def _answer(call: Future[tuple[int, bytes, str]]) -> Answer | str:
    try:
        return Answer(*call.result())
    except OSError as error:
        return type(error).__name__


def _agree(method: str, answers: Sequence[Answer | str], excuses: Excuses) -> bool:
    """Whether nothing differs that counts in the course of a walk."""
    if len(answers) == 1:
        return True
    ours, theirs = answers
    return isinstance(ours, Answer) and isinstance(theirs, Answer) and not kinds(method, ours, theirs, later=excuses)


def statuses(tips: Tree) -> dict[str, tuple[str, str]]:
    """Height and status of each tip of ``getchaintips``, by its hash."""
    return {tip["hash"]: (tip["height"], tip["status"]) for tip in tips}


def is_tie(ours: Tree, theirs: Tree, loaded: Collection[str]) -> bool:
    """Whether two answers of ``getchaintips`` differ by who came first of blocks that are worth the same.

    ``loaded`` are the blocks that were read from disk. Either each node has chosen one of two, and has the other on a
    branch, or under a block that is invalid, so that it is no tip. Or both have the same tip, and only one of them has
    tried the other block before, and found that it breaks a rule.
    """
    rows = statuses(ours), statuses(theirs)
    names = rows[0].keys() | rows[1].keys()
    differing = {name for name in names if rows[0].get(name) != rows[1].get(name)}
    active = {name: height for row in rows for name, (height, status) in row.items() if status == "active"}
    heights = {row[name][0] for row in rows for name in differing if name in row} | set(active.values())
    if len(heights) != 1 or not differing <= set(loaded):
        return False
    sides = {row[name][1] for row in rows for name in differing if name in row}
    if len(active) == 1:
        return sides in ({"invalid", "valid-headers"}, {"invalid", "valid-fork"}) and differing <= names - active.keys()
    return differing == active.keys() and sides - {"active"} <= {"valid-fork", "valid-headers"}


def is_judged_anew(ours: Tree, theirs: Tree, loaded: Collection[str]) -> bool:
    """Whether two answers of ``getchaintips`` differ by verdicts that btcnode has not confirmed before it stopped.

    A block that broke a rule is invalid for the run that has seen it, until a second look has found no damage of ours.
    """
    rows = statuses(ours), statuses(theirs)
    differing = {name for name in rows[0].keys() | rows[1].keys() if rows[0].get(name) != rows[1].get(name)}
    return bool(differing) and all(
        name in loaded
        and name in rows[0]
        and rows[0][name][1] in ("valid-headers", "valid-fork")
        and rows[1].get(name) == (rows[0][name][0], "invalid")
        for name in differing
    )
