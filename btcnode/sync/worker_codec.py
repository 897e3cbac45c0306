"""What the node and its worker processes say to each other: a fixed head, then runs of bytes.

Both ends are the same program on the same machine, so numbers are little-endian and columns are arrays of u32.

Request: id u64, kind u8, three zero bytes, flags u32, number of transactions u32, length of ``first`` u32 and of
``second`` u32, then both. VERIFY: the transactions one after the other, the packed coins that they spend one after the
other. DECODE: the serialised block. FOLD: the serialised block, a packed ``FoldJob`` (swiftsync/fold.py), with the
coins that the block spends where its scripts are to be verified. CONFIG: the pickled network parameters (the very first
request).

Answer: id u64, status u8, three zero bytes, jobs u32, inputs u32, failed job i32, failed input u32, length of the body
u32, CRC-32 of the body u32, microseconds u32, then the body. Every request gets exactly one answer, in order; ``jobs``
and ``inputs`` count what was verified, so that an answer about less than was asked for is never taken for a yes. The
microseconds are the processor time of the job that failed, or of all if none did or all were judged.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence
from struct import Struct

from btcnode.errors import DecodeError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import BlockHash
from btcnode.script.errors import ScriptError
from btcnode.script.verify import ScriptFailure
from btcnode.tuples import NamedTuple

REQUEST = Struct("<QB3xIIII")
ANSWER = Struct("<QB3xIIiIIII")

CONFIG, VERIFY, DECODE, FOLD = 1, 2, 3, 4
KERNELS = 1  # a flag of CONFIG: the worker may use kernels

READY = 1  # to CONFIG
VALID = 2  # to VERIFY: all jobs and inputs that are counted are valid
INVALID = 3  # to VERIFY: the failed job and input are named, the body is the error's name
DECODED = 4  # to DECODE: the body is ``encode_columns``
FAILED = 5  # to anything: it could not be done, the body says why; the node does it itself
FOLDED = 6  # to FOLD: the body is a packed ``Fold``
REFUSED = 7  # to FOLD: the body is a packed ``SpentRefused``
TIMES = 8  # to FOLD: the body is a packed ``TimesWanted``
JUDGED = 9  # to VERIFY: the body is ``pack_failures``, all other jobs and inputs that are counted are valid

NO_MEMORY = 112  # exit status of a worker that the system has no more memory for
HASH_SIZE = 32
MAX_BODY = 64 << 20  # a block of 4 MB has columns of 10 MB at worst
NO_JOB = -1

_FAILURE = Struct("<IIIB")  # job, input, microseconds, size of the error's name, which follows
_COUNTS = Struct("<IIIiI")  # transactions, inputs, outputs, legacy sigops, size of the block


class Request(NamedTuple):
    """The head of a request."""

    id: int
    kind: int
    flags: int
    jobs: int
    first_size: int
    second_size: int


class Answer(NamedTuple):
    """An answer with its body."""

    id: int
    status: int
    jobs: int
    inputs: int
    failed_job: int
    failed_input: int
    micros: int
    body: bytes


def pack_request(
    number: int, kind: int, first: bytes, second: bytes = b"", *, flags: int = 0, jobs: int = 0
) -> tuple[bytes, bytes, bytes]:
    """A request as bytes: its head, and the two runs as they are, which may be large."""
    return REQUEST.pack(number, kind, flags, jobs, len(first), len(second)), first, second


def pack_answer(
    number: int,
    status: int,
    body: bytes = b"",
    *,
    jobs: int = 0,
    inputs: int = 0,
    failed_job: int = NO_JOB,
    failed_input: int = 0,
    micros: int = 0,
) -> bytes:
    """An answer as bytes."""
    crc = zlib.crc32(body)
    return ANSWER.pack(number, status, jobs, inputs, failed_job, failed_input, len(body), crc, micros) + body


class AnswerReader:
    """Cuts a stream into answers."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Answer]:
        """Take in bytes; returns the answers that are complete. Raises DecodeError for what cannot be one."""
        buffer = self._data
        buffer += data
        answers = []
        at = 0
        while len(buffer) - at >= ANSWER.size:
            number, status, jobs, inputs, failed_job, failed_input, size, crc, micros = ANSWER.unpack_from(buffer, at)
            if size > MAX_BODY:
                raise DecodeError("an answer of impossible size")
            end = at + ANSWER.size + size
            if len(buffer) < end:
                break
            body = bytes(buffer[at + ANSWER.size : end])
            if zlib.crc32(body) != crc:
                raise DecodeError("an answer with a wrong checksum")
            answers.append(Answer(number, status, jobs, inputs, failed_job, failed_input, micros, body))
            at = end
        del buffer[:at]
        return answers


