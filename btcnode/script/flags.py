"""Script verification flags: plain ints, one bit each, in the bit order of Bitcoin Core 31's ``interpreter.h``.

All are soft forks: a script accepted under ``A | B`` is accepted under ``A``. ``VERIFY_WITNESS`` is meaningful only
with ``VERIFY_P2SH``, and ``VERIFY_CLEANSTACK`` only with both (``require_consistent``).
"""

from __future__ import annotations

VERIFY_NONE = 0
VERIFY_P2SH = 1 << 0  # BIP16
VERIFY_STRICTENC = 1 << 1  # strict DER, defined hash types, well-formed public keys (policy)
VERIFY_DERSIG = 1 << 2  # BIP66
VERIFY_LOW_S = 1 << 3  # S at most half the group order (policy)
VERIFY_NULLDUMMY = 1 << 4  # BIP147
VERIFY_SIGPUSHONLY = 1 << 5  # script_sig of pushes only (policy)
VERIFY_MINIMALDATA = 1 << 6  # shortest pushes and numbers (policy)
VERIFY_DISCOURAGE_UPGRADABLE_NOPS = 1 << 7  # policy
VERIFY_CLEANSTACK = 1 << 8  # exactly one element left (policy outside witness scripts)
VERIFY_CHECKLOCKTIMEVERIFY = 1 << 9  # BIP65
VERIFY_CHECKSEQUENCEVERIFY = 1 << 10  # BIP112
VERIFY_WITNESS = 1 << 11  # BIP141
VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM = 1 << 12  # policy
VERIFY_MINIMALIF = 1 << 13  # witness v0: OP_IF takes exactly 01 or nothing (policy)
VERIFY_NULLFAIL = 1 << 14  # a failing signature check takes empty signatures only (policy)
VERIFY_WITNESS_PUBKEYTYPE = 1 << 15  # witness v0: compressed keys only (policy)
VERIFY_CONST_SCRIPTCODE = 1 << 16  # legacy: no OP_CODESEPARATOR, no signature in the script code (policy)
VERIFY_TAPROOT = 1 << 17  # BIP341, BIP342
VERIFY_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION = 1 << 18  # policy
VERIFY_DISCOURAGE_OP_SUCCESS = 1 << 19  # policy
VERIFY_DISCOURAGE_UPGRADABLE_PUBKEYTYPE = 1 << 20  # policy

MANDATORY_VERIFY_FLAGS = (
    VERIFY_P2SH
    | VERIFY_DERSIG
    | VERIFY_NULLDUMMY
    | VERIFY_CHECKLOCKTIMEVERIFY
    | VERIFY_CHECKSEQUENCEVERIFY
    | VERIFY_WITNESS
    | VERIFY_TAPROOT
)
"""The consensus flags of a block in which every soft fork is active."""

STANDARD_VERIFY_FLAGS = (
    MANDATORY_VERIFY_FLAGS
    | VERIFY_STRICTENC
    | VERIFY_MINIMALDATA
    | VERIFY_DISCOURAGE_UPGRADABLE_NOPS
    | VERIFY_CLEANSTACK
    | VERIFY_MINIMALIF
    | VERIFY_NULLFAIL
    | VERIFY_LOW_S
    | VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM
    | VERIFY_WITNESS_PUBKEYTYPE
    | VERIFY_CONST_SCRIPTCODE
    | VERIFY_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION
    | VERIFY_DISCOURAGE_OP_SUCCESS
    | VERIFY_DISCOURAGE_UPGRADABLE_PUBKEYTYPE
)
"""What a node relays (Core's ``STANDARD_SCRIPT_VERIFY_FLAGS``)."""


FLAG_NAMES: dict[str, int] = {
    "P2SH": VERIFY_P2SH,
    "STRICTENC": VERIFY_STRICTENC,
    "DERSIG": VERIFY_DERSIG,
    "LOW_S": VERIFY_LOW_S,
    "SIGPUSHONLY": VERIFY_SIGPUSHONLY,
    "MINIMALDATA": VERIFY_MINIMALDATA,
    "NULLDUMMY": VERIFY_NULLDUMMY,
    "DISCOURAGE_UPGRADABLE_NOPS": VERIFY_DISCOURAGE_UPGRADABLE_NOPS,
    "CLEANSTACK": VERIFY_CLEANSTACK,
    "MINIMALIF": VERIFY_MINIMALIF,
    "NULLFAIL": VERIFY_NULLFAIL,
    "CHECKLOCKTIMEVERIFY": VERIFY_CHECKLOCKTIMEVERIFY,
    "CHECKSEQUENCEVERIFY": VERIFY_CHECKSEQUENCEVERIFY,
    "WITNESS": VERIFY_WITNESS,
    "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM": VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM,
    "WITNESS_PUBKEYTYPE": VERIFY_WITNESS_PUBKEYTYPE,
    "CONST_SCRIPTCODE": VERIFY_CONST_SCRIPTCODE,
    "TAPROOT": VERIFY_TAPROOT,
    "DISCOURAGE_UPGRADABLE_PUBKEYTYPE": VERIFY_DISCOURAGE_UPGRADABLE_PUBKEYTYPE,
    "DISCOURAGE_OP_SUCCESS": VERIFY_DISCOURAGE_OP_SUCCESS,
    "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION": VERIFY_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION,
}
"""Core's names, without the prefix ``SCRIPT_VERIFY_``, and their bits."""

ALL_VERIFY_FLAGS = (1 << 21) - 1


def flag_names(flags: int) -> list[str]:
    """The sorted names of the bits in ``flags``; bits without a name come last as one hexadecimal number."""
    names = sorted(name for name, bit in FLAG_NAMES.items() if flags & bit)
    rest = flags & ~ALL_VERIFY_FLAGS
    return [*names, f"0x{rest:08x}"] if rest else names


def require_consistent(flags: int) -> None:
    """Raise ValueError for a combination that is no soft fork (Core asserts the same)."""
    if flags & VERIFY_WITNESS and not flags & VERIFY_P2SH:
        raise ValueError("VERIFY_WITNESS needs VERIFY_P2SH")
    if flags & VERIFY_CLEANSTACK and not flags & VERIFY_WITNESS:
        raise ValueError("VERIFY_CLEANSTACK needs VERIFY_P2SH and VERIFY_WITNESS")
