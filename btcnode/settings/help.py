"""The text of ``btcnoded -help``, from the declarations."""

from __future__ import annotations

from btcnode import __version__
from btcnode.settings.declaration import Option
from btcnode.settings.groups.process import DAEMON
from btcnode.settings.table import grouped


def help_text() -> str:
    """The daemon's own options, then the node's by group."""
    lines = [
        f"btcnode daemon version v{__version__}",
        "",
        "Usage:  btcnoded [options]    Run a node until it is stopped",
        "",
        "Options: (-name=value; -name for yes; -noname for no)",
        "",
    ]
    for option in DAEMON.values():
        lines += _paragraph(option)
    for heading, options in grouped():
        lines += [f"{heading}:", ""]
        for option in options:
            lines += _paragraph(option)
    return "\n".join(lines)


def _paragraph(option: Option) -> list[str]:
    value = "" if option.is_switch else f"=<{option.value_name.lower()}>"
    default = option.shown_default
    return [f"  -{option.flag}{value}", f"       {option.help}{f' (default: {default})' if default else ''}", ""]
