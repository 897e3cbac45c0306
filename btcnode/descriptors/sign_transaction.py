"""Signing whole transactions, and reading back what partly signed ones already have."""

from __future__ import annotations

from collections.abc import Mapping

from btcnode.descriptors.creator import PartialChecker, TransactionSigner, spent_context
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sigdata import SignatureData
from btcnode.descriptors.signing import produce_signature, verify_satisfaction
from btcnode.descriptors.solutions import solve
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.checker import InputChecker
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import STANDARD_VERIFY_FLAGS, VERIFY_STRICTENC
from btcnode.script.interpreter import eval_script
from btcnode.script.sighash import SIGHASH_ANYONECANPAY, SIGHASH_SINGLE, SighashContext
from btcnode.script.verify import run_scripts

MISSING_AMOUNT = "Missing amount"
_TEXTS = {
    ScriptError.INVALID_STACK_OPERATION: "Unable to sign input, invalid stack size (possibly missing key)",
    ScriptError.NULLFAIL: "CHECK(MULTI)SIG failing with non-zero signature (possibly need more signatures)",
}


class _Recorder(PartialChecker):
    """Remembers the signatures that are right."""

    __slots__ = ("_data",)

    def __init__(self, ctx: SighashContext, index: int, data: SignatureData) -> None:
        super().__init__(ctx, index, taproot_ready=False)
        self._data = data

    def check_ecdsa(self, sig: bytes, pubkey: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """As its base."""
        if not super().check_ecdsa(sig, pubkey, script_code, witness_v0):
            return False
        self._data.signatures.setdefault(hash160(pubkey), (pubkey, sig))
        return True


class _NoSignature(InputChecker):
    """Accepts none: for scripts that only push."""

    def check_ecdsa(self, sig: bytes, pubkey: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """Never."""
        return False


def _pushed(ctx: SighashContext, index: int, script_sig: bytes) -> list[bytes]:
    """What a script_sig leaves on the stack, as far as it runs."""
    stack: list[bytes] = []
    try:
        eval_script(stack, script_sig, VERIFY_STRICTENC, _NoSignature(ctx, index))
    except ScriptAbort:
        return stack  # what stands there so far is all there is to find
    return stack


def data_from_transaction(tx: Tx, index: int, txout: bytes) -> SignatureData:
    """Scripts and signatures that an input already has."""
    data = SignatureData()
    data.script_sig = tx.script_sigs[index]
    data.script_witness = list(tx.witnesses[index]) if tx.witnesses else []
    spent: list[bytes | None] = [None] * len(tx.prevouts)
    spent[index] = txout
    ctx = spent_context(tx, spent)
    recorder, script = _Recorder(ctx, index, data), txout_script(txout)
    try:
        run_scripts(data.script_sig, script, data.script_witness, STANDARD_VERIFY_FLAGS, recorder)
    except ScriptAbort:
        _collect(data, script, _pushed(ctx, index, data.script_sig), recorder)
    else:
        data.complete = True
    return data


def _collect(data: SignatureData, script: bytes, stack: list[bytes], recorder: _Recorder) -> None:
    """Scripts, and the signatures of a multisig by the keys they fit."""
    witness, witness_v0 = list(data.script_witness), False
    kind, solution = solve(script)
    if kind == "scripthash" and stack and stack[-1]:
        script = data.redeem_script = stack.pop()
        kind, solution = solve(script)
    if kind == "witness_v0_scripthash" and witness and witness[-1]:
        script = data.witness_script = witness.pop()
        kind, solution = solve(script)
        stack, witness_v0 = witness, True
    if kind != "multisig":
        return
    keys, first = solution[1:-1], 0
    for sig in stack:
        for n in range(first, len(keys)):
            if hash160(keys[n]) in data.signatures or recorder.check_ecdsa(sig, keys[n], script, witness_v0):
                first = n + 1
                break


def with_scripts(tx: Tx, script_sigs: list[bytes], witnesses: list[list[bytes]]) -> Tx:
    """The transaction with other script_sigs and witnesses."""
    stacks = witnesses if any(witnesses) else None
    return Tx(tx.version, tx.prevouts, script_sigs, tx.sequences, tx.txouts, stacks, tx.lock_time)


def sign_transaction(
    tx: Tx, provider: SigningProvider, txouts: Mapping[bytes, bytes], hash_type: int
) -> tuple[Tx, dict[int, str]]:
    """The transaction with every signature that can be made, and for each input that is not complete what is wrong.

    ``txouts`` are the spent outputs by outpoint; one whose amount is not known has ``MAX_MONEY`` in its place, and
    ``MISSING_AMOUNT`` is the error where that matters.
    """
    spent = [txouts.get(outpoint) for outpoint in tx.prevouts]
    ctx = spent_context(tx, spent)
    single = hash_type & ~SIGHASH_ANYONECANPAY == SIGHASH_SINGLE
    script_sigs = list(tx.script_sigs)
    witnesses = [list(stack) for stack in tx.witnesses] or [[] for _ in tx.prevouts]
    errors: dict[int, str] = {}
    for index, txout in enumerate(spent):
        if txout is None:
            errors[index] = "Input not found or already spent"
            continue
        data, script = data_from_transaction(tx, index, txout), txout_script(txout)
        signer = TransactionSigner(tx, index, spent, hash_type, ctx)
        if not single or index < len(tx.txouts):
            produce_signature(provider, signer, script, data)
        script_sigs[index], witnesses[index] = data.script_sig, data.script_witness
        if txout_value(txout) == MAX_MONEY and data.script_witness:
            errors[index] = MISSING_AMOUNT
            continue
        error = None if data.complete else verify_satisfaction(data, script, signer)
        if error is not None:
            errors[index] = _TEXTS.get(error) or error.text
    return with_scripts(tx, script_sigs, witnesses), errors


def combine_signatures(variants: list[Tx], txouts: list[bytes]) -> Tx:
    """The first transaction with the signatures that all variants of it have for its inputs together."""
    tx = variants[0]
    script_sigs, witnesses = [], []
    for index, txout in enumerate(txouts):
        data = SignatureData()
        for variant in variants:
            if index < len(variant.prevouts):
                data.merge(data_from_transaction(variant, index, txout))
        spent: list[bytes | None] = [None] * len(txouts)
        spent[index] = txout
        signer = TransactionSigner(tx, index, spent, 1, taproot=False)
        produce_signature(SigningProvider(), signer, txout_script(txout), data)
        script_sigs.append(data.script_sig)
        witnesses.append(data.script_witness)
    return with_scripts(tx, script_sigs, witnesses)
