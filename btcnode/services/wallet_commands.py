"""The user's command for each transaction of a wallet (-walletnotify)."""

from __future__ import annotations

import logging
import shlex
import subprocess
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from btcnode.primitives.hashes import to_display
from btcnode.wallet.states import Confirmed, WalletTx
from btcnode.wallet.wallet import Wallet

MAX_COMMANDS = 8  # at a time: a rescan may find thousands of transactions
MAX_WAITING = 100_000  # some 300 bytes each

log = logging.getLogger("btcnode.wallet")


class Commands:
    """Runs them in threads of its own, some at a time and in order; the end of the process waits for none of them."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._threads = 0
        self._dropped = 0

    def run_for(self, wallet: Wallet, entry: WalletTx) -> None:
        """Run the command for a transaction, where the user has one. On the loop thread; nothing is waited for."""
        if not wallet.options.walletnotify:
            return
        if self._waiting.qsize() >= MAX_WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.error("-walletnotify: %d commands wait, no more are taken until some have run", MAX_WAITING)
            return
        self._dropped = 0
        self._waiting.put(command_for(wallet, entry))
        if self._threads < MAX_COMMANDS:
            self._threads += 1
            Thread(target=self._run, name="walletnotify", daemon=True).start()

    def _run(self) -> None:
        while (command := self._waiting.get()) is not None:
            try:
                status = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, check=False).returncode
            except OSError as error:  # no memory for another process, a NUL in the name
                log.error("runCommand error: system(%s): %s", command, error)
                continue
            if status:
                log.error("runCommand error: system(%s) returned %d", command, status)

    def close(self) -> None:
        """Forget what has not begun, and let the threads end."""
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()
        for _ in range(self._threads):
            self._waiting.put(None)
        self._threads = 0


def command_for(wallet: Wallet, entry: WalletTx) -> str:
    """The user's command, filled in."""
    block, height = "unconfirmed", -1
    if type(entry.state) is Confirmed:
        block, height = to_display(entry.state.block_hash), entry.state.height
    return (
        wallet.options.walletnotify.replace("%s", to_display(entry.txid))
        .replace("%b", block)
        .replace("%h", str(height))
        .replace("%w", shlex.quote(wallet.name))
    )
