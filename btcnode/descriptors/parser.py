"""Reading descriptors, with Core's messages for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from btcnode.descriptors.checksum import split_checksum
from btcnode.descriptors.cursor import Cursor, is_hex, parse_number
from btcnode.descriptors.descriptor import (
    AddressDescriptor,
    ComboDescriptor,
    Descriptor,
    MultisigDescriptor,
    PkDescriptor,
    PkhDescriptor,
    RawDescriptor,
    WpkhDescriptor,
)
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.key_parser import KeyReader, Place
from btcnode.descriptors.keys import KeyExpression
from btcnode.descriptors.miniscript import Node
from btcnode.descriptors.miniscript_parser import MAX_MULTI_A_KEYS, MAX_MULTI_KEYS, parse_miniscript
from btcnode.descriptors.provider import NOTHING_KNOWN, SigningProvider
from btcnode.descriptors.taproot import MAX_TREE_DEPTH
from btcnode.descriptors.wrapping import (
    MiniscriptDescriptor,
    MultiADescriptor,
    RawTrDescriptor,
    ShDescriptor,
    TrDescriptor,
    WshDescriptor,
)
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import script_for_address
from btcnode.script.opcodes import MAX_SCRIPT_ELEMENT_SIZE

MAX_BARE_KEYS = 3
T = TypeVar("T")
_OUTER = (Place.TOP, Place.P2SH)
_SCRIPTS = (Place.TOP, Place.P2SH, Place.P2WSH)
_MULTI = ("multi", "sortedmulti", "multi_a", "sortedmulti_a")


def parse_descriptor(
    text: str, params: NetworkParams, secrets: SigningProvider, *, need_checksum: bool = False
) -> list[Descriptor]:
    """The descriptor, or one for each branch of its multipath steps; private keys in it go to ``secrets``.

    Raises DescriptorError.
    """
    body, _ = split_checksum(text, required=need_checksum)
    cursor = Cursor(body)
    found = _Parser(params, secrets).script(cursor, Place.TOP)
    if cursor:
        raise DescriptorError("")
    return found


def _branches(lists: Sequence[Sequence[T]], mismatch: str) -> list[list[T]]:
    """Lists of one or n, turned into n lists of one of each; raises DescriptorError when there are several n."""
    most = max(map(len, lists))
    if any(len(items) not in (1, most) for items in lists):
        raise DescriptorError(mismatch)
    return [[items[n if len(items) > 1 else 0] for items in lists] for n in range(most)]


class _Parser:
    """Reads scripts for one network."""

    def __init__(self, params: NetworkParams, secrets: SigningProvider) -> None:
        self.params = params
        self.keys = KeyReader(params, secrets)

    def script(self, cursor: Cursor, place: Place) -> list[Descriptor]:
        """The next script expression, once for each multipath branch."""
        expr = cursor.expression()
        found = self._key_scripts(expr, place)
        if found is None:
            found = self._multi(expr, place)
        if found is None:
            found = self._wrappers(expr, place)
        if found is None:
            found = self._fixed(expr, place)
        return found if found is not None else self._miniscript(expr, place)

    def _read(self, expr: Cursor, place: Place, name: str) -> list[KeyExpression]:
        """A key, with the name of what it stands in before any error."""
        try:
            return self.keys.read(expr.rest, place)
        except DescriptorError as error:
            raise DescriptorError(f"{name}: {error}") from None

    def _key_scripts(self, expr: Cursor, place: Place) -> list[Descriptor] | None:
        """pk, pkh, combo."""
        if expr.enter("pk"):
            xonly = place is Place.P2TR
            return [PkDescriptor(key, xonly=xonly) for key in self._read(expr, place, "pk()")]
        if place in _SCRIPTS and expr.enter("pkh"):
            return [PkhDescriptor((key,)) for key in self._read(expr, place, "pkh()")]
        if expr.enter("combo"):
            if place is not Place.TOP:
                raise DescriptorError("Can only have combo() at top level")
            return [ComboDescriptor((key,)) for key in self._read(expr, place, "combo()")]
        return None

    def _multi(self, expr: Cursor, place: Place) -> list[Descriptor] | None:
        name = next((name for name in _MULTI if expr.enter(name)), "")
        if not name:
            return None
        leaf = name.endswith("_a")
        if leaf and place is not Place.P2TR:
            raise DescriptorError("Can only have multi_a/sortedmulti_a inside tr()")
        if not leaf and place not in _SCRIPTS:
            raise DescriptorError("Can only have multi/sortedmulti at top level, in sh(), or in wsh()")
        text = expr.expression().rest
        threshold = parse_number(text, 1 << 32)
        if threshold is None:
            raise DescriptorError(f"Multi threshold '{text}' is not valid")
        keys: list[list[KeyExpression]] = []
        while expr:
            if not expr.take(","):
                raise DescriptorError(f"Multi: expected ',', got '{expr.first}'")
            keys.append(self._read(expr.expression(), place, "Multi"))
        _check_multi(threshold, keys, place, leaf)
        sort = name.startswith("sorted")
        made = MultiADescriptor if leaf else MultisigDescriptor
        branches = _branches(keys, "multi(): Multipath derivation paths have mismatched lengths")
        return [made(threshold, branch, sort=sort) for branch in branches]

    def _wrappers(self, expr: Cursor, place: Place) -> list[Descriptor] | None:
        """wpkh, sh, wsh."""
        if expr.enter("wpkh"):
            if place not in _OUTER:
                raise DescriptorError("Can only have wpkh() at top level or inside sh()")
            return [WpkhDescriptor((key,)) for key in self._read(expr, Place.P2WPKH, "wpkh()")]
        if expr.enter("sh"):
            if place is not Place.TOP:
                raise DescriptorError("Can only have sh() at top level")
            return [ShDescriptor(inner) for inner in self._inner(expr, Place.P2SH)]
        if expr.enter("wsh"):
            if place not in _OUTER:
                raise DescriptorError("Can only have wsh() at top level or inside sh()")
            return [WshDescriptor(inner) for inner in self._inner(expr, Place.P2WSH)]
        return None

    def _inner(self, expr: Cursor, place: Place) -> list[Descriptor]:
        found = self.script(expr, place)
        if expr:
            raise DescriptorError("")
        return found

    def _fixed(self, expr: Cursor, place: Place) -> list[Descriptor] | None:
        """addr, tr, rawtr, raw: at top level only."""
        readers: tuple[tuple[str, str, Callable[[Cursor], list[Descriptor]]], ...] = (
            ("addr", "addr()", self._addr),
            ("tr", "tr", self._tr),
            ("rawtr", "rawtr", self._rawtr),
            ("raw", "raw()", _raw),
        )
        for name, said, read in readers:
            if expr.enter(name):
                if place is not Place.TOP:
                    raise DescriptorError(f"Can only have {said} at top level")
                return read(expr)
        return None

    def _addr(self, expr: Cursor) -> list[Descriptor]:
        try:
            return [AddressDescriptor(script_for_address(expr.rest, self.params), self.params)]
        except DecodeError:
            raise DescriptorError("Address is not valid") from None

    def _rawtr(self, expr: Cursor) -> list[Descriptor]:
        key = expr.expression()
        if expr:
            raise DescriptorError("rawtr(): only one key expected.")
        return [RawTrDescriptor((key,)) for key in self._read(key, Place.P2TR, "rawtr()")]

    def _tr(self, expr: Cursor) -> list[Descriptor]:
        internal = self._read(expr.expression(), Place.P2TR, "tr()")
        leaves: list[list[Descriptor]] = []
        depths: list[int] = []
        if expr:
            if not expr.take(","):
                raise DescriptorError(f"tr: expected ',', got '{expr.first}'")
            self._tree(expr, leaves, depths)
            if expr:
                raise DescriptorError("tr(): expected ')' after script expression")
        if not leaves:
            return [TrDescriptor(key) for key in internal]
        most = max(len(internal), *map(len, leaves))
        if any(len(items) not in (1, most) for items in leaves):
            raise DescriptorError("tr(): Multipath subscripts have mismatched lengths")
        if len(internal) not in (1, most):
            raise DescriptorError("tr(): Multipath internal key mismatches multipath subscripts lengths")
        return [
            TrDescriptor(
                internal[n if len(internal) > 1 else 0],
                [items[n if len(items) > 1 else 0] for items in leaves],
                depths,
            )
            for n in range(most)
        ]

    def _tree(self, expr: Cursor, leaves: list[list[Descriptor]], depths: list[int]) -> None:
        """The scripts of a tree and their depths, in order."""
        second: list[bool] = []  # for each level we are in: whether this is its second half
        while True:
            while expr.take("{"):
                second.append(False)
                if len(second) > MAX_TREE_DEPTH:
                    raise DescriptorError(f"tr() supports at most {MAX_TREE_DEPTH} nesting levels")
            leaves.append(self.script(expr.expression(), Place.P2TR))
            depths.append(len(second))
            while second and second[-1]:
                if not expr.take("}"):
                    raise DescriptorError("tr(): expected '}' after script expression")
                second.pop()
            if not second:
                return
            if not expr.take(","):
                raise DescriptorError("tr(): expected ',' after script expression")
            second[-1] = True

    def _miniscript(self, expr: Cursor, place: Place) -> list[Descriptor]:
        tapscript = place is not Place.P2WSH
        keys: list[list[KeyExpression]] = []

        def read_key(text: str) -> int:
            keys.append(self.keys.read(text, Place.P2TR if tapscript else Place.P2WSH))
            return len(keys) - 1

        node = parse_miniscript(expr.rest, tapscript, read_key)
        if node is None:
            if place in (Place.P2SH, Place.P2WSH):
                raise DescriptorError(f"A function is needed within {place.name}")
            raise DescriptorError(f"'{expr.rest}' is not a valid descriptor function")
        if place not in (Place.P2WSH, Place.P2TR):
            raise DescriptorError("Miniscript expressions can only be used in wsh or tr.")
        node.check_duplicates(lambda number: keys[number][0].derive(0, NOTHING_KNOWN, SigningProvider()))
        if not node.is_sane or node.stack_size is None:
            raise DescriptorError(_insanity(node, lambda number: keys[number][0].text()))
        branches = _branches(keys, "Miniscript: Multipath derivation paths have mismatched lengths")
        return [MiniscriptDescriptor(branch, node) for branch in branches]


def _raw(expr: Cursor) -> list[Descriptor]:
    if not is_hex(expr.rest):
        raise DescriptorError("Raw script is not hex")
    return [RawDescriptor(bytes.fromhex(expr.rest))]


def _check_multi(threshold: int, keys: Sequence[Sequence[KeyExpression]], place: Place, leaf: bool) -> None:
    """Numbers and sizes of a multisig."""
    count = len(keys)
    name, limit = ("multi_a", MAX_MULTI_A_KEYS) if leaf else ("multisig", MAX_MULTI_KEYS)
    if not 1 <= count <= limit:
        raise DescriptorError(f"Cannot have {count} keys in {name}; must have between 1 and {limit} keys, inclusive")
    if threshold < 1:
        raise DescriptorError(f"Multisig threshold cannot be {threshold}, must be at least 1")
    if threshold > count:
        raise DescriptorError(
            "Multisig threshold cannot be larger than the number of keys;"
            f" threshold is {threshold} but only {count} keys specified"
        )
    if place is Place.TOP and count > MAX_BARE_KEYS:
        raise DescriptorError(f"Cannot have {count} pubkeys in bare multisig; only at most {MAX_BARE_KEYS} pubkeys")
    size = sum(branches[0].size + 1 for branches in keys) + 3
    if place is Place.P2SH and size > MAX_SCRIPT_ELEMENT_SIZE:
        raise DescriptorError(f"P2SH script is too large, {size} bytes is larger than {MAX_SCRIPT_ELEMENT_SIZE} bytes")


def _insanity(root: Node, key_text: Callable[[int], str]) -> str:
    """Which part of a miniscript is not sane, and why."""
    node = root.find_insane() or root
    text = node.text(key_text)
    if not node.is_valid:
        return f"{text} is invalid"
    if root.is_sane:
        return f"{text} is not satisfiable"
    text += " is not sane"
    if not node.is_non_malleable:
        return f"{text}: malleable witnesses exist"
    if node is root and not node.needs_signature:
        return f"{text}: witnesses without signature exist"
    if not node.has_no_lock_mix:
        return f"{text}: contains mixes of timelocks expressed in blocks and seconds"
    if node.duplicates is not False:
        return f"{text}: contains duplicate public keys"
    if not node.within_limits:
        return f"{text}: needs witnesses that may exceed resource limits"
    return text
