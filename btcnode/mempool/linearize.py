"""Ordering the transactions of a cluster so that every prefix of the order is worth as much as possible.

Transactions are numbers from 0, sets of them are the bits of an int. ``linearize`` follows the spanning-forest
algorithm: dependencies are active or not, active ones join transactions to trees, and a tree is a chunk. A chunk whose
upper part is worth more than its lower part is cut there; parts that then stand in the wrong order are joined over
another dependency. When nothing is left to cut, the chunks are the optimum. The work is bounded: where the bound is
reached, which takes a cluster made for it, the order is a good one that may not be the best.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_CUTS_PER_TX = 30
"""Random clusters of 64 need 1 to 3 cuts for each transaction; a cut costs about 1 us per transaction of its chunk."""


def linearize(fees: Sequence[int], sizes: Sequence[int], parents: Sequence[int], names: Sequence[bytes]) -> list[int]:
    """An order of ``len(fees)`` transactions, parents first.

    ``parents[i]`` has the bits of the direct parents of ``i``; sizes are positive; ``names`` break ties, so that the
    order is the same in every process.
    """
    count = len(fees)
    if count == 1:
        return [0]
    if count == 2:
        return [1, 0] if parents[0] else [0, 1] if parents[1] or _before(fees, sizes, names, 0, 1) else [1, 0]
    return _Forest(fees, sizes, parents, names).order()


def _before(fees: Sequence[int], sizes: Sequence[int], names: Sequence[bytes], a: int, b: int) -> bool:
    left, right = fees[a] * sizes[b], fees[b] * sizes[a]
    return left > right or (left == right and (sizes[a], names[a]) < (sizes[b], names[b]))


def chunk_up(order: Sequence[int], fees: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cut an order into chunks of non-increasing feerate: (fee, size, number of transactions) each.

    A transaction that pays a higher rate than the chunk before it pulls that one up, so they become one.
    """
    chunks: list[tuple[int, int, int]] = []
    for i in order:
        fee, size, count = fees[i], sizes[i], 1
        while chunks and fee * chunks[-1][1] > chunks[-1][0] * size:
            last = chunks.pop()
            fee, size, count = fee + last[0], size + last[1], count + last[2]
        chunks.append((fee, size, count))
    return chunks


