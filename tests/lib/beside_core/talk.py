"""Peers that say anything in any order: what both nodes answer each of them, and on whom they hang up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, Header, header_hash
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import grind
from btcnode.wire import messages as m
from btcnode.wire.codec import Message
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.framing import FrameError
from btcnode.wire.registry import BY_COMMAND, UnknownMessage
from btcnode.wire.short_ids import short_id_key
from tests.lib.block_lab import SPACING, reheader, split_block
from tests.lib.mempool_lab import FREE, coins_of, pay
from tests.lib.peer import ScriptedPeer, v2_initiator
from tests.lib.rpc_diff.nodes import Node
from tests.lib.short_ids import short_id
from tests.lib.tx_fuzz import KINDS, TxFuzzer

from .pair import Difference, Pair
from .pool import World

PEERS = 4
TIMEOUT_S = 20.0
SETTLE_S = 3.0
QUIET_S = 0.02
UNDONE_S = 0.3  # after blocks were taken back: what is asked for then
MOST_BYTES = 3_900_000
USUAL = NODE_NETWORK | NODE_WITNESS
BLOCK_KINDS = (2, 2, 3, 4, 1 << 30 | 2, 1 << 30 | 3, 1 << 30 | 4, 6)
FAULTS = (*(["none"] * 30), "greedy", "greedy", "root", "old", "future", "work")
TX_KINDS = (1, 5, 1 << 30 | 1, 1 << 30 | 5)
ODD_KINDS = (0, 7, 99, 1 << 29 | 2, 0xFFFFFFFF)
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("-whitelist=noban@127.0.0.1", "-whitelist=noban,mempool,bloomfilter,download,addr@127.0.0.1",
     "-whitelist=relay,forcerelay@127.0.0.1"),
    ("-peerbloomfilters=1",),
    ("-blockfilterindex=1 -peerblockfilters=1",),
    ("-blocksonly=1",),
    ("-v2transport=0",),
    ("-txreconciliation=1",),
    ("-maxuploadtarget=1",),
)  # fmt: skip
OWN_TIME = frozenset({"ping", "feefilter", "addr", "addrv2", "sendheaders"})  # sent at random times, or a moment later
HANGS_UP = "hangs up"
Said = tuple[str, bytes]


def _hash(raw: bytes) -> bytes:
    return header_hash(raw[:HEADER_SIZE])


class Side:
    """One node's end of the peers: what each was sent by it. ``prompt``: it announces transactions at once."""

    def __init__(self, node: Node, params: NetworkParams, *, prompt: bool) -> None:
        self.node = node
        self.prompt = prompt
        self.params = params
        self.peers: list[ScriptedPeer | None] = []
        self.heard: list[list[str]] = []
        self._nonce = 0

    def dial(self, seed: int, *, v2: bool) -> None:
        """Another peer."""
        sock = socket.create_connection(("127.0.0.1", self.node.port), TIMEOUT_S)
        wire = v2_initiator(self.params, Random(seed).randbytes) if v2 else None
        self.peers.append(ScriptedPeer(sock, self.params, TIMEOUT_S, wire, lenient=True))
        self.heard.append([])

    def say(self, which: int, said: Sequence[Said]) -> None:
        """Send; a node that hangs up meanwhile is noticed when it is listened to."""
        peer = self.peers[which]
        with suppress(OSError):
            for command, payload in said:
                if peer is not None:
                    peer.send_raw(command, payload)

    def hear(self, which: int, quiet_s: float = QUIET_S) -> None:
        """Take what has come, until nothing comes for so long."""
        peer = self.peers[which]
        if peer is None:
            return
        try:
            peer.sock.settimeout(quiet_s)
            while True:
                message = peer.receive()
                if isinstance(message, m.Ping):
                    peer.sock.settimeout(TIMEOUT_S)
                    peer.send(m.Pong(message.nonce))
                    peer.sock.settimeout(quiet_s)
                text = shown(message, prompt=self.prompt)
                if text:
                    self.heard[which].append(text)
        except TimeoutError:
            peer.sock.settimeout(TIMEOUT_S)
        except (OSError, FrameError):
            peer.close()
            self.peers[which] = None
            self.heard[which].append(HANGS_UP)

    def close(self) -> None:
        """All hang up."""
        for peer in self.peers:
            if peer is not None:
                peer.close()


