"""What an event tells of can be asked for when it arrives; slow, impatient and forgetful readers harm nobody."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, assert_type

import pytest

import btcnode
from btcnode.chain.header_tree import HeaderTree
from btcnode.embed import events
from btcnode.embed.events import Event, EventHub, EventStream
from btcnode.errors import BtcnodeError
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import address_for_script, script_for_address
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.testing.templates import p2wpkh, signed_tx

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
KEY = p2wpkh(1)
REGTEST = params_for("regtest")
OWN = str(address_for_script(KEY.script_pubkey, REGTEST))
TIMEOUT = 60.0


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TIMEOUT):
            await work()

    asyncio.run(main())


def spend(txid: str) -> str:
    """A transaction of the key's reward of 50 BTC, to somebody else, with a fee of 10,000 satoshi."""
    outpoint, script = bytes.fromhex(txid)[::-1] + bytes(4), KEY.script_pubkey
    value = 50 * 10**8
    target = script_for_address(ADDRESS, REGTEST)
    return signed_tx([(outpoint, make_txout(value, script), KEY)], [make_txout(value - 10_000, target)]).raw.hex()


async def coin_of(node: btcnode.Node, block_hash: str) -> str:
    return (await node.rpc.getblock(block_hash))["tx"][0]


def test_types() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            assert_type(node.events(), EventStream[Event])
            assert_type(node.events(btcnode.NewTip), EventStream[btcnode.NewTip])
            both = node.events(btcnode.NewTip, btcnode.Reorganisation)
            assert_type(both, EventStream[btcnode.NewTip | btcnode.Reorganisation])
            assert_type(await node.rpc.getblockcount(), int)
            wrong: Any
            for wrong in (int, "NewTip", Event):
                with pytest.raises(TypeError, match="no kind of event"):
                    node.events(wrong)

    run(work)


def test_each_tip_is_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with btcnode.Node(txindex=True) as node:
            tips = node.events(btcnode.NewTip)
            making = asyncio.ensure_future(node.rpc.generatetoaddress(50, ADDRESS))
            for height in range(1, 51):
                tip = await anext(tips)
                assert tip.height == height
                assert await node.rpc.getblockcount() >= height
                assert (await node.rpc.getblockheader(tip.block_hash))["confirmations"] > 0
            await making

    run(work)


def test_a_reorganisation_is_told_when_it_is_done() -> None:
    async def work() -> None:
        async with btcnode.Node() as node, btcnode.Node(listen=True, bind=("127.0.0.1",), port=0) as other:
            common = await node.rpc.generatetoaddress(101, OWN)
            for block_hash in common:
                await other.rpc.submitblock(await node.rpc.getblock(block_hash, 0))
            txid = await node.rpc.sendrawtransaction(spend(await coin_of(node, common[0])), 0)
            left = await node.rpc.generatetoaddress(3, ADDRESS)
            joined = await other.rpc.generatetoaddress(5, OTHER)
            every = node.events()
            host, port = other.p2p_address
            await node.rpc.addnode(f"{host}:{port}", "onetry")
            found: list[Event] = []
            async for event in every:
                if isinstance(event, btcnode.PeerCame):
                    continue
                if not found:
                    assert event == btcnode.Reorganisation(101, tuple(reversed(left)))
                    assert await node.rpc.getbestblockhash() == joined[-1]
                    assert (await node.rpc.getblockheader(left[-1]))["confirmations"] == -1
                    assert await node.rpc.getrawmempool() == [txid]
                found.append(event)
                if isinstance(event, btcnode.NewTransaction):
                    assert event.txid == txid
                    break
            # then the new chain, then what has come back
            assert found[1:-1] == [btcnode.NewTip(102 + n, block_hash) for n, block_hash in enumerate(joined)]

    run(work)


def test_blocks_that_nothing_replaces() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            hashes = await node.rpc.generatetoaddress(4, ADDRESS)
            every = node.events()
            await node.rpc.invalidateblock(hashes[2])
            assert await anext(every) == btcnode.Reorganisation(2, (hashes[3], hashes[2]))
            assert await node.rpc.getblockcount() == 2
            await node.rpc.reconsiderblock(hashes[2])
            assert [await anext(every), await anext(every)] == [
                btcnode.NewTip(3, hashes[2]),
                btcnode.NewTip(4, hashes[3]),
            ]

    run(work)


def test_each_transaction_is_there() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            blocks = await node.rpc.generatetoaddress(120, OWN)
            came = node.events(btcnode.NewTransaction)
            for block_hash in blocks[:20]:
                raw = spend(await coin_of(node, block_hash))
                txid = await node.rpc.sendrawtransaction(raw, 0)
                event = await anext(came)
                assert event.txid == txid
                entry = await node.rpc.getmempoolentry(event.txid)
                assert (entry["vsize"], entry["wtxid"]) == (event.vsize, event.wtxid)
                assert entry["fees"]["base"] * 10**8 == event.fee == 10_000

    run(work)


