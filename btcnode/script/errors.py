"""Why a script failed: Bitcoin Core's error names and the texts that stand in its reject reasons."""

from __future__ import annotations

from enum import StrEnum


class ScriptError(StrEnum):
    """The outcome of a script; the value is Core's name as ``script_tests.json`` writes it."""

    OK = "OK"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"
    EVAL_FALSE = "EVAL_FALSE"
    OP_RETURN = "OP_RETURN"
    SCRIPTNUM = "SCRIPTNUM"
    # limits
    SCRIPT_SIZE = "SCRIPT_SIZE"
    PUSH_SIZE = "PUSH_SIZE"
    OP_COUNT = "OP_COUNT"
    STACK_SIZE = "STACK_SIZE"
    SIG_COUNT = "SIG_COUNT"
    PUBKEY_COUNT = "PUBKEY_COUNT"
    # failed OP_*VERIFY
    VERIFY = "VERIFY"
    EQUALVERIFY = "EQUALVERIFY"
    CHECKMULTISIGVERIFY = "CHECKMULTISIGVERIFY"
    CHECKSIGVERIFY = "CHECKSIGVERIFY"
    NUMEQUALVERIFY = "NUMEQUALVERIFY"
    # form
    BAD_OPCODE = "BAD_OPCODE"
    DISABLED_OPCODE = "DISABLED_OPCODE"
    INVALID_STACK_OPERATION = "INVALID_STACK_OPERATION"
    INVALID_ALTSTACK_OPERATION = "INVALID_ALTSTACK_OPERATION"
    UNBALANCED_CONDITIONAL = "UNBALANCED_CONDITIONAL"
    # BIP65, BIP112
    NEGATIVE_LOCKTIME = "NEGATIVE_LOCKTIME"
    UNSATISFIED_LOCKTIME = "UNSATISFIED_LOCKTIME"
    # malleability
    SIG_HASHTYPE = "SIG_HASHTYPE"
    SIG_DER = "SIG_DER"
    MINIMALDATA = "MINIMALDATA"
    SIG_PUSHONLY = "SIG_PUSHONLY"
    SIG_HIGH_S = "SIG_HIGH_S"
    SIG_NULLDUMMY = "SIG_NULLDUMMY"
    PUBKEYTYPE = "PUBKEYTYPE"
    CLEANSTACK = "CLEANSTACK"
    MINIMALIF = "MINIMALIF"
    NULLFAIL = "NULLFAIL"
    # reserved for soft forks
    DISCOURAGE_UPGRADABLE_NOPS = "DISCOURAGE_UPGRADABLE_NOPS"
    DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM = "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM"
    DISCOURAGE_UPGRADABLE_TAPROOT_VERSION = "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION"
    DISCOURAGE_OP_SUCCESS = "DISCOURAGE_OP_SUCCESS"
    DISCOURAGE_UPGRADABLE_PUBKEYTYPE = "DISCOURAGE_UPGRADABLE_PUBKEYTYPE"
    # BIP141
    WITNESS_PROGRAM_WRONG_LENGTH = "WITNESS_PROGRAM_WRONG_LENGTH"
    WITNESS_PROGRAM_WITNESS_EMPTY = "WITNESS_PROGRAM_WITNESS_EMPTY"
    WITNESS_PROGRAM_MISMATCH = "WITNESS_PROGRAM_MISMATCH"
    WITNESS_MALLEATED = "WITNESS_MALLEATED"
    WITNESS_MALLEATED_P2SH = "WITNESS_MALLEATED_P2SH"
    WITNESS_UNEXPECTED = "WITNESS_UNEXPECTED"
    WITNESS_PUBKEYTYPE = "WITNESS_PUBKEYTYPE"
    # BIP341, BIP342
    SCHNORR_SIG_SIZE = "SCHNORR_SIG_SIZE"
    SCHNORR_SIG_HASHTYPE = "SCHNORR_SIG_HASHTYPE"
    SCHNORR_SIG = "SCHNORR_SIG"
    TAPROOT_WRONG_CONTROL_SIZE = "TAPROOT_WRONG_CONTROL_SIZE"
    TAPSCRIPT_VALIDATION_WEIGHT = "TAPSCRIPT_VALIDATION_WEIGHT"
    TAPSCRIPT_CHECKMULTISIG = "TAPSCRIPT_CHECKMULTISIG"
    TAPSCRIPT_MINIMALIF = "TAPSCRIPT_MINIMALIF"
    TAPSCRIPT_EMPTY_PUBKEY = "TAPSCRIPT_EMPTY_PUBKEY"
    # constant script code
    OP_CODESEPARATOR = "OP_CODESEPARATOR"
    SIG_FINDANDDELETE = "SIG_FINDANDDELETE"

    @property
    def text(self) -> str:
        """The words in Core's reject reason: ``block-script-verify-flag-failed (<text>)``."""
        return _TEXTS[self]


