"""docs/metrics.md from the declarations of metrics."""

from __future__ import annotations

from btcnode.observe.catalogue import CATALOGUE

HEAD = """# Metrics

Made by `scripts/docs` from the declarations (`btcnode/observe/catalogue.py`); do not edit.

`--metrics-port` serves them at `/metrics` in Prometheus' text format. They are read from the numbers that the parts
count for themselves, the same that RPC shows, when somebody asks: in slices, so that a scrape holds nobody up. With
2,000 peers the longest slice is about a millisecond. Who asks twice within a second gets the same text. Counters end in
`_total` and begin at 0 with each start of the node. No label has values that a peer chooses: messages of unknown types
are `other`, RPC methods that do not exist are not counted. A dashboard and alerts are in `docker/` (see
[operations.md](operations.md)).

| Metric | Kind | Labels | |
|---|---|---|---|
"""


def reference() -> str:
    """The whole document."""
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.text} |\n"
        for metric in CATALOGUE
    ]
    return HEAD + "".join(rows)
