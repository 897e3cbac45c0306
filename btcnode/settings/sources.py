"""Where settings come from, merged as bitcoind merges them: command line, settings.json, bitcoin.conf by sections.

A setting is a list of raw values per source: text, or ``False`` for a negation (``-nofoo``) and ``True`` for a negation
of a negation. Which of them counts follows the rules of Core's ``common/settings.cpp``, oddities included.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from btcnode.errors import ConfigError
from btcnode.record import struct
from btcnode.settings.kinds import as_flag as text_as_flag
from btcnode.settings.kinds import leading_number
from btcnode.settings.table import OF_THE_NODE, OptionTable

Values = list[Any]

BEFORE_SETTINGS_FILE = frozenset({"signetchallenge", "signetseednode", "testactivationheight", "vbparams"})
"""What says which network it is: settings.json lies in that network's directory, and is read afterwards."""


class ArgumentsError(ConfigError):
    """A command line that cannot be read."""


@struct
class Sources:
    """The sources, strongest first: command line, settings.json, configuration file by section ("" is the top)."""

    command_line: dict[str, Values] = field(default_factory=dict)
    read_write: dict[str, Any] = field(default_factory=dict)
    file: dict[str, dict[str, Values]] = field(default_factory=dict)
    soft: dict[str, str] = field(default_factory=dict)
    """What follows from other options; counts when nobody says anything."""

    stray: Values = field(default_factory=list)
    """The first word of the command line that is no option."""

    chain: str = "main"
    table: OptionTable = OF_THE_NODE
    notes: list[tuple[int, str]] = field(default_factory=list)
    """Lines for the log that is not open yet: level and text."""

    def sources(self, name: str) -> list[tuple[str, Values]]:
        """Values of an option, strongest source first."""
        found = [("command line", self.command_line.get(name, []))]
        if name in self.read_write and name not in BEFORE_SETTINGS_FILE:
            found.append(("settings", [self.read_write[name]]))
        if self.chain:
            found.append(("section", self.file.get(self.chain, {}).get(name, [])))
        found.append(("top", self.file.get("", {}).get(name, [])))
        if name in self.soft:
            found.append(("soft", [self.soft[name]]))
        return found

    def _says(self, name: str) -> bool:
        """Whether any source has the option."""
        file = self.file
        return (
            name in self.command_line
            or name in self.read_write
            or name in self.soft
            or any(name in section for section in file.values())
        )

    def interpret(self, name: str, negated: bool, text: str | None) -> Any:
        """The raw value of an option: ``-nofoo`` is False, ``-nofoo=0`` is True; raises ArgumentsError."""
        option = self.table.find(name)
        negatable = option is None or option.negatable
        if negated:
            if not negatable:
                raise ArgumentsError(f"Negating of -{name} is meaningless and therefore forbidden")
            if as_flag(text or "", True):
                return False
            self.notes.append((logging.WARNING, f"Parsed potentially confusing double-negative -{name}={text}"))
            return True
        if text is None and option is not None and option.needs_value:
            raise ArgumentsError(f"Can not set -{name} with no value. Please specify value with -{name}=value.")
        return text or ""

    def _hides_top(self, name: str) -> bool:
        return self.table.is_network_only(name) and self.chain != "main"

    def _visible(self, name: str) -> Iterator[tuple[str, Values]]:
        """The sources that say something, without a top section that does not count on this network."""
        if not self._says(name):  # most options, and quicker to find
            return
        for source, values in self.sources(name):
            if values and not (source == "top" and self._hides_top(name) and values[-1] is not False):
                yield source, values

    def one(self, name: str, *, choosing_chain: bool = False) -> Any:
        """The value that counts: text, bool, whatever settings.json has, or None when nobody says anything."""
        for source, values in self._visible(name):
            last_negated = values[-1] is False
            if choosing_chain and last_negated:
                continue
            if last_negated:
                return False
            kept = after_negation(values)
            first_wins = source in ("section", "top") and not choosing_chain
            return kept[0] if first_wins else kept[-1]
        return None

    def many(self, name: str) -> Values:
        """Every value that counts, in Core's order."""
        result: Values = []
        complete = negated_empty = False
        for source, values in self._visible(name):
            kept = after_negation(values)
            if not complete or (source in ("section", "top") and not negated_empty):
                for value in kept:
                    result += value if isinstance(value, list) else [value]
            complete |= len(kept) < len(values)
            negated_empty |= values[-1] is False and not result
        return result

    def is_negated(self, name: str) -> bool:
        """Whether the value that counts is a negation."""
        return self.one(name) is False

    def is_set(self, name: str) -> bool:
        """Whether anybody says anything."""
        return self.one(name) is not None

    def text(self, name: str, default: str) -> str:
        """The value as text: "0" when negated, "1" for a double negation. Raises ConfigError."""
        return as_text(self.single(name), default)

    def number(self, name: str, default: int) -> int:
        """The value as a whole number; what is no number is 0. Raises ConfigError."""
        value = self.single(name)
        if value is None:
            return default
        return leading_number(as_text(value, "0"))

    def flag(self, name: str, default: bool) -> bool:
        """The value as yes or no; raises ConfigError."""
        return as_flag(self.single(name), default)

    def single(self, name: str) -> str | bool | float | None:
        """The value that counts, of a type that a single value can have; raises ConfigError in Core's words.

        Only settings.json has others: lists, objects, fractions for a whole number, numbers for a switch.
        """
        value, option = self.one(name), self.table.find(name)
        if value is None or isinstance(value, str | bool):
            return value
        if not isinstance(value, int | float) or (option is not None and option.is_switch):
            raise wrong_type(name, value)
        if isinstance(value, float) and option is not None and option.kind.is_numeric:
            raise ConfigError(f"Settings file, {name}: JSON integer out of range")
        return value