class ScriptAbort(Exception):
    """Unwinds the interpreter with the error of the failed script; never leaves ``btcnode.script``."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(error.value)
        self.error = error


_TEXTS: dict[ScriptError, str] = {
    ScriptError.OK: "No error",
    ScriptError.UNKNOWN_ERROR: "unknown error",
    ScriptError.EVAL_FALSE: "Script evaluated without error but finished with a false/empty top stack element",
    ScriptError.OP_RETURN: "OP_RETURN was encountered",
    ScriptError.SCRIPTNUM: "Script number overflowed or is non-minimally encoded",
    ScriptError.SCRIPT_SIZE: "Script is too big",
    ScriptError.PUSH_SIZE: "Push value size limit exceeded",
    ScriptError.OP_COUNT: "Operation limit exceeded",
    ScriptError.STACK_SIZE: "Stack size limit exceeded",
    ScriptError.SIG_COUNT: "Signature count negative or greater than pubkey count",
    ScriptError.PUBKEY_COUNT: "Pubkey count negative or limit exceeded",
    ScriptError.VERIFY: "Script failed an OP_VERIFY operation",
    ScriptError.EQUALVERIFY: "Script failed an OP_EQUALVERIFY operation",
    ScriptError.CHECKMULTISIGVERIFY: "Script failed an OP_CHECKMULTISIGVERIFY operation",
    ScriptError.CHECKSIGVERIFY: "Script failed an OP_CHECKSIGVERIFY operation",
    ScriptError.NUMEQUALVERIFY: "Script failed an OP_NUMEQUALVERIFY operation",
    ScriptError.BAD_OPCODE: "Opcode missing or not understood",
    ScriptError.DISABLED_OPCODE: "Attempted to use a disabled opcode",
    ScriptError.INVALID_STACK_OPERATION: "Operation not valid with the current stack size",
    ScriptError.INVALID_ALTSTACK_OPERATION: "Operation not valid with the current altstack size",
    ScriptError.UNBALANCED_CONDITIONAL: "Invalid OP_IF construction",
    ScriptError.NEGATIVE_LOCKTIME: "Negative locktime",
    ScriptError.UNSATISFIED_LOCKTIME: "Locktime requirement not satisfied",
    ScriptError.SIG_HASHTYPE: "Signature hash type missing or not understood",
    ScriptError.SIG_DER: "Non-canonical DER signature",
    ScriptError.MINIMALDATA: "Data push larger than necessary",
    ScriptError.SIG_PUSHONLY: "Only push operators allowed in signatures",
    ScriptError.SIG_HIGH_S: "Non-canonical signature: S value is unnecessarily high",
    ScriptError.SIG_NULLDUMMY: "Dummy CHECKMULTISIG argument must be zero",
    ScriptError.PUBKEYTYPE: "Public key is neither compressed or uncompressed",
    ScriptError.CLEANSTACK: "Stack size must be exactly one after execution",
    ScriptError.MINIMALIF: "OP_IF/NOTIF argument must be minimal",
    ScriptError.NULLFAIL: "Signature must be zero for failed CHECK(MULTI)SIG operation",
    ScriptError.DISCOURAGE_UPGRADABLE_NOPS: "NOPx reserved for soft-fork upgrades",
    ScriptError.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM: "Witness version reserved for soft-fork upgrades",
    ScriptError.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION: "Taproot version reserved for soft-fork upgrades",
    ScriptError.DISCOURAGE_OP_SUCCESS: "OP_SUCCESSx reserved for soft-fork upgrades",
    ScriptError.DISCOURAGE_UPGRADABLE_PUBKEYTYPE: "Public key version reserved for soft-fork upgrades",
    ScriptError.WITNESS_PROGRAM_WRONG_LENGTH: "Witness program has incorrect length",
    ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY: "Witness program was passed an empty witness",
    ScriptError.WITNESS_PROGRAM_MISMATCH: "Witness program hash mismatch",
    ScriptError.WITNESS_MALLEATED: "Witness requires empty scriptSig",
    ScriptError.WITNESS_MALLEATED_P2SH: "Witness requires only-redeemscript scriptSig",
    ScriptError.WITNESS_UNEXPECTED: "Witness provided for non-witness script",
    ScriptError.WITNESS_PUBKEYTYPE: "Using non-compressed keys in segwit",
    ScriptError.SCHNORR_SIG_SIZE: "Invalid Schnorr signature size",
    ScriptError.SCHNORR_SIG_HASHTYPE: "Invalid Schnorr signature hash type",
    ScriptError.SCHNORR_SIG: "Invalid Schnorr signature",
    ScriptError.TAPROOT_WRONG_CONTROL_SIZE: "Invalid Taproot control block size",
    ScriptError.TAPSCRIPT_VALIDATION_WEIGHT: "Too much signature validation relative to witness weight",
    ScriptError.TAPSCRIPT_CHECKMULTISIG: "OP_CHECKMULTISIG(VERIFY) is not available in tapscript",
    ScriptError.TAPSCRIPT_MINIMALIF: "OP_IF/NOTIF argument must be minimal in tapscript",
    ScriptError.TAPSCRIPT_EMPTY_PUBKEY: "Empty public key in tapscript",
    ScriptError.OP_CODESEPARATOR: "Using OP_CODESEPARATOR in non-witness script",
    ScriptError.SIG_FINDANDDELETE: "Signature is found in scriptCode",
}
