"""Asking bridges for Utreexo proofs, of a node that keeps no coins (docs/utreexo.md).

A proof comes before its block: a block is asked for once its proof is here, so that no block that was received waits
for a peer, which might not be read from for that very reason. Wanted are the proofs of the blocks above the active
chain on the way to what each bridge knows as its best. Of a block that is not valid nobody has a proof, so that it is
not fetched either; who makes one up is found out when the block is to be connected.
"""

from __future__ import annotations

from btcnode.protocol.blocks.late_blocks import remember
from btcnode.protocol.blocks.side_download import SideDownload
from btcnode.protocol.commands import ProofRefused, ProofsKept
from btcnode.protocol.context import Context
from btcnode.protocol.effects import KeepProof
from btcnode.protocol.limits import MAX_PROOFS_ASKED, MAX_PROOFS_PER_PEER, PROOF_MISSING_EXPIRY, PROOFS_AHEAD
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, Peer, SideState
from btcnode.wire.constants import MSG_UTREEXO_PROOF, NODE_UTREEXO_ARCHIVE
from btcnode.wire.messages import GetUtreexoProof, UtreexoProof

MAX_FORGERS = 64  # peers whose proofs may still be on their way to where they are kept


class ProofDownload(SideDownload):
    """Which proofs are here is told by those who keep them (``ProofsKept``)."""

    what = "the Utreexo proof"
    service = NODE_UTREEXO_ARCHIVE
    not_found = MSG_UTREEXO_PROOF
    unasked = Offence.UTREEXO_UNASKED
    wrong = Offence.UTREEXO_WRONG
    most_per_peer = MAX_PROOFS_PER_PEER
    most = MAX_PROOFS_ASKED
    missing_expiry = PROOF_MISSING_EXPIRY

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self._here: dict[int, int] = {}  # header index -> the peer that told it, NONE: an earlier run's
        self._on_their_way: dict[int, int] = {}  # to where they are kept, as above
        self._doubted: dict[int, None] = {}  # somebody told them who has forged another
        self._forgers: dict[int, float] = {}  # peers that have, by when that was found out
        self._due = True  # something has changed of what is wanted
        ctx.providers.want(self.service)

    def state(self, peer: Peer) -> SideState:
        """Where a peer's requests are noted."""
        return peer.proofs

    def request(self, index: int) -> GetUtreexoProof:
        """The message that asks for the whole proof of a block."""
        return GetUtreexoProof(self._ctx.tree.hash(index))

    def __contains__(self, index: int) -> bool:
        """Whether the proof of a block is here, so that the block may be asked for."""
        return index in self._here

    def note_change(self) -> None:
        """The tip has moved, or a peer has told of a block: other proofs may be wanted."""
        self._due = True

    def plan(self) -> None:
        """See what is wanted now, if that may have changed, and ask for it."""
        if not self._due:
            return
        self._due = False
        ctx = self._ctx
        bests = dict.fromkeys(peer.headers.best_known for peer in ctx.established() if self.gives(peer))
        self._wanted = {}
        for best in bests:
            if best >= 0 and ctx.tree.chainwork(best) > max(ctx.tip_work(), ctx.chain.minimum_chain_work - 1):
                self._want(self._lacking(best))
        self._ask()

    def _lacking(self, best: int) -> list[int]:
        """The next blocks on the way to ``best`` of which nothing is here; none when one of the way is invalid."""
        tree, lacking = self._ctx.tree, []
        fork = tree.height(tree.find_fork(best, self._ctx.active.tip))
        if tree.is_failed(best):
            return []
        at = tree.ancestor(best, min(tree.height(best), fork + PROOFS_AHEAD))
        for _ in range(tree.height(at) - fork):
            known = at in self._here or at in self._asked or at in self._on_their_way
            if not known and (at in self._doubted or not tree.has_data(at)):
                lacking.append(at)
            at = tree.prev(at)
        return lacking

    def begin_tick(self) -> None:
        """Once for all peers."""
        self._due = True
        super().begin_tick()

    # -- answers -------------------------------------------------------------------------------------------------

    def on_answer(self, peer: Peer, message: UtreexoProof) -> None:
        """Have a proof kept, if it was asked for."""
        index = self._arrived(peer, message.block_hash)
        if index >= 0:
            self._on_their_way[index] = peer.id
            self._ctx.emit(KeepProof(peer.id, index, message.proof))
            self._ask()

    def on_kept(self, told: ProofsKept) -> None:
        """Proofs are where they are kept."""
        for index in told.indices:
            if self._on_their_way.get(index) == told.peer_id:
                del self._on_their_way[index]
            if told.peer_id in self._forgers:
                self._doubt(index)
            else:
                self._here[index] = told.peer_id
                self._doubted.pop(index, None)

    def on_refused(self, verdict: ProofRefused) -> None:
        """A block could not be connected by its proof: another is wanted, unless that is here already.

        Who told a forged one is dealt with, and whatever else he told is asked of others: each forged one would cost
        its block. What lies there is tried all the same, where a block is connected before another has come.
        """
        self._due = True
        if not verdict.forged or verdict.peer_id == self._here.get(verdict.index, verdict.peer_id):
            self._here.pop(verdict.index, None)
        if not verdict.forged or verdict.peer_id == NONE:
            return
        remember(self._forgers, verdict.peer_id, self._ctx.steady, MAX_FORGERS)
        for told in (self._here, self._on_their_way):
            for index in [index for index, peer_id in told.items() if peer_id == verdict.peer_id]:
                del told[index]
                self._doubt(index)
        giver = self._ctx.peers.get(verdict.peer_id)
        if giver is not None:
            self._refuse(giver, verdict.index, verdict.reason)

    def _doubt(self, index: int) -> None:
        """The proof of a block is asked of others, also where the block is here."""
        if index not in self._here:
            self._doubted[index] = None
            self._due = True

    def on_connected(self, indices: tuple[int, ...]) -> None:
        """The proofs of these blocks have done their service."""
        self._due = True
        for index in indices:
            self._here.pop(index, None)
            self._doubted.pop(index, None)
