"""How an option is declared: a field of a group, with its kind, its default and what help says of it.

    dbcache_bytes: int = option("dbcache", "Coin cache in MiB.", Number(4, 1 << 24, clamp=True, unit=MIB), "450")

The kind reads the text; the field has the type that the kind makes of it. Everything else that is to be known of an
option (may it be negated, is it secret, does it need the network's section) stands in the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum
from typing import Any

from btcnode.networks.names import NetworkName
from btcnode.record import fields_given, record
from btcnode.settings.kinds import Flag, Kind

NETWORK_DEFAULT = "the network's"


class _Nothing(Enum):
    NOTHING = "nothing"


NOTHING = _Nothing.NOTHING
"""Of an option's ``unset``: None, or what no values at all make."""


@record
class Option:
    """One option. ``default`` is text for its kind, a bool for a switch, None for "not given" (``unset``), or a
    function of the network.

    ``network_only``: on any but the main network it counts from the network's section only. ``only_on``: elsewhere
    than on this network (Core's name) it is ignored. ``needs_value``: ``-name`` alone is an error. ``secret``: its
    value is not logged. ``unset``: what the field is when nobody says anything and there is no default. ``usual``:
    the default in words, where ``default`` alone does not tell it because it follows from other options or the system.
    ``common``: ``btcnode start --help`` shows it. ``of_process``: it is about the process around a node, so it means
    nothing to a node inside a program.
    """

    flag: str
    help: str
    kind: Kind
    default: str | bool | Callable[[NetworkName], Any] | None = None
    unset: Any = NOTHING
    usual: str = ""
    metavar: str | None = None
    network_only: bool = False
    only_on: str = ""
    negatable: bool = True
    needs_value: bool = False
    secret: bool = False
    common: bool = False
    of_process: bool = False

    @property
    def keyword(self) -> str:
        """Its name as a keyword argument of Python."""
        return self.flag.replace("-", "_")

    @property
    def is_switch(self) -> bool:
        """Whether it is yes or no."""
        return isinstance(self.kind, Flag)

    @property
    def value_name(self) -> str:
        """What help calls its value."""
        return self.metavar or self.kind.metavar

    @property
    def shown_default(self) -> str:
        """Its default for people, empty when there is none to tell."""
        if self.usual or self.default is None or self.default == "":
            return self.usual
        if callable(self.default):
            return NETWORK_DEFAULT
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return self.default


def option(flag: str, help: str, kind: Kind, default: Any = None, **more: Any) -> Any:
    """A group's field that is an option; see ``Option``."""
    return field(metadata={"option": Option(flag, help, kind, default, **more)})


def switch(flag: str, help: str, default: Any = None, **more: Any) -> Any:
    """A group's field that is an option of yes or no; None as default: what follows is up to others."""
    return option(flag, help, Flag(), default, **more)


def options_of(group: type[Any]) -> dict[str, Option]:
    """The options of a group by field, in order."""
    return {name: item.metadata["option"] for name, item in fields_given(group).items()}
