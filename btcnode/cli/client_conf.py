"""What ``btcnode-cli`` takes from bitcoin.conf: the chain, where its directory is, and how the node is reached."""

from __future__ import annotations

from btcnode.cli.client_options import NEGATED
from btcnode.networks.names import FLAGS
from btcnode.settings.conf_files import ConfFiles
from btcnode.settings.sources import Sources, as_flag, as_text

NAMES = (
    "chain", "datadir", "rpcclienttimeout", "rpcconnect", "rpccookiefile", "rpcpassword", "rpcport", "rpcuser",
)  # fmt: skip


def complete(options: dict[str, str]) -> None:
    """Add to a command line's options what the configuration file says; raises ConfigError."""
    sources = Sources(command_line={name: [text if text is not NEGATED else False] for name, text in options.items()})
    ConfFiles(sources).load()
    if "chain" not in options and not any(flag in options for flag in FLAGS):
        for flag in FLAGS:
            if as_flag(sources.one(flag, choosing_chain=True), False):
                options[flag] = "1"
    for name in NAMES:
        if name not in options and sources.is_set(name) and not (name == "chain" and _has_flag(options)):
            value = sources.one(name)
            options[name] = NEGATED if value is False else as_text(value, "")


def _has_flag(options: dict[str, str]) -> bool:
    return any(options.get(flag, "0") != "0" for flag in FLAGS)
