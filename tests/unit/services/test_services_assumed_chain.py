"""A loaded UTXO set in the life of a node: going on from it, validating the chain below, crashes in between."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.block_status import HAVE_UNDO
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import CorruptionError, LostDatabaseError, StorageError
from btcnode.mempool.pool import Mempool
from btcnode.networks import assumeutxo
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.chain_view import NodeChainView
from btcnode.services.assumed_chain import AssumedChain
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.snapshot_files import SnapshotRefusedError
from btcnode.storage.utxo_snapshot import SnapshotHeader, write_coins
from btcnode.sync.driver import ChainDriver
from tests.lib.chain_generator import ChainGenerator
from tests.lib.coins import all_coins

PARAMS = params_for("regtest")
NOW = 2_000_000_000
BASE, TIP, START = 125, 135, 20


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    first = list(generator.spread(400))
    return [*first, *(generator.busy(10) for _ in range(TIP - len(first)))]


def name(raw: bytes) -> BlockHash:
    return header_hash(raw[:HEADER_SIZE])


class World:
    """A file with the UTXO set after block BASE, known to the network, and figures of the whole chain."""

    def __init__(self, path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        self.chain = chain
        self.file = path / "utxo.dat"
        state = Chainstate.open(PARAMS, ChainStore.open(path / "source", PARAMS))
        for raw in chain[:BASE]:
            state.process_block(raw, NOW)
        state.flush()
        with self.file.open("wb") as out, state.store.coins.snapshot():
            rows = all_coins(state.store.coins)
            out.write(SnapshotHeader(name(chain[BASE - 1]), len(rows)).pack(PARAMS))
            written = write_coins(out, [rows], lambda: None)
        count = state.tree.columns.chain_tx[state.tip]
        self.known = AssumeUtxo(BASE, name(chain[BASE - 1]), written.utxo_hash, count)
        for raw in chain[BASE:]:
            state.process_block(raw, NOW)
        state.flush()
        self.hash = state.store.coins.utxo_stats().hash
        state.close()
        monkeypatch.setattr(assumeutxo, "_SETS", {"regtest": (self.known,)})


@pytest.fixture
def world(tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, chain, monkeypatch)


class Node:
    """A chain with its driver and what loads sets."""

    def __init__(self, path: Path) -> None:
        self.failures: list[BaseException] = []
        self.state = Chainstate.open(PARAMS, ChainStore.open(path, PARAMS))
        self.driver = ChainDriver(self.state, on_fatal=self.failures.append)
        self.view = NodeChainView(self.state.tree, self.state.active, PARAMS, history=self.driver.history_span)
        self.service = service = Chain(self.driver, self.view, PARAMS, Clock(NOW))
        self.offers: list[bool] = []  # whether old blocks could be served
        self.assume = AssumedChain(
            service,
            Mempool(),
            None,
            dbcache=8 << 20,
            offer_history=self.offers.append,
            on_fatal=self.failures.append,
        )

    async def give(self, blocks: list[bytes]) -> None:
        for raw in blocks:
            await self.driver.store_block(raw, NOW, requested=True)
        await self.driver.settled()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(path: Path) -> Any:
    node = Node(path)
    try:
        await node.driver.settled()
        yield node
    finally:
        await node.assume.close()
        await node.driver.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


async def loaded(node: Node, world: World) -> None:
    """Bring a new node to START, tell it the headers up to BASE, and load the set."""
    await node.give(world.chain[:START])
    for raw in world.chain[START:BASE]:
        node.state.tree.add(raw[:HEADER_SIZE], NOW)
    result = await node.assume.load(str(world.file))
    assert node.state.tree.height(result.base) == BASE == node.state.active.height


def test_from_the_set_to_the_validated_chain(tmp_path: Path, world: World) -> None:
    async def work() -> None:
        async with running(tmp_path / "node") as node:
            await loaded(node, world)
            below, active = node.assume.chain_parts()
            assert (node.state.tree.height(below.tip), below.validated, active.validated) == (START, True, False)
            assert node.view.history == (below.tip, node.state.tip)
            with pytest.raises(SnapshotRefusedError, match="more than once"):
                await node.assume.load(str(world.file))
            await node.give(world.chain[BASE:])
            assert node.state.active.height == TIP
            await node.give(world.chain[START + 1 : BASE])  # the lowest one is missing: nothing to connect
            assert node.driver.history.active.height == START
            await node.give(world.chain[START : START + 1])
            await node.until(lambda: node.view.history is None)
            assert node.assume.chain_parts()[0].validated and node.view.history is None
            assert node.state.tree.columns.chain_tx[node.state.active.at(BASE)] == world.known.chain_tx
            assert not node.failures
        assert (tmp_path / "node" / "chainstate_snapshot").is_dir()
        async with running(tmp_path / "node") as node:  # the coins take the place of the others
            assert not (tmp_path / "node" / "chainstate_snapshot").exists()
            assert node.state.active.height == TIP and node.state.store.snapshot is None
            assert node.state.store.coins.utxo_stats().hash == world.hash
            assert all(node.state.undo_position(node.state.active.at(h)) for h in range(1, TIP + 1))
            async with node.driver.paused():
                node.state.invalidate(node.state.active.at(BASE - 5))
            await node.driver.settled()
            assert node.state.active.height == BASE - 6

    run(work)


def test_blocks_below_the_set_are_judged_when_they_are_submitted(tmp_path: Path, world: World) -> None:
    """As bitcoind does: one that can be connected there is valid, one that has to wait is neither."""

    async def work() -> None:
        async with running(tmp_path / "node") as node:
            await loaded(node, world)
            submit = node.service.submit_block
            assert await submit(world.chain[START + 1]) == "inconclusive"
            assert await submit(world.chain[START]) is None
            assert [await submit(raw) for raw in world.chain[START + 2 : BASE]] == [None] * (BASE - START - 2)
            assert await submit(world.chain[START]) == "duplicate"
            await node.until(lambda: node.view.history is None)
            assert not node.failures

    run(work)


def test_damage_of_a_set_loaded_meanwhile_is_reported(tmp_path: Path, world: World) -> None:
    async def work() -> None:
        async with running(tmp_path / "node") as node:
            store = node.state.store
            told: list[CorruptionError] = []
            store.damage_reports.listen(told.append)
            await loaded(node, world)
            assert store.snapshot is not None
            error = store.coins_damaged("a group is missing")
            assert told == [error]
            assert "chainstate_snapshot" in str(error)

    run(work)


def test_a_kill_at_any_moment(tmp_path: Path, world: World) -> None:
    """Copies of the directory, as a kill would leave it, go on to the same end."""
    copies: list[Path] = []

    def copy() -> None:
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "node", copies[-1])
        (copies[-1] / "chainstate" / "btcnode.mdb-lock").unlink(missing_ok=True)

    async def first() -> None:
        async with running(tmp_path / "node") as node:
            await loaded(node, world)
            copy()
            await node.give(world.chain[BASE : BASE + 5])
            await node.driver.flush()
            await node.give(world.chain[START : START + 40])
            await node.until(lambda: node.driver.history.active.height == START + 40)
            copy()
            await node.give(world.chain[START + 40 : BASE])
            await node.until(lambda: node.view.history is None)
            copy()
            await node.give(world.chain[BASE + 5 :])
            copy()

    async def again(path: Path) -> None:
        async with running(path) as node:
            assert node.state.active.height >= BASE
            await node.give(world.chain[START:])
            await node.until(lambda: node.view.history is None)
            assert node.state.active.height == TIP and not node.failures
        async with running(path) as node:
            assert node.state.active.height == TIP and node.state.store.snapshot is None
            assert node.state.store.coins.utxo_stats().hash == world.hash

    run(first)
    for path in copies:
        run(lambda path=path: again(path))  # type: ignore[misc]


def test_a_set_without_its_note_or_coins_is_named(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def load() -> None:
        async with running(tmp_path / "node") as node:
            await node.give(world.chain[:START])
            for raw in world.chain[START:BASE]:
                node.state.tree.add(raw[:HEADER_SIZE], NOW)
            await node.assume.load(str(world.file))

    async def again() -> None:
        async with running(tmp_path / "node"):
            pytest.fail("it was to fail")

    run(load)
    note = tmp_path / "node" / "chainstate_snapshot" / "base_blockhash"
    whole = note.read_bytes()
    for spoiled in (b"", whole[:-1], bytes(32), bytes((whole[0] ^ 1,)) + whole[1:]):
        note.write_bytes(spoiled)
        caplog.clear()
        with pytest.raises(StorageError, match="Assumeutxo data not found"):
            run(again)
        assert f"{note} is damaged or foreign" in caplog.text
        assert note.exists()
    note.write_bytes(whole)
    coins = note.with_name("btcnode.mdb")
    whole, files = coins.read_bytes(), sorted(note.parent.rglob("*.mdb"))
    for lose in (Path.unlink, Path.touch):
        lose(coins)
        for _ in range(2):
            with pytest.raises(LostDatabaseError, match=f"{coins} is missing"):
                run(again)
        assert note.exists()
    coins.write_bytes(whole)
    assert sorted(note.parent.rglob("*.mdb")) == files

    async def found() -> None:
        async with running(tmp_path / "node") as node:
            assert node.state.active.height == BASE

    run(found)


def test_a_load_that_was_cut_off_leaves_nothing(tmp_path: Path, world: World) -> None:
    async def work() -> None:
        async with running(tmp_path / "node") as node:
            await node.give(world.chain[:START])
            for raw in world.chain[START:BASE]:
                node.state.tree.add(raw[:HEADER_SIZE], NOW)
            data = world.file.read_bytes()
            for wrong, why in (
                (data[:-40], "Bad snapshot format or truncated snapshot"),
                (data + b"\x00", "Bad snapshot - coins left over"),
                (data[:60] + bytes([data[60] ^ 1]) + data[61:], "Bad snapshot content hash"),
            ):
                (tmp_path / "bad.dat").write_bytes(wrong)
                with pytest.raises(SnapshotRefusedError, match=why):
                    await node.assume.load(str(tmp_path / "bad.dat"))
                assert not (tmp_path / "node" / "chainstate_snapshot").exists()
            assert node.state.active.height == START
        (tmp_path / "node" / "chainstate_snapshot").mkdir()
        (tmp_path / "node" / "chainstate_snapshot" / "btcnode.mdb").write_bytes(b"half")
        async with running(tmp_path / "node") as node:
            assert node.state.active.height == START
            assert not (tmp_path / "node" / "chainstate_snapshot").exists()

    run(work)


def test_a_set_that_does_not_fit_the_chain(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hash let through is found out by the chain below: the node stops, and goes on without it."""

    async def work() -> None:
        async with running(tmp_path / "node") as node:
            await loaded(node, world)
            wrong = world.known._replace(utxo_hash=bytes(32))
            monkeypatch.setattr(node.state.store.snapshot, "known", wrong)
            await node.give(world.chain[START:])
            await node.until(lambda: bool(node.failures))
            assert "does not fit the chain" in str(node.failures[0])
        assert (tmp_path / "node" / "chainstate_snapshot_INVALID").is_dir()
        async with running(tmp_path / "node") as node:
            assert node.state.active.height == TIP and node.state.store.snapshot is None
            assert node.state.tree.status(node.state.tip) & HAVE_UNDO
            await node.driver.flush()
            assert node.state.store.coins.utxo_stats().hash == world.hash

    run(work)


def test_dropping_the_set_forgets_what_it_vouched_for(tmp_path: Path, world: World) -> None:
    async def work() -> None:
        async with running(tmp_path / "node") as node:
            await loaded(node, world)
            await node.give(world.chain[BASE : BASE + 3])
        store = ChainStore.open(tmp_path / "node", PARAMS, drop_snapshot=True)
        store.close()
        async with running(tmp_path / "node") as node:
            assert node.state.active.height == START
            assert not node.state.tree.columns.chain_tx[node.state.tree.find(world.known.block_hash)]
            await node.give(world.chain[START:])
            assert node.state.active.height == TIP

    run(work)
