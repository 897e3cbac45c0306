"""libbitcoinkernel's chainstate beside ours: the same blocks into both, what they say compared word for word.

Needs py-bitcoinkernel. The kernel's reject reasons come from its log, its categories from its callback.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pbk
import pbk.log as kernel_log

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, ChainEvent
from btcnode.chain.store import ChainStore
from btcnode.errors import BtcnodeError, DecodeError, Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash

UNDECODABLE = "undecodable"
VALID = "Valid"

_CHAIN_TYPES = {"main": "MAINNET", "test": "TESTNET", "testnet4": "TESTNET_4", "signet": "SIGNET", "regtest": "REGTEST"}
_FAULTS = {
    "CONSENSUS": Fault.CONSENSUS,
    "CACHED_INVALID": Fault.CACHED_INVALID,
    "INVALID_HEADER": Fault.INVALID_HEADER,
    "MUTATED": Fault.MUTATED,
    "MISSING_PREV": Fault.MISSING_PREV,
    "INVALID_PREV": Fault.INVALID_PREV,
    "TIME_FUTURE": Fault.TIME_FUTURE,
    "HEADER_LOW_WORK": Fault.LOW_WORK,
}
_BLOCK_CHECKED = re.compile(r"BlockChecked: block hash=([0-9a-f]{64}) state=(.*)")


class DisagreementError(BtcnodeError):
    """The two nodes do not say the same of a block."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict on one block: ``state`` is ``Valid`` or ``reason, detail``, ``fault`` is None for a valid one."""

    block_hash: bytes
    state: str
    fault: Fault | None

    @property
    def reason(self) -> str:
        """The reject reason without its detail; empty for a valid block."""
        return "" if self.state == VALID else self.state.split(", ", 1)[0]

    def __str__(self) -> str:
        return f"{to_display(self.block_hash)}: {self.state} [{self.fault.name if self.fault else '-'}]"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a node said when it was given a block: verdicts in their order, and its tip afterwards."""

    checked: tuple[Checked, ...]
    tip: bytes

    def of(self, block_hash: bytes) -> Checked | None:
        """The last verdict on a block, if there was one."""
        found = [checked for checked in self.checked if checked.block_hash == block_hash]
        return found[-1] if found else None

    def __str__(self) -> str:
        lines = [str(checked) for checked in self.checked]
        return "; ".join([*lines, f"tip {to_display(self.tip)}"])


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No cyclic garbage is collected inside.

    The engine calls back under its log's lock; collecting an older engine there would log, and wait for ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class KernelChain:
    """A ChainstateManager of libbitcoinkernel with its databases in memory and its block files in ``directory``.

    One worker thread verifies scripts: then, as in a node, a fault of a later transaction's inputs is found first.
    """

    def __init__(self, params: NetworkParams, directory: Path) -> None:
        self._states: list[tuple[str, str]] = []
        self._results: list[tuple[bytes, Fault | None]] = []
        self._listening = False
        kernel_log.set_log_level_category(kernel_log.LogCategory.ALL, kernel_log.LogLevel.DEBUG)
        kernel_log.enable_log_category(kernel_log.LogCategory.VALIDATION)
        self._log = kernel_log.LoggingConnection(self._on_log)
        callbacks = pbk.ValidationInterfaceCallbacks(block_checked=self._on_checked)
        options = pbk.ContextOptions()
        options.set_chainparams(pbk.ChainParameters(getattr(pbk.ChainType, _CHAIN_TYPES[params.chain])))
        options.set_validation_interface(callbacks)
        manager_options = pbk.ChainstateManagerOptions(pbk.Context(options), str(directory), str(directory / "blocks"))
        manager_options.update_block_tree_db_in_memory(True)
        manager_options.update_chainstate_db_in_memory(True)
        manager_options.set_worker_threads_num(1)
        with no_collection():
            self._manager = pbk.ChainstateManager(manager_options)
            self._manager.import_blocks([])
        self._chain = self._manager.get_active_chain()

    def close(self) -> None:
        """End the engine now, not when garbage is collected; the object is of no use afterwards."""
        with no_collection():
            del self._chain
            del self._manager
            del self._log

    def _on_log(self, message: str) -> None:
        if self._listening and (found := _BLOCK_CHECKED.search(message)):
            self._states.append((found[1], found[2]))

    def _on_checked(self, *arguments: Any) -> None:
        block, state = arguments[-2:]  # releases differ in what comes before
        fault = (
            None if state.validation_mode == pbk.ValidationMode.VALID else _FAULTS[state.block_validation_result.name]
        )
        self._results.append((bytes(block.block_hash), fault))

    @property
    def tip(self) -> bytes:
        """Hash of the active tip."""
        return bytes(self._chain.block_tree_entries[self._chain.height].block_hash)

    def header(self, raw: bytes) -> bool:
        """Give it a header of 80 bytes; returns whether it was accepted."""
        try:
            with no_collection():
                state = self._manager.process_block_header(pbk.BlockHeader(raw))
        except pbk.KernelException:
            return False
        return bool(state.validation_mode == pbk.ValidationMode.VALID)

    def feed(self, raw: bytes) -> Outcome:
        """Give it a block."""
        try:
            block = pbk.Block(raw)
        except RuntimeError:
            return Outcome((Checked(header_hash(raw[:HEADER_SIZE]), UNDECODABLE, None),), self.tip)
        self._states.clear()
        self._results.clear()
        self._listening = True
        try:
            with no_collection():
                self._manager.process_block(block)
        except pbk.ProcessBlockException:
            pass  # the reason is in the log
        finally:
            self._listening = False
        if [to_display(BlockHash(block_hash)) for block_hash, _ in self._results] != [name for name, _ in self._states]:
            raise RuntimeError(f"kernel log and callbacks do not fit: {self._states} {self._results}")
        pairs = zip(self._results, self._states, strict=True)
        return Outcome(tuple(Checked(name, state, fault) for (name, fault), (_, state) in pairs), self.tip)


class OwnChain:
    """A Chainstate of btcnode in ``directory``."""

    def __init__(self, params: NetworkParams, directory: Path) -> None:
        self.state = Chainstate.open(params, ChainStore.open(directory, params))

    @property
    def tip(self) -> bytes:
        """Hash of the active tip."""
        return self.state.tree.hash(self.state.tip)

    def header(self, raw: bytes, now: int) -> bool:
        """Give it a header of 80 bytes; returns whether it was accepted."""
        try:
            self.state.tree.add(raw, now)
        except RuleViolation:
            return False
        return True

    def feed(self, raw: bytes, now: int) -> Outcome:
        """Give it a block, as a peer's answer to a request would."""
        block_hash = header_hash(raw[:HEADER_SIZE])
        events: list[ChainEvent] = []
        checked: list[Checked] = []
        try:
            step = self.state.plan_store(raw, now, requested=True)
            if step is not None:
                events = self.state.run(step)
                events += self.state.activate_best_chain()
        except DecodeError:
            checked.append(Checked(block_hash, UNDECODABLE, None))
        except RuleViolation as violation:
            checked.append(_checked(block_hash, violation))
        for event in events:
            if isinstance(event, BlockConnected):
                checked.append(Checked(self.state.tree.hash(event.index), VALID, None))
            elif isinstance(event, BlockRejected):
                checked.append(_checked(self.state.tree.hash(event.index), event.violation))
        return Outcome(tuple(checked), self.tip)

    def close(self) -> None:
        """Flush and close."""
        self.state.close()


