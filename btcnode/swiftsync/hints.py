"""The hintsfile (draft of rustaceanrob/swiftsync-bips, version 0): which outputs of each block stay unspent.

``55 54 58 4f``, the version's byte, the height as u32 LE, then one Elias-Fano encoding for every block from height 1 up
to that one (the genesis block has nothing that can be spent). An index counts the outputs of the block that can be
spent at all, in the order of the block.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import BinaryIO

from btcnode.errors import DecodeError
from btcnode.swiftsync.elias_fano import HEAD_SIZE, encode_indices, encoded_size

MAGIC = b"UTXO"
VERSION = 0
HEADER_SIZE = 9
READ_SIZE = 1 << 20
MAX_HEIGHT = 1 << 24  # three centuries of blocks: the index takes 128 MB then


class HintsError(DecodeError):
    """A file that is no hintsfile, or a damaged one."""


def pack_header(height: int) -> bytes:
    """What a hintsfile for this height begins with."""
    return MAGIC + bytes((VERSION,)) + height.to_bytes(4, "little")


def pack_hint(indices: Sequence[int]) -> bytes:
    """The entry of a block; raises ValueError for indices that no block has."""
    return encode_indices(indices)


class HintsIndex:
    """Where the entry of each block lies in a file, as ``read_index`` has found: 8 bytes a block.

    ``height`` is that of the last block, ``digest`` the SHA-256 of the whole file.
    """

    def __init__(self, height: int, offsets: array[int], digest: bytes) -> None:
        self.height = height
        self.digest = digest
        self._offsets = offsets

    def place(self, height: int) -> tuple[int, int]:
        """Offset and size of the entry for a block; ``height`` from 1 on."""
        start = self._offsets[height - 1]
        return start, self._offsets[height] - start


def read_index(file: BinaryIO, size: int, between: Callable[[], None] = lambda: None) -> HintsIndex:
    """Walk over a file of ``size`` bytes; the entries themselves are decoded when they are needed.

    ``between`` is called now and then and may raise. Raises HintsError for anything that is not exactly a hintsfile,
    OSError.
    """
    header = file.read(HEADER_SIZE)
    if len(header) < HEADER_SIZE or header[:4] != MAGIC:
        raise HintsError("it is no hintsfile")
    if header[4] != VERSION:
        raise HintsError(f"it is a hintsfile of version {header[4]}, and only version {VERSION} is known")
    height = int.from_bytes(header[5:], "little")
    if not height:
        raise HintsError("it has no blocks")
    if height > MAX_HEIGHT:
        raise HintsError(f"it is for height {height}, and no chain is that long")
    if height > size - HEADER_SIZE:
        raise HintsError(f"it is truncated: {height} blocks do not fit into {size} bytes")
    digest = sha256(header)
    offsets = array("Q", [HEADER_SIZE])
    data, base, at = b"", HEADER_SIZE, 0
    for number in range(1, height + 1):
        if len(data) - at < HEAD_SIZE:
            between()
            base += at
            more = file.read(READ_SIZE)
            digest.update(more)
            data, at = data[at:] + more, 0
        if at >= len(data):
            raise HintsError(f"it is truncated: entry {number} of {height} is missing")
        try:
            at += encoded_size(data, at)
        except DecodeError as error:
            raise HintsError(f"entry {number} of {height} is damaged: {error}") from None
        while at > len(data):  # beyond what was read: an entry has at most a few hundred kilobytes
            more = file.read(READ_SIZE)
            if not more:
                raise HintsError(f"it is truncated in entry {number} of {height}")
            digest.update(more)
            data += more
        offsets.append(base + at)
    if at != len(data) or file.read(1):
        raise HintsError(f"there is more behind the entries of its {height} blocks")
    return HintsIndex(height, offsets, digest.digest())
