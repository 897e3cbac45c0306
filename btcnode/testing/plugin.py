"""The pytest plugin: ``btcnode_regtest`` is a regtest node in this process with coins to spend.

    def test_payment(btcnode_regtest):
        txid = btcnode_regtest.pay("bcrt1q...", "0.5")
        btcnode_regtest.mine(1)
        assert btcnode_regtest.rpc.gettxout(txid, 0)["confirmations"] == 1

The node lives in a thread with an event loop of its own, so tests need no ``async``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from btcnode.testing.regtest import RegtestNode


@pytest.fixture
def btcnode_regtest() -> Iterator[RegtestNode]:
    """A regtest node with three spendable coins of 50 BTC."""
    from btcnode.testing.regtest import RegtestNode  # here, so that tests without a node need not load one

    node = RegtestNode()
    try:
        node.fill_purse()
        yield node
    finally:
        node.close()
