"""Fast paths for the standard spends, each provably what the interpreter would decide.

``fast_verify`` recognises a spend by the bytes of its output, takes (key, message, signature) out of the input and
checks it. It only ever says yes: True means that the interpreter accepts the input under the same flags. Whatever is
unusual in any way (and whatever fails) returns False, and the interpreter then finds Core's verdict and error.

Why a yes is safe under every flag:

- every push has at least 20 bytes and the shortest form, or is OP_0 where CHECKMULTISIG takes its dummy, so
  MINIMALDATA, SIGPUSHONLY and NULLDUMMY hold;
- keys are 33 bytes with 02 or 03 (65 bytes with 04 only outside witnesses), so STRICTENC and WITNESS_PUBKEYTYPE hold;
- signatures are strict DER with a defined hash type, their S is checked where LOW_S asks, none fails (NULLFAIL);
- a signature in strict DER is never found in these script codes, so FindAndDelete and CONST_SCRIPTCODE do nothing;
- an amount is not negative (Core takes that for an unknown one);
- a witness where none belongs, or a missing flag that the template needs, is left to the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import Tx
from btcnode.script.flags import VERIFY_LOW_S, VERIFY_P2SH, VERIFY_TAPROOT, VERIFY_WITNESS
from btcnode.script.opcodes import MAX_SCRIPT_ELEMENT_SIZE
from btcnode.script.sighash import SINGLE_BUG_HASH, SighashContext, finish, tapleaf_hash
from btcnode.script.tapscript import LEAF_MASK, LEAF_TAPSCRIPT, is_committed, is_valid_control_size

_ECDSA_HASH_TYPES = frozenset((1, 2, 3, 0x81, 0x82, 0x83))
_ANY_V0 = VERIFY_P2SH | VERIFY_WITNESS
_ANY_TAPROOT = _ANY_V0 | VERIFY_TAPROOT
_MIN_SIG, _MAX_SIG = 26, 73  # with hash type; longer than a P2PKH script code can hold
_CHECKSIG, _CHECKMULTISIG = 0xAC, 0xAE
_OP_1, _OP_16 = 0x51, 0x60


def _legacy_digest(ctx: SighashContext, index: int, code: bytes, hash_type: int) -> bytes:
    """Signature hash over a script code without OP_CODESEPARATOR."""
    state = ctx.plain_legacy_state(index, code, len(code), hash_type)
    return SINGLE_BUG_HASH if state is None else finish(state, hash_type)


def _p2wpkh(ctx: SighashContext, index: int, program: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """A witness of signature and compressed key; ``program`` is the key's hash."""
    if len(witness) != 2 or flags & _ANY_V0 != _ANY_V0:
        return False
    sig, pubkey = witness
    if not _MIN_SIG <= len(sig) <= _MAX_SIG or len(pubkey) != 33 or hash160(pubkey) != program:
        return False
    hash_type, amount = sig[-1], ctx.spent[index][:8]
    if hash_type not in _ECDSA_HASH_TYPES or amount[7] & 0x80:
        return False
    digest = ctx.segwit_v0(index, b"\x76\xa9\x14" + program + b"\x88\xac", amount, hash_type)
    return ctx.signatures.verify_ecdsa_strict(pubkey, sig[:-1], digest, flags & VERIFY_LOW_S != 0)


