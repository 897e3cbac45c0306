"""Both nodes: the same call to each, and whether they say the same."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.lib.rpc_diff.compare import LATER, Answer, differing, form, kinds, without_places
from tests.lib.rpc_diff.nodes import Node, ours, theirs
from tests.lib.rpc_diff.setup import wait_for_mempool
from tests.lib.rpc_diff.text import Tree, parse, request, write
from tests.lib.rpc_diff.walking import is_judged_anew, is_tie, known_blocks, statuses

_PARTICULARS = re.compile(r"[0-9a-f]{16,}|[0-9]+(\\.[0-9]+)?")
SCRIPT_FAILED = "block-script-verify-flag-failed"
STEPS_SHOWN = 8
SHOWN = 400  # characters of a step, or of an answer
ANSWER_SHOWN = 120
SETTLE_S = 5.0  # how long nodes may take until they are in the same state
INSUFFICIENT_FUNDS = "-6"
OWN_PLACE = "@directory"  # in a call: each node's own
SETTLED_OPTIONS = ("-maxtipage=999999999", "-persistmempool=1")
BY_COINS = (".decoded.vin", ".decoded.vout", ".depends")  # has witnesses, change and parents as coins were chosen


class Difference(Exception):
    """The nodes have parted: what was asked, both answers, and the steps before."""


class Tie(Exception):
    """The nodes have chosen otherwise among what is worth the same, as docs/differences.md tells: nothing follows."""


class Pair:
    """Both nodes with the same options and the same mocked clock; use it as a context manager."""

    def __init__(self, bitcoind: str, directory: Path, now: int, options: Sequence[str] = ()) -> None:
        self.now = now
        self.options = list(options)
        commands = (("ours", ours()), ("core", theirs(bitcoind)))
        self.nodes = [Node(name, command, directory / name, ()) for name, command in commands]
        self.words = [{OWN_PLACE: str(node.directory)} for node in self.nodes]  # in calls, and what each is told for it
        self.history: list[str] = []
        self.calls = 0
        self.outcomes: Counter[str] = Counter()  # how often what came of a call
        self._loaded: set[str] = set()  # blocks that were read from disk at the last start

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> str:
        """Start both; why neither runs, else empty. Raises Difference when only one refuses."""
        for node in self.nodes:
            node.options = [f"-mocktime={self.now}", *SETTLED_OPTIONS, *self.options]
        refusals = [without_places(node.refusal()) for node in self.nodes]
        if bool(refusals[0]) != bool(refusals[1]) or refusals[0] != refusals[1]:
            raise Difference(self.told("start", *refusals))
        if not refusals[0]:
            for node in self.nodes:
                wait_for_mempool(node)
            self._loaded = known_blocks(self.nodes[1])
        return refusals[0]

    def restart(self, *once: str) -> str:
        """Stop both and start them again, with options for this start alone; as ``start``."""
        self.note(f"restart {' '.join((*self.options, *once))}")
        for node in self.nodes:
            node.stop()
        kept = self.options
        self.options = [*kept, *once]
        refused = self.start()
        self.options = kept
        return refused

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.stop)

    # -- calls ---------------------------------------------------------------------------------------------------

    def note(self, step: str) -> None:
        """Remember a step, for who reads of a difference."""
        self.history.append(step[:SHOWN])

    def told(self, what: str, one: object, two: object) -> str:
        """The text of a difference."""
        before = "".join(f"\n    <- {step}" for step in self.history[::-1][:STEPS_SHOWN])
        return f"{what[:SHOWN]}\n  ours:   {one}\n  theirs: {two}{before}"

    def _ask(self, method: str, params: Sequence[Any], path: str) -> list[Answer]:
        body = request(method, list(params))
        for node, words in zip(self.nodes, self.words, strict=True):
            said = body
            for word, meant in words.items():
                said = said.replace(word, meant)
            node.send("POST", path, said)
        self.calls += 1
        return [Answer(*node.receive()) for node in self.nodes]

    def _differs(self, method: str, params: Sequence[Any], path: str) -> tuple[Tree, str]:
        answers = self._ask(method, params, path)
        found = [] if _both_scripts(answers) else kinds(method, *answers, later=LATER)
        what = f"{path[1:]} {method} {write(list(params))}".lstrip()
        text = "".join(self.told(f"{what}: {name}", one[:6000], two[:6000]) for name, one, two in found)
        answer = parse(answers[1].body)
        return answer["result"] if answer["error"] is None else answer["error"], text

    def both(self, method: str, *params: Any, path: str = "/") -> Tree:
        """Carry out a call at both; what they answer, an error's object for an error. Raises Difference.

        ``path``: where it is sent, for methods of wallets.
        """
        self.note(f"{path[1:]} {method} {write(list(params))}".lstrip())
        answer, text = self._differs(method, params, path)
        if text:
            raise Difference(text)
        self.outcomes[f"{method}: {_outcome(answer)}"] += 1
        self.history[-1] += f" = {write(answer)[:ANSWER_SHOWN]}"
        return answer

    def alike(self, method: str, *params: Any, path: str = "/") -> list[Tree]:
        """Carry out a call at both whose answers need have the same form only; what each answers. Raises Difference.

        One may lack coins where the other has some: which ones were spent before was random.
        """
        self.note(f"{path[1:]} {method} {write(list(params))}".lstrip())
        answers = self._ask(method, params, path)
        one, two = (parse(answer.body) for answer in answers)
        short = any((answer["error"] or {}).get("code") == INSUFFICIENT_FUNDS for answer in (one, two))
        for way, mine, its in () if short else differing(form(one), form(two)):
            if any(part in way for part in BY_COINS):
                continue
            raise Difference(self.told(f"{self.history[-1]}: {way}: {mine} | {its}", one, two))
        self.outcomes[f"{method}: {_outcome(two['result'] or two['error'])}"] += 1
        return [one["result"], two["result"]]

    def same(self, method: str, *params: Any, path: str = "/") -> Tree:
        """Look at both, again for a while where they differ; what they answer. Raises Difference."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            answer, text = self._differs(method, params, path)
            if not text:
                return answer
            if time.monotonic() > deadline:
                raise Difference(text)
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until both have the same tips. Raises Tie where they have parted by a choice that means nothing."""
        deadline = time.monotonic() + SETTLE_S
        body = request("getchaintips", [])
        while True:
            tips = [node.result(body) for node in self.nodes]
            if statuses(tips[0]) == statuses(tips[1]):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if is_tie(tips[0], tips[1], self._loaded) or is_judged_anew(tips[0], tips[1], self._loaded):
            raise Tie
        self.same("getchaintips")

    def theirs(self, method: str, *params: Any) -> Tree:
        """What bitcoind alone answers; raises RuntimeError."""
        return self.nodes[1].result(request(method, list(params)))

    def sets(self, now: int) -> None:
        """Set both clocks."""
        self.now = now
        self.both("setmocktime", now)


def _both_scripts(answers: Sequence[Answer]) -> bool:
    """Whether both refuse a block for a script: which of several, bitcoind's threads decide."""
    results = [parse(answer.body)["result"] for answer in answers]
    return all(isinstance(result, str) and result.startswith(SCRIPT_FAILED) for result in results)


def _outcome(answer: Tree) -> str:
    """What came of a call, without numbers and hashes."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        answer = answer[0]
    if isinstance(answer, dict):
        answer = next((answer[name] for name in ("message", "package_msg", "reject-reason") if name in answer), "done")
    return _PARTICULARS.sub("N", str(answer))[:80]
