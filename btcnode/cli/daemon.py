"""``btcnoded``: bitcoind's command line, configuration files and exit codes for this node."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode import __version__
from btcnode.errors import BtcnodeError
from btcnode.observe.stdio import run_program

if TYPE_CHECKING:
    from btcnode.settings.doors import Loaded
    from btcnode.settings.sources import Sources

PID_NAME = "bitcoind.pid"  # where tools look for it


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit status."""
    os.umask(0o077)  # before the first directory is made
    gc.disable()  # nothing of what is loaded is garbage; ``run_node`` enables it when that is set apart
    try:
        return _run(argv)
    finally:
        gc.enable()


def _run(argv: list[str]) -> int:
    from btcnode.settings.doors import from_files, parse_daemon_words, read_files
    from btcnode.settings.groups.process import HELP_FLAGS

    try:
        sources = parse_daemon_words(argv)
        files = read_files(sources)  # their errors come before help and version, which they may ask for
        if sources.flag("version", False):
            print(f"btcnode daemon version v{__version__}")
            return 0
        if any(sources.is_set(name) for name in HELP_FLAGS):
            from btcnode.settings.help import help_text

            print(help_text(), end="")
            return 0
        loaded = from_files(files)
    except BtcnodeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    on_ready = None
    waits = sources.flag("daemonwait", False)
    if waits or sources.flag("daemon", False):
        status, on_ready = _to_background(wait=waits)
        if status is not None:
            return status
        if loaded.settings.log.printtoconsole is None:
            loaded = loaded.changed("log", printtoconsole=False)
    from btcnode.cli.run import run_node  # the whole node: not needed for wrong options

    if loaded.settings.log.progress is None:
        loaded = loaded.changed("log", progress=False)
    return run_node(loaded, pid_file=_pid_file(sources, loaded), on_ready=on_ready)


def _pid_file(sources: Sources, loaded: Loaded) -> Path | None:
    if sources.is_negated("pid"):
        return None
    return loaded.settings.net_dir / (loaded.settings.process.pid or PID_NAME)


def _to_background(*, wait: bool) -> tuple[int | None, Callable[[], None] | None]:
    """Go on in a child process: there no status and what to call once it is up, in the parent its exit status."""
    reading, writing = os.pipe()
    print("btcnode starting", flush=True)
    if os.fork():
        os.close(writing)
        status = os.read(reading, 1) if wait else b"1"
        os.close(reading)
        return (0 if status else 1), None
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
        return None, ready
    os.close(writing)
    return None, None


def main() -> None:
    """Entry point of ``btcnoded``."""
    run_program(run)


if __name__ == "__main__":
    main()
