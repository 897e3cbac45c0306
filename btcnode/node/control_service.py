"""The process's side of the node towards RPC: ``ControlApi``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from btcnode.config import LOG_CATEGORIES, NodeConfig
from btcnode.node.clock import Clock


class ControlService:
    """Clock, log and shutdown for the RPC methods. ``status`` is what the node is busy with, None when it is ready."""

    def __init__(self, config: NodeConfig, clock: Clock, stop: asyncio.Event) -> None:
        self._config = config
        self._clock = clock
        self._stop = stop
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
        """Every debug category and whether it is logged in detail."""
        return {name: logging.getLogger(f"btcnode.{name}").isEnabledFor(logging.DEBUG) for name in LOG_CATEGORIES}

    def set_log_category(self, category: str, enabled: bool) -> None:
        """Switch a category."""
        logging.getLogger(f"btcnode.{category}").setLevel(logging.DEBUG if enabled else logging.INFO)

    def log_path(self) -> str:
        """Full path of the log file, empty when there is none."""
        return str(self._config.log_path or "")
