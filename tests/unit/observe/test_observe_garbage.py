"""When the garbage collector does not run."""

from __future__ import annotations

import gc
import weakref

from btcnode.observe.garbage import GarbageRest


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_it_rests_until_the_last_one_ends() -> None:
    rest = GarbageRest()
    rest.begin()
    rest.begin()
    rest.end()
    assert not gc.isenabled()
    rest.end()
    assert gc.isenabled()


def test_others_garbage_is_collected_when_the_rest_is_long() -> None:
    rest = GarbageRest(longest=0.0)
    rest.begin()
    try:
        left = weakref.ref(Knot())
        rest.begin()
        rest.end()
        assert left() is None and not gc.isenabled()
    finally:
        rest.end()
