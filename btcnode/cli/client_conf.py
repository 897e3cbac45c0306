"""What ``btcnode-cli`` takes from bitcoin.conf: the chain, and where and how the node is reached."""

from __future__ import annotations

from btcnode.networks.names import FLAGS
from btcnode.settings.conf_files import ConfFiles
from btcnode.settings.sources import Sources, as_flag, as_text

NAMES = ("chain", "rpcclienttimeout", "rpcconnect", "rpccookiefile", "rpcpassword", "rpcport", "rpcuser")


def complete(options: dict[str, str]) -> None:
    """Add to a command line's options what the configuration file says; raises ConfigError."""
    given = {name: [text] for name, text in options.items()}
    sources = Sources(command_line=dict(given))
    ConfFiles(sources).load()
    if "chain" not in options and not any(flag in options for flag in FLAGS):
        for flag in FLAGS:
            if as_flag(sources.one(flag, choosing_chain=True), False):
                options[flag] = "1"
    for name in NAMES:
        if name not in options and sources.is_set(name) and not (name == "chain" and _has_flag(options)):
            options[name] = as_text(sources.one(name), "")


def _has_flag(options: dict[str, str]) -> bool:
    return any(options.get(flag, "0") != "0" for flag in FLAGS)
