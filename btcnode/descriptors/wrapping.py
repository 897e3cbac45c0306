"""Descriptors around others: sh, wsh, tr with its leaves, and what stands in leaves only."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.descriptors.descriptor import (
    Descriptor,
    KeyText,
    OutputType,
    ThresholdDescriptor,
    p2sh_script,
    p2wsh_script,
    public_text,
)
from btcnode.descriptors.keys import KeyExpression
from btcnode.descriptors.miniscript import Node, number_script
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.taproot import Leaf, TaprootTree
from btcnode.primitives.hashes import hash160
from btcnode.script.opcodes import (
    OP_CHECKSIG,
    OP_CHECKSIGADD,
    OP_NUMEQUAL,
    SEQUENCE_LOCKTIME_MASK,
    SEQUENCE_LOCKTIME_TYPE_FLAG,
)
from btcnode.script.scriptparse import push_data
from btcnode.script.signatures import is_valid_xonly
from btcnode.script.tapscript import LEAF_TAPSCRIPT


class ShDescriptor(Descriptor):
    """``sh()``: pay to script hash."""

    name = "sh"

    def __init__(self, inner: Descriptor) -> None:
        super().__init__((), (inner,))
        self._segwit = inner.output_type is OutputType.BECH32
        self.output_type = OutputType.P2SH_SEGWIT if self._segwit else OutputType.LEGACY

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        out.add_script(scripts[0])
        return [p2sh_script(scripts[0])]


class WshDescriptor(Descriptor):
    """``wsh()``: pay to witness script hash."""

    name = "wsh"
    output_type = OutputType.BECH32

    def __init__(self, inner: Descriptor) -> None:
        super().__init__((), (inner,))

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        out.add_script(scripts[0])
        return [p2wsh_script(scripts[0])]


class _TaprootOutput(Descriptor):
    """What tr() and rawtr() have in common: sizes as for spending by key, since no more is known."""

    output_type = OutputType.BECH32M


class TrDescriptor(_TaprootOutput):
    """``tr()``: an internal key and leaves with their depths, in order."""

    name = "tr"

    def __init__(self, key: KeyExpression, leaves: Sequence[Descriptor] = (), depths: Sequence[int] = ()) -> None:
        super().__init__((key,), leaves)
        self._depths = tuple(depths)

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        leaves = [Leaf(depth, LEAF_TAPSCRIPT, script) for depth, script in zip(self._depths, scripts, strict=True)]
        tree = TaprootTree(pubkeys[0][1:], leaves)
        out.trees[tree.output_key] = tree
        return [tree.script_pubkey]

    def _sub_texts(self, key_text: KeyText) -> list[str]:
        """The tree with its braces, as one argument."""
        if not self.subs:
            return []
        parts: list[str] = []
        second: list[bool] = []  # for each level we are in: whether its first half is behind us
        for n, (sub, depth) in enumerate(zip(self.subs, self._depths, strict=True)):
            parts.append("," if n else "")
            parts.append("{" * (depth - len(second)))
            second += [False] * (depth - len(second))
            parts.append(sub.body(key_text))
            while second and second[-1]:
                parts.append("}")
                second.pop()
            if second:
                second[-1] = True
        return ["".join(parts)]


class RawTrDescriptor(_TaprootOutput):
    """``rawtr()``: an output key of which no more is known."""

    name = "rawtr"

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        key = pubkeys[0][1:]
        return [b"\x51\x20" + key] if is_valid_xonly(key) else []


class MultiADescriptor(ThresholdDescriptor):
    """``multi_a()`` and ``sortedmulti_a()``: multisig of a taproot leaf."""

    name = "multi_a"

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        first, *others = self.ordered([key[1:] for key in pubkeys])
        checks = b"".join(push_data(key) + bytes((OP_CHECKSIGADD,)) for key in others)
        head = push_data(first) + bytes((OP_CHECKSIG,)) + checks
        return [head + number_script(self.threshold) + bytes((OP_NUMEQUAL,))]


class MiniscriptDescriptor(Descriptor):
    """A miniscript in wsh() or in a leaf; the keys of its nodes are positions in ``keys``."""

    def __init__(self, keys: Sequence[KeyExpression], node: Node) -> None:
        super().__init__(keys)
        self.node = node

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        cut = 1 if self.node.tapscript else 0  # tapscript knows X only
        for key in pubkeys:
            out.pubkeys.setdefault(hash160(key[cut:]), key)

        def key_bytes(number: int) -> bytes:
            return pubkeys[number][cut:]

        def key_hash(number: int) -> bytes:
            return hash160(pubkeys[number][cut:])

        return [self.node.script(key_bytes, key_hash)]

    def body(self, key_text: KeyText = public_text) -> str:
        """See ``Descriptor``."""
        return self.node.text(lambda number: key_text(self.keys[number]))

    @property
    def warnings(self) -> list[str]:
        """Relative locks that mean another time than they seem to."""
        lines = []
        for node in self.node.walk():
            if node.fragment is not Fragment.OLDER or node.k & ~SEQUENCE_LOCKTIME_TYPE_FLAG <= SEQUENCE_LOCKTIME_MASK:
                continue
            if node.k & SEQUENCE_LOCKTIME_TYPE_FLAG:
                lines.append(f"time-based relative locktime: older({node.k}) > (65535 * 512) seconds is unsafe")
            else:
                lines.append(f"height-based relative locktime: older({node.k}) > 65535 blocks is unsafe")
        return lines
