"""A node's start and end: a request to stop, a failure or a cancellation at any stage leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import btcnode
from btcnode.errors import BtcnodeError, ConfigError, DatadirLockedError, FatalError, RebuildError, StorageError
from btcnode.mempool.persistence import encode_dump
from btcnode.node import Node
from btcnode.node.launch import StartStopped
from btcnode.services.mempool_file import ImportOptions, MempoolFile
from btcnode.settings.settings import Settings
from btcnode.storage.locking import DirectoryLock
from tests.lib.mempool_dump import read_dump
from tests.lib.process import until
from tests.lib.settings import settings_of

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
BLOCKS = 30
STAGES = (
    "Cache configuration",
    "init message: Loading P2P addresses",
    "init message: Loading banlist",
    "init message: Loading block index",
    "init message: Verifying blocks",
    "init message: Activating best chain",
    "init message: Starting network threads",
    "initload thread start",
    "init message: Done loading",
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node with some blocks and two transactions in its mempool file."""
    directory = tmp_path_factory.mktemp("template")

    async def make() -> None:
        async with btcnode.Node(datadir=directory) as node:
            await node.rpc.generatetoaddress(BLOCKS, ADDRESS)

    asyncio.run(make())
    return directory


@pytest.fixture
def datadir(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "node"
    shutil.copytree(template, copy)
    return copy


def config_of(datadir: Path, **options: Any) -> Settings:
    usual = {"listen": False, "dnsseed": False, "rpcport": 0, "par": 1}
    settings = settings_of(network="regtest", datadir=datadir, **{**usual, **options})
    settings.net_dir.mkdir(parents=True, exist_ok=True)
    return settings


def leftovers(datadir: Path) -> Counter[str]:
    """Threads, open files of the directory, sockets that listen, children of this process.

    Not the loop's own threads, nor those that ask for a name, which nobody waits for.
    """
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    found = [name for name in threads if not name.startswith(("asyncio_", "lookup"))]
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - they come and go
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith(str(datadir)):
            found.append(target)
    for path in Path("/proc/self/task").glob("*/children"):
        found += path.read_text().split()
    return Counter(found)


class Actor(logging.Handler):
    """Does something once, on the loop thread, when a certain line is logged."""

    def __init__(self, line: str, act: Callable[[], object]) -> None:
        super().__init__()
        self.line = line
        self.act = act
        self.loop = asyncio.get_running_loop()
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.seen and record.getMessage().startswith(self.line):
            self.seen = True
            self.loop.call_soon_threadsafe(self.act)


@contextmanager
def when_logged(line: str, act: Callable[[], object]) -> Iterator[Actor]:
    log = logging.getLogger("btcnode")
    actor = Actor(line, act)
    log.addHandler(actor)
    log.setLevel(logging.DEBUG)
    try:
        yield actor
    finally:
        log.removeHandler(actor)


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``; nothing of the loop may be left behind."""

    async def main() -> None:
        await work()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others

    asyncio.run(main())


async def starts_well(datadir: Path, *, height: int = BLOCKS, **options: Any) -> None:
    """A start in the same process, with the same directory."""
    node = Node(config_of(datadir, **options))
    async with node.life() as running:
        parts = running.assembled.parts
        assert parts.chain.tree.height(parts.chain.tip()) == height
        await node.launch.table.call_async(node.launch.table.find("getblockcount"), [])
        assert json.loads((node.launch.settings.net_dir / "ready.json").read_text())["pid"] == os.getpid()
    assert not (node.launch.settings.net_dir / "ready.json").exists()


@pytest.mark.parametrize("par", [1, 2])
@pytest.mark.parametrize("line", STAGES)
def test_asked_to_stop(datadir: Path, line: str, par: int) -> None:
    options: dict[str, Any] = {"par": par, "txindex": True, "listen": True, "bind": ("127.0.0.1",), "port": 0}
    before = leftovers(datadir)

    async def work() -> None:
        node = Node(config_of(datadir, **options))
        ready: list[Any] = []
        stopping: list[bool] = []
        with when_logged(line, node.launch.control.request_stop) as actor:
            async with asyncio.timeout(30):
                await node.run(on_ready=ready.append, on_stopping=lambda: stopping.append(True))
        assert actor.seen
        assert stopping == [True]
        assert not (node.launch.settings.net_dir / "ready.json").exists()
        assert not leftovers(datadir) - before
        DirectoryLock(node.launch.settings.net_dir).release()
        await starts_well(datadir, **options)

    in_loop(work)
    assert not leftovers(datadir) - before


@pytest.mark.parametrize("line", STAGES)
def test_cancelled(datadir: Path, line: str) -> None:
    """Whoever awaits the start may give up: what runs in threads is waited for."""
    before = leftovers(datadir)

    async def work() -> None:
        node = Node(config_of(datadir, txindex=True))
        task = asyncio.ensure_future(node.run())
        with when_logged(line, task.cancel) as actor, pytest.raises(asyncio.CancelledError):
            await task
        assert actor.seen
        assert not leftovers(datadir) - before
        await starts_well(datadir, txindex=True)

    in_loop(work)


def test_asked_to_stop_before_anything(datadir: Path) -> None:
    async def work() -> None:
        node = Node(config_of(datadir))
        node.launch.control.request_stop()
        await node.run(on_ready=lambda _: pytest.fail("it was to stop"))
        await starts_well(datadir)
        node = Node(config_of(datadir))
        node.launch.control.request_stop()
        with pytest.raises(StartStopped):
            async with node.life():
                pytest.fail("it was to stop")

    in_loop(work)


@pytest.mark.parametrize("line", ["Reindexing block file", "init message: Activating best chain"])
def test_a_reindex_goes_on_after_a_stop(datadir: Path, line: str) -> None:
    before = leftovers(datadir)

    async def work() -> None:
        node = Node(config_of(datadir, reindex=True, par=2))
        with when_logged(line, node.launch.control.request_stop) as actor:
            await node.run(on_ready=lambda _: pytest.fail("it was to stop"))
        assert actor.seen
        assert not leftovers(datadir) - before
        await starts_well(datadir)

    in_loop(work)
    assert not leftovers(datadir) - before


def test_an_import_is_given_up(datadir: Path, template: Path, tmp_path: Path) -> None:
    blocks = template / "regtest" / "blocks"
    shutil.rmtree(datadir)
    before = leftovers(datadir)

    async def work() -> None:
        node = Node(config_of(datadir, loadblock=(blocks / "blk00000.dat",)))
        with when_logged("Importing blocks file", node.launch.control.request_stop) as actor:
            await node.run()
        assert actor.seen
        assert not leftovers(datadir) - before
        node = Node(config_of(datadir, loadblock=(blocks / "blk00000.dat",), stopafterblockimport=True))
        await node.run()
        await starts_well(datadir)

    in_loop(work)


# -- failures ----------------------------------------------------------------------------------------------------------


@contextmanager
def port_in_use() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def fails(datadir: Path, error: type[BtcnodeError], text: str, **options: Any) -> None:
    """The start fails with one line, nothing is left, and a start without what was wrong succeeds."""
    before = leftovers(datadir)

    async def work() -> None:
        node = Node(config_of(datadir, **options))
        with pytest.raises(error, match=text) as caught:
            await node.run(on_ready=lambda _: pytest.fail("it was to fail"))
        assert "\n" not in str(caught.value) or isinstance(caught.value, RebuildError)
        assert not leftovers(datadir) - before
        assert not (node.launch.settings.net_dir / "ready.json").exists()
        assert not (node.launch.settings.net_dir / ".cookie").exists()

    in_loop(work)


def test_ports_in_use(datadir: Path) -> None:
    with port_in_use() as port:
        fails(datadir, BtcnodeError, "the port is in use", rpcport=port)
        fails(datadir, ConfigError, "unable to bind", listen=True, bind=(f"127.0.0.1:{port}",))
        fails(datadir, ConfigError, str(port), metrics_port=port)
    asyncio.run(starts_well(datadir))


def test_a_locked_directory(datadir: Path) -> None:
    lock = DirectoryLock(datadir / "regtest")
    fails(datadir, DatadirLockedError, "already running")
    lock.release()
    asyncio.run(starts_well(datadir))


def test_two_nodes_of_one_process(datadir: Path) -> None:
    async def work() -> None:
        async with Node(config_of(datadir)).life() as running:
            with pytest.raises(DatadirLockedError):
                await Node(config_of(datadir)).run()
            parts = running.assembled.parts
            assert parts.chain.tree.height(parts.chain.tip()) == BLOCKS
            assert (datadir / "regtest" / "ready.json").exists()
            assert (datadir / "regtest" / ".cookie").exists()

    in_loop(work)


@pytest.mark.parametrize("name", ["peers.dat", "banlist.json", "anchors.dat", "mempool.dat", "fee_estimates.dat"])
def test_files_that_are_directories(datadir: Path, name: str) -> None:
    """Only the address book is worth a refusal; nothing else of these keeps a node from its work."""
    path = datadir / "regtest" / name
    path.unlink(missing_ok=True)
    path.mkdir()
    if name == "peers.dat":
        fails(datadir, StorageError, r"Invalid or corrupt peers\.dat")
        path.rmdir()
    asyncio.run(starts_well(datadir))


def test_damaged_files(datadir: Path) -> None:
    net_dir = datadir / "regtest"
    (net_dir / "peers.dat").write_bytes(b"nonsense")
    fails(datadir, StorageError, r"Invalid or corrupt peers\.dat")
    (net_dir / "peers.dat").unlink()
    for name in ("banlist.json", "anchors.dat", "mempool.dat", "fee_estimates.dat"):
        (net_dir / name).write_bytes(b"\xff\x00nonsense")
    (net_dir / "blocks" / "blk00000.dat").rename(net_dir / "away")
    fails(datadir, RebuildError, "Error loading block database")
    (net_dir / "away").rename(net_dir / "blocks" / "blk00000.dat")
    asyncio.run(starts_well(datadir))


def test_things_that_are_not_there(datadir: Path) -> None:
    fails(datadir, ConfigError, "Could not find asmap file", asmap="nowhere.dat")
    fails(datadir, ConfigError, "Invalid -proxy address or hostname", proxy=("no.such.host.invalid:1",))
    index = datadir / "regtest" / "indexes"
    shutil.rmtree(index, ignore_errors=True)
    index.write_text("in the way")
    fails(datadir, StorageError, "indexes", txindex=True, blockfilterindex=True)
    index.unlink()
    unfinished = datadir / "regtest" / "ready.json.tmp"
    unfinished.mkdir()
    fails(datadir, BtcnodeError, "Cannot write")  # after everything has started
    unfinished.rmdir()
    asyncio.run(starts_well(datadir))


def test_an_error_in_the_program(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what nobody has thought of takes down what is up."""
    before = leftovers(datadir)
    with monkeypatch.context() as patch:
        patch.setattr("btcnode.node.assembling.SyncMonitor", None)
        for times in range(2):
            with pytest.raises(TypeError):
                asyncio.run(Node(config_of(datadir, txindex=True)).run())
            assert not leftovers(datadir) - before, times
    asyncio.run(starts_well(datadir))


def test_an_error_in_housekeeping_is_a_failure(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("btcnode.services.measuring.Meter.measure", broken)

    async def work() -> None:
        async with asyncio.timeout(20):
            await Node(config_of(datadir)).run()

    with pytest.raises(ZeroDivisionError):
        in_loop(work)


def test_the_end_cannot_be_written(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush fails: the user is told, and everything is closed all the same."""
    before = leftovers(datadir)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left")

    async def work() -> None:
        node = Node(config_of(datadir))
        async with node.life() as running:
            table = node.launch.table
            await table.call_async(table.find("generatetoaddress"), [1, ADDRESS])
            monkeypatch.setattr(type(running.assembled.opened.store), "commit", full)
        with pytest.raises(FatalError, match=r"see debug\.log for details: no space left"):
            node.launch.failure.check("debug.log")

    in_loop(work)
    monkeypatch.undo()
    assert not leftovers(datadir) - before
    asyncio.run(starts_well(datadir))


# -- the mempool's file ------------------------------------------------------------------------------------------------


def test_a_mempool_that_was_not_loaded_is_not_replaced(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = datadir / "regtest" / "mempool.dat"
    stored = encode_dump([], {bytes(range(32)): 5}, [], None)
    path.write_bytes(stored)
    asyncio.run(Node(config_of(datadir, stopafterblockimport=True)).run())
    assert path.read_bytes() == stored
    with monkeypatch.context() as patch:
        loading: list[Path] = []

        async def for_ever(_: MempoolFile, file: Path, options: ImportOptions) -> None:
            loading.append(file)
            await asyncio.Event().wait()

        async def stop_soon() -> None:
            node = Node(config_of(datadir))
            async with node.life():
                await until(lambda: bool(loading))
                assert loading == [path]

        patch.setattr(MempoolFile, "import_file", for_ever)
        asyncio.run(stop_soon())
    assert path.read_bytes() == stored
    asyncio.run(starts_well(datadir, persistmempool=False))
    assert path.read_bytes() == stored
    asyncio.run(starts_well(datadir))
    dump = read_dump(path.read_bytes())
    assert dump.deltas == {bytes(range(32)): 5}


def test_what_becomes_of_the_mempool_is_logged_in_the_words_that_tools_wait_for(
    datadir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def life() -> None:
        node = Node(config_of(datadir))
        async with node.life() as running:
            await until(lambda: running.assembled.parts.mempool_file.loaded)

    (datadir / "regtest" / "mempool.dat").unlink()
    with caplog.at_level("INFO", logger="btcnode.mempool"):
        asyncio.run(life())
        size = (datadir / "regtest" / "mempool.dat").stat().st_size
        asyncio.run(life())
    told = [re.sub(r"\d+\.\d{3}s", "Ts", text) for text in caplog.messages]
    assert told[:3] == [
        "Failed to open mempool file. Continuing anyway.",
        "Writing 0 mempool transactions to file...",
        f"Dumped mempool: Ts to copy, Ts to dump, {size} bytes dumped to file",
    ]
    assert told[3] == "Loading 0 mempool transactions from file..."
