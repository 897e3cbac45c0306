"""The roles of a partially signed transaction: update, sign, finalise, extract, combine, join, look at."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from copy import deepcopy
from dataclasses import field
from enum import Enum, IntEnum
from typing import Any

from btcnode.descriptors.creator import DummySigner, SignatureCreator, TransactionSigner, spent_context
from btcnode.descriptors.provider import NOTHING_KNOWN, SigningProvider
from btcnode.descriptors.psbt import Psbt, PsbtInput, fill
from btcnode.descriptors.sigdata import SignatureData
from btcnode.descriptors.sign_transaction import with_scripts
from btcnode.descriptors.signing import produce_signature
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.record import struct
from btcnode.script.errors import ScriptAbort
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.scriptparse import (
    count_p2sh_sigops,
    count_sigops,
    count_witness_sigops,
    is_unspendable,
    witness_program,
)
from btcnode.script.sighash import SIGHASH_ALL, SIGHASH_ANYONECANPAY, SIGHASH_DEFAULT
from btcnode.script.verify import run_scripts

BYTES_PER_SIGOP = 20  # policy


class Outcome(Enum):
    """What came of signing an input."""

    DONE = "done"
    INCOMPLETE = "incomplete"
    MISSING_INPUTS = "missing inputs"
    SIGHASH_MISMATCH = "sighash mismatch"


class Role(IntEnum):
    """Who has to act next, in the order in which they do."""

    CREATOR = 0
    UPDATER = 1
    SIGNER = 2
    FINALIZER = 3
    EXTRACTOR = 4


def _is_taproot(script: bytes) -> bool:
    return len(script) == 34 and script[:2] == b"\x51\x20"


def is_signed_and_valid(psbt: Psbt, index: int, *, taproot: bool = True) -> bool:
    """Whether the final fields of an input satisfy the output it spends; taproot ones only with ``taproot``."""
    item = psbt.inputs[index]
    txout = item.utxo(psbt.tx.prevouts[index])
    if txout is None:
        return False
    signer = TransactionSigner(psbt.tx, index, psbt.spent(), SIGHASH_ALL, taproot=taproot)
    script = txout_script(txout)
    try:
        run_scripts(item.final_script_sig, script, item.final_witness, STANDARD_VERIFY_FLAGS, signer.checker)
    except ScriptAbort:
        return False
    return True


def is_complete(psbt: Psbt) -> bool:
    """Whether all inputs are signed and valid."""
    return all(is_signed_and_valid(psbt, index) for index in range(len(psbt.inputs)))


def _agrees(item: PsbtInput, hash_type: int) -> bool:
    """Whether all signatures that are there have the hash type that is to be signed with."""
    schnorr = [sig for sig in (item.key_path_sig, *item.script_path_sigs.values()) if sig]
    if hash_type == SIGHASH_DEFAULT:
        return all(len(sig) == 64 for sig in schnorr)
    good = all(len(sig) == 65 and sig[64] == hash_type for sig in schnorr)
    return good and all(sig[-1] == hash_type for _, sig in item.partial_sigs.values())


def sign_input(
    provider: SigningProvider,
    psbt: Psbt,
    index: int,
    *,
    hash_type: int | None = None,
    finalize: bool = True,
    dummy: bool = False,
    missing: SignatureData | None = None,
) -> Outcome:
    """Sign one input as far as the provider can, and take over what it knows of it.

    ``hash_type`` None stands for the usual one. With ``dummy`` the signatures are for size only. ``missing`` is told
    what was missing.
    """
    item = psbt.inputs[index]
    if is_signed_and_valid(psbt, index, taproot=not dummy):  # Core verifies without spent outputs when it estimates
        return Outcome.DONE
    data = SignatureData()
    item.fill_data(data)
    txout = item.utxo(psbt.tx.prevouts[index])
    if txout is None:
        return Outcome.MISSING_INPUTS
    script = txout_script(txout)
    taproot = _is_taproot(script)
    if hash_type is None:
        hash_type = SIGHASH_DEFAULT if taproot else SIGHASH_ALL
    if item.sighash is not None and item.sighash != hash_type:
        return Outcome.SIGHASH_MISMATCH
    if hash_type not in ((SIGHASH_DEFAULT,) if taproot else (SIGHASH_DEFAULT, SIGHASH_ALL)):
        item.sighash = hash_type
    if not _agrees(item, hash_type):
        return Outcome.SIGHASH_MISMATCH
    signer: SignatureCreator = DummySigner()
    if not dummy:
        signer = TransactionSigner(psbt.tx, index, psbt.spent(), hash_type)
    complete = produce_signature(provider, signer, script, data)
    # What a witness UTXO says of a legacy output cannot be checked, so nothing is signed that does not commit to it.
    if item.non_witness_utxo is None and not data.witness:
        return Outcome.INCOMPLETE
    data.complete = data.complete and finalize
    item.take_data(data)
    if data.witness:
        item.witness_utxo = txout
    if missing is not None:
        missing.missing_pubkeys, missing.missing_sigs = data.missing_pubkeys, data.missing_sigs
        missing.missing_redeem_script = data.missing_redeem_script
        missing.missing_witness_script = data.missing_witness_script
    return Outcome.DONE if complete else Outcome.INCOMPLETE


def update_output(provider: SigningProvider, psbt: Psbt, index: int) -> None:
    """Take over what the provider knows of an output: scripts, origins of keys, tree. Nothing is signed."""
    item, txout, tx = psbt.outputs[index], psbt.tx.txouts[index], psbt.tx
    data = SignatureData()
    item.fill_data(data)
    if tx.prevouts:
        spent: list[bytes | None] = [None] * len(tx.prevouts)
        spent[0] = txout
        signer = TransactionSigner(tx, 0, spent, SIGHASH_ALL, spent_context(tx, spent), taproot=False)
    else:  # any transaction does to ask for what is known
        signer = TransactionSigner(Tx(2, [bytes(36)], [b""], [0], []), 0, [txout], SIGHASH_ALL, taproot=False)
    produce_signature(provider, signer, txout_script(txout), data)
    item.take_data(data)


def drop_unneeded_transactions(psbt: Psbt) -> None:
    """Leave previous transactions out when all inputs are taproot, whose signatures commit to what they spend."""
    for item in psbt.inputs:
        program = witness_program(txout_script(item.witness_utxo)) if item.witness_utxo is not None else None
        if program is None or program[0] == 0:
            return
        if item.sighash is not None and item.sighash & SIGHASH_ANYONECANPAY:
            return
    for item in psbt.inputs:
        item.non_witness_utxo = None


def finalize(psbt: Psbt) -> bool:
    """Make final what has all its signatures; whether that is every input."""
    outcomes = [
        sign_input(NOTHING_KNOWN, psbt, index, hash_type=item.sighash) for index, item in enumerate(psbt.inputs)
    ]
    return all(outcome is Outcome.DONE for outcome in outcomes)


def extract(psbt: Psbt) -> Tx:
    """The transaction with the final scripts and witnesses."""
    return with_scripts(
        psbt.tx, [item.final_script_sig for item in psbt.inputs], [item.final_witness for item in psbt.inputs]
    )


def combine(psbts: Sequence[Psbt]) -> Psbt | None:
    """One with all that several for the same transaction have; None when they are for different ones."""
    result = deepcopy(psbts[0])
    return result if all(result.merge(psbt) for psbt in psbts[1:]) else None


def join(psbts: Sequence[Psbt], shuffle: Callable[[MutableSequence[Any]], None]) -> Psbt:
    """One transaction with the inputs and outputs of all, in an order that tells nothing.

    The highest version and the lowest lock time count; signatures are dropped. Raises ValueError with the outpoint as
    text when one input occurs twice.
    """
    inputs: list[tuple[bytes, int, PsbtInput]] = []
    seen: set[tuple[bytes, int]] = set()
    for psbt in psbts:
        for outpoint, sequence, item in zip(psbt.tx.prevouts, psbt.tx.sequences, psbt.inputs, strict=True):
            if (outpoint, sequence) in seen:
                raise ValueError(f"{to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little', signed=False)}")
            seen.add((outpoint, sequence))
            copy = deepcopy(item)
            copy.partial_sigs, copy.final_script_sig, copy.final_witness = {}, b"", []
            inputs.append((outpoint, sequence, copy))
    outputs = [
        (txout, deepcopy(item)) for psbt in psbts for txout, item in zip(psbt.tx.txouts, psbt.outputs, strict=True)
    ]
    shuffle(inputs)
    shuffle(outputs)
    tx = Tx(
        max(1, *(psbt.tx.version for psbt in psbts)),
        [outpoint for outpoint, _, _ in inputs],
        [b""] * len(inputs),
        [sequence for _, sequence, _ in inputs],
        [txout for txout, _ in outputs],
        lock_time=min(psbt.tx.lock_time for psbt in psbts),
    )
    result = Psbt(tx, [item for _, _, item in inputs], [item for _, item in outputs])
    for psbt in psbts:
        fill(result.unknown, psbt.unknown)
    return result


# ---- analysis


@struct
class InputAnalysis:
    """What is there of an input, what is missing, and who has to act on it."""

    has_utxo: bool = False
    is_final: bool = False
    next: Role = Role.CREATOR
    missing: SignatureData = field(default_factory=SignatureData)


@struct
class Analysis:
    """The state of a PSBT; ``error`` says why it can come to nothing."""

    inputs: list[InputAnalysis] = field(default_factory=list)
    next: Role = Role.CREATOR
    fee: int | None = None
    vsize: int | None = None
    error: str = ""


def _invalid(why: str) -> Analysis:
    return Analysis(error=f"PSBT is not valid. {why}")


def _in_range(amount: int) -> bool:
    return 0 <= amount <= MAX_MONEY


def analyze(psbt: Psbt) -> Analysis:
    """Look at a PSBT, which is changed on the way: hand in a copy."""
    result = Analysis()
    spent = psbt.spent()
    total = 0
    for index, txout in enumerate(spent):
        if txout is not None:
            value = txout_value(txout)
            if not _in_range(value) or not _in_range(total + value):
                return _invalid(f"Input {index} has invalid value")
            total += value
            if is_unspendable(txout_script(txout)):
                return _invalid(f"Input {index} spends unspendable output")
        result.inputs.append(_analyze_input(psbt, index, txout))
    result.next = min((item.next for item in result.inputs), default=Role.EXTRACTOR)
    if None in spent:
        return result
    paid = 0
    for txout in psbt.tx.txouts:
        value = txout_value(txout)
        if not _in_range(value) or not _in_range(paid + value):
            return _invalid("Output amount invalid")
        paid += value
    result.fee = total - paid
    result.vsize = _estimated_vsize(psbt)
    return result


def _analyze_input(psbt: Psbt, index: int, txout: bytes | None) -> InputAnalysis:
    result = InputAnalysis(has_utxo=txout is not None, next=Role.EXTRACTOR if txout is not None else Role.UPDATER)
    if is_signed_and_valid(psbt, index):
        result.is_final = txout is not None
        return result
    missing = result.missing
    if sign_input(NOTHING_KNOWN, psbt, index, missing=missing) is Outcome.DONE:
        result.next = Role.FINALIZER
    elif missing.missing_sigs and not (
        missing.missing_pubkeys or missing.missing_redeem_script or missing.missing_witness_script
    ):
        result.next = Role.SIGNER
    else:
        result.next = Role.UPDATER
    return result


def _estimated_vsize(psbt: Psbt) -> int | None:
    """Policy size of the transaction with signatures of the usual size; None when an input cannot be satisfied."""
    for index in range(len(psbt.inputs)):
        if sign_input(NOTHING_KNOWN, psbt, index, dummy=True) is not Outcome.DONE:
            return None
    tx = extract(psbt)
    sigops = 4 * sum(count_sigops(script, False) for script in tx.script_sigs)
    sigops += 4 * sum(count_sigops(txout_script(txout), False) for txout in tx.txouts)
    for index, txout in enumerate(psbt.spent()):
        if txout is None:
            return None
        script_sig, script = tx.script_sigs[index], txout_script(txout)
        witness = tx.witnesses[index] if tx.witnesses else []
        sigops += 4 * count_p2sh_sigops(script_sig, script)
        sigops += count_witness_sigops(script_sig, script, witness, STANDARD_VERIFY_FLAGS)
    return (max(tx.weight, sigops * BYTES_PER_SIGOP) + 3) // 4
