"""Corners of the interpreter, witness programs and tapscript that are easy to get wrong."""

from __future__ import annotations

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import Tx
from btcnode.script.checker import InputChecker, TaprootSpend
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import (
    MANDATORY_VERIFY_FLAGS,
    STANDARD_VERIFY_FLAGS,
    VERIFY_CHECKLOCKTIMEVERIFY,
    VERIFY_CHECKSEQUENCEVERIFY,
    VERIFY_CONST_SCRIPTCODE,
    VERIFY_NONE,
    VERIFY_NULLFAIL,
    VERIFY_P2SH,
    VERIFY_WITNESS,
)
from btcnode.script.interpreter import eval_script
from btcnode.script.machine import SigVersion
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import NO_CODESEPARATOR, SighashContext, tapleaf_hash
from btcnode.script.signatures import pubkey_create, sign_ecdsa, sign_schnorr, taproot_tweak_pubkey, xonly
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_input, verify_jobs, verify_transaction

SECRET = bytes(31) + b"\x07"
TAPSCRIPT, V0, BASE = SigVersion.TAPSCRIPT, SigVersion.WITNESS_V0, SigVersion.BASE


def spend_of(
    script_pubkey: bytes,
    witness: list[bytes] | None = None,
    script_sig: bytes = b"",
    *,
    version: int = 2,
    sequence: int = 0,
    lock_time: int = 0,
) -> tuple[Tx, list[bytes]]:
    """A transaction that spends one output of 1,000 satoshi, and that output."""
    stacks = None if witness is None else [witness]
    tx = Tx(version, [b"\x11" * 36], [script_sig], [sequence], [make_txout(900, b"\x51")], stacks, lock_time)
    return tx, [make_txout(1000, script_pubkey)]


def evaluate(
    script: bytes,
    stack: list[bytes] | None = None,
    flags: int = MANDATORY_VERIFY_FLAGS,
    sigversion: SigVersion = BASE,
    spend: TaprootSpend | None = None,
    **tx_fields: int,
) -> list[bytes] | ScriptError:
    """The stack that a script leaves, or its error."""
    tx, spent = spend_of(script, **tx_fields)  # type: ignore[arg-type]
    items = list(stack or [])
    if sigversion == TAPSCRIPT and spend is None:
        spend = TaprootSpend(None, bytes(32), 10_000)
    try:
        eval_script(items, script, flags, InputChecker(SighashContext(tx, spent), 0), sigversion, spend)
    except ScriptAbort as abort:
        return abort.error
    return items


def test_stack_operations() -> None:
    one_to_six = [bytes((n,)) for n in range(1, 7)]
    for opcode, left in (
        (0x6D, "1234"), (0x6E, "12345656"), (0x6F, "123456456"), (0x70, "12345634"), (0x71, "345612"),
        (0x72, "125634"), (0x73, "1234566"), (0x75, "12345"), (0x76, "1234566"), (0x77, "12346"), (0x78, "1234565"),
        (0x7B, "123564"), (0x7C, "123465"), (0x7D, "1234656"), (0x74, "1234566"), (0x82, "1234561"),
    ):  # fmt: skip
        assert evaluate(bytes((opcode,)), one_to_six) == [bytes((int(n),)) for n in left], hex(opcode)
    assert evaluate(b"\x52\x79", one_to_six) == [*one_to_six, b"\x04"]
    assert evaluate(b"\x52\x7a", one_to_six) == [b"\1", b"\2", b"\3", b"\5", b"\6", b"\4"]
    assert evaluate(b"\x56\x79", one_to_six) == ScriptError.INVALID_STACK_OPERATION
    assert evaluate(b"\x6b\x51\x6c", [b"x"]) == [b"\1", b"x"]
    assert evaluate(b"\x6c") == ScriptError.INVALID_ALTSTACK_OPERATION
    assert evaluate(b"\x73", [b"\x00\x80"]) == [b"\x00\x80"]  # negative zero is false


@pytest.mark.parametrize(
    ("opcode", "needed"),
    [(0x69, 1), (0x6B, 1), (0x6D, 2), (0x6F, 3), (0x70, 4), (0x71, 6), (0x72, 4), (0x73, 1), (0x77, 2), (0x7A, 2),
     (0x7B, 3), (0x7D, 2), (0x82, 1), (0x88, 2), (0x93, 2), (0x9D, 2), (0xA5, 3), (0xA9, 1), (0xAC, 2), (0xAE, 1)],
)  # fmt: skip
def test_too_few_elements(opcode: int, needed: int) -> None:
    assert evaluate(bytes((opcode,)), [b"\1"] * (needed - 1)) == ScriptError.INVALID_STACK_OPERATION


