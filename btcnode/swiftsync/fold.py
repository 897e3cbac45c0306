"""What a sync without lookups keeps of a block: its share of the sums, and the coins that stay unspent.

All rules that need no coins are checked before: see ``check_alone``. Records of survivors are ``outpoint[36] size[u16
LE] coin``, in the order of the block.
"""

from __future__ import annotations

from itertools import compress
from struct import Struct
from typing import NamedTuple

from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import is_unspendable_at
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_prefix
from btcnode.swiftsync.elias_fano import decode_indices
from btcnode.swiftsync.sums import SALT_SIZE, salted_sum

RECORD_HEAD = Struct("<36sH")  # outpoint, size of the coin behind it
# salt, height, median time past of the parent; whether the coinbase is lost, whether coins are told; size of the hint,
# number of median times
_JOB = Struct(f"<{SALT_SIZE}sII??II")
_TIME = Struct("<II")
_FOLD = Struct("<IIIIQQ32s32s32s")  # the fields of ``Fold`` in their order, without the records

_VOUTS = [vout.to_bytes(4, "little") for vout in range(1024)]
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
        sums = self.created.to_bytes(32, "big"), self.spent.to_bytes(32, "big")
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


def spendable_outputs(block: ParsedBlock, *, coinbase_lost: bool = False) -> tuple[list[bytes], list[int], list[int]]:
    """Outpoints of the outputs that can be spent, their places among ``out_pos``, and the places of all others."""
    raw, out_pos, first_out = block.raw, block.out_pos, block.first_out
    names: list[bytes] = []
    for i, txid in enumerate(block.txids):
        count = first_out[i + 1] - first_out[i]
        if count <= len(_VOUTS):
            names += [txid + vout for vout in _VOUTS[:count]]
        else:
            names += [txid + vout.to_bytes(4, "little") for vout in range(count)]
    odd = [k for k, p in enumerate(out_pos) if raw[p + 9] == 0x6A or raw[p + 8] >= 0xFD]
    lost = [k for k in odd if is_unspendable_at(raw, out_pos[k], output_end(block, k))]
    if coinbase_lost:
        lost = sorted({*lost, *range(first_out[1])})
    places = list(range(len(out_pos)))
    if lost:
        left = bytearray(b"\x01") * len(out_pos)
        for k in lost:
            left[k] = 0
        names, places = list(compress(names, left)), list(compress(places, left))
    return names, places, lost


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
    raw, out_pos = block.raw, block.out_pos
    names, places, lost = spendable_outputs(block, coinbase_lost=job.coinbase_lost)
    hint = decode_indices(job.hint)
    if hint and hint[-1] >= len(names):
        raise HintMismatch(f"the hint names output {hint[-1]} of {len(names)}")
    spent_later = names
    parts: list[bytes] = []
    kept = 0
    if hint:
        left = bytearray(b"\x01") * len(names)
        prefixes = coin_prefix(job.height, False), coin_prefix(job.height, True)
        of_coinbase = block.first_out[1]
        for n in hint:
            left[n] = 0
            k = places[n]
            p = out_pos[k]
            txout = raw[p : output_end(block, k)]
            kept += _unpack_value(txout)[0]
            parts += (RECORD_HEAD.pack(names[n], 4 + len(txout)), prefixes[k < of_coinbase], txout)
        spent_later = list(compress(names, left))
    inputs = block.prevouts()[1:]
    return Fold(
        size=len(raw),
        txs=block.n_tx,
        inputs=len(inputs),
        coins=len(hint),
        kept=kept,
        lost=lost_value(block, lost),
        created=salted_sum(job.salt, spent_later),
        spent=salted_sum(job.salt, inputs),
        coinbase=block.txids[0],
        records=b"".join(parts),
    )
