"""Random scripts that can be spent: built of fragments, with places where signatures go.

A fragment checks something and leaves the stack as it found it; the last one leaves true. The builder remembers
what each signature covers, so that the finished script can be signed under legacy, witness v0 or tapscript rules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from btcnode.primitives.hashes import hash160, ripemd160, sha256d
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import iter_ops, push_data
from btcnode.script.signatures import CURVE_ORDER, pubkey_create

SEPARATOR, CHECKSIG, CHECKSIGVERIFY, CHECKMULTISIG, CHECKMULTISIGVERIFY = 0xAB, 0xAC, 0xAD, 0xAE, 0xAF
HASH_TYPES = (1, 2, 3, 0x81, 0x82, 0x83)


@dataclass(frozen=True, slots=True)
class Key:
    """A secret and its public key in every form."""

    secret: bytes
    compressed: bytes
    uncompressed: bytes

    @property
    def xonly(self) -> bytes:
        """32 bytes."""
        return self.compressed[1:]

    @property
    def hybrid(self) -> bytes:
        """65 bytes with prefix 06 or 07."""
        return bytes((6 + (self.uncompressed[-1] & 1),)) + self.uncompressed[1:]


def make_key(seed: int) -> Key:
    """A deterministic key."""
    secret = hashlib.sha256(b"script case key" + seed.to_bytes(8, "big")).digest()
    return Key(secret, pubkey_create(secret), pubkey_create(secret, compressed=False))


KEYS = [make_key(seed) for seed in range(12)]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a signature: the key, the hash type and what the script code is.

    ``code_start`` is the offset behind the last separator, ``separator`` its opcode index (0xFFFFFFFF for none).
    """

    key: Key
    hash_type: int
    code_start: int = 0
    separator: int = 0xFFFFFFFF


Argument = bytes | Slot


def number(value: int) -> bytes:
    """The shortest push of a number."""
    if value == 0:
        return b"\0"
    if -1 <= value <= 16:
        return bytes((0x50 + value,))
    return push_data(encode_number(value))


def random_hash_type(rng: Random) -> int:
    """ALL more often than not, sometimes any byte."""
    if rng.random() < 0.5:
        return 1
    return rng.choice(HASH_TYPES) if rng.random() < 0.9 else rng.randrange(256)


