"""Satisfying miniscript without malleability: the smallest witness that nobody else can change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from btcnode.descriptors.miniscript import Node
from btcnode.descriptors.miniscript_types import HASHES, Fragment

F = Fragment


class Availability(Enum):
    """Whether a witness is there; MAYBE when parts of it are made up to learn its size."""

    NO = 0
    MAYBE = 1
    YES = 2


class Satisfier(Protocol):
    """What a witness is made of: signatures, keys, preimages, and which lock times have passed."""

    def sign(self, key: Any) -> tuple[Availability, bytes]:
        """A signature by this key."""

    def key_bytes(self, key: Any) -> bytes:
        """The key as it stands in a witness."""

    def check_after(self, value: int) -> bool:
        """Whether the absolute lock time has passed."""

    def check_older(self, value: int) -> bool:
        """Whether the relative lock time has passed."""

    def preimage(self, fragment: Fragment, digest: bytes) -> tuple[Availability, bytes]:
        """The 32 bytes behind a hash."""


class Stack(NamedTuple):
    """Witness elements, the top of the stack last.

    ``size`` is in bytes with a length for each element. ``malleable``: somebody else can turn it into another one;
    ``signed``: it has a signature. Nothing matters of one that is not available.
    """

    items: tuple[bytes, ...] = ()
    size: int = 0
    available: Availability = Availability.YES
    signed: bool = False
    malleable: bool = False

    def under(self, top: Stack) -> Stack:
        """With ``top`` above it."""
        if self.available is Availability.NO or top.available is Availability.NO:
            return _IMPOSSIBLE
        return Stack(
            self.items + top.items,
            self.size + top.size,
            min(self.available, top.available, key=_rank),
            self.signed or top.signed,
            self.malleable or top.malleable,
        )

    def marked(self) -> Stack:
        """The same, known to be malleable."""
        return self._replace(malleable=True) if self.available is not Availability.NO else self


class Pair(NamedTuple):
    """How to dissatisfy and to satisfy an expression."""

    no: Stack
    yes: Stack


def _rank(value: Availability) -> int:
    return value.value


def _item(data: bytes, available: Availability = Availability.YES, *, signed: bool = False) -> Stack:
    if available is Availability.NO:
        return _IMPOSSIBLE
    return Stack((data,), len(data) + 1, available, signed)


_IMPOSSIBLE = Stack(available=Availability.NO)
_EMPTY = Stack()
_ZERO = _item(b"")
_ONE = _item(b"\x01")
_ZERO32 = _item(bytes(32)).marked()


def _better(a: Stack, b: Stack) -> Stack:
    """Which of two to take so that nobody else can choose the other: without signature before with, and so on."""
    if a.available is Availability.NO or b.available is Availability.NO:
        return b if a.available is Availability.NO else a
    if a.signed != b.signed:  # the one without can be made by anybody
        return b if a.signed else a
    if not a.signed:
        a, b = a.marked(), b.marked()
    elif a.malleable != b.malleable:
        return b if a.malleable else a
    if a.available is b.available is Availability.YES:
        return a if a.size <= b.size else b
    if a.available is b.available is Availability.MAYBE:
        return a if a.size >= b.size else b
    return a if a.available is Availability.YES else b


def _best(*options: Stack) -> Stack:
    best = options[0]
    for option in options[1:]:
        best = _better(best, option)
    return best


def _choices(pairs: Sequence[tuple[Stack, Stack]], start: Stack) -> list[Stack]:
    """The best stacks with 0, 1, ... satisfied of these (not, satisfied), later ones above earlier ones."""
    sums = [start]
    for no, yes in pairs:
        middle = [_better(sums[j].under(no), sums[j - 1].under(yes)) for j in range(1, len(sums))]
        sums = [sums[0].under(no), *middle, sums[-1].under(yes)]
    return sums


def _thresh(node: Node, parts: Sequence[Pair]) -> Pair:
    sums = _choices([(part.no, part.yes) for part in reversed(parts)], _EMPTY)
    no = _IMPOSSIBLE
    for count, stack in enumerate(sums):
        if count != node.k:
            no = _better(no, stack if count == 0 else stack.marked())
    return Pair(no, sums[node.k])


def _and_v(x: Pair, y: Pair) -> Pair:
    return Pair(y.no.under(x.yes), y.yes.under(x.yes))


def _and_b(x: Pair, y: Pair) -> Pair:
    no = _best(y.no.under(x.no), y.yes.under(x.no).marked(), y.no.under(x.yes).marked())
    return Pair(no, y.yes.under(x.yes))


def _or_b(x: Pair, y: Pair) -> Pair:
    both = y.yes.under(x.yes).marked()
    return Pair(y.no.under(x.no), _best(y.no.under(x.yes), y.yes.under(x.no), both))


def _or_c(x: Pair, y: Pair) -> Pair:
    return Pair(_IMPOSSIBLE, _better(x.yes, y.yes.under(x.no)))


def _or_d(x: Pair, y: Pair) -> Pair:
    return Pair(y.no.under(x.no), _better(x.yes, y.yes.under(x.no)))


def _or_i(x: Pair, y: Pair) -> Pair:
    return Pair(_better(x.no.under(_ONE), y.no.under(_ZERO)), _better(x.yes.under(_ONE), y.yes.under(_ZERO)))


_PAIRS: dict[Fragment, Callable[[Pair, Pair], Pair]] = {
    F.AND_V: _and_v, F.AND_B: _and_b, F.OR_B: _or_b, F.OR_C: _or_c, F.OR_D: _or_d, F.OR_I: _or_i,
}  # fmt: skip


def _leaf(node: Node, ctx: Satisfier) -> Pair:
    f = node.fragment
    if f is F.JUST_0:
        return Pair(_EMPTY, _IMPOSSIBLE)
    if f is F.JUST_1:
        return Pair(_IMPOSSIBLE, _EMPTY)
    if f in (F.OLDER, F.AFTER):
        passed = ctx.check_older(node.k) if f is F.OLDER else ctx.check_after(node.k)
        return Pair(_IMPOSSIBLE, _EMPTY if passed else _IMPOSSIBLE)
    if f in HASHES:
        available, preimage = ctx.preimage(f, node.data)
        return Pair(_ZERO32, _item(preimage, available))
    if f is F.MULTI:  # CHECKMULTISIG takes one element too many
        sums = _choices([(_EMPTY, _signature(key, ctx)) for key in node.keys], _ZERO)
        return Pair(Stack((b"",) * (node.k + 1), node.k + 1), sums[node.k])
    if f is F.MULTI_A:  # the first key's signature is on top
        sums = _choices([(_ZERO, _signature(key, ctx)) for key in reversed(node.keys)], _EMPTY)
        return Pair(sums[0], sums[node.k])
    signature = _signature(node.keys[0], ctx)
    if f is F.PK_K:
        return Pair(_ZERO, signature)
    key = _item(ctx.key_bytes(node.keys[0]))
    return Pair(_ZERO.under(key), signature.under(key))


def _signature(key: Any, ctx: Satisfier) -> Stack:
    available, signature = ctx.sign(key)
    return _item(signature, available, signed=True)


def _wrap(f: Fragment, x: Pair) -> Pair:
    if f is F.WRAP_D:
        return Pair(_ZERO, x.yes.under(_ONE))
    if f is F.WRAP_J:  # a dissatisfaction whose top is not zero would be another one
        other = x.no.available is not Availability.NO and not x.no.signed
        return Pair(_ZERO.marked() if other else _ZERO, x.yes)
    if f is F.WRAP_V:
        return Pair(_IMPOSSIBLE, x.yes)
    return x


def _combine(node: Node, parts: Sequence[Pair], ctx: Satisfier) -> Pair:
    f = node.fragment
    if not parts:
        return _leaf(node, ctx)
    if f in _PAIRS:
        return _PAIRS[f](parts[0], parts[1])
    if f is F.ANDOR:
        x, y, z = parts
        return Pair(_better(y.no.under(x.yes), z.no.under(x.no)), _better(y.yes.under(x.yes), z.yes.under(x.no)))
    return _thresh(node, parts) if f is F.THRESH else _wrap(f, parts[0])


def satisfy(node: Node, ctx: Satisfier) -> tuple[Availability, list[bytes]]:
    """Whether there is a non-malleable witness, and its elements without the script (incomplete ones are not told)."""
    stack = node.fold(lambda part, parts: _combine(part, parts, ctx)).yes
    if stack.malleable or not stack.signed:
        return Availability.NO, []
    return stack.available, list(stack.items)
