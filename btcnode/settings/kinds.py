"""Kinds of option values: what text of a command line, a file or a program becomes, in Bitcoin Core's grammar.

Numbers and switches are read as Core reads them: the number that a text begins with, 0 where there is none.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from btcnode.errors import ConfigError
from btcnode.primitives.amounts import AmountError, parse_money

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from fractions import Fraction
    from typing import Any

MIB, KB, MB = 1 << 20, 1000, 1_000_000
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
BYTE_UNITS = {"k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30, "t": 10**12, "T": 2**40}

_HEX = r"[0-9a-fA-F]*"
_SPACE = " \t\n\r\f\v"


def leading_number(text: str) -> int:
    """The number that a text begins with, 0 without one, within 64 bits (Core's ``LocaleIndependentAtoi``)."""
    text = text.strip(_SPACE)
    sign = -1 if text.startswith("-") else 1
    text = text[1:] if text[:1] in ("-", "+") else text
    length = next((n for n, char in enumerate(text) if not "0" <= char <= "9"), len(text))
    digits = text[:length].lstrip("0")
    value = sign * (int(digits or "0") if len(digits) <= 19 else INT64_MAX)
    return max(-(2**63), min(INT64_MAX, value))


def is_number(text: str) -> bool:
    """Whether a text is a number to its end, or empty."""
    return re.fullmatch(r"[-+]?[0-9]+", text.strip(_SPACE)) is not None or not text


def as_flag(text: str) -> bool:
    """Yes or no; an option without value is a yes."""
    return text == "" or leading_number(text) != 0


class Kind(ABC):
    """Reads one value. ``several``: the option may be given more than once and makes a tuple.

    ``is_path``: the text names a file or folder (for shell completion). ``is_numeric``: text that is no number counts
    as one all the same.
    """

    metavar = "TEXT"
    several = False
    is_path = False
    is_numeric = False

    @property
    def limits(self) -> str:
        """The range of a number for people, in brackets where what is beyond is brought into it; empty without one."""
        return ""

    @abstractmethod
    def read(self, flag: str, text: str) -> Any:
        """The value that the text of option ``flag`` stands for; raises ConfigError."""

    def negated(self, flag: str) -> Any:
        """The value of ``-noflag``: that of the text 0, unless a name may be 0; raises ConfigError."""
        return self.read(flag, "0")

    def collect(self, values: Sequence[Any]) -> Any:
        """What several values make together."""
        return tuple(values)


class Flag(Kind):
    """Yes or no."""

    metavar = ""
    is_numeric = True

    def read(self, flag: str, text: str) -> bool:
        """True or False."""
        return as_flag(text)


class Number(Kind):
    """A whole number from ``low`` to ``high``, times ``unit``.

    One outside is refused, or brought into range (``clamp``: where Core takes it). ``too_low`` and ``too_high`` are
    Core's lines; on a side that has one a number is refused.
    """

    metavar = "N"
    is_numeric = True

    def __init__(
        self,
        low: int,
        high: int = INT32_MAX,
        *,
        unit: int = 1,
        clamp: bool = False,
        too_low: str = "",
        too_high: str = "",
    ) -> None:
        self.low, self.high, self.unit, self.clamp = low, high, unit, clamp
        self.too_low, self.too_high = too_low, too_high

    @property
    def limits(self) -> str:
        """``0 to 64``, ``(0 to 64)``, ``0 (to 64)``: what is in brackets moves a number, else it is refused."""
        low = f"from {self.low}" if self.high >= INT32_MAX else f"{self.low}"
        high = "" if self.high >= INT32_MAX else f" to {self.high}"
        moves_low, moves_high = self.clamp and not self.too_low, self.clamp and not self.too_high
        if moves_low:
            return f"({low}{high})" if moves_high or not high else f"({low}){high}"
        return f"{low} ({high.strip()})" if moves_high and high else f"{low}{high}"

    def read(self, flag: str, text: str) -> int:
        """The number in the smallest unit; ConfigError outside its range."""
        value = leading_number(text)
        if self.clamp and not (value < self.low and self.too_low):
            value = max(value, self.low)
        if self.clamp and not (value > self.high and self.too_high):
            value = min(value, self.high)
        if value < self.low and self.too_low:
            raise ConfigError(self.too_low.format(value))
        if value > self.high and self.too_high:
            raise ConfigError(self.too_high.format(value))
        if not self.low <= value <= self.high:
            raise ConfigError(f"-{flag} takes a number from {self.low} to {self.high}, not {text}")
        return value * self.unit


class Processors(Kind):
    """Numbers of processors and ranges of them, such as ``0,2-3``, as taskset and cgroups write them."""

    metavar = "LIST"

    def read(self, flag: str, text: str) -> tuple[int, ...]:
        """Each number once, in the order of the text; ConfigError for what is no such list."""
        found: dict[int, None] = {}
        for part in text.split(","):
            match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last:
                raise ConfigError(f"-{flag} takes numbers of processors and ranges such as 0,2-3, not '{text}'")
            found.update(dict.fromkeys(range(first, last + 1)))
        return tuple(found)


class Text(Kind):
    """Text as it is."""

    def read(self, flag: str, text: str) -> str:
        """``text``, whatever it is."""
        return text


class Choice(Kind):
    """One of a few words; ``refusal`` is the line about any other, with ``{}`` for it."""

    def __init__(self, words: Sequence[str], refusal: str = "") -> None:
        self.words = tuple(words)
        self.refusal = refusal

    def read(self, flag: str, text: str) -> str:
        """The word; ConfigError for any other."""
        if text not in self.words:
            raise ConfigError(self.refusal.format(text) or f"-{flag} is one of {', '.join(self.words)}, not '{text}'")
        return text


class Feerate(Kind):
    """Coins for 1,000 virtual bytes; satoshi for as many."""

    metavar = "FEERATE"

    def read(self, flag: str, text: str) -> int:
        """Satoshi/kvB; ConfigError when it is no amount."""
        try:
            return parse_money(text)
        except AmountError:
            raise ConfigError(f"Invalid amount for -{flag}=<amount>: '{text}'") from None


class ByteCount(Kind):
    """A number with one of Core's units behind it, M when there is none."""

    metavar = "N[UNIT]"

    def read(self, flag: str, text: str) -> int:
        """How many bytes; ConfigError when it is no such number."""
        digits, unit = (text[:-1], BYTE_UNITS[text[-1]]) if text[-1:] in BYTE_UNITS else (text, BYTE_UNITS["M"])
        value = int(digits) * unit if re.fullmatch(r"[0-9]{1,19}", digits) else -1
        if not 0 <= value <= INT64_MAX:
            raise ConfigError(f"Unable to parse -{flag}: '{text}'")
        return value


class Hex(Kind):
    """Bytes in hex."""

    metavar = "HEX"

    def read(self, flag: str, text: str) -> bytes:
        """The bytes in the order of the text; ConfigError when it is no hex."""
        if len(text) % 2 or not re.fullmatch(_HEX, text):
            raise ConfigError(f"-{flag} must be hex, not '{text}'.")
        return bytes.fromhex(text)


class HexNumber(Kind):
    """Up to 64 hexadecimal digits as a number, with or without 0x; ``refusal`` has ``{}`` for the text."""

    metavar = "HEX"

    def __init__(self, refusal: str) -> None:
        self.refusal = refusal

    def read(self, flag: str, text: str) -> int:
        """The number, whose first digit is the most significant; ConfigError when it is none of 256 bits."""
        digits = text.removeprefix("0x")
        if len(digits) > 64 or not re.fullmatch(_HEX, digits):
            raise ConfigError(self.refusal.format(text))
        return int(digits or "0", 16)


class Share(Kind):
    """A share of all: 1, 0 or a fraction such as 1/100."""

    metavar = "SHARE"

    def read(self, flag: str, text: str) -> Fraction | int:
        """From 0 to 1; ConfigError when it is neither."""
        if text in ("0", "1"):
            return int(text)
        from fractions import Fraction  # nearly every start does without

        match = re.fullmatch(r"([0-9]{1,9})(?:/([0-9]{1,9})|\.([0-9]{1,9}))?", text)
        share = Fraction(-1)
        if match is not None and not (match[2] and int(match[2]) == 0):
            share = Fraction(text)
        if not 0 <= share <= 1:
            raise ConfigError(f"-{flag} takes 1, 0 or a share like 1/100, not '{text}'")
        return share


def read_path(flag: str, text: str) -> Path:
    """The path that a text names, ``~`` being the user's home; raises ConfigError for what no file can be called."""
    if "\0" in text:
        raise ConfigError(f"-{flag} takes a path, which cannot have a zero byte in it")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(f"-{flag} takes a path, which cannot have half of a surrogate pair in it") from None
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody is called so, or has no home: then it is a name like another
        return Path(text)


class PathName(Kind):
    """A file or folder; ``~`` is the user's home. An empty text is ``usual``, or none; a negation is none."""

    metavar = "PATH"
    is_path = True

    def __init__(self, usual: str = "") -> None:
        self._usual = usual

    def read(self, flag: str, text: str) -> Path | None:
        """The path, as it was written."""
        name = text or self._usual
        return read_path(flag, name) if name else None

    def negated(self, flag: str) -> None:
        """No file at all."""


def absolute(flag: str, text: str) -> Path:
    """The path from the root, symbolic links left as they are; raises ConfigError, also where nobody can say."""
    path = read_path(flag, text)
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow the links)
    except FileNotFoundError:
        raise ConfigError(f"The current working directory, from which '{text}' counts, is gone") from None


class Folder(PathName):
    """A folder from the root: it stays the same one wherever the process goes."""

    metavar = "DIR"

    def read(self, flag: str, text: str) -> Path | None:
        """The absolute path."""
        return absolute(flag, text) if text else None


class Parsed(Kind):
    """What a function ``(flag, text) -> value`` makes of the text; it raises ConfigError."""

    def __init__(self, parse: Callable[[str, str], Any], metavar: str = "TEXT") -> None:
        self._parse = parse
        self.metavar = metavar

    def read(self, flag: str, text: str) -> Any:
        """What the function says."""
        return self._parse(flag, text)


class Several(Kind):
    """Any number of values of another kind, as a tuple; ``together`` makes something else of it."""

    several = True

    def __init__(self, kind: Kind, together: Callable[[tuple[Any, ...]], Any] = tuple) -> None:
        self.kind = kind
        self.metavar = kind.metavar
        self.is_path = kind.is_path
        self._together = together

    def read(self, flag: str, text: str) -> Any:
        """One of the values."""
        return self.kind.read(flag, text)

    def collect(self, values: Sequence[Any]) -> Any:
        """All of them."""
        return self._together(tuple(values))
