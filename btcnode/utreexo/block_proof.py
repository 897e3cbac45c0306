"""The proof of what a block spends, as peers tell it, turned into the coins themselves (BIP 182, 183).

``hashes``, ``positions`` (CompactSize each) and compact leaves, each behind their number. Nothing of it is believed:
the coins are those that hash to the leaves that the proof proves, and whatever is wrong is a ``ProofError``, after
work that is bounded by the lengths of block and proof.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.consensus.connect import last_witness_items
from btcnode.errors import DecodeError, ProofError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record
from btcnode.utreexo.blocks import OVERWRITTEN_LEAVES
from btcnode.utreexo.compact import PUBKEY_HASH, SCRIPT_HASH, WITNESS_SCRIPT_HASH, script_of_input
from btcnode.utreexo.hashing import HASH_SIZE, leaf_hash
from btcnode.utreexo.positions import MAX_ROWS
from btcnode.utreexo.proof import MAX_HASHES, Proof

NOTHING = b"\0\0\0"  # the proof of a block that spends nothing from outside
_HEAD = 12  # code and value
_MAX_POSITION = 2**64 - 1
_MAX_SCRIPT = 10_000
_LARGEST_PUSH = 75


@record
class BlockCoins:
    """``coins`` by 36-byte outpoint; their ``leaves`` in the order of ``proof``'s targets."""

    coins: dict[bytes, bytes]
    leaves: list[bytes]
    proof: Proof


def outside_inputs(block: ParsedBlock) -> dict[bytes, tuple[int, int]]:
    """Each outpoint of another block that this one spends, and by which input of which transaction, in order."""
    own, raw, found = set(block.txids), block.raw, dict[bytes, tuple[int, int]]()
    for i in range(1, block.n_tx):
        first = block.first_in[i]
        for k in range(first, block.first_in[i + 1]):
            at = block.in_pos[k]
            outpoint = raw[at : at + 36]
            if outpoint[:32] not in own:
                found.setdefault(outpoint, (i, k - first))
    return found


def read_block_proof(data: bytes, block: ParsedBlock, height: int, hash_at: Callable[[int], BlockHash]) -> BlockCoins:
    """The coins that a proof tells of a block at ``height``; ``hash_at`` gives the blocks below on its own chain.

    Raises ProofError for anything but the exact form, with a leaf for each coin from outside. That the leaves are in
    the forest is not looked at here.
    """
    try:
        inputs = outside_inputs(block)
        proof, at = _read_lists(data, len(inputs))
        count, at = read_compact_size(data, at, len(data))
        if count != len(inputs):
            raise ProofError(f"{count} leaves for {len(inputs)} coins")
        reader = _Leaves(data, at, block, height, hash_at)
        coins, leaves = {}, []
        for outpoint, (tx, place) in inputs.items():
            coin, leaf = reader.next(outpoint, tx, place)
            coins[outpoint] = coin
            leaves.append(leaf)
    except DecodeError as error:
        raise ProofError(f"the proof does not decode: {error}") from None
    if reader.at != len(data):
        raise ProofError("bytes behind the proof")
    if not OVERWRITTEN_LEAVES.isdisjoint(leaves):
        raise ProofError("the proof is of a coin that was overwritten in 2010")
    return BlockCoins(coins, leaves, proof)


def _read_lists(data: bytes, coins: int) -> tuple[Proof, int]:
    """Hashes and positions for so many coins, and the place behind them; raises DecodeError, ProofError.

    Numbers that cannot be right are refused before anything of that length is read.
    """
    count, at = read_compact_size(data, 0, MAX_HASHES)
    if count > coins * MAX_ROWS:
        raise ProofError(f"{count} hashes for {coins} coins")
    end = at + count * HASH_SIZE
    if end > len(data):
        raise DecodeError("it ends before its last hash")
    hashes = tuple(data[start : start + HASH_SIZE] for start in range(at, end, HASH_SIZE))
    count, at = read_compact_size(data, end, len(data))
    if count != coins:
        raise ProofError(f"{count} positions for {coins} coins")
    targets = []
    for _ in range(count):
        target, at = read_compact_size(data, at, _MAX_POSITION)
        targets.append(target)
    return Proof(tuple(targets), hashes), at


class _Leaves:
    """Compact leaves, one after the other; ``at`` is the place of the next."""

    def __init__(
        self, data: bytes, at: int, block: ParsedBlock, height: int, hash_at: Callable[[int], BlockHash]
    ) -> None:
        self.at = at
        self._data = data
        self._block = block
        self._height = height
        self._hash_at = hash_at
        self._hashes: dict[int, BlockHash] = {}
        self._witnesses: list[bytes | None] = []
        self._witnesses_of = 0

    def next(self, outpoint: bytes, tx: int, place: int) -> tuple[bytes, bytes]:
        """The coin that input ``place`` of transaction ``tx`` spends, and its leaf; raises DecodeError, ProofError."""
        data, at = self._data, self.at
        head = data[at : at + _HEAD]
        begin = at + _HEAD + 1
        if begin > len(data):
            raise DecodeError("it ends before its last leaf")
        kind = data[begin - 1]
        if kind == 0:
            size, script_at = read_compact_size(data, begin, _MAX_SCRIPT)
            self.at = script_at + size
            if self.at > len(data):
                raise DecodeError("it ends before its last leaf")
            coin = head + data[begin : self.at]
        else:
            self.at = begin
            script = self._script(kind, tx, place)
            if script is None:
                raise ProofError(f"an input does not spend the kind {kind} of script that the proof says")
            coin = head + compact_size(len(script)) + script
        made_at = int.from_bytes(head[:4], "little") >> 1
        if made_at >= self._height:
            raise ProofError(f"a coin of height {made_at}, which is not below the block")
        made_by = self._hashes.get(made_at)
        if made_by is None:
            made_by = self._hashes[made_at] = self._hash_at(made_at)
        return coin, leaf_hash(made_by, outpoint, coin)

    def _script(self, kind: int, tx: int, place: int) -> bytes | None:
        """What the input must have spent, if it is of this kind."""
        block = self._block
        if kind > WITNESS_SCRIPT_HASH:
            return None
        if kind in (PUBKEY_HASH, SCRIPT_HASH):
            size, at = read_compact_size(block.raw, block.in_pos[block.first_in[tx] + place] + 36)
            return script_of_input(kind, _short_form(block.raw[at : at + size]), ())
        if self._witnesses_of != tx:
            self._witnesses, self._witnesses_of = last_witness_items(block, tx), tx
        item = self._witnesses[place]
        return None if item is None else script_of_input(kind, b"", (item,))


def _short_form(script_sig: bytes) -> bytes:
    """Of two pushes, as most are, only the second; what comes last in it is the same."""
    size = len(script_sig)
    if size > 2 and 0 < (first := script_sig[0]) <= _LARGEST_PUSH and first + 1 < size:
        rest = size - first - 2
        if 0 < rest <= _LARGEST_PUSH and script_sig[first + 1] == rest:
            return script_sig[first + 1 :]
    return script_sig
