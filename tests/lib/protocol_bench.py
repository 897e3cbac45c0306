"""One ``Protocol`` on a bench: inputs by hand, effects to look at, time under control."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.addresses.addrman import AddressBook
from btcnode.protocol.addresses.seeding import FixedSeeds
from btcnode.protocol.chain_view import TxSource
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.inputs import Input
from btcnode.protocol.peer import Peer
from btcnode.protocol.protocol import Protocol
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import MemoryChain
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.testing.small_pool import SmallPool
from btcnode.wire.codec import Message
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import AddrEntry, Ping, Pong, Verack, Version, WtxidRelay
from btcnode.wire.netaddr import NetAddress

M = TypeVar("M", bound=Message)
E = TypeVar("E")


class Bench:
    """A protocol over a ``MemoryChain``. ``effects`` are those of the last input, ``log`` all lines so far."""

    def __init__(
        self,
        params: NetworkParams,
        *,
        config: ProtocolConfig | None = None,
        minimum_chain_work: int | None = None,
        transactions: TxSource | None = None,
        anchors: tuple[AddrEntry, ...] = (),
        fixed_seeds: FixedSeeds = tuple,
        seed: int = 1,
    ) -> None:
        self.params = params
        self.chain = MemoryChain(params, minimum_chain_work=minimum_chain_work)
        self.now = 1000.0
        self.unix_start: float = UNIX_START
        rng = Random(seed)
        self.book = AddressBook(rng)
        self.protocol = Protocol(
            config or ProtocolConfig(dns_seed=False, no_automatic=True),
            params,
            self.chain.view,
            rng,
            self.now,
            UNIX_START,
            address_book=self.book,
            transactions=transactions,
            anchors=anchors,
            fixed_seeds=fixed_seeds,
        )
        self.effects: list[fx.Effect] = []
        self.log: list[fx.Log] = []
        self.turns_at_once = True  # else AskForTurn is an effect like others
        self._next_peer = 1

    # -- inputs --------------------------------------------------------------------------------------------------

    def step(self, event: Input) -> list[fx.Effect]:
        """Hand over one input, and give turns as long as the protocol asks for them."""
        self.effects = self.protocol.step(self.now, event)
        if self.turns_at_once:
            for effect in self.effects:  # grows
                if isinstance(effect, fx.AskForTurn):
                    self.effects += self.protocol.step(self.now, ev.PeerTurn(effect.peer_id))
            self.effects = [effect for effect in self.effects if not isinstance(effect, fx.AskForTurn)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, fx.Excuse)]
        self.log += [e for e in self.effects if isinstance(e, fx.Log)]
        return self.effects

    def wait(self, seconds: float, *, each: float = 1.0, pongs: bool = True) -> list[fx.Effect]:
        """Let time pass in ticks of ``each`` seconds, pings answered if ``pongs``; returns all effects."""
        collected: list[fx.Effect] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + each)
            effects = self.step(ev.Tick(self.unix_start + self.now - 1000.0))
            collected += effects
            for effect in effects if pongs else ():
                if isinstance(effect, fx.Send) and isinstance(effect.message, Ping):
                    collected += self.receive(effect.peer_id, Pong(effect.message.nonce))
        self.effects = collected
        return collected

    def connect(
        self,
        kind: ConnectionKind = ConnectionKind.INBOUND,
        *,
        address: NetAddress | None = None,
        permissions: Permission = Permission.NONE,
        attempt: int | None = None,
    ) -> int:
        """A connection stands; returns the peer's number."""
        peer_id = self._next_peer
        self._next_peer += 1
        address = address or sim_address(peer_id)
        self.step(ev.PeerConnected(peer_id, address, kind, attempt, permissions))
        return peer_id

    def peer(
        self,
        kind: ConnectionKind = ConnectionKind.INBOUND,
        *,
        services: int = NODE_NETWORK | NODE_WITNESS,
        address: NetAddress | None = None,
        permissions: Permission = Permission.NONE,
        version: int = 70016,
        relay: bool = True,
        wtxid_relay: bool = False,
    ) -> int:
        """An established peer that has answered its first ping; ``effects`` are those of its verack."""
        peer_id = self.connect(kind, address=address, permissions=permissions)
        message = Version(version=version, services=services, time=UNIX_START, nonce=peer_id, relay=relay)
        self.receive(peer_id, message)
        if wtxid_relay:
            self.receive(peer_id, WtxidRelay())
        effects = self.receive(peer_id, Verack())
        for ping in self.sent(Ping, peer_id):
            self.receive(peer_id, Pong(ping.nonce))
        self.effects = effects
        return peer_id

    def receive(self, peer_id: int, message: Message) -> list[fx.Effect]:
        """A message from a peer."""
        return self.step(ev.MessageReceived(peer_id, message))

    def finish_blocks(self, *, limit: int = 1 << 30) -> list[fx.Effect]:
        """Validate what the last effects handed over, and connect it; returns the effects of the answers."""
        collected: list[fx.Effect] = []
        for effect in [e for e in self.effects if isinstance(e, fx.ProcessBlock)][:limit]:
            violation, new = self.chain.store(effect.index, effect.raw)
            if new and self.chain.tree.prev(effect.index) == self.chain.active.tip:
                collected += self.step(ev.BlockAccepted(effect.index, parse_block(self.chain.blocks[effect.index])))
            collected += self.step(ev.BlockProcessed(effect.peer_id, effect.index, violation, new))
            connected, rejected, _ = self.chain.activate()
            for index, reason in rejected:
                collected += self.step(ev.BlockRejected(index, reason))
            if connected:
                collected += self.step(ev.TipChanged(self.chain.active.tip, tuple(connected)))
        self.effects = collected
        return collected

    def judge(self, pool: SmallPool, *, limit: int = 1 << 30) -> list[fx.Effect]:
        """Have the pool judge what the last effects hand over, and what follows from that; returns all effects."""
        collected = list(self.effects)
        waiting = self.all(fx.ProcessTransactions)
        while waiting and limit:
            limit -= 1
            effects = self.step(pool.judge(waiting.pop(0)))
            collected += effects
            waiting += self.all(fx.ProcessTransactions)
        self.effects = collected
        return collected

    def load(self, blocks: list[bytes]) -> None:
        """Have these blocks already."""
        for raw in blocks:
            self.chain.add_block(raw, UNIX_START)
        connected = self.chain.activate().connected
        self.step(ev.TipChanged(self.chain.active.tip, tuple(connected)))

    # -- effects -------------------------------------------------------------------------------------------------

    def all(self, kind: type[E]) -> list[E]:
        """The last effects of one kind."""
        return [e for e in self.effects if isinstance(e, kind)]

    def sent(self, kind: type[M], peer_id: int | None = None) -> list[M]:
        """Messages of one kind among the last effects, to one peer or to all."""
        sends = [e for e in self.all(fx.Send) if peer_id is None or e.peer_id == peer_id]
        return [e.message for e in sends if isinstance(e.message, kind)]

    def given(self, kind: type[M], peer_id: int | None = None) -> list[M]:
        """Messages of one kind among the last effects whose payload was ready, decoded."""
        sends = [e for e in self.all(fx.SendRaw) if peer_id is None or e.peer_id == peer_id]
        return [kind.decode(e.payload) for e in sends if e.command == kind.command]

    def disconnected(self, peer_id: int) -> fx.Disconnect | None:
        """The last effects' disconnection of a peer."""
        return next((e for e in self.all(fx.Disconnect) if e.peer_id == peer_id), None)

    def state(self, peer_id: int) -> Peer:
        """The protocol's memory of a peer."""
        return self.protocol._ctx.peers[peer_id]
