"""Kernel: one pass over a serialised block: where everything is, txids and wtxids, and what most rules ask of it.

It finds what ``primitives.scan`` and the rules of ``consensus`` would find. Whatever is out of the ordinary, a fault
above all, is left to these: the kernel then says only that it does not know.
"""

from __future__ import annotations

from btcnode.compiled.hashing import hash_sha256d, same32
from btcnode.compiled.memory import clear, copy, load8, load16, load32, load64, store32, store64

UNKNOWN = -1  # the answer of a kernel that leaves it to others

# the columns, as addresses one behind the other; u32 but for the hashes
TX_POS, BODY_POS, WITNESS_POS, FIRST_IN, FIRST_OUT, IN_POS, OUT_POS, TXIDS, WTXIDS, ROOM, ODD = range(11)

# what was found, as i64 one behind the other
END, INPUTS, OUTPUTS, STRIPPED, SIGOPS, SOUND, LOCK_HEIGHT, LOCK_TIME, ODD_OUTPUTS = range(9)
FINDINGS = 9

_MAX_SIZE = 0x02000000
_MAX_MONEY = 2_100_000_000_000_000
_LOCKTIME_THRESHOLD = 500_000_000
_FINAL = 0xFFFFFFFF
_PROBES = 32  # places of the table that are looked at for one prevout: somebody may have made them collide
_OP_RETURN = 0x6A


def read_compact(raw: int, at: int, end: int) -> tuple[int, int]:
    """The CompactSize at offset ``at`` and the offset behind it; the first is UNKNOWN where it is none."""
    if at >= end:
        return UNKNOWN, at
    value = load8(raw + at)
    if value < 0xFD:
        return value, at + 1
    if value == 0xFD:
        if at + 3 > end:
            return UNKNOWN, at
        value = load16(raw + at + 1)
        return (value, at + 3) if value >= 0xFD else (UNKNOWN, at)
    if value == 0xFE:
        if at + 5 > end:
            return UNKNOWN, at
        value = load32(raw + at + 1)
        return (value, at + 5) if 0x10000 <= value <= _MAX_SIZE else (UNKNOWN, at)
    return UNKNOWN, at  # more than anything may have


def skip_stack(raw: int, at: int, end: int) -> int:
    """The offset behind the stack of one input, or UNKNOWN."""
    items, at = read_compact(raw, at, end)
    if items < 0:
        return UNKNOWN
    for _ in range(items):
        size, at = read_compact(raw, at, end)
        at += size
        if size < 0 or at > end:
            return UNKNOWN
    return at


def skip_witness(raw: int, at: int, end: int, inputs: int) -> int:
    """The offset behind the stacks of so many inputs; UNKNOWN where they do not end, or where all are empty."""
    start = at
    for _ in range(inputs):
        at = skip_stack(raw, at, end)
        if at < 0:
            return UNKNOWN
    return at if at - start > inputs else UNKNOWN  # an empty stack is one byte


def count_legacy_sigops(script: int, size: int) -> int:
    """Signature operations of a script, CHECKMULTISIG counting 20, as far as it can be decoded."""
    total = at = 0
    while at < size:
        op = load8(script + at)
        at += 1
        if op <= 75:
            at += op
        elif op == 76:
            at += 1 + load8(script + at) if at + 1 <= size else size
        elif op == 77:
            at += 2 + load16(script + at) if at + 2 <= size else size
        elif op == 78:
            at += 4 + load32(script + at) if at + 4 <= size else size
        elif op == 0xAC or op == 0xAD:
            total += 1
        elif op == 0xAE or op == 0xAF:
            total += 20
    return total


def place_inputs(raw: int, at: int, end: int, count: int, column: int) -> int:
    """Note in ``column`` where ``count`` inputs are; the offset behind them, or UNKNOWN."""
    for k in range(count):
        if at + 41 > end:
            return UNKNOWN
        store32(column + (k << 2), at)
        size, at = read_compact(raw, at + 36, end)
        at += size + 4
        if size < 0 or at > end:
            return UNKNOWN
    return at


