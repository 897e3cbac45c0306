"""Settings for tests, from keyword arguments as a program gives them."""

from __future__ import annotations

from typing import Any

from btcnode.settings.doors import Loaded, from_files, from_keywords, parse_daemon_words, read_files
from btcnode.settings.settings import Settings


def loaded_by_daemon(*argv: str) -> Loaded:
    """What ``btcnoded`` makes of a command line and the files that it leads to; raises ConfigError."""
    return from_files(read_files(parse_daemon_words(list(argv))))


def settings_of(**options: Any) -> Settings:
    """The settings that these options make; raises ConfigError."""
    return from_keywords(options).settings
