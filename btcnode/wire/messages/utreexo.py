"""Utreexo proofs and roots (BIP 183, draft): asked for and told."""

from __future__ import annotations

from typing import ClassVar

from btcnode.primitives.compactsize import compact_size
from btcnode.record import record
from btcnode.wire.codec import Message, Reader, encode_hashes, encode_var_bytes
from btcnode.wire.constants import (
    MAX_BLOCK_INPUTS,
    MAX_PROTOCOL_MESSAGE_LENGTH,
    MAX_UTREEXO_HASHES,
    MAX_UTREEXO_ROOTS,
)

ALL_TARGETS, ALL_HASHES, ALL_LEAVES = 1, 2, 4
_PROOF_BITS, _LEAF_BITS = -(-MAX_UTREEXO_HASHES // 8), -(-MAX_BLOCK_INPUTS // 8)  # bytes


@record
class GetUtreexoProof(Message):
    """Request for the proof of what a block spends.

    ``parts``: ``ALL_TARGETS``, ``ALL_HASHES`` and ``ALL_LEAVES`` as in utreexod. BIP 183 has a boolean there, true for
    all of it: that is 1 with neither bitmap. Bit ``n % 8`` of byte ``n // 8`` of a bitmap asks for one hash or leaf.
    """

    command: ClassVar[str] = "getuproof"
    max_size: ClassVar[int] = 32 + 1 + 5 + _PROOF_BITS + 5 + _LEAF_BITS

    block_hash: bytes
    parts: int = ALL_TARGETS | ALL_HASHES | ALL_LEAVES
    hashes: bytes = b""
    leaves: bytes = b""

    @classmethod
    def decode(cls, payload: bytes) -> GetUtreexoProof:
        """Read the payload; bitmaps of more than any proof has raise LimitExceeded."""
        r = Reader(payload)
        block_hash, parts = r.take(32), r.u8()
        hashes = r.take(r.count(1, _PROOF_BITS, "bytes of a bitmap of hashes"))
        return cls(block_hash, parts, hashes, r.take(r.count(1, _LEAF_BITS, "bytes of a bitmap of leaves")))

    def encode(self) -> bytes:
        """The payload."""
        return self.block_hash + bytes((self.parts,)) + encode_var_bytes(self.hashes) + encode_var_bytes(self.leaves)

    @property
    def wants(self) -> int:
        """The parts that are asked for as a whole."""
        everything = ALL_TARGETS | ALL_HASHES | ALL_LEAVES
        return everything if self.parts == 1 and not self.hashes and not self.leaves else self.parts & everything


@record
class UtreexoProof(Message):
    """The proof, as bytes: hashes, positions and compact leaves, each behind their number, and whatever follows."""

    command: ClassVar[str] = "uproof"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    block_hash: bytes
    proof: bytes

    @classmethod
    def decode(cls, payload: bytes) -> UtreexoProof:
        """Read the payload but for the proof itself; more hashes than any proof has raise LimitExceeded."""
        r = Reader(payload)
        block_hash = r.take(32)
        r.count(32, MAX_UTREEXO_HASHES, "hashes of a Utreexo proof")
        return cls(block_hash, payload[32:])

    def encode(self) -> bytes:
        """The payload."""
        return self.block_hash + self.proof


@record
class GetUtreexoRoot(Message):
    """Request for the roots after a block."""

    command: ClassVar[str] = "geturoot"

    block_hash: bytes

    @classmethod
    def decode(cls, payload: bytes) -> GetUtreexoRoot:
        """Read the payload."""
        return cls(Reader(payload).take(32))

    def encode(self) -> bytes:
        """The payload."""
        return self.block_hash


@record
class UtreexoRoot(Message):
    """The roots after a block, zeros for an empty one.

    ``target`` and ``proof`` prove them in a forest of roots that a program may have built in; we have none.
    """

    command: ClassVar[str] = "uroot"

    leaves: int
    target: int
    block_hash: bytes
    roots: tuple[bytes, ...]
    proof: tuple[bytes, ...] = ()

    @classmethod
    def decode(cls, payload: bytes) -> UtreexoRoot:
        """Read the payload; too many hashes raise LimitExceeded."""
        r = Reader(payload)
        leaves, target, block_hash = r.compact(2**64 - 1), r.compact(2**64 - 1), r.take(32)
        roots = r.hashes(MAX_UTREEXO_ROOTS, "Utreexo roots")
        return cls(leaves, target, block_hash, roots, r.hashes(255, "hashes of a proof of Utreexo roots"))

    def encode(self) -> bytes:
        """The payload."""
        numbers = compact_size(self.leaves) + compact_size(self.target) + self.block_hash
        return numbers + encode_hashes(self.roots) + encode_hashes(self.proof)
