"""Blocks with one input whose scripts fail: every template's own faults, and each kind of script error."""

from __future__ import annotations

from collections.abc import Callable

from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import sha256
from btcnode.primitives.tx import Tx
from btcnode.script.errors import ScriptError
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SIGHASH_ALL, SighashContext, tapleaf_hash
from btcnode.script.signatures import pubkey_create, sign_ecdsa, sign_schnorr, taproot_tweak_pubkey, xonly
from btcnode.testing.blocks import ANYONE_CAN_SPEND
from btcnode.testing.templates import TAPSCRIPT_LEAF, seckey
from tests.lib.block_cases import add_invalid
from tests.lib.block_lab import Lab, LabCoin, alter, sign, spend
from tests.lib.invalid_spends import p2sh, p2wsh

E = ScriptError
KEY = seckey(77_777)
PUB = pubkey_create(KEY)
LEGACY_LIMIT = 201  # opcodes


def script_failed(error: ScriptError) -> str:
    """Core's reject reason for a block with an input that fails so."""
    return f"block-script-verify-flag-failed ({error.text})"


# -- spends of the templates, bent -----------------------------------------------------------------------------------

Bend = Callable[[Tx], Tx]


def _push_parts(script: bytes) -> list[bytes]:
    """The pushed data of a script_sig of short pushes."""
    parts, p = [], 0
    while p < len(script):
        size = script[p]
        start = p + 1
        if size == 0x4C:
            size = script[start]
            start += 1
        parts.append(script[start : start + size])
        p = start + size
    return parts


def _flip_r(sig: bytes) -> bytes:
    """The signature with a bit of its middle changed, its form kept."""
    return sig[:12] + bytes([sig[12] ^ 1]) + sig[13:]


def _bend_item(index: int, change: Callable[[bytes], bytes]) -> Bend:
    """Change the pushed or witness item ``index`` of the only input."""

    def bend(tx: Tx) -> Tx:
        if tx.witnesses and tx.witnesses[0]:
            stack = list(tx.witnesses[0])
            stack[index] = change(stack[index])
            return alter(tx, witnesses=[stack])
        parts = _push_parts(tx.script_sigs[0])
        parts[index] = change(parts[index])
        return alter(tx, script_sigs=[b"".join(map(push_data, parts))])

    return bend


def _less_output(tx: Tx) -> Tx:
    value = int.from_bytes(tx.txouts[0][:8], "little")
    return alter(tx, txouts=[make_txout(value - 1, ANYONE_CAN_SPEND)])


def _bare(tx: Tx) -> Tx:
    return alter(tx, script_sigs=[b""], witnesses=None)


def _other_key(_: bytes) -> bytes:
    return PUB


def _not_der(sig: bytes) -> bytes:
    return b"\x31" + sig[1:]


def _hash_type(hash_type: int) -> Callable[[bytes], bytes]:
    return lambda sig: sig[:-1] + bytes([hash_type])


def _dummy(_: bytes) -> bytes:
    return b"\x01"


def _with_script_sig(script: bytes) -> Bend:
    return lambda tx: alter(tx, script_sigs=[script])


def _with_witness(*stack: bytes) -> Bend:
    return lambda tx: alter(tx, witnesses=[list(stack)])


def _swap_first_two_signatures(tx: Tx) -> Tx:
    if tx.witnesses and tx.witnesses[0]:
        stack = list(tx.witnesses[0])
        stack[1], stack[2] = stack[2], stack[1]
        return alter(tx, witnesses=[stack])
    parts = _push_parts(tx.script_sigs[0])
    parts[1], parts[2] = parts[2], parts[1]
    return alter(tx, script_sigs=[b"".join(map(push_data, parts))])


