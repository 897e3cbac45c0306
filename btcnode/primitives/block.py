"""Blocks as bytes and columns.

``parse_block`` passes once over the bytes and keeps offsets in flat lists; validation slices what it needs.
An object for each field exists only when somebody asks (``ParsedBlock.tx``).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from btcnode.compiled import current
from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.primitives.header import HEADER_SIZE, Header
from btcnode.primitives.scan import scan_tx
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx

if TYPE_CHECKING:
    from btcnode.compiled.kernels import Facts

MIN_TX_SIZE = 10  # version, two counts, lock time: bounds the count before anything is allocated
SEGWIT_MARKER_SIZE = 2
TXS_IN_STEP = 500  # about two milliseconds
TXS_FOR_KERNEL = 12  # fewer are scanned in less time than it takes to call one
TXS_AT_ONCE = 30_000  # the smallest that there are take a kernel and the making of lists 25 milliseconds


class ParsedBlock:
    """A serialised block and the columns that validation reads.

    Flat lists over all transactions; those of transaction ``i`` are the slices given by ``first_in``/``first_out``:

    - ``tx_pos[i]:tx_pos[i + 1]``: its bytes in ``raw`` (``n_tx + 1`` entries)
    - ``body_pos[i]``, ``witness_pos[i]``: see ``scan_tx``; it has a witness when ``body_pos[i] - tx_pos[i] == 6``
    - ``in_pos[first_in[i]:first_in[i + 1]]``: offsets of its inputs (prevout, script_sig, sequence)
    - ``out_pos[first_out[i]:first_out[i + 1]]``: offsets of its txouts
    - ``txids[i]``, ``wtxids[i]``: internal order; the same object when there is no witness
    """

    __slots__ = (
        "body_pos",
        "facts",
        "first_in",
        "first_out",
        "hash",
        "in_pos",
        "legacy_sigops",
        "n_tx",
        "out_pos",
        "raw",
        "stripped_size",
        "tx_pos",
        "txids",
        "witness_pos",
        "witness_root",
        "wtxids",
    )  # fmt: skip

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.hash = BlockHash(sha256d(raw[:HEADER_SIZE]))
        self.n_tx = 0
        self.tx_pos: list[int] = []
        self.body_pos: list[int] = []
        self.witness_pos: list[int] = []
        self.in_pos: list[int] = []
        self.out_pos: list[int] = []
        self.first_in: list[int] = [0]
        self.first_out: list[int] = [0]
        self.txids: list[bytes] = []
        self.wtxids: list[bytes] = []
        self.stripped_size = 0
        self.legacy_sigops = -1  # filled in by the first who counts them
        self.witness_root = b""  # and this by the first who works it out
        self.facts: Facts | None = None  # known where a kernel has scanned the block

    @property
    def header(self) -> Header:
        """The header's fields."""
        return Header.parse(self.raw[:HEADER_SIZE])

    @property
    def prev_hash(self) -> BlockHash:
        """Hash of the parent."""
        return BlockHash(self.raw[4:36])

    @property
    def size(self) -> int:
        """Bytes with witness."""
        return len(self.raw)

    @property
    def weight(self) -> int:
        """BIP141 weight: three times the stripped size plus the whole size."""
        return 3 * self.stripped_size + len(self.raw)

    def tx_raw(self, i: int) -> bytes:
        """The bytes of transaction ``i``."""
        return self.raw[self.tx_pos[i] : self.tx_pos[i + 1]]

    def tx_stripped(self, i: int) -> bytes:
        """The same without witness."""
        raw, start, end = self.raw, self.tx_pos[i], self.tx_pos[i + 1]
        if self.body_pos[i] - start == 4:  # no marker
            return raw[start:end]
        return b"".join((raw[start : start + 4], raw[self.body_pos[i] : self.witness_pos[i]], raw[end - 4 : end]))

    def tx(self, i: int) -> Tx:
        """Transaction ``i`` as columns of its own."""
        return Tx.parse(self.tx_raw(i))

    def prevouts(self) -> list[bytes]:
        """The 36-byte outpoint of every input in block order, the coinbase's included."""
        raw = self.raw
        return [raw[p : p + 36] for p in self.in_pos]


