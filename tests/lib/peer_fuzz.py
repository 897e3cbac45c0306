"""Random peers for one ``Protocol``: what they send, what becomes of it, what the user does meanwhile.

Everything follows from the seed. A step may do anything that a reactor may do; peers send good messages, good ones at
the wrong time, senseless ones, and good ones with bytes changed. Answers to effects come late and in any order.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.net.connection import TXS_TOGETHER
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import MIN_TX_SIZE, parse_block
from btcnode.primitives.chunk_tree import CHUNK_SIZE
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.header import header_hash
from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol import commands as cmd
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol import limits
from btcnode.protocol.chain_view import TxSource
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.inputs import Input
from btcnode.protocol.limits import LARGE_TX
from btcnode.protocol.serving.thin_answers import answer_steps
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, output, spend
from btcnode.wire import messages as m
from btcnode.wire.bloom_filter import make_filter
from btcnode.wire.codec import LimitExceeded, Message
from btcnode.wire.constants import (
    MSG_BLOCK_SPENT,
    MSG_UTREEXO_PROOF,
    NODE_BLOCK_UNDO,
    NODE_BLOOM,
    NODE_COMPACT_FILTERS,
    NODE_NETWORK,
    NODE_UTREEXO_ARCHIVE,
    NODE_UTXO_SET,
    NODE_XTHIN,
)
from btcnode.wire.registry import UnknownMessage, decode_message
from btcnode.wire.subnet import SubNet
from tests.lib.filtering import filter_block
from tests.lib.protocol_bench import Bench

MAX_PEERS = 12
MAX_ANSWERS = 2000  # effects without an answer: the eldest is answered then
MAX_BLOCKS = 600  # mined while fuzzing
MAX_POOL = 400
MAX_TXS = 300  # that peers send again
HONEST = 0.7  # share of requests that are answered truly
CHANGED = 0.25  # share of messages whose bytes are changed
KINDS = (ConnectionKind.INBOUND,) * 6 + tuple(ConnectionKind)
PERMISSIONS = (
    (Permission.NONE,) * 5 + (Permission.NOBAN,) * 4 + (Permission.RELAY | Permission.FORCE_RELAY,)
    + (Permission.MEMPOOL, Permission.BLOOM_FILTER, Permission.ADDR, Permission.DOWNLOAD)
)  # fmt: skip
Inventory = (1, 2, 3, 4, 5, 0x40000001, 0x40000002, 0x40000005, MSG_BLOCK_SPENT, 0, 7)

OFFERED = NODE_BLOOM | NODE_COMPACT_FILTERS | NODE_XTHIN | NODE_BLOCK_UNDO | NODE_UTREEXO_ARCHIVE


SERVICES = (1033, 1033, 9, 1, 0, 1033 | NODE_XTHIN, 1033 | NODE_BLOCK_UNDO)
SIDE_SERVICES = {"full": (), "bridge": (), "compact": (1033 | NODE_UTREEXO_ARCHIVE, 1033 | NODE_UTXO_SET) * 6}
SIDE_VERSIONS = {"full": (), "bridge": (70017,) * 6, "compact": (70017,) * 6}
PROOFS = (b"\0\0\0", b"\0", b"\0\xfd\xff\xff\0", b"\1" + bytes(32) + b"\0\0", b"\0\2\5\5\2" + bytes(26))


class FoundFilter(NamedTuple):
    """A block filter as far as the protocol looks at it."""

    data: bytes
    hash: bytes
    header: bytes


class PeerFuzzer:
    """``step`` does one thing; what the protocol raises comes through."""

    def __init__(self, params: NetworkParams, seed: int, mode: str = "full") -> None:
        """``mode``: "full", "bridge" (peers ask mostly for proofs and sets), or "compact": a node without coins."""
        self.rng = rng = Random(f"peers {seed}" if mode == "full" else f"{mode} {seed}")
        self.mode = mode
        own = OWN_SERVICES & ~NODE_NETWORK if mode == "compact" else OWN_SERVICES
        self.pool = SmallPool()
        config = ProtocolConfig(
            dns_seed=False,
            tx_relay=True,
            tx_reconciliation=True,
            utxo_sets=True,
            services=own | OFFERED,
            by_proofs=mode == "compact",
            block_relay=rng.choice(("auto", "compact", "xthin")),
        )
        self.bench = Bench(params, config=config, transactions=cast(TxSource, self.pool), seed=seed)
        known = self.known = mine_chain(params, 300 if mode == "compact" else 40, UNIX_START - 60)
        self.blocks = [*known, *mine_chain(params, 15, UNIX_START - 30, extra=b"\x03")]
        self.bench.load(known[:20])
        for index in self.bench.chain.active.span(1, 20):
            self.bench.chain.tree.set_undo(index, 1)
        self._by_hash: dict[bytes, bytes] = {header_hash(raw[:80]): raw for raw in self.blocks}
        self.hashes = [params.genesis_hash, *(header_hash(raw[:80]) for raw in self.blocks), bytes(32), b"\xff" * 32]
        self.txs: deque[Tx] = deque(maxlen=MAX_TXS)
        self.peers: list[int] = []
        self.open: list[fx.Effect] = []
        self.counts: Counter[str] = Counter()
        self._mined = 0
        self._coins = 0
        self._held = False
        self._actions: list[Callable[[], None]] = (
            [self._message] * 70 + [self._tick] * 10 + [self._answer] * 40 + [self._connect] * 4
            + [self._disconnect, self._buffer, self._command, self._confirm] + [self._mine] * 2
        )  # fmt: skip
        self._makers = self._message_makers()
        self._side_makers = self._side_message_makers()

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do something."""
        if len(self.open) > MAX_ANSWERS:
            self._answer()
        self.rng.choice(self._actions)()

    def _feed(self, event: Input) -> None:
        self.counts[type(event).__name__] += 1
        bench = self.bench
        for effect in bench.step(event):
            if isinstance(effect, fx.Send):
                payload = effect.message.encode()
                if not isinstance(effect.message, m.FinalAlert | m.PingWithoutNonce):  # which are only sent
                    assert decode_message(effect.message.command, payload) == effect.message
                if isinstance(effect.message, REQUESTS) and self.rng.random() < HONEST:
                    self.open.append(effect)
            elif isinstance(effect, fx.Log):
                assert effect.text.isprintable()
            elif isinstance(effect, fx.Disconnect):
                self.counts["closed by us"] += 1
                if effect.peer_id in self.peers and self.rng.random() < 0.9:
                    self.open.append(effect)
            elif not isinstance(effect, fx.SendRaw | fx.SetReceiving | fx.AddressBookDirty | fx.Audit):
                self.open.append(effect)
        bench.log.clear()

    def _peer(self) -> int:
        return self.rng.choice(self.peers) if self.peers else 0

    # -- the reactor's side --------------------------------------------------------------------------------------

    def _connect(self) -> None:
        kind, rng = self.rng.choice(KINDS), self.rng
        if kind is ConnectionKind.INBOUND:
            self._opened(kind, None)
        elif kind is not ConnectionKind.PRIVATE_BROADCAST:
            self._feed(cmd.AddConnection(str(sim_address(rng.randrange(200))), kind, rng.random() < 0.5))

    def _opened(self, kind: ConnectionKind, attempt: int | None) -> None:
        """A connection stands, and most often the peer greets."""
        bench, rng = self.bench, self.rng
        while len(self.peers) >= MAX_PEERS:
            self._disconnect()
        peer = bench._next_peer
        bench._next_peer += 1
        self.peers.append(peer)
        where = sim_address(rng.randrange(40) if rng.random() < 0.5 else peer)
        transport = rng.choice(("v1", "detecting"))
        self._feed(ev.PeerConnected(peer, where, kind, attempt, rng.choice(PERMISSIONS), transport=transport))
        if transport == "detecting" and rng.random() < 0.8:
            self._feed(ev.TransportReady(peer, rng.choice(("v1", "v2")), rng.randbytes(32)))
        if rng.random() < 0.9:
            self._send(peer, self._version())
            for message in (m.WtxidRelay(), m.SendAddrV2(), m.SendTxRcncl(1, 7), m.Feature(b"BIP452")):
                if rng.random() < 0.5:
                    self._send(peer, message)
            self._send(peer, m.Verack())

    def _disconnect(self) -> None:
        if self.peers:
            peer = self.peers.pop(self.rng.randrange(len(self.peers)))
            self._feed(ev.PeerDisconnected(peer, "closed", self.rng.random() < 0.1))

    def _buffer(self) -> None:
        self._feed(ev.SendBufferState(self._peer(), self.rng.random() < 0.4))
        if self.rng.random() < 0.02:
            self._feed(ev.PeersPressing((self._peer(), self._peer())))

    def _tick(self) -> None:
        bench, rng = self.bench, self.rng
        bench.now += rng.choice((0.1, 0.1, 0.1, 1.0, 5.0, 60.0, 1300.0 if rng.random() < 0.05 else 0.1))
        if rng.random() < 0.01:
            self._held = not self._held
        self._feed(ev.Tick(UNIX_START + bench.now - 1000.0, self._held))

    def _answer(self) -> None:
        """Answer an open effect, mostly an old one."""
        if self.open:
            at = 0 if self.rng.random() < 0.5 else self.rng.randrange(len(self.open))
            effect = self.open.pop(at)
            ANSWERS[type(effect)](self, effect)

    def closed(self, effect: fx.Disconnect) -> None:
        """The reactor has closed a connection."""
        if effect.peer_id in self.peers:
            self.peers.remove(effect.peer_id)
            self._feed(ev.PeerDisconnected(effect.peer_id, "closed by us"))

    def connect(self, effect: fx.Connect) -> None:
        """An outbound connection stands, or not."""
        if self.rng.random() < 0.6:
            self._opened(effect.kind, effect.attempt)
        else:
            self._feed(ev.ConnectFailed(effect.attempt, "no route"))

    def process_block(self, effect: fx.ProcessBlock) -> None:
        """Store a block and activate the best chain; now and then it is refused without reason."""
        chain, rng = self.bench.chain, self.rng
        if rng.random() < 0.05:
            fault = rng.choice(list(Fault))
            self._feed(ev.BlockProcessed(effect.peer_id, effect.index, RuleViolation("some-reason", "", fault), False))
            return
        violation, new = chain.store(effect.index, effect.raw)
        if new and chain.tree.prev(effect.index) == chain.active.tip:
            self._feed(ev.BlockAccepted(effect.index, parse_block(chain.blocks[effect.index])))
        self._feed(ev.BlockProcessed(effect.peer_id, effect.index, violation, new))
        self._activate()

    def _activate(self) -> None:
        chain = self.bench.chain
        connected, rejected, _ = chain.activate()
        for index, violation in rejected:
            self._feed(ev.BlockRejected(index, violation))
        if connected:
            self._feed(ev.TipChanged(chain.active.tip, tuple(connected)))
        self._feed(ev.ChainSettled())

    def process_transactions(self, effect: fx.ProcessTransactions) -> None:
        """The pool's verdict; the pool stays small."""
        if len(self.pool.entries) > MAX_POOL:
            self.pool.remove(next(iter(self.pool.entries)))
        self._feed(self.pool.judge(effect))

    def read_block(self, effect: fx.ReadBlock) -> None:
        """A block, or a disk error."""
        raw = self.bench.chain.blocks.get(effect.index) if self.rng.random() < 0.95 else None
        self._feed(ev.BlockRead(effect.peer_id, effect.index, raw))

    def match_block(self, effect: fx.MatchBlock) -> None:
        """A filtered block, or a disk error."""
        raw = self.bench.chain.blocks.get(effect.index) if self.rng.random() < 0.95 else None
        found = filter_block(raw, effect.filter) if raw is not None else None
        self._feed(ev.BlockMatched(effect.peer_id, effect.index, found))

    def make_thin(self, effect: fx.MakeThin) -> None:
        """Parts of a block, or a disk error."""
        raw = self.bench.chain.blocks.get(effect.index) if self.rng.random() < 0.95 else None
        block = effect.block or (parse_block(raw) if raw is not None else None)
        made = at_once(answer_steps(effect.request, block)) if block is not None else None
        self._feed(ev.ThinMade(effect.peer_id, effect.index, made))

    def read_filters(self, effect: fx.ReadFilters) -> None:
        """Filters, or none."""
        found = tuple(FoundFilter(b"\x00", bytes(32), bytes(32)) for _ in effect.indices)
        self._feed(ev.FiltersRead(effect.peer_id, effect.indices, found if self.rng.random() < 0.9 else None))

    def read_spent(self, effect: fx.ReadSpent) -> None:
        """Spent coins, none, or too many for a message."""
        coins = self.rng.choice((None, b"\0", b"\1" + bytes(11), bytes(4_000_000)))
        self._feed(ev.SpentRead(effect.peer_id, effect.index, coins))

    def read_utreexo(self, effect: fx.ReadUtreexo) -> None:
        """A proof, none, or one too large for a message."""
        payload = self.rng.choice((None, bytes(35), bytes(4_000_001)))
        self._feed(ev.UtreexoRead(effect.peer_id, effect.index, payload))

    def keep_proof(self, effect: fx.KeepProof) -> None:
        """A proof is kept; now and then its block cannot be connected by it."""
        assert effect.index >= 0
        self._feed(cmd.ProofsKept((effect.index,), effect.peer_id))
        if self.rng.random() < 0.1:
            peer_id = self.rng.choice((effect.peer_id, effect.peer_id, -1, self.rng.randrange(99)))
            self._feed(cmd.ProofRefused(effect.index, "as it pleases", self.rng.random() < 0.5, peer_id))

    def take_spent(self, effect: fx.TakeSpent) -> None:
        """Coins that a peer told are wrong, or good."""
        assert effect.index >= 0
        if self.rng.random() < 0.1:
            self._feed(cmd.SpentJudged(effect.peer_id, effect.index, "as it pleases"))

    def read_utxo_set(self, effect: fx.ReadUtxoSet) -> None:
        """A part of a set, none, or one too large for a message."""
        payload = self.rng.choice((None, bytes(42), bytes(4_000_001)))
        self._feed(ev.UtxoSetRead(effect.peer_id, effect.index, payload))

    def take_utxo_tree(self, effect: fx.TakeUtxoTree) -> None:
        """Chunks are wanted then, or the set is given up."""
        self._feed(cmd.FetchUtxoChunks(effect.tree, tuple(range(9))) if self.rng.random() < 0.9 else cmd.DropUtxoSet())

    def take_utxo_chunk(self, effect: fx.TakeUtxoChunk) -> None:
        """A chunk is written, wrong, or cannot be written."""
        stored, wrong = self.rng.choice(((True, False), (True, False), (False, True), (False, False)))
        self._feed(cmd.UtxoChunkJudged(effect.peer_id, effect.chunk, stored, wrong))

    def resolve(self, effect: fx.ResolveSeeds) -> None:
        """No seed answers."""
        for name in effect.names:
            self._feed(ev.DnsSeedResult(name, ()))

    def asked(self, effect: fx.Send) -> None:
        """What an honest peer answers to a request."""
        message, peer = effect.message, effect.peer_id
        if peer not in self.peers:
            return
        if isinstance(message, m.Ping):
            self._send(peer, m.Pong(message.nonce))
        elif isinstance(message, m.GetHeaders):
            self._send(peer, self._known_headers())
        elif isinstance(message, m.GetBlockTxn) and (raw := self._block_of(message.block_hash)) is not None:
            block = parse_block(raw)
            found = tuple(block.tx_raw(n) for n in message.indexes if n < block.n_tx)
            self._send(peer, m.BlockTxn(message.block_hash, found))
        elif isinstance(message, m.GetBlockSpent):
            missing = m.NotFound((m.InvItem(MSG_BLOCK_SPENT, message.block_hash),))
            self._send(peer, m.BlockSpent(message.block_hash, b"\0") if self.rng.random() < 0.8 else missing)
        elif isinstance(message, m.GetUtreexoProof):
            missing = m.NotFound((m.InvItem(MSG_UTREEXO_PROOF, message.block_hash),))
            self._send(peer, m.UtreexoProof(message.block_hash, b"\0\0\0") if self.rng.random() < 0.8 else missing)
        elif isinstance(message, m.GetUtxoTree):
            self._send(peer, UTXO_TREE)
        elif isinstance(message, m.GetUtxoSet):
            self._send(peer, m.UtxoSetChunk(message.block_hash, message.chunk, b"some"))
        elif isinstance(message, m.GetData):
            for item in message.items:
                raw = self._block_of(item.hash)
                tx = next((tx for tx in self.txs if item.hash in (tx.txid, tx.wtxid)), None)
                if raw is not None:
                    self._send(peer, m.BlockMessage(raw))
                else:
                    self._send(peer, m.TxMessage(tx.raw) if tx is not None else m.NotFound((item,)))

    def _block_of(self, block_hash: bytes) -> bytes | None:
        return self._by_hash.get(block_hash)

    def nothing(self, _: fx.Effect) -> None:
        """A line of the log."""

    # -- the user's side -----------------------------------------------------------------------------------------

    def _mine(self) -> None:
        if self._mined >= MAX_BLOCKS:
            return
        self._mined += 1
        bench = self.bench
        now = int(UNIX_START + bench.now - 1000)
        on = None if self.rng.random() < 0.8 else bench.chain.active.at(max(0, bench.chain.active.height - 2))
        raw = bench.chain.mine(max(now, UNIX_START), on=on, extra=self._mined.to_bytes(3, "little"))
        self.blocks.append(raw)
        self.hashes.append(header_hash(raw[:80]))
        self._by_hash[self.hashes[-1]] = raw
        if self.rng.random() < 0.7:  # a peer's: it tells of it in one of three ways
            form = self.rng.choice((m.Headers((raw[:80],)), m.BlockMessage(raw), self._compact_of(raw)))
            self._feed(ev.MessageReceived(self._peer(), form, 0))
        else:
            index = bench.chain.add_block(raw, 2**31)
            self._feed(ev.BlockAccepted(index, parse_block(raw)))
            self._activate()

    def _confirm(self) -> None:
        raw = self.bench.chain.blocks[self.bench.chain.active.tip]
        self._feed(ev.TransactionsConfirmed(parse_block(raw)))
        self._feed(ev.TransactionsUnconfirmed(header_hash(raw[:80])))

    def _command(self) -> None:
        rng, peer = self.rng, self._peer()
        subnet = SubNet.parse(sim_address(rng.randrange(40)).host)
        tx = self._new_tx()
        self._feed(
            rng.choice(
                (
                    cmd.PingPeers(),
                    cmd.SetBan(subnet, 0, int(self.bench.protocol._ctx.unix) + rng.choice((5, 10**6))),
                    cmd.LiftBan(subnet),
                    cmd.LiftBan(None),
                    cmd.DisconnectNode(peer),
                    cmd.AddNode(str(sim_address(rng.randrange(50))), rng.choice(("add", "remove", "onetry"))),
                    cmd.SetNetworkActive(rng.random() < 0.97),
                    cmd.ForwardTimers(rng.randrange(1000)),
                    cmd.FetchBlock(peer, rng.randrange(len(self.bench.chain.blocks))),
                    cmd.FetchSpent(
                        tuple(rng.randrange(len(self.bench.chain.blocks)) for _ in range(rng.randrange(90)))
                    ),
                    cmd.DropSpent(),
                    cmd.FetchUtxoSet(UTXO_TREE.block_hash, rng.choice((None, UTXO_TREE.root))),
                    rng.choice((cmd.DropUtxoSet(), cmd.FetchUtxoChunks(UTXO_TREE, (1, 5, 8)))),
                    cmd.ValidationLimit(rng.choice((0, 10**6, 10**9))),
                    ev.TransactionAdded(tx.txid, tx.wtxid),
                    ev.LocalAddress(sim_address(77), "user"),
                )
            )
        )

    # -- messages ------------------------------------------------------------------------------------------------

    def _send(self, peer: int, message: Message) -> None:
        """A message arrives, perhaps with bytes changed."""
        if self._is_paused(peer):
            return
        command = message.name if isinstance(message, UnknownMessage) else message.command
        self.counts[f"message {command[:12]}"] += 1
        if self.rng.random() > CHANGED or isinstance(message, m.Version | m.Verack):
            self._feed(ev.MessageReceived(peer, message, 0))
            return
        payload = self._bent(message.encode())
        try:
            changed = decode_message(command, payload)
        except LimitExceeded as error:
            self._feed(ev.MalformedMessage(peer, ev.Malformation.LIMIT, command, str(error), len(payload)))
        except DecodeError as error:
            self._feed(ev.MalformedMessage(peer, ev.Malformation.PAYLOAD, command, str(error), len(payload)))
        else:
            self._feed(ev.MessageReceived(peer, changed, len(payload)))

    def _bent(self, data: bytes) -> bytes:
        """The bytes with some changed, cut off or put in."""
        payload = bytearray(data)
        for _ in range(self.rng.randrange(1, 4)):
            what = self.rng.random()
            at = self.rng.randrange(len(payload) + 1)
            if what < 0.6 and at < len(payload):
                payload[at] = self.rng.randrange(256)
            elif what < 0.8:
                del payload[at:]
            else:
                payload[at:at] = self.rng.randbytes(self.rng.randrange(1, 40))
        return bytes(payload)

    def _send_run(self, peer: int) -> None:
        """Transactions that arrive one right behind the other, some of them twice, some with bytes changed."""
        self.counts["run of transactions"] += 1
        payloads: list[bytes] = []
        for _ in range(self.rng.randrange(1, TXS_TOGETHER + 1)):
            again = payloads and self.rng.random() < 0.1
            raw = self.rng.choice(payloads) if again else self._new_tx().raw
            bent = self._bent(raw) if self.rng.random() < CHANGED else raw
            if MIN_TX_SIZE <= len(bent) < LARGE_TX:
                payloads.append(bent)
        hashed = self.rng.random() < 0.5  # as version 1 of the transport has it
        if payloads and not self._is_paused(peer):
            self._feed(ev.TransactionsReceived(peer, tuple((raw, sha256d(raw) if hashed else b"") for raw in payloads)))

    def _is_paused(self, peer: int) -> bool:
        """Whether the reactor does not read from the peer."""
        state = self.bench.protocol._ctx.peers.get(peer)
        return state is not None and bool(state.pauses)

    def _message(self) -> None:
        rng = self.rng
        if rng.random() < 0.01:
            kind = rng.choice(list(ev.Malformation))
            self._feed(ev.MalformedMessage(self._peer(), kind, rng.choice(("tx", "filterload", "?")), "bent"))
            return
        if rng.random() < 0.02:
            self._send_run(self._peer())
            return
        aside = self.mode != "full" and rng.random() < 0.5
        self._send(self._peer(), rng.choice(self._side_makers if aside else self._makers)())

    def _version(self) -> m.Version:
        rng = self.rng
        return m.Version(
            version=rng.choice((70016, 70016, 70016, 70015, 60000, 31402, 209, *SIDE_VERSIONS[self.mode])),
            services=rng.choice((*SERVICES, rng.getrandbits(64), *SIDE_SERVICES[self.mode])),
            time=rng.choice((UNIX_START, 0, 2**62)),
            nonce=rng.getrandbits(64),
            user_agent=rng.randbytes(rng.randrange(30)),
            start_height=rng.randrange(-5, 100),
            relay=rng.random() < 0.8,
        )

    def _hash(self) -> bytes:
        rng = self.rng
        if rng.random() < 0.4 and self.txs:
            tx = rng.choice(self.txs)
            return rng.choice((tx.txid, tx.wtxid))
        return rng.choice(self.hashes) if rng.random() < 0.9 else rng.randbytes(32)

    def _items(self) -> tuple[m.InvItem, ...]:
        rng = self.rng
        size = rng.choice((1, 1, 3, 10, 300))
        return tuple(m.InvItem(rng.choice(Inventory), self._hash()) for _ in range(size))

    def _new_tx(self) -> Tx:
        """A transaction: loose, or with a parent that may be unknown, sometimes cheap or invalid."""
        rng = self.rng
        fee = rng.choice((0, 1, 2000, 50_000))
        if self.txs and rng.random() < 0.5:
            parent = rng.choice(self.txs)
            tx = spend([output(parent)], max(fee, 60_000), fee, witness=rng.choice((b"", b"w")))
        else:
            self._coins += 1
            tx = spend([coin(self._coins)], COIN_VALUE, fee, outputs=rng.choice((1, 2)), padding=rng.choice((0, 0, 90)))
        self.txs.append(tx)
        return tx

    def _tx(self) -> m.TxMessage:
        tx = self.rng.choice(self.txs) if self.txs and self.rng.random() < 0.4 else self._new_tx()
        return m.TxMessage(tx.raw)

    def _headers(self) -> m.Headers:
        first = self.rng.randrange(len(self.blocks))
        return m.Headers(tuple(raw[:80] for raw in self.blocks[first : first + self.rng.choice((0, 1, 5, 60))]))

    def _entries(self) -> tuple[m.AddrEntry, ...]:
        rng = self.rng
        return tuple(
            m.AddrEntry(
                rng.choice((UNIX_START, 0, 2**32 - 1)), rng.choice((1033, 0)), sim_address(rng.randrange(50_000))
            )
            for _ in range(rng.choice((0, 1, 8, 100)))
        )

    def _compact(self) -> m.CmpctBlock:
        return self._compact_of(self.rng.choice(self.blocks))

    def _compact_of(self, raw: bytes) -> m.CmpctBlock:
        rng, block = self.rng, parse_block(raw)
        prefilled = (m.PrefilledTx(0, block.tx_raw(0)),) if rng.random() < 0.8 else ()
        ids = tuple(rng.getrandbits(48) for _ in range(rng.choice((0, 0, 1, 3))))
        return m.CmpctBlock(raw[:80], rng.getrandbits(64), ids, prefilled)

    def _filter(self) -> m.FilterLoad:
        data, funcs = make_filter([self._hash() for _ in range(self.rng.randrange(4))], 5)
        return m.FilterLoad(data, funcs, 5, self.rng.randrange(4))

    def _block_parts(self) -> tuple[bytes, ...]:
        return tuple(tx.raw for tx in list(self.txs)[: self.rng.randrange(3)])

    def _cheap(self) -> tuple[bytes, ...]:
        return tuple(self.rng.randbytes(8) for _ in range(self.rng.randrange(4)))

    def _indexes(self) -> tuple[int, ...]:
        return tuple(sorted(self.rng.sample(range(20), self.rng.randrange(1, 4))))

    def _locator(self) -> tuple[bytes, ...]:
        return tuple(self._hash() for _ in range(self.rng.choice((0, 1, 10, 101))))

    def _message_makers(self) -> list[Callable[[], Message]]:
        rng = self.rng
        often: list[Callable[[], Message]] = [
            lambda: m.Inv(self._items()),
            lambda: m.GetData(self._items()),
            self._headers,
            lambda: m.BlockMessage(rng.choice(self.blocks)),
            self._tx,
            self._tx,
            self._compact,
        ]
        rare = (self._version, m.Verack, m.WtxidRelay, m.SendAddrV2, m.FilterClear, lambda: m.SendTxRcncl(1, 2))
        return often * 6 + [
            lambda: rng.choice(rare if rng.random() < 0.2 else (m.SendHeaders,))(),
            m.SendHeaders,
            m.GetAddr,
            m.Mempool,
            self._filter,
            lambda: m.FilterAdd(self._hash()),
            lambda: m.SendCmpct(rng.random() < 0.5, rng.choice((1, 2, 2, 3))),
            lambda: m.Ping(rng.getrandbits(64)),
            lambda: m.Pong(rng.choice((None, 0, rng.getrandbits(64)))),
            lambda: m.FeeFilter(rng.choice((-1, 0, 1000, 2**62))),
            lambda: m.NotFound(self._items()),
            lambda: m.GetHeaders(self._locator(), self._hash()),
            lambda: m.GetBlocks(self._locator(), self._hash()),
            lambda: m.GetBlockTxn(self._hash(), self._indexes()),
            lambda: m.BlockTxn(self._hash(), self._block_parts()),
            lambda: m.Addr(self._entries()),
            lambda: m.AddrV2(self._entries()),
            lambda: m.GetCFilters(rng.randrange(2), rng.randrange(30), self._hash()),
            lambda: m.GetCFHeaders(rng.randrange(2), rng.randrange(30), self._hash()),
            lambda: m.GetCFCheckpt(rng.randrange(2), self._hash()),
            lambda: m.GetXThin(self._hash(), rng.randbytes(8), rng.randrange(9), 1),
            lambda: m.XThinBlock(rng.choice(self.blocks)[:80], self._cheap(), self._block_parts()),
            lambda: m.GetXBlockTx(self._hash(), self._cheap()),
            lambda: m.XBlockTx(self._hash(), self._block_parts()),
            lambda: m.GetBlockSpent(rng.choice((0, 0, 0, 1)), self._hash(), rng.randrange(30)),
            lambda: m.BlockSpent(self._hash(), rng.choice((b"\0", b"\1" + bytes(11)))),
            lambda: m.GetUtreexoProof(self._hash(), rng.randrange(9), rng.randbytes(3), rng.randbytes(2)),
            lambda: m.UtreexoProof(self._hash(), b"\0"),
            lambda: m.GetUtreexoRoot(self._hash()),
            lambda: m.UtreexoRoot(rng.randrange(9), 0, self._hash(), (self._hash(),)),
            lambda: m.Feature(rng.choice((b"BIP452", b"BIP999")), rng.randbytes(rng.randrange(3))),
            lambda: m.GetUtxoTree(self._hash()),
            lambda: m.GetUtxoSet(self._hash(), rng.randrange(9)),
            lambda: rng.choice((UTXO_TREE, m.UtxoTree(UTXO_TREE.block_hash, 2, 5, bytes(32)))),
            lambda: m.UtxoSetChunk(rng.choice((UTXO_TREE.block_hash, self._hash())), rng.randrange(9), b"some"),
            lambda: UnknownMessage("sometext", rng.randbytes(9)),
        ]

    def _known_headers(self) -> m.Headers:
        """Those of the known chain for a node without coins, which has all proofs ahead of it; else of two branches."""
        raws = self.known if self.mode == "compact" else self.blocks[-60:]
        return m.Headers(tuple(raw[:80] for raw in raws))

    def _side_message_makers(self) -> list[Callable[[], Message]]:
        """Proofs and sets, asked for and told: what fits, what was asked of nobody, replayed, with absurd numbers."""
        rng = self.rng
        return [
            lambda: m.GetUtreexoProof(self._hash()),
            lambda: m.GetUtreexoProof(self._hash(), rng.randrange(9), b"\xff" * rng.randrange(99), rng.randbytes(9)),
            lambda: m.GetUtreexoRoot(self._hash()),
            lambda: m.UtreexoProof(self._hash(), rng.choice(PROOFS)),
            lambda: m.UtreexoProof(self._hash(), rng.choice(PROOFS)),
            lambda: m.UtreexoRoot(rng.getrandbits(64), rng.getrandbits(64), self._hash(), (self._hash(),) * 3),
            lambda: m.NotFound(tuple(m.InvItem(MSG_UTREEXO_PROOF, self._hash()) for _ in range(rng.randrange(20)))),
            self._known_headers,
            lambda: m.Feature(b"BIP452", b""),
            lambda: m.GetUtxoTree(rng.choice((UTXO_TREE.block_hash, self._hash()))),
            lambda: m.GetUtxoSet(rng.choice((UTXO_TREE.block_hash, self._hash())), rng.choice((0, 8, 9, 2**32 - 1))),
            lambda: rng.choice((UTXO_TREE, m.UtxoTree(UTXO_TREE.block_hash, 2, 5, bytes(32)))),
            lambda: m.UtxoSetChunk(rng.choice((UTXO_TREE.block_hash, self._hash())), rng.randrange(9), b"some"),
        ]

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Limits of every peer and of all together."""
        protocol = self.bench.protocol
        ctx, download = protocol._ctx, protocol._download
        assert set(ctx.peers) <= set(self.peers)
        assert len(download.requests) <= limits.MAX_REQUESTS + limits.FETCH_BLOCKS_MAX
        assert download.validating_bytes == sum(download._validating.values())
        for peer in ctx.peers.values():
            assert len(peer.serve.queue) <= limits.MAX_GETDATA_QUEUE + limits.GETDATA_PAUSE
            assert len(peer.ping.owed) <= limits.MAX_OWED_PONGS
            assert len(peer.blocks.missing) <= limits.MAX_MISSING_PER_PEER
            assert len(peer.blocks.late) <= limits.MAX_LATE_PER_PEER
            assert len(peer.spent.in_flight) <= limits.MAX_SPENT_PER_PEER
            assert len(peer.spent.late) <= limits.MAX_LATE_PER_PEER
            assert len(peer.proofs.in_flight) <= limits.MAX_PROOFS_PER_PEER
            assert len(peer.proofs.late) <= limits.MAX_LATE_PER_PEER
            assert len(peer.proofs.missing) <= limits.MAX_MISSING_PER_PEER
            assert len(peer.serve.spent.waiting) <= limits.MAX_SPENT_QUEUE
            assert len(peer.serve.utreexo.waiting) <= limits.MAX_UTREEXO_QUEUE
            assert len(peer.serve.utxo_sets.waiting) <= limits.MAX_UTXO_SET_QUEUE
            assert len(peer.utxo_set.in_flight) <= 1
            assert len(peer.utxo_set.late) <= limits.MAX_LATE_UTXO_CHUNKS
            assert len(peer.serve.announce) <= limits.MAX_QUEUED_ANNOUNCEMENTS
            assert len(peer.serve.parts) <= limits.MAX_PENDING_BLOCKTXN
            assert peer.unjudged.again >= 0
            assert peer.txs_in_validation >= 0
        proofs, headers = protocol._proofs, len(self.bench.chain.blocks) + len(self.blocks) + 1
        if proofs is not None:
            assert len(proofs._asked) <= limits.MAX_PROOFS_ASKED
            assert max(len(proofs._here), len(proofs._wanted), len(proofs._doubted)) <= headers
        assert len(ctx.providers._failed) <= limits.MAX_FAILED_PROVIDERS
        sets = protocol._utxo_set
        assert len(sets._asked) + len(sets._judging) <= limits.MAX_UTXO_CHUNKS
        assert len(sets._liars) <= limits.MAX_UTXO_LIARS
        assert protocol._intake.download.orphanage.score <= limits.MAX_ORPHANAGE_SCORE

    def finish(self) -> None:
        """All peers leave, and all effects are answered: nothing is kept of anybody."""
        while self.peers:
            self._disconnect()
        while self.open:
            self._answer()
            while self.peers:
                self._disconnect()
        protocol = self.bench.protocol
        assert not protocol._ctx.peers
        assert not protocol._download.requests
        assert not protocol._download.validating
        assert not protocol._spent._asked
        assert not protocol._utxo_set._asked
        assert protocol._proofs is None or not protocol._proofs._asked
        assert not protocol._intake._open
        assert not protocol._reconciliation.registered
        assert not protocol._intake.download.orphanage.all()


UTXO_TREE = m.UtxoTree(b"\x01" * 32, 2, 9 * CHUNK_SIZE, bytes(range(32)) * 9)
REQUESTS = (
    m.Ping, m.GetHeaders, m.GetData, m.GetBlockTxn, m.GetBlockSpent, m.GetUtreexoProof, m.GetUtxoTree, m.GetUtxoSet,
)  # fmt: skip
MODES = ("full", "bridge", "compact")
ANSWERS: dict[type, Callable[[PeerFuzzer, Any], None]] = {
    fx.Send: PeerFuzzer.asked,
    fx.Disconnect: PeerFuzzer.closed,
    fx.Connect: PeerFuzzer.connect,
    fx.ProcessBlock: PeerFuzzer.process_block,
    fx.ProcessTransactions: PeerFuzzer.process_transactions,
    fx.ReadBlock: PeerFuzzer.read_block,
    fx.MatchBlock: PeerFuzzer.match_block,
    fx.MakeThin: PeerFuzzer.make_thin,
    fx.ReadFilters: PeerFuzzer.read_filters,
    fx.ReadSpent: PeerFuzzer.read_spent,
    fx.ReadUtreexo: PeerFuzzer.read_utreexo,
    fx.KeepProof: PeerFuzzer.keep_proof,
    fx.TakeSpent: PeerFuzzer.take_spent,
    fx.ReadUtxoSet: PeerFuzzer.read_utxo_set,
    fx.TakeUtxoTree: PeerFuzzer.take_utxo_tree,
    fx.TakeUtxoChunk: PeerFuzzer.take_utxo_chunk,
    fx.ResolveSeeds: PeerFuzzer.resolve,
    fx.DistrustBlocks: PeerFuzzer.nothing,
    fx.WithdrawTransactions: PeerFuzzer.nothing,
    fx.Log: PeerFuzzer.nothing,
}


def memory_of(root: object, *apart: object) -> int:
    """Bytes of everything that can be reached from ``root`` without going through ``apart``, code or classes."""
    seen = {id(one) for one in apart}
    total = 0
    todo = [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return total