def shown(message: Message, *, prompt: bool) -> str:
    """What a node has said, without what is random or its own; empty for what comes at its own time."""
    name = message.name if isinstance(message, UnknownMessage) else message.command
    if name in OWN_TIME or (isinstance(message, m.Inv) and not prompt and message.items[0].kind in TX_KINDS):
        return ""
    match message:
        case m.Version():
            return f"version {message.version} {message.services:x} {message.start_height} {message.relay}"
        case m.CmpctBlock():
            filled = [(at, Tx.parse(raw).txid.hex()[:8]) for at, raw in message.prefilled]
            return f"cmpctblock {_short(message.header)} {len(message.short_ids)} {filled}"
        case m.BlockMessage():
            return f"block {_short(message.raw)} {len(message.raw)}"
        case m.TxMessage():
            return f"tx {to_display(Tx.parse(message.raw).txid)[:8]} {len(message.raw)}"
        case m.Headers():
            return f"headers {[_short(raw) for raw in message.headers]}"
        case m.Inv() | m.GetData() | m.NotFound():
            return f"{name} {[(item.kind, to_display(item.hash)[:8]) for item in message.items]}"
        case m.GetHeaders():
            return f"getheaders {[to_display(one)[:8] for one in message.locator[:2]]} {message.stop_hash.hex()[:8]}"
        case m.SendTxRcncl():
            return f"sendtxrcncl {message.version}"
        case m.Pong():
            return f"pong {message.nonce}"
    return f"{name} {message.encode().hex()[:120]}"


def _same(one: list[str], two: list[str]) -> bool:
    """Whether a peer has heard the same of both; an answer may be lost when the connection is cut right behind it."""
    if one[-1:] == two[-1:] == [HANGS_UP]:
        return all(a == b for a, b in zip(one[:-1], two[:-1], strict=False))
    return one == two


def _short(raw: bytes) -> str:
    return to_display(_hash(raw))[:8]


