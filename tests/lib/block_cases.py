"""How the catalogue of block cases is written down: a function per case, a decorator that says what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from btcnode.errors import Fault
from tests.lib.block_lab import Lab

ACCEPTED = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A block to give to a node on the lab's chain, and what must come of it.

    ``reason`` is Core's reject reason, empty when the block must become the tip (the lab adopts it then).
    ``tip`` False: no verdict is due and the tip stays (a side chain, a repetition).
    """

    raw: bytes
    reason: str = ACCEPTED
    fault: Fault | None = None
    tip: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """A named sequence of steps, built while it runs: each step sees what became of those before."""

    name: str
    build: Callable[[Lab], Iterator[Step]]
    rejects: bool


CASES: dict[str, Case] = {}


def _register(name: str, build: Callable[[Lab], Iterator[Step]], rejects: bool) -> None:
    name = name.strip("_").replace("_", "-")
    if name in CASES:
        raise ValueError(f"two cases are called {name}")
    CASES[name] = Case(name, build, rejects)


def invalid(reason: str, fault: Fault | None = Fault.CONSENSUS) -> Callable[[Callable[[Lab], bytes]], None]:
    """The function builds a block that is refused for ``reason``."""

    def decorate(make: Callable[[Lab], bytes]) -> None:
        def build(lab: Lab) -> Iterator[Step]:
            yield Step(make(lab), reason, fault)

        _register(make.__name__, build, True)

    return decorate


def add_invalid(name: str, reason: str, make: Callable[[Lab], bytes], fault: Fault | None = Fault.CONSENSUS) -> None:
    """Register one of many similar cases."""

    def build(lab: Lab) -> Iterator[Step]:
        yield Step(make(lab), reason, fault)

    _register(name, build, True)


def valid(make: Callable[[Lab], bytes]) -> None:
    """The function builds a block that becomes the tip."""

    def build(lab: Lab) -> Iterator[Step]:
        yield Step(make(lab))

    _register(make.__name__, build, False)


def scenario(build: Callable[[Lab], Iterator[Step]]) -> None:
    """The function yields several steps, refused and accepted ones."""
    _register(build.__name__, build, True)
