"""docker/grafana/dashboards/btcnode.json: Grafana's dashboard of a node, from a table of its panels."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, LOW = 24, 8, 4  # Grafana's units
NODE = '{instance="$instance"}'


class Panel(NamedTuple):
    """One figure. ``queries`` are (legend, PromQL); ``unit`` is Grafana's name; ``kind`` stat or timeseries."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


def _quantiles(name: str, *labels: str) -> tuple[tuple[str, str], ...]:
    by = ", ".join(("le", *labels))
    shown = " ".join(f"{{{{{label}}}}}" for label in labels)
    return tuple(
        (
            f"{shown} p{q}".strip(),
            f"histogram_quantile(0.{q}, sum by ({by}) (rate({name}_bucket{NODE}[$__rate_interval])))",
        )
        for q in (50, 95)
    )


def _rate(name: str, *labels: str, only: str = "") -> str:
    chosen = NODE.replace("}", f",{only}}}") if only else NODE
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({name}{chosen}[$__rate_interval]))"


def _stat(title: str, unit: str, query: str, legend: str = "") -> Panel:
    return Panel(title, unit, ((legend, query),), "stat", 4)


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it in sync?": (
        _stat("State", "none", f"sync_state{NODE} == 1", "{{state}}"),
        _stat("Height", "locale", f"node_height{NODE}"),
        _stat("Behind its headers", "locale", f"node_headers{NODE} - node_height{NODE}"),
        _stat("Age of the tip", "s", f"time() - node_tip_time_seconds{NODE}"),
        _stat("Peers", "none", f"sum(node_peers{NODE})"),
        _stat("Warnings", "none", f"node_warnings{NODE}"),
    ),
    "Why is it slow?": (
        Panel("Blocks and transactions connected", "short", (
            ("blocks/s", f"rate(sync_blocks_processed_total{NODE}[$__rate_interval])"),
            ("inputs/s", f"rate(sync_inputs_processed_total{NODE}[$__rate_interval])"),
        )),
        Panel("Stages at work", "percentunit", (("{{stage}}", f"sync_stage_busy_fraction{NODE}"),)),
        Panel("Work that waits", "short", (("{{stage}}", f"sync_stage_queue_length{NODE}"),)),
        Panel("Answers to requests", "s", _quantiles("sync_request_latency_seconds", "type")),
        Panel("Requests that failed", "reqps", (
            ("{{type}} {{reason}}", _rate("sync_requests_failed_total", "type", "reason")),
        )),
        Panel("Coins not in memory", "percentunit", (
            ("misses", f"{_rate('sync_cache_misses_total')} / {_rate('sync_cache_lookups_total')}"),
        )),
    ),
    "Blocks and transactions": (
        Panel("From a block's last byte to its announcement", "s", _quantiles("p2p_block_relay_seconds")),
        Panel("From a transaction to its announcement", "s", _quantiles("p2p_tx_relay_seconds")),
        Panel("Reorganisations", "none", (("an hour", f"increase(node_reorganisations_total{NODE}[1h])"),)),
        Panel("Mempool", "bytes", (("used", f"mempool_bytes{NODE}"), ("limit", f"mempool_limit_bytes{NODE}"))),
        Panel("Transactions taken in and refused", "ops", (
            ("accepted", f"rate(mempool_accepted_total{NODE}[$__rate_interval])"),
            ("{{reason}}", _rate("mempool_rejected_total", "reason")),
        )),
        Panel("Least fee rate", "short", (("sat/kvB", f"mempool_min_fee_satoshi_per_kvb{NODE}"),)),
    ),
    "Peers: who is abusing me?": (
        Panel("Peers", "none", (("{{direction}} {{network}}", f"node_peers{NODE}"),), stacked=True),
        Panel("New connections", "ops", (
            ("{{direction}} {{network}}", _rate("p2p_connections_total", "direction", "network")),
        )),
        Panel("Faults", "ops", (("{{reason}}", f"{_rate('p2p_misbehaviour_total', 'reason')} > 0"),)),
        Panel("Received by type", "Bps", (
            ("{{type}}", _rate("p2p_bytes_total", "type", only='direction="in"')),
        ), stacked=True),
        Panel("Sent by type", "Bps", (
            ("{{type}}", _rate("p2p_bytes_total", "type", only='direction="out"')),
        ), stacked=True),
        Panel("Messages dropped or delayed", "ops", (
            ("{{outcome}} {{class}}", _rate("p2p_class_messages_total", "outcome", "class", only='outcome!="sent"')),
        )),
    ),
    "The machine": (
        Panel("Memory", "bytes", (("{{kind}}", f"process_memory_bytes{NODE}"),), stacked=True),
        Panel("Disk", "bytes", (("{{kind}}", f"node_disk_bytes{NODE}"), ("free", f"node_disk_free_bytes{NODE}"))),
        Panel("Days until the disk is full", "d", (
            ("days", f"(node_disk_free_bytes{NODE} / -deriv(node_disk_free_bytes{NODE}[6h]) > 0) / 86400"),
        )),
        Panel("The loop is late", "s", _quantiles("loop_lag_seconds")),
        Panel("Pauses of the collector", "s", _quantiles("python_gc_pause_seconds", "generation")),
        Panel("RPC", "s", _quantiles("rpc_call_seconds", "method")),
    ),
}  # fmt: skip


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"unit": panel.unit}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "stat":
        named = bool(panel.queries[0][0])
        options = {"textMode": "name" if named else "value", "reduceOptions": {"calcs": ["lastNotNull"]}}
    elif panel.stacked:
        fields["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": LOW if panel.kind == "stat" else HEIGHT},
        "fieldConfig": {"defaults": fields, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for n, (legend, query) in enumerate(panel.queries)
        ],
    }


def _panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        head = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        made.append(
            {"id": len(made) + 1, "type": "row", "title": title, "gridPos": head, "collapsed": False, "panels": []}
        )
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            made.append(_panel(len(made) + 1, panel, x, y))
            x += panel.width
        y += LOW if panels[-1].kind == "stat" else HEIGHT
    return made


def dashboard() -> str:
    """The file."""
    instance = {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(node_height, instance)",
        "refresh": 2,
    }
    whole = {
        "uid": "btcnode",
        "title": "btcnode",
        "schemaVersion": 41,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [instance]},
        "panels": _panels(),
    }
    return json.dumps(whole, indent=1) + "\n"
