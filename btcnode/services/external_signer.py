"""The user's external signer (``--signer``): a command that lists devices, has them sign, and answers in JSON.

What it is asked and how it answers is Core's protocol (its doc/external-signer.md), which HWI speaks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from btcnode.descriptors.base64 import base64_bytes
from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_reader import read_psbt
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.record import record
from btcnode.wallet.errors import Trouble, WalletError

RESTART = "restart bitcoind with -signer=<cmd>"

log = logging.getLogger("btcnode.wallet")


class SignerError(WalletError):
    """The command cannot run, fails, or answers nonsense; the text is Core's."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Trouble.SIGNER)


@record
class Device:
    """A device that the command knows: fingerprint of its master key in hex, and a name that may be empty."""

    fingerprint: str
    name: str


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as problem:
        raise SignerError(f"-signer={command} cannot be split into words: {problem}") from None


async def list_devices(command: str) -> list[Device]:
    """Ask ``command enumerate`` which devices there are; raises SignerError."""
    found = await run_for_json([*_words(command), "enumerate"])
    if not isinstance(found, list):
        raise SignerError(f"'{command}' received invalid response, expected array of signers")
    devices: dict[str, Device] = {}
    for device in found:
        described = device if isinstance(device, dict) else {}
        error, fingerprint, model = (described.get(key) for key in ("error", "fingerprint", "model"))
        if error is not None:
            raise SignerError(f"'{command}' error: {error}" if isinstance(error, str) else f"'{command}' error")
        if not isinstance(fingerprint, str):
            raise SignerError(f"'{command}' received invalid response, missing signer fingerprint")
        if fingerprint in devices:
            break
        devices[fingerprint] = Device(fingerprint, model if isinstance(model, str) else "")
    return list(devices.values())


async def run_for_json(words: Sequence[str], text: str = "") -> Any:
    """Run a command without a shell, with ``text`` as its input; the JSON in its first line of output.

    Raises SignerError.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise SignerError(f"execve failed: {os.strerror(error.errno) if error.errno else error}") from None
    try:
        out, err = await process.communicate(text.encode())
    finally:
        if process.returncode is None:  # whoever waited for it has gone
            process.kill()
    line, problem = (text.decode(errors="replace").partition("\n")[0] for text in (out, err))
    if process.returncode:
        raise SignerError(
            f"RunCommandParseJSON error: process({' '.join(words)}) returned {process.returncode}: {problem}\n"
        )
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise SignerError(f"Unable to parse JSON: {line}") from None


class ExternalSigner:
    """One device behind the command; ``chain`` is Core's name of the network."""

    def __init__(self, command: str, chain: str, device: Device) -> None:
        self._words = _words(command)
        self._about = ["--fingerprint", device.fingerprint, "--chain", chain]
        self._fingerprint = device.fingerprint

    async def descriptors(self, account: int = 0) -> tuple[list[str], list[str]]:
        """Its descriptors for receiving and for change; raises SignerError."""
        answer = await run_for_json([*self._words, *self._about, "getdescriptors", "--account", str(account)])
        found = []
        for name in ("receive", "internal"):
            texts = answer.get(name) if isinstance(answer, dict) else None
            if not isinstance(texts, list):
                raise SignerError("SetupDescriptorScriptPubKeyMans: Unexpected result")
            found.append([text if isinstance(text, str) else "" for text in texts])
        return found[0], found[1]

    async def display(self, descriptor: str, address: str) -> None:
        """Have it show the address of a descriptor; raises SignerError unless it shows this one."""
        answer = await run_for_json([*self._words, *self._about, "displayaddress", "--desc", descriptor])
        described: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        error, shown = described.get("error"), described.get("address")
        if isinstance(error, str):
            raise SignerError(f"Signer returned error: {error}")
        if not isinstance(shown, str):
            raise SignerError("Signer did not echo address")
        if shown != address:
            raise SignerError(f"Signer echoed unexpected address {shown}")

    async def sign(self, psbt: Psbt) -> Psbt | None:
        """What it makes of a PSBT; None, and a line in the log, where it refuses. Raises SignerError."""
        encoded = encode_psbt(psbt)
        if not self._is_asked(psbt):
            log.warning(
                "Failed to sign: Signer fingerprint %s does not match any of the inputs:\n%s",
                self._fingerprint,
                encoded,
            )
            return None
        answer = await run_for_json([*self._words, "--stdin", *self._about], f"signtx {encoded}")
        described: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        error, signed = described.get("error"), described.get("psbt")
        if not isinstance(error, str):
            error = "" if isinstance(signed, str) else "Unexpected result from signer"
        raw = base64_bytes(signed) if isinstance(signed, str) and not error else None
        if not error and raw is None:
            error = "TX decode failed invalid base64"
        if not error and raw is not None:
            try:
                return read_psbt(raw)
            except PsbtError as problem:
                error = f"TX decode failed {problem}"
        log.warning("Failed to sign: %s", error)
        return None

    def _is_asked(self, psbt: Psbt) -> bool:
        """Whether an input names a key of the device."""
        try:
            fingerprint = bytes.fromhex(self._fingerprint)
        except ValueError:
            return False
        return any(
            origin.fingerprint == fingerprint
            for item in psbt.inputs
            for origin in (*item.origins.values(), *(origin for _, origin in item.taproot_origins.values()))
        )


async def find_signer(command: str, chain: str) -> ExternalSigner | None:
    """The one device that there is, None where there is none; raises SignerError where there are several."""
    if not command:
        return None
    devices = await list_devices(command)
    if len(devices) > 1:
        raise SignerError("More than one external signer found. Please connect only one at a time.")
    return ExternalSigner(command, chain, devices[0]) if devices else None


async def the_signer(command: str, chain: str) -> ExternalSigner:
    """The one device that there is; raises SignerError."""
    if not command:
        raise SignerError(RESTART)
    found = await find_signer(command, chain)
    if found is None:
        raise SignerError("No external signers found")
    return found
