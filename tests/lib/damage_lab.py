"""A small node with every index, whose files are damaged, and what becomes of it: see ``scripts/bench/damage.py``."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btcnode.errors import BtcnodeError, RebuildError
from btcnode.primitives.hashes import to_display
from btcnode.rpc.errors import RpcError
from btcnode.storage.fault_note import FaultNote
from tests.lib.mini_chain import MiniChain, spend
from tests.lib.node_parts import NodeLab, regtest_config

BLOCKS = 125
PAGE = 4096
TIMEOUT = 90  # seconds for a node
UNAFFECTED, REPAIRED, STOPPED = "unaffected", "repaired by itself", "stopped with the file named"
INDEXES = {"txindex": True, "coinstatsindex": True, "blockfilterindex": True, "txospenderindex": True}
IGNORED = {".lock", "debug.log"}  # nothing is read from them

Question = tuple[str, list[Any]]


@dataclass(frozen=True)
class Damage:
    """Bytes put in the place of others."""

    file: str
    offset: int
    data: bytes

    def apply(self, directory: Path) -> None:
        """Change the file."""
        with (directory / self.file).open("r+b") as file:
            file.seek(self.offset)
            file.write(self.data)


def answer(node: NodeLab, method: str, params: list[Any]) -> Any:
    """What a method returns, as JSON has it."""
    result = node.do(node.table.call_async(node.table.find(method), params))
    if isinstance(result, dict):
        result = {key: value for key, value in result.items() if key not in ("disk_size", "errors")}
    return json.loads(json.dumps(result, default=str))


class DamageLab:
    """A prepared directory, the questions, their right answers, and a valid and an invalid next block."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "whole"
        self.scratch = directory
        chain = MiniChain()
        for height in range(1, BLOCKS + 1):
            txs = [spend(chain.coinbases[height - 101], value=49 * 10**8)] if height > 101 else []
            chain.accept(chain.template(*txs).build())
        valid = chain.template(spend(chain.coinbases[BLOCKS - 100], value=10**9), fees=0)
        invalid = chain.template(spend(chain.coinbases[BLOCKS - 101], value=1), fees=0)  # it is spent
        self.valid, self.invalid = valid.build().hex(), invalid.build().hex()
        tx = next(block.txids[1] for block, _ in reversed(chain.history) if block.n_tx > 1)
        coin = chain.coinbases[BLOCKS - 100]
        names = [to_display(chain.tree.hash(height)) for height in (3, 60, 110, BLOCKS)]
        self.questions: list[Question] = [
            ("gettxoutsetinfo", ["hash_serialized_3"]),
            ("gettxoutsetinfo", ["muhash", 110]),
            ("gettxout", [to_display(coin[:32]), 0]),
            ("gettxout", [to_display(chain.coinbases[2][:32]), 0]),
            ("getrawtransaction", [to_display(tx), 2]),
            ("gettxspendingprevout", [[{"txid": to_display(chain.coinbases[1][:32]), "vout": 0}]]),
            ("scantxoutset", ["start", ["raw(51)"]]),
            ("getchaintips", []),
            ("verifychain", [4, 0]),
            *((("getblock", [name, 0])) for name in names),
            *((("getblockfilter", [name])) for name in names),
            ("getblockheader", [names[1]]),
        ]
        node = self._open(self.home)
        for block, _ in chain.history:
            assert answer(node, "submitblock", [block.raw.hex()]) is None
        answer(node, "setban", ["10.1.2.3", "add"])
        self._wait_for_indexes(node)
        node.close()
        node = self._open(self.home)
        self._wait_for_indexes(node)
        self.answers = [answer(node, *question) for question in self.questions]
        node.close()
        found = (path for path in self.home.rglob("*") if path.is_file() and path.stat().st_size)
        self.files = sorted(str(path.relative_to(self.home)) for path in found if path.name not in IGNORED)

    def _open(self, home: Path) -> NodeLab:
        return NodeLab(regtest_config(home, **INDEXES))

    def _wait_for_indexes(self, node: NodeLab) -> None:
        node.until(lambda: all(state.synced for state in node.thread.call(node.parts.indexes.states)))

    def byte(self, rng: random.Random) -> Damage:
        """One byte of any file."""
        file, size = self._file(rng)
        offset = rng.randrange(size)
        old = (self.home / file).read_bytes()[offset]
        return Damage(file, offset, bytes([old ^ rng.randrange(1, 256)]))

    def page(self, rng: random.Random) -> Damage:
        """A page of any file: random, zeros, or another page of the same file."""
        file, size = self._file(rng)
        offset = rng.randrange(-(-size // PAGE)) * PAGE
        length = min(PAGE, size - offset)
        data = (self.home / file).read_bytes()
        other = rng.randrange(-(-size // PAGE)) * PAGE
        fresh = rng.choice([rng.randbytes(length), bytes(length), data[other : other + length]])
        return Damage(file, offset, fresh)

    def _file(self, rng: random.Random) -> tuple[str, int]:
        """Any file; the databases and blocks more often than the rest."""
        large = [file for file in self.files if file.endswith((".mdb", ".dat")) and "/" in file]
        file = rng.choice(large if rng.random() < 0.7 and large else self.files)
        return file, (self.home / file).stat().st_size

    def try_out(self, damage: Damage) -> tuple[str, str]:
        """What becomes of a node with this damage: one of the three good ends, or what is wrong; and a detail."""
        home = self.scratch / f"case-{os.getpid()}"
        shutil.copytree(self.home, home)
        damage.apply(home)
        verdict, detail = self._in_child(home, damage)
        if verdict == "killed":  # what a supervisor does: start it again
            verdict, detail = self._in_child(home, damage)
        shutil.rmtree(home)
        return verdict, detail

    def _in_child(self, home: Path, damage: Damage) -> tuple[str, str]:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            signal.alarm(TIMEOUT)
            try:
                text = json.dumps(self._live(home, damage))
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

    def _live(self, home: Path, damage: Damage) -> tuple[str, str]:
        """In a process of its own: open the node, ask, submit, close."""
        told: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("btcnode").addHandler(handler)
        FaultNote(home / "regtest")
        try:
            node = self._open(home)
        except (BtcnodeError, OSError) as error:
            text = f"{error} {error.detail}" if isinstance(error, RebuildError) else str(error)
            return self._stopped(damage, text, told)
        wrong, errors = self._ask(node)
        wrong += self._submit(node, errors)
        try:
            node.close()
        except BtcnodeError as error:
            errors.append(str(error))
        if wrong:
            return "wrong", "; ".join(wrong)
        if errors:
            return self._stopped(damage, "; ".join(errors), told)
        return (REPAIRED, told[0]) if any("damaged" in line for line in told) else (UNAFFECTED, "")

    def _stopped(self, damage: Damage, text: str, told: Sequence[str]) -> tuple[str, str]:
        name = Path(damage.file).name
        named = name in text or any(name in line for line in told)
        return (STOPPED if named else "stopped without the file's name"), text

    def _ask(self, node: NodeLab) -> tuple[list[str], list[str]]:
        wrong, errors = [], []
        try:
            self._wait_for_indexes(node)
        except (TimeoutError, BtcnodeError) as error:
            errors.append(repr(error))
        for question, right in zip(self.questions, self.answers, strict=True):
            try:
                found = answer(node, *question)
            except RpcError as error:
                errors.append(error.message)
                continue
            if found is False:  # verifychain has found something: the log says what
                errors.append("verifychain")
            elif found != right:
                wrong.append(f"{question[0]} {str(question[1])[:80]}: {str(found)[:200]}")
        return wrong, errors

    def _submit(self, node: NodeLab, errors: list[str]) -> list[str]:
        wrong = []
        for raw, expected in ((self.invalid, "bad-txns-inputs-missingorspent"), (self.valid, None)):
            try:
                found = answer(node, "submitblock", [raw])
            except RpcError as error:
                errors.append(error.message)
                continue
            if found != expected and node.launch.failure.error is None:
                wrong.append(f"submitblock: {found} instead of {expected}")
        return wrong
