"""What a partially signed transaction says."""

from __future__ import annotations

from typing import Annotated

from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_reader import decode_psbt
from btcnode.rpc.declare import MAY_HOLD_EQUALS, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.psbt_json import PsbtJson, psbt_json
from btcnode.services.parts import NodeParts

PsbtText = Annotated[str, "The PSBT in base64", MAY_HOLD_EQUALS]


def parse_psbt(text: str) -> Psbt:
    """A PSBT in base64; raises RpcError."""
    try:
        return decode_psbt(text)
    except PsbtError as error:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, f"TX decode failed {error}") from None


@rpc("rawtransactions", examples=(("psbt",),), pure=True)
def decodepsbt(node: NodeParts, psbt: PsbtText) -> PsbtJson:
    """A partially signed transaction as JSON."""
    return psbt_json(parse_psbt(psbt), node.params)
