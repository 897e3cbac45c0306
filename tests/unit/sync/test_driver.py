from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.events import BlockConnected, ChainEvent
from btcnode.chain.shadow import Disagreement, ShadowDisagreement
from btcnode.chain.steps import Step, StepResult
from btcnode.chain.store import ChainStore
from btcnode.errors import CorruptionError, DiskFullError, StorageError
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock
from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.sync.driver import SCANS, ChainDriver
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import until

PARAMS = params_for("regtest")
NOW = 2_000_000_000


def make(path: Path, failures: list[BaseException], **options: object) -> ChainDriver:
    state = Chainstate.open(PARAMS, ChainStore.open(path, PARAMS))
    return ChainDriver(state, on_fatal=failures.append, **options)  # type: ignore[arg-type]


def test_blocks_are_connected_in_order_and_told(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(20))

    async def run() -> list[int]:
        driver = make(tmp_path, [])
        heights: list[int] = []

        def listener(events: list[ChainEvent]) -> None:
            heights.extend(event.height for event in events if isinstance(event, BlockConnected))

        driver.listen(listener)
        outcomes = [await driver.store_block(raw, NOW, requested=True) for raw in blocks]
        assert all(outcome.new and outcome.violation is None for outcome in outcomes)
        assert not (await driver.store_block(blocks[3], NOW, requested=True)).new
        await driver.settled()
        await driver.close()
        return heights

    assert asyncio.run(run()) == list(range(1, len(blocks) + 1))


def test_a_block_on_the_tip_is_told_of_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = list(ChainGenerator(PARAMS).spread(20))[:3]
    order: list[object] = []
    write = BlockFiles.append_block
    told = threading.Semaphore(0)

    def written(self: BlockFiles, raw: bytes, height: int = 0) -> BlockPos:
        assert height not in (1, 2) or told.acquire(timeout=60)  # the loop hears of it while it is being written
        order.append(height)
        return write(self, raw, height)

    monkeypatch.setattr(BlockFiles, "append_block", written)

    async def run() -> None:
        driver = make(tmp_path, [])

        def checked(index: int, block: ParsedBlock) -> None:
            order.append(block.raw)
            assert index == driver.chainstate.tree.find(block.hash)
            told.release()

        driver.listen_checked(checked)
        assert (await driver.store_block(first, NOW, requested=True)).new
        await driver.settled()
        for raw in (second, third):
            driver.chainstate.tree.add(raw[:80], NOW)
        broken = await driver.store_block(second[:-1] + bytes([second[-1] ^ 1]), NOW, requested=True)
        assert broken.violation is not None
        for raw in (third, second):  # the third one is not on top of the tip
            assert (await driver.store_block(raw, NOW, requested=True)).violation is None
        await driver.settled()
        assert driver.chainstate.active.height == 3
        await driver.close()

    asyncio.run(run())
    assert order == [0, first, 1, 3, second, 2]


def test_coins_of_the_tip_are_worked_in_when_nothing_else_is_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(3))
    threads: list[str] = []
    settle = CoinsCache.settle_block

    def watched(self: CoinsCache) -> None:
        if self._waiting is not None:
            threads.append(threading.current_thread().name)
        settle(self)

    monkeypatch.setattr(CoinsCache, "settle_block", watched)

    async def run() -> None:
        driver = make(tmp_path, [])
        for count, raw in enumerate(blocks, 1):
            await driver.store_block(raw, NOW, requested=True)
            await driver.settled()
            driver.kick()  # nothing comes of it
            await until(lambda: len(threads) == count)  # noqa: B023  # within this turn
            assert not driver.chainstate.coins.is_waiting
        assert {name[:5] for name in threads} == {"chain"}
        await driver.close()

    asyncio.run(run())


def test_a_new_tip_has_its_time_until_its_coins_are_worked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.sync.driver.SETTLE_AFTER", 60)
    blocks = list(ChainGenerator(PARAMS).spread(2))[:2]

    async def run() -> None:
        driver = make(tmp_path, [])
        timers: list[asyncio.TimerHandle | None] = []
        for raw in blocks:
            await driver.store_block(raw, NOW, requested=True)
            await driver.settled()
            timers.append(driver._settling)
        first, second = timers
        assert first is not None and second is not None and first is not second
        assert first.cancelled() and not second.cancelled() and first.when() < second.when()
        async with driver.paused():  # who held the chain back has given it a turn
            pass
        driver.kick()  # what is begun now comes to rest while it is closed
        await driver.close()
        assert driver._settling is None or driver._settling.cancelled()

    asyncio.run(run())


def test_coins_that_cannot_be_worked_in_stop_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    full = MemoryError("no room")

    def fail(self: CoinsCache) -> None:
        raise full

    async def run() -> None:
        driver = make(tmp_path, failures)
        await driver.store_block(next(iter(ChainGenerator(PARAMS).spread(1))), NOW, requested=True)
        await driver.settled()
        with monkeypatch.context() as patch:
            patch.setattr(CoinsCache, "settle_block", fail)
            await until(lambda: bool(failures))
        await driver.close()

    asyncio.run(run())
    assert failures == [full]


