"""Standardness of what a transaction spends and of its witnesses (Core's ``ValidateInputsStandardness``,
``IsWitnessStandard``, ``SpendsNonAnchorWitnessProg``), and its sigop cost."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.consensus.sigops import transaction_sigop_cost
from btcnode.mempool.rejection import Rejection, TxResult
from btcnode.primitives.coin import coin_script
from btcnode.primitives.tx import Tx
from btcnode.script.checker import InputChecker
from btcnode.script.errors import ScriptAbort
from btcnode.script.flags import STANDARD_VERIFY_FLAGS, VERIFY_NONE
from btcnode.script.interpreter import eval_script
from btcnode.script.opcodes import ANNEX_TAG
from btcnode.script.scriptparse import count_p2sh_sigops, count_sigops, is_p2sh, witness_program
from btcnode.script.solver import ANCHOR_SCRIPT, script_type
from btcnode.script.tapscript import LEAF_MASK, LEAF_TAPSCRIPT

MAX_P2SH_SIGOPS = 15
MAX_TX_LEGACY_SIGOPS = 2500  # BIP54
MAX_P2WSH_ITEMS = 100
MAX_P2WSH_ITEM_SIZE = 80
MAX_P2WSH_SCRIPT_SIZE = 3600
MAX_TAPSCRIPT_ITEM_SIZE = 80

_REASON = "bad-txns-nonstandard-inputs"
NOT_PLAIN = -1

# a coin from the CompactSize of its script on, and its size
_P2WPKH, _P2WPKH_SIZE = b"\x16\x00\x14", 35
_P2TR, _P2TR_SIZE = b"\x22\x51\x20", 47
_P2PKH, _P2PKH_TAIL, _P2PKH_SIZE = b"\x19\x76\xa9\x14", b"\x88\xac", 38
_P2SH, _P2SH_TAIL, _P2SH_SIZE = b"\x17\xa9\x14", 0x87, 36
_NESTED_P2WPKH, _NESTED_SIZE = b"\x16\x00\x14", 23


class _BlindChecker(InputChecker):
    """Knows no transaction: no signature is right and no lock is met."""

    __slots__ = ()

    def __init__(self) -> None:
        """Nothing to ask."""

    def check_ecdsa(self, sig: bytes, pubkey: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """Never."""
        return False

    def check_lock_time(self, wanted: int) -> bool:
        """Never."""
        return False

    def check_sequence(self, wanted: int) -> bool:
        """Never."""
        return False


_BLIND = _BlindChecker()


def _evaluate(script_sig: bytes) -> list[bytes]:
    """The stack that a script_sig leaves; raises ScriptAbort."""
    stack: list[bytes] = []
    eval_script(stack, script_sig, VERIFY_NONE, _BLIND)
    return stack


def _redeem_script(script_sig: bytes) -> bytes | None:
    """What a script_sig leaves on top of the stack, None for an empty stack or a script that fails."""
    if 1 < len(script_sig) <= 0x4C and script_sig[0] == len(script_sig) - 1:
        return script_sig[1:]
    try:
        stack = _evaluate(script_sig)
    except ScriptAbort:
        return None
    return stack[-1] if stack else None


def plain_sigop_cost(tx: Tx, coins: Sequence[bytes]) -> int:
    """What the witnesses add to the sigop cost if every input is of a common form that is standard whatever its
    witness holds (P2WPKH, also nested, P2PKH, P2TR by key); else ``NOT_PLAIN``.

    The transaction itself is standard: its script_sigs are pushes only, and it is too small for the BIP54 limit.
    """
    cost = 0
    stacks = tx.witnesses
    for n, (coin, script_sig) in enumerate(zip(coins, tx.script_sigs, strict=True)):
        size, head = len(coin), coin[12:15]
        if not script_sig:
            if size == _P2WPKH_SIZE and head == _P2WPKH:
                cost += 1
                continue
            if size == _P2TR_SIZE and head == _P2TR and stacks and len(stacks[n]) == 1:
                continue
        elif size == _P2PKH_SIZE:
            if coin[12:16] == _P2PKH and coin[36:] == _P2PKH_TAIL and not (stacks and stacks[n]):
                continue
        elif (
            size == _P2SH_SIZE
            and head == _P2SH
            and coin[35] == _P2SH_TAIL
            and len(script_sig) == _NESTED_SIZE
            and script_sig[:3] == _NESTED_P2WPKH
        ):
            cost += 1
            continue
        return NOT_PLAIN
    return cost


def sigop_cost(tx: Tx, coins: Sequence[bytes]) -> int:
    """BIP141 sigop cost under the standard flags."""
    return transaction_sigop_cost(tx, coins, STANDARD_VERIFY_FLAGS)


def _exceeds_bip54(tx: Tx, coins: Sequence[bytes]) -> bool:
    """Whether the sigops outside of witnesses that the inputs may execute are too many."""
    total = 0
    for coin, script_sig in zip(coins, tx.script_sigs, strict=True):
        script = coin_script(coin)
        total += count_sigops(script_sig, True)
        total += count_p2sh_sigops(script_sig, script) if is_p2sh(script) else count_sigops(script, True)
        if total > MAX_TX_LEGACY_SIGOPS:
            return True
    return False


def check_inputs(tx: Tx, coins: Sequence[bytes]) -> Rejection | None:
    """Why an input is not standard, without a look at witnesses; one packed coin per input."""
    problem = "non-witness sigops exceed bip54 limit" if _exceeds_bip54(tx, coins) else ""
    for n, (coin, script_sig) in enumerate(zip(coins, tx.script_sigs, strict=True)):
        if problem:
            break
        problem = _input_problem(n, coin_script(coin), script_sig)
    return Rejection(TxResult.INPUTS_NOT_STANDARD, _REASON, problem) if problem else None


def _input_problem(n: int, script: bytes, script_sig: bytes) -> str:
    form = script_type(script)
    if form == "nonstandard":
        return f"input {n} script unknown"
    if form == "witness_unknown":
        return f"input {n} witness program is undefined"
    if form != "scripthash":
        return ""
    try:
        stack = _evaluate(script_sig)
    except ScriptAbort as abort:
        return f"p2sh scriptsig malformed (input {n}: {abort.error.text})"
    if not stack:
        return f"input {n} P2SH redeemscript missing"
    sigops = count_sigops(stack[-1], True)
    if sigops > MAX_P2SH_SIGOPS:
        return f"p2sh redeemscript sigops exceed limit (input {n}: {sigops} > {MAX_P2SH_SIGOPS})"
    return ""


def is_witness_standard(tx: Tx, coins: Sequence[bytes]) -> bool:
    """Whether no witness is larger than its purpose needs, or stands where none belongs."""
    for coin, script_sig, stack in zip(coins, tx.script_sigs, tx.witnesses, strict=True):
        if stack and not _is_stack_standard(coin_script(coin), script_sig, stack):
            return False
    return True


def _is_stack_standard(script: bytes, script_sig: bytes, stack: list[bytes]) -> bool:
    if script == ANCHOR_SCRIPT:
        return False
    nested = is_p2sh(script)
    if nested:
        redeem = _redeem_script(script_sig)
        if redeem is None:
            return False
        script = redeem
    found = witness_program(script)
    if found is None:
        return False
    version, program = found
    if version == 0 and len(program) == 32:
        return (
            len(stack[-1]) <= MAX_P2WSH_SCRIPT_SIZE
            and len(stack) - 1 <= MAX_P2WSH_ITEMS
            and all(len(item) <= MAX_P2WSH_ITEM_SIZE for item in stack[:-1])
        )
    if version == 1 and len(program) == 32 and not nested and len(stack) > 1:
        last = stack[-1]
        if not last or last[0] == ANNEX_TAG:
            return False
        if last[0] & LEAF_MASK == LEAF_TAPSCRIPT:
            return all(len(item) <= MAX_TAPSCRIPT_ITEM_SIZE for item in stack[:-2])
    return True


def spends_witness_program(tx: Tx, coins: Sequence[bytes]) -> bool:
    """Whether an input is a witness program other than pay-to-anchor, bare or in P2SH: one that a witness is for."""
    for coin, script_sig in zip(coins, tx.script_sigs, strict=True):
        script = coin_script(coin)
        if is_p2sh(script):
            script = _redeem_script(script_sig) or b""
            if witness_program(script) is not None:
                return True
        elif script != ANCHOR_SCRIPT and witness_program(script) is not None:
            return True
    return False
