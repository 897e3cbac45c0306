"""The coins of a node that keeps none: their forest's roots, and what the next block's proof says of the coins.

A block is connected to the coins that its proof tells (``begin``), which are those of the set as far as the proof leads
to the roots. ``apply`` moves the roots on, ``apply_disconnect`` back: the roots after each of the last ``ROOTS_KEPT``
blocks are kept, and are written in the transaction that writes the tip.

Some coins are known all the same: those that recent blocks made, those that disconnected blocks give back, and those
that the user has shown proofs of. They serve the mempool, and no block is ever judged by them. They are told off like
any coins when a block spends them. In the cache they are clean coins; what was shown stays until it is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from btcnode.chain.coins_cache import CoinsBatch, CoinsCache
from btcnode.consensus.connect import BlockDelta, block_outputs
from btcnode.errors import CorruptionError, DecodeError, ForgedProofError, MissingProofError, ProofError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.storage.layout import META_COMPACT, roots_key
from btcnode.utreexo.block_proof import NOTHING, outside_inputs, read_block_proof
from btcnode.utreexo.blocks import added_leaves
from btcnode.utreexo.coin_proof import CoinProof
from btcnode.utreexo.roots import RootsAt
from btcnode.utreexo.stump import Stump

KNOWN_BUDGET = 64 << 20  # bytes; a quarter of it, in two generations, is what the known coins take
FLUSH_BLOCKS = 256  # roots of so many blocks wait for the disk: some 1 kB each
MAX_SHOWN = 20_000  # coins that users have shown, x 300 bytes: 6 MB; then the oldest go


class ProofSource(Protocol):
    """Where the proofs of blocks are."""

    def get(self, block_hash: BlockHash) -> bytes | None:
        """The proof, None when it is not here; raises StorageError."""


class RootsStore(Protocol):
    """Where the roots are."""

    def get_meta(self, name: bytes) -> bytes | None:
        """A value by its name; raises StorageError."""


class ProvenSource:
    """The coins that one block spends, for connecting it."""

    def __init__(self, coins: Mapping[bytes, bytes]) -> None:
        self._coins = coins

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The packed coin of each outpoint, None where the proof tells none."""
        return list(map(self._coins.get, outpoints))

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Never: where BIP30 could be broken, checkpoints or the heights in coinbases stand for it (BIP 182)."""
        return False


class OwnOutputs:
    """The coins after a block, as far as disconnecting it asks: it made these, whatever it spent is gone."""

    def __init__(self, block: ParsedBlock, height: int) -> None:
        spent = set(block.prevouts())
        made = (output for i in range(block.n_tx) for output in block_outputs(block, i, height))
        self._coins = {outpoint: coin for outpoint, coin in made if outpoint not in spent}

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The packed coin of each outpoint, None where it is not of the block."""
        return list(map(self._coins.get, outpoints))


