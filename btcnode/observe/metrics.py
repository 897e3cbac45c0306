"""Metrics: how one is declared, what is read of it, and both as text for Prometheus (exposition format 0.0.4).

Whoever does the work counts it in plain numbers; they are read when somebody asks. The declarations are in
``catalogue.py``, and docs/metrics.md is made from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from btcnode.counting import Histogram
from btcnode.record import record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Values = Mapping[tuple[str, ...], float | Histogram]
"""By the values of the labels, in their order."""


class Kind(StrEnum):
    """What a value is."""

    COUNTER = "counter"  # only rises
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@record
class Metric:
    """One name: what it says, and the labels that its samples have. None has values that a peer can choose."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    def reads(self, value: float | Histogram) -> Reading:
        """The reading of a metric without labels."""
        return Reading(self, {(): value})

    def by(self, values: Mapping[str, float | Histogram]) -> Reading:
        """The reading of a metric with one label, by the values of that."""
        return Reading(self, {(label,): value for label, value in values.items()})


@record
class Reading:
    """All samples of a metric at one moment."""

    metric: Metric
    values: Values

    def text(self) -> str:
        """The lines of the metric."""
        metric = self.metric
        lines = [f"# HELP {metric.name} {_escaped(metric.text)}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in self.values.items():
            pairs = [f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, labels, strict=True)]
            if isinstance(value, Histogram):
                lines += _histogram(metric.name, pairs, value)
            else:
                lines.append(f"{metric.name}{_braced(pairs)} {_number(value)}")
        return "\n".join(lines) + "\n"


def _histogram(name: str, pairs: list[str], value: Histogram) -> Iterable[str]:
    below = 0
    for bound, count in zip((*map(_number, value.bounds), "+Inf"), value.counts, strict=True):
        below += count
        limited = [*pairs, f'le="{bound}"']
        yield f"{name}_bucket{_braced(limited)} {below}"
    yield f"{name}_sum{_braced(pairs)} {_number(value.sum)}"
    yield f"{name}_count{_braced(pairs)} {below}"


def _braced(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
