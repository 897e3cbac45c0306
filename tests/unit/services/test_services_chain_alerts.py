"""What the chain does and the user is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from btcnode.chain.events import BlockDisconnected, BlockInvalidated, BlockRejected, ChainEvent
from btcnode.chain.header_tree import HeaderTree
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.protocol.connections.time_offsets import WARN_SECONDS
from btcnode.services.alerts import Alerts
from btcnode.services.chain import Chain
from btcnode.services.chain_alerts import CLOCK_TEXT, INVALID_CHAIN_TEXT, ChainAlerts
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
    chain.failures_changed()
    assert alerts.warnings()
    chain.tree.clear_failed(5)
    chain.failures_changed()
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
