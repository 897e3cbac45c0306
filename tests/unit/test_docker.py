"""What Prometheus and Grafana are given: well formed, and about metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from btcnode.observe.catalogue import CATALOGUE
from btcnode.observe.metrics import Kind

DOCKER = Path(__file__).resolve().parents[2] / "docker"
DASHBOARD = DOCKER / "grafana/dashboards/btcnode.json"
WORDS = re.compile(r'"[^"]*"|[a-z_][a-z0-9_]*|\$__?[a-z_]+')
OF_PROMQL = {
    "and", "by", "deriv", "for", "group_right", "histogram_quantile", "ignoring", "increase", "instance", "job", "le",
    "on", "predict_linear", "rate", "sum", "time", "up", "h", "d", "m",
}  # fmt: skip


def names() -> set[str]:
    """The names of all series."""
    suffixes = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {metric.name + suffix for metric in CATALOGUE for suffix in suffixes.get(metric.kind, ("",))}


def labels() -> set[str]:
    return {label for metric in CATALOGUE for label in metric.labels}


def queries() -> list[str]:
    """Every query of dashboard and alerts."""
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    alerts = (DOCKER / "alerts.yml").read_text()
    folded = re.sub(r">-\n\s+", "", alerts)
    lines = folded.splitlines()
    found = []
    for n, line in enumerate(lines):
        if line.strip().startswith("expr:"):
            found.append(line.split(":", 1)[1] + ("" if ":" in lines[n + 1].split("{")[0] else lines[n + 1]))
    assert len(found) == alerts.count("- alert:") > 10 and len(shown) > 25
    return [*shown, *found]


@pytest.mark.parametrize("query", queries())
def test_a_query_names_what_there_is(query: str) -> None:
    words = {word for word in WORDS.findall(query) if word[0] not in '"$'}
    assert words - names() - labels() - OF_PROMQL == set()
    assert words & (names() | {"up"})


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_files_that_the_composition_mounts_are_there() -> None:
    compose = (DOCKER / "compose.yaml").read_text()
    mounted = re.findall(r"- \./([^:]+):(/[^:]+):ro", compose)
    assert len(mounted) == 4 and all((DOCKER / name).exists() for name, _ in mounted)
    places = dict(mounted)
    provider = (DOCKER / "grafana/provisioning/dashboards/btcnode.yml").read_text()
    assert f"path: {places['grafana/dashboards']}\n" in provider
    assert f"{places['grafana/dashboards']}/{DASHBOARD.name}" in compose
    source = (DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text()
    assert f"uid: {json.loads(DASHBOARD.read_text())['panels'][1]['datasource']['uid']}\n" in source
    assert "\n  prometheus:\n" in compose and "http://prometheus:9090" in source
    assert f"- {(DOCKER / 'alerts.yml').name}\n" in (DOCKER / "prometheus.yml").read_text()


@pytest.mark.parametrize("arguments", [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_promtool_takes_the_files(arguments: tuple[str, str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    command = [promtool, "check", *arguments]
    done = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_takes_the_composition() -> None:
    for compose in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(compose[0]) and not subprocess.run([*compose, "version"], capture_output=True).returncode:
            break
    else:
        pytest.skip("docker compose is not installed (Debian: docker-compose)")
    command = [*compose, "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
