"""Ordering the transactions of a cluster so that every prefix of the order is worth as much as possible.

Transactions are numbers from 0, sets of them are the bits of an int. ``linearize`` follows the spanning-forest
algorithm: dependencies are active or not, active ones join transactions to trees, and a tree is a chunk. A chunk whose
upper part is worth more than its lower part is cut there; parts that then stand in the wrong order are joined over
another dependency. When nothing is left to cut, the chunks are the optimum. The work is bounded: where the bound is
reached, which takes a cluster made for it, the order is a good one that may not be the best.

An optimum is then cut into the smallest chunks that it has, and so is unique: chunks and the transactions within them
stand in the order that Bitcoin Core's ``GetLinearization`` and ``PostLinearize`` give them (cluster_linearize.h).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

MAX_CUTS_PER_TX = 30
"""Random clusters of 64 need 1 to 3 cuts for each transaction; a cut costs about 1 us per transaction of its chunk."""


def linearize(fees: Sequence[int], sizes: Sequence[int], parents: Sequence[int], names: Sequence[bytes]) -> list[int]:
    """An order of ``len(fees)`` transactions, parents first.

    ``parents[i]`` has the bits of the direct parents of ``i``; sizes are positive; ``names`` (txids) break ties, so
    that the order is the same in every process. Raises ValueError when transactions depend on each other in a circle.
    """
    count = len(fees)
    if count == 1:
        return [0]
    if count == 2 and (parents[0] or parents[1]) and not (parents[0] and parents[1]):
        return [1, 0] if parents[0] else [0, 1]
    return post_linearize(_Forest(fees, sizes, parents, names).order(), fees, sizes, parents)


class _Rank:
    """What stands first of two that are ready: the higher feerate, then the smaller size, then the lower name."""

    __slots__ = ("fee", "name", "size")

    def __init__(self, fee: int, size: int, name: bytes) -> None:
        self.fee, self.size, self.name = fee, size, name

    def __lt__(self, other: _Rank) -> bool:
        left, right = self.fee * other.size, other.fee * self.size
        return left > right or (left == right and (self.size, self.name) < (other.size, other.name))


def post_linearize(
    order: Sequence[int], fees: Sequence[int], sizes: Sequence[int], parents: Sequence[int]
) -> list[int]:
    """An order at least as good whose chunks are connected; of an optimum it changes the order within chunks only.

    Two passes, the first from the back: each transaction becomes a group that moves ahead of groups that are worth less
    and takes in those that it depends on (from the back: behind groups that are worth more, with what depends on it).
    """
    count = len(fees)
    ancestors = [0] * count
    descendants = [0] * count
    for i in order:
        ancestors[i] = parents[i]
        for parent in _bits(parents[i]):
            ancestors[i] |= ancestors[parent]
    for i in reversed(order):
        for parent in _bits(parents[i]):
            descendants[parent] |= descendants[i] | 1 << i
    behind = _pass([*reversed(order)], [-fee for fee in fees], sizes, descendants)
    return _pass([*reversed(behind)], fees, sizes, ancestors)


def _pass(order: Sequence[int], fees: Sequence[int], sizes: Sequence[int], needs: Sequence[int]) -> list[int]:
    """One pass of ``post_linearize``; ``needs[i]`` has the bits of all that must stand before ``i`` in ``order``."""
    groups: list[tuple[int, int, int, int, list[int]]] = []  # fee, size, bits, bits of all that it needs, transactions
    for i in order:
        fee, size, inside, above, members = fees[i], sizes[i], 1 << i, needs[i], [i]
        at = len(groups)
        while at and fee * groups[at - 1][1] > groups[at - 1][0] * size:
            at -= 1
            if above & groups[at][2]:
                other = groups.pop(at)
                fee, size, inside, above = fee + other[0], size + other[1], inside | other[2], above | other[3]
                members = other[4] + members
        groups.insert(at, (fee, size, inside, above, members))
    return [i for group in groups for i in group[4]]


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
        if not waiting:  # the bound was not reached
            for chunk in list(self._members):
                self._minimise(chunk)
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

    def _gains(self, chunk: int) -> Iterator[tuple[int, int, int]]:
        """All active dependencies of a chunk (parent, child), each with what its cut would gain."""
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
        for i in reversed(path[1:]):
            source = before[i]
            fees[source] += fees[i]
            sizes[source] += sizes[i]
            gain = fees[i] * size - fee * sizes[i]
            if source in self._down[i]:  # i is the parent: its side is the upper one
                yield i, source, gain
            else:
                yield source, i, -gain

    def _best_cut(self, chunk: int) -> tuple[int, int] | None:
        """The dependency (parent, child) whose cut gains most; None when no upper part is worth more than its lower."""
        best, found = 0, None
        for parent, child, gain in self._gains(chunk):
            link = (parent, child)
            if gain > best or (gain == best and found is not None and self._name(link) < self._name(found)):
                best, found = gain, link
        return found

    def _minimise(self, chunk: int) -> None:
        """Cut an optimal chunk into the smallest ones of its feerate that can stand one behind the other.

        Every transaction must have its parents with it or before it. Where the cut of an active dependency would lose,
        the parent's side alone is worth less than the chunk, whatever else is with it: so the child must be with the
        parent, too. Transactions that must be with each other both ways are a chunk.
        """
        members = self._members[chunk]
        if len(members) == 1:
            return
        inside = set(members)
        needs = {i: [parent for parent in self._parents[i] if parent in inside] for i in members}
        cuttable = False
        for parent, child, gain in self._gains(chunk):
            if gain:
                needs[parent].append(child)
            cuttable |= not gain
        if not cuttable:
            return
        del self._members[chunk], self._fee[chunk], self._size[chunk]
        for part in _strong_components(needs):
            number = self._next
            self._next += 1
            self._members[number] = part
            self._fee[number] = sum(self._fees[i] for i in part)
            self._size[number] = sum(self._sizes[i] for i in part)
            for i in part:
                self._chunk_of[i] = number

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
        """Chunks from the best to the worst, each behind those it depends on, transactions likewise within.

        Of equal chunks the smaller is first, then the one whose greatest name is the lower.
        """
        names = self._names
        needs = dict.fromkeys(self._members, 0)
        below: dict[int, set[int]] = {chunk: set() for chunk in self._members}
        for child, above in enumerate(self._parents):
            own = self._chunk_of[child]
            for parent in above:
                chunk = self._chunk_of[parent]
                if chunk != own and own not in below[chunk]:
                    below[chunk].add(own)
                    needs[own] += 1
        ranks = {
            chunk: _Rank(self._fee[chunk], self._size[chunk], max([names[i] for i in members]))
            for chunk, members in self._members.items()
        }
        return [i for chunk in _best_first(needs, below, ranks) for i in self._within(self._members[chunk])]

    def _within(self, members: list[int]) -> list[int]:
        """The transactions of a chunk, parents first, the better of those that are ready first."""
        if len(members) == 1:
            return members
        inside = set(members)
        needs = {i: sum(parent in inside for parent in self._parents[i]) for i in members}
        below = {i: [child for child in self._children[i] if child in inside] for i in members}
        return _best_first(needs, below, {i: _Rank(self._fees[i], self._sizes[i], self._names[i]) for i in members})


def _best_first(needs: dict[int, int], below: Mapping[int, Iterable[int]], ranks: Mapping[int, _Rank]) -> list[int]:
    """All numbers in ``needs``, each when all that it needs is out, of those that could be the first by rank.

    ``needs`` counts what each waits for, and is used up; ``below`` has those that wait for it.
    """
    ready = [(ranks[i], i) for i, count in needs.items() if not count]
    heapify(ready)
    order = []
    while ready:
        i = heappop(ready)[1]
        order.append(i)
        for other in below[i]:
            needs[other] -= 1
            if not needs[other]:
                heappush(ready, (ranks[other], other))
    return order


def _strong_components(needs: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Groups of numbers that need each other both ways (Tarjan's algorithm, with a stack of its own)."""
    found: list[list[int]] = []
    number: dict[int, int] = {}  # in order of discovery
    lowest: dict[int, int] = {}
    stack: list[int] = []
    grouped: set[int] = set()
    for root in needs:
        if root in number:
            continue
        number[root] = lowest[root] = len(number)
        stack.append(root)
        path = [(root, iter(needs[root]))]
        while path:
            i, left = path[-1]
            for other in left:
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    stack.append(other)
                    path.append((other, iter(needs[other])))
                    break
                if other not in grouped:
                    lowest[i] = min(lowest[i], number[other])
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[i])
                if lowest[i] == number[i]:
                    at = stack.index(i)
                    found.append(stack[at:])
                    grouped.update(stack[at:])
                    del stack[at:]
    return found


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
