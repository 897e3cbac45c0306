"""Scripted peers: the same ones at every node, telling the same, so that what nodes say about peers can be compared."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from btcnode.primitives.hashes import sha256d
from btcnode.primitives.header import HEADER_SIZE
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import (
    BlockMessage,
    FeeFilter,
    GetHeaders,
    Headers,
    Inv,
    InvItem,
    Ping,
    Pong,
    SendAddrV2,
    SendCmpct,
    SendHeaders,
    TxMessage,
    Verack,
    Version,
    WtxidRelay,
)
from tests.lib.peer import ScriptedPeer, v2_initiator

from .world import World

if TYPE_CHECKING:
    from btcnode.wire.codec import Message

    from .nodes import Node

MSG_TX, MSG_BLOCK, MSG_WTX = 1, 2, 5
TIMEOUT_S = 20.0


class Companion:
    """A peer of one node that asks nothing and answers pings when it is told to ``sync``."""

    def __init__(self, node: Node, world: World, number: int, *, v2: bool = False, relay: bool = True) -> None:
        self.world = world
        sock = socket.create_connection(("127.0.0.1", node.port), TIMEOUT_S)
        wire = v2_initiator(world.params, Random(number).randbytes) if v2 else None
        self.peer = ScriptedPeer(sock, world.params, TIMEOUT_S, wire, lenient=True)
        self._count = 0
        self._number, self._v2, self._relay = number, v2, relay
        self._greet(relay)

    def _greet(self, relay: bool) -> None:
        peer = self.peer
        peer.send(
            Version(
                services=NODE_NETWORK | NODE_WITNESS,
                time=self.world.now + 7 * self._number,
                nonce=1000 + self._number,
                user_agent=f"/companion:{self._number}/".encode(),
                start_height=self._number,
                relay=relay,
            )
        )
        peer.expect(Version)
        peer.send(WtxidRelay())
        peer.send(SendAddrV2())
        peer.send(Verack())
        peer.expect(Verack)
        self.sync()

    def tell(self, *messages: Message) -> bool:
        """Send messages and wait until the node has taken them; whether it is still there then."""
        try:
            for message in messages:
                self.peer.send(message)
            self.sync()
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Answer pings until the node answers ours: it has then handled what was sent."""
        self._count += 1
        nonce = self._number << 32 | self._count
        self.peer.send(Ping(nonce))
        while True:
            message = self.peer.receive()
            if isinstance(message, Ping):
                self.peer.send(Pong(message.nonce))
            elif isinstance(message, Pong) and message.nonce == nonce:
                return

    def again(self, node: Node) -> Companion:
        """Another like this one, after the node has hung up."""
        self.close()
        return Companion(node, self.world, self._number, v2=self._v2, relay=self._relay)

    def close(self) -> None:
        """Hang up."""
        self.peer.close()


def _unknown(number: int) -> bytes:
    return sha256d(b"nobody has this %d" % number)


def accompany(node: Node, world: World) -> list[Companion]:
    """Two peers of a node that tell of orphans, transactions, headers and blocks; the second is of version 2 and wants
    no transactions."""
    first = Companion(node, world, 1)
    second = Companion(node, world, 2, v2=True, relay=False)
    first.tell(SendHeaders(), SendCmpct(high_bandwidth=False), FeeFilter(2000))
    second.tell(SendCmpct(high_bandwidth=True))
    first.tell(Headers((world.blocks[-1][:HEADER_SIZE],)))
    second.tell(Inv((InvItem(MSG_BLOCK, bytes.fromhex(world.hashes[-2])[::-1]),)))
    first.tell(*(TxMessage(tx.raw) for tx in world.orphans))
    first.tell(Inv((InvItem(MSG_WTX, _unknown(1)), InvItem(MSG_WTX, _unknown(2)))))
    first.tell(*(TxMessage(tx.raw) for tx in world.told))
    second.tell(BlockMessage(world.side_blocks[0]))
    second.tell(GetHeaders(locator=(bytes.fromhex(world.hashes[3])[::-1],)))
    return [first, second]


def dismiss(companions: Sequence[Companion]) -> None:
    """All hang up."""
    for companion in companions:
        companion.close()
