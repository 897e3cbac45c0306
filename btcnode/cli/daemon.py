"""``btcnoded``: bitcoind's command line, configuration files and exit codes for this node."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from btcnode import __version__
from btcnode.cli.daemon_files import ConfFiles
from btcnode.cli.daemon_options import CORE_OPTIONS, help_text, node_fields, notes_of, unsupported
from btcnode.cli.interactions import soften, warnings_of
from btcnode.cli.settings import (
    NETWORK_ONLY,
    ArgumentsError,
    Settings,
    as_flag,
    as_text,
    leading_number,
    parse_command_line,
)
from btcnode.config import MIN_DBCACHE_MIB, NodeConfig
from btcnode.datadir import default_datadir
from btcnode.errors import BtcnodeError, ConfigError
from btcnode.networks.names import network_of_chain
from btcnode.proxy_options import split_port

if TYPE_CHECKING:
    from btcnode.cli.run_hooks import RunHooks

PID_NAME = "bitcoind.pid"  # where tools look for it
SENSITIVE = frozenset({"rpcauth", "rpcpassword", "rpcuser", "signetkey", "torpassword"})
TESTNET3_NOTE = (
    "Warning: Support for testnet3 is deprecated and will be removed in an upcoming release."
    " Consider switching to testnet4."
)

CLAMPED = {
    "blockreconstructionextratxn": (0, 100_000),
    "checkblocks": (0, 2**31 - 1),
    "checklevel": (0, 4),
    "dbcache": (MIN_DBCACHE_MIB, 1 << 24),
    "rpcthreads": (1, 100_000),
    "rpcworkqueue": (1, 100_000),
    "stopatheight": (0, 2**31 - 1),
}
"""Numbers that bitcoind brings into range rather than refuse them."""

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


def parse(argv: list[str]) -> Settings:
    """The command line's settings; raises ConfigError."""
    settings = Settings()
    try:
        parse_command_line(argv, known_option, settings)
    except ArgumentsError as error:
        raise ConfigError(f"Error parsing command line arguments: {error}") from None
    return settings


def load(settings: Settings) -> tuple[NodeConfig, RunHooks]:
    """Read the files and make the node's options of everything; raises ConfigError."""
    from btcnode.cli.run import make_net_dir
    from btcnode.cli.run_hooks import RunHooks
    from btcnode.node.proxy_setup import listening_warnings

    files = ConfFiles(settings, known_option)
    files.load()
    _check_sections(settings)
    problem = unsupported(settings)
    if problem:
        raise ConfigError(problem)
    if len(settings.many("signetchallenge")) > 1:
        raise ConfigError("-signetchallenge cannot be multiple values.")
    _check_ports(settings)
    make_net_dir(make_config(settings, files.datadir()))
    files.load_settings_file()
    soften(settings)
    config = make_config(settings, files.datadir())
    hooks = RunHooks(
        alert_command=settings.text("alertnotify", ""),
        block_command=settings.text("blocknotify", ""),
        startup_command=settings.text("startupnotify", ""),
        shutdown_command=settings.text("shutdownnotify", ""),
        pid_file=None if settings.is_negated("pid") else config.net_dir / (settings.text("pid", "") or PID_NAME),
    )
    for text in notes_of(settings):
        settings.notes.append((logging.WARNING, text))
    hooks.warnings += warnings_of(settings) + listening_warnings(config)
    if settings.chain == "signet":
        magic = config.network_params().magic.hex()
        settings.notes.append((logging.INFO, f"Signet derived magic (message start): {magic}"))
    if settings.chain == "test":
        settings.notes.append((logging.INFO, TESTNET3_NOTE))
    if files.strange_sections:
        hooks.warnings.append("\n".join(files.strange_sections))
    named = settings.text("datadir", "")
    if named and not Path(named).expanduser().is_absolute():
        settings.notes.append(
            (
                logging.WARNING,
                f"Relative datadir option '{named}' specified, which counts from the current working directory"
                f" '{Path.cwd()}': started from elsewhere, the node would use another directory.",
            )
        )
    settings.notes.append((logging.INFO, f"Default data directory {default_datadir()}"))
    settings.notes.append((logging.INFO, f"Using data directory {config.net_dir}"))
    settings.notes.insert(0, (logging.INFO, f"btcnode version v{__version__}"))
    hooks.lines = settings.notes + [(logging.INFO, line) for line in argument_lines(settings)]
    hooks.lines += [(logging.WARNING, text) for text in hooks.warnings]
    return config, hooks


def _check_ports(settings: Settings) -> None:
    """Ports that are none; raises ConfigError. ``rpcport`` 0, which bitcoind refuses, is any free one."""
    for name in ("port", "rpcport"):
        text = settings.text(name, "1")
        if split_port(f":{text}") is None and (name, text) != ("rpcport", "0"):
            raise ConfigError(f"Invalid port specified in -{name}: '{text}'")
    for name in ("rpcbind", "whitebind"):
        for value in settings.many(name):
            if split_port(as_text(value, "")) is None:
                raise ConfigError(f"Invalid port specified in -{name}: '{as_text(value, '')}'")


