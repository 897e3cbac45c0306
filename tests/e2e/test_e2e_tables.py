"""A whole node after hundreds of connections over real sockets: nothing in it remembers how many there were."""

from __future__ import annotations

import asyncio
from pathlib import Path

import btcnode
from btcnode.networks.parameters import params_for
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.codec import Message
from btcnode.wire.messages import GetAddr, GetHeaders, Mempool, Ping, SendAddrV2, Verack, Version, WtxidRelay
from btcnode.wire.transport import V1Transport
from tests.lib.object_sizes import container_sizes

CONNECTIONS = 300  # more than anything remembers of them by default
AT_ONCE = 50
MAGIC = params_for("regtest").magic
HELLO = (Version(services=9, time=UNIX_START, nonce=7), WtxidRelay(), SendAddrV2(), Verack())
TALK = (*HELLO, Ping(1), GetAddr(), GetHeaders((bytes(32),)), Mempool(), Ping(2))
WAYS: tuple[tuple[bytes, tuple[Message, ...]], ...] = (
    (b"", ()), (b"", HELLO[:1]), (b"", HELLO), (b"", TALK), (bytes(100), ()), (MAGIC + bytes(20), TALK)
)  # fmt: skip


async def call(host: str, port: int, number: int) -> None:
    """One connection: what it sends first and then; the node may close it."""
    reader, writer = await asyncio.open_connection(host, port)
    garbage, messages = WAYS[number % len(WAYS)]
    wire = V1Transport(MAGIC)
    writer.write(garbage + b"".join(wire.encode(message.command, message.encode()) for message in messages))
    try:
        async with asyncio.timeout(0.2):
            while await reader.read(65536):
                pass
    except (TimeoutError, ConnectionError):
        pass
    writer.close()


async def crowd(node: btcnode.Node) -> None:
    """Many connections, and the end of them all."""
    host, port = node.p2p_address
    for first in range(0, CONNECTIONS, AT_ONCE):
        await asyncio.gather(*(call(host, port, number) for number in range(first, first + AT_ONCE)))
    for _ in range(600):
        if not await node.rpc.getconnectioncount():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("connections that were closed are still there")


def test_a_node_does_not_grow_with_connections_that_are_gone(tmp_path: Path) -> None:
    async def main() -> None:
        node = btcnode.Node(datadir=tmp_path, listen=True, bind=("127.0.0.1",), port=0, peerbloomfilters=True)
        async with node:
            dir(node.rpc)  # loads all methods, which else come one by one meanwhile
            await crowd(node)
            loop = asyncio.get_running_loop()
            before = container_sizes(node, loop)
            assert len(before) > 300
            await crowd(node)
            for _ in range(60):  # what is told or measured now and then has its time
                after = container_sizes(node, loop)
                grown = [way for way, size in after.items() if size > before[way] + CONNECTIONS // 20]
                if not grown:
                    break
                await asyncio.sleep(0.5)
        assert not grown

    asyncio.run(main())
