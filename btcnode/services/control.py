"""The process of a node: what it is busy with, its log, its end. There from the first moment on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from btcnode.observe.logging import show_details
from btcnode.services.clock import Clock
from btcnode.settings.groups.log import LOG_CATEGORIES
from btcnode.settings.settings import Settings


class Control:
    """``status`` is what the node is busy with before it is ready, None from then on."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._categories = set(settings.log.categories)
        self.stop_requested = asyncio.Event()
        self.status: str | None = "Starting"

    def uptime(self) -> int:
        """Whole seconds since the start."""
        return self._clock.uptime()

    def request_stop(self) -> None:
        """Ask for an orderly shutdown; returns at once."""
        self.stop_requested.set()

    def log_categories(self) -> Mapping[str, bool]:
        """Every debug category and whether it is switched on."""
        return {name: name in self._categories for name in LOG_CATEGORIES}

    def set_log_category(self, category: str, enabled: bool) -> None:
        """Switch a category."""
        (self._categories.add if enabled else self._categories.discard)(category)
        show_details(category, enabled and self._settings.log.loglevel[category] != "info")

    def log_path(self) -> str:
        """Full path of the log file, empty when there is none."""
        return str(self._settings.log_path or "")
