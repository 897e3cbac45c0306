"""The user's command for each transaction of a wallet (-walletnotify)."""

from __future__ import annotations

import asyncio
import logging
import shlex
import subprocess
from functools import partial

from btcnode.primitives.hashes import to_display
from btcnode.services.wallet_tasks import SideTasks
from btcnode.wallet.states import Confirmed, WalletTx
from btcnode.wallet.wallet import Wallet

MAX_COMMANDS = 16  # at a time

log = logging.getLogger("btcnode.wallet")


class Commands:
    """Runs them, some at a time; the others wait for their turn."""

    def __init__(self, tasks: SideTasks) -> None:
        self._tasks = tasks
        self._turns = asyncio.Semaphore(MAX_COMMANDS)

    def run_for(self, wallet: Wallet, entry: WalletTx) -> None:
        """Run the command for a transaction, where the user has one."""
        if wallet.options.walletnotify:
            self._tasks.run(self._run(command_for(wallet, entry)))

    async def _run(self, command: str) -> None:
        async with self._turns:
            run = partial(subprocess.run, command, shell=True, stdin=subprocess.DEVNULL, check=False)
            status = (await asyncio.to_thread(run)).returncode
        if status:
            log.error("runCommand error: system(%s) returned %d", command, status)


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
