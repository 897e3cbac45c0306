from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import StorageError
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.storage.layout import FRAME
from btcnode.storage.obfuscation import Obfuscation
from btcnode.sync.checker import PooledChecker
from btcnode.sync.driver import ChainDriver
from btcnode.sync.importer import BlockImporter, ImportReport, block_files, import_paths
from btcnode.sync.worker_pool import WorkerPool
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import wait_until

REGTEST = params_for("regtest")
MAINNET = params_for("mainnet")
NOW = 2_000_000_000


def with_driver(path: Path, params: NetworkParams, work: Callable[[ChainDriver], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        failures: list[BaseException] = []
        state = Chainstate.open(params, ChainStore.open(path, params))
        driver = ChainDriver(state, on_fatal=failures.append)
        try:
            result = await work(driver)
        finally:
            await driver.close()
        assert not failures
        return result

    return asyncio.run(run())


def imported(path: Path, params: NetworkParams, files: list[Path]) -> tuple[ImportReport, int]:
    async def work(driver: ChainDriver) -> tuple[ImportReport, int]:
        report = await import_paths(driver, params.magic, lambda: NOW, files)
        return report, driver.chainstate.active.height

    result: tuple[ImportReport, int] = with_driver(path, params, work)
    return result


def frames(blocks: list[bytes], magic: bytes = REGTEST.magic) -> bytes:
    return b"".join(FRAME.pack(magic, len(raw)) + raw for raw in blocks)


def test_mainnet_files_with_a_torn_end(vectors: Path, tmp_path: Path) -> None:
    folder = vectors / "nbitcoin"
    report, height = imported(tmp_path, MAINNET, [folder / "blk00000.dat", folder / "incompleteblk.dat"])
    assert height >= 300
    assert report.files == 2
    again, height_after = imported(tmp_path, MAINNET, [folder / "blk00000.dat", folder / "blk00001.dat"])
    assert height_after == 599
    assert again.known >= height
    assert again.rejected == 0


def test_any_order_and_an_xor_key(tmp_path: Path) -> None:
    generator = ChainGenerator(REGTEST)
    blocks = [*generator.spread(50), generator.busy(10)]
    random.Random(3).shuffle(blocks)
    folder = tmp_path / "core" / "blocks"
    folder.mkdir(parents=True)
    key = bytes(range(1, 9))
    (folder / "xor.dat").write_bytes(key)
    for number, part in enumerate((blocks[:40], blocks[40:])):
        data = bytes(500) + frames(part) + bytes(1000)
        (folder / f"blk{number:05d}.dat").write_bytes(Obfuscation(key).apply(data, 0))
    report, height = imported(tmp_path / "node", REGTEST, [tmp_path / "core"])
    assert (report.files, report.blocks, height) == (2, len(blocks), len(blocks))
    assert report.orphans == 0


def test_damaged_blocks_do_not_stop_an_import(tmp_path: Path) -> None:
    generator = ChainGenerator(REGTEST)
    blocks = list(generator.spread(10))
    broken = bytearray(blocks[5])
    broken[-20] ^= 1  # in the coinbase: the merkle root is another one
    data = frames([*blocks[:5], bytes(broken), b"\x00" * 90, *blocks[5:]])
    (tmp_path / "blocks.dat").write_bytes(data)
    report, height = imported(tmp_path / "node", REGTEST, [tmp_path / "blocks.dat"])
    assert height == len(blocks)
    assert report.rejected >= 1


def test_orphans_are_counted(tmp_path: Path) -> None:
    blocks = list(ChainGenerator(REGTEST).spread(10))
    (tmp_path / "blocks.dat").write_bytes(frames([*blocks[:3], *blocks[5:]]))
    report, height = imported(tmp_path / "node", REGTEST, [tmp_path / "blocks.dat"])
    assert height == 3
    assert report.orphans == len(blocks) - 5


def test_paths_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        block_files(tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"no blk\*\.dat"):
        block_files(tmp_path)


def test_reindex_rebuilds_the_same_state(tmp_path: Path) -> None:
    generator = ChainGenerator(REGTEST)
    blocks = [*generator.spread(50), generator.busy(10), generator.busy(10)]
    state = Chainstate.open(REGTEST, ChainStore.open(tmp_path, REGTEST))
    for raw in blocks:
        state.process_block(raw, NOW)
    state.flush()
    before = state.store.coins.utxo_stats().hash
    state.close()

    async def reindex() -> tuple[int, bytes | None]:
        store = ChainStore.open(tmp_path, REGTEST, reindex=True)
        driver = ChainDriver(Chainstate.open(REGTEST, store), on_fatal=lambda error: None)
        paths = [store.files.block_path(number) for number in range(len(store.files.infos))]
        await BlockImporter(driver, REGTEST.magic, lambda: NOW, own_files=True).run(paths)
        await driver.flush()
        result = driver.chainstate.active.height, store.coins.utxo_stats().hash
        assert driver.chainstate.read_block(driver.chainstate.tip) == blocks[-1]
        await driver.close()
        return result

    assert asyncio.run(reindex()) == (len(blocks), before)


def test_good_blocks_inside_a_torn_one_are_found_although_the_file_was_read_ahead(tmp_path: Path) -> None:
    """The torn frame claims the bytes of the two blocks behind it; more follow, up to the end of the file."""
    blocks = list(ChainGenerator(REGTEST).spread(100))[:40]
    swallowed = frames(blocks[3:5])
    torn = FRAME.pack(REGTEST.magic, len(swallowed) + 100) + blocks[3][:100] + swallowed
    path = tmp_path / "torn.dat"
    path.write_bytes(frames(blocks[:3]) + torn + frames(blocks[5:]))
    report, height = imported(tmp_path / "node", REGTEST, [path])
    assert height == len(blocks)
    assert (report.rejected, report.orphans) == (1, 0)


def test_workers_decode_what_is_imported(tmp_path: Path) -> None:
    generator = ChainGenerator(REGTEST)
    blocks = [*generator.spread(2500), *(generator.busy(300) for _ in range(4))]
    path = tmp_path / "blocks.dat"
    path.write_bytes(frames(blocks))

    async def work() -> tuple[int, int]:
        pool = WorkerPool(1, REGTEST)
        pool.start()
        await asyncio.to_thread(wait_until, lambda: pool.running, 30)
        state = Chainstate.open(REGTEST, ChainStore.open(tmp_path / "node", REGTEST), checker=PooledChecker(pool))
        failures: list[BaseException] = []
        driver = ChainDriver(state, on_fatal=failures.append, pool=pool)
        report = await import_paths(driver, REGTEST.magic, lambda: NOW, [path])
        answers = sum(worker.answers for worker in pool._workers)
        assert driver.chainstate.active.height == len(blocks)
        await driver.close()
        pool.close()
        assert not failures
        return report.blocks, answers

    stored, answers = asyncio.run(work())
    assert stored == len(blocks)
    assert answers >= 4
