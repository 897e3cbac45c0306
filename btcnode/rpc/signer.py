"""The user's external signer (``--signer``): a command that lists devices and answers in JSON, as Core runs it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from typing import Annotated, Any, TypedDict

from btcnode.rpc.declare import Hex
from btcnode.rpc.errors import RpcCode, RpcError


class SignerJson(TypedDict):
    """A device that the external signer knows."""

    fingerprint: Annotated[Hex, "First four bytes of the hash of its key"]
    name: Annotated[str, "Its name"]


async def enumerate_signers(command: str) -> list[SignerJson]:
    """Ask ``command enumerate`` which devices there are: fingerprint (hex) and name of each.

    Raises RpcError (-1, in Core's words) when there is no command, it cannot run, fails, or answers nonsense.
    """
    if not command:
        raise RpcError(RpcCode.MISC_ERROR, "Error: restart bitcoind with -signer=<cmd>")
    try:
        words = shlex.split(command)
    except ValueError as problem:
        raise RpcError(RpcCode.MISC_ERROR, f"-signer={command} cannot be split into words: {problem}") from None
    found = await _run([*words, "enumerate"])
    if not isinstance(found, list):
        raise RpcError(RpcCode.MISC_ERROR, f"'{command}' received invalid response, expected array of signers")
    signers: dict[str, str] = {}
    for device in found:
        described = device if isinstance(device, dict) else {}
        error, fingerprint, model = (described.get(key) for key in ("error", "fingerprint", "model"))
        if error is not None:
            detail = f"'{command}' error: {error}" if isinstance(error, str) else f"'{command}' error"
            raise RpcError(RpcCode.MISC_ERROR, detail)
        if not isinstance(fingerprint, str):
            raise RpcError(RpcCode.MISC_ERROR, f"'{command}' received invalid response, missing signer fingerprint")
        if fingerprint in signers:
            break
        signers[fingerprint] = model if isinstance(model, str) else ""
    return [{"fingerprint": fingerprint, "name": name} for fingerprint, name in signers.items()]


async def _run(words: list[str]) -> Any:
    """Run a command without a shell; returns the JSON in its first line of output."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RpcError(RpcCode.MISC_ERROR, f"execve failed: {reason}") from None
    out, err = await process.communicate()
    line, problem = (text.decode(errors="replace").partition("\n")[0] for text in (out, err))
    if process.returncode:
        text = f"RunCommandParseJSON error: process({' '.join(words)}) returned {process.returncode}: {problem}\n"
        raise RpcError(RpcCode.MISC_ERROR, text)
    try:
        return json.loads(line)
    except ValueError:
        raise RpcError(RpcCode.MISC_ERROR, f"Unable to parse JSON: {line}") from None
