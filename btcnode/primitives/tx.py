"""A transaction as its bytes and columns.

``Tx`` is one object with a few lists: fast enough for script verification, readable enough for people
(``inputs``/``outputs`` give one object per field on demand).
"""

from __future__ import annotations

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import Txid, Wtxid, sha256d
from btcnode.primitives.steps import STEP, Steps, joined
from btcnode.tuples import NamedTuple

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

        Raises DecodeError where ``scan_tx`` does, which proves the same for a block without slicing; here one pass does
        both.
        """
        columns = _Columns()
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
            p = columns.read_inputs(raw, p, count)
            outputs = raw[p]
            p += 1
            if outputs >= 0xFD:
                outputs, p = read_compact_size(raw, p - 1)
            witness = p = columns.read_outputs(raw, p, outputs)
            if flags & 1:
                p = columns.read_witnesses(raw, p, count)
            if flags & ~1:
                raise DecodeError("Unknown transaction optional data")
        except IndexError:
            raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
        return cls._made_of(columns, raw, start, p, raw[body:witness] if flags else b"")

    @classmethod
    def parse_in_steps(cls, raw: bytes) -> Steps[Tx]:
        """Decode the transaction at the beginning of ``raw``; raises DecodeError, as ``parse_at`` does."""
        columns = _Columns()
        try:
            flags = 0 if raw[4] else raw[5]
            body = 6 if flags else 4
            count, p = read_compact_size(raw, body)
            for left in range(count, 0, -STEP):
                p = columns.read_inputs(raw, p, min(left, STEP))
                yield
            outputs, p = read_compact_size(raw, p)
            for left in range(outputs, 0, -STEP):
                p = columns.read_outputs(raw, p, min(left, STEP))
                yield
            witness = p
            if flags & 1:
                p = yield from columns.read_witnesses_in_steps(raw, p, count)
            if flags & ~1:
                raise DecodeError("Unknown transaction optional data")
        except IndexError:
            raise DecodeError("DataStream::read(): end of data: truncated transaction") from None
        return cls._made_of(columns, raw, 0, p, raw[body:witness] if flags else b"")[0]

    @classmethod
    def _made_of(cls, columns: _Columns, raw: bytes, start: int, lock: int, body: bytes) -> tuple[Tx, int]:
        """The transaction whose lock time is at ``lock``, and the offset after it."""
        end = lock + 4
        if end > len(raw):
            raise DecodeError("DataStream::read(): end of data: truncated transaction")
        tx = cls.__new__(cls)
        tx._raw = raw if start == 0 and end == len(raw) else raw[start:end]
        tx.version = int.from_bytes(raw[start : start + 4], "little")
        tx.lock_time = int.from_bytes(raw[lock:end], "little")
        tx._txid = tx._wtxid = None
        tx._body = body
        tx.prevouts = columns.prevouts
        tx.script_sigs = columns.script_sigs
        tx.sequences = columns.sequences
        tx.txouts = columns.txouts
        tx.witnesses = columns.witnesses
        return tx, end

    @property
    def raw(self) -> bytes:
        """The serialised transaction."""
        raw = self._raw
        return raw if raw is not None else self._serialize(self._serialize_body())

    def is_hashed(self, raw: bytes, digest: bytes) -> None:
        """``digest`` is the double SHA-256 of ``raw``: not computed again if that is the whole transaction."""
        if raw is self._raw:
            self._wtxid = Wtxid(digest)

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
        return 3 * self.stripped_size + len(self.raw)

    @property
    def stripped_size(self) -> int:
        """Bytes of the serialisation without witness."""
        return len(self._body) + 8 if self._body else len(self.stripped())

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
        return b"".join(parts) if len(parts) <= STEP else joined(parts)

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
        parts = (version, b"\x00\x01", body, *stacks, lock)
        return b"".join(parts) if len(parts) <= STEP else joined(parts)


class _Columns:
    """The parts of a transaction, read one after the other; each method returns the offset behind what it has read."""

    __slots__ = ("prevouts", "script_sigs", "sequences", "txouts", "witnesses")

    def __init__(self) -> None:
        self.prevouts: list[bytes] = []
        self.script_sigs: list[bytes] = []
        self.sequences: list[int] = []
        self.txouts: list[bytes] = []
        self.witnesses: list[list[bytes]] = []

    def read_inputs(self, raw: bytes, p: int, count: int) -> int:
        """``count`` inputs."""
        prevouts, scripts, sequences = self.prevouts, self.script_sigs, self.sequences
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
        return p

    def read_outputs(self, raw: bytes, p: int, count: int) -> int:
        """``count`` outputs."""
        txouts = self.txouts
        for _ in range(count):
            size = raw[p + 8]
            if size < 0xFD:
                at = p + 9 + size
            else:
                size, at = read_compact_size(raw, p + 8)
                at += size
            txouts.append(raw[p:at])
            p = at
        return p

    def read_witnesses(self, raw: bytes, p: int, count: int) -> int:
        """``count`` stacks; raises DecodeError when all are empty."""
        for _ in range(count):
            items = raw[p]
            p += 1
            if items >= 0xFD:
                items, p = read_compact_size(raw, p - 1)
            stack: list[bytes] = []
            p = _read_elements(raw, p, items, stack)
            self.witnesses.append(stack)
        self._check_witness()
        return p

    def read_witnesses_in_steps(self, raw: bytes, p: int, count: int) -> Steps[int]:
        """``count`` stacks; raises DecodeError when all are empty."""
        room = STEP
        for _ in range(count):
            items, p = read_compact_size(raw, p)
            stack: list[bytes] = []
            while items:
                if not room:
                    yield
                    room = STEP
                some = min(items, room)
                p = _read_elements(raw, p, some, stack)
                items -= some
                room -= some
            self.witnesses.append(stack)
        self._check_witness()
        return p

    def _check_witness(self) -> None:
        if not any(self.witnesses):
            raise DecodeError("Superfluous witness record")


def _read_elements(raw: bytes, p: int, count: int, stack: list[bytes]) -> int:
    for _ in range(count):
        size = raw[p]
        p += 1
        if size >= 0xFD:
            size, p = read_compact_size(raw, p - 1)
        end = p + size
        stack.append(raw[p:end])
        p = end
    return p
