"""``peers-audit.jsonl``: one line of JSON for each peer that its score removed, with the evidence."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

FILE_NAME = "peers-audit.jsonl"
MAX_SIZE = 10_000_000  # bytes; then the file becomes ``.1`` and a new one begins: 20 MB on disk at most
MAX_WAITING = 1000  # records x about 600 B; more than these are counted and not kept

log = logging.getLogger("btcnode.net")


class AuditFile:
    """Appends records off the loop's thread, in order."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._waiting: list[str] = []
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def write(self, record: dict[str, Any]) -> None:
        """Take a record; it is on disk a little later."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append(json.dumps(record))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            lines, self._waiting = self._waiting, []
            if self._dropped:
                lines.append(json.dumps({"dropped": self._dropped}))
                self._dropped = 0
            await asyncio.to_thread(_append, self._path, lines)

    async def close(self) -> None:
        """Return when everything is written."""
        if self._task is not None:
            await self._task


def _append(path: Path, lines: list[str]) -> None:
    """A failure costs the records, and is logged."""
    try:
        if path.exists() and path.stat().st_size > MAX_SIZE:
            path.replace(path.with_name(FILE_NAME + ".1"))
        with path.open("a", encoding="ascii") as file:
            file.writelines(line + "\n" for line in lines)
    except OSError as error:
        log.error("the audit log is not written: %s", error)
