"""Peers that stall, lie, flood and withhold, against whole nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol.config import ProtocolConfig
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START, Adversary, End, SimNode, Simulator, sim_address
from btcnode.wire.codec import Message
from btcnode.wire.constants import MSG_BLOCK, MSG_WITNESS_BLOCK
from btcnode.wire.messages import AddrEntry, BlockMessage, GetData, GetHeaders, Headers, Inv, InvItem
from btcnode.wire.netaddr import NetAddress
from tests.lib.block_givers import Denying, Good, Stalling


def alone() -> ProtocolConfig:
    return ProtocolConfig(dns_seed=False, no_automatic=True)


def server(sim: Simulator, number: int, params: NetworkParams, chain: list[bytes]) -> SimNode:
    node = SimNode(sim, sim_address(number), params, config=alone())
    node.load(chain)
    return node


def seeker(sim: Simulator, params: NetworkParams, targets: list[NetAddress], **options: object) -> SimNode:
    """A node that opens automatic connections: all the addresses are in its book."""
    config = ProtocolConfig(dns_seed=False, max_outbound_full=len(targets), max_block_relay=0)
    node = SimNode(sim, sim_address(200), params, config=config, **options)  # type: ignore[arg-type]
    for target in targets:
        node.protocol.address_book.add([AddrEntry(UNIX_START, 1033, target)], target, UNIX_START)
    return node


class Mutator(Good):
    def serve_block(self, end: End, raw: bytes) -> None:
        self.send(end, BlockMessage(raw[:-6] + b"\x66" + raw[-5:]))


class Garbler(Good):
    def serve_block(self, end: End, raw: bytes) -> None:
        self.sim.send(end, "block", raw[:90])


class Dripper(Good):
    """Delivers one block in five seconds."""

    def serve_block(self, end: End, raw: bytes) -> None:
        self.free = max(getattr(self, "free", 0.0), self.sim.now) + 5.0
        self.sim.at(self.free - self.sim.now, lambda: self.send(end, BlockMessage(raw)))


@pytest.mark.parametrize("kind", [Stalling, Denying, Mutator, Garbler, Dripper])
def test_bad_block_servers_cannot_stop_the_sync(params: NetworkParams, chain: list[bytes], kind: type[Good]) -> None:
    sim = Simulator(11)
    bad = [kind(sim, i, chain, params.genesis_hash) for i in range(3)]
    honest = [server(sim, 100 + i, params, chain) for i in range(2)]
    node = seeker(sim, params, [a.address for a in [*bad, *honest]])
    assert sim.run(900, lambda: node.height == 2500), (node.height, node.disconnects)
    assert any(b.asked for b in bad)
    blamed = {reason for _, reason, _ in node.disconnects}
    if kind is Stalling:
        assert any("stalling" in reason for reason in blamed)
    if kind in (Mutator, Garbler):
        assert any("mutated" in reason for reason in blamed)
        assert all(discouraged for _, reason, discouraged in node.disconnects if "mutated" in reason)
    by_peer = {peer for peer, reason, _ in node.disconnects if "mutated" in reason or "stalling" in reason}
    honest_ids = {p["id"] for p in node.peers() if p["addr"] in {str(h.address) for h in honest}}
    assert len(honest_ids) == 2
    assert not by_peer & honest_ids


def test_only_stallers_then_an_honest_peer_appears(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(13)
    stallers = [Stalling(sim, i, chain, params.genesis_hash) for i in range(2)]
    honest = server(sim, 100, params, chain)
    node = seeker(sim, params, [s.address for s in stallers])
    sim.run(60)
    assert node.height == 0
    sim.connect(honest, node.address)
    assert sim.run(900, lambda: node.height == 2500)


def test_low_work_header_spam_leaves_memory_flat(params: NetworkParams, chain: list[bytes]) -> None:
    """CVE-2024-52916, CVE-2019-25220: spammers beside an honest peer, which still is synchronised from."""
    work = 2 * 2400
    spam_chain = mine_chain(params, 2100, UNIX_START - 3600, extra=b"\x0b")

    class Spammer(Good):
        def on_established(self, end: End) -> None:
            self.flood(end)

        def flood(self, end: End) -> None:
            if end.open:
                self.send(end, Headers(tuple(raw[:80] for raw in self.chain[:2000])))
                self.sim.at(20.0, lambda: self.flood(end))

        def on_message(self, end: End, message: Message) -> None:
            """Answers nothing."""

    sim = Simulator(13)
    honest = server(sim, 100, params, chain)
    node = seeker(sim, params, [honest.address], minimum_chain_work=work)
    spammers = [Spammer(sim, i, spam_chain, params.genesis_hash) for i in range(4)]
    for spammer in spammers:
        sim.connect(spammer, node.address)
    assert sim.run(120, lambda: node.height == 2500)
    sim.run(60)
    assert len(node.chain.tree) == 2501
    for info in node.peers():
        peer = node.protocol._ctx.peers[info["id"]]
        assert peer.headers.presync is None or peer.headers.presync.memory < 1_700_000


def test_unrequested_blocks_are_not_worth_much(params: NetworkParams, chain: list[bytes]) -> None:
    class Pusher(Good):
        def on_established(self, end: End) -> None:
            self.send(end, Headers(tuple(raw[:80] for raw in self.chain[:2000])))
            for raw in self.chain[1000:1400]:
                self.send(end, BlockMessage(raw))

    sim = Simulator(14)
    node = SimNode(sim, sim_address(200), params, config=alone())
    pusher = Pusher(sim, 1, chain, params.genesis_hash)
    sim.connect(pusher, node.address)
    sim.run(5)
    far = [index for _, index in node.processed if node.chain.tree.height(index) > 288 + node.height]
    assert not far
    assert not [reason for _, reason, _ in node.disconnects]
    assert sim.run(300, lambda: node.height == 2500)


def test_orphan_headers_are_asked_for_once_in_a_while(params: NetworkParams, chain: list[bytes]) -> None:
    class Orphaner(Good):
        def on_established(self, end: End) -> None:
            for i in range(200):
                self.sim.at(0.1 * i, lambda i=i: self.send(end, Headers((self.chain[500 + i][:80],))))

        def on_message(self, end: End, message: Message) -> None:
            """Answers nothing."""

    sim = Simulator(15)
    node = SimNode(sim, sim_address(200), params, config=alone())
    orphaner = Orphaner(sim, 1, chain, params.genesis_hash)
    sim.connect(orphaner, node.address)
    sim.run(100)
    assert len(node.chain.tree) == 1
    assert len([m for m in orphaner.messages if isinstance(m, GetHeaders)]) == 1
    assert not node.disconnects
    sim.connect(server(sim, 100, params, chain), node.address)
    assert sim.run(300, lambda: node.height == 2500)


def test_withholding_the_newest_block(params: NetworkParams, chain: list[bytes]) -> None:
    """CVE-2024-52913, CVE-2024-52922: the first announcer does not deliver; another one is asked in time."""
    sim = Simulator(16)
    node = SimNode(sim, sim_address(200), params, config=alone())
    node.load(chain[:-1])
    withholder = Stalling(sim, 1, chain, params.genesis_hash)
    honest = SimNode(sim, sim_address(100), params, config=alone())
    honest.load(chain[:-1])
    sim.connect(withholder, node.address)
    sim.connect(honest, node.address)
    sim.run(10)
    withholder.send_all(Headers((chain[-1][:80],)))
    sim.run(1)
    honest.load(chain[-1:])
    sim.run(10)
    assert node.height == 2499
    assert sim.run(25, lambda: node.height == 2500)


def test_inv_flood_of_unknown_blocks(params: NetworkParams, chain: list[bytes]) -> None:
    class Flooder(Good):
        def on_established(self, end: End) -> None:
            for i in range(50):
                hashes = [(i * 1000 + j).to_bytes(32, "big") for j in range(1000)]
                self.send(end, Inv(tuple(InvItem(MSG_BLOCK, h) for h in hashes)))

    sim = Simulator(17)
    node = SimNode(sim, sim_address(200), params, config=alone())
    node.load(chain[:10])
    flooder = Flooder(sim, 1, chain[:10], params.genesis_hash)
    sim.connect(flooder, node.address)
    sim.run(60)
    assert len([m for m in flooder.messages if isinstance(m, GetHeaders)]) <= 60
    assert not [m for m in flooder.messages if isinstance(m, GetData)]


def test_reader_that_does_not_read(params: NetworkParams, chain: list[bytes]) -> None:
    """CVE-2018-17145: what waits for such a peer is one send buffer, and others are served meanwhile."""

    class Sloth(Good):
        def on_established(self, end: End) -> None:
            end.receiving = False
            items = tuple(InvItem(MSG_WITNESS_BLOCK, header_hash(raw[:80])) for raw in self.chain[:2000])
            for _ in range(10):
                self.send(end, GetData(items))

    sim = Simulator(18)
    busy = server(sim, 100, params, chain)
    sloth = Sloth(sim, 1, chain, params.genesis_hash)
    sim.connect(sloth, busy.address)
    sim.run(30)
    assert max((end.pending for end in busy.ends.values()), default=0) < 2_000_000
    node = SimNode(sim, sim_address(200), params, config=alone())
    sim.connect(node, busy.address)
    assert sim.run(300, lambda: node.height == 2500)


def test_fake_self_connections_do_not_fill_the_log(params: NetworkParams) -> None:
    """CVE-2025-54604: a peer repeats the nonce of our own version message again and again."""
    sim = Simulator(19)
    node = SimNode(sim, sim_address(200), params, config=alone())
    lines = len(node.lines)

    def strike(i: int) -> Callable[[], None]:
        return lambda: sim.connect(Adversary(sim, sim_address(1000 + i), listens=False), node.address)

    for i in range(500):
        sim.at(0.05 * i, strike(i))
    sim.run(40)
    assert len(node.lines) - lines < 5000
