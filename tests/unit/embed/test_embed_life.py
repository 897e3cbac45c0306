"""An embedded node's life: started and stopped at any moment, it leaves neither threads nor files behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import btcnode
from btcnode.embed.node import OF_PROCESS
from btcnode.errors import BtcnodeError, ConfigError, DatadirLockedError, StorageError
from btcnode.rpc.errors import RpcError
from btcnode.storage.locking import DirectoryLock

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def leftovers() -> list[str]:
    """Threads, children and listening sockets of this process, and what it keeps open in temporary directories."""
    found = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    for path in Path("/proc/self/task").glob("*/children"):
        found += path.read_text().split()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - they come and go
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue
        if "btcnode-" in target or "/regtest/" in target or target.startswith("socket:"):
            found.append(target)
    return sorted(found)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test of this file ends as it began, its temporary directories gone."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = Counter(leftovers())  # of tests before this one; it may end meanwhile
    yield
    gc.collect()
    for _ in range(50):  # threads of a pool that was shut down end by themselves
        if not Counter(leftovers()) - before:
            break
        time.sleep(0.1)
    assert not Counter(leftovers()) - before
    assert list(temporary.iterdir()) == []


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``; no task of the node may be left when it is over."""

    async def main() -> None:
        async with asyncio.timeout(120):
            await work()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others

    asyncio.run(main())


def busy_node(**options: Any) -> btcnode.Node:
    """A node with worker processes, an index, and doors for RPC and peers."""
    return btcnode.Node(par=2, txindex=True, listen=True, bind=("127.0.0.1",), port=0, **options)


def test_started_twice() -> None:
    async def work() -> None:
        node = btcnode.Node()
        await node.start()
        with pytest.raises(BtcnodeError, match="started already"):
            await node.start()
        with pytest.raises(BtcnodeError, match="started already"):
            async with node:
                pass
        assert node.settings.net_dir.is_dir()
        assert len(await node.rpc.generatetoaddress(1, ADDRESS)) == 1
        await node.stop()

    run(work)


def test_started_twice_at_once() -> None:
    async def work() -> None:
        node = btcnode.Node()
        results = await asyncio.gather(*(node.start() for _ in range(3)), return_exceptions=True)
        assert results[0] is None
        assert all(isinstance(error, BtcnodeError) for error in results[1:])
        assert await node.rpc.getblockcount() == 0
        await node.stop()

    run(work)


def test_stopped_twice_and_never_started() -> None:
    async def work() -> None:
        node = busy_node()
        await node.stop()
        await node.start()
        await asyncio.gather(node.stop(), node.stop(), node.stop())
        await node.stop()

    run(work)


def test_never_started() -> None:
    node = btcnode.Node()
    assert not node.settings.datadir.exists()
    with pytest.raises(BtcnodeError, match="not running"):
        node.rpc  # noqa: B018


def test_start_after_stop(tmp_path: Path) -> None:
    async def work() -> None:
        node = busy_node(datadir=tmp_path / "deep" / "down")
        for height in range(3):
            async with node:
                assert await node.rpc.getblockcount() == height
                await node.rpc.generatetoaddress(1, ADDRESS)
        passing = btcnode.Node()
        for _ in range(2):
            async with passing:
                assert await passing.rpc.getblockcount() == 0
                await passing.rpc.generatetoaddress(1, ADDRESS)
            assert not passing.settings.datadir.exists()

    run(work)


def test_start_again_in_another_loop(tmp_path: Path) -> None:
    node = btcnode.Node(datadir=tmp_path)
    for height in range(2):

        async def work(height: int = height) -> None:
            async with node:
                assert await node.rpc.getblockcount() == height
                await node.rpc.generatetoaddress(1, ADDRESS)

        run(work)


def test_stop_while_it_starts(tmp_path: Path) -> None:
    async def work() -> None:
        for delay in (0.0, 0.001, 0.01, 0.05, 0.2):
            node = busy_node()
            starting = asyncio.create_task(node.start())
            await asyncio.sleep(delay)
            await node.stop()
            try:
                await starting
            except BtcnodeError as error:
                assert "asked to stop" in str(error)
            else:  # it was faster
                with pytest.raises(BtcnodeError, match="not running"):
                    node.rpc  # noqa: B018
            assert not node.settings.datadir.exists()
            async with node:
                assert await node.rpc.getblockcount() == 0

    run(work)


def test_cancelled_while_it_starts() -> None:
    async def work() -> None:
        for turns in (0, 1, 3, 10, 30, 100, 300):
            node = busy_node()
            starting = asyncio.create_task(node.start())
            for _ in range(turns):
                await asyncio.sleep(0.001)
            starting.cancel()
            await asyncio.sleep(0)
            starting.cancel()  # somebody is in a hurry
            try:
                await starting
            except asyncio.CancelledError:
                assert not node.settings.datadir.exists()
            else:
                await node.stop()
            await node.stop()
            async with node:
                assert await node.rpc.getblockcount() == 0

    run(work)


