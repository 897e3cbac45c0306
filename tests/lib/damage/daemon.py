"""A node as a process of the command ``btcnoded``, with the files that only a process has."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from btcnode.errors import BtcnodeError
from btcnode.rpc.errors import RpcError
from tests.lib.process import NodeProcess, RpcFailure

ASMAP = "regtest/asmap.dat"
NOW = 1_700_000_000
_GONE = -1  # the code of an answer that did not come


class _Daemon(NodeProcess):
    def command(self) -> list[str]:
        """The command line: ports, and what the files of the directory do not say."""
        return [
            sys.executable, "-c", "import sys; from btcnode.cli.daemon import main; sys.exit(main())", "-regtest",
            f"-datadir={self.datadir}", f"-rpcport={self.rpc_port}", "-listen=0", "-dnsseed=0", "-fixedseeds=0",
            "-acceptnonstdtxn=1", "-par=1", f"-mocktime={NOW}", "-printtoconsole=1",
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        try:
            return super()._is_ready()
        except UnicodeDecodeError:  # a damaged cookie, until the node has written its own
            return False


class DaemonNode:
    """It runs from the beginning; raises BtcnodeError with what it has printed where it does not come up."""

    def __init__(self, directory: Path) -> None:
        (directory / "output.log").unlink(missing_ok=True)  # of an earlier run
        self._process = _Daemon(directory)
        try:
            self._process.start()
        except (RuntimeError, TimeoutError):
            self.end()
            raise BtcnodeError(self._last_words()) from None

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """What a method returns; raises RpcError, also when nobody answers."""
        try:
            return self._process.rpc(method, *params)
        except RpcFailure as failure:
            raise RpcError(failure.code, failure.message) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RpcError(_GONE, f"no answer to {method}: {error}") from None

    @property
    def failed(self) -> bool:
        """Whether it has ended by itself."""
        assert self._process.process is not None
        return self._process.process.poll() is not None

    def lines(self) -> list[str]:
        """Warnings and errors that it has printed."""
        return [line for line in self._process.output().splitlines() if "[warning]" in line or "rror" in line]

    def _last_words(self) -> str:
        """Warnings, errors, and what stands at the end."""
        return "\n".join([*self.lines(), *self._process.output().splitlines()[-3:]])

    def close(self) -> None:
        """Stop it; raises BtcnodeError with what it has printed when it ends otherwise than well."""
        status = self._process.stop()
        if status:
            raise BtcnodeError(f"status {status}: {self._last_words()}")

    def end(self) -> None:
        """As ``kill -9``, where it runs still."""
        if self._process.process is not None:
            self._process.kill()
