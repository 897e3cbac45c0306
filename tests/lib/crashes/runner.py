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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btcnode.errors import BtcnodeError
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
        done = in_child(lambda: asyncio.run(_life(self._first, world, dict(situation.options), situation.prepare)))
        if done.status:
            raise AssertionError(f"{situation.name} cannot be prepared: {done.said}")
        self.moments = self._count()
        self.seconds = 0.0
        self.expected = self._undisturbed()

    # -- attempts ------------------------------------------------------------------------------------------------

    def _begin(self, base: Path | None = None) -> Path:
        work = base or self._work
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._first, work)
        return work

    def _act(self, work: Path) -> None:
        options = {**self.situation.options, **self.situation.more}
        asyncio.run(_life(work, self._world, options, self.situation.act))

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

    def end_at(self, moment: int) -> str:
        """End the process at a moment; returns what is wrong afterwards, or nothing."""
        work = self._begin()

        def run() -> None:
            left = [moment]

            def reached(what: str) -> None:
                left[0] -= 1
                if left[0] < 0:
                    end_of_process()

            Points(reached).install()
            self._act(work)

        return self._judge(in_child(run), work)

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

    def fill_at(self, moment: int, disk: Path) -> str:
        """Take all room of the file system ``disk`` at a moment, and give it back when the process has ended."""
        work, ballast = self._begin(disk / "node"), disk / "ballast"

        def run() -> None:
            left = [moment]

            def reached(what: str) -> None:
                left[0] -= 1
                if left[0] == -1:
                    _fill(ballast)

            Points(reached).install()
            with _heard() as lines:
                try:
                    self._act(work)
                except BtcnodeError as error:
                    raise BtcnodeError("\n".join((str(error), *lines))) from None

        ended = in_child(run)
        ballast.unlink(missing_ok=True)
        if ended.status == REFUSED and not any(words in str(ended.said) for words in FULL):
            return f"the node does not say that the disk is full: {ended.said}"
        return self._judge(ended, work)

    # -- what came of it -----------------------------------------------------------------------------------------

    def _judge(self, ended: Ended, work: Path) -> str:
        if ended.status not in (0, -signal.SIGKILL, REFUSED):
            return f"the run fails with status {ended.status}: {ended.said}"
        found = self._recover(work)
        if isinstance(found, str):
            return f"the next run fails: {found}"
        for key, value in self.expected.items():
            if found[key] != value:
                return f"{key} is {found[key]}, not {value}"
        return ""

    def _recover(self, work: Path) -> Facts | str:
        """Start again, come to the last state, stop; then the facts of one more run, or what went wrong."""
        situation, options = self.situation, dict(self.situation.options)
        if "indexes" in situation.name:
            options |= situation.more

        async def facts(node: Any, world: World) -> None:
            found.update(await facts_of(node, situation, work))

        found: Facts = {}

        def finish() -> None:
            asyncio.run(_life(work, self._world, options, situation.finish))

        def look() -> Facts:
            asyncio.run(_life(work, self._world, options, facts))
            return found

        for step in (finish, look):
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
