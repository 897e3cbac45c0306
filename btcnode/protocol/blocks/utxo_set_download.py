"""Asking peers for a UTXO set in chunks (BIP 452, draft; docs/utxo-sets.md): whom for what, and who is given up.

A peer is asked for chunks once it has told the hashes of all of them, and their root is the one that is known: so a
peer that has another set, or none, keeps no chunk waiting. One chunk is under way from each peer. Whoever tells
something wrong is disconnected and not asked again under that address; who is silent is left alone for a while, and
what it owes is asked of others. Whatever is kept of a peer goes with it: its chunks are free for the others.
"""

from __future__ import annotations

from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.protocol.commands import DropUtxoSet, FetchUtxoChunks, FetchUtxoSet, UtxoChunkJudged
from btcnode.protocol.connections.providers import source_key
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel, TakeUtxoChunk, TakeUtxoTree
from btcnode.protocol.limits import (
    MAX_LATE_UTXO_CHUNKS,
    MAX_UTXO_CHUNKS,
    MAX_UTXO_LIARS,
    UTXO_CHUNK_LATE,
    UTXO_CHUNK_PATIENCE,
    UTXO_LOOK_INTERVAL,
    UTXO_TREE_AGAIN,
    UTXO_TREE_PATIENCE,
    UTXO_TREES_AT_ONCE,
    UTXO_VOICES,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import Peer, Standing
from btcnode.wire.constants import NODE_UTXO_SET
from btcnode.wire.messages import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree


class UtxoSetDownload:
    """One set at a time. Which chunks are wanted, and what becomes of those that come, is the asker's to say."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._block_hash = b""  # of the set that is wanted, empty: none
        self._root: bytes | None = None
        self._told: dict[bytes, list[int]] = {}  # while no root is known: peers by the root that they told
        self._tree: UtxoTree | None = None  # handed over
        self._wanted: dict[int, None] = {}  # chunks asked of nobody, the first ones first
        self._asked: dict[int, int] = {}  # chunk -> peer
        self._judging: dict[int, int] = {}  # chunks that were handed over -> peer
        self._liars: dict[bytes, None] = {}
        self._looked = ctx.steady

    # -- what is wanted ------------------------------------------------------------------------------------------

    def on_fetch(self, command: FetchUtxoSet) -> None:
        """Another set is wanted, or one at all."""
        self.on_drop(DropUtxoSet())
        self._block_hash, self._root = command.block_hash, command.root
        self._ctx.providers.want(NODE_UTXO_SET)
        self._look_around()

    def on_chunks(self, command: FetchUtxoChunks) -> None:
        """The hashes of the chunks are agreed on, and these chunks are not here."""
        if command.tree.block_hash == self._block_hash:
            self._tree = command.tree
            self._root = command.tree.root
            under_way = self._asked.keys() | self._judging.keys()
            self._wanted = dict.fromkeys(chunk for chunk in command.chunks if chunk not in under_way)
            self._ask()

    def on_drop(self, _: DropUtxoSet) -> None:
        """Nothing is wanted any more; what is on its way may still come."""
        for chunk, peer_id in list(self._asked.items()):
            self._release(self._ctx.peers[peer_id], chunk)
        self._block_hash, self._root, self._tree = b"", None, None
        self._ctx.providers.no_longer(NODE_UTXO_SET)
        for kept in (self._told, self._wanted, self._judging):
            kept.clear()
        for peer in self._ctx.peers.values():
            peer.utxo_set.standing = Standing.NEW

    def on_judged(self, verdict: UtxoChunkJudged) -> None:
        """A chunk that was handed over is on disk, or not what it should be, or could not be written."""
        if self._judging.pop(verdict.chunk, None) is None:
            return
        if not verdict.stored:
            self._want(verdict.chunk)
        peer = self._ctx.peers.get(verdict.peer_id)
        if verdict.stored and peer is not None:
            peer.last_given = self._ctx.steady
            self._ctx.providers.gave(peer.address)
        if verdict.wrong and peer is not None:
            self._blame(peer, f"chunk {verdict.chunk} does not have its hash")
        self._ask()

    def sources(self) -> int:
        """Peers that are known to have the set."""
        return sum(peer.utxo_set.standing is Standing.HAS_IT for peer in self._ctx.established())

    # -- peers ---------------------------------------------------------------------------------------------------

    def begin_tick(self) -> None:
        """Once for all peers."""
        if self._block_hash and self._ctx.steady - self._looked >= UTXO_LOOK_INTERVAL:
            self._look_around()

    def forget(self, peer: Peer) -> None:
        """Nothing more is expected of the peer: what it owes is free for others."""
        for chunk in list(peer.utxo_set.in_flight):
            self._release(peer, chunk)
            self._want(chunk)
        for voices in self._told.values():
            if peer.id in voices:
                voices.remove(peer.id)
        if self._block_hash:
            self._ask()

    def _look_around(self) -> None:
        """Who is late, who may be asked for hashes, and who for chunks."""
        steady, jumped = self._ctx.steady, self._ctx.steady - self._looked > UTXO_CHUNK_LATE
        self._looked = steady
        for peer in self._ctx.established():
            state = peer.utxo_set
            if jumped or peer.pauses:  # its silence was ours
                state.since = max(state.since, steady) if state.standing is Standing.ASKED else state.since
                state.in_flight.update(dict.fromkeys(state.in_flight, steady))
            elif state.standing is Standing.ASKED and steady - state.since > UTXO_TREE_PATIENCE:
                state.standing = Standing.LACKS_IT
                self._ctx.providers.failed(peer.address, steady)
            elif state.standing is Standing.LACKS_IT and steady - state.since > UTXO_TREE_AGAIN:
                state.standing = Standing.NEW
            self._check_pace(peer)
        self._ask_for_trees()
        self._ask()

    def _check_pace(self, peer: Peer) -> None:
        state, steady = peer.utxo_set, self._ctx.steady
        for chunk, since in list(state.in_flight.items()):
            if steady - since > UTXO_CHUNK_PATIENCE:
                self._ctx.log_peer(peer, LogLevel.INFO, f"Timeout downloading chunk {chunk} of the UTXO set")
                self._release(peer, chunk)
                self._want(chunk)
                state.standing, state.since = Standing.LACKS_IT, steady
                self._ctx.providers.failed(peer.address, steady)
            elif steady - since > UTXO_CHUNK_LATE and not self._wanted and self._idle():
                self._release(peer, chunk)
                self._want(chunk)
                self._ask()

    def _blame(self, peer: Peer, what: str) -> None:
        """The peer lies: it is disconnected, and not asked again."""
        ctx = self._ctx
        peer.utxo_set.standing, peer.last_given = Standing.LIAR, 0.0
        ctx.providers.failed(peer.address, ctx.steady)
        if len(self._liars) >= MAX_UTXO_LIARS:
            del self._liars[next(iter(self._liars))]
        self._liars[source_key(peer.address)] = None
        text = f"after block {to_display(BlockHash(self._block_hash))}: {what}"
        ctx.punish(peer, Offence.UTXO_SET_WRONG, text)
        ctx.disconnect(peer, f"{Offence.UTXO_SET_WRONG.value} {text}", level=LogLevel.WARNING)  # also one named by hand

    # -- hashes --------------------------------------------------------------------------------------------------

    def _ask_for_trees(self) -> None:
        peers = [peer for peer in self._ctx.established() if peer.speaks_utxo_sets]
        room = UTXO_TREES_AT_ONCE - sum(peer.utxo_set.standing is Standing.ASKED for peer in peers)
        new = [peer for peer in peers if peer.utxo_set.standing is Standing.NEW]
        new = [peer for peer in new if source_key(peer.address) not in self._liars]
        for peer in sorted(new, key=lambda peer: not self._ctx.is_provider(peer))[: max(0, room)]:
            peer.utxo_set.standing, peer.utxo_set.since = Standing.ASKED, self._ctx.steady
            self._ctx.send(peer, GetUtxoTree(self._block_hash))

    def on_tree(self, peer: Peer, message: UtxoTree) -> None:
        """The hashes of all chunks, as a peer tells them; one that has others than it should is disconnected."""
        ctx, state = self._ctx, peer.utxo_set
        if not self._block_hash or message.block_hash != self._block_hash:
            if not peer.utxo_set.since:
                ctx.punish(peer, Offence.UTXO_SET_UNASKED, message.command)
            return
        if state.standing not in (Standing.ASKED, Standing.LACKS_IT):
            ctx.punish(peer, Offence.UTXO_SET_UNASKED, message.command)
            return
        root = message.root
        ctx.excuse(peer)
        if self._root is not None:
            same = self._tree is None or message == self._tree
            if root != self._root or not same:
                self._blame(peer, f"the hashes of the chunks have the root {to_display(root)}")
                return
            state.standing = Standing.HAS_IT
        else:
            state.standing = Standing.HAS_IT
            voices = self._told.setdefault(root, [])
            voices.append(peer.id)
            ctx.log_peer(peer, LogLevel.INFO, f"tells a UTXO set with the root {to_display(root)}")
            if len(voices) < UTXO_VOICES:
                return
            self._agree(root)
        if self._tree is None:
            self._tree = message
            ctx.emit(TakeUtxoTree(peer.id, message))
        self._ask()

    def _agree(self, root: bytes) -> None:
        """Enough peers told the same; who told something else has another set, or lies."""
        self._root = root
        told, self._told = self._told, {}
        for other, voices in told.items():
            for peer_id in voices if other != root else ():
                peer = self._ctx.peers.get(peer_id)
                if peer is not None:
                    self._blame(peer, f"the hashes of the chunks have the root {to_display(other)}")

    # -- chunks --------------------------------------------------------------------------------------------------

    def _idle(self) -> list[Peer]:
        """Peers that may be asked for a chunk now."""
        return [
            peer
            for peer in self._ctx.established()
            if peer.utxo_set.standing is Standing.HAS_IT and not peer.utxo_set.in_flight and not peer.pauses
        ]

    def _want(self, chunk: int) -> None:
        if self._block_hash:
            self._wanted = dict.fromkeys(sorted({chunk, *self._wanted}))

    def _ask(self) -> None:
        """Ask for what nobody was asked for, as far as peers and memory have room."""
        if self._tree is None or not self._wanted:
            return
        for again in (False, True):  # what a peer is late with, it is asked for again when there is nothing else
            for peer in self._idle():
                if len(self._asked) + len(self._judging) >= MAX_UTXO_CHUNKS:
                    return
                chunk = next((chunk for chunk in self._wanted if again or chunk not in peer.utxo_set.late), None)
                if chunk is not None:
                    self._send(peer, chunk)

    def _send(self, peer: Peer, chunk: int) -> None:
        del self._wanted[chunk]
        self._asked[chunk] = peer.id
        peer.utxo_set.in_flight[chunk] = self._ctx.steady
        self._ctx.send(peer, GetUtxoSet(self._block_hash, chunk))

    def _release(self, peer: Peer, chunk: int) -> None:
        """The peer is not waited for; should its answer come all the same, it was asked for."""
        del self._asked[chunk]
        state = peer.utxo_set
        del state.in_flight[chunk]
        if len(state.late) >= MAX_LATE_UTXO_CHUNKS:
            del state.late[next(iter(state.late))]
        state.late[chunk] = state.late.get(chunk, 0) + 1

    def on_chunk(self, peer: Peer, message: UtxoSetChunk) -> None:
        """Hand a chunk over, if it was asked for; the draft wants a peer disconnected that sends another."""
        ctx, state, chunk = self._ctx, peer.utxo_set, message.chunk
        asked = message.block_hash == self._block_hash and chunk in state.in_flight
        if not asked and chunk not in state.late:
            ctx.punish(peer, Offence.UTXO_SET_UNASKED, f"chunk {chunk}")
            return
        ctx.excuse(peer)
        if asked:
            self._release(peer, chunk)
        state.late[chunk] -= 1
        if not state.late[chunk]:
            del state.late[chunk]
        if not asked:
            if message.block_hash != self._block_hash or chunk not in self._wanted:
                return  # it came from somebody else meanwhile, or will; or is of no use any more
            del self._wanted[chunk]
        self._judging[chunk] = peer.id
        ctx.emit(TakeUtxoChunk(peer.id, chunk, message.data))
        self._ask()