def test_cancelled_while_it_stops(tmp_path: Path) -> None:
    async def work() -> None:
        node = busy_node(datadir=tmp_path)
        await node.start()
        await node.rpc.generatetoaddress(5, ADDRESS)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await node.stop()
        with pytest.raises(BtcnodeError, match="not running"):
            node.rpc  # noqa: B018
        async with node:
            assert await node.rpc.getblockcount() == 5

    run(work)


def test_timeout_around_a_node() -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), btcnode.Node() as node:
                async for _ in node.events():
                    pass

    run(work)


def test_what_the_user_raises_comes_out() -> None:
    async def work() -> None:
        for error in (ValueError("mine"), KeyboardInterrupt(), StopAsyncIteration(), StopIteration(), GeneratorExit()):
            try:
                async with btcnode.Node() as node:
                    await node.rpc.generatetoaddress(1, ADDRESS)
                    raise error
            except BaseException as caught:
                # Python itself lets no StopIteration out of a coroutine
                assert caught is error or caught.__cause__ is error
            else:
                raise AssertionError

    run(work)


def test_a_node_that_fails(tmp_path: Path) -> None:
    async def fail(node: btcnode.Node) -> None:
        node._check().node.assembled.opened.launch.failure.report(StorageError("the disk is gone"))

    async def work() -> None:
        node = btcnode.Node(datadir=tmp_path)
        with pytest.raises(StorageError, match="the disk is gone"):
            async with node:
                tips = node.events()
                await fail(node)
                assert [tip async for tip in tips] == []  # does not wait for ever
        with pytest.raises(ZeroDivisionError) as caught:
            async with node:
                await fail(node)
                raise ZeroDivisionError
        assert caught.value.__notes__ == ["the node failed: the disk is gone"]
        async with node:
            assert await node.rpc.getblockcount() == 0

    run(work)


def test_asked_to_stop_by_rpc() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            every = node.events()
            await node.rpc.stop()
            assert [event async for event in every] == []
            with pytest.raises(BtcnodeError, match="not running"):
                node.rpc  # noqa: B018
        async with node:
            assert await node.rpc.getblockcount() == 0

    run(work)


def test_port_taken() -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            for options in ({"listen": True, "bind": ("127.0.0.1",), "port": port}, {"rpcport": port}):
                node = btcnode.Node(par=2, **options)
                with pytest.raises(BtcnodeError, match=str(port)):
                    await node.start()
                with pytest.raises(BtcnodeError, match=str(port)):
                    async with node:
                        raise AssertionError
                assert not node.settings.datadir.exists()
        async with node:
            assert node.rpc_address[1] == port

    run(work)


def test_directory_locked(tmp_path: Path) -> None:
    async def work() -> None:
        async with btcnode.Node(datadir=tmp_path) as first:
            second = btcnode.Node(datadir=tmp_path, par=2)
            with pytest.raises(DatadirLockedError):
                await second.start()
            assert len(await first.rpc.generatetoaddress(1, ADDRESS)) == 1
        async with second:
            assert await second.rpc.getblockcount() == 1
        other = DirectoryLock(tmp_path / "regtest")
        with pytest.raises(DatadirLockedError):
            await first.start()
        other.release()

    run(work)


def test_directory_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")

    async def work() -> None:
        with pytest.raises(BtcnodeError):
            await btcnode.Node(datadir=tmp_path / "file" / "node").start()
        with monkeypatch.context() as patched:
            patched.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
            with pytest.raises(StorageError, match="temporary directory"):
                await btcnode.Node().start()

    run(work)


def test_wrong_options() -> None:
    for options in ({"network": "moon"}, {"bind": ("nonsense:1:2",), "listen": True}, {"dbcache": 10**5000}):
        with pytest.raises(ConfigError):
            asyncio.run(btcnode.Node(**options).start())
    with pytest.raises(ConfigError):
        btcnode.Node(no_such_option=1)


def test_options_without_effect_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert {"blocknotify", "debug", "pid"} < OF_PROCESS
    assert not OF_PROCESS & {"datadir", "walletnotify", "logips"}

    async def work() -> None:
        async with btcnode.Node(debuglogfile="x.log", blocknotify="touch x", pid=None, maxtipage="x"):
            pass

    with caplog.at_level("WARNING", "btcnode.node"):
        run(work)
    told = "\n".join(caplog.messages)
    for name in ("debuglogfile has no effect", "blocknotify has no effect", "-maxtipage=x is no number"):
        assert name in told
    assert "pid has no effect" not in told


def test_two_nodes_in_one_loop() -> None:
    async def work() -> None:
        one = btcnode.Node(listen=True, port=0)
        async with one, btcnode.Node() as two:
            host, port = one.p2p_address
            assert host == "127.0.0.1"
            # the same port on both families
            bound = one._check().node.p2p_addresses
            assert {address.port for address in bound} == {port}
            tips = two.events(btcnode.NewTip)
            await two.rpc.addnode(f"{host}:{port}", "onetry")
            await one.rpc.generatetoaddress(3, ADDRESS)
            assert [(await anext(tips)).height for _ in range(3)] == [1, 2, 3]
            await one.stop()
            assert await two.rpc.getblockcount() == 3

    run(work)