class _Shown:
    """Coins that users have shown; what the cache takes for the stored ones."""

    def __init__(self) -> None:
        self.coins: dict[bytes, bytes] = {}

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The packed coin of each outpoint, None where it was not shown."""
        return list(map(self.coins.get, outpoints))

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        """None: nobody is to believe that there are no others."""
        return set()


class ProvenCoins(CoinsCache):
    """See the module. Belongs to the chain thread as its base does; ``roots_at`` may be asked from any."""

    __slots__ = ("_at", "_freezing", "_frozen_roots", "_next", "_proofs", "_shown", "_store", "_unwritten", "written")

    are_proven = True

    def __init__(self, store: RootsStore, proofs: ProofSource) -> None:
        self._shown = _Shown()
        super().__init__(self._shown, KNOWN_BUDGET)
        self._store = store
        self._proofs = proofs
        self._at: RootsAt | None = None
        self._next: RootsAt | None = None
        self._unwritten: dict[int, RootsAt] = {}
        self._frozen_roots: dict[int, RootsAt] = {}
        self._freezing = 0
        self.written = 0  # height up to which the roots are on the disk: a kill costs what lies above

    # -- roots ---------------------------------------------------------------------------------------------------

    def begin_at_genesis(self, block_hash: BlockHash) -> None:
        """A new chain: nothing is in the set after its first block."""
        self._stand(RootsAt(0, block_hash, BlockHash(bytes(32)), Stump()))

    def open_at(self, block_hash: BlockHash, height: int) -> None:
        """Load the roots after the tip; raises CorruptionError when they are not here."""
        found = self.roots_at(block_hash, height)
        if found is None:
            raise CorruptionError(f"the roots after block {to_display(block_hash)} are not in the database")
        self._at = found
        self.written = height

    @property
    def at(self) -> RootsAt:
        """The roots now."""
        if self._at is None:
            raise RuntimeError("the roots were not loaded")
        return self._at

    def roots_at(self, block_hash: BlockHash, height: int) -> RootsAt | None:
        """The roots after a block of the last ``ROOTS_KEPT``, None where they are not known; raises StorageError."""
        for layer in (self._unwritten, self._frozen_roots):
            found = layer.get(height)
            if found is not None and found.block_hash == block_hash:
                return found
        stored = self._store.get_meta(roots_key(height))
        if stored is None:
            return None
        try:
            found = RootsAt.unpack(stored)
        except DecodeError as error:
            raise CorruptionError(f"roots in the database do not decode: {error}") from None
        return found if found.block_hash == block_hash else None

    def _stand(self, at: RootsAt) -> None:
        self._at = at
        self._unwritten[at.height] = at

    # -- connecting ----------------------------------------------------------------------------------------------

    def begin(self, block: ParsedBlock, height: int, hash_at: Callable[[int], BlockHash]) -> ProvenSource:
        """The coins that a block on top of the present one spends, by its proof.

        ``hash_at`` gives the blocks below on its chain. Raises ForgedProofError, or MissingProofError.
        """
        at = self.at
        data = self._proofs.get(block.hash)
        if data is None:
            if outside_inputs(block):
                raise MissingProofError("there is no proof of what the block spends")
            data = NOTHING
        try:
            told = read_block_proof(data, block, height, hash_at)
            stump = at.stump.after(told.leaves, told.proof, added_leaves(block, height))
        except ProofError as error:
            raise ForgedProofError(str(error), data) from None
        self._next = RootsAt(height, block.hash, at.block_hash, stump)
        return ProvenSource(told.coins)

    def apply(self, delta: BlockDelta) -> None:
        """The block that ``begin`` was told of is connected."""
        if self._next is None:
            raise RuntimeError("no block was begun")
        if self._on_change is not None:
            self._on_change(delta.created, delta.spent)
        self._forget(delta.spent)
        self._know(delta.created)
        self._stand(self._next)
        self._next = None

    def apply_disconnect(self, restored: Mapping[bytes, bytes], removed: Collection[bytes]) -> None:
        """The newest block is disconnected; raises CorruptionError where the roots before it are not known."""
        at = self.at
        before = self.roots_at(at.parent, at.height - 1)
        if before is None:
            raise CorruptionError(f"the roots before block {to_display(at.block_hash)} are not kept any more")
        if self._on_change is not None:
            coins = zip(removed, self.peek_many(list(removed)), strict=True)
            self._on_change(restored, {outpoint: coin for outpoint, coin in coins if coin is not None})
        self._forget(removed)
        self._know(restored)
        self._unwritten.pop(at.height, None)
        self._next = None
        self._stand(before)

    def _forget(self, outpoints: Iterable[bytes]) -> None:
        shown = self._shown.coins
        for outpoint in outpoints:
            self._forget_clean(outpoint)
            shown.pop(outpoint, None)

    def _know(self, coins: Mapping[bytes, bytes]) -> None:
        young = self._young
        for outpoint in coins.keys() & young.keys():
            self._forget_clean(outpoint)
        young.update(coins)
        self._clean_bytes += sum(map(len, coins.values()))
        self._trim()

    def set_budget(self, budget: int) -> None:
        """As the base's, but no more than the known coins are worth."""
        super().set_budget(min(budget, KNOWN_BUDGET))

    # -- coins that are known ------------------------------------------------------------------------------------

    def show(self, proof: CoinProof) -> None:
        """From now on the coins of a proof are known; raises ProofError, also when it is not about the tip."""
        at = self.at
        if proof.after != at.block_hash:
            raise ProofError(
                f"the proof is about block {to_display(proof.after)}, the tip is {to_display(at.block_hash)}"
            )
        proof.verify(at.stump)
        shown = self._shown.coins
        for coin in proof.coins:
            shown.pop(coin.outpoint, None)
            if len(shown) >= MAX_SHOWN:
                del shown[next(iter(shown))]
            shown[coin.outpoint] = coin.coin

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Whether one of the outpoints has a known coin."""
        return any(coin is not None for coin in self.peek_many(outpoints))

    def unknown(self, outpoints: Sequence[bytes]) -> list[bytes]:
        """None: there is no database to ask."""
        return []

    def read_anew(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """What is known."""
        return self.peek_many(outpoints)

    # -- flushing ------------------------------------------------------------------------------------------------

    def needs_flush(self) -> bool:
        """Whether many roots are not on disk."""
        return len(self._unwritten) >= (4 * FLUSH_BLOCKS if self._frozen_roots else FLUSH_BLOCKS)

    def is_dirty(self) -> bool:
        """Whether there are roots to write beside what is being written."""
        return bool(self._unwritten)

    def is_frozen(self) -> bool:
        """Whether roots are on their way to the database."""
        return bool(self._frozen_roots)

    def freeze(self) -> CoinsBatch:
        """The roots that are to be written."""
        if self._frozen_roots:
            raise RuntimeError("a batch is on its way to the database already")
        self._frozen_roots, self._unwritten, self._freezing = self._unwritten, {}, self.at.height
        meta = {roots_key(height): roots.pack() for height, roots in self._frozen_roots.items()}
        return CoinsBatch({}, frozenset(), meta | {META_COMPACT: b""})

    def thaw(self) -> None:
        """The batch could not be written: it is dirty as before."""
        self._unwritten = self._frozen_roots | self._unwritten
        self._frozen_roots = {}

    def flushed(self) -> None:
        """The batch is on disk."""
        self._frozen_roots = {}
        self.written = self._freezing
