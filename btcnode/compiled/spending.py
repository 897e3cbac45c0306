"""Kernel: the standard spends, as ``script.templates`` knows them, for a run of transactions.

It says which inputs it has proven to be valid; the others are left to the templates and the interpreter. Of signature
hash types it knows ALL (and taproot's default, which is like it).
"""

from __future__ import annotations

from btcnode.compiled.hashing import hash_160, hash_sha256, hash_sha256_tagged, hash_sha256d, same32
from btcnode.compiled.memory import (
    call3,
    call4,
    call5,
    copy,
    load8,
    load16,
    load32,
    load64,
    store8,
    store32,
    store64,
)
from btcnode.compiled.scanning import UNKNOWN, outline, read_compact, skip_stack

# offsets in the environment: functions of libsecp256k1, and its context
SECP_CONTEXT, PUBKEY_PARSE, DER_PARSE, NORMALIZE, ECDSA_VERIFY, XONLY_PARSE, SCHNORR_VERIFY, TWEAK_CHECK = range(
    16, 80, 8
)
KEYS, KEY_BITS = 80, 88  # a table of parsed keys: its address, and how many bits number its places
# states behind BIP340 tags
TAP_SIGHASH, TAP_LEAF, TAP_BRANCH, TAP_TWEAK = 832, 864, 896, 928

# the transaction in work
(
    _RAW,
    _START,
    _AFTER_INPUTS,
    _WITNESS,
    _END,
    _INPUTS,
    _IN_POS,
    _OUT_POS,
    _COINS,
    _COIN_POS,
    _ROOM,
    _HASHED,
    _AT_STACK,
) = range(1024, 1128, 8)
# its hashes: single SHA-256, then the double ones of BIP143
_PREVOUTS, _SEQUENCES, _OUTPUTS, _AMOUNTS, _SCRIPTS, _V0_PREVOUTS, _V0_SEQUENCES, _V0_OUTPUTS = range(1152, 1408, 32)
_SHARED, _V0, _TAPROOT = 1, 2, 4  # which of them are there
_MESSAGE = 1408  # 32 bytes: what is signed
_HASH = 1440  # 32 bytes: of a script or key
_KEY_NAME = 1472  # 33 bytes: the name of a key in the table
_SIGNATURE = 1536  # 64 bytes: a parsed signature
_KEY = 1600  # 64 bytes: a parsed key that is not kept
_NODES = 1664  # 64 bytes: two nodes of a tree, or an internal key and a root
_PUSHES = 1792  # where up to 20 pushes begin (u64), and their sizes
_SIZES = 1984
_CODE = 2176  # 25 bytes: the script code of P2WPKH
_LEAF = 2208  # 32 bytes: the hash of a leaf
ENV_SIZE = 2304

KEY_SLOT = 104  # bytes for a parsed key: name, 7 bytes, the 64 of libsecp256k1
_KEY_AT = 40
_MAX_PUSHES = 20

_P2SH, _LOW_S, _WITNESS_FLAG, _TAPROOT_FLAG = 1 << 0, 1 << 3, 1 << 11, 1 << 17
_ANY_V0 = _P2SH | _WITNESS_FLAG
_ANY_TAPROOT = _ANY_V0 | _TAPROOT_FLAG
_MIN_SIG, _MAX_SIG = 26, 73  # with hash type
_ALL = 1
_CHECKSIG, _CHECKMULTISIG = 0xAC, 0xAE
_MAX_LEGACY_INPUTS = 200  # of a legacy hash, which takes in all inputs for each: others keep what they have in common


# ---- keys and signatures


