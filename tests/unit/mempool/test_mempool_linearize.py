"""Linearisation against the optimum by brute force, and its bounds."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from btcnode.mempool.feerate import improves_diagram
from btcnode.mempool.linearize import chunk_up, linearize

Chunks = list[tuple[int, int, int]]


def best_chunks(fees: list[int], sizes: list[int], parents: list[int]) -> Chunks:
    """Again and again the closed subset with the highest feerate: the optimum by definition."""
    count = len(fees)
    left, chunks = (1 << count) - 1, []
    while left:
        best = (0, 0, 0)
        subset = left
        while subset:
            bits = [i for i in range(count) if subset >> i & 1]
            if all(not parents[i] & left & ~subset for i in bits):
                fee, size = sum(fees[i] for i in bits), sum(sizes[i] for i in bits)
                if not best[2] or fee * best[1] > best[0] * size:
                    best = (fee, size, subset)
            subset = (subset - 1) & left
        chunks.append((best[0], best[1], best[2].bit_count()))
        left &= ~best[2]
    return chunks


def same_diagram(a: Chunks, b: Chunks) -> bool:
    first, second = [chunk[:2] for chunk in a], [chunk[:2] for chunk in b]
    return not improves_diagram(first, second) and not improves_diagram(second, first)


def random_cluster(rng: random.Random, count: int, density: float) -> tuple[list[int], list[int], list[int]]:
    names = list(range(count))
    rng.shuffle(names)
    parents = [0] * count
    for a in range(count):
        for b in range(a):
            if rng.random() < density:
                parents[names[a]] |= 1 << names[b]
    return [rng.randint(-2, 20) for _ in names], [rng.randint(1, 9) for _ in names], parents


@pytest.mark.parametrize("density", [0.1, 0.3, 0.7])
def test_small_clusters_are_optimal(density: float) -> None:
    rng = random.Random(7)
    for _ in range(300):
        count = rng.randint(1, 7)
        fees, sizes, parents = random_cluster(rng, count, density)
        order = linearize(fees, sizes, parents, [rng.randbytes(32) for _ in range(count)])
        done = 0
        for i in order:
            assert not parents[i] & ~done
            done |= 1 << i
        assert done == (1 << count) - 1 and len(order) == count
        assert same_diagram(chunk_up(order, fees, sizes), best_chunks(fees, sizes, parents))


def test_chunks_never_grow_better() -> None:
    rng = random.Random(3)
    for _ in range(20):
        fees, sizes, parents = random_cluster(rng, 64, 0.05)
        chunks = chunk_up(linearize(fees, sizes, parents, [bytes([i]) for i in range(64)]), fees, sizes)
        rates = [Fraction(fee, size) for fee, size, _ in chunks]
        assert rates == sorted(rates, reverse=True) and sum(count for _, _, count in chunks) == 64


def test_the_order_does_not_depend_on_how_transactions_are_numbered() -> None:
    rng = random.Random(5)
    for _ in range(50):
        fees, sizes, parents = random_cluster(rng, 9, 0.3)
        names = [rng.randbytes(32) for _ in range(9)]
        straight = [names[i] for i in linearize(fees, sizes, parents, names)]
        perm = list(range(9))
        rng.shuffle(perm)
        place = {old: new for new, old in enumerate(perm)}
        moved = [sum(1 << place[b] for b in range(9) if parents[old] >> b & 1) for old in perm]
        order = linearize([fees[i] for i in perm], [sizes[i] for i in perm], moved, [names[i] for i in perm])
        again = [names[perm[i]] for i in order]
        assert same_diagram(
            chunk_up([names.index(name) for name in straight], fees, sizes),
            chunk_up([names.index(name) for name in again], fees, sizes),
        )


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        linearize([1, 1, 1], [1, 1, 1], [2, 4, 1], [b"a", b"b", b"c"])
