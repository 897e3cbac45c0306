"""The version 2 transport without sockets: handshakes, detection, framing, limits, and what hostile bytes do to it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btcnode.wire import ellswift
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import FrameError, OversizedFrameError, TransportError, WrongMagicError, encode_frame
from btcnode.wire.registry import BY_COMMAND, PAYLOAD_LIMITS
from btcnode.wire.transport import TransportKind
from btcnode.wire.v2_cipher import (
    EXPANSION,
    REKEY_INTERVAL,
    TERMINATOR_SIZE,
    PacketCipher,
    derive_keys,
)
from btcnode.wire.v2_messages import SHORT_IDS, message_prefix, split_contents
from btcnode.wire.v2_transport import MAX_GARBAGE, V2Transport
from tests.lib.peer import decoy

MAGIC = b"\xfa\xbf\xb5\xda"
KEY_SIZE = 64
VERSION_PACKET = EXPANSION


def kind_of(transport: V2Transport) -> TransportKind:
    return transport.kind


def source(seed: int, garbage: int | None = None) -> Callable[[int], bytes]:
    """Random bytes that are the same each time; ``garbage`` fixes the size of the garbage."""
    rng = random.Random(seed)

    def draw(n: int) -> bytes:
        if n == 2 and garbage is not None:
            return garbage.to_bytes(2, "little")
        return rng.randbytes(n)

    return draw


def pair(seed: int = 1, garbage: int | None = None) -> tuple[V2Transport, V2Transport]:
    """Initiator and responder, nothing exchanged yet."""
    return (
        V2Transport(MAGIC, initiator=True, random_bytes=source(seed, garbage), limits=PAYLOAD_LIMITS),
        V2Transport(MAGIC, initiator=False, random_bytes=source(seed + 1, garbage), limits=PAYLOAD_LIMITS),
    )


def connected(seed: int = 1, garbage: int | None = None) -> tuple[V2Transport, V2Transport]:
    """Both with the handshake behind them."""
    a, b = pair(seed, garbage)
    b.feed(a.take_output())
    assert list(b) == []
    a.feed(b.take_output())
    assert list(a) == []
    b.feed(a.take_output())
    assert list(b) == []
    assert a.kind is b.kind is TransportKind.V2
    return a, b


@pytest.mark.parametrize("garbage", [0, 1, 15, 16, 17, MAX_GARBAGE])
def test_handshake_with_any_garbage(garbage: int) -> None:
    a, b = pair(garbage=garbage)
    first = a.take_output()
    assert len(first) == KEY_SIZE + garbage
    assert a.take_output() == b.take_output() == b""
    assert a.kind is b.kind is TransportKind.DETECTING
    assert not a.can_send
    b.feed(first)
    answer = b.take_output()
    assert len(answer) == KEY_SIZE + garbage + TERMINATOR_SIZE + VERSION_PACKET
    assert b.can_send
    assert b.kind is TransportKind.DETECTING  # a has proven nothing yet
    assert b.session_id == b""
    a.feed(answer)
    assert list(a) == []
    assert kind_of(a) is TransportKind.V2
    b.feed(a.take_output())
    assert list(b) == []
    assert kind_of(b) is TransportKind.V2
    assert a.session_id == b.session_id
    assert len(a.session_id) == 32


def test_garbage_has_every_size() -> None:
    sizes = set()
    for value in (0, 1, 4095, 4096, 65535):
        a = V2Transport(MAGIC, initiator=True, random_bytes=source(1, value))
        sizes.add(len(a.take_output()) - KEY_SIZE)
    assert sizes == {0, 1, MAX_GARBAGE}


def test_sessions_differ_and_magic_is_part_of_them() -> None:
    assert connected(1)[0].session_id != connected(5)[0].session_id
    a = V2Transport(MAGIC, initiator=True, random_bytes=source(1))
    b = V2Transport(b"\xf9\xbe\xb4\xd9", initiator=False, random_bytes=source(2))
    b.feed(a.take_output())
    a.feed(b.take_output() + bytes(MAX_GARBAGE + TERMINATOR_SIZE))
    with pytest.raises(TransportError, match="terminator"):
        list(a)


def test_every_command_goes_through_and_its_size_is_known() -> None:
    a, b = connected()
    for command in [*BY_COMMAND, "x", "twelve_chars"]:
        packet = a.encode(command, b"payload")
        assert len(packet) == EXPANSION + (1 if command in SHORT_IDS else 13) + 7
        b.feed(packet)
        assert list(b) == [(command, b"payload")]
        assert b.size == len(packet)
    assert b.buffered == 0


def test_short_ids_are_bip_324s_and_those_of_utreexo() -> None:
    assert len(SHORT_IDS) == 38
    assert [SHORT_IDS[n] for n in range(29, 37)] == ["uproof", "getuproof", "", "", "", "", "uroot", "geturoot"]
    assert SHORT_IDS.index("feature") == 37
    assert (SHORT_IDS[1], SHORT_IDS[2], SHORT_IDS[12], SHORT_IDS[21], SHORT_IDS[28]) == (
        "addr", "block", "getheaders", "tx", "addrv2",
    )  # fmt: skip
    for command in ("version", "verack", "wtxidrelay", "sendaddrv2", "sendheaders", "getaddr"):
        assert message_prefix(command) == b"\0" + command.encode().ljust(12, b"\0")


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\x1f",
        b"\x26",
        b"\xff\x00",
        b"\0",
        b"\0" + b"ping".ljust(11, b"\0"),
        b"\0" + b"pi\0ng".ljust(12, b"\0"),
        b"\0\xff" * 7,
    ],
)
def test_contents_without_a_command_cost_that_packet_only(contents: bytes) -> None:
    a, b = connected()
    packet = a._require_cipher().encrypt(contents)
    b.feed(packet + a.encode("ping", b"12345678"))
    assert list(b) == [("ping", b"12345678")]
    assert [flaw.wrong_checksum for flaw in b.dropped] == [False]
    assert split_contents(contents, 0) is None


def test_both_directions_over_many_changes_of_keys() -> None:
    a, b = connected()
    for i in range(3 * REKEY_INTERVAL):
        for one, other in ((a, b), (b, a)):
            payload = i.to_bytes(2, "little") * (i % 50)
            other.feed(one.encode("tx", payload))
            assert list(other) == [("tx", payload)]


def test_largest_message() -> None:
    a, b = connected()
    payload = bytes(MAX_PROTOCOL_MESSAGE_LENGTH)
    packet = a.encode("block", payload)
    for pos in range(0, len(packet), 65536):
        assert list(b) == []
        b.feed(packet[pos : pos + 65536])
    assert list(b) == [("block", payload)]
    with pytest.raises(ValueError, match="too large"):
        a.encode("block", bytes(1 << 24))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunking_gives_the_same_messages(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1000))
    a, b = pair(seed)
    messages = data.draw(
        st.lists(st.tuples(st.sampled_from(["ping", "inv", "version", "zzz"]), st.binary(max_size=300)), max_size=8)
    )
    decoys = data.draw(st.sets(st.integers(0, 8)))
    b.feed(a.take_output())
    list(b)
    a.feed(b.take_output())
    list(a)
    stream = a.take_output()
    for i, (command, payload) in enumerate(messages):
        if i in decoys:
            stream += decoy(a, payload)
        stream += a.encode(command, payload)
    got = []
    while stream:
        size = data.draw(st.integers(1, 400))
        b.feed(stream[:size])
        got += list(b)
        stream = stream[size:]
    assert got == messages
    assert b.session_id == a.session_id


def test_handshake_byte_by_byte() -> None:
    a, b = pair(3)
    pending = {id(a): b"", id(b): b""}
    for _ in range(20_000):
        for one, other in ((a, b), (b, a)):
            pending[id(other)] += one.take_output()
            other.feed(pending[id(other)][:1])
            pending[id(other)] = pending[id(other)][1:]
            assert list(other) == []
        if a.kind is b.kind is TransportKind.V2:
            break
    assert a.session_id == b.session_id != b""


@given(position=st.integers(0, 2000), flip=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_any_flipped_byte_ends_the_connection_or_delivers_nothing(position: int, flip: int) -> None:
    """Whatever byte of the initiator's stream is changed, nothing of what it sent is delivered from there on."""
    a, b = pair(9, garbage=50)
    first = a.take_output()
    shadow = V2Transport(MAGIC, initiator=False, random_bytes=source(10, 50))
    shadow.feed(first)
    a.feed(shadow.take_output())
    list(a)
    packets = [a.encode("ping", bytes(8)) for _ in range(10)]
    stream = bytearray(first + a.take_output() + b"".join(packets))
    start = len(stream) - sum(map(len, packets))
    position %= len(stream)
    stream[position] ^= flip
    got = 0
    try:
        b.feed(bytes(stream) + bytes(5000))
        for command, payload in b:
            assert (command, payload) == ("ping", bytes(8))
            got += 1
    except FrameError:
        with pytest.raises(FrameError):
            list(b)
    else:
        assert got < len(packets)
    assert got <= max(0, position - start) // len(packets[0])