def _parsed_key(env: int, key: int, size: int) -> int:
    """The address of the parsed ECDSA key of 33 or 65 bytes, or 0. Those of 33 are kept: addresses are used again."""
    context, parse = load64(env + SECP_CONTEXT), load64(env + PUBKEY_PARSE)
    if size != 33:
        return env + _KEY if call4(parse, context, env + _KEY, key, size) == 1 else 0
    if load8(key) != 2 and load8(key) != 3:
        return 0  # before the table: with another first byte a name is that of an x-only key, or of an empty place
    slot = _slot(env, key)
    if load8(slot) == load8(key) and same32(slot + 1, key + 1):
        return slot + _KEY_AT
    store8(slot, 0xFF)
    if call4(parse, context, slot + _KEY_AT, key, 33) != 1:
        return 0
    copy(slot, key, 33)
    return slot + _KEY_AT


def _slot(env: int, name: int) -> int:
    """The place of a key in the table by its name of 33 bytes: a key as serialised, 1 and an x-only one; FF is none."""
    place = (load32(name + 1) ^ load8(name)) & ((1 << load64(env + KEY_BITS)) - 1)
    return load64(env + KEYS) + place * KEY_SLOT


def _parsed_xonly(env: int, key: int) -> int:
    """The address of a parsed x-only key, or 0."""
    name = env + _KEY_NAME
    store8(name, 1)
    copy(name + 1, key, 32)
    slot = _slot(env, name)
    if load8(slot) == 1 and same32(slot + 1, key):
        return slot + _KEY_AT
    store8(slot, 0xFF)
    if call3(load64(env + XONLY_PARSE), load64(env + SECP_CONTEXT), slot + _KEY_AT, key) != 1:
        return 0
    copy(slot, name, 33)
    return slot + _KEY_AT


def _check_ecdsa(env: int, key: int, key_size: int, sig: int, size: int, flags: int) -> bool:
    """Whether strict DER of ``size`` bytes signs the message."""
    context, parsed = load64(env + SECP_CONTEXT), _parsed_key(env, key, key_size)
    signature = env + _SIGNATURE
    if parsed == 0 or call4(load64(env + DER_PARSE), context, signature, sig, size) != 1:
        return False
    if call3(load64(env + NORMALIZE), context, signature, signature) != 0 and flags & _LOW_S:
        return False
    return call4(load64(env + ECDSA_VERIFY), context, signature, env + _MESSAGE, parsed) == 1


# ---- what is signed


def _put_compact(at: int, value: int) -> int:
    """Write a CompactSize below 65,536; the address behind it."""
    if value < 0xFD:
        store8(at, value)
        return at + 1
    store8(at, 0xFD)
    store8(at + 1, value)
    store8(at + 2, value >> 8)
    return at + 3


def _input(env: int, index: int) -> int:
    """The address of an input."""
    return load64(env + _RAW) + load32(load64(env + _IN_POS) + (index << 2))


def _script_sig(env: int, index: int) -> tuple[int, int]:
    """Size and address of an input's script_sig; its sequence is behind it."""
    raw = load64(env + _RAW)
    size, at = read_compact(raw, load32(load64(env + _IN_POS) + (index << 2)) + 36, load64(env + _END))
    return size, raw + at


def _sequence(env: int, index: int) -> int:
    """The address of an input's sequence."""
    size, at = _script_sig(env, index)
    return at + size


def _txout(env: int, index: int) -> int:
    """The address of the txout that an input spends."""
    return load64(env + _COINS) + load32(load64(env + _COIN_POS) + (index << 2))


def _txout_size(txout: int) -> int:
    size, at = read_compact(txout, 8, 16)
    return at + size


def _share(env: int) -> None:
    """Single SHA-256 of all prevouts, all sequences, all outputs."""
    room, inputs = load64(env + _ROOM), load64(env + _INPUTS)
    for k in range(inputs):
        copy(room + 36 * k, _input(env, k), 36)
    hash_sha256(env, room, 36 * inputs, env + _PREVOUTS)
    for k in range(inputs):
        store32(room + (k << 2), load32(_sequence(env, k)))
    hash_sha256(env, room, inputs << 2, env + _SEQUENCES)
    raw, first = load64(env + _RAW), load32(load64(env + _OUT_POS))
    hash_sha256(env, raw + first, load64(env + _WITNESS) - first, env + _OUTPUTS)


