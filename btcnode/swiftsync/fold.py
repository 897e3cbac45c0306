"""What a sync without lookups keeps of a block: its share of the sums, and the coins that stay unspent.

All rules that need no coins are checked before: see ``check_alone``. Records of survivors are ``outpoint[36] size[u16
LE] coin``, in the order of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, pairwise
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from btcnode.compiled import current
from btcnode.compiled.folding import KEPT, LOST
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import is_unspendable_at
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import VOUTS, coin_prefix, vout_bytes
from btcnode.swiftsync.elias_fano import decode_indices
from btcnode.swiftsync.sums import MODULUS, SALT_SIZE, column_sum, outpoint_sum, output_sum

if TYPE_CHECKING:
    from btcnode.compiled.kernels import Kernels

RECORD_HEAD = Struct("<36sH")  # outpoint, size of the coin behind it
# salt, height, median time past of the parent; whether the coinbase is lost, whether coins are told; size of the hint,
# number of median times
_JOB = Struct(f"<{SALT_SIZE}sII??II")
_TIME = Struct("<II")
_FOLD = Struct("<IIIIQQ16s16s32s")  # the fields of ``Fold`` in their order, without the records

_VOUTS = b"".join(VOUTS)
_unpack_value = Struct("<Q").unpack_from


class FoldJob(NamedTuple):
    """What is to be known for folding a block beyond its bytes.

    ``median_time`` is the parent's median time past, ``hint`` the block's entry in the hintsfile; ``coinbase_lost``:
    a later block overwrites the outputs of this one's coinbase (BIP30), so that they can never be spent. ``spent`` are
    the coins that the block spends as somebody has told them (``spent_coins.py``), None where nothing is verified that
    needs them; ``times`` then has median times past that are needed, as (height, time).
    """

    salt: bytes
    height: int
    median_time: int
    coinbase_lost: bool
    hint: bytes
    spent: bytes | None = None
    times: tuple[tuple[int, int], ...] = ()

    def pack(self) -> bytes:
        """As bytes."""
        head = (self.salt, self.height, self.median_time, self.coinbase_lost, self.spent is not None)
        times = b"".join([_TIME.pack(*item) for item in self.times])
        return b"".join((_JOB.pack(*head, len(self.hint), len(self.times)), self.hint, times, self.spent or b""))

    @classmethod
    def unpack(cls, data: bytes) -> FoldJob:
        """The inverse of ``pack``; raises DecodeError."""
        if len(data) < _JOB.size:
            raise DecodeError("a job that is too short")
        salt, height, median_time, lost, told, hint_size, count = _JOB.unpack_from(data)
        middle = _JOB.size + hint_size
        end = middle + count * _TIME.size
        if end > len(data) or (end < len(data) and not told):
            raise DecodeError("a job of another length")
        times = tuple(_TIME.iter_unpack(data[middle:end]))
        spent = data[end:] if told else None
        return cls(salt, height, median_time, lost, data[_JOB.size : middle], spent, times)


class Fold(NamedTuple):
    """A folded block: ``size`` of its bytes, counts, and satoshi of the outputs that are ``kept`` as coins or ``lost``.

    ``created`` is the salted sum of the outputs that are spent later, ``spent`` that of the inputs; ``coinbase`` the
    txid of the coinbase, ``coins`` the number of ``records``.
    """

    size: int
    txs: int
    inputs: int
    coins: int
    kept: int
    lost: int
    created: int
    spent: int
    coinbase: bytes
    records: bytes

    def pack(self) -> bytes:
        """As bytes."""
        numbers = (self.size, self.txs, self.inputs, self.coins, self.kept, self.lost)
        sums = self.created.to_bytes(16, "big"), self.spent.to_bytes(16, "big")
        return _FOLD.pack(*numbers, *sums, self.coinbase) + self.records

    @classmethod
    def unpack(cls, data: bytes) -> Fold:
        """The inverse of ``pack``; raises DecodeError."""
        if len(data) < _FOLD.size:
            raise DecodeError("no folded block")
        size, txs, inputs, coins, kept, lost, created, spent, coinbase = _FOLD.unpack_from(data)
        sums = int.from_bytes(created, "big"), int.from_bytes(spent, "big")
        return cls(size, txs, inputs, coins, kept, lost, *sums, coinbase, data[_FOLD.size :])


class _OneParent:
    """As much of the header tree as the rules of one block ask for: its parent's height and median time."""

    def __init__(self, height: int, median_time: int) -> None:
        self._height = height
        self._median_time = median_time

    def height(self, index: int) -> int:
        """The parent's height."""
        return self._height

    def median_time_past(self, index: int) -> int:
        """The parent's median time past."""
        return self._median_time


def check_alone(block: ParsedBlock, job: FoldJob, params: NetworkParams) -> None:
    """Every rule that needs the block and its ancestors' headers only; raises RuleViolation.

    Proof of work, signet solution, merkle root, witness commitment, sizes and weight, coinbase and its height (BIP34),
    amounts of outputs, double spends inside the block, lock times, legacy signature operations.
    """
    check_block(block, params)
    contextual_check_block(block, _OneParent(job.height - 1, job.median_time), 0, params)


class HintMismatch(DecodeError):
    """The hint is not for this block."""


