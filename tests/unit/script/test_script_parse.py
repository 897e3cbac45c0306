"""Reading scripts: opcodes, shapes, sigops, deletion; numbers; flag and error tables."""

from __future__ import annotations

import random

import pytest

from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import (
    ALL_VERIFY_FLAGS,
    FLAG_NAMES,
    MANDATORY_VERIFY_FLAGS,
    STANDARD_VERIFY_FLAGS,
    VERIFY_CLEANSTACK,
    VERIFY_P2SH,
    VERIFY_SIGPUSHONLY,
    VERIFY_TAPROOT,
    VERIFY_WITNESS,
    flag_names,
    require_consistent,
)
from btcnode.script.opcodes import OP_SUCCESS, OPCODE_NAMES, opcode_name
from btcnode.script.scriptnum import decode_number, encode_number, is_true
from btcnode.script.scriptparse import (
    BAD_OP,
    count_p2sh_sigops,
    count_sigops,
    count_witness_sigops,
    find_and_delete,
    is_minimal_push,
    is_p2sh,
    is_push_only,
    is_unspendable,
    iter_ops,
    last_push,
    next_op,
    push_data,
    strip_separators,
    witness_program,
)
from tests.lib.script_text import parse_flags

WITNESS = VERIFY_P2SH | VERIFY_WITNESS


def test_flag_tables() -> None:
    assert sorted(FLAG_NAMES.values()) == [1 << bit for bit in range(21)]
    assert (FLAG_NAMES["TAPROOT"], FLAG_NAMES["WITNESS"], FLAG_NAMES["NULLDUMMY"]) == (1 << 17, 1 << 11, 1 << 4)
    assert ALL_VERIFY_FLAGS & ~STANDARD_VERIFY_FLAGS == VERIFY_SIGPUSHONLY
    assert MANDATORY_VERIFY_FLAGS & ~STANDARD_VERIFY_FLAGS == 0
    assert parse_flags("P2SH,WITNESS") == parse_flags(["WITNESS", "P2SH", "NONE"]) == WITNESS
    assert flag_names(WITNESS | 1 << 40) == ["P2SH", "WITNESS", "0x10000000000"]
    with pytest.raises(ValueError, match="MANDATORY"):
        parse_flags("MANDATORY")
    for flags in (VERIFY_WITNESS, VERIFY_CLEANSTACK, VERIFY_CLEANSTACK | VERIFY_P2SH):
        with pytest.raises(ValueError):
            require_consistent(flags)
    require_consistent(VERIFY_TAPROOT)  # Core does not tie it to WITNESS: it is then never looked at


def test_every_error_has_its_text() -> None:
    texts = [error.text for error in ScriptError]
    assert len(texts) == len(set(texts)) == 55
    assert ScriptError.EQUALVERIFY.text == "Script failed an OP_EQUALVERIFY operation"
    assert ScriptError("NULLFAIL").text == "Signature must be zero for failed CHECK(MULTI)SIG operation"