def _share_v0(env: int) -> None:
    """What BIP143 shares between inputs."""
    if not load64(env + _HASHED) & _SHARED:
        _share(env)
    hash_sha256(env, env + _PREVOUTS, 32, env + _V0_PREVOUTS)
    hash_sha256(env, env + _SEQUENCES, 32, env + _V0_SEQUENCES)
    hash_sha256(env, env + _OUTPUTS, 32, env + _V0_OUTPUTS)
    store64(env + _HASHED, load64(env + _HASHED) | _SHARED | _V0)


def _share_taproot(env: int) -> None:
    """What BIP341 shares between inputs."""
    if not load64(env + _HASHED) & _SHARED:
        _share(env)
    room, inputs = load64(env + _ROOM), load64(env + _INPUTS)
    for k in range(inputs):
        copy(room + (k << 3), _txout(env, k), 8)
    hash_sha256(env, room, inputs << 3, env + _AMOUNTS)
    at = room
    for k in range(inputs):
        txout = _txout(env, k)
        size = _txout_size(txout) - 8
        copy(at, txout + 8, size)
        at += size
    hash_sha256(env, room, at - room, env + _SCRIPTS)
    store64(env + _HASHED, load64(env + _HASHED) | _SHARED | _TAPROOT)


def _version(env: int) -> int:
    return load32(load64(env + _RAW) + load64(env + _START))


def _lock_time(env: int) -> int:
    return load32(load64(env + _RAW) + load64(env + _END) - 4)


def _take_v0_message(env: int, index: int, code: int, size: int) -> None:
    """BIP143, SIGHASH_ALL."""
    if not load64(env + _HASHED) & _V0:
        _share_v0(env)
    room = load64(env + _ROOM)
    store32(room, _version(env))
    copy(room + 4, env + _V0_PREVOUTS, 64)  # and sequences
    copy(room + 68, _input(env, index), 36)
    at = _put_compact(room + 104, size)
    copy(at, code, size)
    at += size
    copy(at, _txout(env, index), 8)
    store32(at + 8, load32(_sequence(env, index)))
    copy(at + 12, env + _V0_OUTPUTS, 32)
    store32(at + 44, _lock_time(env))
    store32(at + 48, _ALL)
    hash_sha256d(env, room, at + 52 - room, env + _MESSAGE)


def _take_legacy_message(env: int, index: int, code: int, size: int) -> None:
    """The signature hash from before BIP143, SIGHASH_ALL, of a script code without OP_CODESEPARATOR."""
    room, raw, inputs = load64(env + _ROOM), load64(env + _RAW), load64(env + _INPUTS)
    store32(room, _version(env))
    at = _put_compact(room + 4, inputs)
    for k in range(inputs):
        copy(at, _input(env, k), 36)
        at = _put_compact(at + 36, size if k == index else 0)
        if k == index:
            copy(at, code, size)
            at += size
        store32(at, load32(_sequence(env, k)))
        at += 4
    start = load64(env + _AFTER_INPUTS)
    outputs = load64(env + _WITNESS) - start
    copy(at, raw + start, outputs)
    at += outputs
    store32(at, _lock_time(env))
    store32(at + 4, _ALL)
    hash_sha256d(env, room, at + 8 - room, env + _MESSAGE)


