"""What ``btcnode-cli`` takes from bitcoin.conf: every option that its command line has."""

from __future__ import annotations

from btcnode.cli.client_options import NEGATED, NEVER_NEGATED, SWITCHES, TEXTS, WITHOUT_EFFECT
from btcnode.networks.names import FLAGS
from btcnode.settings.conf_files import ConfFiles
from btcnode.settings.declaration import Option
from btcnode.settings.kinds import Flag, Text
from btcnode.settings.sources import Sources, as_flag, as_text
from btcnode.settings.table import OptionTable

CLIENT = OptionTable(
    {
        name: Option(
            name,
            "",
            Flag() if name in SWITCHES else Text(),
            negatable=name not in NEVER_NEGATED,
            network_only=name == "rpcport",
        )
        for name in SWITCHES | TEXTS | WITHOUT_EFFECT
    },
    frozenset({"includeconf"}),
)
NOT_FROM_FILES = frozenset({"help", "version"})


def complete(options: dict[str, str]) -> None:
    """Add to a command line's options what the configuration file says; raises ConfigError.

    The chain stands under ``chain`` then, whatever has chosen it.
    """
    sources = Sources(
        command_line={name: [text if text is not NEGATED else False] for name, text in options.items()}, table=CLIENT
    )
    ConfFiles(sources).read()
    for name in CLIENT.declared.keys() - NOT_FROM_FILES:
        value = sources.one(name)
        if name in options or value is None:
            continue
        if value is False:
            options[name] = NEGATED
        elif name in SWITCHES:
            options[name] = "1" if as_flag(value, False) else "0"
        else:
            options[name] = as_text(value, "")
    for name in FLAGS:
        options.pop(name, None)
    options["chain"] = sources.chain
