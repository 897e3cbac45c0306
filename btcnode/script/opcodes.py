"""Opcodes, their names, and the limits of scripts."""

from __future__ import annotations

MAX_SCRIPT_ELEMENT_SIZE = 520  # bytes of one stack element
MAX_OPS_PER_SCRIPT = 201  # opcodes above OP_16, pre-tapscript
MAX_PUBKEYS_PER_MULTISIG = 20
MAX_SCRIPT_SIZE = 10_000  # bytes, pre-tapscript
MAX_STACK_SIZE = 1_000  # elements of stack and altstack together
LOCKTIME_THRESHOLD = 500_000_000  # lock times below are heights, others Unix seconds
SEQUENCE_LOCKTIME_DISABLE_FLAG = 1 << 31  # BIP68
SEQUENCE_LOCKTIME_TYPE_FLAG = 1 << 22
SEQUENCE_LOCKTIME_MASK = 0xFFFF
ANNEX_TAG = 0x50  # first byte of a taproot annex
VALIDATION_WEIGHT_PER_SIGOP = 50  # BIP342
VALIDATION_WEIGHT_OFFSET = 50

OP_0 = 0x00
OP_PUSHDATA1 = 0x4C
OP_PUSHDATA2 = 0x4D
OP_PUSHDATA4 = 0x4E
OP_1NEGATE = 0x4F
OP_RESERVED = 0x50
OP_1 = 0x51
OP_2 = 0x52
OP_16 = 0x60
OP_NOP = 0x61
OP_VER = 0x62
OP_IF = 0x63
OP_NOTIF = 0x64
OP_VERIF = 0x65
OP_VERNOTIF = 0x66
OP_ELSE = 0x67
OP_ENDIF = 0x68
OP_VERIFY = 0x69
OP_RETURN = 0x6A
OP_TOALTSTACK = 0x6B
OP_FROMALTSTACK = 0x6C
OP_2DROP = 0x6D
OP_2DUP = 0x6E
OP_3DUP = 0x6F
OP_2OVER = 0x70
OP_2ROT = 0x71
OP_2SWAP = 0x72
OP_IFDUP = 0x73
OP_DEPTH = 0x74
OP_DROP = 0x75
OP_DUP = 0x76
OP_NIP = 0x77
OP_OVER = 0x78
OP_PICK = 0x79
OP_ROLL = 0x7A
OP_ROT = 0x7B
OP_SWAP = 0x7C
OP_TUCK = 0x7D
OP_CAT = 0x7E
OP_SUBSTR = 0x7F
OP_LEFT = 0x80
OP_RIGHT = 0x81
OP_SIZE = 0x82
OP_INVERT = 0x83
OP_AND = 0x84
OP_OR = 0x85
OP_XOR = 0x86
OP_EQUAL = 0x87
OP_EQUALVERIFY = 0x88
OP_RESERVED1 = 0x89
OP_RESERVED2 = 0x8A
OP_1ADD = 0x8B
OP_1SUB = 0x8C
OP_2MUL = 0x8D
OP_2DIV = 0x8E
OP_NEGATE = 0x8F
OP_ABS = 0x90
OP_NOT = 0x91
OP_0NOTEQUAL = 0x92
OP_ADD = 0x93
OP_SUB = 0x94
OP_MUL = 0x95
OP_DIV = 0x96
OP_MOD = 0x97
OP_LSHIFT = 0x98
OP_RSHIFT = 0x99
OP_BOOLAND = 0x9A
OP_BOOLOR = 0x9B
OP_NUMEQUAL = 0x9C
OP_NUMEQUALVERIFY = 0x9D
OP_NUMNOTEQUAL = 0x9E
OP_LESSTHAN = 0x9F
OP_GREATERTHAN = 0xA0
OP_LESSTHANOREQUAL = 0xA1
OP_GREATERTHANOREQUAL = 0xA2
OP_MIN = 0xA3
OP_MAX = 0xA4
OP_WITHIN = 0xA5
OP_RIPEMD160 = 0xA6
OP_SHA1 = 0xA7
OP_SHA256 = 0xA8
OP_HASH160 = 0xA9
OP_HASH256 = 0xAA
OP_CODESEPARATOR = 0xAB
OP_CHECKSIG = 0xAC
OP_CHECKSIGVERIFY = 0xAD
OP_CHECKMULTISIG = 0xAE
OP_CHECKMULTISIGVERIFY = 0xAF
OP_NOP1 = 0xB0
OP_CHECKLOCKTIMEVERIFY = 0xB1
OP_CHECKSEQUENCEVERIFY = 0xB2
OP_NOP4 = 0xB3
OP_NOP10 = 0xB9
OP_CHECKSIGADD = 0xBA
OP_INVALIDOPCODE = 0xFF

DISABLED_OPCODES = frozenset(
    (OP_CAT, OP_SUBSTR, OP_LEFT, OP_RIGHT, OP_INVERT, OP_AND, OP_OR, OP_XOR, OP_2MUL, OP_2DIV, OP_MUL, OP_DIV, OP_MOD,
     OP_LSHIFT, OP_RSHIFT)
)  # fmt: skip
"""CVE-2010-5137: these fail a script even where they are not executed (pre-tapscript)."""

OP_SUCCESS = bytes(
    op in (80, 98, *range(126, 130), *range(131, 135), 137, 138, 141, 142, *range(149, 154), *range(187, 255))
    for op in range(256)
)
"""BIP342: 1 at every opcode that makes a tapscript succeed by its mere presence."""


def _names() -> dict[int, str]:
    """Names by opcode as Core's ``GetOpName`` spells them."""
    named = {value: key for key, value in globals().items() if key.startswith("OP_") and isinstance(value, int)}
    named.update({OP_1 + n - 1: str(n) for n in range(1, 17)})
    named.update({OP_NOP4 + n - 4: f"OP_NOP{n}" for n in range(4, 11)})
    named[OP_0] = "0"
    named[OP_1NEGATE] = "-1"
    return named


OPCODE_NAMES: dict[int, str] = _names()


def opcode_name(opcode: int) -> str:
    """Core's name of an opcode; ``OP_UNKNOWN`` for direct pushes and unassigned bytes."""
    return OPCODE_NAMES.get(opcode, "OP_UNKNOWN")
