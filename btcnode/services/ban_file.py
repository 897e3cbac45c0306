"""The ban list on disk: ``banlist.json`` in Bitcoin Core's form, replaced as a whole by a rename.

Behind the bans stands a member that Core does not look at, ``_crc32_``: the checksum of the bytes before it. A file
without one comes from Core, or from somebody who has edited it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from zlib import crc32

from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.files import MIB, parse_json, read_limited
from btcnode.protocol.connections.bans import Ban, BanList
from btcnode.storage.durable import set_aside, write_durably
from btcnode.wire.subnet import SubNet

FILE_NAME = "banlist.json"
VERSION = 1
MAX_BYTES = 64 * MIB  # 223 for each of ``MAX_BANS``
CHECK = "_crc32_"
_END = rb',\n    "_crc32_": "([0-9a-f]{8})"\n}\n'
_END_SIZE = 30

log = logging.getLogger("btcnode.net")


class BanFile:
    """Loads the list at the start and keeps the file up to date, off the loop's thread, one write at a time."""

    def __init__(self, directory: Path, now: int) -> None:
        self.bans = BanList()
        self._path = directory / FILE_NAME
        self._dirty = False
        self._task: asyncio.Task[None] | None = None
        if self._load():
            self.bans.sweep(now)
            log.debug("Loaded %d banned node addresses/subnets", len(self.bans))
        else:
            log.info("Recreating the banlist database")
            self.bans.clear()
            self._dirty = True

    def _load(self) -> bool:
        try:
            entries = _entries(read_limited(self._path, MAX_BYTES))
            for entry in entries:
                self._take(entry)
        except FileNotFoundError:
            return False
        except OSError as error:  # of rights, perhaps: it is not to be written over
            aside = set_aside(self._path)
            log.warning("Cannot load banlist %s: %s. %s, and nobody is banned", self._path, error, aside)
            return False
        except (CorruptionError, ValueError, KeyError, TypeError) as error:
            aside = set_aside(self._path)
            log.warning(
                "Cannot load banlist %s: %s. The file is damaged: %s, and nobody is banned", self._path, error, aside
            )
            return False
        return True

    def _take(self, entry: dict[str, object]) -> None:
        version, text = entry["version"], str(entry["address"])
        created, until = entry["ban_created"], entry["banned_until"]
        if version != VERSION:
            log.info("Dropping entry with unknown version (%s) from ban list", version)
            return
        if not isinstance(created, int) or not isinstance(until, int):
            raise TypeError(f"times of {text} are no integers")
        try:
            self.bans.add(SubNet.parse(text), created, until)
        except DecodeError:
            log.info("Dropping entry with unparseable address or subnet (%s) from ban list", text)

    def begin(self) -> None:
        """Write a list that was not here. Nobody is banned by it, so that a start need not wait for the disk."""
        if self._dirty:
            self.changed()

    def changed(self) -> None:
        """The list changed: write it soon."""
        self._dirty = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._save())

    async def _save(self) -> None:
        while self._dirty:
            self._dirty = False
            await asyncio.to_thread(_write, self._path, self.bans.all())

    async def close(self, now: int) -> None:
        """Write what is not written yet."""
        if self.bans.sweep(now):
            self._dirty = True
        if self._task is not None:
            await self._task
        await self._save()


def _write(path: Path, bans: list[tuple[SubNet, Ban]]) -> None:
    """A failure costs the bans made since the last write, at a restart; it is logged."""
    entries = [
        {"version": VERSION, "ban_created": ban.created, "banned_until": ban.until, "address": str(subnet)}
        for subnet, ban in bans
    ]
    try:
        write_durably(path, _file_bytes(entries))
    except StorageError as error:
        log.error("the ban list is not saved: %s", error)


def _file_bytes(entries: list[dict[str, object]]) -> bytes:
    body = json.dumps({"banned_nets": entries}, indent=4).encode().removesuffix(b"\n}")
    return body + f',\n    "{CHECK}": "{crc32(body):08x}"\n}}\n'.encode()


def _entries(data: bytes) -> list[dict[str, object]]:
    """What the file bans; raises CorruptionError, and ValueError, KeyError, TypeError for another form."""
    found = parse_json(data)
    if CHECK in found:
        end = re.fullmatch(_END, data[-_END_SIZE:])
        if end is None or int(end[1], 16) != crc32(data[:-_END_SIZE]):
            raise CorruptionError(f"its bytes do not fit its checksum (who has edited it removes {CHECK})")
    entries: list[dict[str, object]] = found["banned_nets"]
    return entries
