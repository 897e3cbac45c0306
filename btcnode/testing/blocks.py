"""Building blocks for tests and benchmarks: every part can be overridden, so that it can also be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from btcnode.consensus.pow import bits_to_target
from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import ZERO_HASH, sha256d
from btcnode.primitives.header import HEADER_STRUCT
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.record import struct

COMMITMENT_PREFIX = bytes.fromhex("6a24aa21a9ed")
ANYONE_CAN_SPEND = b"\x51"  # OP_TRUE
TOP_BITS_VERSION = 0x20000000


def push_number(number: int) -> bytes:
    """A minimal script push of a number >= 0, as BIP34 wants heights."""
    if number == 0:
        return b"\x00"
    if number <= 16:
        return bytes([0x50 + number])
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return bytes([len(data)]) + data


def coinbase_tx(
    height: int,
    value: int,
    script_pubkey: bytes = ANYONE_CAN_SPEND,
    *,
    extra: bytes = b"\x00",
    commitment: bytes | None = None,
    extra_outputs: Sequence[bytes] = (),
) -> Tx:
    """A coinbase of version 2 paying ``value``; ``extra`` follows the height (a script_sig has at least 2 bytes).

    With ``commitment`` (the 32 bytes of BIP141) it has the commitment output and the zero nonce as witness.
    """
    txouts = [make_txout(value, script_pubkey), *extra_outputs]
    witnesses = None
    if commitment is not None:
        txouts.append(make_txout(0, COMMITMENT_PREFIX + commitment))
        witnesses = [[ZERO_HASH]]
    return Tx(2, [NULL_OUTPOINT], [push_number(height) + extra], [SEQUENCE_FINAL], txouts, witnesses)


def witness_commitment(txs: Sequence[Tx], nonce: bytes = ZERO_HASH) -> bytes:
    """The BIP141 commitment over the transactions after the coinbase."""
    root, _ = merkle_root([ZERO_HASH, *(tx.wtxid for tx in txs)])
    return sha256d(root + nonce)


def assemble(header: bytes, txs: Sequence[Tx]) -> bytes:
    """Header and transactions as a serialised block."""
    return b"".join((header, compact_size(len(txs)), *(tx.raw for tx in txs)))


def grind(header: bytes, *, valid: bool = True) -> bytes:
    """Set the nonce so that the header meets its own nBits (or, with ``valid`` False, misses it)."""
    target = bits_to_target(int.from_bytes(header[72:76], "little"))
    head = header[:76]
    for nonce in range(1 << 32):
        candidate = head + nonce.to_bytes(4, "little")
        if (int.from_bytes(sha256d(candidate), "little") <= target) is valid:
            return candidate
    raise ValueError("no nonce gives that hash")


@struct
class BlockTemplate:
    """What goes into a block on top of ``prev_hash``; fields left at None are computed by ``build``."""

    params: NetworkParams
    prev_hash: bytes
    height: int
    time: int
    bits: int
    txs: list[Tx] = field(default_factory=list)
    fees: int = 0
    script_pubkey: bytes = ANYONE_CAN_SPEND
    extra: bytes = b"\x00"
    version: int = TOP_BITS_VERSION
    coinbase: Tx | None = None
    coinbase_value: int | None = None
    commit: bool | None = None
    merkle: bytes | None = None

    def build(self) -> bytes:
        """The serialised block with valid proof of work (its bits must be easy, as on regtest)."""
        txs = [self._coinbase(), *self.txs]
        root = self.merkle or merkle_root([tx.txid for tx in txs])[0]
        header = HEADER_STRUCT.pack(self.version, self.prev_hash, root, self.time, self.bits, 0)
        return assemble(grind(header), txs)

    def _coinbase(self) -> Tx:
        if self.coinbase is not None:
            return self.coinbase
        value = self.coinbase_value
        if value is None:
            value = block_subsidy(self.height, self.params) + self.fees
        commit = self.commit
        if commit is None:
            commit = any(tx.has_witness for tx in self.txs)
        commitment = witness_commitment(self.txs) if commit else None
        return coinbase_tx(self.height, value, self.script_pubkey, extra=self.extra, commitment=commitment)
