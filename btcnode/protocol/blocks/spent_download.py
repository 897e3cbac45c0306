"""Asking peers for the coins that blocks spend, for a full sync with hints (docs/swiftsync.md)."""

from __future__ import annotations

from btcnode.protocol.blocks.side_download import SideDownload
from btcnode.protocol.commands import DropSpent, FetchSpent, SpentJudged
from btcnode.protocol.effects import TakeSpent
from btcnode.protocol.limits import MAX_SPENT_PER_PEER
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import Peer, SideState
from btcnode.wire.constants import MSG_BLOCK_SPENT, NODE_BLOCK_UNDO, SPENT_VERSION
from btcnode.wire.messages import BlockSpent, GetBlockSpent


class SpentDownload(SideDownload):
    """What is wanted is the command's to say."""

    what = "spent coins"
    service = NODE_BLOCK_UNDO
    not_found = MSG_BLOCK_SPENT
    unasked = Offence.SPENT_UNASKED
    wrong = Offence.SPENT_WRONG
    most_per_peer = MAX_SPENT_PER_PEER

    def state(self, peer: Peer) -> SideState:
        """Where a peer's requests are noted."""
        return peer.spent

    def request(self, index: int) -> GetBlockSpent:
        """The message that asks for the coins of a block."""
        return GetBlockSpent(SPENT_VERSION, self._ctx.tree.hash(index))

    def on_fetch(self, command: FetchSpent) -> None:
        """The coins of these blocks are wanted; each is answered by one ``TakeSpent``, when somebody has them."""
        self._want(index for index in command.indices if index not in self._asked)
        self._ask()

    def on_drop(self, _: DropSpent) -> None:
        """Nothing is wanted any more; what is on its way may still come."""
        self._wanted.clear()
        for index, peer_id in list(self._asked.items()):
            self._release(self._ctx.peers[peer_id], index)

    def on_judged(self, verdict: SpentJudged) -> None:
        """The coins that a peer told do not go together with their block, or with what the block says itself."""
        peer = self._ctx.peers.get(verdict.peer_id)
        if peer is not None:
            self._refuse(peer, verdict.index, verdict.reason)

    def on_answer(self, peer: Peer, message: BlockSpent) -> None:
        """Hand coins over, if they were asked for; the draft wants a peer disconnected that sends others."""
        index = self._arrived(peer, message.block_hash)
        if index >= 0:
            self._ctx.emit(TakeSpent(peer.id, index, message.coins))
            self._ask()
