"""The form of signatures and public keys (BIP66 and the policy rules of BIP62, BIP141)."""

from __future__ import annotations

from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_DERSIG, VERIFY_LOW_S, VERIFY_STRICTENC, VERIFY_WITNESS_PUBKEYTYPE
from btcnode.script.signatures import is_low_der_s

_NEEDS_DER = VERIFY_DERSIG | VERIFY_LOW_S | VERIFY_STRICTENC


def is_valid_signature_encoding(sig: bytes) -> bool:
    """BIP66: ``30 len 02 len R 02 len S hashtype`` with positive integers in their shortest form."""
    size = len(sig)
    if size < 9 or size > 73 or sig[0] != 0x30 or sig[1] != size - 3:
        return False
    r_size = sig[3]
    if 5 + r_size >= size:
        return False
    s_size = sig[5 + r_size]
    if r_size + s_size + 7 != size or sig[2] != 0x02 or r_size == 0 or sig[4] & 0x80:
        return False
    if r_size > 1 and sig[4] == 0 and not sig[5] & 0x80:
        return False
    s_tag = r_size + 4
    if sig[s_tag] != 0x02 or s_size == 0 or sig[s_tag + 2] & 0x80:
        return False
    return not (s_size > 1 and sig[s_tag + 2] == 0 and not sig[s_tag + 3] & 0x80)


def is_defined_hash_type(sig: bytes) -> bool:
    """Whether the last byte is ALL, NONE or SINGLE, with or without ANYONECANPAY."""
    return bool(sig) and 1 <= sig[-1] & 0x7F <= 3


def is_compressed_pubkey(pubkey: bytes) -> bool:
    """33 bytes that begin with 02 or 03."""
    return len(pubkey) == 33 and pubkey[0] in (2, 3)


def is_compressed_or_uncompressed_pubkey(pubkey: bytes) -> bool:
    """33 bytes that begin with 02 or 03, or 65 that begin with 04."""
    return is_compressed_pubkey(pubkey) or (len(pubkey) == 65 and pubkey[0] == 4)


def is_sized_pubkey(pubkey: bytes) -> bool:
    """Whether the length fits the first byte, hybrid keys included (Core's ``CPubKey::IsValid``)."""
    size = len(pubkey)
    return (size == 33 and pubkey[0] in (2, 3)) or (size == 65 and pubkey[0] in (4, 6, 7))


def check_signature_encoding(sig: bytes, flags: int) -> None:
    """Raise ScriptAbort (SIG_DER, SIG_HIGH_S, SIG_HASHTYPE) for a non-empty ``sig`` in a form that ``flags`` refuse."""
    if not sig or not flags & _NEEDS_DER:
        return
    if not is_valid_signature_encoding(sig):
        raise ScriptAbort(ScriptError.SIG_DER)
    if flags & VERIFY_LOW_S and not is_low_der_s(sig[:-1]):
        raise ScriptAbort(ScriptError.SIG_HIGH_S)
    if flags & VERIFY_STRICTENC and not is_defined_hash_type(sig):
        raise ScriptAbort(ScriptError.SIG_HASHTYPE)


def check_pubkey_encoding(pubkey: bytes, flags: int, witness_v0: bool) -> None:
    """Raise ScriptAbort (PUBKEYTYPE, WITNESS_PUBKEYTYPE) for a key in a form that ``flags`` refuse."""
    if flags & VERIFY_STRICTENC and not is_compressed_or_uncompressed_pubkey(pubkey):
        raise ScriptAbort(ScriptError.PUBKEYTYPE)
    if witness_v0 and flags & VERIFY_WITNESS_PUBKEYTYPE and not is_compressed_pubkey(pubkey):
        raise ScriptAbort(ScriptError.WITNESS_PUBKEYTYPE)
