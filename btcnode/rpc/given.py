"""Arrays and objects as a client sent them, which are checked where a handler reads them.

Core looks at the members of a parameter when it comes to them, after other faults have been told. So a handler gets an
``Items`` or a ``Strict``, ``Checked`` or ``Lenient`` object, not a list or a dict: nothing of it can be had without the
check of its declaration, which raises RpcError with Core's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Items(Sequence[T]):
    """An array; each item is checked as it is taken."""

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: list[Any], read: Callable[[Any], Any]) -> None:
        self._raw = raw
        self._read = read

    @property
    def sent(self) -> Sequence[Any]:
        """As the client wrote them: nothing is checked."""
        return self._raw

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[T]:
        return map(self._read, self._raw)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._read(item) for item in self._raw[index]]
        read: T = self._read(self._raw[index])
        return read


class Given(Generic[T]):
    """An object that is read as a whole; its subclasses say what becomes of keys that are not declared."""

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> None:
        self._raw = raw
        self._read = read

    @property
    def sent(self) -> Mapping[str, Any]:
        """As the client wrote it, to be echoed: nothing of it is checked."""
        return self._raw

    def read(self) -> T:
        """The declared members that were given, and the defaults of others: a mapping. Raises RpcError.

        Of a ``Lenient`` object each member is checked as it is taken, so taking one may raise RpcError.
        """
        read: T = self._read(self._raw)
        return read


class Whole:
    """A whole number; its range is checked as it is read."""

    __slots__ = ("_read", "raw")

    def __init__(self, raw: Any, read: Callable[[Any], int] = int) -> None:
        self.raw = raw
        self._read = read

    def read(self) -> int:
        """The number; raises RpcError when it is a fraction or out of range."""
        return self._read(self.raw)


NO_TIME = Whole(0)


class Absent:
    """What was not sent at all, where that is not the same as null."""


ABSENT: Any = Absent()


class Members(Mapping[str, Any]):
    """The members of an object; ``taken`` makes the value of one from what was sent, ``names`` are those there are."""

    __slots__ = ("_names", "_taken")

    def __init__(self, names: list[str], taken: Callable[[str], Any]) -> None:
        self._names = names
        self._taken = taken

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._taken(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Strict(Given[T]):
    """An object whose keys must all be declared, as in Core where RPCTypeCheckObj is strict."""


class Checked(Given[T]):
    """An object whose types are checked at once, and whose other keys are ignored, as by Core's RPCTypeCheckObj."""


class Lenient(Given[T]):
    """An object of which Core takes the members one by one, and ignores the keys that it does not know."""