def test_results_may_exceed_what_operands_may() -> None:
    big = b"\xff\xff\xff\x7f"
    assert evaluate(b"\x93", [big, big]) == [encode_number(2 * (2**31 - 1))]
    assert evaluate(b"\x93\x8b", [big, big]) == ScriptError.SCRIPTNUM
    assert evaluate(b"\x94", [b"", b"\x05"]) == [b"\x85"]
    assert evaluate(b"\xa5", [b"\x05", b"\x05", b"\x06"]) == [b"\x01"]
    assert evaluate(b"\xa5", [b"\x06", b"\x05", b"\x06"]) == [b""]


def test_branches() -> None:
    assert evaluate(b"\x51\x63\x52\x67\x53\x68") == [b"\x02"]
    assert evaluate(b"\x00\x63\x52\x67\x53\x67\x54\x67\x55\x68") == [b"\x03", b"\x05"]
    assert evaluate(b"\x00\x63\x51\x63\x67\x67\x68\x52\x68") == []  # inner ELSEs of a branch not taken
    assert evaluate(b"\x51\x64\x6a\x68\x51") == [b"\x01"]
    for script in (b"\x51\x63", b"\x67", b"\x68", b"\x51\x63\x68\x68"):
        assert evaluate(script) == ScriptError.UNBALANCED_CONDITIONAL
    assert evaluate(b"\x63\x68") == ScriptError.INVALID_STACK_OPERATION
    assert evaluate(b"\x00\x63\x65\x68") == ScriptError.BAD_OPCODE  # OP_VERIF anywhere
    assert evaluate(b"\x00\x63\x62\x50\xba\xff\x68\x51") == [b"\x01"]  # OP_VER, OP_RESERVED, unknown: only if executed
    assert evaluate(b"\x00\x63\x7e\x68") == ScriptError.DISABLED_OPCODE  # disabled anywhere (CVE-2010-5137)
    assert evaluate(b"\x00\x63\x02a") == ScriptError.BAD_OPCODE
    assert evaluate(b"\x00\x63" + push_data(bytes(521)) + b"\x68") == ScriptError.PUSH_SIZE


def test_minimal_if() -> None:
    for sigversion, flags, error in (
        (BASE, STANDARD_VERIFY_FLAGS, None),
        (V0, MANDATORY_VERIFY_FLAGS, None),
        (V0, STANDARD_VERIFY_FLAGS, ScriptError.MINIMALIF),
        (TAPSCRIPT, MANDATORY_VERIFY_FLAGS, ScriptError.TAPSCRIPT_MINIMALIF),
    ):
        for condition in (b"\x02", b"\x01\x00", b"\x00"):
            result = evaluate(b"\x63\x68\x51", [condition], flags, sigversion)
            assert result == (error or [b"\x01"]), (sigversion, condition)
        assert evaluate(b"\x63\x68\x51", [b""], flags, sigversion) == [b"\x01"]


def test_limits() -> None:
    assert evaluate(b"\x61" * 201) == []
    assert evaluate(b"\x61" * 202) == ScriptError.OP_COUNT
    assert evaluate(b"\x50" * 1) == ScriptError.BAD_OPCODE
    assert evaluate(b"\x00\x63" + b"\x50" * 300 + b"\x68") == []  # OP_RESERVED is no operation
    assert evaluate(b"\x61" * 202, sigversion=TAPSCRIPT) == []
    assert evaluate(b"\x51" * 1000) == [b"\x01"] * 1000
    assert evaluate(b"\x51" * 1001) == ScriptError.STACK_SIZE
    assert evaluate(b"\x51" * 501 + b"\x6b" * 100 + b"\x51" * 500) == ScriptError.STACK_SIZE
    assert evaluate(bytes(10001)) == ScriptError.SCRIPT_SIZE
    assert evaluate(b"\x6d\x51" + b"\x75" * 0, [b""] * 1001, sigversion=V0) == [b""] * 999 + [b"\x01"]
    assert evaluate(b"\x61", [b""] * 1001, sigversion=V0) == ScriptError.STACK_SIZE


