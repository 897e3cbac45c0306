"""The process's side of the node towards RPC: ``ControlApi``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from btcnode.config import NodeConfig
from btcnode.debug_options import LOG_CATEGORIES
from btcnode.node.alerts import AlertService
from btcnode.node.clock import Clock
from btcnode.observe.logging import show_details


class ControlService:
    """Clock, log and shutdown for the RPC methods. ``status`` is what the node is busy with, None when it is ready."""

    def __init__(self, config: NodeConfig, clock: Clock, stop: asyncio.Event, alerts: AlertService) -> None:
        self._config = config
        self.warnings = alerts.warnings
        self._clock = clock
        self._stop = stop
        self._categories = set(config.debug_categories)
        self.status: str | None = "Starting"

    @property
    def config(self) -> NodeConfig:
        """The options in force."""
        return self._config

    def now(self) -> int:
        """Unix seconds or mock time."""
        return self._clock.now()

    def set_mock_time(self, timestamp: int) -> None:
        """Hold the clock; 0 lets it go."""
        self._clock.set_mock(timestamp)

    def uptime(self) -> int:
        """Seconds since the start."""
        return self._clock.uptime()

    def warmup_status(self) -> str | None:
        """What the node is still busy with, None when it is ready."""
        return self.status

    def request_stop(self) -> None:
        """Ask for an orderly shutdown."""
        self._stop.set()

    def log_categories(self) -> Mapping[str, bool]:
        """Every debug category and whether it is switched on."""
        return {name: name in self._categories for name in LOG_CATEGORIES}

    def set_log_category(self, category: str, enabled: bool) -> None:
        """Switch a category."""
        (self._categories.add if enabled else self._categories.discard)(category)
        show_details(category, enabled and self._config.category_levels[category] != "info")

    def log_path(self) -> str:
        """Full path of the log file, empty when there is none."""
        return str(self._config.log_path or "")
