from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from btcnode.primitives.hashes import sha256d
from btcnode.primitives.merkle import PAIRS_IN_STEP, merkle_root, merkle_root_in_steps

HASHES = st.lists(st.integers(0, 10_000).map(lambda n: sha256d(n.to_bytes(4, "little"))), unique=True, max_size=40)


def recursive_root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    if len(hashes) % 2:
        hashes = [*hashes, hashes[-1]]
    return recursive_root([sha256d(hashes[i] + hashes[i + 1]) for i in range(0, len(hashes), 2)])


@given(HASHES)
def test_root_is_that_of_the_definition(hashes: list[bytes]) -> None:
    root, mutated = merkle_root(hashes)
    assert root == (recursive_root(hashes) if hashes else bytes(32))
    assert not mutated


def test_cve_2012_2459_duplicated_tail_is_seen() -> None:
    hashes = [sha256d(bytes([n])) for n in range(6)]
    honest = merkle_root(hashes)
    forged = merkle_root([*hashes, *hashes[4:]])
    assert honest == (forged[0], False)
    assert forged[1]
    for count in (3, 5):
        assert merkle_root([*hashes[:count], hashes[count - 1]]) == (merkle_root(hashes[:count])[0], True)


def test_a_long_list_is_worked_through_in_steps() -> None:
    hashes = [sha256d(n.to_bytes(4, "little")) for n in range(3 * PAIRS_IN_STEP + 1)]
    steps, count = merkle_root_in_steps(hashes), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert end.value == (recursive_root(hashes), False)
            break
        count += 1
    assert count == 1  # 6,001 hashes: 3,001 pairs in two steps, 1,501 in one