_BENT: list[tuple[str, str, ScriptError, Bend]] = [
    ("p2pkh", "signature_bent", E.EVAL_FALSE, _bend_item(0, _flip_r)),
    ("p2pkh", "signature_not_der_bip66", E.SIG_DER, _bend_item(0, _not_der)),
    ("p2pkh", "signature_padded_bip66", E.SIG_DER, _bend_item(0, lambda sig: sig[:-1] + b"\x00" + sig[-1:])),
    ("p2pkh", "hash_type_other", E.EVAL_FALSE, _bend_item(0, _hash_type(2))),
    ("p2pkh", "signature_empty", E.EVAL_FALSE, _bend_item(0, lambda _: b"")),
    ("p2pkh", "other_key", E.EQUALVERIFY, _bend_item(1, _other_key)),
    ("p2pkh", "output_changed", E.EVAL_FALSE, _less_output),
    ("p2pkh", "nothing_pushed", E.INVALID_STACK_OPERATION, _bare),
    ("p2pkh", "witness_beside", E.WITNESS_UNEXPECTED, _with_witness(b"\x01")),
    ("p2wpkh", "signature_bent", E.EVAL_FALSE, _bend_item(0, _flip_r)),
    ("p2wpkh", "signature_not_der", E.SIG_DER, _bend_item(0, _not_der)),
    ("p2wpkh", "other_key", E.EQUALVERIFY, _bend_item(1, _other_key)),
    ("p2wpkh", "output_changed", E.EVAL_FALSE, _less_output),
    ("p2wpkh", "witness_missing", E.WITNESS_PROGRAM_MISMATCH, _bare),
    ("p2wpkh", "one_item", E.WITNESS_PROGRAM_MISMATCH, _with_witness(b"\x01")),
    ("p2wpkh", "three_items", E.WITNESS_PROGRAM_MISMATCH, _with_witness(b"", b"", b"")),
    ("p2wpkh", "item_of_521_bytes", E.PUSH_SIZE, _with_witness(bytes(521), PUB)),
    ("p2wpkh", "script_sig_beside", E.WITNESS_MALLEATED, _with_script_sig(b"\x00")),
    ("p2sh-p2wpkh", "signature_bent", E.EVAL_FALSE, _bend_item(0, _flip_r)),
    ("p2sh-p2wpkh", "other_key", E.EQUALVERIFY, _bend_item(1, _other_key)),
    ("p2sh-p2wpkh", "witness_missing", E.WITNESS_PROGRAM_MISMATCH, lambda tx: alter(tx, witnesses=None)),
    ("p2sh-p2wpkh", "script_sig_missing", E.INVALID_STACK_OPERATION, _with_script_sig(b"")),
    ("p2sh-p2wpkh", "script_sig_of_another", E.EVAL_FALSE, _with_script_sig(push_data(b"\x00\x14" + bytes(20)))),
    (
        "p2sh-p2wpkh",
        "script_sig_with_a_push_before",
        E.WITNESS_MALLEATED_P2SH,
        lambda tx: alter(tx, script_sigs=[b"\x51" + tx.script_sigs[0]]),
    ),
    (
        "p2sh-p2wpkh",
        "script_sig_by_pushdata1",
        E.WITNESS_MALLEATED_P2SH,
        lambda tx: alter(tx, script_sigs=[b"\x4c" + tx.script_sigs[0]]),
    ),
    ("p2sh-multisig", "signature_bent", E.EVAL_FALSE, _bend_item(1, _flip_r)),
    ("p2sh-multisig", "signatures_in_wrong_order", E.EVAL_FALSE, _swap_first_two_signatures),
    ("p2sh-multisig", "dummy_not_empty_bip147", E.SIG_NULLDUMMY, _bend_item(0, _dummy)),
    ("p2sh-multisig", "redeem_script_bent", E.EVAL_FALSE, _bend_item(3, lambda script: script + b"\x61")),
    (
        "p2sh-multisig",
        "script_sig_not_push_only",
        E.SIG_PUSHONLY,
        lambda tx: alter(tx, script_sigs=[b"\x61" + tx.script_sigs[0]]),
    ),
    ("p2sh-multisig", "signature_not_der", E.SIG_DER, _bend_item(2, _not_der)),
    ("p2wsh-multisig", "signature_bent", E.EVAL_FALSE, _bend_item(1, _flip_r)),
    ("p2wsh-multisig", "signatures_in_wrong_order", E.EVAL_FALSE, _swap_first_two_signatures),
    ("p2wsh-multisig", "dummy_not_empty", E.SIG_NULLDUMMY, _bend_item(0, _dummy)),
    ("p2wsh-multisig", "script_bent", E.WITNESS_PROGRAM_MISMATCH, _bend_item(3, lambda script: script + b"\x61")),
    ("p2wsh-multisig", "witness_missing", E.WITNESS_PROGRAM_WITNESS_EMPTY, _bare),
    (
        "p2wsh-multisig",
        "item_too_many",
        E.CLEANSTACK,
        lambda tx: alter(tx, witnesses=[[b"\x01", *tx.witnesses[0]]]),
    ),
    (
        "p2wsh-multisig",
        "signature_missing",
        E.INVALID_STACK_OPERATION,
        lambda tx: alter(tx, witnesses=[tx.witnesses[0][1:]]),
    ),
    ("p2tr-key", "signature_bent", E.SCHNORR_SIG, _bend_item(0, _flip_r)),
    ("p2tr-key", "signature_of_63_bytes", E.SCHNORR_SIG_SIZE, _bend_item(0, lambda sig: sig[:63])),
    ("p2tr-key", "signature_of_66_bytes", E.SCHNORR_SIG_SIZE, _bend_item(0, lambda sig: sig + b"\x01\x01")),
    ("p2tr-key", "hash_type_written_out_zero", E.SCHNORR_SIG_HASHTYPE, _bend_item(0, lambda sig: sig + b"\x00")),
    ("p2tr-key", "hash_type_4", E.SCHNORR_SIG_HASHTYPE, _bend_item(0, lambda sig: sig + b"\x04")),
    ("p2tr-key", "hash_type_other", E.SCHNORR_SIG, _bend_item(0, lambda sig: sig + b"\x01")),
    ("p2tr-key", "output_changed", E.SCHNORR_SIG, _less_output),
    ("p2tr-key", "witness_missing", E.WITNESS_PROGRAM_WITNESS_EMPTY, _bare),
    ("p2tr-key", "signature_empty", E.SCHNORR_SIG_SIZE, _with_witness(b"")),
    ("p2tr-key", "script_sig_beside", E.WITNESS_MALLEATED, _with_script_sig(b"\x51")),
    (
        "p2tr-key",
        "annex_not_signed_for",
        E.SCHNORR_SIG,
        lambda tx: alter(tx, witnesses=[[*tx.witnesses[0], b"\x50\x00"]]),
    ),
    ("p2tr-script", "signature_bent", E.SCHNORR_SIG, _bend_item(0, _flip_r)),
    ("p2tr-script", "signature_empty", E.EVAL_FALSE, _bend_item(0, lambda _: b"")),
    ("p2tr-script", "script_bent", E.WITNESS_PROGRAM_MISMATCH, _bend_item(1, lambda script: script + b"\x61")),
    ("p2tr-script", "parity_wrong", E.WITNESS_PROGRAM_MISMATCH, _bend_item(2, lambda c: bytes([c[0] ^ 1]) + c[1:])),
    ("p2tr-script", "leaf_version_other", E.WITNESS_PROGRAM_MISMATCH, _bend_item(2, lambda c: bytes([0xC2]) + c[1:])),
    ("p2tr-script", "control_block_short", E.TAPROOT_WRONG_CONTROL_SIZE, _bend_item(2, lambda c: c[:-1])),
    ("p2tr-script", "control_block_long", E.TAPROOT_WRONG_CONTROL_SIZE, _bend_item(2, lambda c: c + b"\x00")),
    (
        "p2tr-script",
        "control_block_beyond_128",
        E.TAPROOT_WRONG_CONTROL_SIZE,
        _bend_item(2, lambda c: c + bytes(32 * 129)),
    ),
    ("p2tr-script", "path_added", E.WITNESS_PROGRAM_MISMATCH, _bend_item(2, lambda c: c + bytes(32))),
    (
        "p2tr-script",
        "item_too_many",
        E.CLEANSTACK,
        lambda tx: alter(tx, witnesses=[[b"\x01", *tx.witnesses[0]]]),
    ),
]


