"""The coins that a block spends, as peers tell them (draft of rustaceanrob/swiftsync-bips, version 0).

A CompactSize with their number, then for each ``index[u32 LE] code[u32 LE] script amount``: which input of the block
it is for (the coinbase's is not counted), height and coinbase flag as in a packed coin, a script in the reconstructable
form, and the compressed amount (Core's CompressAmount) as a CompactSize. A script is one byte for its kind and what is
not the same in all scripts of that kind; kind 0 has any script behind its CompactSize.
"""

from __future__ import annotations

from collections.abc import Iterator

from btcnode.errors import DecodeError
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.script.signatures import uncompressed_pubkey
from btcnode.storage.undo import MAX_SCRIPT_SIZE, SPECIAL_SCRIPTS, decompress_amount, read_varint
from btcnode.wire.constants import MIN_SPENT_COIN_SIZE

MAX_AMOUNT_CODE = 2**64 - 1

# kind -> bytes of its own, and what stands before and behind them in a txout: the size's byte first
_KINDS: dict[int, tuple[int, bytes, bytes]] = {
    1: (20, b"\x19\x76\xa9\x14", b"\x88\xac"),  # P2PKH
    2: (32, b"\x23\x21\x02", b"\xac"),  # P2PK
    3: (32, b"\x23\x21\x03", b"\xac"),
    4: (64, b"\x43\x41\x04", b"\xac"),
    5: (20, b"\x17\xa9\x14", b"\x87"),  # P2SH
    6: (32, b"\x22\x00\x20", b""),  # P2WSH
    7: (20, b"\x16\x00\x14", b""),  # P2WPKH
    8: (32, b"\x22\x51\x20", b""),  # P2TR
}
_PLAIN = ((34, b"\x00\x20", b"\x06"), (22, b"\x00\x14", b"\x07"), (34, b"\x51\x20", b"\x08"))
_FORMS = [(head[1:], tail, size + len(head) - 1 + len(tail), kind) for kind, (size, head, tail) in _KINDS.items()]


def encode_script(script: bytes) -> bytes:
    """A script in the reconstructable form."""
    for head, tail, size, kind in _FORMS:
        if len(script) == size and script.startswith(head) and script.endswith(tail):
            return bytes((kind,)) + script[len(head) : size - len(tail)]
    return b"\x00" + compact_size(len(script)) + script


def _script_of_undo(kind: int, body: bytes) -> bytes:
    """The same of a script that is compressed as in undo data: its kind there, and the bytes behind that."""
    if kind >= SPECIAL_SCRIPTS:
        for size, head, mark in _PLAIN:
            if len(body) == size and body.startswith(head):
                return mark + body[2:]
        return encode_script(body)
    if kind < 2:
        return (b"\x05" if kind else b"\x01") + body
    if kind < 4:
        return bytes((kind,)) + body
    try:
        return uncompressed_pubkey(bytes((kind - 2,)) + body)
    except ValueError:
        raise DecodeError("compressed script with an x that is not on the curve") from None


def spent_of_undo(undo: bytes, cutoff: int) -> Iterator[tuple[int, bytes]]:
    """For each transaction of serialised undo data (CBlockUndo) the number of its coins, and these as they are told.

    Only coins of blocks below ``cutoff`` are told, unless that is 0. Raises DecodeError.
    """
    count, pos = read_compact_size(undo, 0)
    index = 0
    for _ in range(count):
        inputs, pos = read_compact_size(undo, pos)
        parts: list[bytes] = []
        told = 0
        for _ in range(inputs):
            code, pos = read_varint(undo, pos, 0xFFFFFFFF)
            if code > 1:
                _, pos = read_varint(undo, pos, 0xFFFFFFFF)
            amount, pos = read_varint(undo, pos)
            kind, pos = read_varint(undo, pos)
            end = pos + (kind - SPECIAL_SCRIPTS if kind >= SPECIAL_SCRIPTS else 20 if kind < 2 else 32)
            if end > len(undo):
                raise DecodeError("truncated script")
            if not cutoff or code >> 1 < cutoff:
                head = index.to_bytes(4, "little") + code.to_bytes(4, "little")
                parts += (head, _script_of_undo(kind, undo[pos:end]), compact_size(amount))
                told += 1
            index += 1
            pos = end
        yield told, b"".join(parts)
    if pos != len(undo):
        raise DecodeError(f"{len(undo) - pos} bytes left over after the undo data")


def count_spent(data: bytes) -> int:
    """How many coins there are said to be, at most as many as fit; 0 where not even that can be read."""
    try:
        return min(read_compact_size(data, 0)[0], len(data) // MIN_SPENT_COIN_SIZE)
    except DecodeError:
        return 0


def decode_spent(data: bytes, inputs: int) -> list[bytes]:
    """The packed coins of a block with so many ``inputs``, all told and in order; raises DecodeError."""
    count, pos = read_compact_size(data, 0)
    if count != inputs:
        raise DecodeError(f"{count} spent coins of a block with {inputs} inputs")
    coins: list[bytes] = []
    kinds = _KINDS
    try:
        for index in range(count):
            if int.from_bytes(data[pos : pos + 4], "little") != index:
                raise DecodeError(f"another coin than that of input {index}")
            code, kind = data[pos + 4 : pos + 8], data[pos + 8]
            if kind in kinds:
                size, head, tail = kinds[kind]
                end = pos + 9 + size
                script = head + data[pos + 9 : end] + tail
            elif kind:
                raise DecodeError(f"a script of kind {kind}")
            else:
                size, start = read_compact_size(data, pos + 9, MAX_SCRIPT_SIZE)
                end = start + size
                script = data[pos + 9 : end]
            amount = data[end]
            pos = end + 1
            if amount >= 0xFD:
                amount, pos = read_compact_size(data, end, MAX_AMOUNT_CODE)
            value = decompress_amount(amount)
            if value > MAX_MONEY:
                raise DecodeError("an amount above all money")
            coins.append(code + value.to_bytes(8, "little") + script)
    except IndexError:
        raise DecodeError("spent coins that are cut off") from None
    if pos != len(data):
        raise DecodeError("spent coins of another length")
    return coins