def _take_taproot_message(env: int, index: int, hash_type: int, leaf: int) -> None:
    """BIP341, all inputs and outputs, no annex; with the hash at address ``leaf`` BIP342's, unless that is 0."""
    if not load64(env + _HASHED) & _TAPROOT:
        _share_taproot(env)
    room = load64(env + _ROOM)
    store8(room, 0)
    store8(room + 1, hash_type)
    store32(room + 2, _version(env))
    store32(room + 6, _lock_time(env))
    copy(room + 10, env + _PREVOUTS, 32)
    copy(room + 42, env + _AMOUNTS, 32)
    copy(room + 74, env + _SCRIPTS, 32)
    copy(room + 106, env + _SEQUENCES, 32)
    copy(room + 138, env + _OUTPUTS, 32)
    store8(room + 170, 2 if leaf else 0)
    store32(room + 171, index)
    size = 175
    if leaf:
        copy(room + 175, leaf, 32)
        store8(room + 207, 0)
        store32(room + 208, 0xFFFFFFFF)
        size = 212
    hash_sha256_tagged(env, env + TAP_SIGHASH, room, size, env + _MESSAGE)


# ---- the templates


def _starts_p2pkh(script: int) -> bool:
    return load16(script) == 0xA976 and load8(script + 2) == 20 and load16(script + 23) == 0xAC88


def _matches_hash_160(env: int, at: int, size: int, wanted: int) -> bool:
    """Whether the bytes have this HASH160."""
    found = env + _HASH
    hash_160(env, at, size, found)
    return (
        load64(found) == load64(wanted)
        and load64(found + 8) == load64(wanted + 8)
        and load32(found + 16) == load32(wanted + 16)
    )


def _is_plain_key(key: int, size: int) -> bool:
    return size == 33 or (size == 65 and load8(key) == 4)


def _verify_p2pkh(env: int, index: int, script: int, flags: int) -> bool:
    """``<sig> <key>`` as script_sig."""
    size, at = _script_sig(env, index)
    if not _starts_p2pkh(script) or size < _MIN_SIG + 2 or load64(env + _INPUTS) > _MAX_LEGACY_INPUTS:
        return False
    sig_size = load8(at)
    if sig_size < _MIN_SIG or sig_size > _MAX_SIG or sig_size + 1 >= size:
        return False
    key, key_size = at + sig_size + 2, size - sig_size - 2
    if load8(key - 1) != key_size or not _is_plain_key(key, key_size) or load8(at + sig_size) != _ALL:
        return False
    if not _matches_hash_160(env, key, key_size, script + 3):
        return False
    _take_legacy_message(env, index, script, 25)
    return _check_ecdsa(env, key, key_size, at + 1, sig_size - 1, flags)


def _verify_p2wpkh(env: int, index: int, program: int, flags: int) -> bool:
    """A witness of signature and compressed key; ``program`` is the address of the key's hash."""
    if flags & _ANY_V0 != _ANY_V0 or _read_stack(env) != 2:
        return False
    sig, sig_size = load64(env + _PUSHES), load64(env + _SIZES)
    key, key_size = load64(env + _PUSHES + 8), load64(env + _SIZES + 8)
    if sig_size < _MIN_SIG or sig_size > _MAX_SIG or key_size != 33 or load8(sig + sig_size - 1) != _ALL:
        return False
    if load64(_txout(env, index)) < 0 or not _matches_hash_160(env, key, 33, program):
        return False
    code = env + _CODE
    store32(code, 0x14A976)
    copy(code + 3, program, 20)
    store8(code + 23, 0x88)
    store8(code + 24, _CHECKSIG)
    _take_v0_message(env, index, code, 25)
    return _check_ecdsa(env, key, 33, sig, sig_size - 1, flags)


def _read_stack(env: int) -> int:
    """Note where the elements of the input's stack are; their number, UNKNOWN where there are many."""
    raw, end = load64(env + _RAW), load64(env + _END)
    items, at = read_compact(raw, load64(env + _AT_STACK), end)
    if items > _MAX_PUSHES:
        return UNKNOWN
    for k in range(items):
        size, at = read_compact(raw, at, end)
        store64(env + _PUSHES + (k << 3), raw + at)
        store64(env + _SIZES + (k << 3), size)
        at += size
    return items