def test_multisig_counts_its_keys_as_operations() -> None:
    keys = b"\x51" * 20
    twenty = b"\x00\x00" + keys + b"\x01\x14\xae\x75"  # 0 of 20: 22 operations with the DROP
    assert evaluate(twenty * 9 + b"\x61" * 3) == []
    assert evaluate(twenty * 9 + b"\x61" * 4) == ScriptError.OP_COUNT
    assert evaluate(b"\x00\x00" + b"\x51" * 21 + b"\x01\x15\xae") == ScriptError.PUBKEY_COUNT
    assert evaluate(b"\x00\x52\x51\x51\xae") == ScriptError.SIG_COUNT
    assert evaluate(b"\x00\x4f\x51\x51\xae") == ScriptError.SIG_COUNT
    assert evaluate(b"\x00\x00\xae") == ScriptError.INVALID_STACK_OPERATION  # the element too many is missing


def test_multisig_order_and_dummy() -> None:
    keys = [pubkey_create(bytes(31) + bytes((n,))) for n in (1, 2, 3)]
    script = b"\x52" + b"".join(push_data(key) for key in keys) + b"\x53\xae"
    tx, spent = spend_of(script)
    digest = SighashContext(tx, spent).legacy(0, script, 1)
    sigs = [sign_ecdsa(bytes(31) + bytes((n,)), digest) + b"\x01" for n in (1, 2, 3)]

    def outcome(dummy: bytes, first: bytes, second: bytes, flags: int) -> ScriptError | None:
        script_sig = push_data(dummy) + push_data(first) + push_data(second)
        return verify_input(spend_of(script, None, script_sig)[0], 0, spent, flags)

    for pair in ((0, 1), (0, 2), (1, 2)):
        assert outcome(b"", sigs[pair[0]], sigs[pair[1]], STANDARD_VERIFY_FLAGS) is None
        assert outcome(b"", sigs[pair[1]], sigs[pair[0]], MANDATORY_VERIFY_FLAGS) == ScriptError.EVAL_FALSE
        assert outcome(b"", sigs[pair[1]], sigs[pair[0]], VERIFY_NULLFAIL) == ScriptError.NULLFAIL
    assert outcome(b"x", sigs[0], sigs[1], MANDATORY_VERIFY_FLAGS) == ScriptError.SIG_NULLDUMMY
    assert outcome(b"x", sigs[0], sigs[1], VERIFY_NONE) is None


