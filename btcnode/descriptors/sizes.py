"""How large an input becomes when it is signed, by the descriptor of what it spends (Core's ``MaxSatisfactionWeight``).

Taproot is taken to be spent by its key: what a script path takes cannot be known before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.descriptors.descriptor import (
    Descriptor,
    MultisigDescriptor,
    OutputType,
    PkDescriptor,
    PkhDescriptor,
    WpkhDescriptor,
)
from btcnode.descriptors.miniscript import Node, number_script
from btcnode.descriptors.miniscript_limits import WitnessSize, witness_size
from btcnode.descriptors.wrapping import (
    MiniscriptDescriptor,
    RawTrDescriptor,
    ShDescriptor,
    TrDescriptor,
    WshDescriptor,
)
from btcnode.primitives.compactsize import compact_size

_SCALE = 4  # weight units of a byte outside of the witness
_LOW_R, _ANY_R = 71, 72  # bytes of an ECDSA signature with its hash type; the low form takes a few attempts
_KEY_PATH = 1 + 65  # a Schnorr signature with its length
_OUTPOINT_AND_SEQUENCE = 32 + 4 + 4


class Satisfaction(NamedTuple):
    """What satisfies a descriptor at most: ``weight`` and elements on the stack, and whether they are witness."""

    weight: int
    elements: int
    is_segwit: bool


class _Inner(NamedTuple):
    """Of what may stand in sh() or wsh(): bytes that satisfy it, their elements, bytes of its script."""

    size: int
    elements: int
    script: int


def satisfaction(descriptor: Descriptor, *, low_r: bool = True) -> Satisfaction | None:
    """At most; None when nobody can tell. ``low_r``: the signer takes the trouble to make its signatures shorter."""
    if isinstance(descriptor, TrDescriptor | RawTrDescriptor):
        return Satisfaction(_KEY_PATH, 1, True)
    if isinstance(descriptor, ShDescriptor):
        inner = _inner(descriptor.subs[0], low_r=low_r)
        if inner is None:
            return None
        is_segwit = descriptor.output_type is OutputType.P2SH_SEGWIT
        push = 1 if inner.script < 0x4C else 2 if inner.script <= 0xFF else 3  # Core counts one byte in any case
        script_sig = (push + inner.script) * _SCALE
        return Satisfaction(script_sig + inner.size * (1 if is_segwit else _SCALE), 1 + inner.elements, is_segwit)
    found = _inner(descriptor, low_r=low_r)
    if found is None or isinstance(descriptor, MiniscriptDescriptor):
        return None
    is_segwit = isinstance(descriptor, WpkhDescriptor | WshDescriptor)
    return Satisfaction(found.size * (1 if is_segwit else _SCALE), found.elements, is_segwit)


def _inner(descriptor: Descriptor, *, low_r: bool) -> _Inner | None:
    sig = _LOW_R if low_r else _ANY_R
    if isinstance(descriptor, PkDescriptor):
        return _Inner(1 + sig, 1, 1 + descriptor.keys[0].size + 1)
    if isinstance(descriptor, PkhDescriptor):
        return _Inner(1 + sig + 1 + descriptor.keys[0].size, 2, 25)
    if isinstance(descriptor, WpkhDescriptor):
        return _Inner(1 + sig + 1 + 33, 2, 22)
    if isinstance(descriptor, MultisigDescriptor):
        keys = sum(1 + key.size for key in descriptor.keys)
        numbers = len(number_script(descriptor.threshold)) + len(number_script(len(descriptor.keys)))
        return _Inner(1 + (1 + sig) * descriptor.threshold, 1 + descriptor.threshold, 1 + numbers + keys)
    if isinstance(descriptor, MiniscriptDescriptor):
        return _miniscript(descriptor.node)
    if isinstance(descriptor, WshDescriptor):
        inner = _inner(descriptor.subs[0], low_r=low_r)
        if inner is None:
            return None
        return _Inner(len(compact_size(inner.script)) + inner.script + inner.size, 1 + inner.elements, 34)
    return None


def _miniscript(node: Node) -> _Inner | None:
    def combine(part: Node, found: Sequence[WitnessSize]) -> WitnessSize:
        return witness_size(part.fragment, found, len(part.keys), part.k, tapscript=part.tapscript)

    size = node.fold(combine)[0]
    if size is None or node.stack_size is None:
        return None
    return _Inner(size, node.stack_size, node.script_size)


def input_weight(found: Satisfaction, *, tx_is_segwit: bool = True) -> int:
    """Of a whole signed input; in a transaction with witnesses even a legacy input has a count of its elements."""
    if found.is_segwit:
        script_sig, count = 1, len(compact_size(found.elements))
    else:
        script_sig, count = len(compact_size(found.weight // _SCALE)), 1 if tx_is_segwit else 0
    return (_OUTPOINT_AND_SEQUENCE + script_sig) * _SCALE + count + found.weight
