"""What connections to peers have died of elsewhere; the names carry the identifiers.

Other rows about peers are proven where their code is: low-work headers, spies, peers that never read, malformed
getdata, withholding announcers, bans, self-connections, collisions and thin blocks in ``tests/unit/protocol/``, BIP324
and hostile bytes in ``tests/e2e/``, UPnP, STUN and SOCKS5 in ``tests/unit/net/``.
"""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import FrameDecoder, OversizedFrameError, encode_frame
from btcnode.wire.messages import Headers, Verack, Version
from btcnode.wire.registry import PAYLOAD_LIMITS
from tests.lib.protocol_bench import Bench


@pytest.fixture(scope="module")
def params() -> NetworkParams:
    return params_for("regtest")


def claim(params: NetworkParams, command: str, size: int) -> bytes:
    """The head of a frame that claims so many bytes."""
    frame = encode_frame(params.magic, command, b"")
    return frame[:16] + struct.pack("<I", size) + frame[20:]


def test_cve_2015_3641_a_claimed_size_takes_no_memory(params: NetworkParams) -> None:
    """A thousand peers claim 4 MB each and bring a kilobyte: what is held is what came."""
    decoders = [FrameDecoder(params.magic, PAYLOAD_LIMITS) for _ in range(1000)]
    tracemalloc.start()
    for decoder in decoders:
        decoder.feed(claim(params, "block", MAX_PROTOCOL_MESSAGE_LENGTH))
        assert list(decoder) == []
        for _ in range(10):
            decoder.feed(bytes(100))
            assert list(decoder) == []
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(decoder.buffered for decoder in decoders) == 1000 * 1024
    assert held < 4_000_000


@pytest.mark.parametrize("command", ["ping", "verack", "sendcmpct", "getaddr", "feefilter"])
def test_cve_2015_3641_small_messages_may_not_claim_much(params: NetworkParams, command: str) -> None:
    decoder = FrameDecoder(params.magic, PAYLOAD_LIMITS)
    decoder.feed(claim(params, command, 1_000_000))
    with pytest.raises(OversizedFrameError):
        list(decoder)


def test_cve_2015_3641_who_trickles_is_dropped(params: NetworkParams) -> None:
    """No complete message comes: before the handshake for a minute, after it for twenty."""
    bench = Bench(params)
    early, late = bench.connect(), bench.peer()
    bench.wait(61, pongs=False)
    assert bench.disconnected(early) is not None
    assert bench.disconnected(late) is None
    bench.wait(1400, each=10, pongs=False)
    assert bench.disconnected(late) is not None


@pytest.mark.parametrize("clock", [0, UNIX_START - 10**6, UNIX_START + 10**6, 2**31 - 1, 2**62])
def test_cve_2024_52912_clocks_of_the_first_peers_do_not_change_what_is_valid(
    params: NetworkParams, clock: int
) -> None:
    """A header two hours ahead of our own clock is refused and one less far is taken, whatever peers say it is."""
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True))
    bench.load(mine_chain(params, 10, UNIX_START - 60))
    for _ in range(8):
        peer = bench.connect(ConnectionKind.OUTBOUND_FULL)
        bench.receive(peer, Version(version=70016, services=1033, time=clock, nonce=peer, relay=True))
        bench.receive(peer, Verack())
    good = bench.chain.mine(UNIX_START + 7000)
    bad = bench.chain.mine(UNIX_START + 7400)
    for raw, taken in ((bad, False), (good, True)):
        bench.receive(peer, Headers((raw[:80],)))
        assert (bench.chain.tree.find(header_hash(raw[:80])) >= 0) is taken
    assert not bench.all(fx.Disconnect)