def test_separator_and_find_and_delete() -> None:
    """A signature covers the script from the last separator on, without itself (CVE-2024-38365 is its mishandling)."""
    key = pubkey_create(SECRET)
    tail = push_data(key) + b"\xac"
    script = b"\x51\x75\xab" + tail
    tx, spent = spend_of(script)
    sig = sign_ecdsa(SECRET, SighashContext(tx, spent).legacy(0, tail, 1)) + b"\x01"
    signed = spend_of(script, None, push_data(sig))[0]
    assert verify_input(signed, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    assert verify_input(signed, 0, spent, VERIFY_CONST_SCRIPTCODE) == ScriptError.OP_CODESEPARATOR
    code = b"\x75" + tail  # a script that holds its own signature: it covers what is left without it
    sig = sign_ecdsa(SECRET, SighashContext(tx, spent).legacy(0, code, 1)) + b"\x01"
    signed, spent = spend_of(push_data(sig) + code, None, push_data(sig))
    assert verify_input(signed, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    assert verify_input(signed, 0, spent, VERIFY_CONST_SCRIPTCODE) == ScriptError.SIG_FINDANDDELETE
    _, other = spend_of(push_data(sig[:-1] + b"\x02") + code)  # one byte differs: nothing to delete
    assert verify_input(signed, 0, other, MANDATORY_VERIFY_FLAGS) == ScriptError.EVAL_FALSE


@pytest.mark.parametrize(
    ("operand", "lock_time", "sequence", "result"),
    [
        (10, 10, 0, None),
        (11, 10, 0, ScriptError.UNSATISFIED_LOCKTIME),
        (10, 500_000_000, 0, ScriptError.UNSATISFIED_LOCKTIME),
        (500_000_000, 500_000_000, 0, None),
        (10, 10, 0xFFFFFFFF, ScriptError.UNSATISFIED_LOCKTIME),
        (2**32 - 1, 2**32 - 1, 0, None),
        (-1, 10, 0, ScriptError.NEGATIVE_LOCKTIME),
        (2**39, 10, 0, ScriptError.SCRIPTNUM),
    ],
)
def test_checklocktimeverify(operand: int, lock_time: int, sequence: int, result: ScriptError | None) -> None:
    item = encode_number(operand)
    flags = VERIFY_CHECKLOCKTIMEVERIFY
    assert evaluate(b"\xb1", [item], flags, lock_time=lock_time, sequence=sequence) == (result or [item])
    assert evaluate(b"\xb1", [], VERIFY_NONE) == []
    assert evaluate(b"\xb1", [], flags) == ScriptError.INVALID_STACK_OPERATION


@pytest.mark.parametrize(
    ("operand", "sequence", "version", "result"),
    [
        (10, 10, 2, None),
        (10, 10, 1, ScriptError.UNSATISFIED_LOCKTIME),
        (10, 10, 0, ScriptError.UNSATISFIED_LOCKTIME),
        (10, 10, 0xFFFFFFFF, None),  # CVE-2024-34478: the version is unsigned
        (10, 10, 0x80000000, None),
        (11, 10, 2, ScriptError.UNSATISFIED_LOCKTIME),
        (10, 1 << 31 | 10, 2, ScriptError.UNSATISFIED_LOCKTIME),
        (1 << 31, 0, 1, None),
        (1 << 22 | 5, 1 << 22 | 5, 2, None),
        (5, 1 << 22 | 5, 2, ScriptError.UNSATISFIED_LOCKTIME),
        (0x10005, 5, 2, None),  # bits without a meaning do not count
        (-1, 5, 2, ScriptError.NEGATIVE_LOCKTIME),
    ],
)
def test_checksequenceverify(operand: int, sequence: int, version: int, result: ScriptError | None) -> None:
    item = encode_number(operand)
    flags = VERIFY_CHECKSEQUENCEVERIFY
    assert evaluate(b"\xb2", [item], flags, sequence=sequence, version=version) == (result or [item])


def test_witness_programs() -> None:
    script = b"\x51"
    p2wsh = b"\x00\x20" + sha256(script).digest()
    nested = b"\xa9\x14" + hash160(p2wsh) + b"\x87"
    cases: list[tuple[bytes, list[bytes], bytes, ScriptError | None]] = [
        (p2wsh, [script], b"", None),
        (p2wsh, [], b"", ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY),
        (p2wsh, [b"\x52"], b"", ScriptError.WITNESS_PROGRAM_MISMATCH),
        (p2wsh, [b"", script], b"", ScriptError.CLEANSTACK),
        (p2wsh, [bytes(521), script], b"", ScriptError.PUSH_SIZE),
        (p2wsh, [script], b"\x51", ScriptError.WITNESS_MALLEATED),
        (nested, [script], push_data(p2wsh), None),
        (nested, [script], b"\x00" + push_data(p2wsh), ScriptError.WITNESS_MALLEATED_P2SH),
        (b"\x51", [script], b"", ScriptError.WITNESS_UNEXPECTED),
        (b"\x00\x15" + bytes(20) + b"\x01", [script], b"", ScriptError.WITNESS_PROGRAM_WRONG_LENGTH),
        (b"\x00\x20" + bytes(32), [script], b"", ScriptError.EVAL_FALSE),  # the program itself is on the stack
        (b"\x00\x14" + b"\x01" * 20, [script], b"", ScriptError.WITNESS_PROGRAM_MISMATCH),
        (b"\x51\x02\x4e\x73", [b"anything"], b"", None),  # pay to anchor
        (b"\x60\x02ab", [b"anything"], b"", None),
    ]
    for script_pubkey, witness, script_sig, expected in cases:
        tx, spent = spend_of(script_pubkey, witness, script_sig)
        assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) == expected, script_pubkey.hex()
    anchor, unknown = (spend_of(case[0], case[1]) for case in cases[-2:])
    assert verify_input(anchor[0], 0, anchor[1], STANDARD_VERIFY_FLAGS) is None
    error = verify_input(unknown[0], 0, unknown[1], STANDARD_VERIFY_FLAGS)
    assert error == ScriptError.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM
    p2sh_of_v1 = b"\x51\x20" + b"\x01" * 32
    tx, spent = spend_of(b"\xa9\x14" + hash160(p2sh_of_v1) + b"\x87", [b"x"], push_data(p2sh_of_v1))
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) is None  # taproot is never nested


