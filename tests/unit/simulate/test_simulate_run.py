"""Small networks: what spreads, what strategies get, and that the same seed is the same run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.protocol.effects import Send
from btcnode.protocol.transactions import tx_relay
from btcnode.simulate.command import picture, simulate_file
from btcnode.simulate.ledger import SharedChain, SharedPool
from btcnode.simulate.outcome import Outcome, as_text
from btcnode.simulate.run import Simulation, simulate
from btcnode.simulate.scenario import read_scenario
from btcnode.simulate.strategies import selfish_theory
from btcnode.testing.memory_chain import MemoryChain
from btcnode.testing.simulator import SimNode
from btcnode.testing.small_pool import SmallPool

pytestmark = pytest.mark.usefixtures("set_apart_again")

BASE = """
[network]
nodes = {nodes}
outbound = 3
block_relay_only = 0
miners = {miners}
block_relay = "{form}"
[time]
warm_up = 30
duration = {duration}
[blocks]
arrivals = "regular"
interval = 60
transactions = 20
"""


def outcome_of(more: str = "", *, nodes: int = 10, form: str = "compact", duration: int = 130) -> Outcome:
    base = BASE.format(nodes=nodes, form=form, duration=duration, miners=min(nodes, 4))
    return simulate(read_scenario(base + more))


@pytest.mark.parametrize("form", ["compact", "xthin", "plain"])
def test_blocks_and_transactions_reach_all(form: str) -> None:
    outcome = outcome_of("[transactions]\nrate = 0.1", form=form)
    assert outcome.found == outcome.height - 5 == 2
    assert outcome.tips == 1
    assert outcome.blocks.reach_share() == 1.0
    slowest = outcome.blocks.percentiles()["100"]
    assert slowest is not None
    assert 0 < slowest < 30
    assert outcome.messages_sent["tx"] > 0
    used = {"compact": "cmpctblock", "xthin": "xthinblock", "plain": "block"}[form]
    assert outcome.messages_sent[used] > 0
    assert not outcome.discouraged
    svg = picture([outcome])
    assert svg.startswith("<svg")
    assert form in svg
    assert "100.00 % reached" in as_text(outcome)


def test_honest_nodes_drop_nobody_for_what_it_does_in_an_hour() -> None:
    outcome = outcome_of("[transactions]\nrate = 0.02", nodes=8, duration=3630)
    assert outcome.tips == 1
    assert not outcome.discouraged
    allowed = re.compile("feeler|outbound|extra|too many|evict|block-relay|self|duplicate|version", re.IGNORECASE)
    assert not [reason for reason in outcome.disconnects if not allowed.search(reason)], outcome.disconnects


def digest_in_process(hash_seed: str) -> str:
    code = (
        "from tests.unit.simulate.test_simulate_run import outcome_of;"
        "print(outcome_of('[churn]\\nshare = 0.3\\nup = 40\\ndown = 20', duration=90).digest)"
    )
    root = Path(__file__).resolve().parents[3]
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_digest_is_the_same_under_any_hash_seed() -> None:
    first = digest_in_process("1")
    assert len(first) == 64
    assert digest_in_process("2") == first


def test_another_seed_or_relay_rule_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read_scenario(BASE.format(nodes=8, form="compact", duration=70, miners=2) + "[transactions]\nrate = 0.2")
    first = simulate(scenario).digest
    assert simulate(scenario).digest == first
    assert simulate(scenario, 2).digest != first
    monkeypatch.setattr(tx_relay, "OUTBOUND_INVENTORY_BROADCAST_INTERVAL", 0.1)
    assert simulate(scenario).digest != first


def test_what_nodes_share_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages as objects, blocks that are parsed and checked once, transactions that all have the same object of."""
    more = "[transactions]\nrate = 0.2\nchained = 0.5\n[[partition]]\nat = 10\nlasts = 80\n"
    shared = outcome_of(more, duration=250)
    assert shared.blocks.percentiles()["50"] is not None
    assert shared.transactions.percentiles()["50"] is not None

    def send_bytes(node: SimNode, effect: Send) -> None:
        node._send(effect.peer_id, effect.message.command, effect.message.encode())

    monkeypatch.setattr(SimNode, "_send_message", send_bytes)
    for name in ("store", "parsed"):
        monkeypatch.setattr(SharedChain, name, getattr(MemoryChain, name))
    for name in ("add", "keep_confirmed", "drop_confirmed", "transactions_of"):
        monkeypatch.setattr(SharedPool, name, getattr(SmallPool, name))
    assert outcome_of(more, duration=250).digest == shared.digest