def _add_bent(template: str, name: str, error: ScriptError, bend: Bend) -> None:
    def make(lab: Lab) -> bytes:
        return lab.block(bend(sign([lab.coin_of(template)])))

    add_invalid(f"{template.replace('-', '_')}_{name}", script_failed(error), make)


for _template, _name, _error, _bend in _BENT:
    _add_bent(_template, _name, _error, _bend)


# -- scripts of their own --------------------------------------------------------------------------------------------


def spend_script(lab: Lab, script_pubkey: bytes, script_sig: bytes, witness: list[bytes], **how: int) -> bytes:
    """A block that pays to ``script_pubkey`` and spends it at once."""
    funding, (coin,) = lab.fund(script_pubkey)
    sequence = how.get("sequence", 0xFFFFFFFF)
    tx = spend(
        [coin],
        script_sigs=[script_sig],
        witnesses=[witness] if witness else None,
        sequences=[sequence],
        lock_time=how.get("lock_time", 0),
        version=how.get("version", 2),
    )
    return lab.block(funding, tx)


_BARE: list[tuple[str, ScriptError, bytes, bytes]] = [
    ("false", E.EVAL_FALSE, b"\x00", b""),
    ("negative_zero", E.EVAL_FALSE, b"\x01\x80", b""),
    ("empty", E.EVAL_FALSE, b"\x61", b""),
    ("op_return", E.OP_RETURN, b"\x51\x6a", b""),
    ("verify", E.VERIFY, b"\x00\x69\x51", b""),
    ("equalverify", E.EQUALVERIFY, b"\x51\x52\x88\x51", b""),
    ("numequalverify", E.NUMEQUALVERIFY, b"\x51\x52\x9d\x51", b""),
    ("checksigverify", E.CHECKSIGVERIFY, b"\x00" + push_data(PUB) + b"\xad\x51", b""),
    ("checkmultisigverify", E.CHECKMULTISIGVERIFY, b"\x00\x00\x51" + push_data(PUB) + b"\x51\xaf\x51", b""),
    ("disabled_cat", E.DISABLED_OPCODE, b"\x51\x51\x7e", b""),
    ("disabled_in_a_branch_not_taken", E.DISABLED_OPCODE, b"\x00\x63\x95\x68\x51", b""),
    ("reserved", E.BAD_OPCODE, b"\x51\x50", b""),
    ("verif_in_a_branch_not_taken", E.BAD_OPCODE, b"\x00\x63\x65\x68\x51", b""),
    ("opcode_ff", E.BAD_OPCODE, b"\x51\xff", b""),
    ("push_cut_short", E.BAD_OPCODE, b"\x51\x05\x01", b""),
    ("stack_underflow", E.INVALID_STACK_OPERATION, b"\x93", b""),
    ("altstack_underflow", E.INVALID_ALTSTACK_OPERATION, b"\x6c", b""),
    ("if_open", E.UNBALANCED_CONDITIONAL, b"\x51\x63\x51", b""),
    ("endif_alone", E.UNBALANCED_CONDITIONAL, b"\x51\x68", b""),
    ("if_spread_over_both_scripts", E.UNBALANCED_CONDITIONAL, b"\x51\x68", b"\x51\x63"),
    ("number_of_5_bytes", E.SCRIPTNUM, b"\x05\x01\x01\x01\x01\x01\x8b", b""),
    ("pubkeys_21", E.PUBKEY_COUNT, b"\x00\x00\x01\x15\xae", b""),
    ("signatures_above_keys", E.SIG_COUNT, b"\x00\x52" + push_data(PUB) + b"\x51\xae", b""),
    ("push_of_521_bytes", E.PUSH_SIZE, b"\x4d\x09\x02" + bytes(521) + b"\x51", b""),
    ("operations_202", E.OP_COUNT, b"\x61" * (LEGACY_LIMIT + 1) + b"\x51", b""),
    ("stack_of_1001", E.STACK_SIZE, b"\x51" * 1001, b""),
    ("script_sig_of_10001_bytes", E.SCRIPT_SIZE, b"\x51", b"\x61" * 10_001),
    ("cltv_negative", E.NEGATIVE_LOCKTIME, b"\x4f\xb1", b""),
    ("cltv_not_reached", E.UNSATISFIED_LOCKTIME, b"\x02\xff\x7f\xb1", b""),
    ("cltv_of_the_other_kind", E.UNSATISFIED_LOCKTIME, b"\x04\x00\x65\xcd\x1d\xb1", b""),
    ("cltv_empty_stack", E.INVALID_STACK_OPERATION, b"\xb1", b""),
    ("csv_negative", E.NEGATIVE_LOCKTIME, b"\x4f\xb2", b""),
    ("csv_disabled_sequence", E.UNSATISFIED_LOCKTIME, b"\x51\xb2", b""),
]

