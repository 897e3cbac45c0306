"""The four doors through which options come in; behind them all of them are the same.

bitcoind's command line with its files, ``btcnode start``'s words, keyword arguments of Python: each fills the sources,
and ``Settings.resolve`` does the rest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from btcnode import __version__
from btcnode.errors import ConfigError
from btcnode.networks.names import network_named, network_of_chain
from btcnode.record import record, replace
from btcnode.settings.conf_files import ConfFiles
from btcnode.settings.consistency import check, check_first
from btcnode.settings.datadir import default_datadir
from btcnode.settings.declaration import Option
from btcnode.settings.groups.process import WITHOUT_EFFECT
from btcnode.settings.interactions import soften, warnings_of
from btcnode.settings.kinds import is_number, read_path
from btcnode.settings.settings import Settings, value_of
from btcnode.settings.sources import ArgumentsError, Sources, parse_command_line
from btcnode.settings.table import OPTIONS, find, is_network_only

TESTNET3_NOTE = (
    "Warning: Support for testnet3 is deprecated and will be removed in an upcoming release."
    " Consider switching to testnet4."
)
BY_KEYWORD = {option.keyword: option for option in OPTIONS.values()}


@record
class Loaded:
    """Settings, and what is to be said of them: ``warnings`` to the user, ``lines`` (level, text) to the log."""

    settings: Settings
    warnings: list[str] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)

    def changed(self, group: str, **values: Any) -> Loaded:
        """The same but for these fields of one group of settings."""
        return replace(self, settings=self.settings.changed(group, **values))


def parse_daemon_words(argv: list[str]) -> Sources:
    """bitcoind's command line; raises ConfigError."""
    sources = Sources()
    try:
        parse_command_line(argv, sources)
    except ArgumentsError as error:
        raise ConfigError(f"Error parsing command line arguments: {error}") from None
    return sources


def read_files(sources: Sources) -> ConfFiles:
    """Add what bitcoin.conf and settings.json say to the command line; raises ConfigError."""
    files = ConfFiles(sources)
    files.load()
    if len(sources.many("signetchallenge")) > 1:
        raise ConfigError("-signetchallenge cannot be multiple values.")
    network = network_of_chain(sources.chain)
    for flag in ("signetchallenge", "testactivationheight", "vbparams"):  # what the network is comes first
        value_of(OPTIONS[flag], sources, network)
    files.read_settings_file()
    if sources.stray:
        raise ConfigError(
            f"Command line contains unexpected token '{sources.stray[0]}', see btcnoded -h for a list of options."
        )
    return files


def from_files(files: ConfFiles) -> Loaded:
    """The settings of what ``read_files`` read; raises ConfigError. Makes the network's directory."""
    sources = files.sources
    _check_sections(sources)
    if sources.text("port", "1") == "0":  # as bitcoind refuses it; the other doors take it as "any free one"
        raise ConfigError("Invalid port specified in -port: '0'")
    loaded = _finish(sources)  # what is wrong is told before a directory is made
    make_net_dir(loaded.settings.net_dir)
    files.write_settings_file()
    if files.strange_sections:
        loaded.warnings.append("\n".join(files.strange_sections))
    named = sources.text("datadir", "")
    first = [(logging.INFO, f"btcnode version v{__version__}")]
    if named and not read_path("datadir", named).is_absolute():
        sources.notes.append(
            (
                logging.WARNING,
                f"Relative datadir option '{named}' specified, which counts from the current working directory"
                f" '{Path.cwd()}': started from elsewhere, the node would use another directory.",
            )
        )
    sources.notes.append((logging.INFO, f"Default data directory {default_datadir()}"))
    sources.notes.append((logging.INFO, f"Using data directory {loaded.settings.net_dir}"))
    lines = [*first, *sources.notes, *((logging.INFO, line) for line in _argument_lines(sources))]
    return Loaded(replace(loaded.settings, settings_file=files.settings_path()), loaded.warnings, lines)


