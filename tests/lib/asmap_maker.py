"""Maps of autonomous systems for tests, in the bit code that ``protocol/addresses/asmap.py`` reads."""

from __future__ import annotations

from random import Random
from typing import TypeAlias

Trie: TypeAlias = int | tuple["Trie", "Trie"]  # an autonomous system, or what follows a 0 and a 1


def number(value: int, lowest: int, sizes: list[int]) -> str:
    """A number in the map's code: its class in unary, then its place in the class."""
    for k, size in enumerate(sizes):
        if value - lowest < 1 << size:
            stop = "" if k == len(sizes) - 1 else "0"
            return "1" * k + stop + f"{value - lowest:0{size}b}"
        lowest += 1 << size
    raise ValueError(value)


def encode(trie: Trie) -> str:
    """A map of returns and jumps only."""
    if isinstance(trie, int):
        return "0" + number(trie, 1, list(range(15, 25)))
    left = encode(trie[0])
    return "10" + number(len(left), 17, list(range(5, 31))) + left + encode(trie[1])


def random_trie(rng: Random, depth: int) -> Trie:
    """Systems of random numbers, at most ``depth`` bits deep."""
    if not depth or rng.random() < 0.2:
        return rng.randrange(1, 60_000)
    return random_trie(rng, depth - 1), random_trie(rng, depth - 1)


def padded(text: str) -> str:
    """Up to whole bytes."""
    return text + "0" * (-len(text) % 8)


def packed(text: str) -> bytes:
    """Bits to bytes, the lowest bit first."""
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def random_map(seed: int, depth: int = 10) -> bytes:
    """A map file in which every address has a system; branches end at ``depth`` bits."""
    return packed(padded(encode(random_trie(Random(seed), depth))))