for _name, _error, _script, _script_sig in _BARE:

    def _bare_spend(lab: Lab, script: bytes = _script, script_sig: bytes = _script_sig) -> bytes:
        return spend_script(lab, script, script_sig, [])

    add_invalid(f"script_{_name}", script_failed(_error), _bare_spend)


def _p2sh_fails(name: str, error: ScriptError, redeem: bytes, before: bytes = b"") -> None:
    def make(lab: Lab) -> bytes:
        return spend_script(lab, p2sh(redeem), before + push_data(redeem), [])

    add_invalid(f"p2sh_{name}", script_failed(error), make)


def _p2wsh_fails(name: str, error: ScriptError, script: bytes, *items: bytes) -> None:
    def make(lab: Lab) -> bytes:
        return spend_script(lab, p2wsh(script), b"", [*items, script])

    add_invalid(f"p2wsh_{name}", script_failed(error), make)


_p2sh_fails("false", E.EVAL_FALSE, b"\x00")
_p2sh_fails("op_return", E.OP_RETURN, b"\x6a")
_p2sh_fails("witness_program_of_wrong_length", E.WITNESS_PROGRAM_WRONG_LENGTH, b"\x00\x02\x01\x02")
_p2wsh_fails("false", E.EVAL_FALSE, b"\x00")
_p2wsh_fails("stack_not_clean", E.CLEANSTACK, b"\x51\x51")
_p2wsh_fails("stack_empty", E.CLEANSTACK, b"\x61")
_p2wsh_fails("script_of_10001_bytes", E.SCRIPT_SIZE, b"\x61" * 10_000 + b"\x51")
_p2wsh_fails("item_of_521_bytes", E.PUSH_SIZE, b"\x75\x51", bytes(521))
_p2wsh_fails("operations_202", E.OP_COUNT, b"\x61" * 202 + b"\x51")
_p2wsh_fails("disabled_opcode", E.DISABLED_OPCODE, b"\x51\x51\x7e")
_p2wsh_fails("stack_of_1001_items", E.STACK_SIZE, b"\x51", *[b""] * 1001)