class Talk:
    """A random conversation from a seed."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self.pair = pair
        self.rng = rng
        self.world = World(KINDS, free=300, each=2)
        self.fuzzer = TxFuzzer(self.world, rng)
        prompt = any("noban" in word for word in pair.options)
        self.sides = [Side(node, self.world.params, prompt=prompt) for node in pair.nodes]
        self.stages: list[int] = []  # of each peer: 0 dialled, 1 has told its version, 2 greeted
        self.made: list[bytes] = []  # blocks that were made, told or not
        self.txs: list[Tx] = []
        self.labels: dict[str, str] = {}  # of the blocks that were made: their fault, for who reads
        self._serial = 0

    def begin(self) -> None:
        """Both get the chain."""
        for raw in self.world.raws:
            self.pair.both("submitblock", raw.hex())

    def close(self) -> None:
        """All hang up."""
        for side in self.sides:
            side.close()

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step, and what is heard of it."""
        makers: tuple[tuple[int, Callable[[], None]], ...] = (
            (24, self._talk),
            (2, self._submit),
            (2, self._send_tx),
            (2, self._time),
            (1, self._undo),
            (1, self._hang_up),
        )
        if len([stage for stage in self.stages if stage >= 0]) < PEERS:
            self._dial()
        else:
            (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
            maker()
        self._compare()

    def _dial(self) -> None:
        seed, v2 = self.rng.getrandbits(32), self.rng.random() < 0.3
        v2 = v2 and "-v2transport=0" not in self.pair.options
        self.pair.note(f"peer {len(self.stages)} dials, v2={v2}")
        for side in self.sides:
            side.dial(seed, v2=v2)
        self.stages.append(0)
        if self.rng.random() < 0.85:
            which = len(self.stages) - 1
            self._say(which, [self._version(usual=True)])
            self._say(which, [*self._between(), ("verack", b"")])
            self.stages[which] = 2

    def _version(self, *, usual: bool = False) -> Said:
        rng = self.rng
        usual = usual or rng.random() < 0.5
        version = m.Version(
            version=70016 if usual else rng.choice((70016, 70015, 70012, 60000, 31800, 31799, 209)),
            services=USUAL if usual else rng.choice((USUAL, 0, 1, 9, 1 << 24)),
            time=self.pair.now,
            nonce=7000 + len(self.stages),
            user_agent=b"/talk/",
            start_height=self.world.height,
            relay=rng.random() < 0.8,
        )
        return "version", version.encode()

    def _between(self) -> list[Said]:
        rng = self.rng
        between: list[Said] = [("wtxidrelay", b"")] if rng.random() < 0.8 else []
        if rng.random() < 0.8:
            between.append(("sendaddrv2", b""))
        if rng.random() < 0.2:
            between.append(("sendtxrcncl", m.SendTxRcncl(1, rng.getrandbits(64)).encode()))
        return between

    def _hang_up(self) -> None:
        which = self.rng.choice([n for n, stage in enumerate(self.stages) if stage >= 0])
        self.pair.note(f"peer {which} hangs up")
        for side in self.sides:
            peer = side.peers[which]
            if peer is not None:
                peer.close()
            side.peers[which] = None
        self.stages[which] = -1

    def _time(self) -> None:
        self.pair.sets(self.pair.now + self.rng.choice((1, 10, 60, 300, 600)))

    def _submit(self) -> None:
        """A block by RPC, which is announced to the peers."""
        raw = self._new_block(sound=True)
        if self.pair.both("submitblock", raw.hex()) is None:
            self._adopt(raw)

    def _send_tx(self) -> None:
        tx = self._tx()
        self.pair.both("sendrawtransaction", tx.raw.hex(), 0)

    def _undo(self) -> None:
        height = max(113, self.world.height - self.rng.choice((1, 1, 2, 3)))
        if height < self.world.height:
            self.pair.both("invalidateblock", to_display(_hash(self.world.raws[height])))
            self.world.back_to(height)
            time.sleep(UNDONE_S)
            self._compare()
            self._submit()  # bitcoind tells new peers the former height until there is another block

    # -- saying and hearing --------------------------------------------------------------------------------------

    def _say(self, which: int, said: Sequence[Said]) -> None:
        self.pair.note(f"peer {which}: " + ", ".join(self._told(name, payload) for name, payload in said))
        for side in self.sides:
            side.say(which, said)

    def _told(self, name: str, payload: bytes) -> str:
        """What is said, for who reads of it."""
        if name in ("block", "cmpctblock") and len(payload) >= HEADER_SIZE:
            return f"{name} {_short(payload)} ({self.labels.get(_short(payload))})"
        if name == "headers" and len(payload) >= 1 + HEADER_SIZE:
            return f"{payload[0]} headers {_short(payload[1:])} ({self.labels.get(_short(payload[1:]))})"
        return f"{name} {payload.hex()[:90]}"

    def _talk(self) -> None:
        which = self.rng.choice([n for n, stage in enumerate(self.stages) if stage >= 0])
        if self.stages[which] == 0 and self.rng.random() < 0.7:
            self.stages[which] = 1
            self._say(which, [self._version()])
            return
        if self.stages[which] == 1 and self.rng.random() < 0.7:
            self.stages[which] = 2
            self._say(which, [*self._between(), ("verack", b"")])
            return
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            said = self._with_header(self._anything())
            said.append(("ping", (len(self.pair.history) + 1).to_bytes(8, "little")))
            self._say(which, said)
            self._compare()  # what comes behind is answered before what has to be read or judged
            if self.stages[which] < 0:
                return

    def _with_header(self, said: Said) -> list[Said]:
        """A block behind its header: who was told none counts for one that has it here, but not at bitcoind."""
        command, payload = said
        if command != "block" or len(payload) < HEADER_SIZE:
            return [said]
        return [("headers", b"\x01" + payload[:HEADER_SIZE] + b"\0"), said]

    def _compare(self) -> None:
        """Whether each peer has heard the same of both, now or a little later."""
        for which, stage in enumerate(self.stages):
            if stage < 0:
                continue
            deadline = time.monotonic() + SETTLE_S
            while True:
                for side in self.sides:
                    side.hear(which)
                one, two = (side.heard[which] for side in self.sides)
                if _same(one, two) or time.monotonic() > deadline:
                    break
            if not _same(one, two):
                raise Difference(self._parted(which, one, two))
            if one and one[-1] == HANGS_UP:
                self.stages[which] = -1
        self._where()

    def _parted(self, which: int, one: list[str], two: list[str]) -> str:
        """What a peer heard of both, with all that it said and heard before."""
        at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
        own = [step for step in self.pair.history if step.startswith(f"peer {which}")]
        before = "".join(f"\n      {text}" for text in (*own[-12:], "heard:", *one[:at][-8:]))
        return self.pair.told(f"heard by peer {which} {self.pair.options}", one[at:][:5], two[at:][:5]) + before

    def _where(self) -> None:
        """Be where the nodes are."""
        self.pair.same("getrawmempool")
        best = self.pair.same("getbestblockhash")
        if best == to_display(self.world.lab.tip_hash):
            return
        known = {to_display(_hash(raw)): raw for raw in (*self.made, *self.world.raws)}
        fresh: list[bytes] = []
        heights = {to_display(_hash(raw)): n + 1 for n, raw in enumerate(self.world.raws)}
        while best not in heights:
            fresh.insert(0, known[best])
            best = to_display(known[best][4:36])
        self.world.back_to(heights[best])
        for raw in fresh:
            self.world.take(raw)

    def _adopt(self, raw: bytes) -> None:
        self.world.take(raw)

    # -- what is said --------------------------------------------------------------------------------------------

    def _anything(self) -> Said:
        rng = self.rng
        makers: tuple[tuple[int, Callable[[], Said]], ...] = (
            (3, self._headers), (2, self._inv), (4, self._get_data), (2, self._get_headers), (2, self._get_blocks),
            (3, self._block), (4, self._compact), (2, self._block_txn), (2, self._get_block_txn), (4, self._tx_message),
            (2, self._filters), (2, self._bloom), (4, self._small), (1, self._malformed),
        )  # fmt: skip
        (maker,) = rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def _new_block(self, *, sound: bool = False) -> bytes:
        """A block on the tip or a little below, with some transactions; now and then wrong."""
        rng, world = self.rng, self.world
        lab = (
            world.lab if sound or rng.random() < 0.8 else world.lab.branch(max(112, world.height - rng.randrange(1, 4)))
        )
        lab.now = self.pair.now
        self._serial += 1
        txs: list[Tx] = []
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            txs.append(pay([world.coin()], 500, 2))
            if rng.random() < 0.3:
                txs.append(pay(coins_of(txs[-1])[:1], 300))
        pool = [tx for tx in self.txs if tx.txid in self.fuzzer.pool and rng.random() < 0.5]
        txs += pool[:5]
        self.txs += txs
        fault = "none" if sound else rng.choice(FAULTS)
        extra = b"\x04talk" + self._serial.to_bytes(3, "little")
        changes: dict[str, Any] = {"extra": extra, "script_pubkey": FREE.script_pubkey}
        match fault:
            case "greedy":
                changes["coinbase_value"] = lab.subsidy + 1
            case "root":
                changes["merkle"] = rng.randbytes(32)
            case "old":
                changes["time"] = lab.median_time
            case "future":
                changes["time"] = self.pair.now + 7300
        raw = lab.block(*txs, **changes)
        if fault == "work":
            raw = reheader(raw, proof=False, nonce=rng.getrandbits(32))
        self.labels[_short(raw)] = f"{fault} at {lab.height + 1}"
        self.made.append(raw)
        return raw

    def _any_block(self) -> bytes:
        """New, made before, or of the chain."""
        kind = self.rng.random()
        if kind < 0.4 or not self.made:
            return self._new_block()
        if kind < 0.75:
            return self.rng.choice(self.made[-6:])
        return self.rng.choice(self.world.raws[-15:] if kind < 0.9 else self.world.raws)

    def _any_hash(self) -> bytes:
        kind = self.rng.random()
        if kind < 0.05:
            return self.rng.randbytes(32)
        if kind < 0.1:
            return bytes(32)
        if kind < 0.15:
            return self.world.lab.hashes[0]
        return _hash(self._any_block())

    def _tx(self) -> Tx:
        tx = self.fuzzer.next()
        while len(tx.raw) > MOST_BYTES or not tx.prevouts:
            tx = self.fuzzer.next()
        self.txs.append(tx)
        return tx

    def _any_tx(self) -> Tx:
        if self.txs and self.rng.random() < 0.5:
            return self.rng.choice(self.txs[-30:])
        return self._tx()

    def _headers(self) -> Said:
        rng = self.rng
        kind = rng.random()
        block = self._any_block()
        if kind < 0.4:
            headers = [block[:HEADER_SIZE]]
        elif kind < 0.6:
            count = rng.choice((2, 3, 8))
            headers = [raw[:HEADER_SIZE] for raw in self.world.raws[-count:]]
        elif kind < 0.7:
            headers = self._long_headers(block, rng.choice((1, 2, 10)))
        elif kind < 0.8:
            headers = [self._any_block()[:HEADER_SIZE] for _ in range(3)]
        elif kind < 0.87:
            headers = []
        elif kind < 0.94:
            headers = self._long_headers(reheader(block, prev_hash=rng.randbytes(32)), 2)
        elif kind < 0.97:
            headers = [reheader(block, bits=rng.choice((0x207FFFFE, 0x1D00FFFF, 0)), proof=False)[:HEADER_SIZE]]
        else:
            headers = [block[:HEADER_SIZE]] * rng.choice((2001, 2000))
        return "headers", compact_size(len(headers)) + b"".join(raw + b"\0" for raw in headers)

    def _long_headers(self, block: bytes, count: int) -> list[bytes]:
        """A block's header and others above it that nobody has blocks for."""
        headers = [block[:HEADER_SIZE]]
        for _ in range(count):
            last = Header.parse(headers[-1])
            fresh = Header(0x20000000, last.hash, self.rng.randbytes(32), last.time + 1, 0x207FFFFF, 0)
            headers.append(grind(fresh.serialize()))
        return headers

    def _items(self) -> list[m.InvItem]:
        rng = self.rng
        items = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.5:
                items.append(m.InvItem(rng.choice(BLOCK_KINDS), self._any_hash()))
            elif kind < 0.93:
                what = rng.choice(TX_KINDS)
                tx = self._any_tx()
                items.append(m.InvItem(what, tx.wtxid if what == 5 and rng.random() < 0.8 else tx.txid))
            else:
                items.append(m.InvItem(rng.choice(ODD_KINDS), rng.randbytes(32)))
        return items

    def _inv(self) -> Said:
        if self.rng.random() < 0.03:
            return "inv", compact_size(50_001) + b"\x01\0\0\0" * 9 * 50_001
        return "inv", m.Inv(tuple(self._items())).encode()

    def _get_data(self) -> Said:
        if self.rng.random() < 0.02:
            return "getdata", compact_size(50_001) + b"\x01\0\0\0" * 9 * 50_001
        return "getdata", m.GetData(tuple(self._items())).encode()

    def _locator(self) -> tuple[bytes, ...]:
        rng = self.rng
        if rng.random() < 0.03:
            return tuple([self._any_hash()] * rng.choice((101, 102)))
        return tuple(self._any_hash() for _ in range(rng.choice((0, 1, 1, 2))))

    def _get_headers(self) -> Said:
        stop = bytes(32) if self.rng.random() < 0.5 else self._any_hash()
        return "getheaders", m.GetHeaders(self._locator(), stop).encode()

    def _get_blocks(self) -> Said:
        stop = bytes(32) if self.rng.random() < 0.5 else self._any_hash()
        return "getblocks", m.GetBlocks(self._locator(), stop).encode()

    def _block(self) -> Said:
        raw, rng = self._any_block(), self.rng
        kind = rng.random()
        if kind < 0.08:
            header, txs = split_block(raw)
            raw = header + compact_size(len(txs) + 1) + b"".join(tx.raw for tx in (*txs, txs[-1]))
        elif kind < 0.12:
            raw = reheader(raw, prev_hash=rng.randbytes(32))
        elif kind < 0.15:
            raw += b"\0"
        return "block", raw

    def _compact(self) -> Said:
        rng = self.rng
        raw = self._any_block()
        header, txs = split_block(raw)
        nonce = rng.getrandbits(64)
        key = short_id_key(header, nonce)
        filled = {0} if rng.random() < 0.93 else set()
        kind = rng.random()
        filled |= {n for n in range(1, len(txs)) if kind < 0.6 or rng.random() < 0.5}
        ids = [short_id(key, tx.wtxid) for n, tx in enumerate(txs) if n not in filled]
        if rng.random() < 0.06 and ids:
            ids[-1] = ids[0] if len(ids) > 1 and rng.random() < 0.5 else rng.getrandbits(48)
        prefilled = [m.PrefilledTx(n, txs[n].raw) for n in sorted(filled)]
        if rng.random() < 0.04:
            prefilled.append(m.PrefilledTx(len(txs) + rng.choice((0, 1, 70_000)), txs[0].raw))
        return "cmpctblock", m.CmpctBlock(header, nonce, tuple(ids), tuple(prefilled)).encode()

    def _block_txn(self) -> Said:
        raw, rng = self._any_block(), self.rng
        _, txs = split_block(raw)
        chosen = [tx.raw for tx in txs[1:] if rng.random() < 0.8]
        return "blocktxn", m.BlockTxn(_hash(raw), tuple(chosen)).encode()

    def _get_block_txn(self) -> Said:
        raw, rng = self._any_block(), self.rng
        count = len(split_block(raw)[1])
        indexes = sorted(rng.sample(range(count + (rng.random() < 0.15)), rng.randrange(1, count + 1)))
        if rng.random() < 0.05:
            indexes = []
        name = _hash(raw) if rng.random() < 0.95 else rng.randbytes(32)
        return "getblocktxn", m.GetBlockTxn(name, tuple(indexes)).encode()

    def _tx_message(self) -> Said:
        return "tx", self._any_tx().raw

    def _filters(self) -> Said:
        rng = self.rng
        kind = rng.choice((0, 0, 0, 0, 1))
        stop = self._any_hash()
        height = rng.choice((0, 1, 100, self.world.height - 2, self.world.height, self.world.height + 1, 2**32 - 1))
        cls = rng.choice((m.GetCFilters, m.GetCFHeaders))
        if rng.random() < 0.3:
            return "getcfcheckpt", m.GetCFCheckpt(kind, stop).encode()
        return cls.command, cls(kind, height, stop).encode()

    def _bloom(self) -> Said:
        rng = self.rng
        kind = rng.random()
        if kind < 0.5:
            size = rng.choice((0, 1, 10, 36_000, 36_001))
            data = b"\xff" * size if rng.random() < 0.5 else bytes(size)
            return "filterload", m.FilterLoad(data, rng.choice((1, 50, 51)), 0, rng.choice((0, 1, 2, 3))).encode()
        if kind < 0.75:
            return "filteradd", m.FilterAdd(bytes(rng.choice((0, 1, 36, 520, 521)))).encode()
        return "filterclear", b""

    def _small(self) -> Said:
        rng = self.rng
        return rng.choice((
            ("sendheaders", b""), ("sendheaders", b""),
            ("sendcmpct", m.SendCmpct(high_bandwidth=rng.random() < 0.7).encode()),
            ("sendcmpct", m.SendCmpct(high_bandwidth=rng.random() < 0.7).encode()),
            ("sendcmpct", m.SendCmpct(high_bandwidth=True, version=rng.choice((0, 1, 3))).encode()),
            ("sendcmpct", b"\x02" + (2).to_bytes(8, "little")),
            ("feefilter", rng.choice((0, 100, 10**5, 21 * 10**14, 21 * 10**14 + 1, 2**64 - 1)).to_bytes(8, "little")),
            ("mempool", b""), ("getaddr", b""), ("ping", b"\1" * 8), ("ping", b""), ("pong", bytes(8)), ("pong", b""),
            ("verack", b""), ("wtxidrelay", b""), ("sendaddrv2", b""), self._version(),
            ("sendtxrcncl", m.SendTxRcncl(1, 5).encode()), ("reject", b"\x02tx\x10\x00"), ("nosuch", b"abc"),
            ("alert", b"x"), ("notfound", m.NotFound(tuple(self._items())).encode()),
            ("addr", compact_size(1) + bytes(30)), ("addr", compact_size(1001) + bytes(30) * 1001),
            ("addrv2", compact_size(0)), ("addrv2", compact_size(1001) + bytes(30) * 1001),
            ("merkleblock", bytes(84) + b"\0\0"), ("cfilter", b"\0" + bytes(32) + b"\0"), ("getutxos", b""),
        ))  # fmt: skip

    def _malformed(self) -> Said:
        """A message cut short, longer, or of other bytes."""
        rng = self.rng
        command, payload = self._anything() if rng.random() < 0.7 else (rng.choice(list(BY_COMMAND)), b"")
        kind = rng.random()
        if kind < 0.5:
            payload = payload[: rng.randrange(len(payload) + 1)]
        elif kind < 0.7:
            payload += rng.randbytes(rng.choice((1, 4, 40)))
        elif payload:
            at = rng.randrange(min(len(payload), 200))
            payload = payload[:at] + rng.randbytes(1) + payload[at + 1 :]
        return command, payload


def live(pair: Pair, rng: Random, steps: int) -> None:
    """A whole conversation. Raises Difference."""
    rows = rng.sample(OPTIONS, rng.choice((0, 1, 2)))
    pair.options = [word for row in rows for word in rng.choice(row).split()]
    talk = Talk(pair, rng)
    pair.now = talk.world.lab.times[-1] + SPACING  # not far behind: then nodes ask less
    pair.restart()
    try:
        talk.begin()
        for _ in range(steps):
            talk.step()
    finally:
        talk.close()