def _checked(block_hash: bytes, violation: RuleViolation) -> Checked:
    state = f"{violation.code}, {violation.debug}" if violation.debug else violation.code
    return Checked(block_hash, state, violation.fault)


class PairedChains:
    """Both nodes; every block goes to both, and they must agree on everything."""

    def __init__(self, params: NetworkParams, directory: Path) -> None:
        self._params = params
        self._directory = directory
        self.kernel = KernelChain(params, directory / "kernel")
        self.own = OwnChain(params, directory / "own")

    def feed(self, raw: bytes, now: int, *, details: bool = True) -> Outcome:
        """Give a block to both and return what they agree on.

        Without ``details`` the texts behind the reasons, and which script error it was, may differ: of several
        broken scripts in a block, the one that is found first depends on threads.
        Raises DisagreementError.
        """
        theirs, ours = self.kernel.feed(raw), self.own.feed(raw, now)
        same = theirs == ours if details else _essence(theirs) == _essence(ours)
        if not same:
            raise DisagreementError(f"kernel: {theirs} | btcnode: {ours}")
        return theirs

    def header(self, raw: bytes, now: int) -> bool:
        """Give a header to both. Raises DisagreementError."""
        theirs, ours = self.kernel.header(raw[:HEADER_SIZE]), self.own.header(raw[:HEADER_SIZE], now)
        if theirs != ours:
            raise DisagreementError(f"header accepted by kernel: {theirs}, by btcnode: {ours}")
        return theirs

    def reopen(self) -> None:
        """Close ours and load it again from disk."""
        self.own.close()
        self.own = OwnChain(self._params, self._directory / "own")

    def close(self) -> None:
        """Close both."""
        self.own.close()
        self.kernel.close()


def _essence(outcome: Outcome) -> tuple[bytes, list[tuple[bytes, str, Fault | None]]]:
    return outcome.tip, [
        (checked.block_hash, checked.reason.split(" (")[0], checked.fault) for checked in outcome.checked
    ]
