"""Scripts and transactions as the JSON that people read: asm, type, descriptor, address.

Everything here is pure and may run outside the loop thread.
"""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors.checksum import with_checksum
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import TOLD_OTHERWISE, Coins, Elided, Hex, Time
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


class ScriptJson(TypedDict):
    """A script_pubkey."""

    asm: Annotated[str, "The script in words"]
    desc: Annotated[str, "A descriptor of the script"]
    hex: Annotated[Hex, "The script"]
    address: Annotated[NotRequired[str], "Its address, where it has one"]
    type: Annotated[str, "Its type"]


class UtxoScript(TypedDict):
    """A script_pubkey, with the type before the address."""

    asm: Annotated[str, "The script in words"]
    desc: Annotated[str, "A descriptor of the script"]
    hex: Annotated[Hex, "The script"]
    type: Annotated[str, "Its type"]
    address: Annotated[NotRequired[str], "Its address, where it has one"]


class ScriptSigJson(TypedDict):
    """A script of an input."""

    asm: Annotated[str, "In words"]
    hex: Annotated[Hex, "In hex"]


class PrevoutJson(TypedDict):
    """An output that is spent."""

    generated: Annotated[bool, "Whether a coinbase made it"]
    height: Annotated[int, "Height of the block that made it"]
    value: Annotated[Coins, "Its value"]
    scriptPubKey: Annotated[ScriptJson, "Its script"]


class SpentOutpoint(TypedDict):
    """What an input spends, and how."""

    coinbase: Annotated[NotRequired[Hex], "Script of a coinbase's input"]
    txid: Annotated[NotRequired[Hex], "Transaction it spends from"]
    vout: Annotated[NotRequired[int], "Output it spends"]
    scriptSig: Annotated[NotRequired[ScriptSigJson], "Script"]
    txinwitness: Annotated[NotRequired[list[Annotated[Hex, "Element"]]], "Witness"]


class InputJson(SpentOutpoint):
    """An input of a transaction."""

    sequence: Annotated[int, "Sequence"]


class Spending(TypedDict):
    """The output that an input spends."""

    prevout: Annotated[NotRequired[PrevoutJson], "The output it spends, where undo data tell"]


class SpendingInput(InputJson, Spending):
    """An input with the output it spends."""


class BlockInput(InputJson):
    """An input of a transaction in a block, with the output it spends."""

    prevout: Annotated[NotRequired[PrevoutJson], "The output it spends, where undo data tell", TOLD_OTHERWISE]


class OutputJson(TypedDict):
    """An output of a transaction."""

    value: Annotated[Coins, "Value"]
    n: Annotated[int, "Position"]
    scriptPubKey: Annotated[ScriptJson, "Script"]


class TxHead(TypedDict):
    """A transaction without its inputs and outputs."""

    txid: Annotated[Hex, "Transaction id"]
    hash: Annotated[Hex, "Hash with witness"]
    size: Annotated[int, "Bytes"]
    vsize: Annotated[int, "Virtual size"]
    weight: Annotated[int, "Weight"]
    version: Annotated[int, "Version"]
    locktime: Annotated[Time, "Lock time"]


class TxJson(TxHead):
    """A transaction."""

    vin: Annotated[list[InputJson], "Inputs"]
    vout: Annotated[list[OutputJson], "Outputs"]


class SpendingTx(TxHead):
    """A transaction with what it spends."""

    vin: Annotated[list[Annotated[SpendingInput, Elided("As with verbosity 1", "prevout")]], "Inputs"]
    vout: Annotated[list[OutputJson], "Outputs"]


WORDS_TOGETHER = 10_000
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
    if len(words) > WORDS_TOGETHER:  # while words become one text, no other thread runs
        words = [" ".join(words[at : at + WORDS_TOGETHER]) for at in range(0, len(words), WORDS_TOGETHER)]
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


def script_facts(script: bytes, params: NetworkParams) -> tuple[str, str, str | None, str]:
    """What is told of a script_pubkey: asm, descriptor, address (None where it has none), type."""
    return (
        script_asm(script),
        infer_descriptor(script, params),
        address_for_script(script, params),
        script_type(script),
    )


def script_json(script: bytes, params: NetworkParams) -> ScriptJson:
    """The ``scriptPubKey`` object."""
    asm, desc, address, kind = script_facts(script, params)
    if address is None:
        return {"asm": asm, "desc": desc, "hex": script.hex(), "type": kind}
    return {"asm": asm, "desc": desc, "hex": script.hex(), "address": address, "type": kind}


def _outpoint_json(tx: Tx, n: int) -> SpentOutpoint:
    script_sig, outpoint = tx.script_sigs[n], tx.prevouts[n]
    result: SpentOutpoint
    if tx.is_coinbase:
        result = {"coinbase": script_sig.hex()}
    else:
        result = {
            "txid": to_display(outpoint[:32]),
            "vout": int.from_bytes(outpoint[32:], "little"),
            "scriptSig": {"asm": script_asm(script_sig, sighash=True), "hex": script_sig.hex()},
        }
    if tx.witnesses and tx.witnesses[n]:
        result["txinwitness"] = [item.hex() for item in tx.witnesses[n]]
    return result


def _head_json(tx: Tx) -> TxHead:
    weight = tx.weight
    return {
        "txid": to_display(tx.txid),
        "hash": to_display(tx.wtxid),
        "version": tx.version,
        "size": len(tx.raw),
        "vsize": (weight + 3) // 4,
        "weight": weight,
        "locktime": tx.lock_time,
    }


def _outputs_json(tx: Tx, params: NetworkParams) -> list[OutputJson]:
    return [
        {"value": amount(output.value), "n": n, "scriptPubKey": script_json(output.script_pubkey, params)}
        for n, output in enumerate(tx.outputs)
    ]


def tx_json(tx: Tx, params: NetworkParams) -> TxJson:
    """A transaction by itself."""
    inputs: list[InputJson] = [{**_outpoint_json(tx, n), "sequence": tx.sequences[n]} for n in range(len(tx.prevouts))]
    return {**_head_json(tx), "vin": inputs, "vout": _outputs_json(tx, params)}
