"""Messages of every peer in files, for debugging (``--capturemessages``), in Bitcoin Core's form.

``message_capture/<address>/msgs_recv.dat`` and ``msgs_sent.dat`` are records: time (microseconds, u64), command (12
bytes, zero-padded), length (u32), payload; numbers little-endian. Each is written at once, for what comes
before a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from struct import Struct

DIRECTORY = "message_capture"
_RECORD = Struct("<Q12sI")

log = logging.getLogger("btcnode.net")


class MessageCapture:
    """Appends messages to the files of a node's directory; the first failure ends it, with a line in the log."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """``clock``: Unix seconds."""
        self._directory = directory / DIRECTORY
        self._clock = clock
        self._failed = False

    def write(self, peer: str, command: str, payload: bytes, *, incoming: bool) -> None:
        """Append one message of the peer with this address and port."""
        if self._failed:
            return
        folder = self._directory / peer.replace(":", "_")  # not every file system takes colons
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ("msgs_recv.dat" if incoming else "msgs_sent.dat")).open("ab") as file:
                file.write(_RECORD.pack(int(self._clock() * 1_000_000), command.encode(), len(payload)) + payload)
        except OSError as error:
            self._failed = True
            log.warning("messages are not captured any more: %s", error)