# -- versions and locks ----------------------------------------------------------------------------------------------


def _add(name: str, error: ScriptError, make: Callable[[Lab], bytes]) -> None:
    add_invalid(name, script_failed(error), make)


_add(
    "witness_v0_program_of_21_bytes",
    E.WITNESS_PROGRAM_WRONG_LENGTH,
    lambda lab: spend_script(lab, b"\x00\x15" + b"\x01" * 21, b"", [b"\x01"]),
)
_add(
    "cltv_input_final",
    E.UNSATISFIED_LOCKTIME,
    lambda lab: spend_script(lab, b"\x51\xb1", b"", [], lock_time=1),
)
_add(
    "cltv_one_more_than_lock_time",
    E.UNSATISFIED_LOCKTIME,
    lambda lab: spend_script(lab, b"\x5a\xb1", b"", [], lock_time=9, sequence=0),
)
_add(
    "csv_version_1",
    E.UNSATISFIED_LOCKTIME,
    lambda lab: spend_script(lab, b"\x00\xb2\x51", b"", [], version=1, sequence=0),
)
_add(
    "csv_more_than_sequence",
    E.UNSATISFIED_LOCKTIME,
    lambda lab: spend_script(lab, b"\x51\xb2\x51", b"", [], sequence=0),
)
_add(
    "csv_time_against_height",
    E.UNSATISFIED_LOCKTIME,
    lambda lab: spend_script(lab, push_data(b"\x00\x00\x40") + b"\xb2\x51", b"", [], sequence=0),
)


# -- taproot scripts -------------------------------------------------------------------------------------------------


def taproot_leaf(script: bytes, version: int = TAPSCRIPT_LEAF) -> tuple[bytes, bytes]:
    """The script_pubkey whose only leaf is ``script``, and the control block to spend it."""
    internal = xonly(KEY)
    output, parity = taproot_tweak_pubkey(internal, tapleaf_hash(version, script))
    return b"\x51\x20" + output, bytes([version | parity]) + internal


def spend_leaf(lab: Lab, script: bytes, *items: bytes) -> bytes:
    """A block that pays to a taproot leaf and spends it at once."""
    script_pubkey, control = taproot_leaf(script)
    return spend_script(lab, script_pubkey, b"", [*items, script, control])


