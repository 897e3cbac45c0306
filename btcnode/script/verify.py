"""Verifying inputs: Bitcoin Core 31's ``VerifyScript`` with its P2SH, witness and taproot rules.

``verify_transaction`` is the entry for a whole transaction, ``verify_jobs`` for a block's worth of them. An input
whose output has a standard shape goes through ``templates`` first; whatever that declines runs in the interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from btcnode.primitives.coin import txout_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256
from btcnode.primitives.tx import Tx
from btcnode.script import signatures
from btcnode.script.checker import InputChecker, TaprootSpend
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import (
    VERIFY_CLEANSTACK,
    VERIFY_DISCOURAGE_OP_SUCCESS,
    VERIFY_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION,
    VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM,
    VERIFY_P2SH,
    VERIFY_SIGPUSHONLY,
    VERIFY_TAPROOT,
    VERIFY_WITNESS,
    require_consistent,
)
from btcnode.script.interpreter import eval_script
from btcnode.script.machine import SigVersion
from btcnode.script.opcodes import ANNEX_TAG, MAX_SCRIPT_ELEMENT_SIZE, MAX_STACK_SIZE, VALIDATION_WEIGHT_OFFSET
from btcnode.script.scriptnum import is_true
from btcnode.script.scriptparse import is_p2sh, is_push_only, push_data, witness_program
from btcnode.script.sighash import SighashContext, SignatureVerifier, annex_digest, tapleaf_hash
from btcnode.script.tapscript import LEAF_MASK, LEAF_TAPSCRIPT, has_op_success, is_committed, is_valid_control_size
from btcnode.script.templates import fast_verify
from btcnode.tuples import NamedTuple

_ANCHOR_PROGRAM = b"\x4e\x73"  # pay-to-anchor: witness version 1, spendable by anybody


class ScriptFailure(NamedTuple):
    """The first input that failed, and why."""

    input_index: int
    error: ScriptError


class ScriptJob(NamedTuple):
    """One transaction to verify: its bytes, the txouts it spends (one per input, as serialised), and the flags."""

    raw_tx: bytes
    spent: Sequence[bytes]
    flags: int


class ExecutionCache(Protocol):
    """Remembers transactions whose scripts have all been verified under some flags."""

    def contains(self, wtxid: bytes, flags: int) -> bool:
        """Whether ``add`` has been called with the same arguments."""

    def add(self, wtxid: bytes, flags: int) -> None:
        """Remember that every input of the transaction is valid under ``flags``."""


def _finish_witness_script(stack: list[bytes]) -> None:
    """A witness script must leave exactly one true element."""
    if len(stack) != 1:
        raise ScriptAbort(ScriptError.CLEANSTACK)
    if not is_true(stack[0]):
        raise ScriptAbort(ScriptError.EVAL_FALSE)


def _run_witness_v0(stack: list[bytes], script: bytes, flags: int, checker: InputChecker) -> None:
    """Run the script of a P2WSH or P2WPKH input."""
    for item in stack:
        if len(item) > MAX_SCRIPT_ELEMENT_SIZE:
            raise ScriptAbort(ScriptError.PUSH_SIZE)
    eval_script(stack, script, flags, checker, SigVersion.WITNESS_V0)
    _finish_witness_script(stack)


def _verify_v0(witness: Sequence[bytes], program: bytes, flags: int, checker: InputChecker) -> None:
    """BIP141: P2WSH and P2WPKH."""
    if len(program) == 32:
        if not witness:
            raise ScriptAbort(ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY)
        script = witness[-1]
        if sha256(script).digest() != program:
            raise ScriptAbort(ScriptError.WITNESS_PROGRAM_MISMATCH)
        _run_witness_v0(list(witness[:-1]), script, flags, checker)
    elif len(program) == 20:
        if len(witness) != 2:
            raise ScriptAbort(ScriptError.WITNESS_PROGRAM_MISMATCH)
        _run_witness_v0(list(witness), b"\x76\xa9\x14" + program + b"\x88\xac", flags, checker)
    else:
        raise ScriptAbort(ScriptError.WITNESS_PROGRAM_WRONG_LENGTH)


def _run_tapscript(stack: list[bytes], script: bytes, flags: int, checker: InputChecker, spend: TaprootSpend) -> None:
    """BIP342: OP_SUCCESS first, then limits, then the script."""
    if has_op_success(script):
        if flags & VERIFY_DISCOURAGE_OP_SUCCESS:
            raise ScriptAbort(ScriptError.DISCOURAGE_OP_SUCCESS)
        return
    if len(stack) > MAX_STACK_SIZE:
        raise ScriptAbort(ScriptError.STACK_SIZE)
    for item in stack:
        if len(item) > MAX_SCRIPT_ELEMENT_SIZE:
            raise ScriptAbort(ScriptError.PUSH_SIZE)
    eval_script(stack, script, flags, checker, SigVersion.TAPSCRIPT, spend)
    _finish_witness_script(stack)


def _witness_size(witness: Sequence[bytes]) -> int:
    """Serialised size of a witness stack with its count, bytes."""
    return len(compact_size(len(witness))) + sum(len(compact_size(len(item))) + len(item) for item in witness)


def _verify_taproot(witness: Sequence[bytes], program: bytes, flags: int, checker: InputChecker) -> None:
    """BIP341: annex, key path, script path."""
    if not flags & VERIFY_TAPROOT:
        return
    if not witness:
        raise ScriptAbort(ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY)
    stack = list(witness)
    annex_hash = None
    if len(stack) >= 2 and stack[-1] and stack[-1][0] == ANNEX_TAG:
        annex_hash = annex_digest(stack.pop())
    if len(stack) == 1:
        checker.check_schnorr(stack[0], program, TaprootSpend(annex_hash))
        return
    control, script = stack.pop(), stack.pop()
    if not is_valid_control_size(len(control)):
        raise ScriptAbort(ScriptError.TAPROOT_WRONG_CONTROL_SIZE)
    leaf_version = control[0] & LEAF_MASK
    leaf_hash = tapleaf_hash(leaf_version, script)
    if not is_committed(control, program, leaf_hash):
        raise ScriptAbort(ScriptError.WITNESS_PROGRAM_MISMATCH)
    if leaf_version == LEAF_TAPSCRIPT:
        spend = TaprootSpend(annex_hash, leaf_hash, _witness_size(witness) + VALIDATION_WEIGHT_OFFSET)
        _run_tapscript(stack, script, flags, checker, spend)
    elif flags & VERIFY_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION:
        raise ScriptAbort(ScriptError.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION)


def _verify_program(
    witness: Sequence[bytes], version: int, program: bytes, flags: int, checker: InputChecker, nested: bool
) -> None:
    """Verify a witness program; ``nested`` says that it lies in a P2SH redeem script."""
    if version == 0:
        _verify_v0(witness, program, flags, checker)
    elif version == 1 and len(program) == 32 and not nested:
        _verify_taproot(witness, program, flags, checker)
    elif version == 1 and program == _ANCHOR_PROGRAM and not nested:
        return
    elif flags & VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM:
        raise ScriptAbort(ScriptError.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM)


def _require_true(stack: list[bytes]) -> None:
    """The top element must be true."""
    if not stack or not is_true(stack[-1]):
        raise ScriptAbort(ScriptError.EVAL_FALSE)


def run_scripts(
    script_sig: bytes, script_pubkey: bytes, witness: Sequence[bytes], flags: int, checker: InputChecker
) -> None:
    """Run everything that one input has to satisfy, without fast paths; raises ScriptAbort with Core's error."""
    if flags & VERIFY_SIGPUSHONLY and not is_push_only(script_sig):
        raise ScriptAbort(ScriptError.SIG_PUSHONLY)
    stack: list[bytes] = []
    if script_sig:
        eval_script(stack, script_sig, flags, checker)
    after_sig = stack.copy()
    eval_script(stack, script_pubkey, flags, checker)
    _require_true(stack)

    had_witness = False
    if flags & VERIFY_WITNESS:
        found = witness_program(script_pubkey)
        if found is not None:
            had_witness = True
            if script_sig:
                raise ScriptAbort(ScriptError.WITNESS_MALLEATED)
            _verify_program(witness, *found, flags, checker, False)
            del stack[1:]

    if flags & VERIFY_P2SH and is_p2sh(script_pubkey):
        if not is_push_only(script_sig):
            raise ScriptAbort(ScriptError.SIG_PUSHONLY)
        stack = after_sig
        redeem = stack.pop()
        eval_script(stack, redeem, flags, checker)
        _require_true(stack)
        found = witness_program(redeem) if flags & VERIFY_WITNESS else None
        if found is not None:
            had_witness = True
            if script_sig != push_data(redeem):
                raise ScriptAbort(ScriptError.WITNESS_MALLEATED_P2SH)
            _verify_program(witness, *found, flags, checker, True)
            del stack[1:]

    if flags & VERIFY_CLEANSTACK and len(stack) != 1:
        raise ScriptAbort(ScriptError.CLEANSTACK)
    if flags & VERIFY_WITNESS and witness and not had_witness:
        raise ScriptAbort(ScriptError.WITNESS_UNEXPECTED)