def parse_block(raw: bytes, *, exact: bool = True) -> ParsedBlock:
    """Parse a serialised block in one pass.

    Raises DecodeError for anything that Core's deserialisation refuses. Bytes left over are refused too, unless
    ``exact`` is False: then they are cut off, as Core does with what peers and submitblock bring.
    """
    block, p = _begun(raw)
    end = _scan_at_once(block, p)
    return _ended(block, _scan(block, p, block.n_tx) if end is None else end, exact=exact)


def parse_block_in_steps(raw: bytes) -> Steps[ParsedBlock]:
    """The same in steps, without ``exact``."""
    block, p = _begun(raw)
    end = _scan_at_once(block, p) if block.n_tx <= TXS_AT_ONCE else None
    if end is not None:
        return _ended(block, end, exact=False)
    for at in range(0, block.n_tx, TXS_IN_STEP):
        if at:
            yield
        p = _scan(block, p, min(TXS_IN_STEP, block.n_tx - at))
    return _ended(block, p, exact=False)


def _begun(raw: bytes) -> tuple[ParsedBlock, int]:
    """A block without transactions that has their number, and where they begin; raises DecodeError."""
    if len(raw) <= HEADER_SIZE:
        raise DecodeError("DataStream::read(): end of data: truncated block")
    block = ParsedBlock(raw)
    block.n_tx, p = read_compact_size(raw, HEADER_SIZE)
    if block.n_tx * MIN_TX_SIZE > len(raw):
        raise DecodeError("DataStream::read(): end of data: truncated block")
    block.stripped_size = p
    return block, p


def _scan_at_once(block: ParsedBlock, p: int) -> int | None:
    """Take the columns that a kernel makes of all transactions from ``p`` on; where they end, None without one."""
    kernels = current()
    if kernels is None or block.n_tx < TXS_FOR_KERNEL:
        return None
    scanned = kernels.scan_block(block.raw, p, block.n_tx)
    if scanned is None:
        return None
    block.stripped_size, block.facts = scanned.stripped, scanned.facts
    block.tx_pos, block.body_pos, block.witness_pos = scanned.tx_pos, scanned.body_pos, scanned.witness_pos
    block.first_in, block.first_out = scanned.first_in, scanned.first_out
    block.in_pos, block.out_pos = scanned.in_pos, scanned.out_pos
    block.txids, block.wtxids = scanned.txids, scanned.wtxids
    return scanned.end


def _scan(block: ParsedBlock, p: int, count: int) -> int:
    """Take the next ``count`` transactions, which begin at ``p``; where they end. Raises DecodeError."""
    raw, stripped = block.raw, block.stripped_size
    tx_pos, body_pos, witness_pos = block.tx_pos, block.body_pos, block.witness_pos
    in_pos, out_pos, first_in, first_out = block.in_pos, block.out_pos, block.first_in, block.first_out
    txids, wtxids = block.txids, block.wtxids
    for _ in range(count):
        body, witness, end = scan_tx(raw, p, in_pos, out_pos)
        tx_pos.append(p)
        body_pos.append(body)
        witness_pos.append(witness)
        first_in.append(len(in_pos))
        first_out.append(len(out_pos))
        wtxid = sha256(sha256(raw[p:end]).digest()).digest()
        wtxids.append(wtxid)
        if body - p == 4:
            txids.append(wtxid)
            stripped += end - p
        else:
            core = b"".join((raw[p : p + 4], raw[body:witness], raw[end - 4 : end]))
            txids.append(sha256(sha256(core).digest()).digest())
            stripped += len(core)
        p = end
    block.stripped_size = stripped
    return p


def _ended(block: ParsedBlock, p: int, *, exact: bool) -> ParsedBlock:
    """The block whose transactions end at ``p``; raises DecodeError."""
    size = len(block.raw)
    if p != size:
        if exact:
            raise DecodeError(f"{size - p} bytes left over after the block")
        block.raw = block.raw[:p]
    block.tx_pos.append(p)
    return block