def place_outputs(raw: int, at: int, end: int, count: int, column: int) -> int:
    """The same of outputs."""
    for k in range(count):
        if at + 9 > end:
            return UNKNOWN
        store32(column + (k << 2), at)
        size, at = read_compact(raw, at + 8, end)
        at += size
        if size < 0 or at > end:
            return UNKNOWN
    return at


def _judge_inputs(raw: int, end: int, count: int, column: int) -> tuple[int, int]:
    """Sigops of ``count`` inputs, and 1 where each sequence is final."""
    sigops, final = 0, 1
    for k in range(count):
        size, at = read_compact(raw, load32(column + (k << 2)) + 36, end)
        if size:
            sigops += count_legacy_sigops(raw + at, size)
        if load32(raw + at + size) != _FINAL:
            final = 0
    return sigops, final


def _judge_outputs(raw: int, end: int, count: int, column: int, number: int, to: int) -> tuple[int, int, int]:
    """Sigops of ``count`` outputs, satoshi (UNKNOWN where one or their sum is out of range), and how many are odd.

    Odd is an output that may be one that nobody can spend: the numbers of those, the first output having ``number``,
    are written at ``to``.
    """
    sigops = total = odd = 0
    for k in range(count):
        place = load32(column + (k << 2))
        value = load64(raw + place)
        if value < 0 or value > _MAX_MONEY or total < 0 or total + value > _MAX_MONEY:
            total = UNKNOWN  # and no sum ever comes near to what 64 bits hold
        else:
            total += value
        size, at = read_compact(raw, place + 8, end)
        if size:
            if load8(raw + at) == _OP_RETURN or size >= 0xFD:
                store32(to + (odd << 2), number + k)
                odd += 1
            sigops += count_legacy_sigops(raw + at, size)
    return sigops, total, odd


def _hash_tx(
    env: int, raw: int, start: int, body: int, witness: int, end: int, room: int, to: int, with_to: int
) -> int:
    """Write a transaction's txid and wtxid; its size without witness."""
    hash_sha256d(env, raw + start, end - start, with_to)
    if body - start == 4:
        copy(to, with_to, 32)
        return end - start
    size = witness - body
    copy(room, raw + start, 4)
    copy(room + 4, raw + body, size)
    copy(room + 4 + size, raw + end - 4, 4)
    hash_sha256d(env, room, size + 8, to)
    return size + 8


def find_body(raw: int, start: int, end: int) -> tuple[int, int, int, int]:
    """The body of the transaction at ``start``: its offset (or UNKNOWN), the number of inputs, the offset behind that
    number, and 1 for the form with witness, else 0.
    """
    body = start + 4
    count, at = read_compact(raw, body, end)
    if count > 0:
        return body, count, at, 0
    if count < 0 or at >= end or load8(raw + at) != 1:
        return UNKNOWN, 0, start, 0
    body = at + 1
    count, at = read_compact(raw, body, end)
    if count < 0:
        return UNKNOWN, 0, start, 0
    return body, count, at, 1


def outline(raw: int, start: int, end: int, in_pos: int, out_pos: int) -> tuple[int, int, int, int, int, int, int]:
    """Where the parts of the transaction at ``start`` are, with each input and output noted in its column.

    The body, the number of inputs, the offset behind these, the number of outputs, the witness, the lock time (UNKNOWN
    for what is no transaction), and 1 for the form with witness, else 0.
    """
    body, inputs, at, flags = find_body(raw, start, end)
    after = place_inputs(raw, at, end, inputs, in_pos)
    outputs, at = (UNKNOWN, 0) if body < 0 or after < 0 else read_compact(raw, after, end)
    witness = UNKNOWN if outputs < 0 else place_outputs(raw, at, end, outputs, out_pos)
    at = skip_witness(raw, witness, end, inputs) if flags and witness >= 0 else witness
    return body, inputs, after, outputs, witness, at if at + 4 <= end else UNKNOWN, flags


