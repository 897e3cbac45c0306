"""What all tests share: where the vectors lie, and a state of the process that the test before has not changed."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from btcnode import compiled

# A busy machine is no fault of the tests: how long an example takes to be made or tried is not judged.
hypothesis.settings.register_profile("btcnode", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("btcnode")

# A shell has what it starts in its background ignore interrupts, which is inherited: programs here are interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
DEFAULT_VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def vectors_dir() -> Path:
    """The test data: ``BTCNODE_VECTORS``, by default ``../shared/vectors`` beside the checkout."""
    return Path(os.environ.get("BTCNODE_VECTORS", DEFAULT_VECTORS))


def set_apart() -> None:
    """What is there stays: the garbage collector looks at what comes later only."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Two million objects are made of ten thousand cases and the modules they are in, and all of them stay.

    To look through them takes more than a second: again and again while they are made, later wherever a test collects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        set_apart()


@pytest.fixture(scope="module")
def set_apart_again() -> Iterator[None]:
    """For tests that have the collector look at everything."""
    yield
    set_apart()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers are given the files that take longest first, lest one of them is alone at work in the end.

    Those with slow tests, then those that start processes or simulate networks, then the others; the larger ones first.
    """
    if not hasattr(config, "workerinput"):
        return
    count = Counter(item.path for item in items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    short = {path for path in count if {TESTS / "unit", TESTS / "property"} & set(path.parents)}
    items.sort(key=lambda item: (-slow[item.path], item.path in short, -count[item.path], item.path))


def logging_state() -> dict[str, tuple[int, list[logging.Handler], bool]]:
    """Level, handlers and propagation of each of our loggers."""
    names = ["btcnode", *(name for name in logging.root.manager.loggerDict if name.startswith("btcnode."))]
    loggers = {name: logging.getLogger(name) for name in names}
    return {name: (log.level, list(log.handlers), log.propagate) for name, log in loggers.items()}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Nodes and methods set levels of categories for the whole process: the next test finds what this one found."""
    before = logging_state()
    yield
    for name, (level, handlers, propagate) in logging_state().items():
        log, found = logging.getLogger(name), before.get(name, (logging.NOTSET, [], True))
        if (level, handlers, propagate) != found:
            log.setLevel(found[0])
            log.handlers[:] = found[1]
            log.propagate = found[2]


@pytest.fixture(autouse=True)
def kernels_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node inside a test loads kernels for the whole process: each test begins without them, and without leave."""
    for name, value in (("_kernels", None), ("_allowed", False), ("_may_make", False), ("_remember", None)):
        monkeypatch.setattr(compiled, name, value)


@pytest.fixture(scope="session")
def vectors() -> Path:
    path = vectors_dir()
    if not path.is_dir():
        pytest.skip(f"no test vectors at {path}: set BTCNODE_VECTORS")
    return path
