"""docs/configuration.md from the declarations of options."""

from __future__ import annotations

from collections.abc import Iterable

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
`btcnode start`. Options that may be given several times are marked with "several", of others the last counts (the first
in a file). A number outside its range is refused; where the limit is in brackets it counts as that limit. Text that is
no number counts as the number it begins with, or as 0, with a warning in the log. `btcnoded` takes the command line
before the settings file (`settings.json`) and that before `bitcoin.conf`, whose sections (`[regtest]`) hold for one
network; `btcnode start` and Python read no files. The network itself is `-chain`, `--network`, `network`.
"""
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;"})


def _row(option: Option) -> str:
    value = "switch"
    if not option.is_switch:
        value = option.value_name.translate(CELL)
    value = ", ".join(filter(None, (value, option.kind.limits, "several" if option.kind.several else "")))
    default = option.shown_default.translate(CELL)
    default = f"`{default}`" if default and not option.usual else default
    return f"| `{option.flag}` | {value} | {default} | {option.help.translate(CELL)} |"


def _marked(options: Iterable[Option]) -> str:
    return ", ".join(f"`{option.flag}`" for option in sorted(options, key=lambda option: option.flag))


def _peculiarities(every: list[Option]) -> list[str]:
    """What holds for a few options, by the declarations."""
    sections = _marked(option for option in every if option.network_only)
    networks = sorted({option.only_on for option in every} - {""})
    told = "In `bitcoin.conf`, on any but the main network, these must stand in its section (else they stop a start)"
    return [
        "## What holds for a few",
        "",
        f"- {told}: {sections}.",
        *(
            f"- Ignored but on {name}: {_marked(option for option in every if option.only_on == name)}."
            for name in networks
        ),
        f"- Cannot be negated: {_marked(option for option in every if not option.negatable)}.",
        f"- Mean nothing to `btcnode.Node`: {_marked(option for option in every if option.of_process)}.",
        f"- Stand as `****` in the log: {_marked(option for option in every if option.secret)}.",
        "",
    ]


def reference() -> str:
    """The whole document."""
    lines = [HEAD]
    for heading, options in grouped():
        rows = [_row(option) for option in options]
        lines += [f"## {heading}", "", "| Option | Value | Default | |", "|---|---|---|---|", *rows, ""]
    every = [option for _, options in grouped() for option in options]
    lines += _peculiarities(every)
    lines += ["## Of the daemon alone", "", "Taken by `btcnoded`; those of the network by `btcnode`, too.", ""]
    lines += ["| Option | |", "|---|---|"]
    for option in DAEMON.values():
        value = "" if option.is_switch else f"=<{option.value_name.lower()}>"
        default = f" (default: {option.shown_default})" if option.shown_default else ""
        lines.append(f"| `-{option.flag}{value}` | {option.help.translate(CELL)}{default} |")
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
