"""Scripts and transactions as the JSON that people read: asm, type, descriptor, address.

Everything here is pure and may run outside the loop thread.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from btcnode.descriptors.checksum import with_checksum
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.jsonvalue import amount
from btcnode.script.encoding import is_defined_hash_type, is_valid_signature_encoding
from btcnode.script.opcodes import (
    OP_PUSHDATA4,
    opcode_name,
)
from btcnode.script.scriptnum import decode_number
from btcnode.script.scriptparse import BAD_OP, is_unspendable, iter_ops
from btcnode.script.signatures import is_valid_xonly
from btcnode.script.solver import match_multisig, match_pubkey, script_type

SIGHASH_NAMES = {
    0x01: "ALL", 0x02: "NONE", 0x03: "SINGLE",
    0x81: "ALL|ANYONECANPAY", 0x82: "NONE|ANYONECANPAY", 0x83: "SINGLE|ANYONECANPAY",
}  # fmt: skip


def script_asm(script: bytes, *, sighash: bool = False) -> str:
    """The script as words; with ``sighash`` the hash type of what looks like a signature is spelled out."""
    words = []
    sighash = sighash and not is_unspendable(script)
    for op, data in iter_ops(script):
        if op == BAD_OP:
            words.append("[error]")
        elif op > OP_PUSHDATA4:
            words.append(opcode_name(op))
        elif len(data) <= 4:
            words.append(str(decode_number(data, False)))
        elif sighash and is_valid_signature_encoding(data) and is_defined_hash_type(data) and data[-1] in SIGHASH_NAMES:
            words.append(f"{data[:-1].hex()}[{SIGHASH_NAMES[data[-1]]}]")
        else:
            words.append(data.hex())
    return " ".join(words)


def _key_text(script: bytes) -> str | None:
    """``pk(...)`` or ``multi(...)`` of a script that names its keys; hybrid keys have no descriptor."""
    key = match_pubkey(script)
    if key is not None:
        return f"pk({key.hex()})" if key[0] < 6 else None
    multisig = match_multisig(script)
    if multisig is None or any(key[0] >= 6 for key in multisig[1]):
        return None
    return f"multi({','.join([str(multisig[0]), *(key.hex() for key in multisig[1])])})"


def infer_descriptor(script: bytes, params: NetworkParams) -> str:
    """The descriptor of a script_pubkey by itself: short for ``descriptors.inference`` where nothing else is known."""
    text = _key_text(script)
    if text is None and len(script) == 34 and script[:2] == b"\x51\x20" and is_valid_xonly(script[2:]):
        text = f"rawtr({script[2:].hex()})"
    if text is None:
        address = address_for_script(script, params)
        text = f"addr({address})" if address is not None else f"raw({script.hex()})"
    return with_checksum(text)


@lru_cache(maxsize=4096)
def _script_facts(script: bytes, params: NetworkParams) -> tuple[str, str, str | None, str]:
    """asm, descriptor, address, type."""
    return (
        script_asm(script),
        infer_descriptor(script, params),
        address_for_script(script, params),
        script_type(script),
    )


def script_json(script: bytes, params: NetworkParams, *, include_hex: bool = True) -> dict[str, Any]:
    """The ``scriptPubKey`` object."""
    asm, desc, address, kind = _script_facts(script, params)
    result: dict[str, Any] = {"asm": asm, "desc": desc}
    if include_hex:
        result["hex"] = script.hex()
    if address is not None:
        result["address"] = address
    result["type"] = kind
    return result


def _input_json(tx: Tx, n: int, params: NetworkParams, coin: bytes | None, *, prevout: bool) -> dict[str, Any]:
    script_sig, outpoint = tx.script_sigs[n], tx.prevouts[n]
    entry: dict[str, Any]
    if tx.is_coinbase:
        entry = {"coinbase": script_sig.hex()}
    else:
        entry = {
            "txid": to_display(outpoint[:32]),
            "vout": int.from_bytes(outpoint[32:], "little"),
            "scriptSig": {"asm": script_asm(script_sig, sighash=True), "hex": script_sig.hex()},
        }
    if tx.witnesses and tx.witnesses[n]:
        entry["txinwitness"] = [item.hex() for item in tx.witnesses[n]]
    if prevout and coin is not None:
        entry["prevout"] = {
            "generated": coin_is_coinbase(coin),
            "height": coin_height(coin),
            "value": amount(coin_value(coin)),
            "scriptPubKey": script_json(coin_script(coin), params),
        }
    entry["sequence"] = tx.sequences[n]
    return entry


def tx_json(
    tx: Tx,
    params: NetworkParams,
    *,
    spent: list[bytes] | None = None,
    prevouts: bool = False,
    include_hex: bool = True,
) -> dict[str, Any]:
    """A transaction; ``spent`` are the packed coins of its inputs, shown with ``prevouts`` and used for the fee."""
    outputs = tx.outputs
    weight = tx.weight
    result: dict[str, Any] = {
        "txid": to_display(tx.txid),
        "hash": to_display(tx.wtxid),
        "version": tx.version,
        "size": len(tx.raw),
        "vsize": (weight + 3) // 4,
        "weight": weight,
        "locktime": tx.lock_time,
        "vin": [
            _input_json(tx, n, params, spent[n] if spent else None, prevout=prevouts) for n in range(len(tx.prevouts))
        ],
        "vout": [
            {"value": amount(output.value), "n": n, "scriptPubKey": script_json(output.script_pubkey, params)}
            for n, output in enumerate(outputs)
        ],
    }
    if spent:
        result["fee"] = amount(sum(map(coin_value, spent)) - sum(output.value for output in outputs))
    if include_hex:
        result["hex"] = tx.raw.hex()
    return result
