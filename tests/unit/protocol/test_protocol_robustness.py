"""Whatever peers send and in whatever order: ``step`` never raises, and memory stays within its limits."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import header_hash
from btcnode.protocol import commands as cmd
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol import limits
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.inputs import Input
from btcnode.settings.permissions import Permission
from btcnode.testing.blocks import grind
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire import messages as m
from btcnode.wire.codec import Message
from btcnode.wire.netaddr import ADDRESS_SIZES, NetAddress, Network
from btcnode.wire.registry import MESSAGE_CLASSES, UnknownMessage, decode_message
from tests.lib.protocol_bench import Bench

PARAMS = params_for("regtest")
CHAIN = mine_chain(PARAMS, 30, UNIX_START - 60)
FORK = mine_chain(PARAMS, 12, UNIX_START - 30, extra=b"\x03")
KNOWN = [*CHAIN, *FORK]
FUTURE = grind(CHAIN[0][:68] + (UNIX_START + 10**5).to_bytes(4, "little") + CHAIN[0][72:80])
HEADERS = [raw[:80] for raw in KNOWN] + [FUTURE, bytes(80), grind(CHAIN[3][:80], valid=False)]
HASHES = [PARAMS.genesis_hash, *(header_hash(raw[:80]) for raw in KNOWN), bytes(32), b"\xff" * 32]
BLOCKS = [*KNOWN, KNOWN[5][:-1] + b"\x01", KNOWN[6] + b"\0", KNOWN[7][:90], bytes(200)]

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
hashes = st.sampled_from(HASHES) | st.binary(min_size=32, max_size=32)
kinds = st.sampled_from([1, 2, 3, 4, 5, 0x40000001, 0x40000002, 0x40000003]) | u32
items = st.lists(st.builds(m.InvItem, kinds, hashes), max_size=30).map(tuple)
locators = st.lists(hashes, max_size=110).map(tuple)
networks = st.sampled_from(list(Network))
addresses = networks.flatmap(
    lambda n: st.builds(NetAddress, st.just(n), st.binary(min_size=ADDRESS_SIZES[n], max_size=ADDRESS_SIZES[n]), u16)
)
entries = st.lists(st.builds(m.AddrEntry, u32 | st.just(UNIX_START), u64 | st.just(9), addresses), max_size=20).map(
    tuple
)
header_runs = st.tuples(st.integers(0, len(HEADERS)), st.integers(0, 40)).map(
    lambda r: tuple(HEADERS[r[0] : r[0] + r[1]])
)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        m.Version,
        version=st.integers(-(2**31), 2**31 - 1) | st.just(70016),
        services=u64 | st.just(1033),
        time=st.integers(0, 2**63 - 1),
        receiver_services=u64,
        receiver=addresses.filter(lambda a: a.is_v1_compatible),
        nonce=u64,
        user_agent=st.binary(max_size=256),
        start_height=st.integers(-(2**31), 2**31 - 1),
        relay=st.booleans(),
    ),
    st.sampled_from(
        [m.Verack(), m.WtxidRelay(), m.SendAddrV2(), m.SendHeaders(), m.GetAddr(), m.Mempool(), m.FilterClear()]
    ),
    st.builds(m.SendCmpct, st.booleans(), u64),
    st.builds(m.SendTxRcncl, u32, u64),
    st.builds(m.Ping, u64),
    st.builds(m.Pong, st.none() | u64),
    st.builds(m.FeeFilter, st.integers(-(2**63), 2**63 - 1)),
    st.builds(m.Inv, items),
    st.builds(m.GetData, items),
    st.builds(m.NotFound, items),
    st.builds(m.Headers, header_runs),
    st.builds(m.Headers, st.lists(st.sampled_from(HEADERS), max_size=5).map(tuple)),
    st.builds(m.GetHeaders, locators, hashes),
    st.builds(m.GetBlocks, locators, hashes),
    st.builds(m.BlockMessage, st.sampled_from(BLOCKS)),
    st.builds(m.TxMessage, st.binary(min_size=10, max_size=80)),
    st.builds(m.CmpctBlock, st.sampled_from(HEADERS), u64, st.just(()), st.just(())),
    st.builds(m.GetBlockTxn, hashes, st.just((0, 3))),
    st.builds(m.BlockTxn, hashes, st.just(())),
    st.builds(m.Addr, entries),
    st.builds(m.AddrV2, entries),
    st.builds(UnknownMessage, st.text(max_size=12), st.binary(max_size=20)),
)

peer_ids = st.integers(1, 6)
malformed = st.builds(
    ev.MalformedMessage,
    peer_ids,
    st.sampled_from(list(ev.Malformation)),
    st.sampled_from([cls.command for cls in MESSAGE_CLASSES]) | st.text(max_size=12),
    st.text(max_size=50),
)
faults = st.builds(RuleViolation, st.just("some-reason"), st.text(max_size=10), st.sampled_from(list(Fault)))
events = st.one_of(
    st.builds(ev.MessageReceived, peer_ids, messages),
    st.builds(ev.MessageReceived, peer_ids, messages),
    st.builds(ev.MessageReceived, peer_ids, messages),
    malformed,
    st.builds(ev.PeerConnected, peer_ids, addresses, st.sampled_from(list(ConnectionKind)), st.integers(0, 5)),
    st.builds(ev.PeerDisconnected, peer_ids, st.text(max_size=20)),
    st.builds(ev.SendBufferState, peer_ids, st.booleans()),
    st.builds(ev.PeersPressing, st.tuples(peer_ids)),
    st.builds(ev.BlockRead, peer_ids, st.integers(0, 20), st.none() | st.just(KNOWN[0])),
    st.builds(ev.BlockProcessed, peer_ids, st.integers(0, 20), st.none() | faults),
    st.builds(ev.ConnectFailed, st.integers(0, 20), st.text(max_size=20)),
    st.builds(ev.DnsSeedResult, st.text(max_size=20), st.lists(addresses, max_size=5).map(tuple)),
    st.builds(ev.LocalAddress, addresses, st.sampled_from(["bind", "user", "mapped", "seen"])),
    st.builds(cmd.DisconnectNode, peer_ids),
    st.builds(cmd.SetNetworkActive, st.booleans()),
    st.builds(
        cmd.AddNode,
        st.sampled_from(["a.example", "1.2.3.4:5", "[::1]:7"]),
        st.sampled_from(["add", "remove", "onetry"]),
    ),
    st.just(cmd.PingPeers()),
    st.floats(0.01, 2000).map(lambda seconds: seconds),
)


def check_limits(bench: Bench) -> None:
    """What must hold after every step."""
    protocol = bench.protocol
    download = protocol._download
    in_flight = [index for peer in protocol._ctx.peers.values() for index in peer.blocks.in_flight]
    assert len(in_flight) == len(set(in_flight)), "a block asked of two peers"
    assert sorted(in_flight) == sorted(download.requests)
    assert download.validating_bytes == sum(download._validating.values())
    peers = protocol._ctx.peers.values()
    assert download.preferred_count == sum(p.blocks.preferred and p.role.gives_blocks for p in peers)
    assert download.requests.downloading_peers == sum(bool(p.blocks.in_flight) for p in protocol._ctx.peers.values())
    assert protocol._headers.sync_count == sum(p.headers.sync_started for p in protocol._ctx.peers.values())
    for peer in protocol._ctx.peers.values():
        assert len(peer.blocks.in_flight) <= limits.MAX_BLOCKS_IN_TRANSIT_PER_PEER
        assert len(peer.blocks.missing) <= limits.MAX_MISSING_PER_PEER
        assert len(peer.serve.announce) <= limits.MAX_QUEUED_ANNOUNCEMENTS


def execute(bench: Bench, effects: list[fx.Effect], *, answer: bool) -> None:
    """Encode what is sent; process and read blocks if ``answer``."""
    for effect in effects:
        if isinstance(effect, fx.Send):
            payload = effect.message.encode()
            assert decode_message(effect.message.command, payload) == effect.message
        elif isinstance(effect, fx.Log):
            assert effect.text.isprintable()
    bench.effects = effects
    if answer:
        bench.finish_blocks()
        for effect in effects:
            if isinstance(effect, fx.ReadBlock):
                bench.step(ev.BlockRead(effect.peer_id, effect.index, bench.chain.blocks.get(effect.index)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(events, min_size=5, max_size=60),
    st.lists(st.sampled_from(list(ConnectionKind)), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([0, 40, 10**9]),
)
def test_no_sequence_of_inputs_raises(
    sequence: list[Input | float], kinds: list[ConnectionKind], answer: bool, minimum_work: int
) -> None:
    bench = Bench(PARAMS, minimum_chain_work=minimum_work)
    bench.load(CHAIN[:8])
    for kind in kinds:
        bench.peer(kind)
    for event in sequence:
        if isinstance(event, float):
            bench.wait(event, each=event)
            execute(bench, bench.effects, answer=answer)
        else:
            execute(bench, list(bench.step(event)), answer=answer)
        check_limits(bench)
    for peer_id in bench.protocol.peer_ids():
        assert bench.protocol.peer_info(peer_id) is not None
        bench.step(ev.PeerDisconnected(peer_id))
    assert not bench.protocol._download.requests
    assert bench.protocol._headers.sync_count == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MESSAGE_CLASSES), st.binary(max_size=200)), max_size=40))
def test_random_payloads_as_the_reactor_hands_them_over(payloads: list[tuple[type[Message], bytes]]) -> None:
    bench = Bench(PARAMS)
    peer = bench.peer(permissions=Permission.NOBAN)
    for cls, payload in payloads:
        try:
            message = decode_message(cls.command, payload)
        except DecodeError as error:
            bench.step(ev.MalformedMessage(peer, ev.Malformation.PAYLOAD, cls.command, str(error)))
        else:
            bench.receive(peer, message)
        check_limits(bench)
