"""The XOR key of the blocks directory (``xor.dat``), as Bitcoin Core keeps it since version 28.

It keeps virus scanners from finding patterns in block files; it hides nothing from people.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from btcnode.compiled import current
from btcnode.errors import CorruptionError, StorageError
from btcnode.files import read_limited
from btcnode.storage.durable import write_durably
from btcnode.storage.layout import XOR_FILE, XOR_KEY_SIZE

SMALL = 8192  # bytes up to which one big int is fastest; above, every eighth byte goes through a table of its own
MAX_KEY_FILE_BYTES = 4096  # of a damaged one, whose size is told
ZERO_KEY = bytes(XOR_KEY_SIZE)


class Obfuscation:
    """XOR with a repeated 8-byte key, by absolute file position."""

    def __init__(self, key: bytes = ZERO_KEY) -> None:
        if len(key) != XOR_KEY_SIZE:
            raise ValueError(f"an XOR key has {XOR_KEY_SIZE} bytes")
        self.key = key
        self._pads = [
            int.from_bytes((key[turn:] + key[:turn]) * (SMALL // XOR_KEY_SIZE), "little")
            for turn in range(XOR_KEY_SIZE)
        ]
        self._tables = [bytes(value ^ byte for value in range(256)) for byte in key]

    def __bool__(self) -> bool:
        return self.key != ZERO_KEY

    def apply(self, data: bytes, position: int) -> bytes:
        """``data``, which stands at ``position`` of its file, to or from its stored form."""
        if self.key == ZERO_KEY or not data:
            return data
        turn, size = position % XOR_KEY_SIZE, len(data)
        if size <= SMALL:
            pad = self._pads[turn] & (1 << 8 * size) - 1
            return (int.from_bytes(data, "little") ^ pad).to_bytes(size, "little")
        kernels = current()
        if kernels is not None:
            return kernels.apply_key(data, self.key[turn:] + self.key[:turn])
        stored, tables = bytearray(size), self._tables[turn:] + self._tables[:turn]
        for place, table in enumerate(tables):
            stored[place::XOR_KEY_SIZE] = data[place::XOR_KEY_SIZE].translate(table)
        return bytes(stored)


def open_obfuscation(directory: Path, *, use_xor: bool = True) -> Obfuscation:
    """The key of a blocks directory: read from ``xor.dat``, or made.

    A key is random only in a directory that has nothing but hidden files; one with block files that has no key gets
    the zero key. Raises StorageError when ``use_xor`` is off but a key is set, CorruptionError for a damaged file.
    """
    path = directory / XOR_FILE
    try:
        key = read_limited(path, MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        fresh = all(entry.is_file() and entry.name.startswith(".") for entry in directory.iterdir())
        key = secrets.token_bytes(XOR_KEY_SIZE) if use_xor and fresh else ZERO_KEY
        write_durably(path, key)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if len(key) != XOR_KEY_SIZE:
        raise CorruptionError(f"{path} has {len(key)} bytes instead of {XOR_KEY_SIZE}: restore it, the blocks need it")
    if not use_xor and key != ZERO_KEY:
        raise StorageError(
            "Failed to initialize ChainstateManager: The blocksdir XOR-key can not be disabled when a random key was"
            " already stored!"
            f" Stored key: '{key.hex()}', stored path: '{path}'."
        )
    return Obfuscation(key)
