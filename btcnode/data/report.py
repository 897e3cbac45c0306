"""What a verification came to: in words, as JSON, and as a picture of what each worker has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from btcnode.data.verify import Failure, Outcome
from btcnode.simulate.svg_plot import Chart, charts_as_svg

POINTS = 60  # of a line of the picture
MEGA = 1_000_000


class Sample(NamedTuple):
    """A task that was done: when it came back (seconds since the start), by which worker, and what it took."""

    ended: float
    worker: str
    blocks: int
    txs: int
    inputs: int
    size: int
    seconds: float
    cpu: float

    @classmethod
    def of(cls, outcome: Outcome, ended: float) -> Sample:
        """That of a task that came back at ``ended``."""
        blocks = outcome.last - outcome.first + 1
        return cls(
            ended, outcome.worker, blocks, outcome.txs, outcome.inputs, outcome.size, outcome.seconds, outcome.cpu
        )


@dataclass(slots=True)
class Report:
    """The chain up to ``height``, whose block is ``tip``; ``muhash`` is empty where no sum was taken.

    ``txouts`` and ``amount`` (satoshi) are those of the coins that are left. ``notes`` are no faults: what else lies
    there and was not looked at.
    """

    height: int
    tip: str
    expected_muhash: str | None = None
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0
    lost_workers: int = 0
    muhash: str = ""
    txouts: int = 0
    amount: int = 0

    def add(self, sample: Sample) -> None:
        """Count a task."""
        self.samples.append(sample)

    @property
    def inputs(self) -> int:
        """Inputs verified, coinbases not counted."""
        return sum(sample.inputs for sample in self.samples)

    @property
    def size(self) -> int:
        """Bytes of the blocks verified."""
        return sum(sample.size for sample in self.samples)

    @property
    def is_good(self) -> bool:
        """Whether every block is valid, and the coins come to what was expected."""
        return not self.failures and self.expected_muhash in (None, self.muhash)

    def by_worker(self) -> dict[str, list[Sample]]:
        """The tasks of each worker."""
        found: dict[str, list[Sample]] = {}
        for sample in self.samples:
            found.setdefault(sample.worker, []).append(sample)
        return found

    def as_text(self) -> str:
        """For people."""
        rate = self.inputs / self.seconds if self.seconds else 0.0
        lines = [
            f"blocks 0 to {self.height}, up to {self.tip}",
            f"{self.inputs} inputs, {self.size / MEGA:.1f} MB in {self.seconds:.1f} s: {rate:,.0f} inputs/s",
        ]
        for name, samples in sorted(self.by_worker().items()):
            inputs, cpu = sum(sample.inputs for sample in samples), sum(sample.cpu for sample in samples)
            lines.append(f"  {name}: {len(samples)} tasks, {inputs} inputs, {cpu:.1f} s of processor time")
        if self.lost_workers:
            lines.append(f"{self.lost_workers} workers were lost, their tasks were done by others")
        if self.muhash:
            lines.append(f"unspent: {self.txouts} coins, {self.amount} satoshi, muhash {self.muhash}")
        if self.muhash and self.expected_muhash is None:
            lines.append("the muhash was compared with no node's: compare it with gettxoutsetinfo muhash")
        elif self.muhash and self.muhash != self.expected_muhash:
            lines.append(f"FAILED: the muhash should be {self.expected_muhash}")
        lines += [f"note: {note}" for note in self.notes]
        lines += [_failure_line(failure) for failure in self.failures]
        if self.failures and not self.muhash:
            lines.append(
                "since not all blocks could be looked at, coins were not compared: some may have been spent twice"
            )
        lines.append("valid" if self.is_good else "NOT VALID")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; seconds, bytes, satoshi."""
        workers = {
            name: {
                "tasks": len(samples),
                "blocks": sum(sample.blocks for sample in samples),
                "inputs": sum(sample.inputs for sample in samples),
                "seconds": sum(sample.seconds for sample in samples),
                "cpu": sum(sample.cpu for sample in samples),
            }
            for name, samples in sorted(self.by_worker().items())
        }
        return {
            "valid": self.is_good,
            "height": self.height,
            "bestblock": self.tip,
            "blocks": sum(sample.blocks for sample in self.samples),
            "transactions": sum(sample.txs for sample in self.samples),
            "inputs": self.inputs,
            "size": self.size,
            "seconds": self.seconds,
            "lost_workers": self.lost_workers,
            "muhash": self.muhash,
            "expected_muhash": self.expected_muhash,
            "txouts": self.txouts,
            "total_amount": self.amount,
            "notes": self.notes,
            "failures": [failure._asdict() for failure in self.failures],
            "workers": workers,
        }

    def picture(self) -> str:
        """Inputs per second of each worker over time, and of all of them, as SVG."""
        end = max((sample.ended for sample in self.samples), default=1.0)
        step = end / POINTS
        lines = {name: _rates(samples, step) for name, samples in sorted(self.by_worker().items())}
        both = [
            Chart("Inputs per second by worker", lines),
            Chart("Inputs per second of all", {"all": _rates(self.samples, step)}),
        ]
        return charts_as_svg(both, "seconds")


def _rates(samples: list[Sample], step: float) -> list[tuple[float, float]]:
    """Inputs per second in each of the steps, every task spread over the time that it took."""
    bins = [0.0] * POINTS
    for sample in samples:
        start = max(0.0, sample.ended - sample.seconds)
        first, last = int(start / step), min(int(sample.ended / step), POINTS - 1)
        for k in range(min(first, last), last + 1):
            bins[k] += sample.inputs / (last - min(first, last) + 1)
    return [((k + 0.5) * step, inputs / step) for k, inputs in enumerate(bins)]


def _failure_line(failure: Failure) -> str:
    parts = [f"FAILED: {failure.reason}"]
    if failure.height >= 0:
        parts.append(f"at height {failure.height}")
    if failure.block:
        parts.append(f"block {failure.block}")
    if failure.txid:
        parts.append(f"transaction {failure.txid}")
    if failure.input >= 0:
        parts.append(f"input {failure.input}")
    return ", ".join(parts) + (f": {failure.detail}" if failure.detail else "")