def test_a_transaction_that_is_confirmed_at_once() -> None:
    """Before the loop has turned: it is told all the same, and one that is replaced as soon is not."""

    async def work() -> None:
        hub = EventHub(HeaderTree(REGTEST), lambda: ())
        stream = hub.subscribe((btcnode.NewTransaction,))
        tx = Tx(2, [bytes(36)], [b""], [0], [bytes(8) + b"\x00"], None)
        entry = MempoolEntry(
            tx, fee=100, weight=tx.weight, sigop_cost=0, time=1, height=1, sequence=0, spends_coinbase=False,
            lock_points=LockPoints(-1, -1, -1),
        )  # fmt: skip
        for reason in (RemovalReason.REPLACED, RemovalReason.BLOCK):
            hub.on_transaction(entry)
            hub.on_removal(entry, reason)
        hub.close()
        assert [event async for event in stream] == [
            btcnode.NewTransaction(to_display(tx.txid), to_display(tx.wtxid), 100, entry.vsize)
        ]

    run(work)


def test_each_peer_is_there() -> None:
    async def work() -> None:
        async with btcnode.Node(listen=True, bind=("127.0.0.1",), port=0) as one, btcnode.Node() as two:
            host, port = one.p2p_address
            came, left = one.events(btcnode.PeerCame, btcnode.PeerLeft), two.events(btcnode.PeerLeft)
            for n in range(3):
                await two.rpc.addnode(f"{host}:{port}", "onetry")
                event = await anext(came)
                assert isinstance(event, btcnode.PeerCame)
                assert event.inbound
                assert [peer["id"] for peer in await one.rpc.getpeerinfo()] == [event.peer_id], n
                await one.rpc.disconnectnode(nodeid=event.peer_id)
                gone = await anext(came)
                assert isinstance(gone, btcnode.PeerLeft)
                assert gone.peer_id == event.peer_id
                assert await one.rpc.getpeerinfo() == []
                assert isinstance(await anext(left), btcnode.PeerLeft)  # who is connected is not connected to again
            await one.rpc.setban("127.0.0.1", "add")
            refused = [await asyncio.open_connection(host, port) for _ in range(3)]
            for reader, writer in refused:
                assert await reader.read() == b""
                writer.close()
            await one.rpc.clearbanned()
            _, writer = await asyncio.open_connection(host, port)
            event = await anext(came)  # the refused ones are not told of
            assert isinstance(event, btcnode.PeerCame)
            assert event.peer_id in [peer["id"] for peer in await one.rpc.getpeerinfo()]
            writer.close()
            assert isinstance(await anext(came), btcnode.PeerLeft)

    run(work)


def test_impatient_readers() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            tips = node.events(btcnode.NewTip)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(tips), 0.01)
            hashes = await node.rpc.generatetoaddress(3, ADDRESS)
            async for tip in tips:
                assert tip.block_hash == hashes[0]
                break
            assert [(await anext(tips)).block_hash for _ in range(2)] == hashes[1:]
            readers = [asyncio.ensure_future(anext(tips)) for _ in range(4)]
            await asyncio.sleep(0)
            readers[0].cancel()
            more = await node.rpc.generatetoaddress(3, ADDRESS)
            found = await asyncio.gather(*readers[1:])
            assert [tip.block_hash for tip in found] == more

    run(work)


def test_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_WAITING", 10)

    async def work() -> None:
        async with btcnode.Node() as node:
            tips, fast = node.events(btcnode.NewTip), node.events(btcnode.NewTip)
            for height in range(1, 31):
                await node.rpc.generatetoaddress(1, ADDRESS)
                assert (await anext(fast)).height == height
        assert [tip.height async for tip in tips] == list(range(21, 31))
        assert (tips.missed, fast.missed) == (20, 0)

    run(work)


def test_a_reader_that_is_let_go() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            hub = node._check().hub
            for _ in range(100):
                node.events()
            kept = node.events(btcnode.NewTip)
            gc.collect()
            assert len(hub._streams) == 1
            await node.rpc.generatetoaddress(1, ADDRESS)
            assert (await anext(kept)).height == 1

    run(work)


def test_while_it_stops() -> None:
    async def work() -> None:
        node = btcnode.Node()
        await node.start()
        tips = node.events(btcnode.NewTip)
        readers = [asyncio.ensure_future(_count(tips)) for _ in range(3)]
        await node.rpc.generatetoaddress(5, ADDRESS)
        making = asyncio.ensure_future(node.rpc.generatetoaddress(300, ADDRESS))
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(node.stop())
        await asyncio.sleep(0)
        for _ in range(1000):
            try:
                await _count(node.events())
            except BtcnodeError:
                break
        assert sum(await asyncio.gather(*readers)) >= 5
        await stopping
        await asyncio.gather(making, return_exceptions=True)

    run(work)


async def _count(stream: EventStream[Event] | EventStream[btcnode.NewTip]) -> int:
    return len([event async for event in stream])
