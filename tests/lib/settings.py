"""Settings for tests, from keyword arguments as a program gives them."""

from __future__ import annotations

from typing import Any

from btcnode.settings.doors import from_keywords
from btcnode.settings.settings import Settings


def settings_of(**options: Any) -> Settings:
    """The settings that these options make; raises ConfigError."""
    return from_keywords(options).settings
