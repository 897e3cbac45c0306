"""Arrow arrays out of buffers, and what NumPy reads out of many places of some bytes at once.

Nowhere is there a Python object for a value: a column is made of the addresses at which its values lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from btcnode.data.schema import HASH, KIND, SCRIPT_TYPES, TYPE_NUMBERS
from btcnode.primitives.compactsize import read_compact_size
from btcnode.script.opcodes import OP_1, OP_16, OP_CHECKMULTISIG, OP_RETURN
from btcnode.script.solver import script_type

HASH_SIZE = 32
BIG_SIZE = 0xFD  # from here on the first byte of a CompactSize tells how many follow
I64_MAX = 2**63 - 1

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]

_KEY_SIZES = (23, 25, 35, 67)  # of scripts to hashes and keys
_FIRST = (0, *range(OP_1, OP_16 + 1), OP_RETURN)  # of witness programs and data

_KINDS = pa.array(SCRIPT_TYPES, pa.string())


def flat(lists: Iterable[Iterable[int]], count: int) -> Ints:
    """The ``count`` numbers of some lists, one behind the other."""
    return np.fromiter(chain.from_iterable(lists), np.int64, count)


def ends_of(counts: Ints) -> Ints:
    """Where each of some runs ends that lie one behind the other."""
    return np.cumsum(counts, dtype=np.int64)


def within(counts: Ints) -> Ints:
    """The numbers from 0 on in each of some runs."""
    ends = ends_of(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) - np.repeat(ends - counts, counts)


def numbers_at(raw: bytes, positions: Ints, kind: str) -> Numbers:
    """Numbers of a NumPy type (``<u4``) as they stand in ``raw``."""
    size = np.dtype(kind).itemsize
    if not len(positions):
        return np.zeros(0, kind)
    everywhere: Numbers = np.ndarray((len(raw) - size + 1,), kind, raw, 0, (1,))
    return everywhere[positions]


def hashes_at(raw: bytes, positions: Ints) -> bytes:
    """The hashes that stand in ``raw``, one behind the other, each in the order in which people write it."""
    if not len(positions):
        return b""
    everywhere: npt.NDArray[np.void] = np.ndarray((len(raw) - HASH_SIZE + 1,), f"V{HASH_SIZE}", raw, 0, (1,))
    return _turned(everywhere[positions].tobytes())


def _turned(hashes: bytes) -> bytes:
    return np.frombuffer(hashes, np.uint8).reshape(-1, HASH_SIZE)[:, ::-1].tobytes()


def turned(hashes: Sequence[bytes]) -> bytes:
    """Hashes in internal order, as people write them."""
    return _turned(b"".join(hashes))


def bodies_at(raw: bytes, positions: Ints) -> tuple[Ints, Ints]:
    """Where what stands behind a CompactSize begins and ends."""
    sizes = numbers_at(raw, positions, "u1").astype(np.int64)
    starts = positions + 1
    for k in np.flatnonzero(sizes >= BIG_SIZE).tolist():
        sizes[k], starts[k] = read_compact_size(raw, int(positions[k]))
    return starts, starts + sizes


def pieces(raw: bytes, starts: Ints, ends: Ints) -> bytes:
    """Parts of ``raw``, one behind the other."""
    return b"".join([raw[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])


def type_number(script: bytes) -> int:
    """Place among ``SCRIPT_TYPES`` of a script's form."""
    return TYPE_NUMBERS[script_type(script)]


def types_at(raw: bytes, starts: Ints, ends: Ints) -> npt.NDArray[np.int8]:
    """Places among ``SCRIPT_TYPES`` of scripts: nearly all have a length and ends that tell."""
    sizes = ends - starts
    found = np.full(len(starts), -1, np.int8)

    def those(size: int, head: int, tail: int | None = None) -> Ints:
        """Scripts of a size that begin with two bytes (little-endian), and end so."""
        among: Ints = np.flatnonzero(sizes == size)
        among = among[numbers_at(raw, starts[among], "<u2") == head]
        return among if tail is None else among[numbers_at(raw, ends[among] - 2, "<u2") == tail]

    found[those(22, 0x1400)] = TYPE_NUMBERS["witness_v0_keyhash"]
    found[those(34, 0x2000)] = TYPE_NUMBERS["witness_v0_scripthash"]
    found[those(34, 0x2051)] = TYPE_NUMBERS["witness_v1_taproot"]
    hashed = those(25, 0xA976, 0xAC88)
    found[hashed[numbers_at(raw, starts[hashed] + 2, "u1") == 0x14]] = TYPE_NUMBERS["pubkeyhash"]
    hashed = those(23, 0x14A9)
    found[hashed[numbers_at(raw, ends[hashed] - 1, "u1") == 0x87]] = TYPE_NUMBERS["scripthash"]
    rest = np.flatnonzero(found < 0)
    rest = rest[_may_be_standard(raw, starts[rest], ends[rest])]
    found[found < 0] = TYPE_NUMBERS["nonstandard"]
    for k in rest.tolist():
        found[k] = type_number(raw[starts[k] : ends[k]])
    return found