def verify_input(
    tx: Tx, index: int, spent: Sequence[bytes], flags: int, ctx: SighashContext | None = None
) -> ScriptError | None:
    """Verify one input; None when it is valid, else Core's error.

    ``spent`` are all the txouts that the transaction spends (taproot commits to each). ``ctx`` shares hashes between
    the inputs of a transaction. Raises ValueError for inconsistent flags or a wrong number of txouts.
    """
    require_consistent(flags)
    if ctx is None:
        ctx = SighashContext(tx, spent)
    return verify_input_of(ctx, index, flags)


def verify_input_of(ctx: SighashContext, index: int, flags: int) -> ScriptError | None:
    """``verify_input`` of a transaction that has its context, under flags that are consistent."""
    tx, txout = ctx.tx, ctx.spent[index]
    if fast_verify(tx, index, txout, flags, ctx):
        return None
    script_pubkey = txout_script(txout)
    witness = tx.witnesses[index] if tx.witnesses else []
    try:
        run_scripts(tx.script_sigs[index], script_pubkey, witness, flags, InputChecker(ctx, index))
    except ScriptAbort as abort:
        return abort.error
    return None


def verify_transaction(
    raw_or_tx: bytes | Tx,
    spent: Sequence[bytes],
    flags: int,
    cache: ExecutionCache | None = None,
    verifier: SignatureVerifier = signatures,
) -> ScriptFailure | None:
    """Verify every input; None when all are valid, else the first failure.

    ``cache`` spares transactions that it knows, ``verifier`` may count what it is asked.

    Raises DecodeError for bytes that are no transaction, ValueError for inconsistent flags or a wrong number of txouts.
    """
    require_consistent(flags)
    tx = raw_or_tx if isinstance(raw_or_tx, Tx) else Tx.parse(raw_or_tx)
    if cache is not None and cache.contains(tx.wtxid, flags):
        return None
    ctx = SighashContext(tx, spent, verifier)
    for index in range(len(tx.prevouts)):
        error = verify_input_of(ctx, index, flags)
        if error is not None:
            return ScriptFailure(index, error)
    if cache is not None:
        cache.add(tx.wtxid, flags)
    return None


def verify_jobs(jobs: Sequence[ScriptJob]) -> tuple[int, ScriptFailure] | None:
    """Verify the jobs in order; None when all are valid, else the index of the first that fails and its failure."""
    for number, job in enumerate(jobs):
        failure = verify_transaction(job.raw_tx, job.spent, job.flags)
        if failure is not None:
            return number, failure
    return None
