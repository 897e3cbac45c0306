from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool
from btcnode.notify import order as order_module
from btcnode.notify.order import EventOrder
from btcnode.notify.topics import Event, TxAdded, TxRemoved
from btcnode.primitives.tx import Tx


class Chain:
    """Blocks by header index, whose work is given by name: "b2" has the work 2."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.told: list[str] = []
        self.initial = False
        self.pool = Mempool()
        self.order = EventOrder(self.pool, self.work, lambda: self.initial, self.emit)

    def work(self, index: int) -> int:
        return int(self.names[index][1:])

    def emit(self, event: Event) -> None:
        if isinstance(event, TxAdded | TxRemoved):
            self.told.append(f"{type(event).__name__} {event.sequence}")
        else:
            name: str = event.block.raw.decode()
            self.told.append(f"{type(event).__name__} {name}")

    def _block(self, name: str) -> tuple[int, Any]:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name), SimpleNamespace(raw=name.encode(), size=len(name))

    def comes(self, name: str) -> None:
        index, block = self._block(name)
        self.order.block_connected(BlockConnected(index, 1, 1, 1, 0, block))

    def goes(self, name: str, *, by_hand: bool = False) -> None:
        index, block = self._block(name)
        self.order.block_disconnected(BlockDisconnected(index, 1, block, by_hand))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_a_block_then_the_tip(chain: Chain) -> None:
    chain.comes("a1")
    chain.initial = True
    chain.comes("a2")
    assert chain.told == ["BlockIn a1", "NewTip a1", "BlockIn a2"]


def test_what_returns_is_told_before_the_new_chain(chain: Chain) -> None:
    chain.goes("a2")
    chain.goes("a1")
    for name in ("b1", "b2", "b3"):
        chain.comes(name)
    put(chain.pool, 1)
    chain.order.reorganised()
    chain.comes("b4")
    assert chain.told == [
        "BlockOut a2", "BlockOut a1", "TxAdded 1", "BlockIn b1", "BlockIn b2", "BlockIn b3", "NewTip b3", "BlockIn b4",
        "NewTip b4",
    ]  # fmt: skip


def test_blocks_that_only_go_make_no_tip(chain: Chain) -> None:
    chain.goes("a2", by_hand=True)
    chain.order.reorganised()
    chain.comes("b2")
    assert chain.told == ["BlockOut a2", "BlockIn b2", "NewTip b2"]


def test_equal_work_makes_a_tip_at_the_end(chain: Chain) -> None:
    chain.goes("a2")
    chain.comes("b2")
    chain.order.reorganised()
    assert chain.told == ["BlockOut a2", "BlockIn b2", "NewTip b2"]


def test_a_chain_that_breaks_a_rule_halfway_makes_no_tip(chain: Chain) -> None:
    """Nor does the old one, which is back where it was."""
    chain.goes("a2")
    chain.goes("a1")
    chain.comes("b1")
    chain.order.reorganised()
    chain.goes("b1")
    chain.comes("a1")
    chain.comes("a2")
    chain.order.reorganised()
    chain.comes("a3")
    chain.goes("a3")
    chain.order.reorganised()  # the first block of the other chain has broken a rule
    chain.comes("a3")
    chain.comes("a4")
    assert chain.told == [
        "BlockOut a2", "BlockOut a1", "BlockIn b1", "BlockOut b1", "BlockIn a1", "BlockIn a2", "BlockIn a3",
        "NewTip a3", "BlockOut a3", "BlockIn a3", "BlockIn a4", "NewTip a4",
    ]  # fmt: skip


def test_few_bytes_are_held(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "MAX_HELD_BYTES", 4)
    chain.goes("a1")
    for name in ("b1", "b2", "b3"):
        chain.comes(name)
    assert chain.told == ["BlockOut a1", "BlockIn b1", "BlockIn b2", "NewTip b2"]


def put(pool: Mempool, salt: int) -> MempoolEntry:
    tx = Tx(2, [salt.to_bytes(32, "big") + bytes(4)], [b""], [0], [bytes(8) + b"\x00"], None)
    entry = MempoolEntry(
        tx, fee=100, weight=tx.weight, sigop_cost=0, time=1, height=1, sequence=0, spends_coinbase=False,
        lock_points=LockPoints(-1, -1, -1),
    )  # fmt: skip
    pool.stage([], [entry]).apply(RemovalReason.REPLACED, 1)
    return entry


def test_a_block_takes_numbers_but_is_not_told_as_removals(chain: Chain) -> None:
    mined, rival = put(chain.pool, 1), put(chain.pool, 2)
    late = put(chain.pool, 3)
    spends_too = [*mined.tx.prevouts, *rival.tx.prevouts]
    block: Any = SimpleNamespace(
        txids=[b"c" * 32, mined.txid, b"x" * 32, late.txid],
        first_in=[0, 1, 2, 3, 4],
        prevouts=lambda: [bytes(36), *spends_too, *late.tx.prevouts],
    )
    chain.pool.remove_for_block(block, 1)
    assert chain.told == ["TxAdded 1", "TxAdded 2", "TxAdded 3", "TxRemoved 5"]
    assert chain.pool.sequence == 7 and len(chain.pool) == 0
