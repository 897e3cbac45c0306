"""docs/configuration.md from the option table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from btcnode.cli.daemon_options import CORE_OPTIONS, DAEMON_OPTIONS, HAS_NO_EFFECT, WALLET, node_fields
from btcnode.config import option_table
from btcnode.datadir import default_datadir
from btcnode.option import OptionInfo

HEAD = """# Configuration reference

Made by `scripts/docs` from the option table (`btcnode/config.py`); do not edit.

An option is given to `btcnoded` as `-name=value`, to `btcnode start` as `--name value`, in `bitcoin.conf` as
`name=value`, to `btcnode.Node(...)` as `name=value` with underscores. Switches are `-name` and `-noname` for
`btcnoded`, `--name` and `--no-name` for `btcnode start`. Options that may be given several times are marked with
"several". `btcnoded` takes the command line before the settings file (`settings.json`) and that before `bitcoin.conf`,
whose sections (`[regtest]`) hold for one network.
"""
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;"})
ALWAYS = {"?", "h", "help", "help-debug", "regtest", "signet", "test", "testnet", "testnet4"}


def _default(kind: str, default: Any) -> str:
    if default is None or default == () or default == "":
        return ""
    if isinstance(default, Path):
        return "`~/.btcnode`" if default == default_datadir() else f"`{default}`"
    return f"`{'on' if default is True else 'off' if default is False else default}`"


def _row(info: OptionInfo, kind: str, default: Any) -> str:
    if kind.startswith("bool"):
        value = "switch"
    else:
        value = f"{(info.metavar or 'TEXT').translate(CELL)}{', several' if kind.startswith('tuple') else ''}"
    return f"| `{info.flag}` | {value} | {_default(kind, default)} | {info.help.translate(CELL)} |"


def reference() -> str:
    """The whole document."""
    lines = [HEAD]
    groups: dict[str, list[str]] = {}
    for _, info, kind, default in option_table():
        if not info.hidden:
            groups.setdefault(info.group, []).append(_row(info, str(kind), default))
    for group, rows in groups.items():
        lines += [f"## {group}", "", "| Option | Value | Default | |", "|---|---|---|---|", *rows, ""]
    lines += ["## Of the daemon alone", "", "Taken by `btcnoded`.", "", "| Option | |", "|---|---|"]
    lines += [f"| `-{name.translate(CELL)}` | {text.translate(CELL)} |" for name, text in DAEMON_OPTIONS.items()]
    lines += ["", "## Taken without effect", "", "bitcoind's options that nothing depends on here; the log says so."]
    lines += ["", "| Option | Why |", "|---|---|"]
    known = node_fields()
    lines += [f"| `-{name}` | {why} |" for name, why in sorted(HAS_NO_EFFECT.items()) if name not in known]
    lines += ["", "Options of the wallet are taken without effect too, as by a bitcoind that is built without one:"]
    lines += [", ".join(f"`-{name}`" for name in sorted(WALLET)) + "."]
    daemon = {name.partition("=")[0] for name in DAEMON_OPTIONS}
    refused = sorted(CORE_OPTIONS - daemon - WALLET - set(HAS_NO_EFFECT) - set(known) - ALWAYS)
    lines += ["", "## Refused", "", "Options of bitcoind that this node has not: it says so and does not start.", ""]
    lines += [", ".join(f"`-{name}`" for name in refused) + "." if refused else "None."]
    return "\n".join(lines) + "\n"
