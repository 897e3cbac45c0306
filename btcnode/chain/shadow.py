"""Two-engine mode: libbitcoinkernel verifies the same scripts, and a disagreement stops the node.

Needs the optional dependency py-bitcoinkernel (``btcnode[kernel]``). The engines are compared input by input, as far as
our own verdict reaches; the first difference is written to a file that holds all that is needed to run it again, and
raised as ``ShadowDisagreement``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from btcnode.errors import BtcnodeError, ConfigError, DecodeError
from btcnode.files import MIB, parse_json, read_limited
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.record import record
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, VERIFY_TAPROOT, flag_names, require_consistent
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_input


@record
class Disagreement:
    """One input on which the engines differ: enough to run it again.

    ``raw_tx`` and the txouts in ``spent`` (one per input) are hex, ``ours`` is our error's name or "OK", ``kernel``
    "OK" or "invalid"; ``note`` says where it comes from.
    """

    raw_tx: str
    spent: tuple[str, ...]
    input_index: int
    flags: int
    ours: str
    kernel: str
    note: str = ""

    def write(self, directory: Path) -> Path:
        """Write it to ``directory`` (made when missing) as JSON, synced; returns the file's path."""
        directory.mkdir(parents=True, exist_ok=True)
        txid = Tx.parse(bytes.fromhex(self.raw_tx)).txid
        path = directory / f"disagreement-{to_display(txid)[:16]}-{self.input_index}-{self.flags:x}.json"
        document = {**asdict(self), "flag_names": flag_names(self.flags)}
        with path.open("w", encoding="utf-8") as handle:
            json.dump(document, handle, indent=1)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        return path

    @classmethod
    def read(cls, path: Path) -> Disagreement:
        """Read what ``write`` has written; raises DecodeError for anything else."""
        try:
            document = parse_json(read_limited(path, 64 * MIB))
            document.pop("flag_names", None)
            document["spent"] = tuple(document["spent"])
            return cls(**document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DecodeError(f"{path} is no record of a disagreement: {error}") from None

    def rerun(self, engine: KernelEngine) -> tuple[str, str]:
        """What both engines say now: ``(ours, kernel)`` in the same words."""
        tx, spent = Tx.parse(bytes.fromhex(self.raw_tx)), [bytes.fromhex(txout) for txout in self.spent]
        error = verify_input(tx, self.input_index, spent, self.flags)
        valid = engine.load(tx.raw, spent).verify(self.input_index, self.flags)
        return error.value if error else "OK", _kernel_word(valid)


class ShadowDisagreement(BtcnodeError):
    """The engines disagree about a script; ``path`` is the file with ``case``."""

    def __init__(self, case: Disagreement, path: Path) -> None:
        super().__init__(
            f"script engines disagree: input {case.input_index} is {case.ours} for btcnode but {case.kernel} for "
            f"libbitcoinkernel ({case.note}); the case is in {path}"
        )
        self.case = case
        self.path = path

    def __reduce__(self) -> tuple[type[ShadowDisagreement], tuple[Disagreement, Path]]:
        return (ShadowDisagreement, (self.case, self.path))


def _kernel_word(valid: bool) -> str:
    return "OK" if valid else "invalid"


class KernelEngine:
    """libbitcoinkernel's script verification."""

    def __init__(self) -> None:
        """Raises ConfigError when py-bitcoinkernel is not installed."""
        try:
            from pbk import script, transaction
        except ImportError as error:
            raise ConfigError(f"the second script engine needs btcnode[kernel]: {error}") from None
        self._script: Any = script
        self._transaction: Any = transaction

    def load(self, raw_tx: bytes, spent: Sequence[bytes]) -> KernelTransaction:
        """Parse a transaction and the txouts it spends (one per input).

        Raises DecodeError when libbitcoinkernel cannot read the transaction.
        """
        try:
            tx = self._transaction.Transaction(raw_tx)
        except RuntimeError as error:
            raise DecodeError(f"libbitcoinkernel: {error}") from None
        if len(tx.inputs) != len(spent):
            raise ValueError(f"{len(tx.inputs)} inputs but {len(spent)} spent outputs")
        scripts = [self._script.ScriptPubkey(txout_script(txout)) for txout in spent]
        values = [txout_value(txout) for txout in spent]
        outputs = [self._transaction.TransactionOutput(*pair) for pair in zip(scripts, values, strict=True)]
        data = self._script.PrecomputedTransactionData(tx, outputs)
        return KernelTransaction(tx, scripts, values, data, self._script.ScriptVerificationFlags)


class KernelTransaction:
    """A transaction inside libbitcoinkernel, ready to verify its inputs."""

    __slots__ = ("_data", "_flags", "_scripts", "_tx", "_values")

    def __init__(self, tx: Any, scripts: list[Any], values: list[int], data: Any, flags: Any) -> None:
        self._tx = tx
        self._scripts = scripts
        self._values = values
        self._data = data
        self._flags = flags

    def verify(self, index: int, flags: int) -> bool:
        """Whether input ``index`` is valid under ``flags``.

        Raises ValueError for flags that are no consensus flags or not consistent (the library would abort).
        """
        if flags & ~MANDATORY_VERIFY_FLAGS:
            raise ValueError(f"libbitcoinkernel takes consensus flags only, not {flag_names(flags)}")
        require_consistent(flags)
        if not 0 <= index < len(self._scripts):
            raise ValueError(f"no input {index}")
        data = self._data if flags & VERIFY_TAPROOT else None
        valid = self._scripts[index].verify(self._values[index], self._tx, data, index, self._flags(flags))
        return bool(valid)


class ShadowEngine:
    """Compares our verdicts about blocks with libbitcoinkernel's.

    ``directory`` takes the files of disagreements; every ``every``-th block by height is compared.
    """

    def __init__(self, directory: Path, *, every: int = 1) -> None:
        """Raises ConfigError when py-bitcoinkernel is not installed or ``every`` is not positive."""
        if every < 1:
            raise ConfigError("shadow validation compares every n-th block, n >= 1")
        self._engine = KernelEngine()
        self._directory = directory
        self._every = every
        self.blocks_compared = 0
        self.inputs_compared = 0
        self.disagreements = 0

    def selects(self, height: int) -> bool:
        """Whether the block at ``height`` is one to compare."""
        return height % self._every == 0

    def check_block(
        self,
        height: int,
        block_hash: BlockHash,
        jobs: Sequence[ScriptJob],
        verdict: tuple[int, ScriptFailure] | None,
    ) -> None:
        """Compare the verdict of ``verify_jobs(jobs)``: all inputs before our failure, and that one.

        Raises ShadowDisagreement at the first difference.
        """
        note = f"block {height} {to_display(block_hash)}"
        for number, job in enumerate(jobs):
            if verdict is not None and number == verdict[0]:
                self.check_job(job, verdict[1], note)
                break
            self.check_job(job, None, note)
        self.blocks_compared += 1

    def summary(self) -> str:
        """What was compared so far, in one line."""
        return f"second engine: {self.blocks_compared} blocks compared, {self.inputs_compared} inputs"

    def counts(self) -> dict[str, int]:
        """Blocks and inputs that were compared, and disagreements."""
        return {
            "blocks_compared": self.blocks_compared,
            "inputs_compared": self.inputs_compared,
            "disagreements": self.disagreements,
        }

    def check_job(self, job: ScriptJob, failure: ScriptFailure | None, note: str) -> None:
        """Compare the verdict about one transaction; raises ShadowDisagreement at the first difference."""
        transaction = self._engine.load(job.raw_tx, job.spent)
        last = len(job.spent) - 1 if failure is None else failure.input_index
        for index in range(last + 1):
            valid = transaction.verify(index, job.flags)
            self.inputs_compared += 1
            failed_here = failure is not None and index == failure.input_index
            if valid == failed_here:
                ours = failure.error.value if failure is not None and failed_here else "OK"
                spent = tuple(txout.hex() for txout in job.spent)
                case = Disagreement(job.raw_tx.hex(), spent, index, job.flags, ours, _kernel_word(valid), note)
                self.disagreements += 1
                raise ShadowDisagreement(case, case.write(self._directory))
