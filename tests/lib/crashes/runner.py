"""Runs situations in processes of their own, ends them where it is wanted, and compares what comes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btcnode.errors import BtcnodeError, RebuildError
from tests.lib.crashes.points import Points, end_of_process
from tests.lib.crashes.situations import Act, Facts, Situation, facts_of, node_of
from tests.lib.crashes.world import World

FULL = ("no room", "No space left", "isk space")  # what a node says of a full disk
FAULT = 70  # exit status: an error that is no answer to a user
REFUSED = 71  # exit status: an error with a line for the user


@dataclass(frozen=True)
class Ended:
    """How a process has ended: its exit status (negative: the signal), and what it has said."""

    status: int
    said: Any


def in_child(work: Callable[[], Any]) -> Ended:
    """Run ``work`` in a child process; what it returns has to be JSON."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        status, said = 0, None
        try:
            said = work()
        except BtcnodeError as error:
            status, said = REFUSED, str(error)
        except BaseException:
            status, said = FAULT, traceback.format_exc()
        os.write(writing, json.dumps(said, default=str).encode())
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, raw = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(raw), json.loads(data) if data else None)


async def _life(directory: Path, world: World, options: dict[str, Any], act: Act) -> None:
    async with node_of(directory, options) as node:
        await act(node, world)


class Course:
    """One situation: its first state is prepared once, each attempt works on a copy."""

    def __init__(self, situation: Situation, world: World, directory: Path) -> None:
        self.situation = situation
        self._world = world
        self._first = directory / f"{situation.name}-first"
        self._work = directory / f"{situation.name}-work"
        self._first.mkdir()
        done = in_child(lambda: self._live(self._first, situation.prepare, situation.options))
        if done.status:
            raise AssertionError(f"{situation.name} cannot be prepared: {done.said}")
        situation.spoil(self._first)
        self.moments = self._count()
        self.seconds = 0.0
        self.expected = self._undisturbed()

    # -- attempts ------------------------------------------------------------------------------------------------

    def _begin(self, base: Path | None = None) -> Path:
        work = base or self._work
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._first, work)
        return work

    def _live(self, work: Path, act: Act, options: Mapping[str, Any]) -> None:
        self.situation.tune()
        asyncio.run(_life(work, self._world, dict(options), act))

    def _act(self, work: Path) -> None:
        self._live(work, self.situation.act, {**self.situation.options, **self.situation.more})

    def _go_on(self, work: Path) -> None:
        """As somebody would start the node again; raises BtcnodeError."""
        situation = self.situation
        repair = {**situation.options, **situation.more}
        if situation.stays:
            self._live(work, situation.finish, repair)
            return
        try:
            self._live(work, situation.finish, situation.options)
        except RebuildError:
            if not situation.repairs:
                raise
            self._live(work, situation.finish, repair)

    def _count(self) -> list[str]:
        """What is done to the disk, in order, in an undisturbed run."""
        work, found = self._begin(), list[str]()

        def run() -> list[str]:
            Points(found.append).install()
            self._act(work)
            return found

        done = in_child(run)
        if done.status:
            raise AssertionError(f"{self.situation.name} fails undisturbed: {done.said}")
        return list(done.said)

    def _undisturbed(self) -> Facts:
        work, begun = self._begin(), time.monotonic()
        done = in_child(lambda: self._act(work))
        self.seconds = time.monotonic() - begun
        if done.status:
            raise AssertionError(f"{self.situation.name} fails undisturbed: {done.said}")
        facts = self._recover(work)
        if not isinstance(facts, dict):
            raise AssertionError(f"{self.situation.name} fails undisturbed: {facts}")
        return facts

    def end_at(self, moment: int, again: int | None = None) -> str:
        """End the process at a moment; returns what is wrong afterwards, or nothing.

        ``again``: and the next one at this moment of its own, if it comes so far.
        """
        work = self._begin()
        ended = in_child(lambda: self._watched(self._act, work, moment, end_of_process))
        if again is not None and (problem := self._fault(ended)):
            return problem
        if again is not None:
            ended = in_child(lambda: self._watched(self._go_on, work, again, end_of_process))
        return self._judge(ended, work)

    def _watched(self, life: Callable[[Path], None], work: Path, moment: int, then: Callable[[], None]) -> None:
        """In a child: live, and have ``then`` called at a moment."""
        left = [moment]

        def reached(what: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                then()

        Points(reached).install()
        life(work)

    def end_after(self, seconds: float) -> str:
        """End the process after a time; returns as ``end_at``."""
        work = self._begin()
        pid = os.fork()
        if not pid:
            try:
                self._act(work)
            except BaseException:
                traceback.print_exc(file=sys.stderr)
                os._exit(FAULT)
            os._exit(0)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        _, raw = os.waitpid(pid, 0)
        return self._judge(Ended(os.waitstatus_to_exitcode(raw), None), work)

    def fill_at(self, moment: int, disk: Path, killed_at: int | None = None) -> str:
        """Take all room of the file system ``disk`` at a moment, and give it back when the process has ended.

        ``killed_at``: the process before it has ended so, and the moment is one of the next start. Returns as
        ``end_at``.
        """
        work, ballast, life = self._begin(disk / "node"), disk / "ballast", self._act
        if killed_at is not None:
            before = in_child(lambda: self._watched(self._act, work, killed_at, end_of_process))
            if problem := self._fault(before):
                return problem
            life = self._go_on

        def run() -> None:
            with _heard() as lines:
                try:
                    self._watched(life, work, moment, lambda: _fill(ballast))
                except BtcnodeError as error:
                    raise BtcnodeError("\n".join((str(error), *lines))) from None

        ended = in_child(run)
        ballast.unlink(missing_ok=True)
        if ended.status == REFUSED and not any(words in str(ended.said) for words in FULL):
            return f"the node does not say that the disk is full: {ended.said}"
        return self._judge(ended, work)

    # -- what came of it -----------------------------------------------------------------------------------------

    @staticmethod
    def _fault(ended: Ended) -> str:
        return "" if ended.status in (0, -signal.SIGKILL, REFUSED) else f"a run ends with {ended.status}: {ended.said}"

    def _judge(self, ended: Ended, work: Path) -> str:
        if problem := self._fault(ended):
            return problem
        found = self._recover(work)
        if isinstance(found, str):
            return f"the next run fails: {found}"
        for key, value in self.expected.items():
            if found[key] != value:
                return f"{key} is {found[key]}, not {value}"
        return ""

    def _recover(self, work: Path) -> Facts | str:
        """Start again, come to the last state, stop; then the facts of one more run, or what went wrong."""
        situation, found = self.situation, Facts()

        async def facts(node: Any, world: World) -> None:
            found.update(await facts_of(node, situation, work))

        def look() -> Facts:
            self._live(work, facts, {**situation.options, **(situation.more if situation.stays else {})})
            return found

        for step in (lambda: self._go_on(work), look):
            done = in_child(step)
            if done.status:
                return str(done.said)
        return dict(done.said)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """The errors that the node logs inside."""
    lines: list[str] = []
    handler, log = logging.Handler(logging.ERROR), logging.getLogger("btcnode")
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


def _fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file:
        size = 0
        for block in (1 << 20, 4096, 1):
            try:
                while True:
                    os.posix_fallocate(file.fileno(), size, block)
                    size += block
            except OSError:
                continue