class ScriptBuilder:
    """Collects a script and the arguments that satisfy it (``arguments``: the one that is needed first, first)."""

    def __init__(self, rng: Random, tapscript: bool) -> None:
        self.rng = rng
        self.tapscript = tapscript
        self.script = b""
        self.arguments: list[Argument] = []
        self._code_start = 0
        self._separator = 0xFFFFFFFF

    def slot(self) -> Slot:
        """A signature by a random key, valid where the script stands now."""
        rng = self.rng
        hash_type = random_hash_type(rng)
        if self.tapscript and rng.random() < 0.5:
            hash_type = 0
        return Slot(rng.choice(KEYS), hash_type, self._code_start, self._separator)

    def public(self, key: Key) -> bytes:
        """A form of the key that the rules accept, rarely another."""
        roll = self.rng.random()
        if self.tapscript:
            return key.xonly if roll < 0.93 else key.compressed if roll < 0.98 else b""
        if roll < 0.8:
            return key.compressed
        if roll < 0.92:
            return key.uncompressed
        return key.hybrid if roll < 0.97 else self.rng.randbytes(self.rng.choice((0, 1, 32, 33, 65)))

    def signature(self, opcode: int) -> None:
        """``<key> CHECKSIG`` or ``CHECKSIGVERIFY``."""
        slot = self.slot()
        self.script += push_data(self.public(slot.key)) + bytes((opcode,))
        self.arguments.append(slot)

    def multisig(self, verify: bool) -> None:
        """m of n keys; in tapscript with CHECKSIGADD."""
        rng = self.rng
        total = rng.choice((1, 2, 2, 3, 3, 3, 5, 15, 20)) if rng.random() < 0.95 else 0
        needed = rng.randint(min(1, total), min(total, 3))
        keys = [rng.choice(KEYS) for _ in range(total)]
        signers = sorted(rng.sample(range(total), needed))
        shared = self.slot()
        slots = {n: Slot(keys[n], shared.hash_type, shared.code_start, shared.separator) for n in signers}
        if self.tapscript:
            for n, key in enumerate(keys):
                self.script += b"" if n else b"\0"
                self.script += push_data(self.public(key)) + b"\xba"
            self.script += (b"" if total else b"\0") + number(needed) + (b"\x9d" if verify else b"\x9c")
            # every CHECKSIGADD takes its signature from below the running count
            self.arguments += [slots.get(n, b"") for n in range(total)]
            return
        pushes = b"".join(push_data(self.public(key)) for key in keys)
        self.script += number(needed) + pushes + number(total)
        self.script += bytes((CHECKMULTISIGVERIFY if verify else CHECKMULTISIG,))
        self.arguments += [slots[n] for n in reversed(signers)]
        self.arguments.append(b"" if rng.random() < 0.95 else b"\1")

    def hashlock(self, verify: bool) -> None:
        """The preimage of a hash."""
        rng = self.rng
        preimage = rng.randbytes(rng.choice((0, 1, 20, 32, 75, 76, 255, 256, 520)))
        opcode, digest = rng.choice(
            (
                (0xA6, ripemd160(preimage)),
                (0xA7, hashlib.sha1(preimage).digest()),
                (0xA8, hashlib.sha256(preimage).digest()),
                (0xA9, hash160(preimage)),
                (0xAA, sha256d(preimage)),
            )
        )
        self.script += bytes((opcode,)) + push_data(digest) + (b"\x88" if verify else b"\x87")
        self.arguments.append(preimage)

    def lock(self) -> None:
        """CHECKLOCKTIMEVERIFY or CHECKSEQUENCEVERIFY with a value that may or may not hold."""
        rng = self.rng
        value = rng.choice(
            (0, 1, 16, 100, 65535, 65536, 499_999_999, 500_000_000, 2**31 - 1, 2**31, 2**32 - 1, 1 << 22)
        )
        if rng.random() < 0.1:
            value = rng.choice((-1, 2**39 - 1, 2**39, (1 << 22) + 5, rng.randrange(2**32)))
        self.script += number(value) + rng.choice((b"\xb1", b"\xb2")) + b"\x75"

    def arithmetic(self) -> None:
        """A sum that is right."""
        rng = self.rng
        a, b = rng.randint(-(2**31) + 1, 2**31 - 1), rng.randint(-200, 200)
        if rng.random() < 0.5:
            a = rng.randint(-20, 20)
        self.script += number(a) + number(b) + b"\x93" + number(a + b) + b"\x87\x69"

    def noise(self) -> None:
        """Opcodes that leave the stack as it was."""
        rng = self.rng
        self.script += rng.choice(
            (
                b"\x61", b"\xb0", b"\xb3", b"\xb9", b"\x74\x75", b"\x51\x6b\x6c\x75", b"\x51\x52\x6d", b"\x51\x69",
                b"\0\x63\x50\x68", b"\x51\x64\xff\x68", b"\x51\x63\x67\x68", b"\x51\x63\x67\x67\x67\x68",
                b"\x4f\x8f\x69", b"\0\x63\x65\x68", b"\0\x63\x7e\x68", b"\0\x63\x6a\x68", b"\0\x91\x69",
                b"\x51\x73\x6d", b"\x60\x76\x88", b"\x4c\x01\x05\x75",
                push_data(rng.randbytes(rng.choice((1, 75, 76, 520, 521)))) + b"\x75",
            )
        )  # fmt: skip

    def separator(self) -> None:
        """OP_CODESEPARATOR."""
        self._separator = sum(1 for _ in iter_ops(self.script))
        self.script += bytes((SEPARATOR,))
        self._code_start = len(self.script)

    def branch(self, depth: int) -> None:
        """IF or NOTIF over two fragments, with the condition as argument."""
        rng = self.rng
        taken = rng.random() < 0.5
        inverted = rng.random() < 0.3
        condition = b"\x01" if taken else b""
        if rng.random() < 0.05:
            condition = rng.choice((b"\x02", b"\0", b"\x80", b"\x01\0"))
        self.arguments.append(condition)
        self.script += b"\x64" if inverted else b"\x63"
        before, position = len(self.arguments), (self._code_start, self._separator)
        for arm in (True, False):
            self.fragment(depth + 1)
            if arm == (taken == inverted):  # the arm that does not run needs no arguments, nor does its separator count
                del self.arguments[before:]
                self._code_start, self._separator = position
            elif arm:
                before, position = len(self.arguments), (self._code_start, self._separator)
            self.script += b"\x67" if arm else b"\x68"

    def fragment(self, depth: int = 0) -> None:
        """One random fragment that leaves the stack as it was."""
        roll = self.rng.random()
        if roll < 0.3:
            self.signature(CHECKSIGVERIFY)
        elif roll < 0.38:
            self.multisig(True)
        elif roll < 0.5:
            self.hashlock(True)
        elif roll < 0.58:
            self.lock()
        elif roll < 0.66:
            self.arithmetic()
        elif roll < 0.76:
            self.separator()
        elif roll < 0.86 and depth < 2:
            self.branch(depth)
        else:
            self.noise()

    def finish(self) -> None:
        """The last fragment."""
        roll = self.rng.random()
        if roll < 0.55:
            self.signature(CHECKSIG)
        elif roll < 0.8:
            self.multisig(False)
        elif roll < 0.9:
            self.hashlock(False)
        else:
            self.script += number(self.rng.choice((1, 1, 1, 16, -1, 0)))


