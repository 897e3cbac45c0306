"""Metrics: what may be declared, and the text that Prometheus reads."""

from __future__ import annotations

import gc
import re

from prometheus_client.parser import text_string_to_metric_families

from btcnode.counting import Histogram
from btcnode.observe.catalogue import CATALOGUE
from btcnode.observe.garbage import GarbagePauses
from btcnode.observe.metrics import Kind, Metric, Reading

# whatever a label is called, its values must be few and the node's own
LABELS = {
    "class", "direction", "event", "generation", "index", "kind", "method", "network", "outcome", "reason", "stage",
    "state", "type", "version",
}  # fmt: skip
ROOMS = ("sync_", "node_", "mempool_", "p2p_", "rpc_", "loop_", "process_", "python_", "workers_", "shadow_")


def test_names_say_what_a_metric_is() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name) and metric.name.startswith(ROOMS)
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER), metric.name
        assert not metric.name.endswith(("_bucket", "_sum", "_count"))
        assert set(metric.labels) <= LABELS, metric.name
        assert metric.text and not metric.text.endswith(".")


def test_text_is_what_prometheus_reads() -> None:
    plain = Metric("a_total", Kind.COUNTER, 'With "quotes", a \\ and\na line', ("one", "two"))
    seconds = Metric("b_seconds", Kind.HISTOGRAM, "Spread", ("type",))
    latency = Histogram((0.1, 1.0), [0.05, 0.1, 0.5, 7.0])
    text = Reading(plain, {("x", 'y"\\\n'): 3, ("", "z"): 2.5}).text() + seconds.by({"block": latency}).text()
    counter, histogram = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in counter.samples] == [
        ({"one": "x", "two": 'y"\\\n'}, 3.0),
        ({"one": "", "two": "z"}, 2.5),
    ]
    assert {(s.name, s.labels.get("le")): s.value for s in histogram.samples} == {
        ("b_seconds_bucket", "0.1"): 2.0,
        ("b_seconds_bucket", "1.0"): 3.0,
        ("b_seconds_bucket", "+Inf"): 4.0,
        ("b_seconds_sum", None): 7.65,
        ("b_seconds_count", None): 4.0,
    }
    assert all(sample.labels["type"] == "block" for sample in histogram.samples)


def test_whole_numbers_stay_whole() -> None:
    gauge = Metric("g", Kind.GAUGE, "Large")
    assert gauge.reads(2**63 + 1).text().splitlines()[-1] == f"g {2**63 + 1}"
    assert gauge.reads(True).text().splitlines()[-1] == "g 1"


def test_pauses_of_the_collector() -> None:
    garbage = GarbagePauses()
    garbage.watch()
    gc.collect()
    garbage.close()
    assert garbage.pauses["2"].count == 1 and garbage.pauses["2"].sum > 0
    gc.collect()
    assert garbage.pauses["2"].count == 1
    garbage.close()