def after_negation(values: Values) -> Values:
    """What follows the last negation."""
    for place in range(len(values) - 1, -1, -1):
        if values[place] is False:
            return values[place + 1 :]
    return values


def wrong_type(name: str, value: Any) -> ConfigError:
    """The refusal of a value that settings.json has for an option."""
    kinds = {list: "array", dict: "object", bool: "bool", type(None): "null"}
    kind = kinds.get(type(value), "number")
    return ConfigError(f"Settings file, {name}: JSON value of type {kind} is not of expected type string")


def as_text(value: Any, default: str) -> str:
    """A raw value as text."""
    if value is None:
        return default
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def as_flag(value: Any, default: bool) -> bool:
    """A raw value as yes or no; an option without value is a yes."""
    if value is None:
        return default
    return value if isinstance(value, bool) else text_as_flag(str(value))


def split_key(name: str) -> tuple[str, str, bool]:
    """``section.name`` or ``noname`` taken apart: section, name, negated."""
    section, dot, rest = name.partition(".")
    if not dot:
        section, rest = "", name
    negated = rest.startswith("no")
    return section, rest[2:] if negated else rest, negated


def parse_command_line(argv: list[str], sources: Sources) -> None:
    """Read the command line into ``sources``; raises ArgumentsError.

    A word without a dash ends it. That there is one is told when the files have been read, as by bitcoind.
    """
    sources.stray = [word for word in argv if not word.startswith("-")][:1]
    for word in argv:
        if word == "-" or not word.startswith("-"):
            break
        key, equals, text = word[1:].partition("=")
        key = key.removeprefix("-")
        section, name, negated = split_key(key)
        if section or not sources.table.is_known(name):
            raise ArgumentsError(f"Invalid parameter {word}")
        value = sources.interpret(name, negated, text if equals else None)
        sources.command_line.setdefault(name, []).append(value)
    if any(value is not False for value in sources.command_line.get("includeconf", ())):
        value = json.dumps(sources.command_line["includeconf"][0], ensure_ascii=False)
        raise ArgumentsError(f"-includeconf cannot be used from commandline; -includeconf={value}")