def test_the_end_of_an_activation_is_told(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(3))

    async def run() -> None:
        driver = make(tmp_path, [])
        heights: list[int] = []
        driver.listen_settled(lambda: heights.append(driver.chainstate.active.height))
        for raw in blocks:
            await driver.store_block(raw, NOW, requested=True)
        await driver.settled()
        assert heights and heights[-1] == len(blocks)
        await driver.close()

    asyncio.run(run())


def test_snapshot_is_of_one_tip_while_blocks_come(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    blocks = list(generator.spread(20))

    async def run() -> None:
        driver = make(tmp_path, [])
        for raw in blocks[:60]:
            await driver.store_block(raw, NOW, requested=True)
        await driver.settled()
        feeding = asyncio.gather(*(driver.store_block(raw, NOW, requested=True) for raw in blocks[60:70]))
        tip, stats = await driver.at_tip(
            lambda begun: driver.chainstate.store.coins.utxo_stats("none", lambda _: begun())
        )
        assert stats.txouts == driver.chainstate.tree.height(tip)
        await feeding
        await driver.settled()
        assert driver.chainstate.active.height == 70
        await driver.close()

    asyncio.run(run())


def test_scans_of_all_coins_keep_neither_readers_nor_the_chain_waiting(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(20))

    async def run() -> None:
        driver = make(tmp_path, [])
        await driver.store_block(blocks[0], NOW, requested=True)
        await driver.settled()
        end = threading.Event()

        def scan(begun: Callable[[], None]) -> bool:
            begun()
            return end.wait(60)

        scans = [asyncio.ensure_future(driver.at_tip(scan)) for _ in range(SCANS + 3)]
        scans.append(asyncio.ensure_future(driver.in_scanner(lambda: (0, end.wait(60)))))
        try:
            async with asyncio.timeout(30):
                for raw in blocks[1:10]:
                    await driver.store_block(raw, NOW, requested=True)
                await driver.settled()
                assert await driver.read_block(driver.chainstate.tip) == blocks[9]
            assert driver.chainstate.active.height == 10
            assert not any(scan.done() for scan in scans)
        finally:
            end.set()
        assert all(ended for _, ended in await asyncio.gather(*scans))
        await driver.close()

    asyncio.run(run())


def test_who_waits_for_the_best_chain_waits_for_all_who_hold_it_back(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(3))

    async def hold(driver: ChainDriver, holds: asyncio.Event, end: asyncio.Event) -> None:
        async with driver.paused():
            holds.set()
            await end.wait()

    async def run() -> None:
        driver = make(tmp_path, [])
        told: list[int] = []
        driver.listen_settled(lambda: told.append(driver.chainstate.active.height))
        ends = [asyncio.Event(), asyncio.Event()]
        holding = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(hold(driver, *events)) for events in zip(holding, ends, strict=True)]
        await holding[0].wait()
        for raw in blocks[:5]:
            await driver.store_block(raw, NOW, requested=True)
        waiting = [asyncio.create_task(driver.settled()), asyncio.create_task(driver.reached(5))]
        await asyncio.wait(waiting, timeout=0.1)
        assert not any(task.done() for task in waiting) and not driver.is_settled
        ends[0].set()  # the other one holds it now, and the chain has had one step between them
        await holding[1].wait()
        await asyncio.wait(waiting, timeout=0.1)
        assert not any(task.done() for task in waiting) and not driver.is_settled and not told
        ends[1].set()
        await asyncio.gather(*tasks, *waiting)
        assert driver.chainstate.active.height == 5 and driver.is_settled and told == [5]
        await driver.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_waits_for_the_best_chain_waits_no_more_when_the_driver_stops(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(3))

    async def run() -> None:
        driver = make(tmp_path, [])
        async with driver.paused():
            await driver.store_block(blocks[0], NOW, requested=True)
            waiting = [asyncio.create_task(driver.settled()), asyncio.create_task(driver.reached(5))]
            await asyncio.sleep(0)
            closing = asyncio.create_task(driver.close())  # waits for its turn
        await asyncio.gather(closing, *waiting)
        await asyncio.gather(driver.settled(), driver.reached(5))

    asyncio.run(asyncio.wait_for(run(), 60))


def test_the_chain_has_its_turn_between_those_who_hold_it_back(tmp_path: Path) -> None:
    """Users who always have the next question there keep no block waiting for ever."""
    blocks = list(ChainGenerator(PARAMS).spread(20))

    async def run() -> None:
        driver = make(tmp_path, [])

        async def ask() -> int:
            for turn in range(10 * len(blocks)):
                await driver.in_chain_thread(lambda: None)
                if driver.chainstate.active.height == len(blocks):
                    return turn
            return 0

        asking = [asyncio.create_task(ask()) for _ in range(3)]
        for raw in blocks:
            await driver.store_block(raw, NOW, requested=True)
        assert all(await asyncio.gather(*asking))
        await driver.close()

    asyncio.run(asyncio.wait_for(run(), 120))


