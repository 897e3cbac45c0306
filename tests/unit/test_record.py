"""Records behave as frozen dataclasses do, but for what nobody does: setting a field."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from btcnode.protocol import commands, effects, events
from btcnode.record import record
from btcnode.wire import messages


@record
class Point:
    """Two numbers, a note that does not count, and one that is not shown."""

    x: int
    y: int = 2
    note: str = field(default="", compare=False)
    hidden: list[int] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Frozen:
    """The same as a dataclass."""

    x: int
    y: int = 2
    note: str = field(default="", compare=False)
    hidden: list[int] = field(default_factory=list, repr=False)


@record
class Named:
    """One that has words of its own."""

    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


def test_records_look_and_compare_as_dataclasses_do() -> None:
    ours: Any = Point(1, note="a")
    theirs: Any = Frozen(1, note="a")
    assert repr(ours) == repr(theirs).replace("Frozen", "Point")
    assert ours == Point(1, 2, "b")
    assert ours != Point(1, 3)
    assert ours != Point(1, hidden=[1])
    assert ours != theirs
    assert ours != (1, 2)
    assert replace(ours, y=7) == Point(1, 7)
    assert is_dataclass(ours)
    assert [item.name for item in fields(ours)] == [item.name for item in fields(theirs)]
    assert not hasattr(ours, "__dict__")
    match ours:
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert repr(Named("it")) == "<it>"
    assert Named("it") == Named("it")
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_records_hash_by_what_counts_and_can_be_copied() -> None:
    assert hash(Named("a")) == hash(Named("a"))
    assert len({Named("a"), Named("a"), Named("b")}) == 2
    point = Point(1, hidden=[3])
    assert pickle.loads(pickle.dumps(point)) == copy.deepcopy(point) == point


@pytest.mark.parametrize("module", [commands, effects, events, messages])
def test_each_of_them_is_told_from_others(module: object) -> None:
    kinds: list[Any] = [kind for kind in vars(module).values() if isinstance(kind, type) and hasattr(kind, "_compared")]
    assert len(kinds) > 10
    for kind in kinds:
        assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
        assert tuple(item.name for item in fields(kind) if item.compare) == kind._compared
