"""A method: its declaration and its handler, and the parameters of a call made into arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.helptext import help_text, usage
from btcnode.rpc.jsonvalue import pretty
from btcnode.rpc.shapes import Arg, Kind, Result

_ANY = object
_EXACT: dict[Kind, type] = {Kind.STR: str, Kind.HEX: str, Kind.BOOL: bool, Kind.INT: int}


class Method:
    """A method: declaration and handler. The handler takes the node's parts, or its ``Control`` alone where it says so,
    and one value per argument.

    ``heavy`` results are made into JSON outside the loop thread; ``waits`` ones may be given up when the client leaves.
    ``prompt`` ones hardly ever wait, and their results are small: they begin without a place among requests in work.
    ``pure`` ones read nothing of the node but its network's parameters: what is large they do outside the loop thread.
    No bitcoind has what is ``own``. ``examples`` are argument tuples. With ``verbatim`` the handler takes the
    parameters as they came, nulls and all. ``declared`` gives arguments and results, which are made when they are first
    asked for.
    """

    def __init__(
        self,
        name: str,
        category: str,
        text: str,
        handler: Callable[..., Any],
        declared: Callable[[Callable[..., Any]], tuple[tuple[Arg, ...], tuple[Result, ...]]],
        *,
        examples: tuple[tuple[Any, ...], ...] = (),
        heavy: bool = False,
        pure: bool = False,
        waits: bool = False,
        prompt: bool = False,
        in_warmup: bool = False,
        own: bool = False,
        verbatim: bool = False,
    ) -> None:
        self.name = name
        self.category = category
        self.text = text
        self.handler = handler
        self.examples = examples
        self.heavy = heavy
        self.pure = pure
        self.waits = waits
        self.prompt = prompt
        self.in_warmup = in_warmup
        self.own = own
        self.verbatim = verbatim
        self.is_async = inspect.iscoroutinefunction(handler)
        first = next(iter(handler.__annotations__.values()))
        self.takes_control = first == "Control"  # else it takes all parts
        self._declared = declared

    @cached_property
    def _declaration(self) -> tuple[tuple[Arg, ...], tuple[Result, ...]]:
        return self._declared(self.handler)

    @cached_property
    def args(self) -> tuple[Arg, ...]:
        """The arguments in order."""
        return self._declaration[0]

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """The forms of the result; none when it never returns."""
        return self._declaration[1]

    @cached_property
    def required(self) -> int:
        """How many arguments there must be at least."""
        return max((n for n, arg in enumerate(self.args, 1) if not arg.optional), default=0)

    @cached_property
    def takes_nothing(self) -> bool:
        """Whether there are no arguments."""
        return not self.args

    @cached_property
    def _exact(self) -> tuple[tuple[type | None, int, int], ...]:
        """By argument, what needs no look at its declaration: a type (``object``: any), the range of whole numbers."""
        found: list[tuple[type | None, int, int]] = []
        for arg in self.args:
            low, high = (0, 1 << -arg.bits) if arg.bits < 0 else (-1 << arg.bits - 1, 1 << arg.bits - 1)
            found.append(((None if arg.late else _ANY) if arg.any_type else _EXACT.get(arg.kind), low, high))
        return tuple(found)

    @cached_property
    def _late(self) -> list[int]:
        """The places of whole numbers that the handler reads itself."""
        return [n for n, arg in enumerate(self.args) if arg.late]

    @cached_property
    def _defaults(self) -> list[Any]:
        return [arg.convert(None) if arg.absent is None else arg.absent for arg in self.args]

    def bind(self, params: Sequence[Any]) -> Sequence[Any]:
        """Check positional parameters and fill in defaults; raises RpcError (wrong count: the help text)."""
        count = len(params)
        if not self.required <= count <= len(self.args):
            raise RpcError(RpcCode.MISC_ERROR, self.help())
        if self.verbatim or self.takes_nothing:
            return params
        for value, (kind, low, high) in zip(params, self._exact, strict=False):
            found = type(value)
            if found is kind:
                if found is int and not low <= value < high:
                    return self._bind(params)
            elif kind is not _ANY or value is None:
                return self._bind(params)
        values = [*params, *self._defaults[count:]]
        for n in self._late:
            if n < count:
                values[n] = Whole(values[n])
        return values

    def _bind(self, params: Sequence[Any]) -> list[Any]:
        """As ``bind``, for parameters that take a closer look."""
        wrong = {}
        for n, (arg, value) in enumerate(zip(self.args, params, strict=False), 1):
            why = arg.mismatch(value)
            if why is not None:
                wrong[f"Position {n} ({arg.name})"] = why
        if wrong:
            raise RpcError(RpcCode.TYPE_ERROR, f"Wrong type passed:\n{pretty(wrong, 4)}")
        values = [arg.convert(value) for arg, value in zip(self.args, params, strict=False)]
        return values + self._defaults[len(params) :]

    def mismatch(self, value: Any) -> Any:
        """What of a result is not as declared, None when it is."""
        found = []
        for result in self.results:
            why = result.mismatch(value)
            if why is None:
                return None
            found.append(why)
        return found or ["no results declared"]

    def usage(self) -> str:
        """The name with its arguments, optional ones in parentheses."""
        return usage(self.name, self.args)

    def help(self) -> str:
        """The help text, laid out as Core's."""
        return help_text(self.name, self.text, self.args, self.results, self.examples)
