"""A transaction as its bytes and columns.

``Tx`` is one object with a few lists: fast enough for script verification, readable enough for people
(``inputs``/``outputs`` give one object per field on demand).
"""

from __future__ import annotations

from typing import NamedTuple

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import Txid, Wtxid, sha256d
from btcnode.primitives.scan import scan_tx

NULL_OUTPOINT = bytes(32) + b"\xff\xff\xff\xff"
SEQUENCE_FINAL = 0xFFFFFFFF


class TxInput(NamedTuple):
    """One input: 36-byte outpoint, script_sig, sequence and witness stack."""

    prevout: bytes
    script_sig: bytes
    sequence: int
    witness: list[bytes]


class TxOutput(NamedTuple):
    """One output: value in satoshi and script_pubkey."""

    value: int
    script_pubkey: bytes


class Tx:
    """A transaction: columns over its inputs and outputs, all in serialised order.

    ``version`` is unsigned 32 bits as Core 28 and later read it; ``prevouts`` are 36-byte outpoints,
    ``txouts`` serialised outputs (``value[i64] + CompactSize + script``), ``witnesses`` one stack per input
    (an empty list of stacks when the transaction has no witness).
    """

    __slots__ = (
        "_body",
        "_txid",
        "_wtxid",
        "lock_time",
        "prevouts",
        "raw",
        "script_sigs",
        "sequences",
        "txouts",
        "version",
        "witnesses",
    )  # fmt: skip

    def __init__(
        self,
        version: int,
        prevouts: list[bytes],
        script_sigs: list[bytes],
        sequences: list[int],
        txouts: list[bytes],
        witnesses: list[list[bytes]] | None = None,
        lock_time: int = 0,
    ) -> None:
        self.version = version
        self.prevouts = prevouts
        self.script_sigs = script_sigs
        self.sequences = sequences
        self.txouts = txouts
        self.witnesses = witnesses or []
        self.lock_time = lock_time
        self._txid: Txid | None = None
        self._wtxid: Wtxid | None = None
        self._body = b""
        self.raw = self._serialize()

    @classmethod
    def parse(cls, raw: bytes) -> Tx:
        """Decode exactly one transaction; raises DecodeError, also for bytes left over."""
        tx, end = cls.parse_at(raw, 0)
        if end != len(raw):
            raise DecodeError(f"{len(raw) - end} bytes left over after the transaction")
        return tx

    @classmethod
    def parse_at(cls, raw: bytes, start: int) -> tuple[Tx, int]:
        """Decode the transaction at ``start``; returns it and the offset after it."""
        in_pos: list[int] = []
        out_pos: list[int] = []
        body, witness, end = scan_tx(raw, start, in_pos, out_pos)
        tx = cls.__new__(cls)
        tx.raw = raw if start == 0 and end == len(raw) else raw[start:end]
        tx.version = int.from_bytes(raw[start : start + 4], "little")
        tx.lock_time = int.from_bytes(raw[end - 4 : end], "little")
        tx._txid = tx._wtxid = None
        tx._body = raw[body:witness] if body - start != 4 else b""
        tx.prevouts = [raw[p : p + 36] for p in in_pos]
        scripts: list[bytes] = []
        sequences: list[int] = []
        for p in in_pos:
            size = raw[p + 36]
            p += 37
            if size >= 0xFD:
                size, p = read_compact_size(raw, p - 1)
            scripts.append(raw[p : p + size])
            p += size
            sequences.append(int.from_bytes(raw[p : p + 4], "little"))
        tx.script_sigs = scripts
        tx.sequences = sequences
        ends = [*out_pos[1:], witness]
        tx.txouts = [raw[a:b] for a, b in zip(out_pos, ends, strict=True)] if out_pos else []
        tx.witnesses = _read_witnesses(raw, witness, len(in_pos)) if body - start != 4 else []
        return tx, end

    @property
    def has_witness(self) -> bool:
        """Whether any input has a witness stack."""
        return any(self.witnesses)

    @property
    def txid(self) -> Txid:
        """Double SHA-256 of the form without witness."""
        if self._txid is None:
            self._txid = Txid(sha256d(self.stripped()))
        return self._txid

    @property
    def wtxid(self) -> Wtxid:
        """Double SHA-256 of the form with witness; equals the txid where there is none."""
        if self._wtxid is None:
            self._wtxid = Wtxid(sha256d(self.raw))
        return self._wtxid

    @property
    def is_coinbase(self) -> bool:
        """One input, and that spends the null outpoint."""
        return len(self.prevouts) == 1 and self.prevouts[0] == NULL_OUTPOINT

    @property
    def weight(self) -> int:
        """BIP141 weight."""
        return 3 * len(self.stripped()) + len(self.raw)

    @property
    def vsize(self) -> int:
        """Virtual size: weight divided by four, rounded up."""
        return (self.weight + 3) // 4

    @property
    def inputs(self) -> list[TxInput]:
        """One object per input, for people."""
        stacks = self.witnesses or [[] for _ in self.prevouts]
        return [TxInput(*parts) for parts in zip(self.prevouts, self.script_sigs, self.sequences, stacks, strict=True)]

    @property
    def outputs(self) -> list[TxOutput]:
        """One object per output, for people."""
        result = []
        for txout in self.txouts:
            size, pos = read_compact_size(txout, 8)
            result.append(TxOutput(int.from_bytes(txout[:8], "little", signed=True), txout[pos : pos + size]))
        return result

    def stripped(self) -> bytes:
        """The serialisation without witness."""
        if not self._body:
            return self.raw
        return b"".join((self.raw[:4], self._body, self.raw[-4:]))

    def _serialize(self) -> bytes:
        """Build ``raw`` from the columns (BIP144 form when there is a witness)."""
        parts = [compact_size(len(self.prevouts))]
        for prevout, script, sequence in zip(self.prevouts, self.script_sigs, self.sequences, strict=True):
            parts += (prevout, compact_size(len(script)), script, sequence.to_bytes(4, "little"))
        parts.append(compact_size(len(self.txouts)))
        parts += self.txouts
        body = b"".join(parts)
        version, lock = self.version.to_bytes(4, "little"), self.lock_time.to_bytes(4, "little")
        if not any(self.witnesses):
            return version + body + lock
        self._body = body
        stacks = []
        for stack in self.witnesses:
            stacks.append(compact_size(len(stack)))
            for item in stack:
                stacks += (compact_size(len(item)), item)
        return b"".join((version, b"\x00\x01", body, *stacks, lock))


def _read_witnesses(raw: bytes, pos: int, count: int) -> list[list[bytes]]:
    """The witness stacks that ``scan_tx`` has found to be well formed."""
    stacks = []
    for _ in range(count):
        items, pos = read_compact_size(raw, pos)
        stack = []
        for _ in range(items):
            size = raw[pos]
            pos += 1
            if size >= 0xFD:
                size, pos = read_compact_size(raw, pos - 1)
            stack.append(raw[pos : pos + size])
            pos += size
        stacks.append(stack)
    return stacks