# -- detection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 15, 16, 17, 24, 1000])
def test_bip324_version_1_peer_is_detected(chunk: int) -> None:
    _, b = pair()
    stream = encode_frame(MAGIC, "version", b"v" * 86) + encode_frame(MAGIC, "verack", b"")
    got = []
    for pos in range(0, len(stream), chunk):
        b.feed(stream[pos : pos + chunk])
        got += list(b)
    assert got == [("version", b"v" * 86), ("verack", b"")]
    assert b.kind is TransportKind.V1
    assert b.take_output() == b""
    assert b.can_send
    assert b.encode("ping", b"x") == encode_frame(MAGIC, "ping", b"x")
    assert b.session_id == b""


def test_bip324_responder_answers_at_the_first_byte_that_is_not_version_1() -> None:
    a, b = pair()
    key = a.take_output()
    b.feed(MAGIC[:3])
    assert b.take_output() == b""
    b.feed(key[:1])
    assert len(b.take_output()) >= KEY_SIZE
    assert not b.can_send


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_bip324_version_1_peer_of_another_network(chunk: int) -> None:
    _, b = pair()
    stream = encode_frame(b"\xf9\xbe\xb4\xd9", "version", b"v" * 86)
    with pytest.raises(WrongMagicError, match="f9beb4d9"):
        for pos in range(0, len(stream), chunk):
            b.feed(stream[pos : pos + chunk])
            list(b)


