"""Damages files of prepared nodes, runs what is left in a process of its own, and judges how that ended."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from btcnode.errors import BtcnodeError, RebuildError
from btcnode.rpc.errors import RpcError
from btcnode.storage.fault_note import FaultNote
from tests.lib import node_parts
from tests.lib.damage.daemon import DaemonNode
from tests.lib.damage.damages import CHANGED, OLD, Damage, other_byte, other_page, whole_files
from tests.lib.damage.homes import HOMES, SECONDS, AnyNode, Home, Question, answer, has_failed, settle

TIMEOUT = 300  # seconds for a node
UNAFFECTED, REPAIRED, STOPPED = "unaffected", "repaired by itself", "stopped with the file named"
GOOD = (UNAFFECTED, REPAIRED, STOPPED)
LARGE = (".mdb", ".dat")


class DamageLab:
    """Prepared nodes; each attempt works on a copy of one.

    Changes what this process knows of UTXO sets, and how long ``node_parts`` waits.
    """

    def __init__(self, directory: Path, names: Sequence[str] = tuple(HOMES)) -> None:
        vars(node_parts)["TIMEOUT"] = SECONDS
        self.scratch = directory
        self.homes: dict[str, Home] = {}
        for name in names:
            place = directory / f"make-{name}"
            place.mkdir()
            self.homes[name] = HOMES[name][0](place)

    def byte(self, rng: random.Random) -> Damage:
        """One byte of any file."""
        home, file = self._file(rng)
        return other_byte(home.name, home.whole, file, rng)

    def page(self, rng: random.Random) -> Damage:
        """A page of any file."""
        home, file = self._file(rng)
        return other_page(home.name, home.whole, file, rng)

    def whole_files(self, seed: int) -> list[Damage]:
        """All that can be done to files as a whole; ``seed``: where they are cut off."""
        rng = random.Random(seed)
        homes = self.homes.values()
        return [one for home in homes for one in whole_files(home.name, home.whole, home.older, home.files, rng)]

    def _file(self, rng: random.Random) -> tuple[Home, str]:
        """Any file that is not empty; the databases and blocks more often than the rest."""
        names = list(self.homes)
        home = self.homes[rng.choices(names, [HOMES[name][1] for name in names])[0]]
        files = [file for file in home.files if (home.whole / file).stat().st_size]
        large = [file for file in files if file.endswith(LARGE)]
        return home, rng.choice(large if rng.random() < 0.7 else files)

    def try_out(self, damage: Damage) -> tuple[str, str]:
        """What becomes of a node with this damage: one of the three good ends, or what is wrong; and a detail."""
        home = self.homes[damage.home]
        directory = self.scratch / f"case-{os.getpid()}"
        shutil.copytree(home.whole, directory)
        damage.apply(directory, home.older)
        verdict, detail = self._in_child(home, directory, damage)
        if verdict == "killed":  # what a supervisor does: start it again
            verdict, detail = self._in_child(home, directory, damage)
        shutil.rmtree(directory)
        return verdict, detail

    def _in_child(self, home: Home, directory: Path, damage: Damage) -> tuple[str, str]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            signal.alarm(TIMEOUT)
            try:
                text = json.dumps(_Life(home, damage).live(directory))
            except BaseException as error:
                text = json.dumps(["failed", repr(error)])
            os.write(writing, text.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) or not said:
            return "killed", f"signal {os.WTERMSIG(status)}"
        verdict, detail = json.loads(said)
        return verdict, detail


class _Life:
    """One run of a damaged node: start, ask, submit an invalid and a valid block, stop."""

    def __init__(self, home: Home, damage: Damage) -> None:
        self._home = home
        self._damage = damage
        self._told: list[str] = []
        self._errors: list[str] = []
        self._wrong: list[str] = []

    def live(self, directory: Path) -> tuple[str, str]:
        """The verdict and a detail."""
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._told.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("btcnode").addHandler(handler)
        FaultNote(directory / "regtest")
        try:
            node = self._home.open(directory)
        except (BtcnodeError, OSError) as error:
            text = f"{error} {error.detail}" if isinstance(error, RebuildError) else str(error)
            return self._stopped(text)
        self._prepare(node)
        if not has_failed(node):  # else a process would have ended by now
            self._ask(node)
            self._submit(node)
        try:
            node.close()
        except BtcnodeError as error:
            self._errors.append(str(error))
        if isinstance(node, DaemonNode):
            self._told += node.lines()
        if self._wrong:
            return "wrong", "; ".join(self._wrong)
        if self._errors:
            return self._stopped("; ".join(self._errors))
        repaired = [line for line in self._told if "damaged" in line]
        return (REPAIRED, repaired[0]) if repaired else (UNAFFECTED, "")

    def _stopped(self, text: str) -> tuple[str, str]:
        """A file of another moment makes the others look wrong: then any of them may be the one that is named."""
        damage = self._damage
        names = {Path(damage.file).name}
        if damage.file == "bitcoin.conf":
            names = {"Error reading configuration file: parse error on line", "Could not find asmap file"}  # in Core's
        if damage.kind == OLD:
            names |= {Path(file).name for file in self._home.files} | {"blk00000.dat"}  # it may have been pruned since
        named = any(name in line for name in names for line in (text, *self._told))
        return (STOPPED if named else "stopped without the file's name"), text

    def _prepare(self, node: AnyNode) -> None:
        """What this home does after its start; a node that may have lost blocks gets them again."""
        home = self._home
        try:
            home.act(node)
        except RpcError as error:
            self._errors.append(error.message)
        except (AssertionError, TimeoutError) as error:
            self._refused(node, f"act: {error!r}")
        if self._damage.kind != CHANGED or self._errors:
            try:
                home.submit(node, home.blocks)
            except RpcError as error:
                self._errors.append(error.message)
            except AssertionError as error:
                self._refused(node, f"submitblock: {error}")
        try:
            settle(node)
        except (TimeoutError, BtcnodeError) as error:
            self._errors.append(repr(error))

    def _refused(self, node: AnyNode, what: str) -> None:
        if not has_failed(node):
            self._wrong.append(what)
        else:
            self._errors.append(what)

    def _ask(self, node: AnyNode) -> None:
        home = self._home
        for question, right, others in zip(home.questions, home.answers, home.others, strict=True):
            try:
                found = answer(node, question.method, question.params)
            except RpcError as error:
                self._errors.append(error.message)
                continue
            if found is False:  # verifychain has found something: the log says what
                self._errors.append("verifychain")
            elif found != right and not (found in others and self._may_be_lost(question)):
                self._wrong.append(f"{question.method} {str(question.params)[:80]}: {str(found)[:300]}")

    def _may_be_lost(self, question: Question) -> bool:
        """Whether a small file is gone, or its loss was told."""
        if not question.file:
            return False
        damage = self._damage
        if damage.kind == OLD and damage.file.endswith(".mdb"):  # transactions came after that moment
            return True
        gone = damage.kind != CHANGED and damage.file.endswith(question.file)
        return gone or any(question.file in line for line in self._told)

    def _submit(self, node: AnyNode) -> None:
        home = self._home
        for raw, expected in ((home.invalid, "bad-txns-inputs-missingorspent"), (home.valid, None)):
            try:
                found = answer(node, "submitblock", [raw])
            except RpcError as error:
                self._errors.append(error.message)
                continue
            if found != expected:
                self._refused(node, f"submitblock: {found} instead of {expected}")