def _native_p2wpkh(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """``OP_0 <20 bytes>``."""
    if script[:2] != b"\0\x14" or ctx.tx.script_sigs[index]:
        return False
    return _p2wpkh(ctx, index, script[2:], witness, flags)


def _p2pkh(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """``DUP HASH160 <20 bytes> EQUALVERIFY CHECKSIG`` with ``<sig> <key>`` as script_sig."""
    script_sig = ctx.tx.script_sigs[index]
    if witness or len(script_sig) < _MIN_SIG + 2 or script[:3] != b"\x76\xa9\x14" or script[23:] != b"\x88\xac":
        return False
    size = script_sig[0]
    end = size + 1
    if not _MIN_SIG <= size <= _MAX_SIG or end >= len(script_sig):
        return False
    pubkey = script_sig[end + 1 :]
    if len(pubkey) != script_sig[end] or not _is_plain_key(pubkey) or hash160(pubkey) != script[3:23]:
        return False
    hash_type = script_sig[size]
    if hash_type not in _ECDSA_HASH_TYPES:
        return False
    digest = _legacy_digest(ctx, index, script, hash_type)
    return ctx.signatures.verify_ecdsa_strict(pubkey, script_sig[1:size], digest, flags & VERIFY_LOW_S != 0)


def _is_plain_key(pubkey: bytes) -> bool:
    """A compressed or uncompressed key by its size and prefix; libsecp256k1 refuses other prefixes of 33 bytes."""
    size = len(pubkey)
    return size == 33 or (size == 65 and pubkey[0] == 4)


def _p2pk(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """``<key> CHECKSIG`` with ``<sig>`` as script_sig."""
    script_sig, pubkey = ctx.tx.script_sigs[index], script[1:-1]
    size = len(script_sig) - 1
    if witness or script[-1] != _CHECKSIG or script[0] != len(pubkey) or not _is_plain_key(pubkey):
        return False
    if not _MIN_SIG <= size <= _MAX_SIG or script_sig[0] != size:
        return False
    hash_type = script_sig[-1]
    if hash_type not in _ECDSA_HASH_TYPES:
        return False
    digest = _legacy_digest(ctx, index, script, hash_type)
    return ctx.signatures.verify_ecdsa_strict(pubkey, script_sig[1:-1], digest, flags & VERIFY_LOW_S != 0)


def _multisig_keys(script: bytes, plain: bool) -> list[bytes]:
    """The keys of ``OP_m <keys> OP_n CHECKMULTISIG``, or an empty list when the script is something else.

    Compressed keys only, or with ``plain`` also uncompressed ones; m is the caller's to check.
    """
    end = len(script) - 2
    if end < 35 or script[-1] != _CHECKMULTISIG or not _OP_1 <= script[0] <= _OP_16:
        return []
    keys = []
    pos = 1
    while pos < end:
        size = script[pos]
        pubkey = script[pos + 1 : pos + 1 + size]
        pos += 1 + size
        if size == 33:
            if pubkey[0] not in (2, 3):
                return []
        elif size != 65 or not plain or pubkey[0] != 4:
            return []
        keys.append(pubkey)
    if pos != end or len(keys) > 16 or script[end] != _OP_1 - 1 + len(keys):
        return []
    return keys


def _match(
    ctx: SighashContext,
    index: int,
    code: bytes,
    sigs: Sequence[bytes],
    keys: Sequence[bytes],
    flags: int,
    witness_v0: bool,
) -> bool:
    """Whether the signatures verify with keys in the same order; either end of the lists gives the same answer."""
    digests: dict[int, bytes] = {}
    low_s = flags & VERIFY_LOW_S != 0
    verify = ctx.signatures.verify_ecdsa_strict
    spare = len(keys) - len(sigs)
    key_at = 0
    for sig in sigs:
        if not _MIN_SIG <= len(sig) <= _MAX_SIG:
            return False
        hash_type = sig[-1]
        message = digests.get(hash_type)
        if message is None:
            if hash_type not in _ECDSA_HASH_TYPES:
                return False
            if witness_v0:
                message = ctx.segwit_v0(index, code, ctx.spent[index][:8], hash_type)
            else:
                message = _legacy_digest(ctx, index, code, hash_type)
            digests[hash_type] = message
        der = sig[:-1]
        while not verify(keys[key_at], der, message, low_s):
            spare -= 1
            if spare < 0:
                return False
            key_at += 1
        key_at += 1
    return True


def _multisig(
    ctx: SighashContext, index: int, script: bytes, sigs: Sequence[bytes], flags: int, witness_v0: bool
) -> bool:
    """CHECKMULTISIG as script, redeem script or witness script; the dummy has been found empty."""
    keys = _multisig_keys(script, not witness_v0)
    if len(keys) < len(sigs) or script[0] - _OP_1 + 1 != len(sigs):
        return False
    return _match(ctx, index, script, sigs, keys, flags, witness_v0)


def _bare_multisig(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """A multisig script_pubkey with ``OP_0 <sigs>`` as script_sig."""
    sigs = [] if witness else _minimal_pushes(ctx.tx.script_sigs[index])
    return bool(sigs) and _multisig(ctx, index, script, sigs, flags, False)


def _minimal_pushes(script_sig: bytes) -> list[bytes]:
    """What a script_sig pushes after its leading OP_0, each of at least 26 bytes in the shortest form; else empty."""
    size = len(script_sig)
    if not size or script_sig[0]:
        return []
    pos, pushes = 1, []
    while pos < size:
        length = script_sig[pos]
        start = pos + 1
        if length == 0x4C:
            length = script_sig[start] if start < size else 0
            start += 1
            if length < 0x4C:
                return []
        elif length == 0x4D:
            length = int.from_bytes(script_sig[start : start + 2], "little")
            start += 2
            if length <= 0xFF or length > MAX_SCRIPT_ELEMENT_SIZE:
                return []
        elif not _MIN_SIG <= length < 0x4C:
            return []
        pos = start + length
        pushes.append(script_sig[start:pos])
    return pushes if pos == size else []


def _p2sh(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """P2SH of a witness v0 program or of a multisig script."""
    if script[:2] != b"\xa9\x14" or script[22] != 0x87 or not flags & VERIFY_P2SH:
        return False
    script_sig = ctx.tx.script_sigs[index]
    size = len(script_sig)
    if size == 23 or size == 35:
        redeem = script_sig[1:]
        if script_sig[0] != size - 1 or redeem[0] or redeem[1] != size - 3 or hash160(redeem) != script[2:22]:
            return False
        return (_p2wpkh if size == 23 else _p2wsh)(ctx, index, redeem[2:], witness, flags)
    pushes = [] if witness else _minimal_pushes(script_sig)
    if len(pushes) < 2 or hash160(pushes[-1]) != script[2:22]:
        return False
    return _multisig(ctx, index, pushes[-1], pushes[:-1], flags, False)


def _p2wsh(ctx: SighashContext, index: int, program: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """P2WSH of a multisig script or of ``<key> CHECKSIG``."""
    if len(witness) < 2 or flags & _ANY_V0 != _ANY_V0 or ctx.spent[index][7] & 0x80:
        return False
    script = witness[-1]
    if not script or sha256(script).digest() != program:
        return False
    if script[-1] == _CHECKMULTISIG:
        return not witness[0] and _multisig(ctx, index, script, witness[1:-1], flags, True)
    if len(script) != 35 or script[0] != 33 or script[-1] != _CHECKSIG or len(witness) != 2:
        return False
    return _match(ctx, index, script, witness[:1], (script[1:34],), flags, True)


def _p2tr_or_p2wsh(ctx: SighashContext, index: int, script: bytes, witness: Sequence[bytes], flags: int) -> bool:
    """``OP_1 <32 bytes>`` (key path without annex, single-key tapscript) or ``OP_0 <32 bytes>``."""
    if ctx.tx.script_sigs[index] or script[1] != 32:
        return False
    if script[0] == 0:
        return _p2wsh(ctx, index, script[2:], witness, flags)
    if script[0] != _OP_1 or flags & _ANY_TAPROOT != _ANY_TAPROOT:
        return False
    if len(witness) == 1:
        return _schnorr(ctx, index, witness[0], script[2:], None)
    if len(witness) != 3:
        return False
    sig, leaf, control = witness
    if len(leaf) != 34 or leaf[0] != 32 or leaf[33] != _CHECKSIG or not is_valid_control_size(len(control)):
        return False
    if control[0] & LEAF_MASK != LEAF_TAPSCRIPT:  # an annex begins with 50, so it ends here as well
        return False
    leaf_hash = tapleaf_hash(LEAF_TAPSCRIPT, leaf)
    return is_committed(control, script[2:], leaf_hash) and _schnorr(ctx, index, sig, leaf[1:33], leaf_hash)


def _schnorr(ctx: SighashContext, index: int, sig: bytes, pubkey: bytes, leaf_hash: bytes | None) -> bool:
    """A taproot signature without annex; its 64 bytes in the witness pay for the one check of the budget."""
    hash_type = 0
    if len(sig) != 64:
        if len(sig) != 65 or sig[64] == 0:
            return False
        hash_type = sig[64]
        sig = sig[:64]
    digest = ctx.taproot(index, hash_type, None, leaf_hash)
    return digest is not None and ctx.signatures.verify_schnorr(pubkey, sig, digest)


_BY_SIZE: dict[int, Callable[[SighashContext, int, bytes, Sequence[bytes], int], bool]] = {
    22: _native_p2wpkh,
    23: _p2sh,
    25: _p2pkh,
    34: _p2tr_or_p2wsh,
    35: _p2pk,
    67: _p2pk,
}


def fast_verify(tx: Tx, index: int, txout: bytes, flags: int, ctx: SighashContext) -> bool:
    """Whether input ``index`` is a standard spend of ``txout`` (as serialised) and valid under ``flags``.

    False means "not known here": the interpreter decides. ``flags`` must be consistent.
    """
    size = txout[8]
    path = _BY_SIZE.get(size)
    witness: Sequence[bytes] = tx.witnesses[index] if tx.witnesses else ()
    if path is not None:
        return path(ctx, index, txout[9:], witness, flags)
    if txout[-1] != _CHECKMULTISIG or size > 0xFD:
        return False
    return _bare_multisig(ctx, index, txout[9 if size < 0xFD else 11 :], witness, flags)