def scan_block(env: int, raw: int, at: int, end: int, n_tx: int, columns: int, found: int) -> int:
    """Scan ``n_tx`` transactions at offset ``at`` of the block that ends at ``end`` or before; 0, or UNKNOWN.

    ``columns`` are addresses of room for each column: the hashes' for ``n_tx``, those of inputs and outputs for as
    many as fit into the block, ROOM as long as the block. ``found`` is filled as the names above say.
    """
    tx_pos, body_pos = load64(columns + 8 * TX_POS), load64(columns + 8 * BODY_POS)
    witness_pos, room = load64(columns + 8 * WITNESS_POS), load64(columns + 8 * ROOM)
    first_in, first_out = load64(columns + 8 * FIRST_IN), load64(columns + 8 * FIRST_OUT)
    in_pos, out_pos = load64(columns + 8 * IN_POS), load64(columns + 8 * OUT_POS)
    txids, wtxids = load64(columns + 8 * TXIDS), load64(columns + 8 * WTXIDS)
    odd_outputs = load64(columns + 8 * ODD)
    inputs = outputs = sigops = total = lock_height = lock_time = odd = 0
    sound, stripped = 1, at
    store32(first_in, 0)
    store32(first_out, 0)
    for i in range(n_tx):
        start = at
        in_column, out_column = in_pos + (inputs << 2), out_pos + (outputs << 2)
        body, count, _, outs, witness, at, _ = outline(raw, start, end, in_column, out_column)
        if at < 0:
            return UNKNOWN
        more, final = _judge_inputs(raw, end, count, in_column)
        others, value, lost = _judge_outputs(raw, end, outs, out_column, outputs, odd_outputs + (odd << 2))
        sigops += more + others
        inputs += count
        outputs += outs
        odd += lost
        lock = load32(raw + at)
        at += 4
        if lock and not final:
            if lock < _LOCKTIME_THRESHOLD:
                lock_height = max(lock_height, lock)
            else:
                lock_time = max(lock_time, lock)
        total += value
        if value < 0 or total > _MAX_MONEY or count == 0 or outs == 0:
            sound, total = 0, 0
        store32(tx_pos + (i << 2), start)
        store32(body_pos + (i << 2), body)
        store32(witness_pos + (i << 2), witness)
        store32(first_in + (i << 2) + 4, inputs)
        store32(first_out + (i << 2) + 4, outputs)
        stripped += _hash_tx(env, raw, start, body, witness, at, room, txids + (i << 5), wtxids + (i << 5))
    store64(found + 8 * END, at)
    store64(found + 8 * INPUTS, inputs)
    store64(found + 8 * OUTPUTS, outputs)
    store64(found + 8 * STRIPPED, stripped)
    store64(found + 8 * SIGOPS, sigops)
    store64(found + 8 * SOUND, sound)
    store64(found + 8 * LOCK_HEIGHT, lock_height)
    store64(found + 8 * LOCK_TIME, lock_time)
    store64(found + 8 * ODD_OUTPUTS, odd)
    return 0


def _is_null(prevout: int) -> bool:
    return (
        load32(prevout + 32) == 0xFFFFFFFF
        and load64(prevout) == 0
        and load64(prevout + 8) == 0
        and load64(prevout + 16) == 0
        and load64(prevout + 24) == 0
    )


def prove_prevouts(raw: int, in_pos: int, count: int, table: int, bits: int) -> int:
    """1 where the first of ``count`` inputs, and no other, spends the null outpoint and no two spend the same; else 0.

    0 may also mean that it was not found out. ``table`` has room for ``1 << bits`` u32, more than twice as many as
    there are inputs.
    """
    clear(table, 4 << bits)
    mask = (1 << bits) - 1
    if count == 0 or not _is_null(raw + load32(in_pos)):
        return 0
    for k in range(1, count):
        prevout = raw + load32(in_pos + (k << 2))
        vout = load32(prevout + 32)
        if vout == 0xFFFFFFFF and _is_null(prevout):
            return 0
        slot = (load64(prevout + 8) ^ (vout * 0x9E3779B1)) & mask
        probes = 0
        other = load32(table + (slot << 2))
        while other:
            before = raw + load32(in_pos + (other << 2))
            if (load32(before + 32) == vout and same32(before, prevout)) or probes == _PROBES:
                return 0
            probes += 1
            slot = (slot + 1) & mask
            other = load32(table + (slot << 2))
        store32(table + (slot << 2), k)
    return 1
