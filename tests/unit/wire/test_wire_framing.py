"""The frame decoder: cutting, limits, what is dropped and what ends the connection."""

from __future__ import annotations

import sys
from struct import pack

import pytest

from btcnode.primitives.hashes import sha256d
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import (
    FRAME_HEADER_SIZE,
    FrameDecoder,
    FrameError,
    OversizedFrameError,
    WrongMagicError,
    encode_frame,
    parse_command,
)
from btcnode.wire.messages import Ping, Verack
from btcnode.wire.registry import PAYLOAD_LIMITS, UnknownMessage, encode_message

MAGIC = b"\xfa\xbf\xb5\xda"


def frame(command: bytes, payload: bytes, *, checksum: bytes | None = None, magic: bytes = MAGIC) -> bytes:
    check = sha256d(payload)[:4] if checksum is None else checksum
    return magic + command.ljust(12, b"\0") + pack("<I", len(payload)) + check + payload


def test_encoding() -> None:
    assert encode_frame(MAGIC, "ping", b"12345678") == frame(b"ping", b"12345678")
    assert encode_message(MAGIC, Verack()).hex() == "fabfb5da76657261636b000000000000000000005df6e0e2"
    assert encode_message(MAGIC, UnknownMessage("feature", b"x")) == frame(b"feature", b"x")


def test_encoding_refuses_long_commands() -> None:
    with pytest.raises(ValueError, match="command"):
        encode_frame(MAGIC, "thirteenchars", b"")


@pytest.mark.parametrize("step", [1, 7, 24, 25, 1000])
def test_any_cutting_gives_the_same_messages(step: int) -> None:
    expected = [("ping", b"12345678"), ("verack", b""), ("tx", bytes(range(256)) * 3), ("x", b"?")]
    stream = b"".join(encode_frame(MAGIC, command, payload) for command, payload in expected)
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    seen = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        seen += list(decoder)
        assert decoder.buffered < FRAME_HEADER_SIZE + 768
    assert seen == expected
    assert decoder.buffered == 0


def test_an_abandoned_iteration_is_taken_up_again() -> None:
    decoder = FrameDecoder(MAGIC)
    decoder.feed(frame(b"a", b"1") + frame(b"b", b"2") + frame(b"c", b"3")[:-1])
    assert next(iter(decoder)) == ("a", b"1")
    decoder.feed(b"3")
    assert list(decoder) == [("b", b"2"), ("c", b"3")]


def test_feeding_while_iterating() -> None:
    decoder = FrameDecoder(MAGIC)
    decoder.feed(frame(b"a", b"1"))
    seen = []
    for command, payload in decoder:
        seen.append((command, payload))
        if len(seen) < 4:
            decoder.feed(frame(b"b", b"%d" % len(seen)))
    assert seen == [("a", b"1"), ("b", b"1"), ("b", b"2"), ("b", b"3")]


def test_wrong_checksum_costs_the_message_only() -> None:
    decoder = FrameDecoder(MAGIC)
    decoder.feed(frame(b"ping", b"12345678", checksum=b"\0\0\0\0") + frame(b"pong", b"12345678"))
    assert list(decoder) == [("pong", b"12345678")]
    assert [flaw.wrong_checksum for flaw in decoder.dropped] == [True]


@pytest.mark.parametrize("command", [b"pi\0ng", b"\0ping", b"p\x1f", b"p\x7f", b"p\xff"])
def test_impossible_command_costs_the_message_only(command: bytes) -> None:
    decoder = FrameDecoder(MAGIC)
    decoder.feed(frame(command, b"") + frame(b"pong", b""))
    assert list(decoder) == [("pong", b"")]
    assert [flaw.wrong_checksum for flaw in decoder.dropped] == [False]


def test_commands() -> None:
    assert parse_command(b"twelve chars") == "twelve chars"
    assert parse_command(b" ~".ljust(12, b"\0")) == " ~"
    assert parse_command(bytes(12)) == ""  # Core takes it for an unknown command


def test_wrong_magic_ends_the_stream() -> None:
    decoder = FrameDecoder(MAGIC)
    decoder.feed(frame(b"ping", b"") + frame(b"pong", b"", magic=b"\xf9\xbe\xb4\xd9") + frame(b"ping", b""))
    seen = []
    with pytest.raises(WrongMagicError):
        for message in decoder:
            seen.append(message)
    assert seen == [("ping", b"")]
    decoder.feed(frame(b"ping", b""))
    assert decoder.buffered == 0
    with pytest.raises(FrameError):
        list(decoder)


@pytest.mark.parametrize("size", [MAX_PROTOCOL_MESSAGE_LENGTH + 1, 0x02000001, 0xFFFFFFFF])
def test_oversized_frame_is_refused_at_its_header(size: int) -> None:
    decoder = FrameDecoder(MAGIC)
    header = MAGIC + b"block".ljust(12, b"\0") + pack("<I", size) + bytes(4)
    decoder.feed(header[:-1])
    assert list(decoder) == []
    decoder.feed(header[-1:])
    with pytest.raises(OversizedFrameError):
        list(decoder)


@pytest.mark.parametrize("command", ["ping", "inv", "headers", "unknown"])
def test_limit_of_a_command(command: str) -> None:
    limit = PAYLOAD_LIMITS.get(command, MAX_PROTOCOL_MESSAGE_LENGTH)
    name = command.encode().ljust(12, b"\0")
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    decoder.feed(MAGIC + name + pack("<I", limit) + bytes(4))
    assert list(decoder) == []
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    decoder.feed(MAGIC + name + pack("<I", limit + 1) + bytes(4))
    with pytest.raises(OversizedFrameError):
        list(decoder)


def test_largest_payload() -> None:
    payload = bytes(MAX_PROTOCOL_MESSAGE_LENGTH)
    decoder = FrameDecoder(MAGIC, PAYLOAD_LIMITS)
    decoder.feed(encode_frame(MAGIC, "block", payload) + encode_message(MAGIC, Ping(1)))
    assert [(command, len(data)) for command, data in decoder] == [("block", len(payload)), ("ping", 8)]


def test_a_large_message_is_not_held_twice() -> None:
    """Once it is delivered its bytes are the receiver's alone, also when nothing follows."""
    decoder = FrameDecoder(MAGIC)
    decoder.feed(encode_frame(MAGIC, "block", bytes(3_000_000)) + encode_frame(MAGIC, "ping", bytes(8))[:20])
    assert decoder.take() is not None
    assert sys.getsizeof(decoder._buf) < 100_000
    decoder.feed(encode_frame(MAGIC, "ping", bytes(8))[20:])
    assert decoder.take() == ("ping", bytes(8))
