"""Metrics over HTTP, sync states and the record of a run that was killed."""

from __future__ import annotations

import re
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from btcnode import __version__
from btcnode.observe.catalogue import CATALOGUE
from tests.lib.process import NodeProcess, free_port, wait_until

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
# of a node without indexes and worker processes
WITHOUT_SAMPLES = {"node_index_height", "node_index_rebuilding", "workers_events_total"}
TOLD = "the last run ended without a shutdown, in state synced"


def scrape(port: int) -> dict[str, float]:
    """Samples by name, with their labels where they have some."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[sample.name + (f"[{labels}]" if labels else "")] = sample.value
    return samples


def make_node(stack: ExitStack, base: Path, title: str, *options: str) -> NodeProcess:
    directory = base / title
    directory.mkdir(exist_ok=True)
    return stack.enter_context(NodeProcess(directory, "regtest", *options))


def test_figures_of_a_sync(tmp_path: Path) -> None:
    with ExitStack() as stack:
        source = make_node(stack, tmp_path, "source").start()
        source.rpc("generatetoaddress", 150, ADDRESS)
        port = free_port()
        node = make_node(stack, tmp_path, "node", "--connect", source.address, "--metrics-port", str(port)).start()
        node.wait_height(150)
        wait_until(lambda: scrape(port)["node_height"] == 150, 20, "the figures of the end")
        found = scrape(port)
        assert found["sync_blocks_processed_total"] == 150
        told = {re.sub(r"_(bucket|sum|count)$", "", name.partition("[")[0]) for name in found}
        assert {metric.name for metric in CATALOGUE} - told <= WITHOUT_SAMPLES
        assert found["sync_requests_sent_total[type=block]"] >= 150
        assert found["sync_requests_success_total[type=block]"] == 150
        assert sum(value for name, value in found.items() if name.startswith("sync_requests_failed_total")) == 0
        assert found["sync_requests_sent_total[type=headers]"] >= 1
        assert found["sync_request_latency_seconds_bucket[le=+Inf,type=block]"] == 150
        assert found["sync_request_latency_seconds_count[type=block]"] == 150
        for bound in ("0.1", "0.5", "1.0", "2.0", "5.0", "10.0"):
            assert 0 <= found[f"sync_request_latency_seconds_bucket[le={bound},type=block]"] <= 150
        assert found["sync_cache_bytes"] > 0 and found["sync_cache_lookups_total"] >= 0
        assert found["process_memory_bytes[kind=node]"] > 10 << 20
        assert found["node_peers[direction=out,network=not_publicly_routable]"] == 1
        assert found["mempool_transactions"] == 0
        assert found["p2p_messages_total[direction=in,type=block]"] == 150
        assert found["p2p_wire_bytes_total[direction=in]"] <= node.rpc("getnettotals")["totalbytesrecv"]
        assert found["p2p_bytes_total[direction=in,type=block]"] > 150 * 200
        assert found["node_disk_bytes[kind=blocks]"] == node.rpc("getblockchaininfo")["size_on_disk"]
        assert found[f"node_info[network=regtest,version={__version__}]"] == 1
        assert found["rpc_call_seconds_count[method=getblockcount]"] >= 1
        assert found["process_descriptors"] > 10
        stages = {name for name in found if name.startswith("sync_stage_busy_fraction")}
        assert len(stages) == 5 and all(0 <= found[name] <= 1 for name in stages)
        wait_until(lambda: node.rpc("getsyncstate")["state"] == "synced", 20, "the state")
        assert scrape(port)["sync_state[state=synced]"] in (0.0, 1.0)
        state = node.rpc("getsyncstate")
        assert state["history"][-1]["to"] == "synced" and state["refused"] == 0
        profile = node.rpc("getsyncprofile")
        figures = profile["initial_download"]
        assert figures["blocks"] == 150 and figures["peak_memory"] >= figures["mean_memory"] > 0
        assert set(figures["busy"]) == {"fetch", "store", "validate", "scripts", "commit"}
        assert profile["process"]["threads"] >= 1 and profile["process"]["tasks"] > 1
        wait_until(lambda: node.rpc("getsyncprofile")["recent"]["duration"] > figures["duration"], 20, "a later sample")
        other = make_node(stack, tmp_path, "other", "--metrics-port", str(port))
        with pytest.raises(RuntimeError, match=f"cannot serve metrics at 127.0.0.1:{port}"):
            other.start()
        for one in (node, source):
            assert one.stop() == 0


def test_a_killed_node_says_so_at_its_next_start(tmp_path: Path) -> None:
    with ExitStack() as stack:
        source = make_node(stack, tmp_path, "source").start()
        source.rpc("generatetoaddress", 60, ADDRESS)
        node = make_node(stack, tmp_path, "node", "--connect", source.address).start()
        node.wait_height(60)
        wait_until(lambda: node.rpc("getsyncstate")["state"] == "synced", 20, "the state")
        assert TOLD not in node.output()
        node.rpc("gettxoutsetinfo")  # which flushes
        source.rpc("generatetoaddress", 15, ADDRESS)
        node.wait_height(75)
        wait_until(lambda: node.rpc("getsyncstate")["state"] == "synced", 20, "the state")
        node.kill()
        again = make_node(stack, tmp_path, "node", "--connect", source.address).start()
        again.wait_height(75)
        told = "\n".join(line for line in again.output().splitlines() if "the last run ended" in line)
        assert told.count(f"{TOLD} at height 75, ") == 1
        assert "gone back by 15 blocks, which are done again (height 60, as written " in told
        assert "nothing is lost" in told
        assert again.stop() == 0
        clean = make_node(stack, tmp_path, "node").start()
        assert clean.output().count(TOLD) == 1
        assert clean.rpc("getblockcount") == 75
        assert clean.stop() == 0
        assert source.stop() == 0
