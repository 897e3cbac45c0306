"""The coins that blocks spend, for a full sync with hints: asked of peers ahead of their blocks, kept until then.

Blocks are asked for only when their coins are here, so that nothing that waits for a peer holds up the reading from it.
Memory: ``MAX_HELD_BYTES``; what comes beyond is dropped and asked for again. As many are asked for as are likely to
have room, by the size of those that came last.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from btcnode.protocol.commands import DropSpent, FetchSpent, SpentJudged
from btcnode.protocol.effects import TakeSpent
from btcnode.protocol.inputs import Input

MAX_AHEAD = 512  # blocks whose coins are here or on their way
MAX_HELD_BYTES = 48 << 20
USUAL_BYTES = 20_000  # of one block's coins, before any have come
SIZE_SHARE = 1 / 16  # of the last ones in the average size
LEAST_ASKED = 16  # at a time, but for the first ones
MAX_REFUSALS = 4  # of what was told of one block


class ToldCoins(NamedTuple):
    """What a peer told of a block."""

    peer_id: int
    coins: bytes


class SpentAhead:
    """By header index. Lives on the loop thread; ``feed`` is the reactor's."""

    def __init__(self, feed: Callable[[Input], None]) -> None:
        self._feed = feed
        self._here: dict[int, ToldCoins] = {}
        self._asked: set[int] = set()
        self._bytes = 0
        self._usual = float(USUAL_BYTES)
        self._refusals: Counter[int] = Counter()
        self.heard = time.monotonic()  # when some came, or nothing was asked for
        self.told_by: Counter[int] = Counter()  # blocks that were folded, by peer

    def __contains__(self, index: int) -> bool:
        """Whether the coins are here."""
        return index in self._here

    def __iter__(self) -> Iterator[int]:
        """Blocks whose coins are here, in the order in which they came."""
        return iter(self._here)

    def get(self, index: int) -> ToldCoins | None:
        """The coins, where they are here."""
        return self._here.get(index)

    @property
    def waits(self) -> bool:
        """Whether some are on their way, or should be."""
        return bool(self._asked)

    @property
    def has_room(self) -> bool:
        """Whether it pays to look for more blocks to ask about."""
        return not self._asked or self._room() >= LEAST_ASKED

    def _room(self) -> int:
        """How many more blocks may be asked about."""
        open_count = len(self._here) + len(self._asked)
        if not open_count:
            return LEAST_ASKED
        room = MAX_HELD_BYTES - self._bytes - len(self._asked) * self._usual
        return min(MAX_AHEAD - open_count, int(room / self._usual))

    def ask(self, indices: Iterable[int]) -> None:
        """Ask about the first of these blocks, as many as there is room for."""
        room, wanted = self._room(), list[int]()
        for index in indices:
            if len(wanted) >= room:
                break
            if index not in self._here and index not in self._asked:
                wanted.append(index)
        if not self._asked:
            self.heard = time.monotonic()
        if wanted:
            self._asked.update(wanted)
            self._feed(FetchSpent(tuple(wanted)))

    def take(self, told: TakeSpent) -> bool:
        """Keep what a peer told; False where it is not wanted, or has no room."""
        if told.index not in self._asked:
            return False
        self._asked.discard(told.index)
        self.heard = time.monotonic()
        size = len(told.coins)
        self._usual += SIZE_SHARE * (size - self._usual)
        if self._here and self._bytes + size > MAX_HELD_BYTES:
            return False
        self._bytes += size
        self._here[told.index] = ToldCoins(told.peer_id, told.coins)
        return True

    def forget(self, index: int) -> None:
        """The block is folded, or not wanted."""
        told = self._here.pop(index, None)
        if told is not None:
            self._bytes -= len(told.coins)
            self.told_by[told.peer_id] += 1
        self._refusals.pop(index, None)

    def refuse(self, index: int, told: ToldCoins, reason: str) -> int:
        """What was told does not go together with the block; how often that was so with this block by now."""
        if self._here.get(index) is told:
            del self._here[index]
            self._bytes -= len(told.coins)
        self._refusals[index] += 1
        self._feed(SpentJudged(told.peer_id, index, reason))
        return self._refusals[index]

    def tellers(self) -> str:
        """Who told what was used since the start, for the log."""
        return ", ".join(f"peer={peer_id}: {count} blocks" for peer_id, count in self.told_by.most_common())

    def close(self) -> None:
        """Nothing is wanted any more."""
        self._here.clear()
        self._asked.clear()
        self._feed(DropSpent())
