"""What broke that the node cannot go on with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from btcnode.errors import BtcnodeError, FatalError
from btcnode.services.alerts import Alert, Alerts
from btcnode.services.control import Control

log = logging.getLogger("btcnode.node")


class Failure:
    """Keeps the first error that was reported, and has the node stop; called on the loop thread."""

    def __init__(self, control: Control, alerts: Alerts) -> None:
        self.error: BaseException | None = None
        self._control = control
        self._alerts = alerts
        self._listeners: list[Callable[[BaseException], None]] = []

    def listen(self, listener: Callable[[BaseException], None]) -> None:
        """Call ``listener`` with the first error."""
        self._listeners.append(listener)

    def report(self, error: BaseException) -> None:
        """Something broke: the first report is logged, raises an alert and is kept."""
        if self.error is None:
            self.error = error
            self._alerts.raise_alert(Alert.FATAL_ERROR, str(error))
            if isinstance(error, BtcnodeError):
                log.error("%s", error)
            else:
                log.error("internal error, the node stops", exc_info=error)
            for listener in self._listeners:
                listener(error)
        self._control.request_stop()

    def reporter(self, loop: asyncio.AbstractEventLoop) -> Callable[[BaseException], None]:
        """``report`` for any thread, as long as this loop lives."""

        def report(error: BaseException) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.report, error)

        return report

    def check(self, log_path: str) -> None:
        """Raise what was reported: FatalError with a line for the user, or the error itself when it is a fault."""
        if isinstance(self.error, BtcnodeError):
            text = f"A fatal internal error occurred, see {log_path} for details: {self.error}"
            raise FatalError(text) from self.error
        if self.error is not None:
            raise self.error
