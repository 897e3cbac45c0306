"""Utreexo proofs that wait for their blocks to be connected: a file for each (-utreexocsn).

They came from peers and can be asked for again, so nothing is synced to the disk: after a power loss some may be cut
short or missing, which their checksum shows. A kill of the process loses none.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from struct import Struct
from zlib import crc32

from btcnode.primitives.hashes import BlockHash, from_display, to_display
from btcnode.storage.durable import storage_error
from btcnode.storage.layout import PROOFS_DIR

_CHECK = Struct("<I")
_HEIGHT_DIGITS = 8

log = logging.getLogger("btcnode.storage")


class ProofFiles:
    """The proofs of a network's directory, by block hash; from any thread."""

    def __init__(self, directory: Path) -> None:
        """Names of what does not look like a proof are ignored. Raises StorageError."""
        self._folder = directory / PROOFS_DIR
        self._lock = threading.Lock()
        self._heights: dict[BlockHash, int] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.iterdir():
                height, _, name = path.name.partition("-")
                if len(height) == _HEIGHT_DIGITS and height.isdecimal() and len(name) == 64:
                    self._heights[BlockHash(from_display(name))] = int(height)
                else:
                    path.unlink(missing_ok=True)  # half written by a run that was killed
        except (OSError, ValueError) as error:
            why = error if isinstance(error, OSError) else OSError(0, str(error))
            raise storage_error(why, f"cannot use {self._folder}") from None

    def __contains__(self, block_hash: BlockHash) -> bool:
        """Whether there is a proof."""
        return block_hash in self._heights

    def hashes(self) -> list[BlockHash]:
        """The blocks of all proofs."""
        with self._lock:
            return list(self._heights)

    def put(self, block_hash: BlockHash, height: int, proof: bytes) -> None:
        """Keep a proof, in the place of one that may be there; raises StorageError."""
        path = self._path(block_hash, height)
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(_CHECK.pack(crc32(proof)) + proof)
            with self._lock:
                fresh.replace(path)
                self._heights[block_hash] = height
        except OSError as error:
            raise storage_error(error, f"cannot write {path}") from None

    def get(self, block_hash: BlockHash) -> bytes | None:
        """The proof, None when it is not here or damaged; raises StorageError when the disk does not answer."""
        height = self._heights.get(block_hash)
        if height is None:
            return None
        path = self._path(block_hash, height)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"cannot read {path}") from None
        proof = data[_CHECK.size :]
        if data[: _CHECK.size] != _CHECK.pack(crc32(proof)):
            log.warning("%s is damaged: the proof is asked for again", path)
            return None
        return proof

    def drop(self, block_hash: BlockHash, proof: bytes | None = None) -> None:
        """Delete a block's proof, if it is here; with ``proof`` unless another has taken its place.

        Raises StorageError when the disk does not answer.
        """
        with self._lock:
            height = self._heights.get(block_hash)
            if height is not None and (proof is None or self.get(block_hash) in (proof, None)):
                del self._heights[block_hash]
                self._unlink(block_hash, height)

    def drop_up_to(self, height: int) -> None:
        """Delete the proofs of blocks up to a height."""
        with self._lock:
            gone = [(block_hash, at) for block_hash, at in self._heights.items() if at <= height]
            for block_hash, _ in gone:
                del self._heights[block_hash]
        for block_hash, at in gone:
            self._unlink(block_hash, at)

    def _path(self, block_hash: BlockHash, height: int) -> Path:
        return self._folder / f"{height:0{_HEIGHT_DIGITS}d}-{to_display(block_hash)}"

    def _unlink(self, block_hash: BlockHash, height: int) -> None:
        try:
            self._path(block_hash, height).unlink(missing_ok=True)
        except OSError as error:  # it is only in the way
            log.warning("cannot delete a proof: %s", error)