def test_bip324_fallback_only_when_nothing_was_received() -> None:
    a, b = pair()
    assert a.should_retry_v1
    assert not b.should_retry_v1  # it did not open the connection
    a.feed(b"\x01")
    assert not a.should_retry_v1
    a, b = connected()
    assert not a.should_retry_v1


def test_bip324_initiator_answered_in_version_1() -> None:
    a, _ = pair()
    a.feed(encode_frame(MAGIC, "version", b"v" * 86))
    with pytest.raises(TransportError, match="version 1"):
        list(a)
    assert a.should_retry_v1
    a, _ = pair()
    a.feed(encode_frame(b"\xf9\xbe\xb4\xd9", "version", b"v" * 86))
    with pytest.raises(WrongMagicError):
        list(a)
    assert not a.should_retry_v1


# -- attacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 100, 5000])
def test_bip324_garbage_without_terminator(chunk: int) -> None:
    """4,095 bytes of garbage are the most: 4,111 bytes without the terminator end it, and no byte earlier."""
    a, b = pair()
    b.feed(a.take_output()[:KEY_SIZE])
    stream = bytes(MAX_GARBAGE + TERMINATOR_SIZE)
    for pos in range(0, len(stream) - 1, chunk):
        b.feed(stream[pos : min(pos + chunk, len(stream) - 1)])
    assert list(b) == []
    assert b.buffered == MAX_GARBAGE + TERMINATOR_SIZE - 1
    b.feed(b"\0")
    with pytest.raises(TransportError, match="terminator"):
        list(b)
    assert b.buffered == 0


def test_bip324_terminator_one_byte_too_late() -> None:
    """4,096 bytes of garbage before the right terminator."""
    a, b = pair(garbage=MAX_GARBAGE)
    first = a.take_output()
    b.feed(first)
    a.feed(b.take_output())
    late = a.take_output()
    c = V2Transport(MAGIC, initiator=False, random_bytes=source(2, MAX_GARBAGE), limits=PAYLOAD_LIMITS)
    c.feed(first + b"x")
    c.feed(late)
    with pytest.raises(TransportError, match="terminator"):
        list(c)


