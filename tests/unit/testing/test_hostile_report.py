"""What ``scripts/bench/hostile.py`` makes of its runs, without a node: coins for all kinds, files, tables, the aim."""

from __future__ import annotations

import argparse
import math
from collections import Counter, deque
from pathlib import Path

import pytest

from scripts.bench import hostile
from tests.lib.hostile.attacker import Tally
from tests.lib.hostile.catalogue import KINDS
from tests.lib.hostile.kinds import Kind, once
from tests.lib.hostile.observer import Delays, Seen
from tests.lib.hostile.report import OURS, add_to, beyond, nearness, read_runs, table
from tests.lib.hostile.siege import Result
from tests.lib.hostile.sites import Stable
from tests.lib.hostile.world import World, make_world

PEERS = [20, 50, 110]


def result(kind: str, peers: int, call: float, ping: float = 0.01, *, node: str = OURS, broken: str = "") -> Result:
    seen = Seen(Delays([0.001, call]), Delays([call]), Delays([]), Delays([ping]), Delays([0.1], failed=2))
    tally = Tally(3, 2, 1, errors=Counter({"closed": 2}))
    return Result(node, kind, peers, seen, tally, 5 << 20, Counter({"of no use": 4}), broken=broken)


def test_each_kind_has_coins_enough_for_all_numbers_of_peers() -> None:
    world = make_world(50, 2, hostile.spare_coins(PEERS), height=300, busy_txs=400)
    coins = world.coins
    for kind in KINDS:
        world.coins = coins.copy()
        for count in [kind.fixed] if kind.fixed else PEERS:
            kind.prepare(world, count)
        if kind.name == "tx, good ones of everybody":
            assert len(coins) - len(world.coins) == 200 * sum(PEERS), "as many for each of many as for each of few"


def test_files_of_runs_are_joined(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    first, second = result("a", 20, 0.1), result("b", 20, 0.2, node="Bitcoind")
    add_to(one, first)
    add_to(one, result("b", 20, 0.4))
    add_to(two, second)
    add_to(two, better := result("b", 20, 0.05))
    assert read_runs([one, two]) == [first, better, second]


def test_who_is_beyond_the_aim_is_named_with_the_figures_of_both() -> None:
    runs = [
        result("fine", 20, 0.25, 1.0),
        result("late call", 20, 0.3),
        result("late call", 20, 0.07, 2.54, node="Bitcoind"),
        result("late ping", 110, 0.1, 1.81),
        result("broken", 50, 0.0, broken="IndexError: none left"),
    ]
    assert [nearness(run) for run in runs] == [1.0, 1.2, 2.54, 1.81, math.inf]
    assert beyond(runs) == [
        "broken, 50 peers: not done (IndexError: none left)",
        "late ping, 110 peers: getblockcount 0.10, ping 1.81",
        "late call, 20 peers: getblockcount 0.30, ping 0.01; bitcoind: getblockcount 0.07, ping 2.54",
    ]
    runs[0].seen.ping.failed = 1
    assert nearness(runs[0]) == math.inf


def test_a_row_has_the_numbers_of_peers_that_its_kind_was_tried_with() -> None:
    runs = [("a", 110, 0.1), ("b", 20, 0.2), ("b", 110, 0.3), ("RPC, 300 idle", 300, 0.4)]
    rows = table([*[result(*run) for run in runs], result("b", 110, 0.5, node="Bitcoind")]).split("\n")
    assert rows[0].startswith("| attack | peers | getblockcount s |")
    cells = [[row.strip("| ").split(" | ")[at] for at in (0, 1, 2, 10)] for row in rows[2:]]
    assert cells == [
        ["a", "110", "0.10", "-"],
        ["b", "20 · 110", "0.20 · 0.30", "- · 0.50"],
        ["RPC, 300 idle", "300", "0.40", "-"],
    ]


class FakeGround:
    """Attacks take what the test says; remembers which were made."""

    calls: dict[int, float]
    made: list[tuple[str, int, int]]

    def __init__(self, stable: Stable, kind: Kind, world: World, seconds: float) -> None:
        self.stable, self.kind, self.world = stable, kind, world

    def run(self, count: int) -> Result:
        self.made.append((self.stable.name, count, len(self.world.coins)))
        self.world.coins.clear()
        return result(self.kind.name, count, self.calls[count])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("near", "few", "calls", "sizes"),
    [
        (None, False, {20: 0.01, 50: 0.01, 110: 0.01}, [20, 50, 110]),
        (0.4, False, {20: 0.2, 50: 0.2, 110: 0.09}, [110]),
        (0.4, False, {20: 0.2, 50: 0.09, 110: 0.1}, [110, 50]),
        (0.4, True, {20: 0.2, 50: 0.01, 110: 0.01}, [110, 50, 20]),
    ],
)
def test_fewer_peers_are_tried_where_many_came_near_the_aim(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, near: float | None, few: bool, calls: dict[int, float],
    sizes: list[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(hostile, "Ground", FakeGround)
    monkeypatch.setattr(FakeGround, "calls", calls, raising=False)
    made: list[tuple[str, int, int]] = []
    monkeypatch.setattr(FakeGround, "made", made, raising=False)
    world = World(coins=deque(make_world(5, 0, 10, height=200, busy_txs=5).coins))
    coins = len(world.coins)
    stables = [Stable(tmp_path, world, None), Stable(tmp_path, world, tmp_path / "bitcoind")]
    options = argparse.Namespace(peers=PEERS, near=near, seconds=1.0)
    kind = Kind("k", lambda *_: once(), few=few)
    runs = list(hostile.run_kind(stables, kind, options, world))
    expected = [(name, size) for name in ("btcnode", "bitcoind") for size in sizes]
    assert [(name, size) for name, size, _ in made] == expected
    assert [run.peers for run in runs] == sizes * 2
    assert {left for _, size, left in made if size == sizes[0]} == {coins}, "each node has all coins"
    assert len(world.coins) == coins


def test_a_kind_that_fails_is_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    stable = Stable(tmp_path, world, None)  # nothing is prepared: no node can start
    ground = hostile.Ground(stable, Kind("k", lambda *_: once()), world, 1.0)
    run = ground.run(20)
    assert run.broken.startswith("FileNotFoundError")
    assert nearness(run) == math.inf
    assert "Traceback" in capsys.readouterr().err
    assert hostile.conclusion([run]) == 1
    assert "k, 20 peers: not done (FileNotFoundError" in capsys.readouterr().out


def test_parts_are_all_kinds_together() -> None:
    names = []
    for number in (1, 2, 3):
        options = argparse.Namespace(kinds=[], part=hostile.part_of(f"{number}/3"))
        names += [kind.name for kind in hostile.chosen(options)]
    assert sorted(names) == sorted(kind.name for kind in KINDS)
    with pytest.raises(ValueError, match="4/3"):
        hostile.part_of("4/3")
