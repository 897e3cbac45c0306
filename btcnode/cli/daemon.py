"""``btcnoded``: bitcoind's command line, configuration file and exit codes for this node."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from btcnode import __version__
from btcnode.cli.daemon_options import CORE_OPTIONS, node_fields
from btcnode.cli.settings import (
    CHAIN_FLAGS,
    CHAINS,
    ArgumentsError,
    Settings,
    as_flag,
    as_text,
    interpret,
    leading_number,
    parse_command_line,
    read_config_file,
    split_key,
)
from btcnode.config import NodeConfig, default_datadir
from btcnode.errors import BtcnodeError, ConfigError

CONF_NAME = "bitcoin.conf"
NETWORK_OF_CHAIN = {"main": "mainnet", "test": "testnet3"}

_READERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda value: as_text(value, ""),
    "str | None": lambda value: as_text(value, ""),
    "int": lambda value: leading_number(as_text(value, "0")),
    "int | None": lambda value: leading_number(as_text(value, "0")),
    "bool": lambda value: as_flag(value, True),
    "bool | None": lambda value: as_flag(value, True),
    "Path": lambda value: Path(as_text(value, "")),
    "Path | None": lambda value: Path(as_text(value, "")),
}


def known_option(name: str) -> bool:
    """Whether an option has this name (without dash, not negated)."""
    return name in CORE_OPTIONS or name in node_fields()


def load_settings(argv: list[str]) -> Settings:
    """Everything that was said: command line, configuration files; raises ConfigError."""
    settings = Settings()
    try:
        parse_command_line(argv, known_option, settings)
    except ArgumentsError as error:
        raise ConfigError(f"Error parsing command line arguments: {error}") from None
    datadir = _datadir(settings)
    conf = Path(settings.text("conf", CONF_NAME))
    path = conf if conf.is_absolute() else datadir / conf
    if settings.is_set("conf") and not settings.is_negated("conf") and not path.is_file():
        raise ConfigError(f'Error reading configuration file: specified config file "{path}" could not be opened.')
    if path.is_file() and not settings.is_negated("conf"):
        _read_files(settings, path, datadir)
    settings.chain = choose_chain(settings)
    return settings


def _datadir(settings: Settings) -> Path:
    """The data directory in force; raises ConfigError when the one that was named is missing."""
    text = settings.text("datadir", "")
    if not text:
        return default_datadir()
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise ConfigError(f'Specified data directory "{text}" does not exist.')
    return path


def _read_files(settings: Settings, path: Path, datadir: Path) -> None:
    """The configuration file and those it includes, one level deep."""
    _read_one(settings, path)
    settings.chain = choose_chain(settings)
    named = [
        name
        for section in (settings.chain, "")
        for name in settings.file.get(section, {}).get("includeconf", [])
        if name
    ]
    for name in named if "includeconf" not in settings.command_line else []:
        include = Path(str(name))
        include = include if include.is_absolute() else datadir / include
        if not include.is_file():
            raise ConfigError(f"Error reading configuration file: Failed to include configuration file {name}")
        _read_one(settings, include)


def _read_one(settings: Settings, path: Path) -> None:
    try:
        entries = read_config_file(path, path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ConfigError as error:
        raise ConfigError(f"Error reading configuration file: {error}") from None
    for key, text in entries:
        section, name, negated = split_key(key)
        if known_option(name):
            settings.file.setdefault(section, {}).setdefault(name, []).append(interpret(negated, text))


def choose_chain(settings: Settings) -> str:
    """Core's name of the chain that the options choose; raises ConfigError."""
    settings.chain = ""
    flags = [name for name in CHAIN_FLAGS if as_flag(settings.one(name, choosing_chain=True), False)]
    chain = settings.one("chain", choosing_chain=True)
    if len(flags) + (chain is not None) > 1:
        raise ConfigError(
            "Invalid combination of -regtest, -signet, -testnet, -testnet4 and -chain. Can use at most one."
        )
    if chain is not None:
        name = as_text(chain, "")
        if name not in CHAINS:
            raise ConfigError(f"Unknown chain {name}.")
        return name
    return CHAIN_FLAGS[flags[0]] if flags else "main"


def make_config(settings: Settings) -> NodeConfig:
    """The node's options; raises ConfigError."""
    fields: dict[str, Any] = {"progress": False}
    for flag, (name, kind) in node_fields().items():
        if kind.startswith("tuple"):
            values = settings.many(flag)
            if values or settings.is_negated(flag):
                make = Path if "Path" in kind else str
                fields[name] = tuple(make(as_text(value, "")) for value in values)
            continue
        value = settings.one(flag)
        if value is not None:
            fields[name] = _READERS[kind](value)
    fields["network"] = NETWORK_OF_CHAIN.get(settings.chain, settings.chain)
    fields["datadir"] = _datadir(settings)
    _adapt(fields, settings)
    return NodeConfig(**fields)


def _adapt(fields: dict[str, Any], settings: Settings) -> None:
    """Where the two ways of writing an option differ."""
    if "connect" in fields:
        named = tuple(text for text in fields["connect"] if text != "0")
        fields["connect"] = named or ("0",)
    if "bind" in fields:
        fields["bind"] = tuple(text.removesuffix("=onion") for text in fields["bind"])
    if "debug" in fields:
        fields["debug"] = tuple(text or "1" for text in fields["debug"])


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit status."""
    try:
        if any(word in ("-version", "--version") for word in argv):
            print(f"btcnode daemon version v{__version__}")
            return 0
        config = make_config(load_settings(argv))
    except BtcnodeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    from btcnode.cli.run import run_node  # the whole node: not needed for wrong options

    return run_node(config)


def main() -> None:
    """Entry point of ``btcnoded``."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