class _Forest:
    """The state of one linearisation."""

    def __init__(
        self, fees: Sequence[int], sizes: Sequence[int], parents: Sequence[int], names: Sequence[bytes]
    ) -> None:
        self._fees, self._sizes, self._names = fees, sizes, names
        count = len(fees)
        self._parents = [_bits(mask) for mask in _without_shortcuts(parents)]
        self._children: list[list[int]] = [[] for _ in range(count)]
        for child, above in enumerate(self._parents):
            for parent in above:
                self._children[parent].append(child)
        # active dependencies as a tree: neighbours of each transaction, with the direction
        self._up: list[set[int]] = [set() for _ in range(count)]
        self._down: list[set[int]] = [set() for _ in range(count)]
        self._chunk_of = list(range(count))
        self._members: dict[int, list[int]] = {i: [i] for i in range(count)}
        self._fee = dict(enumerate(fees))
        self._size = dict(enumerate(sizes))
        self._next = count

    def order(self) -> list[int]:
        """Optimise, and read the order off."""
        for i in sorted(range(len(self._fees)), key=lambda i: (len(self._parents[i]), self._names[i])):
            chunk = self._merge_up(self._chunk_of[i])
            self._merge_down(chunk)
        cuts = MAX_CUTS_PER_TX * len(self._fees)
        waiting = list(self._members)
        while waiting and cuts:
            chunk = waiting.pop()
            if chunk not in self._members or len(self._members[chunk]) == 1:
                continue
            cut = self._best_cut(chunk)
            if cut is None:
                continue
            cuts -= 1
            top, bottom = self._cut(chunk, *cut)
            # the upper part may depend on the lower one in another way: then they become one again, joined elsewhere
            waiting.append(self._merge_up(top))
            if bottom in self._members:
                waiting.append(self._merge_down(bottom))
        return self._read()

    # -- chunks --------------------------------------------------------------------------------------------------

    def _higher(self, a: int, b: int) -> bool:
        return self._fee[a] * self._size[b] > self._fee[b] * self._size[a]

    def _merge_up(self, chunk: int) -> int:
        """Join ``chunk`` with chunks that it depends on and that are worth less, the worst first."""
        while True:
            worst, link = -1, (-1, -1)
            for child in self._members[chunk]:
                for parent in self._parents[child]:
                    other = self._chunk_of[parent]
                    if other != chunk and self._higher(chunk, other) and (worst < 0 or self._higher(worst, other)):
                        worst, link = other, (parent, child)
            if worst < 0:
                return chunk
            chunk = self._join(worst, chunk, *link)

    def _merge_down(self, chunk: int) -> int:
        """Join ``chunk`` with chunks that depend on it and are worth more, the best first."""
        while True:
            best, link = -1, (-1, -1)
            for parent in self._members[chunk]:
                for child in self._children[parent]:
                    other = self._chunk_of[child]
                    if other != chunk and self._higher(other, chunk) and (best < 0 or self._higher(other, best)):
                        best, link = other, (parent, child)
            if best < 0:
                return chunk
            chunk = self._join(chunk, best, *link)

    def _join(self, above: int, below: int, parent: int, child: int) -> int:
        """One chunk of two, over the dependency of ``child`` on ``parent``; returns its number."""
        self._down[parent].add(child)
        self._up[child].add(parent)
        if len(self._members[above]) < len(self._members[below]):
            above, below = below, above
        moved = self._members.pop(below)
        self._members[above] += moved
        for i in moved:
            self._chunk_of[i] = above
        self._fee[above] += self._fee.pop(below)
        self._size[above] += self._size.pop(below)
        return above

    def _best_cut(self, chunk: int) -> tuple[int, int] | None:
        """The dependency (parent, child) whose cut gains most; None when no upper part is worth more than its lower."""
        members = self._members[chunk]
        root = members[0]
        path, before = [root], {root: -1}
        for i in path:  # grows while it is walked: a breadth-first order of the tree
            for other in (*self._up[i], *self._down[i]):
                if other != before[i]:
                    before[other] = i
                    path.append(other)
        fees = {i: self._fees[i] for i in members}
        sizes = {i: self._sizes[i] for i in members}
        fee, size = self._fee[chunk], self._size[chunk]
        best, found = 0, None
        for i in reversed(path):
            source = before[i]
            if source < 0:
                break
            fees[source] += fees[i]
            sizes[source] += sizes[i]
            if source in self._down[i]:  # i is the parent: its side is the upper one
                gain = fees[i] * size - fee * sizes[i]
                link = (i, source)
            else:
                gain = fee * sizes[i] - fees[i] * size
                link = (source, i)
            if gain > best or (gain == best and found is not None and self._name(link) < self._name(found)):
                best, found = gain, link
        return found

    def _name(self, link: tuple[int, int]) -> tuple[bytes, bytes]:
        return self._names[link[0]], self._names[link[1]]

    def _cut(self, chunk: int, parent: int, child: int) -> tuple[int, int]:
        """Make a dependency inactive; returns the chunks of its parent and its child."""
        self._down[parent].discard(child)
        self._up[child].discard(parent)
        top = [parent]
        seen = {parent}
        for i in top:
            for other in (*self._up[i], *self._down[i]):
                if other not in seen:
                    seen.add(other)
                    top.append(other)
        number = self._next
        self._next += 1
        self._members[chunk] = [i for i in self._members[chunk] if i not in seen]
        self._members[number] = top
        self._fee[number] = sum(self._fees[i] for i in top)
        self._size[number] = sum(self._sizes[i] for i in top)
        self._fee[chunk] -= self._fee[number]
        self._size[chunk] -= self._size[number]
        for i in top:
            self._chunk_of[i] = number
        return number, chunk

    # -- the order -----------------------------------------------------------------------------------------------

    def _read(self) -> list[int]:
        """Chunks from the best to the worst, each behind those it depends on, transactions likewise within."""
        fees, sizes, names = self._fees, self._sizes, self._names
        needs = dict.fromkeys(self._members, 0)
        links: dict[int, set[int]] = {chunk: set() for chunk in self._members}
        for child, above in enumerate(self._parents):
            below = self._chunk_of[child]
            for parent in above:
                chunk = self._chunk_of[parent]
                if chunk != below and below not in links[chunk]:
                    links[chunk].add(below)
                    needs[below] += 1
        order: list[int] = []
        ready = [chunk for chunk, count in needs.items() if not count]
        least = {chunk: min(names[i] for i in members) for chunk, members in self._members.items()}
        while ready:
            chunk = ready[0]
            for other in ready[1:]:
                left, right = self._fee[other] * self._size[chunk], self._fee[chunk] * self._size[other]
                smaller = (self._size[other], least[other]) < (self._size[chunk], least[chunk])
                if left > right or (left == right and smaller):
                    chunk = other
            ready.remove(chunk)
            order += self._within(self._members[chunk], fees, sizes, names)
            for below in links[chunk]:
                needs[below] -= 1
                if not needs[below]:
                    ready.append(below)
        return order

    def _within(
        self, members: list[int], fees: Sequence[int], sizes: Sequence[int], names: Sequence[bytes]
    ) -> list[int]:
        """The transactions of a chunk, parents first, the better of those that are ready first."""
        if len(members) == 1:
            return members
        inside = set(members)
        needs = {i: sum(parent in inside for parent in self._parents[i]) for i in members}
        ready = [i for i in members if not needs[i]]
        order: list[int] = []
        while ready:
            best = ready[0]
            for i in ready[1:]:
                if _before(fees, sizes, names, i, best):
                    best = i
            ready.remove(best)
            order.append(best)
            for child in self._children[best]:
                if child in inside:
                    needs[child] -= 1
                    if not needs[child]:
                        ready.append(child)
        return order


def _bits(mask: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def _without_shortcuts(parents: Sequence[int]) -> list[int]:
    """Direct parents without those that are ancestors of another parent: the others imply them."""
    count = len(parents)
    ancestors: list[int] = [0] * count
    done = 0
    order: list[int] = []
    waiting = list(range(count))
    while waiting:  # parents before children
        left = []
        for i in waiting:
            if parents[i] & ~done:
                left.append(i)
            else:
                done |= 1 << i
                order.append(i)
        if len(left) == len(waiting):
            raise ValueError("transactions depend on each other in a circle")
        waiting = left
    kept = [0] * count
    for i in order:
        above = _bits(parents[i])
        implied = 0
        for parent in above:
            implied |= ancestors[parent]
        ancestors[i] = implied | parents[i]
        kept[i] = parents[i] & ~implied
    return kept
