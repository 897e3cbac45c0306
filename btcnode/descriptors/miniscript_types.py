"""The type system of miniscript (BIP379): which properties an expression has, from those of its parts.

A type is a set of letters, here bits: one of B (base), V (verify), K (key), W (wrapped); z zero-arg, o one-arg,
n nonzero, d dissatisfiable, u unit, e expression, f forced, s safe, m non-malleable, x expensive verify; g and h are
relative locks in time and blocks, i and j absolute ones, k says that no path mixes the two kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from btcnode.script.opcodes import LOCKTIME_THRESHOLD, SEQUENCE_LOCKTIME_TYPE_FLAG

_LETTERS = "BVKWzonduefsmxghijk"
_BIT = {letter: 1 << n for n, letter in enumerate(_LETTERS)}


def props(letters: str) -> int:
    """The set of these properties."""
    result = 0
    for letter in letters:
        result |= _BIT[letter]
    return result


_SETS: dict[str, int] = {}


def has(kind: int, letters: str) -> bool:
    """Whether a type has all of these properties."""
    wanted = _SETS.get(letters)
    if wanted is None:
        wanted = _SETS[letters] = props(letters)
    return kind & wanted == wanted


def _if(condition: bool, letters: str) -> int:
    return props(letters) if condition else 0


class Fragment(Enum):
    """The building blocks; the value is the name in a descriptor."""

    JUST_0 = "0"
    JUST_1 = "1"
    PK_K = "pk_k"
    PK_H = "pk_h"
    OLDER = "older"
    AFTER = "after"
    SHA256 = "sha256"
    HASH256 = "hash256"
    RIPEMD160 = "ripemd160"
    HASH160 = "hash160"
    WRAP_A = "a"
    WRAP_S = "s"
    WRAP_C = "c"
    WRAP_D = "d"
    WRAP_V = "v"
    WRAP_J = "j"
    WRAP_N = "n"
    AND_V = "and_v"
    AND_B = "and_b"
    OR_B = "or_b"
    OR_C = "or_c"
    OR_D = "or_d"
    OR_I = "or_i"
    ANDOR = "andor"
    THRESH = "thresh"
    MULTI = "multi"
    MULTI_A = "multi_a"


F = Fragment
HASHES = (F.SHA256, F.RIPEMD160, F.HASH256, F.HASH160)
WRAPPERS = (F.WRAP_A, F.WRAP_S, F.WRAP_C, F.WRAP_D, F.WRAP_V, F.WRAP_J, F.WRAP_N)
_LOCKS = props("ghij")
_LOCKS_MIX = props("ghijk")


def _clash(x: int, y: int) -> bool:
    """Whether one has a lock in time and the other one of the same kind in blocks."""
    return any((has(x, a) and has(y, b)) or (has(x, b) and has(y, a)) for a, b in (("g", "h"), ("i", "j")))


def _wrap_a(x: int) -> int:
    return _if(has(x, "B"), "W") | x & (_LOCKS_MIX | props("udfems")) | props("x")


def _wrap_s(x: int) -> int:
    return _if(has(x, "Bo"), "W") | x & (_LOCKS_MIX | props("udfemsx"))


def _wrap_c(x: int) -> int:
    return _if(has(x, "K"), "B") | x & (_LOCKS_MIX | props("ondfem")) | props("us")


def _wrap_d(x: int, tapscript: bool) -> int:
    # MINIMALIF is consensus in tapscript only, and without it the result need not be exactly 1
    return (
        _if(has(x, "Vz"), "B") | _if(has(x, "z"), "o") | _if(has(x, "f"), "e") | x & (_LOCKS_MIX | props("ms"))
        | _if(tapscript, "u") | props("ndx")
    )  # fmt: skip


def _wrap_v(x: int) -> int:
    return _if(has(x, "B"), "V") | x & (_LOCKS_MIX | props("zonms")) | props("fx")


def _wrap_j(x: int) -> int:
    return _if(has(x, "Bn"), "B") | _if(has(x, "f"), "e") | x & (_LOCKS_MIX | props("oums")) | props("ndx")


def _wrap_n(x: int) -> int:
    return x & (_LOCKS_MIX | props("Bzondfems")) | props("ux")


_WRAP: dict[Fragment, Callable[[int], int]] = {
    F.WRAP_A: _wrap_a, F.WRAP_S: _wrap_s, F.WRAP_C: _wrap_c, F.WRAP_V: _wrap_v, F.WRAP_J: _wrap_j, F.WRAP_N: _wrap_n,
}  # fmt: skip


def _one_of_two(x: int, y: int) -> int:
    """o: one part takes one argument, the other none."""
    return (x | y) & props("o") if has(x | y, "z") else 0


def _and_locks(x: int, y: int) -> int:
    return (x | y) & _LOCKS | _if(has(x & y, "k") and not _clash(x, y), "k")


def _or_locks(x: int, y: int) -> int:
    return (x | y) & _LOCKS | x & y & props("k")


def _nonzero(x: int, y: int) -> int:
    return x & props("n") | (y & props("n") if has(x, "z") else 0)


def _and_v(x: int, y: int) -> int:
    return (
        (y & props("KVB") if has(x, "V") else 0) | _nonzero(x, y) | _one_of_two(x, y) | x & y & props("mz")
        | (x | y) & props("s") | _if(has(y, "f") or has(x, "s"), "f") | y & props("ux") | _and_locks(x, y)
    )  # fmt: skip


def _and_b(x: int, y: int) -> int:
    forced = has(x & y, "f") or has(x, "sf") or has(y, "sf")
    return (
        (x & props("B") if has(y, "W") else 0) | _one_of_two(x, y) | _nonzero(x, y)
        | (x & y & props("e") if has(x & y, "s") else 0) | x & y & props("dzm") | _if(forced, "f")
        | (x | y) & props("s") | props("ux") | _and_locks(x, y)
    )  # fmt: skip


def _or_b(x: int, y: int) -> int:
    return (
        _if(has(x, "Bd") and has(y, "Wd"), "B") | _one_of_two(x, y)
        | (x & y & props("m") if has(x | y, "s") and has(x & y, "e") else 0)
        | x & y & props("zse") | props("dux") | _or_locks(x, y)
    )  # fmt: skip


def _or_first(x: int, y: int) -> int:
    """What or_d and or_c have in common."""
    return (
        (x & props("o") if has(y, "z") else 0) | (x & y & props("m") if has(x, "e") and has(x | y, "s") else 0)
        | x & y & props("zs") | _or_locks(x, y)
    )  # fmt: skip


def _or_d(x: int, y: int) -> int:
    return (y & props("B") if has(x, "Bdu") else 0) | y & props("ufde") | props("x") | _or_first(x, y)


def _or_c(x: int, y: int) -> int:
    return (y & props("V") if has(x, "Bdu") else 0) | props("fx") | _or_first(x, y)


def _or_i(x: int, y: int) -> int:
    return (
        x & y & props("VBKufs") | _if(has(x & y, "z"), "o") | ((x | y) & props("e") if has(x | y, "f") else 0)
        | (x & y & props("m") if has(x | y, "s") else 0) | (x | y) & props("d") | props("x") | _or_locks(x, y)
    )  # fmt: skip


_PAIR: dict[Fragment, Callable[[int, int], int]] = {
    F.AND_V: _and_v, F.AND_B: _and_b, F.OR_B: _or_b, F.OR_D: _or_d, F.OR_C: _or_c, F.OR_I: _or_i,
}  # fmt: skip


def _andor(x: int, y: int, z: int) -> int:
    sure = has(x, "s") or has(y, "f")
    either = x | (y & z)
    return (
        (y & z & props("BKV") if has(x, "Bdu") else 0) | x & y & z & props("z")
        | (either & props("o") if has(either, "z") else 0) | y & z & props("u") | (z & props("f") if sure else 0)
        | z & props("d") | (z & props("e") if sure else 0)
        | (x & y & z & props("m") if has(x, "e") and has(x | y | z, "s") else 0) | z & (x | y) & props("s")
        | props("x") | (x | y | z) & _LOCKS | _if(has(x & y & z, "k") and not _clash(x, y), "k")
    )  # fmt: skip


def _thresh(kinds: Sequence[int], k: int) -> int:
    count = len(kinds)
    if any(not has(kind, "Wdu" if n else "Bdu") for n, kind in enumerate(kinds)):
        return 0
    all_e = all(has(kind, "e") for kind in kinds)
    all_m = all(has(kind, "m") for kind in kinds)
    safe = sum(has(kind, "s") for kind in kinds)
    arguments = sum(0 if has(kind, "z") else 1 if has(kind, "o") else 2 for kind in kinds)
    locks = props("k")
    for kind in kinds:
        pure = has(locks & kind, "k") and (k <= 1 or not _clash(locks, kind))
        locks = (locks | kind) & _LOCKS | _if(pure, "k")
    return (
        props("Bdu") | _if(arguments == 0, "z") | _if(arguments == 1, "o") | _if(all_e and safe == count, "e")
        | _if(all_e and all_m and safe >= count - k, "m") | _if(safe >= count - k + 1, "s") | locks
    )  # fmt: skip


_LEAF = {
    F.PK_K: "Konudemsxk", F.PK_H: "Knudemsxk", F.JUST_1: "Bzufmxk", F.JUST_0: "Bzudemsxk", F.MULTI: "Bnudemsk",
    F.MULTI_A: "Budemsk", **dict.fromkeys(HASHES, "Bonudmk"),
}  # fmt: skip


def type_of(fragment: Fragment, kinds: Sequence[int], k: int, tapscript: bool) -> int:
    """The type of an expression from those of its parts; 0 when they do not fit together."""
    if fragment in _LEAF:
        result = props(_LEAF[fragment])
    elif fragment is F.OLDER:
        result = props("Bzfmxk") | props("g" if k & SEQUENCE_LOCKTIME_TYPE_FLAG else "h")
    elif fragment is F.AFTER:
        result = props("Bzfmxk") | props("i" if k >= LOCKTIME_THRESHOLD else "j")
    elif fragment is F.WRAP_D:
        result = _wrap_d(kinds[0], tapscript)
    elif fragment in _WRAP:
        result = _WRAP[fragment](kinds[0])
    elif fragment in _PAIR:
        result = _PAIR[fragment](kinds[0], kinds[1])
    elif fragment is F.ANDOR:
        result = _andor(kinds[0], kinds[1], kinds[2])
    else:
        result = _thresh(kinds, k)
    return result if result & props("BVKW") else 0
