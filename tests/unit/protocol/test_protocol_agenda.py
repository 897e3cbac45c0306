"""The agenda of a tick: moments, clocks, what is moved, what is forgotten; and that it leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from btcnode.protocol.agenda import ALL_PARTS, NEVER, NEXT_TICK, Agenda, Part
from btcnode.protocol.protocol import Protocol
from btcnode.simulate.run import simulate
from btcnode.simulate.scenario import read_scenario
from tests.lib.object_sizes import container_sizes
from tests.lib.protocol_bench import Bench

pytestmark = pytest.mark.usefixtures("set_apart_again")

SCENARIO = """
[network]
nodes = 14
outbound = 3
block_relay_only = 1
miners = 4
[time]
warm_up = 60
duration = 700
[blocks]
arrivals = "regular"
interval = 90
transactions = 20
[transactions]
rate = 0.2
[links]
loss = 0.02
[churn]
share = 0.4
up = 150
down = 60
[[partition]]
at = 200
lasts = 150
"""


def test_what_is_woken_is_looked_at_once() -> None:
    agenda = Agenda()
    agenda.wake(7, Part.HEADERS)
    agenda.wake(3)
    agenda.wake(7, Part.FEES)
    assert agenda.take(0, 0, ()) == [(3, ALL_PARTS), (7, Part.HEADERS | Part.FEES)]
    assert agenda.take(0, 0, ()) == []


def test_all_are_woken_that_there_are() -> None:
    agenda = Agenda()
    agenda.wake(2, Part.SCORE)
    agenda.wake_all(Part.FEES)
    assert agenda.take(0, 0, (1, 2)) == [(1, Part.FEES), (2, Part.SCORE | Part.FEES)]
    assert agenda.take(0, 0, (1, 2)) == []


def test_moments_come_on_their_clocks_and_can_be_moved() -> None:
    agenda = Agenda()
    agenda.set(1, Part.SCORE, 10.0)  # steady
    agenda.set(1, Part.FEES, 10.0)  # mockable
    agenda.set(2, Part.FEES, 10.0)
    agenda.set(2, Part.FEES, 30.0)
    agenda.set(3, Part.FEES, 10.0)
    agenda.set(3, Part.FEES, NEVER)
    assert agenda.take(9.9, 9.9, ()) == []
    assert agenda.take(9.9, 10.0, ()) == [(1, Part.FEES)]
    assert agenda.take(10.0, 10.0, ()) == [(1, Part.SCORE)]
    agenda.set(2, Part.FEES, 20.0)
    assert agenda.take(20.0, 20.0, ()) == [(2, Part.FEES)]
    assert agenda.take(40.0, 40.0, ()) == []
    agenda.set(4, Part.BLOCKS, NEXT_TICK)
    assert agenda.take(0.0, 0.0, ()) == [(4, Part.BLOCKS)]


def test_who_is_gone_is_forgotten() -> None:
    agenda = Agenda()
    for part in Part:
        agenda.set(1, part, 5.0)
    agenda.wake(1)
    agenda.forget(1)
    assert agenda.take(9.0, 9.0, ()) == []


def test_what_counts_no_more_does_not_gather() -> None:
    agenda = Agenda()
    for peer_id in range(300):
        for part in Part:
            agenda.set(peer_id, part, 1000.0)
        agenda.forget(peer_id)
    assert sum(container_sizes(agenda).values()) < 60  # who was connected for a moment leaves nothing until the moment
    for number in range(1000):
        agenda.set(1, Part.FEES, 1000.0 + number % 2)
    assert sum(container_sizes(agenda).values()) < 60
    assert agenda.take(0, 1000, ()) == []
    assert agenda.take(0, 1001, ()) == [(1, Part.FEES)]


@pytest.mark.parametrize("form", ["compact", "xthin", "plain"])
def test_a_tick_that_looks_at_everybody_finds_nothing_more_to_do(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same network once as it is and once with all parts of all peers looked at in each tick: no byte differs."""
    scenario = read_scenario(SCENARIO).relayed_by(form)
    digest = simulate(scenario).digest
    take = Agenda.take

    def take_all(self: Agenda, steady: float, mockable: float, peers: Iterable[int]) -> list[tuple[int, int]]:
        self.wake_all()
        return take(self, steady, mockable, peers)

    monkeypatch.setattr(Agenda, "take", take_all)
    assert simulate(scenario).digest == digest


def test_peers_at_rest_cost_a_tick_nothing(bench: Bench, blocks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    bench.load(blocks)
    looks = 0
    look = Protocol._tick_peer

    def count(self: Protocol, *arguments: object) -> None:
        nonlocal looks
        looks += 1
        look(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Protocol, "_tick_peer", count)
    for _ in range(20):
        bench.peer()
    bench.wait(130, each=0.1)
    looks = 0
    bench.wait(60, each=0.1)
    assert looks < 20 * 6  # six times a minute instead of ten times a second
