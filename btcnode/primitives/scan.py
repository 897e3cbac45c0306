"""One pass over a serialised transaction: offsets, no objects per field.

Both the block parser and the transaction parser stand on ``scan_tx``; whatever is read of a transaction later is
a slice at an offset that this pass has proved to lie inside the bytes.
"""

from __future__ import annotations

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.steps import STEP, Steps, at_once


def _skip_inputs(raw: bytes, p: int, count: int) -> int:
    """The offset after the last sequence of ``count`` inputs."""
    for _ in range(count):
        size = raw[p + 36]
        if size < 0xFD:
            p += 41 + size
        else:
            size, p = read_compact_size(raw, p + 36)
            p += size + 4
    return p


def _skip_outputs(raw: bytes, p: int, count: int) -> int:
    """The offset after the last script of ``count`` txouts."""
    for _ in range(count):
        size = raw[p + 8]
        if size < 0xFD:
            p += 9 + size
        else:
            size, p = read_compact_size(raw, p + 8)
            p += size
    return p


def _scan_witness(raw: bytes, p: int, count: int) -> int:
    """Skip ``count`` witness stacks; raises DecodeError when all of them are empty."""
    total = 0
    for _ in range(count):
        items = raw[p]
        p += 1
        if items >= 0xFD:
            items, p = read_compact_size(raw, p - 1)
        total += items
        for _ in range(items):  # ``_skip_elements`` without its call
            size = raw[p]
            if size < 0xFD:
                p += 1 + size
            else:
                size, p = read_compact_size(raw, p)
                p += size
    if not total:
        raise DecodeError("Superfluous witness record")
    return p


def _skip_elements(raw: bytes, p: int, count: int) -> int:
    """The offset after ``count`` elements, each behind its size."""
    for _ in range(count):
        size = raw[p]
        if size < 0xFD:
            p += 1 + size
        else:
            size, p = read_compact_size(raw, p)
            p += size
    return p


def scan_tx(raw: bytes, start: int, in_pos: list[int], out_pos: list[int]) -> tuple[int, int, int]:
    """Scan the transaction at ``start``; returns ``(body, witness, end)``.

    ``raw[body:witness]`` is inputs and outputs with their counts, ``raw[witness:end - 4]`` the witness stacks
    (empty for a transaction without), ``raw[end - 4:end]`` the lock time. ``body`` is ``start + 4``, or
    ``start + 6`` in the BIP144 form. The offsets of inputs and txouts are appended to the two lists.

    Raises DecodeError as Core's deserialisation fails: truncation, non-canonical sizes, a witness
    that is all empty, unknown flags. IndexError never escapes.
    """
    end = len(raw)
    try:
        body = start + 4
        count = raw[body]
        p = body + 1
        if count >= 0xFD:
            count, p = read_compact_size(raw, body)
        flags = 0
        if not count:
            flags = raw[p]
            if not flags:  # an empty list of inputs and nothing else: decodable, never valid
                if p + 5 > end:
                    raise DecodeError("DataStream::read(): end of data: truncated transaction")
                return body, p + 1, p + 5
            body = p + 1
            count, p = read_compact_size(raw, body)
        for _ in range(count):  # ``_skip_inputs``, ``_skip_outputs`` without calls: a fifth of the time
            in_pos.append(p)
            size = raw[p + 36]
            if size < 0xFD:
                p += 41 + size
            else:
                size, p = read_compact_size(raw, p + 36)
                p += size + 4
        outputs = raw[p]
        p += 1
        if outputs >= 0xFD:
            outputs, p = read_compact_size(raw, p - 1)
        for _ in range(outputs):
            out_pos.append(p)
            size = raw[p + 8]
            if size < 0xFD:
                p += 9 + size
            else:
                size, p = read_compact_size(raw, p + 8)
                p += size
        witness = p
        if flags & 1:
            p = _scan_witness(raw, p, count)
        if flags & ~1:
            raise DecodeError("Unknown transaction optional data")
    except IndexError:
        raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
    if p + 4 > end:
        raise DecodeError("DataStream::read(): end of data: truncated transaction")
    return body, witness, p + 4


def _scan_body_in_steps(raw: bytes, p: int) -> Steps[tuple[int, int]]:
    """The number of inputs, and the offset after the outputs of the body at ``p``."""
    count, p = read_compact_size(raw, p)
    for left in range(count, 0, -STEP):
        p = _skip_inputs(raw, p, min(left, STEP))
        if left > STEP:
            yield
    outputs, p = read_compact_size(raw, p)
    for left in range(outputs, 0, -STEP):
        p = _skip_outputs(raw, p, min(left, STEP))
        if left > STEP:
            yield
    return count, p


def _scan_witness_in_steps(raw: bytes, p: int, count: int) -> Steps[int]:
    total, room = 0, STEP
    for _ in range(count):
        items, p = read_compact_size(raw, p)
        total += items
        while items:
            if not room:
                yield
                room = STEP
            some = min(items, room)
            p = _skip_elements(raw, p, some)
            items -= some
            room -= some
    if not total:
        raise DecodeError("Superfluous witness record")
    return p


def scan_tx_in_steps(raw: bytes, start: int) -> Steps[int]:
    """The offset after the transaction at ``start``; raises DecodeError, as ``scan_tx`` does."""
    try:
        if raw[start + 4]:
            _, p = yield from _scan_body_in_steps(raw, start + 4)
        elif not (flags := raw[start + 5]):
            p = start + 6
        else:
            count, p = yield from _scan_body_in_steps(raw, start + 6)
            if flags & 1:
                p = yield from _scan_witness_in_steps(raw, p, count)
            if flags & ~1:
                raise DecodeError("Unknown transaction optional data")
    except IndexError:
        raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
    if p + 4 > len(raw):
        raise DecodeError("DataStream::read(): end of data: truncated transaction")
    return p + 4


def stripped(raw: bytes) -> bytes:
    """A serialised transaction without the witness that it has, which is not looked at; raises DecodeError for none."""
    return at_once(_stripped_in_steps(raw))


def _stripped_in_steps(raw: bytes) -> Steps[bytes]:
    try:
        _, p = yield from _scan_body_in_steps(raw, 6)
    except IndexError:
        raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
    if p + 4 > len(raw):
        raise DecodeError("DataStream::read(): end of data: truncated transaction")
    return raw[:4] + raw[6:p] + raw[-4:]


def txid_in_steps(raw: bytes) -> Steps[bytes]:
    """The txid of a serialised transaction whose witness is not looked at; raises DecodeError for no transaction."""
    if len(raw) > 4 and raw[4]:
        return sha256d(raw)
    return sha256d((yield from _stripped_in_steps(raw)))
