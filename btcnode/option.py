"""How an option is declared: a dataclass field with what the command line says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """What the command line says of an option; ``flag`` is its name there, without dashes."""

    flag: str
    help: str
    group: str
    metavar: str | None = None
    hidden: bool = False


def option(flag: str, help: str, group: str, default: Any = None, **more: Any) -> Any:
    """A dataclass field with its option's description; a callable default is a factory."""
    info = {"option": OptionInfo(flag, help, group, **more)}
    if isinstance(default, Callable):  # type: ignore[arg-type]
        return field(default_factory=default, metadata=info)
    return field(default=default, metadata=info)
