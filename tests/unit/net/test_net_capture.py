from __future__ import annotations

from pathlib import Path
from struct import unpack

from btcnode.net.capture import MessageCapture


def test_messages_are_appended_by_peer_and_direction(tmp_path: Path) -> None:
    capture = MessageCapture(tmp_path, lambda: 1_700_000_000.5)
    capture.write("127.0.0.1:8333", "ping", b"12345678", incoming=True)
    capture.write("127.0.0.1:8333", "ping", b"87654321", incoming=True)
    capture.write("[::1]:8333", "verack", b"", incoming=False)
    received = (tmp_path / "message_capture/127.0.0.1_8333/msgs_recv.dat").read_bytes()
    assert len(received) == 2 * (24 + 8)
    assert unpack("<Q12sI8s", received[:32]) == (1_700_000_000_500_000, b"ping".ljust(12, b"\0"), 8, b"12345678")
    assert len((tmp_path / "message_capture/[__1]_8333/msgs_sent.dat").read_bytes()) == 24


def test_a_failure_ends_it(tmp_path: Path) -> None:
    (tmp_path / "message_capture").write_text("in the way")
    capture = MessageCapture(tmp_path, lambda: 1.0)
    capture.write("1.2.3.4:5", "ping", b"", incoming=True)
    (tmp_path / "message_capture").unlink()
    capture.write("1.2.3.4:5", "ping", b"", incoming=True)
    assert not (tmp_path / "message_capture").exists()
