"""Figures of benchmarks where there is nothing to measure: very fast or very slow machines, smallest sizes."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.tx import Tx
from scripts.bench import block_relay, inbound, stress, swiftsync
from scripts.bench.ibd import Chain, family_cpu
from tests.lib.node_loads import put_aside

TX = Tx.parse(params_for("regtest").genesis_block[81:])


def test_a_family_costs_something_at_once() -> None:
    before, _ = family_cpu(os.getpid())
    sum(range(1000))
    assert family_cpu(os.getpid())[0] > before > 0
    assert stress.cpu_seconds([os.getpid(), 2**22 + 1]) > before, "one of them is gone"
    assert put_aside(2**22 + 1) == 0


def test_a_stress_that_sent_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = stress.Record([TX], [0])
    assert stress.report(record, 100.0, [0] * stress.NODES, tmp_path / "stress.prom") == {}
    assert "0 transactions were sent" in capsys.readouterr().out


def test_a_stress_that_took_no_time(tmp_path: Path) -> None:
    record = stress.Record([TX], [0])
    record.sent = [100.0]
    for n in range(stress.NODES):
        record.pooled[n] = record.mined[n] = [100.0]
        record.samples[n] = [stress.Sample(100.0, 1, 2.0, 3), stress.Sample(100.0, 1, 2.0, 3)]
    figures = stress.report(record, 100.0, [0] * stress.NODES, tmp_path / "stress.prom")
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    assert len(list(stress.compare(figures, figures))) == 2 + len(figures)


def test_honest_peers_without_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = inbound.Tally(memory=[(0.0, 2**20)])
    options = argparse.Namespace(plot=tmp_path / "inbound.png")
    metrics = 'loop_lag_seconds_bucket{le="0.01"} 0\nloop_lag_seconds_bucket{le="+Inf"} 0\n'
    assert not inbound.report(tally, metrics, options)
    assert "0 answers" in capsys.readouterr().out


def test_a_block_that_came_in_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert block_relay.passage_of([(1.0, "received: headers (82 bytes)"), (2.0, "UpdateTip: x")], "compact") is None
    assert block_relay.passage_of([(1.0, "received: cmpctblock (82 bytes)")], "compact") is None
    block_relay.show("compact", 0.0, [], 0)
    assert "0 blocks" in capsys.readouterr().out


@pytest.mark.parametrize("cpu", [0.0, 1e-9, 5.0])
@pytest.mark.parametrize("make", [swiftsync.model, lambda figures, chain: swiftsync.line("x", chain, figures, 1.0)])
def test_a_sync_that_cost_nothing(cpu: float, make: Callable[[swiftsync.Figures, Chain], str], tmp_path: Path) -> None:
    figures = swiftsync.Figures(1e-4, cpu, 0.0, 0, "")
    assert "inf" not in make(figures, Chain(tmp_path, 0, 1, 1, 10, 10, 100, 10, ""))