def from_keywords(values: Mapping[str, Any]) -> Loaded:
    """The settings of keyword arguments, named as the options with underscores; ``network`` chooses the network.

    Values are text in the options' own grammar, or bool, int, paths; sequences for options that may be given more than
    once; None for "not given". Raises ConfigError that names the option.
    """
    sources = Sources(chain=network_named(_plain(values.get("network", "mainnet"), "network")).chain)
    for keyword, value in values.items():
        if keyword == "network" or value is None:
            continue
        option = BY_KEYWORD.get(keyword)
        if option is None:
            raise ConfigError(f"There is no option {keyword}")
        raw = _raw_values(option, value)
        sources.command_line[option.flag] = raw or [False]
    return _finish(sources)


def make_net_dir(net_dir: Path) -> None:
    """Make the network's directory; a new one gets Core's empty folder for wallets, where tools look for it.

    Raises ConfigError.
    """
    if net_dir.is_dir():
        return
    try:
        (net_dir / "wallets").mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot make the data directory {net_dir}: {error.strerror}. Choose another one with datadir."
        ) from None


def _finish(sources: Sources) -> Loaded:
    """Add what follows from the options, parse, and check."""
    soften(sources)
    _note_numbers(sources)
    check_first(sources)
    settings = Settings.resolve(sources)
    check(settings)
    for name, reason in WITHOUT_EFFECT.items():
        if reason and sources.is_set(name):
            sources.notes.append((logging.WARNING, f"-{name} has no effect: {reason}"))
    if settings.network.chain == "signet":
        magic = settings.params.magic.hex()
        sources.notes.append((logging.INFO, f"Signet derived magic (message start): {magic}"))
    if settings.network.chain == "test":
        sources.notes.append((logging.INFO, TESTNET3_NOTE))
    warnings = warnings_of(sources)
    return Loaded(settings, warnings, sources.notes)


def _note_numbers(sources: Sources) -> None:
    """Text that is taken for a number or a switch although it is none: Core's grammar, but it deserves a line."""
    for option in OPTIONS.values():
        value = sources.one(option.flag) if not option.kind.several else None
        if isinstance(value, str) and option.kind.is_numeric and not is_number(value):
            counts = "no" if option.is_switch else "the number it begins with, or 0"
            sources.notes.append((logging.WARNING, f"-{option.flag}={value} is no number: it counts as {counts}"))


def _raw_values(option: Option, value: Any) -> list[Any]:
    """A Python value as raw values of the sources; raises ConfigError."""
    if option.kind.several and isinstance(value, Iterable) and not isinstance(value, str | bytes | PathLike):
        return [_raw(option, item) for item in value]
    return [_raw(option, value)]


def _raw(option: Option, value: Any) -> str | bool:
    if isinstance(value, bool):
        if not value and not option.negatable:
            raise ConfigError(f"Negating of -{option.flag} is meaningless and therefore forbidden")
        return value
    return _plain(value, option.keyword)


def _plain(value: Any, keyword: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**100:  # Python writes no numbers of more than a few thousand digits
            raise ConfigError(f"The option {keyword} cannot be a number of more than a hundred digits")
        return str(value)
    if isinstance(value, PathLike):
        path = fspath(value)
        if isinstance(path, str):
            return path
    raise ConfigError(f"The option {keyword} cannot be a {type(value).__name__}: {value!r}")


def _check_sections(sources: Sources) -> None:
    """Options that must stand in the network's section and do not; raises ConfigError."""
    if sources.chain == "main":
        return
    top, section = sources.file.get("", {}), sources.file.get(sources.chain, {})
    lines = [
        f"Config setting for -{name} only applied on {sources.chain} network when in [{sources.chain}] section."
        for name in sorted(top)
        if is_network_only(name)
        and top[name]
        and top[name][-1] is not False
        and not sources.command_line.get(name)
        and not section.get(name)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def _argument_lines(sources: Sources) -> list[str]:
    """The lines of the log that tell what was set where; secrets are hidden."""

    def shown(name: str, value: Any) -> str:
        option = find(name)
        hidden = option is not None and option.secret
        return "****" if hidden else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    lines = []
    for section, options in sorted(sources.file.items()):
        place = f"[{section}] " if section else ""
        for name, values in sorted(options.items()):
            lines += [f"Config file arg: {place}{name}={shown(name, value)}" for value in values]
    for name, value in sources.read_write.items():
        lines.append(f"Setting file arg: {name} = {shown(name, value)}")
    for name, values in sorted(sources.command_line.items()):
        lines += [f"Command-line arg: {name}={shown(name, value)}" for value in values]
    return lines
