"""How large a transaction becomes when it is signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.descriptors.descriptor import Descriptor, OutputType
from btcnode.descriptors.sizes import Satisfaction, input_weight, satisfaction
from btcnode.mempool.entry import WITNESS_SCALE_FACTOR
from btcnode.primitives.compactsize import compact_size

NESTED_P2WPKH_VSIZE = 91  # of an input: what change is taken to cost that nobody knows how to spend


class InputSize(NamedTuple):
    """What is known of the size of a signed input.

    ``given`` is its weight as the user told it, which counts before what follows from ``satisfaction``.
    ``is_segwit``: the transaction has witnesses when it is there.
    """

    satisfaction: Satisfaction | None
    is_segwit: bool
    given: int | None = None

    def weight(self, *, tx_is_segwit: bool = True) -> int | None:
        """Of the signed input; None where nobody knows."""
        if self.given is not None:
            return self.given
        return None if self.satisfaction is None else input_weight(self.satisfaction, tx_is_segwit=tx_is_segwit)

    @property
    def vsize(self) -> int:
        """The same in vbytes, rounded up; 0 where nobody knows."""
        return vsize_of(self.weight() or 0)

    @property
    def is_known(self) -> bool:
        """Whether there is any way to tell."""
        return self.given is not None or self.satisfaction is not None


def size_of_input(descriptor: Descriptor, *, low_r: bool = True, given: int | None = None) -> InputSize:
    """Of one that spends what the descriptor makes."""
    is_segwit = descriptor.output_type not in (None, OutputType.LEGACY)
    return InputSize(satisfaction(descriptor, low_r=low_r), is_segwit, given)


def vsize_of(weight: int) -> int:
    """Virtual bytes, rounded up."""
    return -(-weight // WITNESS_SCALE_FACTOR)


def signed_weight(inputs: Sequence[InputSize | None], txouts: Sequence[bytes]) -> int | None:
    """Of a transaction when it is signed; None where the size of an input is not known."""
    counts = len(compact_size(len(inputs))) + len(compact_size(len(txouts)))
    weight = (4 + 4 + counts + sum(map(len, txouts))) * WITNESS_SCALE_FACTOR
    is_segwit = any(size is not None and size.is_segwit for size in inputs)
    if is_segwit:
        weight += 2
    for size in inputs:
        own = size.weight(tx_is_segwit=is_segwit) if size is not None else None
        if own is None:
            return None
        weight += own
    return weight