_LEAVES: list[tuple[str, ScriptError, bytes, list[bytes]]] = [
    ("false", E.EVAL_FALSE, b"\x00", []),
    ("stack_not_clean", E.CLEANSTACK, b"\x51\x51", []),
    ("checkmultisig", E.TAPSCRIPT_CHECKMULTISIG, b"\x00\x00\x00\xae", []),
    ("if_not_minimal", E.TAPSCRIPT_MINIMALIF, b"\x63\x51\x68", [b"\x02"]),
    ("pubkey_empty", E.TAPSCRIPT_EMPTY_PUBKEY, b"\x00\x00\xac", []),
    ("signature_of_one_byte", E.SCHNORR_SIG_SIZE, push_data(xonly(KEY)) + b"\xac", [b"\x01"]),
    ("signature_of_another", E.SCHNORR_SIG, push_data(xonly(KEY)) + b"\xac", [b"\x01" * 64]),
    ("budget", E.TAPSCRIPT_VALIDATION_WEIGHT, b"\x02\x01\x01\x7c\x76\x02\x01\x01\xac\x69" * 4 + b"\x51", [b"\x01"] * 5),
    ("item_of_521_bytes", E.PUSH_SIZE, b"\x75\x51", [bytes(521)]),
    ("reserved_opcode", E.BAD_OPCODE, b"\x51\x65", []),
    ("stack_of_1001_items", E.STACK_SIZE, b"\x51", [b""] * 1001),
]

for _name, _error, _script, _items in _LEAVES:

    def _leaf_spend(lab: Lab, script: bytes = _script, items: tuple[bytes, ...] = tuple(_items)) -> bytes:
        return spend_leaf(lab, script, *items)

    _add(f"tapscript_{_name}", _error, _leaf_spend)


# -- which input, which transaction ----------------------------------------------------------------------------------


def _last_of_many_inputs(lab: Lab) -> bytes:
    coins = [lab.coin_of(template) for template in ("p2wpkh", "p2tr-key", "p2pkh", "p2wpkh")]
    tx = sign(coins)
    stack = [_flip_r(tx.witnesses[3][0]), tx.witnesses[3][1]]
    return lab.block(alter(tx, witnesses=[*tx.witnesses[:3], stack]))


def _one_bad_transaction_among_many(lab: Lab) -> bytes:
    good = [sign([lab.coin_of("p2tr-key")]) for _ in range(6)]
    bad = _bend_item(0, _flip_r)(sign([lab.coin_of("p2wpkh")]))
    return lab.block(*good[:5], bad, good[5])


def _signed_for_another_amount(lab: Lab) -> bytes:
    coin = lab.coin_of("p2wpkh")
    lying = LabCoin(coin.outpoint, coin.value + 1, coin.script_pubkey, coin.height, coin.how)
    return lab.block(sign([lying], [make_txout(coin.value, ANYONE_CAN_SPEND)]))


def _witness_of_another_input(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2tr-key"), lab.coin_of("p2tr-key")])
    return lab.block(alter(tx, witnesses=[tx.witnesses[0], tx.witnesses[0]]))


def _signature_without_its_separator(lab: Lab) -> bytes:
    """Signed for the whole script, although OP_CODESEPARATOR cuts it before the signature is checked."""
    script = b"\xab" + push_data(PUB) + b"\xac"
    funding, (coin,) = lab.fund(p2wsh(script))
    blank = spend([coin])
    digest = SighashContext(blank, [coin.txout]).segwit_v0(0, script, coin.txout[:8], SIGHASH_ALL)
    return lab.block(funding, alter(blank, witnesses=[[sign_ecdsa(KEY, digest) + b"\x01", script]]))


def _schnorr_where_ecdsa_is_due(lab: Lab) -> bytes:
    script = push_data(PUB) + b"\xac"
    funding, (coin,) = lab.fund(p2wsh(script))
    return lab.block(funding, spend([coin], witnesses=[[sign_schnorr(KEY, sha256(script).digest()), script]]))


_add("input_last_of_four_fails", E.EVAL_FALSE, _last_of_many_inputs)
_add("transaction_sixth_of_seven_fails", E.EVAL_FALSE, _one_bad_transaction_among_many)
_add("signature_for_another_amount", E.EVAL_FALSE, _signed_for_another_amount)
_add("witness_of_another_input", E.SCHNORR_SIG, _witness_of_another_input)
_add("signature_ignores_its_separator", E.EVAL_FALSE, _signature_without_its_separator)
_add("schnorr_where_ecdsa_is_due", E.SIG_DER, _schnorr_where_ecdsa_is_due)
