"""Records and structs behave as dataclasses do, but that a record's fields can be set, which nobody does."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest

from btcnode.protocol import commands, effects, events
from btcnode.record import fields_given, record, struct
from btcnode.record import replace as changed
from btcnode.tuples import NamedTuple
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
        assert [item.name for item in fields(kind)] == list(kind._fields_given)


@record(kw_only=True)
class Choice:
    """Fields that have to be named."""

    size: int
    colour: str = "red"
    known: ClassVar[int] = 3


@record
class Larger(Point):
    """A record with a further field."""

    z: int = field(default=0, hash=False)


@struct
class Counter:
    """Fields that change, one of which nobody gives."""

    name: str
    seen: int = 0
    log: list[str] = field(default_factory=list)
    total: int = field(default=7, init=False)

    def __post_init__(self) -> None:
        self.log.append(self.name)


@struct(eq=False)
class Thing:
    """One that is itself and no other."""

    x: int


def test_structs_change_and_have_no_hash() -> None:
    first, second = Counter("a"), Counter("a", log=[])
    assert first == second
    first.seen += 1
    assert first != second
    assert (first.log, second.log, first.total) == (["a"], ["a"], 7)
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)
    with pytest.raises(TypeError, match=r"Counter.__init__\(\) got an unexpected keyword argument 'total'"):
        Counter("a", total=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        first.other = 1  # type: ignore[attr-defined]
    assert asdict(first) == {"name": "a", "seen": 1, "log": ["a"], "total": 7}
    assert Thing(1) != Thing(1)
    assert len({Thing(1), Thing(1)}) == 2


def test_fields_by_name_and_of_a_base() -> None:
    assert repr(Choice(size=1)) == "Choice(size=1, colour='red')"
    assert replace(Choice(size=1), colour="blue") == Choice(colour="blue", size=1)
    with pytest.raises(TypeError):
        Choice(1)  # type: ignore[call-arg]
    assert Larger(1, 2, "n", [3], 4) == Larger(1, z=4, hidden=[3])
    assert Larger(1) != Point(1)
    assert Larger._fields_given.keys() - Point._fields_given.keys() == {"z"}  # type: ignore[attr-defined]


def test_a_default_that_all_would_share() -> None:
    with pytest.raises(ValueError, match=r"Shared\.names has a default that all objects would share"):

        @record
        class Shared:
            names: list[str] = []  # noqa: RUF012


def test_a_field_without_a_default_behind_one_with_it() -> None:
    with pytest.raises(TypeError, match="second has no default, and first before it has one"):

        @record
        class Wrong:
            first: int = 1
            second: str  # type: ignore[misc]


def test_one_field_by_name_only() -> None:
    @struct
    class Mixed:
        size: int
        colour: str = field(kw_only=True)
        weight: int

    assert repr(Mixed(1, 2, colour="red")).endswith("Mixed(size=1, colour='red', weight=2)")
    changed: Any = Mixed(1, 2, colour="red").__replace__(size=3)  # type: ignore[attr-defined]
    assert changed.size == 3
    with pytest.raises(TypeError):
        Mixed(1, 2, "red")  # type: ignore[call-arg]


def test_a_dataclass_of_a_struct() -> None:
    @dataclass
    class Wider(Thing):
        more: int = 1

    assert repr(Wider(2)).endswith("Wider(x=2, more=1)")


def test_changed_without_becoming_a_dataclass() -> None:
    @record
    class Late:
        """With a field that is not given."""

        x: int
        y: int = 2
        made: list[int] = field(default_factory=list, init=False)

    one = Late(1)
    one.made.append(5)  # of this object only, as with a dataclass
    other = changed(one, y=3)
    assert (other.x, other.y, other.made) == (1, 3, [])
    assert "__dataclass_fields__" in vars(Late) and not isinstance(vars(Late)["__dataclass_fields__"], dict)
    with pytest.raises(ValueError, match="made"):
        changed(one, made=[])
    with pytest.raises(TypeError):
        changed(one, z=1)  # type: ignore[call-arg]
    assert list(fields_given(Late)) == ["x", "y", "made"]


class Pair(NamedTuple):
    """Two, with words of its own."""

    left: int
    right: list[int] | None = None

    @property
    def both(self) -> tuple[int, list[int] | None]:
        """Both of them."""
        return self.left, self.right

    @classmethod
    def of(cls, left: int) -> Pair:
        """Make one."""
        return cls(left)


class TypingsPair(typing.NamedTuple):
    """Two, with words of its own."""

    left: int
    right: list[int] | None = None


def test_named_tuples_are_as_typings() -> None:
    pair = Pair.of(1)
    assert (pair, pair.both, pair._replace(right=[2])) == ((1, None), (1, None), (1, [2]))
    assert repr(pair) == "Pair(left=1, right=None)" and pair._asdict() == {"left": 1, "right": None}
    assert pickle.loads(pickle.dumps(pair)) == copy.deepcopy(pair) == pair
    for name in ("_fields", "_field_defaults", "__match_args__", "__doc__", "__module__"):
        assert getattr(Pair, name) == getattr(TypingsPair, name)
    assert typing.get_type_hints(Pair) == typing.get_type_hints(TypingsPair)
    with pytest.raises(TypeError):
        Pair()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        pair.left = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="underscore"):
        type(NamedTuple)("Wrong", (NamedTuple,), {"__annotations__": {"_a": ""}})  # type: ignore[misc]
    with pytest.raises(TypeError, match="without default"):
        type(NamedTuple)("Wrong", (NamedTuple,), {"__annotations__": {"a": "", "b": ""}, "a": 1})  # type: ignore[misc]


def test_named_tuples_take_values_as_typings_from_the_first_one_on() -> None:
    for args, names in (((1,), {}), ((1, []), {}), ((), {"right": [3], "left": 1}), ((1,), {"right": None})):

        class Once(NamedTuple):
            """Two; the first compiles what the second is made by."""

            left: int
            right: list[int] | None = None

        assert [*Once(*args, **names)] == [*Once(*args, **names)] == [*TypingsPair(*args, **names)]
    wrong: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (((), {}), ((1, 2, 3), {}), ((1,), {"left": 1}),
                                                                 ((1,), {"other": 1}))  # fmt: skip
    for args, names in wrong:

        class Never(NamedTuple):
            """Two."""

            left: int
            right: list[int] | None = None

        for _ in range(2):
            with pytest.raises(TypeError, match="__new__"):
                Never(*args, **names)
    made = Pair._make([1, [2]])
    assert (type(made), made) == (Pair, Pair(1, [2]))
    with pytest.raises(TypeError, match="Expected 2 arguments, got 1"):
        Pair._make([1])
    with pytest.raises(ValueError, match=r"unexpected field names: \['other'\]"):
        made._replace(other=2)  # type: ignore[call-arg]


def test_named_tuples_of_many_fields() -> None:
    """What gives a field's value is shared between classes, of which a later one may have more fields."""
    names = [f"n{n}" for n in range(100)]
    kind: Any = type(NamedTuple)("Many", (NamedTuple,), {"__annotations__": dict.fromkeys(names)})  # type: ignore[misc]
    many = kind(*range(100))
    assert [getattr(many, name) for name in names] == list(range(100))
    assert (Pair(5).left, Pair(5).right) == (5, None)


