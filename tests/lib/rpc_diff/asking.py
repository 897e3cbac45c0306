"""The same asked of all nodes, what differs noted by kind."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from .compare import Answer, Excuses, kinds
from .nodes import Node
from .text import Tree, parse

INTERNAL_ERROR = "-32603"
SAID_BY_CORE = (  # with that code, whatever the cause: where there is a bitcoind it must say the same
    b"Unable to load UTXO snapshot",
    b"Unable to read UTXO set",
    b"Failed to read block at height ",
    b"ProcessNewBlock, block not accepted",
)
SHOWN = 600  # characters of a request or an answer in the report


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask: a seed, random calls of each method, seconds, methods (none: all), set-ups."""

    seed: int = 1
    cases: int = 30
    seconds: float = float("inf")
    methods: tuple[str, ...] = ()
    passes: tuple[str, ...] = ("indexed",)
    systematic: bool = True
    verbose: bool = False
    steps: int = 60  # of a walk
    rounds: int = 2  # of a set-up that starts its own nodes


@dataclass(frozen=True, slots=True)
class Example:
    """A request that shows a kind, and what both answered."""

    request: str
    ours: str
    theirs: str


@dataclass(slots=True)
class Report:
    """The kinds found, by method and name, each with its shortest example and how often it came."""

    kinds: dict[tuple[str, str], Example] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    calls: int = 0

    def add(self, method: str, name: str, example: Example) -> None:
        """Count a difference."""
        key = (method, name)
        self.counts[key] = self.counts.get(key, 0) + 1
        known = self.kinds.get(key)
        if known is None or len(example.request) < len(known.request):
            self.kinds[key] = example

    def text(self) -> str:
        """For people."""
        lines = []
        for method, name in sorted(self.kinds):
            example = self.kinds[method, name]
            lines += [
                f"== {method}: {name} ({self.counts[method, name]} times)",
                f"   {example.request[:SHOWN]}",
                f"   ours:   {example.ours[:SHOWN]}",
                f"   theirs: {example.theirs[:SHOWN]}",
            ]
        return "\n".join([*lines, f"{self.calls} calls, {len(self.kinds)} kinds of difference"])


class Asker:
    """Nodes that are asked the same: ours first, a bitcoind last where there is one."""

    def __init__(self, nodes: Sequence[Node], report: Report) -> None:
        self.nodes = nodes
        self.report = report

    def ask(self, send: Callable[[Node], None]) -> list[Answer | str]:
        """The answers of all nodes; text where a node hung up."""
        answers: list[Answer | str] = []
        for node in self.nodes:
            try:
                send(node)
            except (OSError, http.client.HTTPException) as error:
                answers.append(type(error).__name__)
        if answers:
            return answers
        for node in self.nodes:
            try:
                answers.append(Answer(*node.receive()))
            except (OSError, http.client.HTTPException) as error:
                answers.append(type(error).__name__)
        return answers

    def post(self, body: str) -> list[Answer | str]:
        """The answers to a call."""
        return self.ask(lambda node: node.send("POST", "/", body))

    def compare(
        self, method: str, shown: str, answers: Sequence[Answer | str], *, later: Excuses = MappingProxyType({})
    ) -> bool:
        """Note what differs; whether anything did (``later``: see ``kinds``)."""
        self.report.calls += 1
        mine = answers[0]
        if isinstance(mine, str):
            self.report.add(method, f"no answer: {mine}", Example(shown, mine, str(answers[-1])[:SHOWN]))
            return True
        other = answers[-1]
        if _error_code(mine.body) == INTERNAL_ERROR and not _is_meant(mine, other if len(answers) > 1 else None):
            self.report.add(
                method, "internal error", Example(shown, mine.body.decode(errors="replace"), str(other)[:SHOWN])
            )
            return True
        if len(answers) == 1:
            return False
        if isinstance(other, str):
            self.report.add(method, f"they do not answer: {other}", Example(shown, str(mine), other))
            return True
        found = kinds(method, mine, other, later=later)
        for name, one, two in found:
            self.report.add(method, name, Example(shown, one, two))
        return bool(found)


def _is_meant(mine: Answer, other: Answer | str | None) -> bool:
    """Whether an internal error is the answer: the other node's too (the texts are compared then), or known for it."""
    if other is None:
        return any(text in mine.body for text in SAID_BY_CORE)
    return isinstance(other, Answer) and bool(_error_code(other.body) == INTERNAL_ERROR)


def _error_code(body: bytes) -> Tree:
    if INTERNAL_ERROR.encode() not in body:
        return None
    try:
        error = parse(body).get("error")
    except (ValueError, AttributeError):
        return None
    return error.get("code") if isinstance(error, dict) else None
