"""Which tips are news, on the way from one branch to another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.chain.events import BlockConnected, BlockDisconnected, SnapshotActivated
from btcnode.services.announced_tip import AnnouncedTip

NAMES = ["a0", "a1", "a2", "a3", "b1", "b2", "b3", "b4"]  # the digit is height and work; "a0" is the parent of "b1"


class Chain:
    """Blocks by name, and the names of the tips that are announced."""

    def __init__(self) -> None:
        tree = SimpleNamespace(chainwork=lambda index: int(NAMES[index][1:]), prev=self.prev)
        self.announced = AnnouncedTip(cast(Any, tree), NAMES.index("a3"))
        self.told: list[str] = []
        self.announced.listen(lambda tip: self.told.append(NAMES[tip]))

    @staticmethod
    def prev(index: int) -> int:
        branch, height = NAMES[index][0], int(NAMES[index][1:]) - 1
        return NAMES.index(f"{branch}{height}") if height else 0

    def come(self, *names: str) -> None:
        for name in names:
            index = NAMES.index(name)
            self.announced.on_events([BlockConnected(index, self.prev(index) + 1, 1, 1, 0, cast(Any, None))])

    def go(self, *names: str, by_hand: bool = False) -> None:
        for name in names:
            self.announced.on_events([BlockDisconnected(NAMES.index(name), 1, cast(Any, None), by_hand)])

    def rest(self, name: str) -> None:
        self.announced.come_to_rest(NAMES.index(name))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_a_reorganisation_is_told_once_it_has_more_work(chain: Chain) -> None:
    chain.go("a3", "a2", "a1")
    chain.come("b1", "b2", "b3")
    assert chain.told == []
    chain.come("b4")
    chain.rest("b4")
    assert chain.told == ["b4"]


def test_a_branch_of_equal_work_is_told_at_its_end(chain: Chain) -> None:
    chain.go("a3", "a2", "a1")
    chain.come("b1", "b2", "b3")
    chain.rest("b3")
    assert chain.told == ["b3"]


def test_a_branch_that_breaks_a_rule_is_no_news(chain: Chain) -> None:
    chain.go("a3", "a2", "a1")
    chain.come("b1")
    chain.go("b1")
    chain.come("a1", "a2", "a3")
    chain.rest("a3")
    assert chain.told == []


def test_blocks_invalidated_by_hand_are_told_by_the_one_below(chain: Chain) -> None:
    chain.go("a3", "a2", by_hand=True)
    chain.rest("a1")
    assert chain.told == ["a1"]
    chain.come("a2", "a3")
    assert chain.told == ["a1", "a2", "a3"]


def test_another_branch_after_an_invalidation(chain: Chain) -> None:
    chain.go("a3", "a2", "a1", by_hand=True)
    chain.come("b1", "b2")
    chain.rest("b2")
    assert chain.told == ["a0", "b1", "b2"]


def test_a_loaded_set_is_a_tip(chain: Chain) -> None:
    chain.announced.on_events([SnapshotActivated(NAMES.index("b4"), 4)])
    assert chain.told == ["b4"]