def test_opcode_names() -> None:
    assert (opcode_name(0), opcode_name(0x4F), opcode_name(0x60)) == ("0", "-1", "16")
    assert (opcode_name(0xB1), opcode_name(0xB9), opcode_name(0xBA)) == (
        "OP_CHECKLOCKTIMEVERIFY",
        "OP_NOP10",
        "OP_CHECKSIGADD",
    )
    assert (opcode_name(0x05), opcode_name(0xBB), opcode_name(0xFF)) == ("OP_UNKNOWN", "OP_UNKNOWN", "OP_INVALIDOPCODE")
    assert len(OPCODE_NAMES) == 1 + 3 + 108 + 1
    assert sum(OP_SUCCESS) == 87 and not OP_SUCCESS[0xBA] and not OP_SUCCESS[0xFF]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, ""), (1, "01"), (-1, "81"), (127, "7f"), (128, "8000"), (-128, "8080"), (255, "ff00"), (-255, "ff80"),
     (32768, "008000"), (2**31 - 1, "ffffff7f"), (-(2**31) + 1, "ffffffff"), (2**31, "0000008000")],
)  # fmt: skip
def test_numbers(value: int, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert encode_number(value) == data
    assert decode_number(data, True, 5) == value


@pytest.mark.parametrize("encoded", ["00", "80", "0100", "0180", "ff0000", "0000000000"])
def test_numbers_longer_than_needed(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    if len(data) <= 4:
        decode_number(data, False)
    with pytest.raises(ScriptAbort, match="SCRIPTNUM"):
        decode_number(data, True)


def test_truth() -> None:
    for false in ("", "00", "0000", "80", "000080"):
        assert not is_true(bytes.fromhex(false))
    for true in ("01", "8000", "0081", "80 80", "8080", "0001", "000000ff"):
        assert is_true(bytes.fromhex(true))


def test_truncated_pushes_end_where_core_stops() -> None:
    assert next_op(b"\x05abcd", 0) == (BAD_OP, 1, 1)
    assert next_op(b"\x4c", 0) == (BAD_OP, 1, 1)
    assert next_op(b"\x4c\x02a", 0) == (BAD_OP, 2, 2)
    assert next_op(b"\x4d\x01", 0) == (BAD_OP, 1, 1)
    assert next_op(b"\x4e\xff\xff\xff\xff", 0) == (BAD_OP, 5, 5)
    assert list(iter_ops(b"\x51\x02a")) == [(0x51, b""), (BAD_OP, b"")]
    assert not is_push_only(b"\x51\x02a") and last_push(b"\x51\x02a") is None


def test_push_forms() -> None:
    for size, opcode in ((0, 0), (1, 1), (75, 75), (76, 0x4C), (255, 0x4C), (256, 0x4D), (65535, 0x4D), (65536, 0x4E)):
        data = b"\xaa" * size
        script = push_data(data)
        assert script[0] == opcode and list(iter_ops(script)) == [(opcode, data)]
        assert is_minimal_push(opcode, data)
    assert not is_minimal_push(1, b"\x10") and not is_minimal_push(1, b"\x81") and is_minimal_push(1, b"\x11")
    assert not is_minimal_push(0x4C, b"") and not is_minimal_push(0x4D, bytes(255)) and not is_minimal_push(0x4E, b"a")


def test_shapes() -> None:
    assert is_p2sh(b"\xa9\x14" + bytes(20) + b"\x87") and not is_p2sh(b"\xa9\x4c\x14" + bytes(20) + b"\x87")
    assert is_push_only(b"\x50\x60\x00") and not is_push_only(b"\x61")
    assert witness_program(b"\x00\x02ab") == (0, b"ab") and witness_program(b"\x60\x28" + bytes(40)) == (16, bytes(40))
    for script in (
        b"\x00\x01a",
        b"\x00\x29" + bytes(41),
        b"\x4f\x02ab",
        b"\x50\x02ab",
        b"\x51\x02abc",
        b"\x51\x4c\x02ab",
    ):
        assert witness_program(script) is None
    assert is_unspendable(b"\x6a") and is_unspendable(bytes(10001)) and not is_unspendable(b"")


def naive_sigops(script: bytes, accurate: bool) -> int:
    total, last = 0, 0xFF
    for op, _ in iter_ops(script):
        if op in (0xAC, 0xAD):
            total += 1
        elif op in (0xAE, 0xAF):
            total += last - 0x50 if accurate and 0x51 <= last <= 0x60 else 20
        last = op
    return total


def test_sigops_agree_with_a_plain_count() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        size = rng.choice((22, 23, 25, 34, rng.randrange(60), rng.randrange(90, 400)))
        script = bytes(rng.choice((0xAC, 0xAE, 0x52, 0x00, 0x14, 0x20, 0x4C, rng.randrange(256))) for _ in range(size))
        for accurate in (False, True):
            assert count_sigops(script, accurate) == naive_sigops(script, accurate), script.hex()
    assert count_sigops(b"\xac" + b"\x14" + bytes(20), True) == 1
    assert count_sigops(b"\x76\xa9\x14" + b"\xac" * 20 + b"\x88\xac", False) == 1


def test_sigops_of_redeem_and_witness_scripts() -> None:
    multisig = b"\x52" + (b"\x21" + bytes(33)) * 3 + b"\x53\xae"
    p2sh = b"\xa9\x14" + bytes(20) + b"\x87"
    assert count_p2sh_sigops(push_data(multisig), p2sh) == 3
    assert count_p2sh_sigops(b"\x61" + push_data(multisig), p2sh) == 0
    assert count_p2sh_sigops(push_data(multisig) + b"\x51", p2sh) == 0  # OP_1 pushes no script
    assert count_p2sh_sigops(push_data(multisig), b"\x51") == 0
    v0_key, v0_script, v1 = b"\x00\x14" + bytes(20), b"\x00\x20" + bytes(32), b"\x51\x20" + bytes(32)
    for script_sig, script_pubkey in ((b"", v0_script), (push_data(v0_script), p2sh)):
        assert count_witness_sigops(script_sig, script_pubkey, [b"x", multisig], WITNESS) == 3
        assert count_witness_sigops(script_sig, script_pubkey, [], WITNESS) == 0
        assert count_witness_sigops(script_sig, script_pubkey, [multisig], VERIFY_P2SH) == 0
    assert count_witness_sigops(push_data(v0_key), p2sh, [], WITNESS) == 1
    assert count_witness_sigops(b"", v1, [multisig], WITNESS) == 0
    assert count_witness_sigops(b"\x61" + push_data(v0_key), p2sh, [], WITNESS) == 0
    with pytest.raises(ValueError):
        count_witness_sigops(b"", v0_key, [], VERIFY_WITNESS)


def test_find_and_delete_takes_whole_opcodes_only() -> None:
    assert find_and_delete(b"\x51\x52", b"\x53") == (b"\x51\x52", 0)
    assert find_and_delete(b"\x02\x01a\x01a\x01a\x51", b"\x01a") == (b"\x02\x01a\x51", 2)
    assert find_and_delete(b"\x00\x02\x00\x00\x00", b"\x00") == (b"\x02\x00\x00", 2)
    assert find_and_delete(b"\x01a\x03\x01a", b"\x01a") == (b"\x03\x01a", 1)  # stops at the truncated push
    rng = random.Random(2)
    for _ in range(2000):
        push = push_data(bytes(rng.choice((0, 1, 2)) for _ in range(rng.randrange(3))))
        script = b"".join(rng.choice((push, b"\x51", b"\x01\x01", b"\x02\x00\x00", b"\x03\x00")) for _ in range(6))
        ops = []
        for op, data in iter_ops(script):
            if op == BAD_OP:
                break
            ops.append(bytes((op,)) + data)
        kept = b"".join(op for op in ops if op != push) + script[len(b"".join(ops)) :]
        assert find_and_delete(script, push) == (kept, ops.count(push))


def test_separators_are_dropped_but_not_from_data() -> None:
    assert strip_separators(b"\xab\x01\xab\xac\xab") == (b"\x01\xab\xac", 3)
    assert strip_separators(b"\x51\x52") == (b"\x51\x52", 2)
    # Core announces the length of the whole script but writes no data of a truncated push
    assert strip_separators(b"\xab\x51\x05ab") == (b"\x51\x05", 4)
    assert strip_separators(b"\x51\x4c\x05ab") == (b"\x51\x4c\x05", 5)