def _read_pushes(env: int, at: int, size: int) -> int:
    """Note what a script_sig pushes behind its OP_0, in the shortest form; how many, UNKNOWN for anything else."""
    if size == 0 or load8(at) != 0:
        return UNKNOWN
    end, count = at + size, 0
    at += 1
    while at < end:
        length = load8(at)
        at += 1
        if length == 0x4C:
            length = load8(at) if at < end else 0
            at += 1
            if length < 0x4C:
                return UNKNOWN
        elif length == 0x4D:
            length = load16(at) if at + 2 <= end else 0
            at += 2
            if length <= 0xFF or length > 520:
                return UNKNOWN
        elif length < _MIN_SIG or length > 0x4B:
            return UNKNOWN
        if count == _MAX_PUSHES or at + length > end:
            return UNKNOWN
        store64(env + _PUSHES + (count << 3), at)
        store64(env + _SIZES + (count << 3), length)
        count += 1
        at += length
    return count


def _count_keys(script: int, size: int, plain: int) -> int:
    """The number of keys of ``OP_m <keys> OP_n CHECKMULTISIG``, UNKNOWN for anything else."""
    end = size - 2
    if end < 35 or load8(script + size - 1) != _CHECKMULTISIG or load8(script) < 0x51 or load8(script) > 0x60:
        return UNKNOWN
    count, at = 0, 1
    while at < end:
        length, head = load8(script + at), load8(script + at + 1)
        if length == 33:
            if head != 2 and head != 3:
                return UNKNOWN
        elif length != 65 or not plain or head != 4:
            return UNKNOWN
        at += 1 + length
        count += 1
    return count if at == end and count <= 16 and load8(script + end) == 0x50 + count else UNKNOWN


def _verify_multisig(env: int, index: int, script: int, size: int, first: int, sigs: int, flags: int, v0: int) -> bool:
    """Whether the noted pushes from ``first`` on are ``sigs`` signatures that fit to the script's keys in order."""
    keys = _count_keys(script, size, 1 - v0)
    if keys < sigs or load8(script) - 0x50 != sigs:
        return False
    for k in range(first, first + sigs):
        sig, sig_size = load64(env + _PUSHES + (k << 3)), load64(env + _SIZES + (k << 3))
        if sig_size < _MIN_SIG or sig_size > _MAX_SIG or load8(sig + sig_size - 1) != _ALL:
            return False
    if v0:
        _take_v0_message(env, index, script, size)
    else:
        _take_legacy_message(env, index, script, size)
    spare, key, k = keys - sigs, script + 1, first
    while k < first + sigs:
        sig, sig_size = load64(env + _PUSHES + (k << 3)), load64(env + _SIZES + (k << 3))
        if _check_ecdsa(env, key + 1, load8(key), sig, sig_size - 1, flags):
            k += 1
        elif spare == 0:
            return False
        else:
            spare -= 1
        key += 1 + load8(key)
    return True


def _verify_p2wsh(env: int, index: int, program: int, flags: int) -> bool:
    """P2WSH of a multisig script; ``program`` is the address of the script's hash."""
    if flags & _ANY_V0 != _ANY_V0 or load64(_txout(env, index)) < 0:
        return False
    items = _read_stack(env)
    if items < 3 or load64(env + _SIZES) != 0:
        return False
    script, size = load64(env + _PUSHES + ((items - 1) << 3)), load64(env + _SIZES + ((items - 1) << 3))
    if size < 37 or size > 0xFFFF:
        return False
    hash_sha256(env, script, size, env + _HASH)
    return same32(env + _HASH, program) and _verify_multisig(env, index, script, size, 1, items - 2, flags, 1)