def damaged_der(rng: Random, der: bytes) -> bytes:
    """A DER signature in one of the forms that differ from the strict one; some verify, some do not."""
    size_r = der[3]
    r, s = der[4 : 4 + size_r], der[6 + size_r :]
    roll = rng.randrange(10)
    if roll == 0:
        high = CURVE_ORDER - int.from_bytes(s, "big")
        s = high.to_bytes(33, "big").lstrip(b"\0")
        s = b"\0" + s if s[0] & 0x80 else s
    elif roll == 1:
        r = b"\0" * rng.randint(1, 3) + r
    elif roll == 2:
        s = b"\0" * rng.randint(1, 3) + s
    elif roll == 3:
        r = r.lstrip(b"\0")
    elif roll == 4:
        return der + rng.randbytes(rng.randint(1, 3))
    elif roll == 5:
        return der[:1] + bytes((rng.randrange(256),)) + der[2:]
    elif roll == 6:
        return b"\x30\x81" + der[1:]
    elif roll == 7:
        return der[:3] + b"\x81" + der[3:]
    elif roll == 8:
        return der[: rng.randrange(len(der))]
    else:
        position = rng.randrange(len(der))
        return der[:position] + rng.randbytes(1) + der[position + 1 :]
    body = b"\x02" + bytes((len(r),)) + r + b"\x02" + bytes((len(s),)) + s
    return b"\x30" + bytes((len(body),)) + body


# Opcodes by the number of stack elements they need, and what they add to the depth.
_SOUP = [
    (op, 0, 0) for op in (0x61, 0xB0, 0xB3, 0xB4, 0xB9, 0xAB)
] + [(0x74, 0, 1), (0x6B, 1, -1), (0x6C, 0, 1), (0x6D, 2, -2), (0x6E, 2, 2), (0x6F, 3, 3), (0x70, 4, 2), (0x71, 6, 0),
     (0x72, 4, 0), (0x73, 1, 0), (0x75, 1, -1), (0x76, 1, 1), (0x77, 2, -1), (0x78, 2, 1), (0x79, 2, 0), (0x7A, 2, -1),
     (0x7B, 3, 0), (0x7C, 2, 0), (0x7D, 2, 1), (0x82, 1, 1), (0x87, 2, -1), (0x88, 2, -2), (0x69, 1, -1),
     *[(op, 1, 0) for op in (0x8B, 0x8C, 0x8F, 0x90, 0x91, 0x92, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA)],
     *[(op, 2, -1) for op in (0x93, 0x94, 0x9A, 0x9B, 0x9C, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xAC)],
     (0x9D, 2, -2), (0xA5, 3, -2), (0xAD, 2, -2), (0xAE, 3, -2), (0xAF, 3, -3), (0xB1, 1, 0), (0xB2, 1, 0),
     (0xBA, 3, -2), (0x63, 1, -1), (0x64, 1, -1), (0x67, 0, 0), (0x68, 0, 0)]  # fmt: skip


def soup(rng: Random) -> bytes:
    """A random script: mostly opcodes whose operands are likely to be there, sometimes plain noise."""
    if rng.random() < 0.08:
        return rng.randbytes(rng.choice((0, 1, 5, 20, 100, 600)))
    parts: list[bytes] = []
    depth = 2
    open_ifs = 0
    for _ in range(rng.choice((3, 8, 20, 60, 230)) if rng.random() < 0.9 else rng.randint(1, 1100)):
        roll = rng.random()
        if depth < 3 or roll < 0.35:
            parts.append(_soup_push(rng))
            depth += 1
        elif roll < 0.97:
            op, needed, change = rng.choice(_SOUP)
            if needed > depth and rng.random() < 0.97:
                continue
            open_ifs += (op in (0x63, 0x64)) - (op == 0x68)
            parts.append(bytes((op,)))
            depth += change
        else:
            parts.append(bytes((rng.randrange(0x4F, 256),)))
    if rng.random() < 0.9:
        parts.append(b"\x68" * max(0, open_ifs))
    if rng.random() < 0.7:
        parts.append(b"\x51")
    return b"".join(parts)


def _soup_push(rng: Random) -> bytes:
    """A push: small numbers, numbers of four and five bytes, keys, something like a signature, limits."""
    roll = rng.random()
    if roll < 0.55:
        return number(rng.randint(-1, 5))
    if roll < 0.7:
        return push_data(encode_number(rng.choice((127, 128, -255, 2**31 - 1, 2**31, -(2**31), rng.getrandbits(33)))))
    if roll < 0.8:
        return push_data(rng.randbytes(rng.choice((0, 1, 2, 4, 5, 20, 32))))
    if roll < 0.9:
        key = rng.choice(KEYS)
        return push_data(rng.choice((key.compressed, key.uncompressed, key.xonly, key.hybrid)))
    if roll < 0.95:
        return push_data(b"\x30\x06\x02\x01\x01\x02\x01\x01" + bytes((random_hash_type(rng),)))
    if roll < 0.97:
        data = rng.randbytes(rng.choice((1, 75, 76, 255, 256, 520, 521)))
        return rng.choice((b"\x4d" + len(data).to_bytes(2, "little"), b"\x4e" + len(data).to_bytes(4, "little"))) + data
    return rng.choice((b"\x01\x80", b"\x02\0\0", b"\x4c\x00", b"\x01\x00", b"\x02\x00\x80"))