def test_addresses() -> None:
    async def work() -> None:
        async with btcnode.Node(server=False) as node:
            with pytest.raises(BtcnodeError, match="no RPC server"):
                node.rpc_address  # noqa: B018
            with pytest.raises(BtcnodeError, match="listens for no peers"):
                node.p2p_address  # noqa: B018
        with pytest.raises(BtcnodeError, match="not running"):
            node.p2p_address  # noqa: B018
        async with btcnode.Node(
            listen=True, bind=("[::1]",), port=0, rpcbind=("0.0.0.0",), rpcallowip=("::/0",)
        ) as node:
            for host, port in (node.p2p_address, node.rpc_address):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                await writer.wait_closed()
            assert node.p2p_address[0] == "::1"
            assert node.rpc_address[0] == "127.0.0.1"

    run(work)


def test_use_after_stop(tmp_path: Path) -> None:
    async def work() -> None:
        node = btcnode.Node(datadir=tmp_path)
        async with node:
            rpc, tips = node.rpc, node.events(btcnode.NewTip)
            block_hash = (await rpc.generatetoaddress(1, ADDRESS))[0]
            waiting = [
                asyncio.ensure_future(rpc.waitforblockheight(100)),
                asyncio.ensure_future(rpc.getblock(block_hash, 2)),
                asyncio.ensure_future(rpc.gettxoutsetinfo()),
                asyncio.ensure_future(rpc.generatetoaddress(500, ADDRESS)),
            ]
            await asyncio.sleep(0.01)
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        for answer in done:
            if isinstance(answer, BaseException):
                assert isinstance(answer, RpcError), answer
                assert answer.code != -32603, answer
        with pytest.raises(BtcnodeError, match="not running"):
            await rpc.getblock(block_hash)
        assert (await anext(tips)).block_hash == block_hash  # what has happened is still told
        async for _ in tips:
            pass
        with pytest.raises(StopAsyncIteration):
            await anext(tips)
        async with node:
            with pytest.raises(BtcnodeError, match="not running"):  # of the life before
                await rpc.getblock(block_hash)
            assert await node.rpc.getblockcount() >= 1
            with pytest.raises(StopAsyncIteration):
                await anext(tips)

    run(work)


def test_from_another_thread() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            rpc = node.rpc

            def elsewhere() -> None:
                async def ask() -> None:
                    for use in (rpc.getblockcount, node.stop, lambda: _of(node.events)):
                        with pytest.raises(BtcnodeError, match="another event loop"):
                            await use()

                asyncio.run(ask())

            await asyncio.to_thread(elsewhere)
            assert await rpc.getblockcount() == 0

    run(work)


async def _of(what: Callable[[], object]) -> None:
    what()


FORGETFUL = """
import asyncio, json, sys, threading
import btcnode

async def main():
    node = btcnode.Node(datadir=sys.argv[1] or None, par=2, txindex=True)
    await node.start()
    print(node.settings.datadir, flush=True)
    await node.rpc.generatetoaddress(20, sys.argv[2])
    mining = asyncio.create_task(node.rpc.generatetoaddress(2000, sys.argv[2]))
    await asyncio.sleep(0.3)
    if sys.argv[3]:
        raise ValueError

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["", "raise"])
@pytest.mark.parametrize("own", [True, False])
def test_a_program_that_forgets_to_stop(tmp_path: Path, own: bool, how: str) -> None:
    datadir = tmp_path / "node"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL, str(datadir) if own else "", ADDRESS, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == bool(how), done.stderr
    assert how or not done.stderr, done.stderr
    used = Path(done.stdout.splitlines()[0])
    assert used.exists() is own

    async def work() -> None:
        async with btcnode.Node(datadir=datadir) as node:
            height = await node.rpc.getblockcount()
            assert height >= 20
            assert await node.rpc.verifychain(4, 0) is True
            assert len(await node.rpc.generatetoaddress(1, ADDRESS)) == 1
            assert (await node.rpc.gettxoutsetinfo())["height"] == height + 1

    if own:
        run(work)


def test_ready_file_is_gone(tmp_path: Path) -> None:
    async def work() -> None:
        async with btcnode.Node(datadir=tmp_path) as node:
            ready = node.settings.net_dir / "ready.json"
            assert json.loads(ready.read_text())["pid"] == os.getpid()
        assert not ready.exists()

    run(work)


def test_methods_about_a_wallet() -> None:
    async def main() -> None:
        async with btcnode.Node(keypool=2) as node:
            one, two = node.wallet("one"), node.wallet("two")
            with pytest.raises(RpcError, match="does not exist or is not loaded"):
                await one.getbalance()
            await node.rpc.createwallet("one")
            await node.rpc.createwallet("two")
            with pytest.raises(RpcError, match="Multiple wallets are loaded"):
                await node.rpc.getbalance()
            address = await one.getnewaddress()
            infos = await asyncio.gather(one.getaddressinfo(address), two.getaddressinfo(address))
            assert [info["ismine"] for info in infos] == [True, False]
        with pytest.raises(BtcnodeError, match="not running"):
            node.wallet("one")
        with pytest.raises(BtcnodeError, match="not running"):
            await one.getbalance()

    asyncio.run(main())