def lost_outputs(block: ParsedBlock, *, coinbase_lost: bool = False) -> list[int]:
    """Places among ``out_pos`` of the outputs that can never be spent, in their order."""
    raw, out_pos = block.raw, block.out_pos
    if block.facts is not None:
        odd = block.facts.odd_outputs
    else:
        odd = [k for k, p in enumerate(out_pos) if raw[p + 9] == 0x6A or raw[p + 8] >= 0xFD]
    lost = [k for k in odd if is_unspendable_at(raw, out_pos[k], output_end(block, k))]
    return sorted({*lost, *range(block.first_out[1])}) if coinbase_lost else lost


def spendable_outputs(block: ParsedBlock, *, coinbase_lost: bool = False) -> list[bytes]:
    """Outpoints of the outputs that can be spent, in their order: those that a hint counts."""
    outputs = OutputNames(block)
    lost = lost_outputs(block, coinbase_lost=coinbase_lost)
    return [outputs.name(k) for k in _others(lost, len(block.out_pos))]


def _others(places: list[int], count: int) -> Sequence[int]:
    """All places below ``count`` but for some."""
    if not places:
        return range(count)
    left = bytearray(b"\x01") * count
    for k in places:
        left[k] = 0
    return list(compress(range(count), left))


class OutputNames:
    """The outpoints of all outputs of a block as two columns: txids and vouts, each one behind the other."""

    def __init__(self, block: ParsedBlock) -> None:
        counts = [end - start for start, end in pairwise(block.first_out)]
        self.txids = b"".join(map(bytes.__mul__, block.txids, counts))
        self.vouts = b"".join(map(_first_vouts, counts))

    def name(self, k: int) -> bytes:
        """The outpoint of output ``k``."""
        return self.txids[32 * k : 32 * k + 32] + self.vouts[4 * k : 4 * k + 4]


def _first_vouts(count: int) -> bytes:
    if 4 * count <= len(_VOUTS):
        return _VOUTS[: 4 * count]
    return b"".join(map(vout_bytes, range(count)))


def lost_value(block: ParsedBlock, lost: list[int]) -> int:
    """Satoshi of the outputs at these places among ``out_pos``."""
    return sum(_unpack_value(block.raw, block.out_pos[k])[0] for k in lost)


def output_end(block: ParsedBlock, k: int) -> int:
    """Offset behind output ``k`` of the block."""
    start, raw = block.out_pos[k], block.raw
    size = raw[start + 8]
    if size < 0xFD:
        return start + 9 + size
    width = 2 if size == 0xFD else 4
    return start + 9 + width + int.from_bytes(raw[start + 9 : start + 9 + width], "little")


def fold_parsed(block: ParsedBlock, job: FoldJob) -> Fold:
    """Fold a block that was checked; raises HintMismatch."""
    kernels = current()
    if kernels is not None:
        return _fold_with(kernels, block, job)
    raw, out_pos = block.raw, block.out_pos
    outputs = OutputNames(block)
    lost = lost_outputs(block, coinbase_lost=job.coinbase_lost)
    stay = kept_outputs(job.hint, lost, len(out_pos))
    prefixes = coin_prefix(job.height, False), coin_prefix(job.height, True)
    of_coinbase = block.first_out[1]
    names: list[bytes] = []
    parts: list[bytes] = []
    kept = 0
    for k in stay:
        name, txout = outputs.name(k), raw[out_pos[k] : output_end(block, k)]
        names.append(name)
        kept += _unpack_value(txout)[0]
        parts += (RECORD_HEAD.pack(name, 4 + len(txout)), prefixes[k < of_coinbase], txout)
    names += map(outputs.name, lost)
    created = output_sum(job.salt, outputs.txids, outputs.vouts)
    return Fold(
        size=len(raw),
        txs=block.n_tx,
        inputs=len(block.in_pos) - 1,
        coins=len(stay),
        kept=kept,
        lost=lost_value(block, lost),
        created=(created - outpoint_sum(job.salt, b"".join(names))) % MODULUS,
        spent=outpoint_sum(job.salt, b"".join([raw[p : p + 36] for p in block.in_pos[1:]])),
        coinbase=block.txids[0],
        records=b"".join(parts),
    )


def _fold_with(kernels: Kernels, block: ParsedBlock, job: FoldJob) -> Fold:
    """The same by kernels."""
    lost = lost_outputs(block, coinbase_lost=job.coinbase_lost)
    stay = kept_outputs(job.hint, lost, len(block.out_pos))
    marks = bytearray(len(block.out_pos))
    for k in lost:
        marks[k] = LOST
    for k in stay:
        marks[k] = KEPT
    prefixes = coin_prefix(job.height, False) + coin_prefix(job.height, True)
    records, kept = kernels.pack_kept(block, marks, prefixes) if stay else (b"", 0)
    return Fold(
        size=len(block.raw),
        txs=block.n_tx,
        inputs=len(block.in_pos) - 1,
        coins=len(stay),
        kept=kept,
        lost=lost_value(block, lost),
        created=column_sum(job.salt, *kernels.spread_outputs(block.txids, block.first_out, marks)),
        spent=column_sum(job.salt, *kernels.spread_inputs(block.raw, block.in_pos[1:])),
        coinbase=block.txids[0],
        records=records,
    )


def kept_outputs(hint: bytes, lost: list[int], count: int) -> list[int]:
    """Places among a block's ``count`` outputs of those that stay unspent; ``lost`` ones are not counted by hints.

    Raises HintMismatch where the hint is not for this block, DecodeError where it is none.
    """
    numbers = decode_indices(hint)
    spendable = count - len(lost)
    if numbers and numbers[-1] >= spendable:
        raise HintMismatch(f"the hint names output {numbers[-1]} of {spendable}")
    return list(map(_others(lost, count).__getitem__, numbers)) if lost else numbers
