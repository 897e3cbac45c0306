"""The devices of the user's external signer (``--signer``)."""

from __future__ import annotations

from typing import Annotated, TypedDict

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
    from btcnode.services.external_signer import RESTART, SignerError, list_devices

    if not command:
        raise RpcError(RpcCode.MISC_ERROR, f"Error: {RESTART}")
    try:
        devices = await list_devices(command)
    except SignerError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return [{"fingerprint": device.fingerprint, "name": device.name} for device in devices]
