"""Blocks on top of the tip: coinbase, commitments, and the search for a nonce."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.blocks import height_script
from btcnode.consensus.commitment import witness_commitment
from btcnode.consensus.deployments import VersionBits
from btcnode.consensus.pow import bits_to_target, next_bits
from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import ZERO_HASH, BlockHash, sha256d
from btcnode.primitives.header import Header
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.record import record

COMMITMENT_HEAD = bytes.fromhex("6a24aa21a9ed")  # OP_RETURN, push of 36 bytes, BIP141's tag
MAX_TIMEWARP_S = 600  # BIP94: a period may begin this much before its predecessor's end
MAX_SEQUENCE_NONFINAL = 0xFFFFFFFE
NONCES = 1 << 32  # of a header
EXTRA_NONCE = b"\x00"  # OP_0: a coinbase script_sig has two bytes at least


@record
class Candidate:
    """A block without proof of work: 80 header bytes and transactions."""

    header: bytes
    txs: tuple[Tx, ...]

    def with_header(self, header: bytes) -> bytes:
        """The serialised block under a solved header."""
        return b"".join((header, compact_size(len(self.txs)), *(tx.raw for tx in self.txs)))


def minimum_time(tree: Ancestry, prev: int, params: NetworkParams) -> int:
    """The earliest time a child of ``prev`` may have, so that it is valid with and without BIP94."""
    earliest = tree.median_time_past(prev) + 1
    if (tree.height(prev) + 1) % params.difficulty_adjustment_interval == 0:
        earliest = max(earliest, tree.time(prev) - MAX_TIMEWARP_S)
    return earliest


def coinbase_transaction(
    height: int,
    value: int,
    script_pubkey: bytes,
    txs: Sequence[Tx],
    *,
    with_witness: bool,
    extra_nonce: bytes = EXTRA_NONCE,
) -> Tx:
    """The coinbase of a block with ``txs``; it commits to their wtxids (BIP141), before segwit too, as Core's does.

    ``extra_nonce``, a script of 1 to 90 bytes, follows the height in its script_sig.
    """
    root, _ = merkle_root([ZERO_HASH, *(tx.wtxid for tx in txs)])
    outputs = [make_txout(value, script_pubkey), make_txout(0, COMMITMENT_HEAD + sha256d(root + ZERO_HASH))]
    witness = [[ZERO_HASH]] if with_witness else []
    script_sig = height_script(height) + extra_nonce
    return Tx(2, [NULL_OUTPOINT], [script_sig], [MAX_SEQUENCE_NONFINAL], outputs, witness, max(height - 1, 0))


def assemble(
    tree: Ancestry,
    prev: int,
    params: NetworkParams,
    version_bits: VersionBits,
    now: int,
    script_pubkey: bytes,
    txs: Sequence[Tx] = (),
    fees: int = 0,
    *,
    version: int | None = None,
    extra_nonce: bytes = EXTRA_NONCE,
) -> Candidate:
    """A block on ``prev`` that holds ``txs`` and pays the subsidy and ``fees`` (satoshi) to ``script_pubkey``.

    ``version`` overrides the one that signals for deployments. With the same ``extra_nonce`` the block is the same
    within one second.
    """
    height = tree.height(prev) + 1
    coinbase = coinbase_transaction(
        height,
        block_subsidy(height, params) + fees,
        script_pubkey,
        txs,
        with_witness=height >= params.segwit_height,
        extra_nonce=extra_nonce,
    )
    block_txs = (coinbase, *txs)
    root, _ = merkle_root([tx.txid for tx in block_txs])
    time = max(now, minimum_time(tree, prev, params))
    header = Header(
        version=version_bits.block_version(prev) if version is None else version,
        prev_hash=BlockHash(tree.hash(prev)),
        merkle_root=root,
        time=time,
        bits=next_bits(tree, prev, time, params),
        nonce=0,
    )
    return Candidate(header.serialize(), block_txs)


def grind(header: bytes, max_tries: int, first: int = 0) -> tuple[bytes | None, int]:
    """Search a nonce from ``first`` on: the solved header, or None after ``max_tries`` that failed; how many failed."""
    head = header[:76]
    target = bits_to_target(int.from_bytes(header[72:76], "little"))
    for nonce in range(first, min(first + max_tries, NONCES)):
        candidate = head + nonce.to_bytes(4, "little")
        if int.from_bytes(sha256d(candidate), "little") <= target:
            return candidate, nonce - first
    return None, max_tries


def with_coinbase_witness(block: ParsedBlock) -> bytes:
    """The block's bytes, with the all-zero witness nonce added to a coinbase that commits to witnesses and has none."""
    coinbase = block.tx(0)
    if coinbase.has_witness or len(coinbase.prevouts) != 1 or witness_commitment(block) is None:
        return block.raw
    filled = Tx(
        coinbase.version,
        coinbase.prevouts,
        coinbase.script_sigs,
        coinbase.sequences,
        coinbase.txouts,
        [[ZERO_HASH]],
        coinbase.lock_time,
    )
    return block.raw[: block.tx_pos[0]] + filled.raw + block.raw[block.tx_pos[1] :]