def tapscript_spend(
    script: bytes, stack: list[bytes], annex: bytes | None = None, leaf_version: int = 0xC0
) -> tuple[Tx, list[bytes], bytes]:
    """A script-path spend of a tree of one leaf; also the leaf hash."""
    leaf = tapleaf_hash(leaf_version, script)
    output, parity = taproot_tweak_pubkey(xonly(SECRET), leaf)
    witness = [*stack, script, bytes((leaf_version | parity,)) + xonly(SECRET)]
    if annex is not None:
        witness.append(annex)
    tx, spent = spend_of(b"\x51\x20" + output, witness)
    return tx, spent, leaf


def test_tapscript_success_overrides_everything() -> None:
    for script, expected in (
        (b"\x50", None),
        (b"\x50\x05", None),  # before the truncated push
        (b"\x05\x50", ScriptError.BAD_OPCODE),  # inside it
        (b"\x00\x63\xfe", None),  # not executed, unbalanced
        (push_data(bytes(521)) + b"\xbb", None),
        (b"\xff", ScriptError.BAD_OPCODE),
    ):
        tx, spent, _ = tapscript_spend(script, [bytes(600)] * 3)
        result = verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS)
        if script == b"\xff":
            expected = ScriptError.PUSH_SIZE  # the elements are looked at before the script runs
        assert result == expected, script.hex()
    tx, spent, _ = tapscript_spend(b"\x50", [])
    assert verify_input(tx, 0, spent, STANDARD_VERIFY_FLAGS) == ScriptError.DISCOURAGE_OP_SUCCESS


def test_tapscript_limits() -> None:
    tx, spent, _ = tapscript_spend(b"\x51", [b""] * 1001)
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) == ScriptError.STACK_SIZE
    long = b"\x61" * 20_000 + b"\x51"  # neither size nor number of operations is limited
    tx, spent, _ = tapscript_spend(long, [])
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    deep = (b"\x00\x63" + b"\x51\x63" * 100_000 + b"\x68" * 100_001) + b"\x51"
    tx, spent, _ = tapscript_spend(deep, [])
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    assert evaluate(b"\x00\x00\x00\xae", sigversion=TAPSCRIPT) == ScriptError.TAPSCRIPT_CHECKMULTISIG
    assert evaluate(b"\xba", [b"", b"", b"\1" * 32]) == ScriptError.BAD_OPCODE
    assert evaluate(b"\xba", [b"", b"\x05", b"\1" * 32], sigversion=TAPSCRIPT) == [b"\x05"]
    assert evaluate(b"\xac", [b"", b""], sigversion=TAPSCRIPT) == ScriptError.TAPSCRIPT_EMPTY_PUBKEY
    assert evaluate(b"\xba", [b"sig", b"\x05", b"\1" * 33], sigversion=TAPSCRIPT) == [b"\x06"]  # unknown key type


def test_signature_budget() -> None:
    """50 for each signature that is not empty, unknown key types included; the witness's size and 50 pay."""
    script = b"\xad" * 2 + b"\x51"
    for weight, expected in ((100, [b"\x01"]), (99, ScriptError.TAPSCRIPT_VALIDATION_WEIGHT)):
        spend = TaprootSpend(None, bytes(32), weight)
        result = evaluate(script, [b"s", b"k" * 33, b"s", b"k" * 33], sigversion=TAPSCRIPT, spend=spend)
        assert result == expected
    spend = TaprootSpend(None, bytes(32), 0)
    assert evaluate(b"\xac" * 1, [b"", b"k" * 33], sigversion=TAPSCRIPT, spend=spend) == [b""]


def test_tapscript_separator_counts_opcodes() -> None:
    """The position is the index among all opcodes, pushes and unexecuted ones included."""
    key = xonly(SECRET)
    start = push_data(b"abc" * 30) + b"\x75\x00\x63\x51\xab\x68"  # the separator within the branch is not executed
    script = start + b"\xab" + push_data(key) + b"\xac"
    for position, expected in ((7, None), (6, ScriptError.SCHNORR_SIG), (NO_CODESEPARATOR, ScriptError.SCHNORR_SIG)):
        tx, spent, leaf = tapscript_spend(script, [bytes(64)])
        digest = SighashContext(tx, spent).taproot(0, 0, None, leaf, position)
        assert digest is not None
        tx, spent, _ = tapscript_spend(script, [sign_schnorr(SECRET, digest)])
        assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) == expected, position