def test_bip324_changed_garbage_is_noticed() -> None:
    a, b = pair(garbage=10)
    first = bytearray(a.take_output())
    first[-1] ^= 1
    b.feed(first)
    a.feed(b.take_output())
    b.feed(a.take_output())
    with pytest.raises(TransportError, match="decryption failure"):
        list(b)
    assert b.kind is TransportKind.DETECTING


def test_bip324_decoys_are_ignored_everywhere() -> None:
    """Before the version packet too; the first packet of all authenticates the garbage."""
    a, b = pair(garbage=20)
    first = a.take_output()
    garbage = first[KEY_SIZE:]
    b.feed(first)
    a.feed(b.take_output())
    genuine = a.take_output()  # terminator and version packet, which this test replaces
    list(a)
    draw = source(1, 20)
    draw(2)
    seckey = draw(32)
    b2_key_source = source(2, 20)
    b2 = V2Transport(MAGIC, initiator=False, random_bytes=b2_key_source)
    b2.feed(first)
    theirs = b2.take_output()[:KEY_SIZE]
    secret = ellswift.shared_secret(seckey, first[:KEY_SIZE], theirs, initiator=True)
    cipher = PacketCipher(derive_keys(secret, MAGIC), initiator=True)
    stream = cipher.send_terminator + cipher.encrypt(b"decoy" * 100, aad=garbage, ignore=True)
    stream += cipher.encrypt(ignore=True)
    b2.feed(stream)
    assert list(b2) == []
    assert b2.kind is TransportKind.DETECTING
    b2.feed(cipher.encrypt(b"future extensions"))
    b2.feed(cipher.encrypt(b"\x12" + bytes(8), ignore=True) + cipher.encrypt(b"\x12" + bytes(8)))
    assert list(b2) == [("ping", bytes(8))]
    assert kind_of(b2) is TransportKind.V2
    assert genuine.startswith(cipher.send_terminator)


def test_bip324_decoys_are_passed_over_one_at_a_time() -> None:
    a, b = connected()
    b.feed(b"".join(decoy(a) for _ in range(10)) + a.encode("ping", bytes(8)))
    for _ in range(10):
        assert b.take() is None
        assert b.unfinished
    assert b.take() == ("ping", bytes(8))
    assert b.take() is None
    assert not b.unfinished


def test_bip324_what_a_packet_lacks_is_known_once_its_length_is() -> None:
    a, b = connected()
    packet = a.encode("tx", bytes(1000))
    b.feed(packet[:2])
    assert b.take() is None
    assert b.missing == 0
    b.feed(packet[2:100])
    assert b.take() is None
    assert b.missing == len(packet) - 100
    b.feed(packet[100:])
    assert b.missing == 0
    assert b.take() == ("tx", bytes(1000))


def test_bip324_bad_tag_disconnects_and_nothing_follows() -> None:
    a, b = connected()
    good, packet = a.encode("pong", bytes(8)), bytearray(a.encode("ping", bytes(8)))
    packet[-1] ^= 1
    b.feed(good + bytes(packet) + a.encode("ping", bytes(8)))
    seen: list[tuple[str, bytes]] = []
    with pytest.raises(TransportError, match="decryption failure"):
        seen.extend(b)
    assert seen == [("pong", bytes(8))]
    assert b.buffered == 0
    b.feed(bytes(100))
    assert b.buffered == 0
    with pytest.raises(TransportError):
        list(b)


def test_bip324_replayed_packet_is_refused() -> None:
    a, b = connected()
    packet = a.encode("ping", bytes(8))
    b.feed(packet + packet)
    with pytest.raises(FrameError):
        list(b)


def test_bip324_oversized_packet_is_refused_by_its_length() -> None:
    a, b = connected()
    packet = a._require_cipher().encrypt(bytes(MAX_PROTOCOL_MESSAGE_LENGTH + 14))
    b.feed(packet[:3])
    with pytest.raises(OversizedFrameError, match="4000014"):
        list(b)


def test_bip324_limits_of_commands_hold() -> None:
    a, b = connected()
    b.feed(a.encode("ping", bytes(PAYLOAD_LIMITS["ping"] + 1)))
    with pytest.raises(OversizedFrameError, match="ping"):
        list(b)
