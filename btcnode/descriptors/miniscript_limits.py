"""What running and satisfying a miniscript takes at most: opcodes, stack elements, witness bytes.

None stands for "impossible": adding to it leaves it, and the larger of it and anything is the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.descriptors.miniscript_types import HASHES, Fragment, has

F = Fragment
Traces = tuple[int, int] | None
"""Of a set of runs: how many elements more than at the end there are at the beginning, and at any time, at most."""


class Operations(NamedTuple):
    """Opcodes in the script, and keys of the CHECKMULTISIGs that run when it is satisfied and dissatisfied."""

    static: int
    sat: int | None
    dsat: int | None


class StackUse(NamedTuple):
    """Stack elements when it is satisfied and dissatisfied."""

    sat: Traces
    dsat: Traces


def _plus(*values: int | None) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _most(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def _k_of(pairs: Sequence[tuple[int | None, int | None]], k: int) -> tuple[int | None, int | None]:
    """The most for exactly ``k`` satisfied parts (pairs of satisfied and not), and for none."""
    sums: list[int | None] = [0]
    for sat, dsat in pairs:
        with_this = [_plus(value, sat) for value in sums]
        without = [_plus(value, dsat) for value in sums]
        middle = [_most(without[j], with_this[j - 1]) for j in range(1, len(sums))]
        sums = [without[0], *middle, with_this[-1]]
    return sums[k], sums[0]


_STATIC_OPS: dict[Fragment, tuple[int, int | None, int | None]] = {
    F.JUST_1: (0, 0, None), F.JUST_0: (0, None, 0), F.PK_K: (0, 0, 0), F.PK_H: (3, 0, 0), F.OLDER: (1, 0, None),
    F.AFTER: (1, 0, None), **dict.fromkeys(HASHES, (4, 0, None)),
}  # fmt: skip
_WRAP_OPS = {F.WRAP_S: 1, F.WRAP_C: 1, F.WRAP_N: 1, F.WRAP_A: 2, F.WRAP_D: 3, F.WRAP_J: 4, F.WRAP_V: 0}
_JOIN_OPS = {F.AND_V: 0, F.AND_B: 1, F.OR_B: 1, F.OR_D: 3, F.OR_C: 2, F.OR_I: 3, F.ANDOR: 3}


def operations(f: Fragment, parts: Sequence[Operations], kinds: Sequence[int], keys: int, k: int) -> Operations:
    """Of a fragment with ``keys`` keys and threshold ``k``, whose parts take ``parts`` and are of types ``kinds``."""
    if f in _STATIC_OPS:
        return Operations(*_STATIC_OPS[f])
    if f is F.MULTI:
        return Operations(1, keys, keys)
    if f is F.MULTI_A:
        return Operations(keys + 1, 0, 0)
    count = sum(part.static for part in parts)
    if f is F.THRESH:
        return Operations(count + len(parts), *_k_of([(part.sat, part.dsat) for part in parts], k))
    if f in _WRAP_OPS:
        count += _WRAP_OPS[f] + (f is F.WRAP_V and has(kinds[0], "x"))
        dsat = 0 if f in (F.WRAP_D, F.WRAP_J) else None if f is F.WRAP_V else parts[0].dsat
        return Operations(count, parts[0].sat, dsat)
    return Operations(count + _JOIN_OPS[f], *_join([(part.sat, part.dsat) for part in parts], f, (0, 0)))


def _join(
    parts: Sequence[tuple[int | None, int | None]], f: Fragment, branch: tuple[int, int]
) -> tuple[int | None, int | None]:
    """Most to satisfy and dissatisfy a combination; ``branch`` is what choosing a side of or_i adds."""
    x, y = parts[0], parts[1]
    if f is F.AND_V:
        return _plus(x[0], y[0]), None
    if f is F.AND_B:
        return _plus(x[0], y[0]), _plus(x[1], y[1])
    if f is F.OR_B:
        return _most(_plus(x[0], y[1]), _plus(y[0], x[1])), _plus(x[1], y[1])
    if f is F.OR_D:
        return _most(x[0], _plus(y[0], x[1])), _plus(x[1], y[1])
    if f is F.OR_C:
        return _most(x[0], _plus(y[0], x[1])), None
    if f is F.OR_I:
        first, second = branch
        return (
            _most(_plus(x[0], first), _plus(y[0], second)),
            _most(_plus(x[1], first), _plus(y[1], second)),
        )
    z = parts[2]
    return _most(_plus(y[0], x[0]), _plus(x[1], z[0])), _plus(x[1], z[1])


# ---- witness

WitnessSize = tuple[int | None, int | None]
"""Bytes of the witness, each element with its length, that satisfies and that dissatisfies."""
_STATIC_WITNESS: dict[Fragment, WitnessSize] = {
    F.JUST_0: (None, 0), F.JUST_1: (0, None), F.OLDER: (0, None), F.AFTER: (0, None),
    **dict.fromkeys(HASHES, (33, None)),
}  # fmt: skip


def witness_size(f: Fragment, parts: Sequence[WitnessSize], keys: int, k: int, *, tapscript: bool) -> WitnessSize:
    """Of a fragment with ``keys`` keys and threshold ``k``, whose parts take ``parts``; signatures as large as can
    be.
    """
    sig, key = (66, 33) if tapscript else (73, 34)
    if f in _STATIC_WITNESS:
        return _STATIC_WITNESS[f]
    if f is F.PK_K:
        return sig, 1
    if f is F.PK_H:
        return sig + key, 1 + key
    if f is F.MULTI:
        return k * sig + 1, k + 1
    if f is F.MULTI_A:
        return k * sig + keys - k, keys
    if f is F.THRESH:
        return _k_of(parts, k)
    if len(parts) > 1:
        return _join(parts, f, (2, 1))
    sat, dsat = parts[0]
    if f is F.WRAP_V:
        return sat, None
    if f in (F.WRAP_D, F.WRAP_J):
        return (_plus(sat, 2) if f is F.WRAP_D else sat), 1
    return sat, dsat


# ---- stack


def _then(*runs: Traces) -> Traces:
    """One after the other."""
    net, most = 0, 0
    for run in runs:
        if run is None:
            return None
        net, most = net + run[0], max(run[1], run[0] + most)
    return net, most


def _or(a: Traces, b: Traces) -> Traces:
    if a is None or b is None:
        return b if a is None else a
    return max(a[0], b[0]), max(a[1], b[1])


_NOTHING = (0, 0)
_PUSH = (-1, 0)  # a push, OP_DUP or OP_SIZE
_POP = (1, 1)  # OP_IF, OP_VERIFY, and what makes one of two
_POP_TWO = (2, 2)  # OP_EQUALVERIFY
_PUSHED = _then(_PUSH, _NOTHING)
_HASH_CHECK = _then(_PUSH, _PUSH, _POP_TWO, _NOTHING, _PUSH, _POP)
_KEY_HASH = _then(_PUSH, _NOTHING, _PUSH, _POP_TWO)
_STATIC_STACK: dict[Fragment, tuple[Traces, Traces]] = {
    F.JUST_0: (None, _PUSH), F.JUST_1: (_PUSH, None), F.OLDER: (_PUSHED, None), F.AFTER: (_PUSHED, None),
    F.PK_K: (_PUSH, _PUSH), F.PK_H: (_KEY_HASH, _KEY_HASH), **dict.fromkeys(HASHES, (_HASH_CHECK, None)),
}  # fmt: skip


def stack_use(f: Fragment, parts: Sequence[StackUse], keys: int, k: int) -> StackUse:
    """Of a fragment with ``keys`` keys and threshold ``k``, whose parts take ``parts``."""
    if f in _STATIC_STACK:
        return StackUse(*_STATIC_STACK[f])
    if f is F.MULTI:
        both = (k, k + keys + 2)
        return StackUse(both, both)
    if f is F.MULTI_A:
        both = (keys - 1, keys)
        return StackUse(both, both)
    if f is F.THRESH:
        return _thresh_stack(parts, k)
    if len(parts) == 1:
        return _wrap_stack(f, parts[0])
    return _join_stack(f, parts)


def _wrap_stack(f: Fragment, x: StackUse) -> StackUse:
    if f is F.WRAP_C:
        return StackUse(_then(x.sat, _POP), _then(x.dsat, _POP))
    if f in (F.WRAP_D, F.WRAP_J):  # OP_DUP or OP_SIZE, then OP_IF
        return StackUse(_then(_PUSH, _POP, x.sat), _then(_PUSH, _POP))
    if f is F.WRAP_V:
        return StackUse(_then(x.sat, _POP), None)
    return x


def _join_stack(f: Fragment, parts: Sequence[StackUse]) -> StackUse:
    x, y = parts[0], parts[1]
    if f is F.AND_V:
        return StackUse(_then(x.sat, y.sat), None)
    if f is F.AND_B:
        return StackUse(_then(x.sat, y.sat, _POP), _then(x.dsat, y.dsat, _POP))
    if f is F.OR_B:
        sat = _then(_or(_then(x.sat, y.dsat), _then(x.dsat, y.sat)), _POP)
        return StackUse(sat, _then(x.dsat, y.dsat, _POP))
    if f is F.OR_C:
        return StackUse(_or(_then(x.sat, _POP), _then(x.dsat, _POP, y.sat)), None)
    if f is F.OR_D:  # OP_IFDUP copies what is not zero
        sat = _or(_then(x.sat, _PUSH, _POP), _then(x.dsat, _NOTHING, _POP, y.sat))
        return StackUse(sat, _then(x.dsat, _NOTHING, _POP, y.dsat))
    if f is F.OR_I:
        return StackUse(_then(_POP, _or(x.sat, y.sat)), _then(_POP, _or(x.dsat, y.dsat)))
    z = parts[2]
    sat = _or(_then(x.sat, _POP, y.sat), _then(x.dsat, _POP, z.sat))
    return StackUse(sat, _then(x.dsat, _POP, z.dsat))


def _thresh_stack(parts: Sequence[StackUse], k: int) -> StackUse:
    sums: list[Traces] = [_NOTHING]
    for n, part in enumerate(parts):
        add = _POP if n else _NOTHING
        with_this = [_then(value, part.sat) for value in sums]
        without = [_then(value, part.dsat) for value in sums]
        middle = [_or(without[j], with_this[j - 1]) for j in range(1, len(sums))]
        sums = [_then(value, add) for value in (without[0], *middle, with_this[-1])]
    return StackUse(_then(sums[k], _PUSH, _POP), _then(sums[0], _PUSH, _POP))
