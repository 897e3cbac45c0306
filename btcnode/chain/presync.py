"""Headers from a peer whose chain has not shown enough work yet: downloaded twice, stored once.

A header of 80 bytes is cheap to make at low difficulty, so a tree that kept whatever it is sent could be filled by
one peer. Hence, as in Bitcoin Core since 24.0:

- PRESYNC: only the chain's work is added up. Of every ``commitment_period``-th header (at an offset that the peer
  does not know) one salted bit is kept.
- REDOWNLOAD: once the work suffices, the same headers are asked for again. Those that stand at the kept bits must
  match them; a header is released only when ``redownload_buffer_size`` others lie on top of it, by then some
  twenty bits have matched, so that another, cheaper chain passes with a chance of one in a million.

Memory per peer: 48 bytes * (redownload_buffer_size + 2000 of one message), 0.9 MB, and the bits. These are bounded by
the longest chain that the rules permit: six headers per second since the start (each must be later than the median
of eleven), 660 kB of bits for all of mainnet's years.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from random import Random
from typing import Protocol

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.headers import MAX_FUTURE_BLOCK_TIME
from btcnode.consensus.pow import block_work, permitted_transition
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.tuples import NamedTuple

MAX_BLOCKS_PER_SECOND = 6  # the fastest that timestamps can stay above the median of the last eleven
SHORT_SIZE = 48  # a header without its parent's hash
SALT_BITS = 128


class StartTree(Ancestry, Protocol):
    """What is read of the header tree."""

    def locator(self, index: int) -> list[BlockHash]:
        """Hashes from ``index`` back to genesis."""


class PresyncState(Enum):
    """Phase of the download."""

    PRESYNC = "presync"
    REDOWNLOAD = "redownload"
    FINAL = "final"


class HeadersSyncResult(NamedTuple):
    """What came of one message.

    ``headers``: 80 bytes each, to be stored now, on a chain with enough work. ``success`` False: the peer's chain was
    not what it should be, and the synchronisation is over. ``request_more``: send getheaders with ``next_locator()``.
    """

    headers: list[bytes]
    success: bool
    request_more: bool


class _Bits:
    """A queue of bits, written to its end first, then read from its beginning."""

    __slots__ = ("_data", "_read", "_written")

    def __init__(self) -> None:
        self._data = bytearray()
        self._read = 0
        self._written = 0

    def __len__(self) -> int:
        return self._written - self._read

    def push(self, bit: int) -> None:
        if not self._written & 7:
            self._data.append(0)
        self._data[-1] |= bit << (self._written & 7)
        self._written += 1

    def pop(self) -> int:
        at = self._read
        self._read += 1
        return self._data[at >> 3] >> (at & 7) & 1


class HeadersSync:
    """One peer's low-work synchronisation, from header ``start`` of ``tree`` on.

    ``minimum_work``: total chainwork that the peer's chain must reach. ``rng`` gives salt and offset (it must not be
    predictable for the peer), ``now`` is Unix seconds.
    """

    def __init__(
        self, params: NetworkParams, tree: StartTree, start: int, minimum_work: int, *, rng: Random, now: int
    ) -> None:
        self.state = PresyncState.PRESYNC
        self._params = params
        self._period, self._buffer_size = params.headers_sync
        self._offset = rng.randrange(self._period)
        self._salt = rng.getrandbits(SALT_BITS).to_bytes(SALT_BITS // 8, "little")
        self._minimum_work = minimum_work
        self._start_height = tree.height(start)
        self._start_hash = tree.hash(start)
        self._start_bits = tree.bits(start)
        self._start_work = tree.chainwork(start)
        self._start_locator = tree.locator(start)
        seconds = now - tree.median_time_past(start) + MAX_FUTURE_BLOCK_TIME
        self._max_commitments = max(0, MAX_BLOCKS_PER_SECOND * seconds // self._period)
        self._commitments = _Bits()
        # of the last header seen in the present phase
        self._height = self._start_height
        self._hash: bytes = self._start_hash
        self._bits = self._start_bits
        self._work = self._start_work
        self._time = tree.time(start)
        # headers of the second download that wait for release, and the parent of the first of them
        self._buffer = bytearray()
        self._buffer_prev: bytes = self._start_hash
        self._release_all = False

    @property
    def finished(self) -> bool:
        """Whether the synchronisation is over, for better or worse."""
        return self.state is PresyncState.FINAL

    @property
    def height(self) -> int:
        """Height of the last header of the present phase."""
        return self._height

    @property
    def time(self) -> int:
        """Timestamp of the last header of the present phase."""
        return self._time

    @property
    def work(self) -> int:
        """Chainwork of the last header of the present phase."""
        return self._work

    @property
    def memory(self) -> int:
        """Bytes held for this peer."""
        return len(self._buffer) + len(self._commitments) // 8

    def next_locator(self) -> list[BlockHash]:
        """Locator of the next getheaders: the last header seen, then those from the start back.

        Raises RuntimeError when the synchronisation is over.
        """
        if self.finished:
            raise RuntimeError("this header synchronisation is over")
        return [BlockHash(self._hash), *self._start_locator]

    def process_next_headers(self, headers: Sequence[bytes], full: bool) -> HeadersSyncResult:
        """Take the headers of one message; ``full`` says that it had as many as a message can have.

        The caller has checked that they follow each other and meet the targets that they claim. Raises RuntimeError
        when the synchronisation is over, ValueError without headers.
        """
        if self.finished:
            raise RuntimeError("this header synchronisation is over")
        if not headers:
            raise ValueError("no headers")
        released: list[bytes] = []
        if self.state is PresyncState.PRESYNC:
            success = self._presync(headers)
            # too few headers end the peer's chain before it had the work, unless that has just been reached
            more = success and (full or self._has_work())
        else:
            success = self._redownload(headers)
            if success:
                released = self._release()
            done = self._release_all and not self._buffer
            more = success and full and not done
        if not more:
            self._finish()
        return HeadersSyncResult(released, success, more)

    def _has_work(self) -> bool:
        return self.state is PresyncState.REDOWNLOAD

    def _finish(self) -> None:
        """Free the memory; the salt is not to be used again."""
        self.state = PresyncState.FINAL
        self._buffer = bytearray()
        self._commitments = _Bits()
        self._salt = b""

    def _commitment(self, block_hash: bytes) -> int:
        return blake2b(block_hash, digest_size=1, key=self._salt).digest()[0] & 1

    def _presync(self, headers: Sequence[bytes]) -> bool:
        """Add up work and keep commitments; False if the chain breaks off, jumps in difficulty or is too long."""
        if headers[0][4:36] != self._hash:
            return False
        params, period, offset = self._params, self._period, self._offset
        height, bits, work = self._height, self._bits, self._work
        for raw in headers:
            height += 1
            new_bits = int.from_bytes(raw[72:76], "little")
            if not permitted_transition(params, height, bits, new_bits):
                return False
            bits = new_bits
            work += block_work(bits)
            if height % period == offset:
                self._commitments.push(self._commitment(sha256d(raw)))
                if len(self._commitments) > self._max_commitments:
                    return False
        self._height, self._bits, self._work = height, bits, work
        self._hash = sha256d(headers[-1])
        self._time = int.from_bytes(headers[-1][68:72], "little")
        if work >= self._minimum_work:
            self._restart()
        return True

    def _restart(self) -> None:
        """Go back to the start for the second download."""
        self.state = PresyncState.REDOWNLOAD
        self._height = self._start_height
        self._hash = self._start_hash
        self._bits = self._start_bits
        self._work = self._start_work

    def _redownload(self, headers: Sequence[bytes]) -> bool:
        """Buffer headers, checking them against the commitments; False at the first that is not as before."""
        for raw in headers:
            if raw[4:36] != self._hash:
                return False
            height = self._height + 1
            bits = int.from_bytes(raw[72:76], "little")
            if not permitted_transition(self._params, height, self._bits, bits):
                return False
            block_hash = sha256d(raw)
            self._work += block_work(bits)
            if self._work >= self._minimum_work:
                self._release_all = True  # the chain may have grown since: no commitments exist for what follows
            if not self._release_all and height % self._period == self._offset:
                commitments = self._commitments
                if not len(commitments) or commitments.pop() != self._commitment(block_hash):
                    return False
            self._buffer += raw[:4] + raw[36:80]
            self._height, self._bits, self._hash = height, bits, block_hash
        self._time = int.from_bytes(headers[-1][68:72], "little")
        return True

    def _release(self) -> list[bytes]:
        """Take the headers out of the buffer that have enough others on top of them."""
        buffer = self._buffer
        count = len(buffer) // SHORT_SIZE
        if not self._release_all:
            count = max(0, count - self._buffer_size)
        released = []
        prev = self._buffer_prev
        for at in range(0, count * SHORT_SIZE, SHORT_SIZE):
            raw = bytes(buffer[at : at + 4]) + prev + buffer[at + 4 : at + SHORT_SIZE]
            released.append(raw)
            prev = sha256d(raw)
        self._buffer_prev = prev
        del buffer[: count * SHORT_SIZE]
        return released
