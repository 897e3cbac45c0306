"""What Core's script vectors are written in: script text, flag lists, credit and spend transactions."""

from __future__ import annotations

from collections.abc import Iterable

from btcnode.primitives.coin import make_txout, txout_script
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.checker import InputChecker
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import FLAG_NAMES, VERIFY_CLEANSTACK, VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.opcodes import OP_NOP, OP_RESERVED, OPCODE_NAMES
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import run_scripts, verify_input

_OPCODES = {
    name: op for op, name in OPCODE_NAMES.items() if (op >= OP_NOP and name != "OP_INVALIDOPCODE") or op == OP_RESERVED
}
_OPCODES.update({name.removeprefix("OP_"): op for name, op in list(_OPCODES.items())})
_OPCODES.update({"NOP2": 0xB1, "NOP3": 0xB2, "OP_NOP2": 0xB1, "OP_NOP3": 0xB2})


def parse_flags(names: str | Iterable[str]) -> int:
    """The flags named in a comma list (``"P2SH,WITNESS"``; ``""`` and ``"NONE"`` are no flags) or an iterable of names.

    Raises ValueError for a name that Core does not know.
    """
    flags = 0
    for name in names.split(",") if isinstance(names, str) else names:
        if name in ("", "NONE"):
            continue
        if name not in FLAG_NAMES:
            raise ValueError(f"unknown script verification flag: {name!r}")
        flags |= FLAG_NAMES[name]
    return flags


def push_number(value: int) -> bytes:
    if value == -1 or 1 <= value <= 16:
        return bytes((value + 0x50,))
    return push_data(encode_number(value))


def assemble(text: str) -> bytes:
    """The bytes of a script in the vectors' text form."""
    parts = []
    for word in text.split():
        if word.lstrip("-").isdigit():
            parts.append(push_number(int(word)))
        elif word.startswith("0x"):
            parts.append(bytes.fromhex(word[2:]))
        elif word[0] == "'" == word[-1]:
            parts.append(push_data(word[1:-1].encode()))
        else:
            parts.append(bytes((_OPCODES[word],)))
    return b"".join(parts)


def fill_flags(flags: int) -> int:
    """Add the flags without which others have no meaning."""
    if flags & VERIFY_CLEANSTACK:
        flags |= VERIFY_WITNESS
    if flags & VERIFY_WITNESS:
        flags |= VERIFY_P2SH
    return flags


def trim_flags(flags: int) -> int:
    """Drop the flags whose requirements are missing."""
    if not flags & VERIFY_P2SH:
        flags &= ~VERIFY_WITNESS
    if not flags & VERIFY_WITNESS:
        flags &= ~VERIFY_CLEANSTACK
    return flags


def credit_and_spend(
    script_sig: bytes, script_pubkey: bytes, witness: list[bytes], value: int, flags: str
) -> tuple[Tx, list[bytes], int]:
    """The spend transaction of a script test, its spent txouts, and its flags."""
    txout = make_txout(value, script_pubkey)
    credit = Tx(1, [NULL_OUTPOINT], [b"\0\0"], [0xFFFFFFFF], [txout])
    prevout = credit.txid + bytes(4)
    spend = Tx(1, [prevout], [script_sig], [0xFFFFFFFF], [make_txout(value, b"")], [witness] if witness else None)
    return spend, [txout], fill_flags(parse_flags(flags))


def verify_both_ways(
    tx: Tx, index: int, spent: list[bytes], flags: int, ctx: SighashContext | None = None
) -> ScriptError | None:
    """``verify_input``, which takes fast paths, after making sure that the bare interpreter says the same."""
    ctx = ctx or SighashContext(tx, spent)
    witness = tx.witnesses[index] if tx.witnesses else []
    slow: ScriptError | None = None
    try:
        run_scripts(tx.script_sigs[index], txout_script(spent[index]), witness, flags, InputChecker(ctx, index))
    except ScriptAbort as abort:
        slow = abort.error
    assert verify_input(tx, index, spent, flags, ctx) == slow
    return slow


ALL_FLAG_BITS = list(FLAG_NAMES.values())
