"""What the chain does and the user is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from btcnode.chain.events import BlockConnected, BlockDisconnected, BlockInvalidated, BlockRejected, ChainEvent
from btcnode.chain.header_tree import HeaderTree
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.connections.time_offsets import WARN_SECONDS
from btcnode.services.alerts import Alerts
from btcnode.services.chain import Chain
from btcnode.services.chain_alerts import CLOCK_TEXT, INVALID_CHAIN_TEXT, ChainAlerts
from btcnode.testing.blocks import BlockTemplate
from btcnode.testing.memory_chain import mine_chain

REGTEST = params_for("regtest")
NOW = 1_700_000_000


class TinyChain:
    """As much of the chain's service as the watch asks for; it is its own driver, too."""

    def __init__(self) -> None:
        self.tree = HeaderTree(REGTEST)
        self.active = 0
        self.rules: list[tuple[str, bool]] = []
        self.failures_changed: Callable[[], None] = lambda: None
        self.publish: Callable[[list[ChainEvent]], None] = lambda _: None

    @property
    def driver(self) -> TinyChain:
        return self

    def listen(self, listener: Callable[[list[ChainEvent]], None]) -> None:
        self.publish = listener

    def listen_failures(self, listener: Callable[[], None]) -> None:
        self.failures_changed = listener

    def tip(self) -> int:
        return self.active

    def unknown_rules(self) -> list[tuple[str, bool]]:
        return self.rules


@pytest.fixture
def chain() -> TinyChain:
    chain = TinyChain()
    for raw in mine_chain(REGTEST, 10, NOW):
        chain.tree.add(raw[:80], NOW)
    return chain


def watch_of(chain: TinyChain) -> tuple[ChainAlerts, Alerts]:
    alerts = Alerts()
    return ChainAlerts(cast(Chain, chain), alerts), alerts


def test_an_invalid_chain_that_is_longer(chain: TinyChain, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "btcnode")
    _, alerts = watch_of(chain)
    chain.active = 3
    chain.tree.mark_failed(5)
    chain.publish([BlockRejected(5, RuleViolation("bad-cb-amount"), connecting=True, top=10)])
    assert alerts.warnings() == [f"Warning: {INVALID_CHAIN_TEXT}"]
    assert "Block validation error: bad-cb-amount" in caplog.messages
    assert any(line.startswith("InvalidChainFound: invalid block=") for line in caplog.messages)
    chain.active = 4  # the invalid one is six blocks ahead, no more
    chain.publish([BlockDisconnected(5, 5, cast(Any, None))])
    assert not alerts.warnings()
    chain.active = 3
    chain.publish([BlockDisconnected(4, 4, cast(Any, None))])
    assert alerts.warnings()
    chain.tree.clear_failed(5)
    chain.failures_changed()
    assert alerts.warnings()  # as in Core, until the chain has moved
    chain.publish([BlockConnected(4, 4, 1, 0, 0, cast(Any, None))])
    assert not alerts.warnings()
    chain.tree.mark_failed(5)
    assert watch_of(chain)[1].warnings()  # known from an earlier run


def test_what_the_user_invalidates_counts_without_the_blocks_above(chain: TinyChain) -> None:
    _, alerts = watch_of(chain)
    chain.active = 1
    chain.tree.mark_failed(2)
    chain.publish([BlockInvalidated(2)])
    chain.failures_changed()
    assert not alerts.warnings()  # as in Core, although nine blocks were left
    chain.active = 0
    chain.tree.mark_failed(8)
    chain.publish([BlockInvalidated(8)])
    assert alerts.warnings() == [f"Warning: {INVALID_CHAIN_TEXT}"]


@pytest.mark.parametrize(("blocks", "before", "warns"), [(4, False, False), (5, False, True), (5, True, False)])
def test_side_branches_that_the_user_invalidates_count_when_the_chain_moves(
    chain: TinyChain, blocks: int, before: bool, warns: bool
) -> None:
    """As in Core, which comes upon them on its way to the best chain; not headers alone, nor what failed before."""
    tree = chain.tree
    for index in range(11):
        tree.receive_block(index, 1, 0, index)
    side, prev = 3, tree.hash(3)
    for height in range(4, 11):
        time = NOW - 100 + height
        raw = BlockTemplate(REGTEST, prev, height, time, REGTEST.pow_limit_bits, extra=b"\x01").build()
        side, prev = tree.add(raw[:HEADER_SIZE], NOW)[0], header_hash(raw[:HEADER_SIZE])
        if height < 4 + blocks:
            tree.receive_block(side, 1, 0, 100 + height)
    chain.active = 10
    _, alerts = watch_of(chain)
    if before:
        tree.mark_failed(tree.ancestor(side, 4))
    tree.mark_failed(2)
    chain.active = 1
    chain.publish([BlockDisconnected(index, index, cast(Any, None)) for index in range(10, 1, -1)])
    chain.publish([BlockInvalidated(2)])
    assert not alerts.warnings()
    chain.publish([BlockConnected(1, 1, 1, 0, 0, cast(Any, None))])
    assert bool(alerts.warnings()) == warns


def test_unknown_rules_and_clocks(chain: TinyChain) -> None:
    watch, alerts = watch_of(chain)
    chain.rules = [("locked in", False)]
    chain.publish([BlockDisconnected(5, 5, cast(Any, None))])
    assert not alerts.warnings()
    chain.rules = [("active", True)]
    chain.publish([BlockDisconnected(5, 5, cast(Any, None))])
    chain.rules = []
    chain.publish([BlockDisconnected(5, 5, cast(Any, None))])
    assert alerts.warnings() == ["active"]  # it stands
    watch.check_clock(-WARN_SECONDS - 1)
    watch.check_clock(-WARN_SECONDS - 2)
    assert alerts.warnings() == ["active", CLOCK_TEXT]
    watch.check_clock(WARN_SECONDS)
    assert alerts.warnings() == ["active"]
