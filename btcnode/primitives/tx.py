"""A transaction as its bytes and columns.

``Tx`` is one object with a few lists: fast enough for script verification, readable enough for people
(``inputs``/``outputs`` give one object per field on demand).
"""

from __future__ import annotations

from typing import NamedTuple

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import Txid, Wtxid, sha256d

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
        "_raw",
        "_txid",
        "_wtxid",
        "lock_time",
        "prevouts",
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
        body = self._serialize_body()
        self._body = body if any(self.witnesses) else b""
        self._raw: bytes | None = self._serialize(body)

    @classmethod
    def parse(cls, raw: bytes) -> Tx:
        """Decode exactly one transaction; raises DecodeError, also for bytes left over."""
        tx, end = cls.parse_at(raw, 0)
        if end != len(raw):
            raise DecodeError(f"{len(raw) - end} bytes left over after the transaction")
        return tx

    @classmethod
    def parse_at(cls, raw: bytes, start: int) -> tuple[Tx, int]:
        """Decode the transaction at ``start``; returns it and the offset after it.

        Refuses what ``scan_tx`` refuses, which proves the same for a block without slicing; here one pass does both.
        """
        try:
            body = start + 4
            count = raw[body]
            p = body + 1
            flags = 0
            if not count:
                flags = raw[p]
                if flags:
                    body = p + 1
                    count = raw[body]
                    p = body + 1
            if count >= 0xFD:
                count, p = read_compact_size(raw, body)
            prevouts: list[bytes] = []
            scripts: list[bytes] = []
            sequences: list[int] = []
            for _ in range(count):
                at = p + 36
                prevouts.append(raw[p:at])
                size = raw[at]
                p = at + 1
                if size >= 0xFD:
                    size, p = read_compact_size(raw, at)
                at = p + size
                scripts.append(raw[p:at])
                p = at + 4
                sequences.append(int.from_bytes(raw[at:p], "little"))
            outputs = raw[p]
            p += 1
            if outputs >= 0xFD:
                outputs, p = read_compact_size(raw, p - 1)
            txouts: list[bytes] = []
            for _ in range(outputs):
                size = raw[p + 8]
                if size < 0xFD:
                    at = p + 9 + size
                else:
                    size, at = read_compact_size(raw, p + 8)
                    at += size
                txouts.append(raw[p:at])
                p = at
            witness = p
            witnesses: list[list[bytes]] = []
            if flags & 1:
                witnesses, p = _read_witnesses(raw, p, count)
            if flags & ~1:
                raise DecodeError("Unknown transaction optional data")
        except IndexError:
            raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
        end = p + 4
        if end > len(raw):
            raise DecodeError("DataStream::read(): end of data: truncated transaction")
        tx = cls.__new__(cls)
        tx._raw = raw if start == 0 and end == len(raw) else raw[start:end]
        tx.version = int.from_bytes(raw[start : start + 4], "little")
        tx.lock_time = int.from_bytes(raw[p:end], "little")
        tx._txid = tx._wtxid = None
        tx._body = raw[body:witness] if flags else b""
        tx.prevouts = prevouts
        tx.script_sigs = scripts
        tx.sequences = sequences
        tx.txouts = txouts
        tx.witnesses = witnesses
        return tx, end

    @property
    def raw(self) -> bytes:
        """The serialised transaction."""
        raw = self._raw
        return raw if raw is not None else self._serialize(self._serialize_body())

    def keep_columns_only(self) -> None:
        """Free the bytes as a whole: ``raw`` is put together of the columns from now on, each time it is asked for.

        For large transactions that are kept for long. Computes the hashes before.
        """
        if self._raw is None:
            return
        assert self.txid and self.wtxid
        self._raw, self._body = None, b""
        self.prevouts, self.script_sigs, self.sequences = self.prevouts[:], self.script_sigs[:], self.sequences[:]
        self.txouts, self.witnesses = self.txouts[:], [stack[:] for stack in self.witnesses]  # lists of exact size

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
        raw = self._raw
        if raw is None:
            version, lock = self._ends()
            return version + self._serialize_body() + lock
        if not self._body:
            return raw
        return b"".join((raw[:4], self._body, raw[-4:]))

    def _ends(self) -> tuple[bytes, bytes]:
        return self.version.to_bytes(4, "little"), self.lock_time.to_bytes(4, "little")

    def _serialize_body(self) -> bytes:
        """Inputs and outputs."""
        parts = [compact_size(len(self.prevouts))]
        for prevout, script, sequence in zip(self.prevouts, self.script_sigs, self.sequences, strict=True):
            parts += (prevout, compact_size(len(script)), script, sequence.to_bytes(4, "little"))
        parts.append(compact_size(len(self.txouts)))
        parts += self.txouts
        return b"".join(parts)

    def _serialize(self, body: bytes) -> bytes:
        """Build the bytes around the body (BIP144 form when there is a witness)."""
        version, lock = self._ends()
        if not any(self.witnesses):
            return version + body + lock
        stacks = []
        for stack in self.witnesses:
            stacks.append(compact_size(len(stack)))
            for item in stack:
                stacks += (compact_size(len(item)), item)
        return b"".join((version, b"\x00\x01", body, *stacks, lock))


def _read_witnesses(raw: bytes, pos: int, count: int) -> tuple[list[list[bytes]], int]:
    """``count`` witness stacks and the position after them; raises DecodeError when all are empty."""
    stacks: list[list[bytes]] = []
    total = 0
    for _ in range(count):
        items = raw[pos]
        pos += 1
        if items >= 0xFD:
            items, pos = read_compact_size(raw, pos - 1)
        total += items
        stack = []
        for _ in range(items):
            size = raw[pos]
            pos += 1
            if size >= 0xFD:
                size, pos = read_compact_size(raw, pos - 1)
            end = pos + size
            stack.append(raw[pos:end])
            pos = end
        stacks.append(stack)
    if not total:
        raise DecodeError("Superfluous witness record")
    return stacks, pos