def pack_failures(failures: Sequence[tuple[int, ScriptFailure, int]]) -> bytes:
    """Jobs that fail, why, and the microseconds of processor time that they took."""
    parts = []
    for job, (index, error), micros in failures:
        name = error.value.encode()
        parts += [_FAILURE.pack(job, index, micros, len(name)), name]
    return b"".join(parts)


def unpack_failures(body: bytes) -> list[tuple[int, ScriptFailure, int]]:
    """The inverse of ``pack_failures``, of at least one in the order of jobs; raises DecodeError."""
    failures: list[tuple[int, ScriptFailure, int]] = []
    at = 0
    while at < len(body) or not failures:
        if at + _FAILURE.size > len(body):
            raise DecodeError("a failure is cut off")
        job, index, micros, size = _FAILURE.unpack_from(body, at)
        at += _FAILURE.size + size
        if at > len(body) or (failures and job <= failures[-1][0]):
            raise DecodeError("failures are cut off or in no order")
        failures.append((job, ScriptFailure(index, script_error(body[at - size : at])), micros))
    return failures


def script_error(name: bytes) -> ScriptError:
    """The error of this name; raises DecodeError."""
    try:
        return ScriptError(name.decode("ascii"))
    except ValueError:
        raise DecodeError("an unknown script error") from None


def _u32(values: list[int]) -> bytes:
    column = array("I", values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def encode_columns(block: ParsedBlock) -> bytes:
    """Everything that parsing and checking have found out about a block, but its bytes."""
    counts = _COUNTS.pack(block.n_tx, len(block.in_pos), len(block.out_pos), block.legacy_sigops, len(block.raw))
    return b"".join(
        (
            counts,
            block.hash,
            block.witness_root.ljust(HASH_SIZE, b"\0"),
            block.stripped_size.to_bytes(4, "little"),
            _u32(block.tx_pos),
            _u32(block.body_pos),
            _u32(block.witness_pos),
            _u32(block.in_pos),
            _u32(block.out_pos),
            _u32(block.first_in),
            _u32(block.first_out),
            b"".join(block.txids),
            b"".join(block.wtxids),
        )
    )


def decode_columns(raw: bytes, body: bytes) -> ParsedBlock:
    """The inverse of ``encode_columns`` over the same serialised block; raises DecodeError when they do not fit."""
    if len(body) < _COUNTS.size:
        raise DecodeError("no columns of a block")
    n_tx, inputs, outputs, sigops, size = _COUNTS.unpack_from(body)
    if len(body) != _COUNTS.size + 2 * HASH_SIZE + 4 + 4 * (5 * n_tx + 3 + inputs + outputs) + 64 * n_tx or size > len(
        raw
    ):
        raise DecodeError("columns of another block")
    block = ParsedBlock(raw if size == len(raw) else raw[:size])
    at = _COUNTS.size
    if block.hash != body[at : at + 32]:
        raise DecodeError("columns of another block")
    block.hash = BlockHash(body[at : at + 32])
    block.witness_root = body[at + 32 : at + 64].rstrip(b"\0") and body[at + 32 : at + 64]
    block.stripped_size = int.from_bytes(body[at + 64 : at + 68], "little")
    at += 68
    columns: list[list[int]] = []
    for length in (n_tx + 1, n_tx, n_tx, inputs, outputs, n_tx + 1, n_tx + 1):
        column = array("I")
        column.frombytes(body[at : at + 4 * length])
        if sys.byteorder == "big":
            column.byteswap()
        columns.append(column.tolist())
        at += 4 * length
    (block.tx_pos, block.body_pos, block.witness_pos, block.in_pos, block.out_pos, block.first_in, block.first_out) = (
        columns
    )
    end = at + 32 * n_tx
    block.txids = [body[p : p + 32] for p in range(at, end, 32)]
    block.wtxids = [body[p : p + 32] for p in range(end, end + 32 * n_tx, 32)]
    block.n_tx = n_tx
    block.legacy_sigops = sigops
    return block
