"""Linearisation against the optimum by brute force, and its bounds."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from btcnode.mempool.feerate import improves_diagram
from btcnode.mempool.linearize import chunk_up, linearize, post_linearize

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
        assert straight == again


def tied_cluster(rng: random.Random, count: int) -> tuple[list[int], list[int], list[int]]:
    """A connected cluster of which many transactions pay the same."""
    parents = [0] * count
    for i in range(1, count):
        for parent in rng.sample(range(i), min(i, rng.choice((1, 1, 2)))):
            parents[i] |= 1 << parent
    sizes = [rng.choice((1, 1, 2)) for _ in range(count)]
    return [size * rng.choice((1, 1, 1, 2)) for size in sizes], sizes, parents


def closed_parts(inside: int, parents: list[int]) -> list[int]:
    """The subsets of a set that have all their parents of that set."""
    found, part = [], (inside - 1) & inside
    while part:
        if all(not parents[i] & inside & ~part for i in range(inside.bit_length()) if part >> i & 1):
            found.append(part)
        part = (part - 1) & inside
    return found


def test_chunks_are_as_small_as_can_be() -> None:
    """No chunk has a part of the same feerate that could stand before the rest of it."""
    rng = random.Random(11)
    several = 0
    for _ in range(200):
        fees, sizes, parents = tied_cluster(rng, 9)
        order = linearize(fees, sizes, parents, [rng.randbytes(32) for _ in fees])
        at = 0
        for fee, size, count in chunk_up(order, fees, sizes):
            inside = sum(1 << i for i in order[at : at + count])
            at += count
            for part in closed_parts(inside, parents):
                bits = [i for i in range(9) if part >> i & 1]
                assert sum(fees[i] for i in bits) * size < fee * sum(sizes[i] for i in bits)
                several += 1
    assert several > 100


def test_equal_chunks_stand_by_size_and_greatest_name() -> None:
    """Three chunks of one feerate below a better one: the small one first, then by the greatest name of each."""
    fees, sizes = [10, 2, 2, 0, 4, 1], [1, 1, 1, 1, 2, 1]
    parents = [0, 1, 1, 1, 0b1000, 1]  # 3 and 4 are a chunk of two
    fees[3], fees[4], sizes[4] = 0, 2, 1
    names = [b"a", b"d", b"c", b"z", b"b", b"y"]
    order = linearize(fees, sizes, parents, names)
    assert order == [0, 2, 1, 5, 3, 4]
    fees = [10, 0, 4, 0, 4]
    sizes, parents = [1, 1, 1, 1, 1], [0, 1, 0b10, 1, 0b1000]
    assert linearize(fees, sizes, parents, [b"0", b"1", b"9", b"2", b"8"]) == [0, 3, 4, 1, 2]


def test_within_a_chunk_what_pays_more_moves_ahead_with_its_parents() -> None:
    """Parents of a rich child: each stands directly before what it is needed for, the cheap ones last."""
    fees, sizes = [0, 0, 0, 9], [1, 1, 1, 1]
    parents = [0, 0, 0, 0b111]
    assert linearize(fees, sizes, parents, [b"c", b"a", b"b", b"d"]) == [1, 2, 0, 3]
    fees, parents = [0, 1, 4, 2, 20], [0, 0, 0b1, 0b10, 0b1100]
    assert post_linearize([1, 0, 3, 2, 4], fees, [1] * 5, parents) == [0, 2, 1, 3, 4]


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        linearize([1, 1, 1], [1, 1, 1], [2, 4, 1], [b"a", b"b", b"c"])
