"""The methods of a server: finding, calling, and help over all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from time import monotonic
from typing import TYPE_CHECKING, Any

from btcnode.counting import Histogram
from btcnode.errors import BtcnodeError
from btcnode.record import struct
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import DuplicateKeysDict, Written, decode
from btcnode.rpc.room import beside, large_request
from btcnode.rpc.shapes import TEXT_KINDS, Arg

if TYPE_CHECKING:
    from btcnode.rpc.method import Method
    from btcnode.services.control import Control
    from btcnode.services.parts import NodeParts

log = logging.getLogger("btcnode.rpc")

HIDDEN = "hidden"
CALL_BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0)  # seconds
QUICK_S = CALL_BOUNDS[0]


@struct
class CallTally:
    """The calls of one method that have ended; ``failed`` are those that were answered with an error.

    Nearly all take less than the first of ``CALL_BOUNDS``: ``quick`` of them, ``quick_s`` seconds together.
    """

    failed: int = 0
    quick: int = 0
    quick_s: float = 0.0
    slow: Histogram = field(default_factory=lambda: Histogram(CALL_BOUNDS))

    @property
    def seconds(self) -> Histogram:
        """How long all of them took."""
        first, *others = self.slow.counts
        return Histogram(CALL_BOUNDS, counts=(first + self.quick, *others), total=self.slow.sum + self.quick_s)


class MethodTable:
    """Methods by name over one node: over its ``control`` from the start, over its parts once ``open`` has been called.

    ``active`` holds the calls that others may be answered beside, oldest first: ``(method, monotonic start)`` by a
    running number.
    ``tallies`` holds those that have ended, by the names of methods that there are.
    With ``check_results`` every result is held against its declaration (tests).
    """

    def __init__(
        self,
        control: Control,
        sources: Mapping[str, Callable[[], Iterable[Method]]],
        *,
        subject_of: Mapping[str, str],
        check_results: bool = False,
    ) -> None:
        """``sources`` give the methods of a subject when they are called; ``subject_of`` names a method's subject, so
        that no others are loaded for it. A method that it does not know is looked for in all of them.
        """
        self.control = control
        self._parts: NodeParts | None = None  # while the node warms up
        self._sources = dict(sources)
        self._subject_of = subject_of
        self._loaded: dict[str, Method] = {}
        self.active: dict[int, tuple[str, float]] = {}
        self._at_once: tuple[str, float] | None = None  # the call that is answered now
        self.tallies: dict[str, CallTally] = {}
        self._calls = 0
        self._check_results = check_results

    @property
    def methods(self) -> dict[str, Method]:
        """All methods by name; those that nobody has asked for yet are loaded, which takes a tenth of a second."""
        while self.load_more():
            pass
        return self._loaded

    def add_source(self, subject: str, source: Callable[[], Iterable[Method]]) -> None:
        """Methods to be loaded after those of the other sources."""
        self._sources[subject] = source

    def load_more(self) -> bool:
        """Take the methods of the next source; False when there is none left. Raises ValueError for a name twice."""
        for subject in self._sources:
            self._take(self._sources.pop(subject)())
            return True
        return False

    async def load_beside(self) -> bool:
        """The same with the import in a thread, as some take the loop a tenth of a second."""
        for subject in self._sources:
            await self._load_beside(subject)
            return True
        return False

    async def _load_beside(self, subject: str) -> None:
        source = self._sources[subject]
        methods = await asyncio.to_thread(lambda: list(source()))
        if subject in self._sources:  # nobody has loaded it meanwhile
            del self._sources[subject]
            self._take(methods)

    def knows(self, name: str) -> bool:
        """Whether what there is to know of a method of that name is here without loading anything."""
        return name in self._loaded or not self._sources

    async def load_for(self, name: str) -> None:
        """Load the subject of a method of that name, beside the loop; all, if there is none."""
        subject = self._subject_of.get(name)
        if subject in self._sources:
            await self._load_beside(subject)
        while name not in self._loaded and await self.load_beside():
            pass

    def _take(self, methods: Iterable[Method]) -> None:
        for method in methods:
            if method.name in self._loaded:
                raise ValueError(f"method {method.name} declared twice")
            self._loaded[method.name] = method

    def _known(self, name: str) -> Method | None:
        """The method of that name, loaded with its subject if need be."""
        subject = self._subject_of.get(name)
        if subject in self._sources:
            self._take(self._sources.pop(subject)())
        while name not in self._loaded and self.load_more():
            pass
        return self._loaded.get(name)

    def open(self, parts: NodeParts) -> None:
        """The node is ready: every method answers from now on."""
        self._parts = parts
        self.control.status = None

    @property
    def parts(self) -> NodeParts:
        """What handlers are given; raises RpcError while the node warms up."""
        if self._parts is None:
            raise RpcError(RpcCode.IN_WARMUP, self.control.status or "")
        return self._parts

    def _given_to(self, method: Method) -> NodeParts | Control:
        return self.control if method.takes_control else self.parts

    def at_hand(self, name: str) -> Method | None:
        """The method, when it is loaded and the node is ready to answer whatever there is."""
        return self._loaded.get(name) if self.control.status is None else None

    def find(self, name: str) -> Method:
        """The method, when the node is ready to answer it; raises RpcError."""
        method, status = self.at_hand(name), self.control.status
        if method is not None:
            return method
        method = self._known(name)
        if status is not None and not (method is not None and method.in_warmup):
            raise RpcError(RpcCode.IN_WARMUP, status)
        if method is None:
            raise RpcError(RpcCode.METHOD_NOT_FOUND, "Method not found")
        return method

    def call(self, method: Method, params: Any) -> Any:
        """Call a method that answers at once; raises RpcError and nothing else."""
        name, begun, good = method.name, monotonic(), False
        self._at_once = name, begun
        try:
            parts = self._parts if self._parts is not None and not method.takes_control else self._given_to(method)
            if not params and method.takes_nothing:
                result = method.handler(parts)
            else:
                given = params if type(params) is list else positional(method, params)
                result = method.handler(parts, *method.bind(given))
            good = True
        except RpcError:
            raise
        except Exception as error:
            raise _translated(method, error) from error
        finally:
            self._at_once = None
            self._note(name, monotonic() - begun, good)
        return self._checked(method, result) if self._check_results else result

    async def call_async(self, method: Method, params: Any, *, large: bool = False) -> Any:
        """Call any method; raises RpcError (or CancelledError) and nothing else. ``large``: what it was given is."""
        given = self._given_to(method)
        number, good = self._begin(method), False
        try:
            if method.pure and large:
                result = await beside(lambda: method.handler(given, *method.bind(positional(method, params))))
            elif large and method.is_async:
                with large_request():
                    result = await method.handler(given, *method.bind(positional(method, params)))
            else:
                result = method.handler(given, *method.bind(positional(method, params)))
                if method.is_async:
                    result = await result
            good = True
        except RpcError:
            raise
        except Exception as error:
            raise _translated(method, error) from error
        finally:
            self._end(number, good=good)
        return self._checked(method, result)

    def in_progress(self) -> list[tuple[str, float]]:
        """The calls that have not ended, oldest first: the method, and when it was begun (monotonic)."""
        return [*self.active.values(), *(() if self._at_once is None else (self._at_once,))]

    def help(self, name: str = "") -> str:
        """The help of one method, or the usage of all, by category."""
        if name:
            method = self._known(name)
            return method.help() if method else f"help: unknown command: {name}"
        sections: dict[str, list[str]] = {}
        for method in sorted(self.methods.values(), key=lambda method: (method.category, method.name)):
            if method.category != HIDDEN:
                sections.setdefault(method.category, []).append(method.usage())
        return "\n\n".join("\n".join([f"== {name.capitalize()} ==", *lines]) for name, lines in sections.items())

    def conversions(self) -> list[list[Any]]:
        """``[method, position, argument, is a string]`` for every argument name of what bitcoind has, too.

        It is what the table of its client must say.
        """
        return [
            [method.name, n, name, arg.kind in TEXT_KINDS]
            for method in sorted(self.methods.values(), key=lambda method: method.name)
            if not method.own
            for n, whole in enumerate(method.args)
            for arg in (whole, *(whole.inner if whole.by_name else ()))
            for name in arg.names
        ]

    def _begin(self, method: Method) -> int:
        self._calls += 1
        self.active[self._calls] = (method.name, monotonic())
        return self._calls

    def _end(self, number: int, *, good: bool) -> None:
        name, begun = self.active.pop(number)
        self._note(name, monotonic() - begun, good)

    def _note(self, name: str, took_s: float, good: bool) -> None:
        tally = self.tallies.get(name) or self._tally(name)
        if not good:
            tally.failed += 1
        if took_s < QUICK_S:
            tally.quick += 1
            tally.quick_s += took_s
        else:
            tally.slow.add(took_s)

    def _tally(self, name: str) -> CallTally:
        """That of a method which nobody has called before."""
        tally = self.tallies[name] = CallTally()
        return tally

    def _checked(self, method: Method, result: Any) -> Any:
        if self._check_results:
            why = method.mismatch(decode(result.text) if isinstance(result, Written) else result)
            if why is not None:
                raise RpcError(RpcCode.INTERNAL_ERROR, f"{method.name} returned other than declared: {why}")
        return result


def _translated(method: Method, error: Exception) -> RpcError:
    """The RPC error of an exception: what the node refuses on purpose is told, the rest is logged as our own fault."""
    if isinstance(error, BtcnodeError):
        return RpcError(RpcCode.MISC_ERROR, str(error))
    log.error("RPC %s failed: %r", method.name, error, exc_info=error)
    return RpcError(RpcCode.INTERNAL_ERROR, f"Internal error in {method.name}: {error!r}")


def positional(method: Method, params: Any) -> Sequence[Any]:
    """Named parameters as positional ones, "args" first; raises RpcError as Core does."""
    if isinstance(params, list):
        return params
    if isinstance(params, DuplicateKeysDict):
        raise _given_twice(params.duplicates[0])
    rest = dict(params)
    values: list[Any] = []
    first_named: Arg | None = None
    leading_gap = gap = 0
    for arg in method.args:
        given = _take(rest, arg)
        members = _take_members(rest, arg) if arg.by_name else {}
        if given is None and not members:
            gap += 1
            if not values:
                leading_gap = gap
            continue
        if given is not None and members:
            text = f"Parameter {given[0]} conflicts with parameter {next(iter(members))}"
            raise RpcError(RpcCode.INVALID_PARAMETER, text)
        values += [None] * gap
        gap = 0
        first_named = first_named or arg
        values.append(given[1] if given is not None else members)
    leading = rest.pop("args", None)
    if isinstance(leading, list):  # anything else under that name is passed over, as bitcoind does
        if first_named is not None and leading_gap < len(leading):
            text = f"Parameter {first_named.name} specified twice both as positional and named argument"
            raise RpcError(RpcCode.INVALID_PARAMETER, text)
        values = [*leading, *values[len(leading) :]]
    if rest:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Unknown named parameter {next(reversed(rest))}")
    return values


def _take(rest: dict[str, Any], arg: Arg) -> tuple[str, Any] | None:
    """Take the first alias of an argument that was given out of ``rest``, with its value."""
    for name in arg.names:
        if name in rest:
            return name, rest.pop(name)
    return None


def _take_members(rest: dict[str, Any], arg: Arg) -> dict[str, Any]:
    """The members of an argument that were given by name; raises RpcError."""
    members: dict[str, Any] = {}
    for part in arg.inner:
        given = _take(rest, part)
        if given is not None:
            if given[0] in members:
                raise _given_twice(given[0])
            members[given[0]] = given[1]
    return members


def _given_twice(name: str) -> RpcError:
    return RpcError(RpcCode.INVALID_PARAMETER, f"Parameter {name} specified multiple times")
