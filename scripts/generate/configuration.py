"""docs/configuration.md from the declarations of options."""

from __future__ import annotations

from btcnode.settings.declaration import Option
from btcnode.settings.groups.process import DAEMON, WITHOUT_EFFECT
from btcnode.settings.table import grouped

HEAD = """# Configuration reference

Made by `scripts/docs` from the declarations (`btcnode/settings/groups/`); do not edit.

An option is given to `btcnoded` as `-name=value`, to `btcnode start` as `--name value` (or as to `btcnoded`), in
`bitcoin.conf` as `name=value`, to `btcnode.Node(...)` as `name=value` with underscores. What it means, what follows
from it and what is refused is the same everywhere, but for `-port=0`, which `btcnoded` refuses, and for
`btcnode.Node`, which has some defaults of its own and ignores options of log and commands
([python-api.md](python-api.md)). Switches are `-name` and `-noname` for `btcnoded`, `--name` and `--no-name` for
`btcnode start`. Options that may be given several times are marked with "several". `btcnoded` takes the command line
before the settings file (`settings.json`) and that before `bitcoin.conf`, whose sections (`[regtest]`) hold for one
network; `btcnode start` and Python read no files. The network itself is `-chain`, `--network`, `network`.
"""
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;"})


def _row(option: Option) -> str:
    value = "switch"
    if not option.is_switch:
        value = f"{option.value_name.translate(CELL)}{', several' if option.kind.several else ''}"
    default = option.shown_default
    return f"| `{option.flag}` | {value} | {f'`{default}`' if default else ''} | {option.help.translate(CELL)} |"


def _marked(options: list[Option]) -> str:
    return ", ".join(f"`{option.flag}`" for option in sorted(options, key=lambda option: option.flag))


def reference() -> str:
    """The whole document."""
    lines = [HEAD]
    for heading, options in grouped():
        rows = [_row(option) for option in options]
        lines += [f"## {heading}", "", "| Option | Value | Default | |", "|---|---|---|---|", *rows, ""]
    every = [option for _, options in grouped() for option in options]
    sections = _marked([option for option in every if option.network_only])
    told = "In `bitcoin.conf`, on any but the main network, these must stand in its section (else they stop a start)"
    lines += ["## Of a network", "", f"{told}: {sections}.", ""]
    lines += ["## Of the daemon alone", "", "Taken by `btcnoded`; those of the network by `btcnode`, too.", ""]
    lines += ["| Option | |", "|---|---|"]
    for option in DAEMON.values():
        value = "" if option.is_switch else f"=<{option.value_name.lower()}>"
        lines.append(f"| `-{option.flag}{value}` | {option.help.translate(CELL)} |")
    lines += [
        "",
        "## Taken without effect",
        "",
        "Taken by `btcnoded`: bitcoind's options that nothing depends on here;",
    ]
    lines += ["the log says so (not of those of bitcoin-qt)."]
    lines += ["", "| Option | Why |", "|---|---|"]
    lines += [f"| `-{name}` | {why} |" for name, why in sorted(WITHOUT_EFFECT.items())]
    return "\n".join(lines) + "\n"
