"""Libraries that block, or that a hostile router may keep busy or break, in a process of their own.

miniupnpc parses what any device of the local network sends, in C; pystun3 waits as long as wrong answers come. So
each call is one short-lived process: its time, memory and output are bounded here, and its end frees everything.
``python -m btcnode.net.nat.helper`` prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from btcnode.net.nat.errors import NatError

MAX_OUTPUT = 4096  # bytes
MAX_MEMORY = 512 << 20  # bytes of address space of the process
TIMEOUT = 20.0  # seconds


async def call(*arguments: str, seconds: float = TIMEOUT) -> dict[str, Any]:
    """Run one task in its process and return what it tells; raises NatError."""
    return await run_bounded([sys.executable, "-m", "btcnode.net.nat.helper", *arguments], seconds)


async def run_bounded(command: list[str], seconds: float) -> dict[str, Any]:
    """Run ``command``, which prints a JSON object of at most ``MAX_OUTPUT`` bytes, within ``seconds``; returns that.

    Raises NatError when it cannot be started, takes too long, says too much or no JSON object, or names an error.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=MAX_OUTPUT,
        )
    except OSError as error:
        raise NatError(f"cannot start a helper process: {error.strerror or error}") from None
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(seconds):
            while (data := await process.stdout.read(MAX_OUTPUT)) and len(output) <= MAX_OUTPUT:
                output += data
            if len(output) <= MAX_OUTPUT:
                await process.wait()
    except TimeoutError:
        raise NatError(f"no result within {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            while await process.stdout.read(MAX_OUTPUT):  # asyncio sees its end only behind its last output
                pass
            await process.wait()
    if len(output) > MAX_OUTPUT:
        raise NatError("the answer is too long")
    try:
        result = json.loads(output)
    except ValueError:
        raise NatError(f"the helper process failed with status {process.returncode}") from None
    if not isinstance(result, dict):
        raise NatError("the helper process told nonsense")
    if "error" in result:
        raise NatError(str(result["error"])[:200])
    return result


def _main(arguments: list[str]) -> dict[str, Any]:
    # imported here: only this process loads the libraries
    from btcnode.net.nat.helper_tasks import TASKS, limit_memory

    limit_memory(MAX_MEMORY)
    return TASKS[arguments[0]](*arguments[1:])


if __name__ == "__main__":
    print(json.dumps(_main(sys.argv[1:])))