def test_a_node_alone() -> None:
    outcome = outcome_of("[transactions]\nrate = 0.1", nodes=1)
    assert outcome.tips == 1
    assert outcome.blocks.percentiles()["100"] == 0.0
    assert outcome.connections == 0


def test_nothing_arrives_where_all_is_lost() -> None:
    outcome = outcome_of("[links]\nloss = 1.0", nodes=6)
    assert outcome.connections == 0
    assert outcome.blocks.percentiles()["99"] is None
    assert outcome.tips > 1


def test_a_partition_makes_two_chains_and_heals() -> None:
    cut = "[[partition]]\nat = 10\nlasts = {lasts}\nshare = 0.5"
    for_good = outcome_of(cut.format(lasts="inf"), duration=200)
    assert for_good.tips >= 2
    healed = outcome_of(cut.format(lasts=120), duration=200)
    assert healed.found == 3


def test_a_selfish_miner_with_all_hash_rate_gets_all() -> None:
    outcome = outcome_of("[selfish]\nhash_rate = 1.0\nconnections = 4", nodes=6, duration=200)
    assert outcome.selfish is not None
    assert outcome.selfish["found"] == 3
    assert not outcome.stale or outcome.selfish["in_chain"] < 3  # what it keeps back is in no chain


def test_the_selfish_miner_publishes_as_it_should() -> None:
    outcome = outcome_of("[selfish]\nhash_rate = 0.45\nconnections = 5", nodes=6, duration=630)
    assert outcome.selfish is not None
    assert 0 < outcome.selfish["in_chain"] <= outcome.selfish["found"]
    assert outcome.found == 10


def test_what_the_selfish_miner_gets_is_what_theory_says() -> None:
    assert selfish_theory(1 / 3, 0.0) == pytest.approx(1 / 3)  # from here on it pays
    assert selfish_theory(1 / 4, 0.5) == pytest.approx(1 / 4)
    assert selfish_theory(0.4, 1.0) > selfish_theory(0.4, 0.0) > 0.4
    scenario = """
        [network]
        nodes = 4
        outbound = 2
        block_relay_only = 0
        miners = 3
        tick = 10
        [time]
        duration = 36000
        [latency]
        model = "uniform"
        minimum = 0.001
        maximum = 0.002
        [blocks]
        interval = 20
        transactions = 0
        [transactions]
        rate = 0
        [selfish]
        hash_rate = 0.42
        connections = 3
    """
    outcome = simulate(read_scenario(scenario))
    figures = outcome.selfish
    assert figures is not None
    assert figures["races"] > 50
    expected = selfish_theory(figures["found"] / outcome.found, figures["gamma"])
    assert figures["revenue"] == pytest.approx(expected, abs=0.04)
    assert expected > figures["found"] / outcome.found + 0.05  # an honest miner would get that
    assert "theory" in as_text(outcome)


def test_a_victim_among_hosts_of_an_attacker() -> None:
    more = "[eclipse]\nvictims = 1\nhosts = 30\naddresses = 30\ninbound = 5\ntried = 1.0"
    outcome = outcome_of(more, nodes=8)
    assert outcome.eclipse is not None
    assert outcome.eclipse["hostile_share"] > 0


def test_nodes_that_restart_catch_up() -> None:
    simulation = Simulation(read_scenario(BASE.format(nodes=8, form="compact", duration=330, miners=2)))
    net = simulation.world.internet
    net.at(80, simulation.nodes[7].stop)
    net.at(250, simulation._restart, 7)
    outcome = simulation.run()
    assert outcome.tips == 1
    assert simulation.nodes[7].height == outcome.height


def test_the_command(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    scenario.write_text("compare = ['compact', 'plain']" + BASE.format(nodes=5, form="compact", duration=70, miners=2))
    lines: list[str] = []
    text = simulate_file(str(scenario), 3, tmp_path / "p.svg", lines.append, as_json=True)
    assert [run["block_relay"] for run in json.loads(text)] == ["compact", "plain"]
    assert (tmp_path / "p.svg").read_text().count("<polyline") >= 2
    assert any("100%" in line for line in lines)