def _verify_p2sh(env: int, index: int, script: int, stack: int, flags: int) -> bool:
    """P2SH of a witness v0 program or of a multisig script; ``stack`` is the number of the input's elements."""
    if load16(script) != 0x14A9 or load8(script + 22) != 0x87 or not flags & _P2SH:
        return False
    size, at = _script_sig(env, index)
    if size == 23 or size == 35:
        if stack == 0 or load8(at) != size - 1 or load8(at + 1) != 0 or load8(at + 2) != size - 3:
            return False
        if not _matches_hash_160(env, at + 1, size - 1, script + 2):
            return False
        if size == 23:
            return _verify_p2wpkh(env, index, at + 3, flags)
        return _verify_p2wsh(env, index, at + 3, flags)
    if stack != 0 or load64(env + _INPUTS) > _MAX_LEGACY_INPUTS:
        return False
    pushes = _read_pushes(env, at, size)
    if pushes < 2:
        return False
    redeem, length = load64(env + _PUSHES + ((pushes - 1) << 3)), load64(env + _SIZES + ((pushes - 1) << 3))
    if not _matches_hash_160(env, redeem, length, script + 2):
        return False
    return _verify_multisig(env, index, redeem, length, 0, pushes - 1, flags, 0)


def _check_schnorr(env: int, index: int, sig: int, size: int, key: int, leaf: int) -> bool:
    """A taproot signature without annex."""
    hash_type = 0
    if size != 64:
        if size != 65 or load8(sig + 64) != _ALL:
            return False
        hash_type = _ALL
    parsed = _parsed_xonly(env, key)
    if parsed == 0:
        return False
    _take_taproot_message(env, index, hash_type, leaf)
    return call5(load64(env + SCHNORR_VERIFY), load64(env + SECP_CONTEXT), sig, env + _MESSAGE, 32, parsed) == 1


def _hash_branch(env: int, a: int, b: int) -> None:
    """The node above two nodes, written over the one at ``a``."""
    k = 0
    while k < 32 and load8(a + k) == load8(b + k):
        k += 1
    nodes = env + _NODES
    if k == 32 or load8(a + k) < load8(b + k):
        copy(nodes, a, 32)
        copy(nodes + 32, b, 32)
    else:
        copy(nodes, b, 32)
        copy(nodes + 32, a, 32)
    hash_sha256_tagged(env, env + TAP_BRANCH, nodes, 64, a)


def _verify_p2tr(env: int, index: int, program: int, flags: int) -> bool:
    """Key path without annex, or a tapscript of one key."""
    if flags & _ANY_TAPROOT != _ANY_TAPROOT:
        return False
    items = _read_stack(env)
    sig, sig_size = load64(env + _PUSHES), load64(env + _SIZES)
    if items == 1:
        return _check_schnorr(env, index, sig, sig_size, program, 0)
    if items != 3:
        return False
    script, size = load64(env + _PUSHES + 8), load64(env + _SIZES + 8)
    control, length = load64(env + _PUSHES + 16), load64(env + _SIZES + 16)
    if size != 34 or load8(script) != 32 or load8(script + 33) != _CHECKSIG:
        return False
    if length < 33 or length > 33 + 128 * 32 or (length - 33) & 31 or load8(control) & 0xFE != 0xC0:
        return False
    room, root = load64(env + _ROOM), env + _HASH
    store8(room, 0xC0)
    store8(room + 1, 34)
    copy(room + 2, script, 34)
    hash_sha256_tagged(env, env + TAP_LEAF, room, 36, env + _LEAF)
    copy(root, env + _LEAF, 32)
    at = 33
    while at < length:
        _hash_branch(env, root, control + at)
        at += 32
    nodes = env + _NODES
    copy(nodes, control + 1, 32)
    copy(nodes + 32, root, 32)
    hash_sha256_tagged(env, env + TAP_TWEAK, nodes, 64, root)
    parsed = _parsed_xonly(env, control + 1)
    context, parity = load64(env + SECP_CONTEXT), load8(control) & 1
    if parsed == 0 or call5(load64(env + TWEAK_CHECK), context, program, parity, parsed, root) != 1:
        return False
    return _check_schnorr(env, index, sig, sig_size, script + 1, env + _LEAF)


