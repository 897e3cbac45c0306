"""What bitcoind does around a node's life: pid file, commands of the user at events."""

from __future__ import annotations

import logging
import os
import string
import subprocess
import threading
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.primitives.hashes import to_display
from btcnode.record import struct
from btcnode.settings.groups.notifications import NotificationSettings

if TYPE_CHECKING:
    from btcnode.node.running import RunningNode

log = logging.getLogger("btcnode.node")

_SAFE = frozenset(string.ascii_letters + string.digits + " .,;-_/:?@()")
MAX_BLOCK_COMMANDS = 16  # commands of -blocknotify that run at a time; a later block's waits for them


@struct
class RunHooks:
    """What to do when; empty commands do nothing."""

    commands: NotificationSettings
    pid_file: Path | None = None
    on_ready: Callable[[], None] | None = None
    _slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_BLOCK_COMMANDS))
    _wrote_pid: bool = False

    def write_pid(self) -> None:
        """Write the pid file; raises ConfigError."""
        if self.pid_file is None:
            return
        try:
            self.pid_file.write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise ConfigError(f"Unable to create the PID file '{self.pid_file}': {error.strerror}") from None
        self._wrote_pid = True

    def remove_pid(self) -> None:
        """Remove the pid file if it is ours."""
        if not self._wrote_pid or self.pid_file is None:
            return
        try:
            self.pid_file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("Unable to remove PID file: %s", error.strerror)

    def started(self, node: RunningNode) -> None:
        """The node is up."""
        if self.commands.blocknotify:
            chain = node.assembled.parts.chain

            def on_tip(tip: int) -> None:
                if not chain.is_initial_block_download():
                    self._block(to_display(chain.tree.hash(tip)))

            chain.announced.listen(on_tip)
        if self.commands.startupnotify:
            run_command(self.commands.startupnotify)
        if self.on_ready is not None:
            self.on_ready()

    def alert(self, text: str) -> None:
        """A warning has come up: its text goes to the user's command in quotes, harmless to the shell."""
        if not self.commands.alertnotify:
            return
        clean = "".join(char for char in text if char in _SAFE)
        run_command(self.commands.alertnotify.replace("%s", f"'{clean}'"))

    def _block(self, block_hash: str) -> None:
        command = self.commands.blocknotify.replace("%s", block_hash)

        def work() -> None:
            with self._slots:
                run_shell(command)

        threading.Thread(target=work, name="blocknotify", daemon=True).start()

    def stopping(self) -> None:
        """The node is asked to stop: run every command of -shutdownnotify at once and wait for them."""
        running = [run_command(command) for command in self.commands.shutdownnotify]
        for thread in running:
            thread.join()


def run_shell(command: str) -> None:
    """Run a command of the user and log its failure."""
    status = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        log.error("runCommand error: system(%s) returned %d", command, status)


def run_command(command: str) -> threading.Thread:
    """Run a command of the user without waiting for it; returns the thread that does."""
    thread = threading.Thread(target=run_shell, args=(command,), name="notify", daemon=True)
    thread.start()
    return thread