def test_leaf_versions_and_control_blocks() -> None:
    tx, spent, _ = tapscript_spend(b"\x6a", [], leaf_version=0xC2)
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    error = verify_input(tx, 0, spent, STANDARD_VERIFY_FLAGS)
    assert error == ScriptError.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION
    for size in (0, 32, 34, 64, 33 + 32 * 129):
        short, outputs = spend_of(spent[0][9:], [b"\x51", bytes(size)])
        error = verify_input(short, 0, outputs, MANDATORY_VERIFY_FLAGS)
        assert error == ScriptError.TAPROOT_WRONG_CONTROL_SIZE, size
    wrong, outputs = spend_of(spent[0][9:], [b"\x51", bytes(33 + 32 * 128)])
    assert verify_input(wrong, 0, outputs, MANDATORY_VERIFY_FLAGS) == ScriptError.WITNESS_PROGRAM_MISMATCH
    tx, spent, _ = tapscript_spend(b"\x51", [], annex=b"\x50")
    assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) is None
    empty, outputs = spend_of(spent[0][9:], [])
    assert verify_input(empty, 0, outputs, MANDATORY_VERIFY_FLAGS) == ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY
    assert verify_input(empty, 0, outputs, VERIFY_P2SH | VERIFY_WITNESS) is None


def test_key_path_signature_sizes() -> None:
    output, _ = taproot_tweak_pubkey(xonly(SECRET))
    for sig, expected in (
        (b"", ScriptError.SCHNORR_SIG_SIZE),
        (bytes(63), ScriptError.SCHNORR_SIG_SIZE),
        (bytes(64), ScriptError.SCHNORR_SIG),
        (bytes(65), ScriptError.SCHNORR_SIG_HASHTYPE),
        (bytes(64) + b"\x04", ScriptError.SCHNORR_SIG_HASHTYPE),
        (bytes(64) + b"\x01", ScriptError.SCHNORR_SIG),
    ):
        tx, spent = spend_of(b"\x51\x20" + output, [sig])
        assert verify_input(tx, 0, spent, MANDATORY_VERIFY_FLAGS) == expected


class CountingCache:
    """An execution cache that counts what it is asked."""

    def __init__(self) -> None:
        self.known: set[tuple[bytes, int]] = set()
        self.asked = 0

    def contains(self, wtxid: bytes, flags: int) -> bool:
        self.asked += 1
        return (wtxid, flags) in self.known

    def add(self, wtxid: bytes, flags: int) -> None:
        self.known.add((wtxid, flags))


def test_transactions_and_jobs() -> None:
    tx = Tx(1, [b"\x01" * 36, b"\x02" * 36], [b"\x51", b""], [0, 0], [make_txout(1, b"")])
    good, bad = [make_txout(1, b"\x51")] * 2, [make_txout(1, b"\x51"), make_txout(1, b"\x51\x69")]
    cache = CountingCache()
    failure = ScriptFailure(1, ScriptError.EVAL_FALSE)
    assert verify_transaction(tx.raw, bad, MANDATORY_VERIFY_FLAGS, cache) == failure
    assert not cache.known
    assert verify_transaction(tx, good, MANDATORY_VERIFY_FLAGS, cache) is None
    assert cache.known == {(tx.wtxid, MANDATORY_VERIFY_FLAGS)}
    assert verify_transaction(tx, bad, MANDATORY_VERIFY_FLAGS, cache) is None  # known under these flags: not looked at
    assert verify_transaction(tx, bad, VERIFY_P2SH, cache) == failure
    assert cache.asked == 4
    job, broken = (ScriptJob(tx.raw, spent, MANDATORY_VERIFY_FLAGS) for spent in (good, bad))
    assert verify_jobs([]) is None and verify_jobs([job, job]) is None
    assert verify_jobs([job, broken, broken]) == (1, failure)
    with pytest.raises(ValueError):
        verify_transaction(tx, good, VERIFY_WITNESS)
    with pytest.raises(ValueError):
        verify_transaction(tx, good[:1], VERIFY_NONE)
    with pytest.raises(DecodeError):
        verify_transaction(tx.raw[:-1], good, VERIFY_NONE)