def _verify_input(env: int, index: int, flags: int) -> bool:
    """Whether an input is a standard spend and valid; ``_AT_STACK`` says where its stack is, 0 for nowhere."""
    txout = _txout(env, index)
    size, script = load8(txout + 8), txout + 9
    stack = 0
    if load64(env + _AT_STACK):
        stack = load8(load64(env + _RAW) + load64(env + _AT_STACK))
    if size == 25:
        return stack == 0 and _verify_p2pkh(env, index, script, flags)
    if size == 23:
        return _verify_p2sh(env, index, script, stack, flags)
    if stack == 0 or (size != 22 and size != 34) or load8(script + 1) != size - 2:
        return False
    script_size, _ = _script_sig(env, index)
    if script_size:
        return False
    version = load8(script)
    if size == 22:
        return version == 0 and _verify_p2wpkh(env, index, script + 2, flags)
    if version == 0:
        return _verify_p2wsh(env, index, script + 2, flags)
    return version == 0x51 and _verify_p2tr(env, index, script + 2, flags)


def _place_coins(coins: int, at: int, end: int, count: int, column: int) -> int:
    """Note where the txouts of ``count`` packed coins are; the offset behind them, or UNKNOWN."""
    for k in range(count):
        if at + 13 > end:
            return UNKNOWN
        store32(column + (k << 2), at + 4)
        size, at = read_compact(coins, at + 12, end)
        at += size
        if size < 0 or at > end:
            return UNKNOWN
    return at


def _open_tx(env: int, start: int, end: int) -> int:
    """Note where the parts of the transaction at ``start`` are; the offset behind it, or UNKNOWN."""
    in_pos, out_pos = load64(env + _IN_POS), load64(env + _OUT_POS)
    _, count, after, outputs, witness, at, flags = outline(load64(env + _RAW), start, end, in_pos, out_pos)
    if at < 0 or outputs == 0:
        return UNKNOWN
    store64(env + _START, start)
    store64(env + _AFTER_INPUTS, after)
    store64(env + _WITNESS, witness)
    store64(env + _END, at + 4)
    store64(env + _INPUTS, count)
    store64(env + _AT_STACK, witness if flags else 0)
    store64(env + _HASHED, 0)
    return at + 4


def verify_spends(
    env: int, raw: int, raw_size: int, coins: int, coins_size: int, jobs: int, flags: int, room: int
) -> int:
    """Verify ``jobs`` transactions one behind the other, with the packed coins that they spend.

    Returns the number of inputs, or UNKNOWN where the bytes are not what they should be. ``room`` is the address of a
    table of addresses: columns of u32 for inputs, outputs, coins; room for twice the bytes of both and 1,024 more; and
    a column of four u32 for each input that was not proven: job, input, offset of the transaction and of its coins.
    Behind the table stands how many these are.
    """
    store64(env + _RAW, raw)
    store64(env + _IN_POS, load64(room))
    store64(env + _OUT_POS, load64(room + 8))
    store64(env + _COINS, coins)
    store64(env + _COIN_POS, load64(room + 16))
    store64(env + _ROOM, load64(room + 24))
    left, count = load64(room + 32), 0
    at = coin_at = inputs = 0
    for job in range(jobs):
        start, coin_start = at, coin_at
        at = _open_tx(env, start, raw_size)
        if at < 0:
            return UNKNOWN
        of_job = load64(env + _INPUTS)
        coin_at = _place_coins(coins, coin_start, coins_size, of_job, load64(room + 16))
        if coin_at < 0:
            return UNKNOWN
        for index in range(of_job):
            if not _verify_input(env, index, flags):
                record = left + (count << 4)
                store32(record, job)
                store32(record + 4, index)
                store32(record + 8, start)
                store32(record + 12, coin_start)
                count += 1
            if load64(env + _AT_STACK):
                store64(env + _AT_STACK, skip_stack(raw, load64(env + _AT_STACK), at))
        inputs += of_job
    store64(room + 40, count)
    return inputs if at == raw_size and coin_at == coins_size else UNKNOWN
