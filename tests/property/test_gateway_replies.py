"""What a hostile gateway, STUN server or SOCKS5 proxy answers: a value, or one of our errors, never anything else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from btcnode.net.nat.errors import Mapping, NatError
from btcnode.net.nat.helper_tasks import is_binding_response
from btcnode.net.nat.pcp import MAX_SIZE, read_natpmp_address, read_natpmp_map, read_pcp_map
from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.socks5 import CredentialsGenerator, negotiate

NONCE = bytes(range(12))
PORT = 8333

pcp_like = st.builds(
    lambda version, opcode, result, lifetime, nonce, protocol, port, external, address, rest: (
        struct.pack(">BBBBI12x", version, opcode, 0, result, lifetime)
        + nonce + struct.pack(">B3xHH", protocol, port, external) + address + rest
    ),
    st.sampled_from([0, 1, 2, 3, 255]), st.sampled_from([0, 1, 0x80, 0x81, 0x82, 0xFF]), st.integers(0, 255),
    st.integers(0, 2**32 - 1), st.sampled_from([NONCE, bytes(12)]), st.sampled_from([6, 17]),
    st.sampled_from([PORT, 0]), st.integers(0, 65_535), st.binary(min_size=16, max_size=16),
    st.one_of(st.binary(max_size=40), st.just(bytes(MAX_SIZE))),
)  # fmt: skip
natpmp_like = st.builds(
    lambda opcode, result, rest: bytes((0, 0x80 | opcode)) + struct.pack(">H", result) + rest,
    st.integers(0, 127), st.sampled_from([0, 1, 5, 65_535]), st.binary(max_size=20),
)  # fmt: skip
replies = st.one_of(st.binary(max_size=MAX_SIZE + 8), pcp_like, natpmp_like)


@settings(max_examples=500)
@given(data=replies)
def test_a_gateways_datagrams(data: bytes) -> None:
    with contextlib.suppress(NatError):
        mapping = read_pcp_map(data, NONCE, PORT)
        assert mapping is None or (isinstance(mapping, Mapping) and 0 <= mapping.lifetime < 2**32)
    with contextlib.suppress(NatError):
        address = read_natpmp_address(data)
        assert address is None or len(address) == 4
    with contextlib.suppress(NatError):
        granted = read_natpmp_map(data, PORT)
        assert granted is None or (0 <= granted[0] < 2**16 and 0 <= granted[1] < 2**32)
    assert is_binding_response(data) in (True, False)


def head(version: int, code: int, kind: int) -> bytes:
    return bytes((version, code, 0, kind))


answers = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300),
        st.sampled_from([b"\x05\x00", b"\x05\x02", b"\x01\x00", b"\x05\xff", b"\x04\x5a"]),
        st.builds(head, st.sampled_from([4, 5]), st.integers(0, 9), st.sampled_from([1, 3, 4, 0, 200])),
        st.sampled_from([b"\xff" + bytes(257), b"\x00\x00\x00", bytes(6), bytes(18)]),
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(chunks=answers, with_credentials=st.booleans())
def test_a_proxys_answers(chunks: list[bytes], with_credentials: bool) -> None:
    async def ask() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(b"".join(chunks))
            theirs.shutdown(socket.SHUT_WR)
            credentials = CredentialsGenerator(b"t").next() if with_credentials else None
            await negotiate(ours, "example.org", PORT, credentials, 5.0)

    with contextlib.suppress(DialError):
        asyncio.run(ask())