def _check_sections(settings: Settings) -> None:
    """Options that must stand in the network's section and do not; raises ConfigError."""
    if settings.chain == "main":
        return
    top, section = settings.file.get("", {}), settings.file.get(settings.chain, {})
    lines = [
        f"Config setting for -{name} only applied on {settings.chain} network when in [{settings.chain}] section."
        for name in sorted(NETWORK_ONLY)
        if top.get(name)
        and top[name][-1] is not False
        and not settings.command_line.get(name)
        and not section.get(name)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def argument_lines(settings: Settings) -> list[str]:
    """The lines of the log that tell what was set where; secrets are hidden."""

    def shown(name: str, value: Any) -> str:
        return "****" if name in SENSITIVE else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    lines = []
    for section, options in sorted(settings.file.items()):
        place = f"[{section}] " if section else ""
        for name, values in sorted(options.items()):
            lines += [f"Config file arg: {place}{name}={shown(name, value)}" for value in values]
    for name, value in settings.read_write.items():
        lines.append(f"Setting file arg: {name} = {shown(name, value)}")
    for name, values in sorted(settings.command_line.items()):
        lines += [f"Command-line arg: {name}={shown(name, value)}" for value in values]
    return lines


def make_config(settings: Settings, datadir: Path) -> NodeConfig:
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
    fields["network"] = network_of_chain(settings.chain).name
    fields["datadir"] = datadir
    _adapt(fields, settings)
    return NodeConfig(**fields)


def _adapt(fields: dict[str, Any], settings: Settings) -> None:
    """Where the two ways of writing an option differ."""
    if "connect" in fields:
        named = tuple(text for text in fields["connect"] if text != "0")
        fields["connect"] = named or ("0",)
    if fields.get("asmap") == "":
        fields["asmap"] = "1"
    if "blockfilterindex" in fields:
        fields["blockfilterindex"] = _wants_filters(settings)
    if "debug" in fields:
        categories = [text or "1" for text in fields["debug"]]
        for off in ("0", "none"):
            while off in categories:
                categories = categories[categories.index(off) + 1 :]
        fields["debug"] = tuple(categories)
    if settings.flag("daemon", False) or settings.flag("daemonwait", False):
        fields.setdefault("printtoconsole", False)
    for name, (low, high) in CLAMPED.items():
        if name in fields:
            fields[name] = min(max(fields[name], low), high)
    if fields.get("timeout", 1) <= 0:
        del fields["timeout"]


def _wants_filters(settings: Settings) -> bool:
    """Whether there is to be an index of block filters; raises ConfigError for a type that does not exist."""
    last = settings.text("blockfilterindex", "0")
    if last in ("", "0", "1"):
        return last != "0"
    for value in settings.many("blockfilterindex"):
        text = as_text(value, "")
        if text != "basic":
            raise ConfigError(f"Unknown -blockfilterindex value {text}.")
    return True


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit status."""
    os.umask(0o077)  # before the first directory is made
    try:
        settings = parse(argv)
        if settings.flag("version", False):
            print(f"btcnode daemon version v{__version__}")
            return 0
        if any(settings.is_set(name) for name in ("?", "h", "help", "help-debug")):
            print(help_text(__version__), end="")
            return 0
        config, hooks = load(settings)
    except BtcnodeError as error:
        return _failed(str(error))
    if settings.flag("daemon", False) or settings.flag("daemonwait", False):
        status = _to_background(hooks, wait=settings.flag("daemonwait", False))
        if status is not None:
            return status
        config = replace(config, printtoconsole=bool(config.printtoconsole))
    for text in hooks.warnings:
        print(f"Warning: {text}", file=sys.stderr, flush=True)
    from btcnode.cli.run import run_node  # the whole node: not needed for wrong options

    return run_node(config, hooks)


def _failed(text: str) -> int:
    """The error as bitcoind writes it: options with one dash."""
    print(f"Error: {re.sub(r'(?<![^ (])--(?=[a-z])', '-', text)}", file=sys.stderr)
    return 1


def _to_background(hooks: RunHooks, *, wait: bool) -> int | None:
    """Go on in a child process: None there, in the parent its exit status once the child is up (or at once)."""
    reading, writing = os.pipe()
    print("btcnode starting", flush=True)
    if os.fork():
        os.close(writing)
        status = os.read(reading, 1) if wait else b"1"
        os.close(reading)
        return 0 if status else 1
    os.close(reading)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2) if not wait else (0, 1):
        os.dup2(null, stream)

    def ready() -> None:
        os.write(writing, b"1")
        os.close(writing)
        os.dup2(null, 2)

    if wait:
        hooks.on_ready = ready
    else:
        os.close(writing)
    return None


def main() -> None:
    """Entry point of ``btcnoded``."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
