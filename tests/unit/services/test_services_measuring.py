"""Scrapes of a real node: whatever peers do, the series stay the same; the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from btcnode.observe.catalogue import CATALOGUE
from btcnode.observe.metrics import Kind
from btcnode.services.measuring import PEERS_AT_ONCE, Meter
from btcnode.wire.messages import Ping, Pong
from tests.lib.node_parts import NodeLab, regtest_config
from tests.lib.peer import ScriptedPeer

PEERS = 60  # that come and go


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NodeLab]:
    lab = NodeLab(regtest_config(tmp_path))
    yield lab
    lab.close()


def meter_of(lab: NodeLab) -> Meter:
    meter = lab.assembled.meter
    meter._made_at = -1e9  # what was made a moment ago is not good enough here
    return meter


def scrape(lab: NodeLab) -> dict[tuple[str, ...], float]:
    """Samples by name and labels."""
    text = lab.do(meter_of(lab).text()).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))] = sample.value
    return found


def heard(peer: ScriptedPeer) -> None:
    """Wait until the node has taken all that the peer has sent."""
    peer.send(Ping(7))
    peer.expect(Pong)


def come_and_go(lab: NodeLab, first: int, last: int) -> None:
    """Peers of many networks, each with a message that nobody knows and one that does not decode."""
    for n in range(first, last):
        peer = lab.add_peer(f"{20 + n % 60}.{n % 250}.{n // 250}.7:{8000 + n}")
        peer.send_raw(f"made-up-{n}", b"x" * n)
        peer.send_raw("ping", b"x")
        heard(peer)
        peer.close()
    lab.until(lambda: not lab.assembled.machinery.reactor.connections)


def test_peers_that_come_and_go_make_no_series(lab: NodeLab) -> None:
    come_and_go(lab, 0, 3)
    before = scrape(lab)
    come_and_go(lab, 3, PEERS)
    after = scrape(lab)
    assert set(after) == set(before)
    assert after["p2p_messages_total", "direction=in", "type=other"] == PEERS
    assert after["p2p_bytes_total", "direction=in", "type=other"] == sum(range(PEERS)) + 24 * PEERS
    assert after["p2p_messages_total", "direction=in", "type=version"] == PEERS
    assert after["p2p_connections_total", "direction=in", "network=ipv4"] == PEERS
    assert after["p2p_misbehaviour_total", "reason=message-payload"] == PEERS
    assert after["node_peers", "direction=in", "network=ipv4"] == 0


def test_bytes_of_peers_count_once_whether_they_stay_or_not(lab: NodeLab) -> None:
    name = "p2p_bytes_total", "direction=in", "type=other"
    staying = lab.add_peer("21.1.1.1:8333")
    staying.send_raw("made-up", b"x" * 76)
    heard(staying)
    assert scrape(lab)[name] == 100
    staying.close()
    lab.until(lambda: not lab.assembled.machinery.reactor.connections)
    assert scrape(lab)[name] == 100


def test_every_metric_is_told_as_it_is_declared(lab: NodeLab) -> None:
    readings = lab.do(meter_of(lab).readings())
    assert [reading.metric for reading in readings] == list(CATALOGUE)
    for reading in readings:
        for labels, value in reading.values.items():
            assert len(labels) == len(reading.metric.labels)
            assert isinstance(value, int | float) is (reading.metric.kind is not Kind.HISTOGRAM), reading.metric.name


def test_the_loop_goes_on_during_a_scrape(lab: NodeLab) -> None:
    for n in range(2):
        lab.add_peer(f"21.{n}.1.1:8333")

    async def turns() -> int:
        reactor = lab.assembled.machinery.reactor
        one, two = reactor.connections.values()
        many = dict(enumerate([one, two] * PEERS_AT_ONCE * 3))
        reactor.connections, real = many, reactor.connections
        scraping, count = asyncio.ensure_future(meter_of(lab).text()), 0
        while not scraping.done():
            await asyncio.sleep(0)
            count += 1
        reactor.connections = real
        assert b"node_height 0\n" in scraping.result()
        return count

    assert lab.do(turns()) > len(CATALOGUE) + 6


def test_who_asks_together_gets_the_same_text(lab: NodeLab) -> None:
    meter = meter_of(lab)

    async def together() -> list[bytes]:
        asked = [asyncio.ensure_future(meter.text()) for _ in range(20)]
        asked[0].cancel()  # who leaves takes nothing from the others
        texts = [found for found in await asyncio.gather(*asked, return_exceptions=True) if isinstance(found, bytes)]
        return [*texts, await meter.text()]

    texts = lab.do(together())
    assert len(texts) == 20 and all(text is texts[0] for text in texts)


def test_a_scrape_that_fails_is_not_the_last(lab: NodeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = meter_of(lab)
    with monkeypatch.context() as patch:
        patch.setattr("btcnode.services.metric_values.outside", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.do(meter.text())
    assert b"node_height 0\n" in lab.do(meter.text())


def test_calls_are_counted_by_method(lab: NodeLab) -> None:
    lab.table.call(lab.table.methods["getblockcount"], [])
    for _ in range(2):
        with pytest.raises(Exception, match="out of range"):
            lab.table.call(lab.table.methods["getblockhash"], [99])
    with pytest.raises(Exception, match="Method not found"):
        lab.table.find("made-up")
    found = scrape(lab)
    assert found["rpc_call_seconds_count", "method=getblockcount"] == 1
    assert found["rpc_failed_total", "method=getblockcount"] == 0
    assert found["rpc_failed_total", "method=getblockhash"] == 2
    assert not any("method=made-up" in name for name in found)
    assert found["rpc_active_calls",] == 0


def test_promtool_finds_nothing_to_say(lab: NodeLab) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    text = lab.do(meter_of(lab).text())
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
