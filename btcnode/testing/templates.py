"""Standard spends, signed: one object per output template, from deterministic keys."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.record import record
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SIGHASH_ALL, SIGHASH_DEFAULT, SighashContext, tapleaf_hash
from btcnode.script.signatures import (
    pubkey_create,
    sign_ecdsa,
    sign_schnorr,
    taproot_tweak_pubkey,
    taproot_tweak_seckey,
    xonly,
)

OP_2, OP_3, CHECKMULTISIG, CHECKSIG = b"\x52", b"\x53", b"\xae", b"\xac"
TAPSCRIPT_LEAF = 0xC0

Solution = tuple[bytes, list[bytes]]  # script_sig and witness stack
Signer = Callable[[SighashContext, int], Solution]


@record
class Spendable:
    """A script_pubkey and how to spend it."""

    template: str
    script_pubkey: bytes
    sign: Signer


def seckey(seed: int) -> bytes:
    """A deterministic private key."""
    return sha256(b"btcnode test key" + seed.to_bytes(8, "big")).digest()


def _taproot_digest(ctx: SighashContext, index: int, leaf_hash: bytes | None = None) -> bytes:
    """The hash to sign under the default hash type, which no input can lack."""
    digest = ctx.taproot(index, SIGHASH_DEFAULT, leaf_hash=leaf_hash)
    if digest is None:
        raise ValueError("no signature hash for this input")
    return digest


def _amount(ctx: SighashContext, index: int) -> bytes:
    return ctx.amount(index)


def p2pkh(seed: int) -> Spendable:
    """Pay to public key hash."""
    key = seckey(seed)
    pub = pubkey_create(key)
    script = b"\x76\xa9\x14" + hash160(pub) + b"\x88\xac"

    def sign(ctx: SighashContext, index: int) -> Solution:
        sig = sign_ecdsa(key, ctx.legacy(index, script, SIGHASH_ALL)) + b"\x01"
        return push_data(sig) + push_data(pub), []

    return Spendable("p2pkh", script, sign)


def _v0_key_solution(key: bytes, pub: bytes, ctx: SighashContext, index: int) -> list[bytes]:
    code = b"\x76\xa9\x14" + hash160(pub) + b"\x88\xac"
    return [sign_ecdsa(key, ctx.segwit_v0(index, code, _amount(ctx, index), SIGHASH_ALL)) + b"\x01", pub]


def p2wpkh(seed: int) -> Spendable:
    """Pay to witness public key hash."""
    key = seckey(seed)
    pub = pubkey_create(key)
    return Spendable(
        "p2wpkh", b"\x00\x14" + hash160(pub), lambda ctx, index: (b"", _v0_key_solution(key, pub, ctx, index))
    )


def p2sh_p2wpkh(seed: int) -> Spendable:
    """P2WPKH wrapped in P2SH."""
    key = seckey(seed)
    pub = pubkey_create(key)
    redeem = b"\x00\x14" + hash160(pub)
    return Spendable(
        "p2sh-p2wpkh",
        b"\xa9\x14" + hash160(redeem) + b"\x87",
        lambda ctx, index: (push_data(redeem), _v0_key_solution(key, pub, ctx, index)),
    )


def _multisig(seed: int) -> tuple[list[bytes], bytes]:
    """Three keys and their 2-of-3 script."""
    keys = [seckey(seed * 3 + i) for i in range(3)]
    return keys, OP_2 + b"".join(push_data(pubkey_create(key)) for key in keys) + OP_3 + CHECKMULTISIG


def p2sh_multisig(seed: int) -> Spendable:
    """2-of-3 multisig in P2SH."""
    keys, redeem = _multisig(seed)

    def sign(ctx: SighashContext, index: int) -> Solution:
        digest = ctx.legacy(index, redeem, SIGHASH_ALL)
        sigs = [sign_ecdsa(key, digest) + b"\x01" for key in keys[:2]]
        return b"\x00" + b"".join(map(push_data, sigs)) + push_data(redeem), []

    return Spendable("p2sh-multisig", b"\xa9\x14" + hash160(redeem) + b"\x87", sign)


def p2wsh_multisig(seed: int) -> Spendable:
    """2-of-3 multisig in P2WSH."""
    keys, witness_script = _multisig(seed)

    def sign(ctx: SighashContext, index: int) -> Solution:
        digest = ctx.segwit_v0(index, witness_script, _amount(ctx, index), SIGHASH_ALL)
        return b"", [b"", *(sign_ecdsa(key, digest) + b"\x01" for key in keys[:2]), witness_script]

    return Spendable("p2wsh-multisig", b"\x00\x20" + sha256(witness_script).digest(), sign)


def p2tr_key(seed: int) -> Spendable:
    """Taproot, spent by its key."""
    key = seckey(seed)
    output, _ = taproot_tweak_pubkey(xonly(key))
    tweaked = taproot_tweak_seckey(key)

    def sign(ctx: SighashContext, index: int) -> Solution:
        return b"", [sign_schnorr(tweaked, _taproot_digest(ctx, index))]

    return Spendable("p2tr-key", b"\x51\x20" + output, sign)


def p2tr_script(seed: int) -> Spendable:
    """Taproot, spent by its only leaf: a single-key CHECKSIG script."""
    key, internal = seckey(seed), xonly(seckey(seed + (1 << 32)))
    leaf = push_data(xonly(key)) + CHECKSIG
    leaf_hash = tapleaf_hash(TAPSCRIPT_LEAF, leaf)
    output, parity = taproot_tweak_pubkey(internal, leaf_hash)
    control = bytes([TAPSCRIPT_LEAF | parity]) + internal

    def sign(ctx: SighashContext, index: int) -> Solution:
        digest = _taproot_digest(ctx, index, leaf_hash)
        return b"", [sign_schnorr(key, digest), leaf, control]

    return Spendable("p2tr-script", b"\x51\x20" + output, sign)


TEMPLATES: dict[str, Callable[[int], Spendable]] = {
    "p2pkh": p2pkh,
    "p2wpkh": p2wpkh,
    "p2sh-p2wpkh": p2sh_p2wpkh,
    "p2sh-multisig": p2sh_multisig,
    "p2wsh-multisig": p2wsh_multisig,
    "p2tr-key": p2tr_key,
    "p2tr-script": p2tr_script,
}

# shares of inputs, roughly those of mainnet blocks of 2024
REALISTIC_MIX = {
    "p2wpkh": 52,
    "p2tr-key": 16,
    "p2pkh": 14,
    "p2sh-p2wpkh": 8,
    "p2wsh-multisig": 5,
    "p2sh-multisig": 3,
    "p2tr-script": 2,
}


def signed_tx(
    inputs: list[tuple[bytes, bytes, Spendable]],
    txouts: list[bytes],
    *,
    version: int = 2,
    lock_time: int = 0,
    sequence: int = 0xFFFFFFFD,
) -> Tx:
    """A transaction that spends ``(outpoint, txout, how)`` inputs into ``txouts``, all inputs signed."""
    prevouts = [outpoint for outpoint, _, _ in inputs]
    blank = Tx(version, prevouts, [b""] * len(inputs), [sequence] * len(inputs), txouts, lock_time=lock_time)
    ctx = SighashContext(blank, [txout for _, txout, _ in inputs])
    solutions = [how.sign(ctx, index) for index, (_, _, how) in enumerate(inputs)]
    return Tx(
        version,
        prevouts,
        [script_sig for script_sig, _ in solutions],
        blank.sequences,
        txouts,
        [witness for _, witness in solutions],
        lock_time,
    )