def test_a_node_that_stops_connects_no_more_and_goes_on_with_the_next_start(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(20))

    async def run() -> None:
        driver = make(tmp_path, [])
        for raw in blocks[:10]:
            await driver.store_block(raw, NOW, requested=True)
        await driver.settled()
        driver.wind_down()
        for raw in blocks[10:]:
            await driver.store_block(raw, NOW, requested=True)
        await driver.settled()
        await driver.flush()
        assert driver.chainstate.active.height == 10
        await driver.close()
        again = make(tmp_path, [])
        await again.settled()
        assert again.chainstate.active.height == len(blocks)
        await again.close()

    asyncio.run(run())


def test_a_storage_error_stops_the_driver_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(5))

    async def run() -> None:
        failures: list[BaseException] = []
        driver = make(tmp_path, failures)
        await driver.store_block(blocks[0], NOW, requested=True)
        await driver.settled()

        def full(step: Step) -> StepResult:
            raise DiskFullError("no room left")

        with monkeypatch.context() as patch:
            patch.setattr(driver.chainstate, "execute", full)
            with pytest.raises(DiskFullError):
                await driver.store_block(blocks[1], NOW, requested=True)
        assert [type(failure) for failure in failures] == [DiskFullError]
        with pytest.raises(StorageError, match="stopped"):
            await driver.store_block(blocks[1], NOW, requested=True)
        await driver.close()

    asyncio.run(run())
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    assert state.active.height == 0  # nothing was flushed, nothing is half there
    state.close()


def test_stops_at_a_height(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(5))

    async def run() -> tuple[int, bool]:
        stop = asyncio.Event()
        driver = make(tmp_path, [], stop_at_height=7, on_stop_height=stop.set)
        for raw in blocks[:20]:
            await driver.store_block(raw, NOW, requested=True)
        await driver.settled()
        height = driver.chainstate.active.height
        await driver.close()
        return height, stop.is_set()

    assert asyncio.run(run()) == (7, True)


def test_reading_waits_its_turn_on_the_chain_thread(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(5))

    async def run() -> None:
        driver = make(tmp_path, [])
        await asyncio.gather(*(driver.store_block(raw, NOW, requested=True) for raw in blocks[:1]))
        await driver.settled()
        assert await driver.in_chain_thread(lambda: len(driver.chainstate.coins)) == 1
        assert await driver.read_block(driver.chainstate.tip) == blocks[0]
        with pytest.raises(KeyError):
            header, _ = driver.chainstate.tree.add(blocks[1][:80], NOW)
            await driver.read_block(header)
        await driver.close()

    asyncio.run(run())


class Contrarian:
    """A second engine that finds fault with the block at one height."""

    def __init__(self, height: int) -> None:
        self.height = height

    def selects(self, height: int) -> bool:
        return height == self.height

    def check_block(self, height: int, block_hash: bytes, jobs: object, verdict: object) -> None:
        raise ShadowDisagreement(
            Disagreement("00", (), 0, 0, "OK", "invalid", f"block {height}"), Path("somewhere.json")
        )

    def summary(self) -> str:
        return ""

    def counts(self) -> dict[str, int]:
        return {}


def test_a_disagreement_of_the_engines_stops_the_driver_before_the_block(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(PARAMS).spread(20))

    async def run() -> None:
        failures: list[BaseException] = []
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        driver = make(tmp_path, failures)
        driver.chainstate.executor.shadow = Contrarian(10)
        for raw in blocks[:9]:
            await driver.store_block(raw, NOW, requested=True)
        await driver.store_block(blocks[9], NOW, requested=True)
        await until(lambda: bool(failures))
        assert [type(failure) for failure in failures] == [ShadowDisagreement]
        assert "somewhere.json" in str(failures[0])
        assert driver.chainstate.active.height == 9
        await driver.close()
        assert not unhandled

    asyncio.run(run())


def test_a_plan_that_cannot_be_made_stops_the_driver(tmp_path: Path) -> None:
    """The index says that a block is here and it is not: said, not passed over."""
    blocks = list(ChainGenerator(PARAMS).spread(5))

    async def run() -> None:
        failures: list[BaseException] = []
        driver = make(tmp_path, failures)

        def broken() -> Step | None:
            raise CorruptionError("no data")

        driver.chainstate.plan_step = broken  # type: ignore[method-assign]
        await driver.store_block(blocks[0], NOW, requested=True)
        await until(lambda: bool(failures))
        assert [type(failure) for failure in failures] == [CorruptionError]
        await driver.close()

    asyncio.run(run())
