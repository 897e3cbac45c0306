"""Short ids by kernels, compiled and interpreted, against siphashc."""

from __future__ import annotations

from random import Random

from siphashc import siphash

from btcnode.compiled.kernels import Kernels
from btcnode.wire.short_ids import HASHES_FOR_KERNEL, SHORT_ID_MASK, matching, packed_short_ids
from tests.lib.kernels import with_kernels


def hashes(rng: Random, count: int) -> list[bytes]:
    return [rng.randbytes(32) for _ in range(count)]


def test_short_ids_are_those_of_siphash(kernels: Kernels) -> None:
    rng = Random(1)
    for key in (bytes(16), b"\xff" * 16, rng.randbytes(16)):
        wtxids = [bytes(32), b"\xff" * 32, *hashes(rng, HASHES_FOR_KERNEL)]
        plain = packed_short_ids(key, wtxids)
        with with_kernels(kernels):
            assert packed_short_ids(key, wtxids) == plain
        assert kernels.short_ids(key, b"") == b""


def test_the_same_transactions_match(kernels: Kernels) -> None:
    rng = Random(2)
    for count, share in ((150, 1), (400, 2), (120, 300)):
        key, wtxids = rng.randbytes(16), hashes(rng, count)
        named = [siphash(key, wtxid) & SHORT_ID_MASK for wtxid in wtxids[::share]]
        ids = list(dict.fromkeys([*named, *(rng.randrange(1 << 48) for _ in range(50)), 0, SHORT_ID_MASK]))
        rng.shuffle(ids)
        places = {name: 10 + 3 * n for n, name in enumerate(ids)}
        twice = [*wtxids, wtxids[0]]
        plain = matching(key, twice, places)
        assert len(plain) >= len(named) + 1
        with with_kernels(kernels):
            assert matching(key, twice, places) == plain
            assert matching(key, wtxids, {}) == []


def test_ids_that_do_not_spread_are_left_to_the_plain_way(kernels: Kernels) -> None:
    """Whoever knew the multiplier could name ids that all belong to one place of the table."""
    usual = Random(3).randbytes(32)
    many = [k << 20 for k in range(HASHES_FOR_KERNEL)]
    secret, kernels._multiplier = kernels._multiplier, 1  # with which the first bits of small ids are all the same
    try:
        assert kernels.match_short_ids(bytes(16), usual, many) is None
        with with_kernels(kernels):
            wtxids = hashes(Random(4), HASHES_FOR_KERNEL)
            places = {siphash(bytes(16), wtxids[7]) & SHORT_ID_MASK: 5, **{name: name for name in many}}
            assert matching(bytes(16), wtxids, places) == [(5, wtxids[7])]
    finally:
        kernels._multiplier = secret
    assert kernels.match_short_ids(bytes(16), usual, many) == []