def _may_be_standard(raw: bytes, starts: Ints, ends: Ints) -> Mask:
    """Whether scripts begin as witness programs or data, end as multisigs, or have the length of one to a key."""
    sizes = ends - starts
    mask = np.isin(sizes, _KEY_SIZES)
    there = np.flatnonzero(sizes)
    first, last = numbers_at(raw, starts[there], "u1"), numbers_at(raw, ends[there] - 1, "u1")
    mask[there] |= np.isin(first, _FIRST) | (last == OP_CHECKMULTISIG)
    return mask


def sums(values: Ints, counts: Ints) -> Ints:
    """The sum of each of some runs of values; raises OverflowError unless all of them are int64."""
    ends = ends_of(counts)
    if len(values) and max(int(values.max()), -int(values.min())) * int(counts.max()) > I64_MAX:
        # so much there is in no valid chain
        exact = [sum(values[end - count : end].tolist()) for end, count in zip(ends, counts, strict=True)]
        return np.array(exact, np.int64)
    running: Ints = np.concatenate(
        [np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)]
    )  # it may well wrap around
    found: Ints = running[ends] - running[ends - counts]
    return found


def difference(more: Ints, less: Ints) -> Ints:
    """``more - less``; raises OverflowError unless all of it is int64."""
    if len(more) and max(abs(int(side)) for both in (more, less) for side in (both.max(), both.min())) > I64_MAX // 2:
        return np.array([a - b for a, b in zip(more.tolist(), less.tolist(), strict=True)], np.int64)
    return more - less


# -- Arrow -------------------------------------------------------------------------------------------------------------


def _bits(mask: Mask) -> Any:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def _validity(mask: Mask | None) -> Any:
    return None if mask is None or bool(mask.all()) else _bits(mask)


def _filled(values: Numbers, mask: Mask | None) -> Numbers:
    """The values at the places that the mask names, zeros at the others."""
    if mask is None:
        return values
    full = np.zeros(len(mask), values.dtype)
    full[mask] = values
    return full


def number_array(values: Numbers, kind: Any, mask: Mask | None = None) -> pa.Array:
    """Numbers as an array of type ``kind``; null where ``mask`` is false, which has one value for each true."""
    full = np.ascontiguousarray(_filled(values, mask), _dtype(kind))
    return pa.Array.from_buffers(kind, len(full), [_validity(mask), pa.py_buffer(full)])


def _dtype(kind: Any) -> Any:
    return "<i8" if pa.types.is_timestamp(kind) else kind.to_pandas_dtype()


def bool_array(values: Mask, mask: Mask | None = None) -> pa.Array:
    """As ``number_array``."""
    full = _filled(values, mask).astype(np.bool_)
    return pa.Array.from_buffers(pa.bool_(), len(full), [_validity(mask), _bits(full)])


def kind_array(numbers: npt.NDArray[np.int8], mask: Mask | None = None) -> pa.Array:
    """Places among ``SCRIPT_TYPES`` as a dictionary; as ``number_array``."""
    return pa.DictionaryArray.from_arrays(number_array(numbers, KIND.index_type, mask), _KINDS)


def hash_array(data: bytes) -> pa.Array:
    """Hashes that lie one behind the other."""
    return pa.Array.from_buffers(HASH, len(data) // HASH_SIZE, [None, pa.py_buffer(data)])


def _offsets(sizes: Numbers) -> Any:
    """Raises OverflowError for more than two gigabytes."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
    if ends[-1] > 2**31 - 1:
        raise OverflowError(f"{ends[-1]} bytes in one column")
    return pa.py_buffer(ends.astype("<i4"))


def binary_array(data: bytes, sizes: Ints, mask: Mask | None = None) -> pa.Array:
    """Byte strings that lie one behind the other; as ``number_array``."""
    full = _filled(sizes, mask)
    return pa.Array.from_buffers(pa.binary(), len(full), [_validity(mask), _offsets(full), pa.py_buffer(data)])


def list_array(items: Sequence[bytes], counts: Ints) -> pa.Array:
    """Lists of byte strings, the next of them for each count."""
    children = binary_array(b"".join(items), np.fromiter(map(len, items), np.int64, len(items)))
    kind = pa.list_(pa.binary())
    return pa.Array.from_buffers(kind, len(counts), [None, _offsets(counts)], children=[children])
