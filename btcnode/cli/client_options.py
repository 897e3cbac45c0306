"""The words before ``btcnode-cli``'s command: which options there are, and what they say (bitcoin-cli's rules).

Light to import: scripts call the program hundreds of times.
"""

from __future__ import annotations

from itertools import dropwhile

from btcnode.networks.names import FLAGS
from btcnode.settings.kinds import leading_number

TEXTS = frozenset(
    {
        "chain", "color", "conf", "datadir", "ipcconnect", "rpcclienttimeout", "rpcconnect", "rpccookiefile", "rpcid",
        "rpcpassword", "rpcport", "rpcuser", "rpcwaittimeout", "rpcwallet",
    }
)  # fmt: skip
WITHOUT_EFFECT = frozenset({"signetchallenge", "signetseednode", "testactivationheight", "vbparams"})
SWITCHES = frozenset(
    {
        "addrinfo", "generate", "getinfo", "help", "named", "netinfo", "rpcwait", "stdin", "stdinrpcpass",
        "stdinwalletpassphrase", "version", *FLAGS,
    }
)  # fmt: skip
NEVER_NEGATED = frozenset({"color", "datadir", "rpcid", "rpcwaittimeout", "signetchallenge", "signetseednode"})
ALIASES = {"h": "help", "?": "help", "help-debug": "help"}


class _Negation(str):
    """What a negated option says; a value that somebody gives may have the same text."""

    __slots__ = ()


NEGATED = _Negation("0")
_KNOWN = TEXTS | WITHOUT_EFFECT | SWITCHES


class OptionError(Exception):
    """Words that are no options; the text is bitcoin-cli's."""


def parse_options(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options before the command, by name, and the words from the command on; the last of a name counts.

    Switches are "1" or "0", other options their text, "" where there is none; a negated one is ``NEGATED``.
    Raises OptionError.
    """
    options: dict[str, str] = {}
    for n, word in enumerate(argv):
        if word == "-":  # ends the options; bitcoin-cli passes over every word with a dash before the command
            return options, list(dropwhile(lambda later: later.startswith("-"), argv[n:]))
        if not word.startswith("-"):
            return options, argv[n:]
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        name = ALIASES.get(name, name)
        negated = name not in _KNOWN and name.startswith("no")
        name = name[2:] if negated else name
        name = ALIASES.get(name, name)
        if name not in _KNOWN:
            raise OptionError(f"Invalid parameter {word}")
        if negated and name in NEVER_NEGATED:
            raise OptionError(f"Negating of -{name} is meaningless and therefore forbidden")
        if name == "rpcid" and not equals:
            raise OptionError("Can not set -rpcid with no value. Please specify value with -rpcid=value.")
        if negated:
            options[name] = NEGATED if _is_true(value) else "1"
        elif name in SWITCHES:
            options[name] = "1" if _is_true(value) else "0"
        else:
            options[name] = value
    return options, []


def _is_true(text: str) -> bool:
    """Core's reading of a switch: nothing is a yes, and otherwise a number that is not 0."""
    return not text or leading_number(text) != 0
