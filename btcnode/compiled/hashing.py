"""Kernels: SHA-256 and RIPEMD-160 over memory, by OpenSSL's compression functions; merkle trees.

``env`` is the address of the environment, one for each thread: the addresses of foreign functions, then room to work.
"""

from __future__ import annotations

from btcnode.compiled.memory import call2, clear, copy, load32, load64, store8, store32, swap32

# offsets in the environment: functions, their data
SHA256_TRANSFORM = 0
RIPEMD160_TRANSFORM = 8
_STATE = 256  # SHA256_CTX or RIPEMD160_CTX: the chaining value is in front in both
_TAIL = 512  # the last one or two blocks of a message
_SECOND = 640  # a block for 32 bytes and their padding
_PAIR_END = 704  # the padding of 64 bytes
_DIGEST = 768  # a first digest on its way to the second hash

_BLOCK = 64


def set_up_hashing(env: int) -> None:
    """Write the paddings that never change."""
    clear(env + _SECOND, 2 * _BLOCK)
    store8(env + _SECOND + 32, 0x80)
    store8(env + _SECOND + 62, 1)  # 256 bits, big-endian
    store8(env + _PAIR_END, 0x80)
    store8(env + _PAIR_END + 62, 2)  # 512 bits


def _begin(state: int) -> None:
    store32(state, 0x6A09E667)
    store32(state + 4, 0xBB67AE85)
    store32(state + 8, 0x3C6EF372)
    store32(state + 12, 0xA54FF53A)
    store32(state + 16, 0x510E527F)
    store32(state + 20, 0x9B05688C)
    store32(state + 24, 0x1F83D9AB)
    store32(state + 28, 0x5BE0CD19)


def _take_digest(state: int, to: int) -> None:
    for k in range(8):
        store32(to + (k << 2), swap32(load32(state + (k << 2))))


def _sha256_on(env: int, at: int, size: int, before: int, to: int) -> None:
    """Go on with the state over ``size`` bytes behind ``before`` whole blocks' bytes, pad, and write the digest."""
    transform = load64(env + SHA256_TRANSFORM)
    state, tail = env + _STATE, env + _TAIL
    rest = size & 63
    end = at + size - rest
    while at < end:
        call2(transform, state, at)
        at += _BLOCK
    clear(tail, 2 * _BLOCK)
    copy(tail, at, rest)
    store8(tail + rest, 0x80)
    bits = (before + size) << 3
    last = 56 if rest < 56 else 120
    store32(tail + last, swap32(bits >> 32))
    store32(tail + last + 4, swap32(bits))
    call2(transform, state, tail)
    if last == 120:
        call2(transform, state, tail + _BLOCK)
    _take_digest(state, to)


def hash_sha256(env: int, at: int, size: int, to: int) -> None:
    """SHA-256 of ``size`` bytes, 32 bytes at ``to``."""
    _begin(env + _STATE)
    _sha256_on(env, at, size, 0, to)


def hash_sha256_tagged(env: int, middle: int, at: int, size: int, to: int) -> None:
    """The same behind one block that has been taken in: ``middle`` has the eight words of that state."""
    copy(env + _STATE, middle, 32)
    _sha256_on(env, at, size, _BLOCK, to)


def _hash_32(env: int, to: int) -> None:
    """SHA-256 of the 32 bytes in the second block."""
    _begin(env + _STATE)
    call2(load64(env + SHA256_TRANSFORM), env + _STATE, env + _SECOND)
    _take_digest(env + _STATE, to)


def hash_sha256d(env: int, at: int, size: int, to: int) -> None:
    """Double SHA-256 of ``size`` bytes, 32 bytes at ``to``."""
    hash_sha256(env, at, size, env + _SECOND)
    _hash_32(env, to)


def _hash_pair(env: int, at: int, to: int) -> None:
    """Double SHA-256 of 64 bytes."""
    transform = load64(env + SHA256_TRANSFORM)
    _begin(env + _STATE)
    call2(transform, env + _STATE, at)
    call2(transform, env + _STATE, env + _PAIR_END)
    _take_digest(env + _STATE, env + _SECOND)
    _hash_32(env, to)


def hash_160(env: int, at: int, size: int, to: int) -> None:
    """RIPEMD-160 of SHA-256 of ``size`` bytes, 20 bytes at ``to``."""
    state, block = env + _STATE, env + _TAIL
    hash_sha256(env, at, size, env + _DIGEST)
    clear(block, _BLOCK)
    copy(block, env + _DIGEST, 32)
    store8(block + 32, 0x80)
    store8(block + 57, 1)  # 256 bits, little-endian
    store32(state, 0x67452301)
    store32(state + 4, 0xEFCDAB89)
    store32(state + 8, 0x98BADCFE)
    store32(state + 12, 0x10325476)
    store32(state + 16, 0xC3D2E1F0)
    call2(load64(env + RIPEMD160_TRANSFORM), state, block)
    copy(to, state, 20)


def same32(a: int, b: int) -> bool:
    """Whether 32 bytes are the same at both addresses."""
    return (
        load64(a) == load64(b)
        and load64(a + 8) == load64(b + 8)
        and load64(a + 16) == load64(b + 16)
        and load64(a + 24) == load64(b + 24)
    )


def fold_merkle_tree(env: int, hashes: int, count: int) -> int:
    """The merkle root of ``count`` hashes, at least one, written over the first; whether the list is a mutation.

    ``hashes`` has room for one hash more, and is used up. See ``primitives.merkle.merkle_root``.
    """
    mutated = 0
    while count > 1:
        pairs = count >> 1
        for k in range(pairs):
            left = hashes + (k << 6)
            if same32(left, left + 32):
                mutated = 1
            _hash_pair(env, left, hashes + (k << 5))
        if count & 1:
            last = hashes + ((count - 1) << 5)
            copy(last + 32, last, 32)
            _hash_pair(env, last, hashes + (pairs << 5))
            pairs += 1
        count = pairs
    return mutated


def middle_of_tag(env: int, tag_digest: int, to: int) -> None:
    """The state behind a BIP340 tag, as eight words: after the block of its digest twice."""
    copy(env + _TAIL, tag_digest, 32)
    copy(env + _TAIL + 32, tag_digest, 32)
    _begin(env + _STATE)
    call2(load64(env + SHA256_TRANSFORM), env + _STATE, env + _TAIL)
    copy(to, env + _STATE, 32)