def test_the_first_record_is_as_all_others() -> None:
    """Its fields are set without what makes the others, which takes longer to compile."""
    cases: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((1,), {"named": 2}), ((1, 5), {"named": 2}), ((), {"named": 2, "x": 1, "late": [7]}),
        ((1, 2, [3]), {"named": 4}),
    )  # fmt: skip
    wrong: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((), {}), ((1,), {}), ((1, 2, [3], 4), {"named": 5}), ((1,), {"named": 2, "x": 1}),
        ((1,), {"named": 2, "z": 1}), ((1,), {"named": 2, "made": []}),
    )  # fmt: skip

    def make() -> Callable[..., Any]:
        @struct
        class Kind:
            x: int
            y: int = 2
            late: list[int] = field(default_factory=list)
            named: int = field(kw_only=True)
            made: list[int] = field(default_factory=list, init=False)
            unset: int = field(init=False)

            def __post_init__(self) -> None:
                self.made.append(self.x)

        return Kind

    def shown(one: Any) -> list[Any]:
        return [one.x, one.y, one.late, one.named, one.made, hasattr(one, "unset")]

    for args, names in cases:
        kind = make()
        first, second = kind(*args, **names), kind(*args, **names)
        assert shown(first) == shown(second)
        assert first.late is not second.late or "late" in names or len(args) > 2
    for args, names in wrong:
        kind = make()
        for _ in range(2):
            with pytest.raises(TypeError, match=r"__init__\(\)"):
                kind(*args, **names)
