"""Caches of verification results: signatures that are valid, and transactions whose scripts all are.

Both hold salted SHA-256 digests only, so nobody who does not know the salt can aim at a slot, and both remember
successes only. They are bounded in bytes by two generations: when the young one is full it becomes the old one and the
previous old one is forgotten, so an entry lives for at least half the capacity, longer when it is asked for.

Adding to and looking into a set are single steps of CPython, so threads may share a cache: at worst an entry is lost.
"""

from __future__ import annotations

from btcnode.primitives.hashes import sha256
from btcnode.script.signatures import is_low_der_s, verify_ecdsa, verify_ecdsa_strict, verify_schnorr

ENTRY_BYTES = 160
"""Memory for one entry at worst: the 32-byte digest as an object (65) and its share of the slots (70 measured)."""

DEFAULT_SIGNATURE_CACHE_BYTES = 16 * 1024 * 1024
DEFAULT_EXECUTION_CACHE_BYTES = 16 * 1024 * 1024
SALT_SIZE = 32


class GenerationSet:
    """A set of 32-byte digests in at most ``max_bytes`` of memory; the oldest half is forgotten at a time."""

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 2 * ENTRY_BYTES:
            raise ValueError(f"a cache needs at least {2 * ENTRY_BYTES} bytes")
        self._limit = max_bytes // ENTRY_BYTES // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, digest: bytes) -> bool:
        if digest in self._young:
            return True
        if digest in self._old:
            self.add(digest)
            return True
        return False

    def __len__(self) -> int:
        return len(self._young | self._old)

    def add(self, digest: bytes) -> None:
        """Remember ``digest``."""
        young = self._young
        if len(young) >= self._limit:
            self._old = young
            self._young = young = set()
        young.add(digest)


def _require_salt(salt: bytes) -> None:
    if len(salt) != SALT_SIZE:
        raise ValueError(f"the salt has {SALT_SIZE} bytes")


class SignatureCache:
    """Verifies signatures, and each valid one only once; a ``SignatureVerifier`` for ``SighashContext``.

    ``salt`` is 32 random bytes per process, handed in because this room has no randomness of its own. The three
    methods are those of ``signatures`` with the same arguments and results.
    """

    __slots__ = ("_lax", "_schnorr", "_strict", "_valid")

    def __init__(self, salt: bytes, max_bytes: int = DEFAULT_SIGNATURE_CACHE_BYTES) -> None:
        _require_salt(salt)
        self._valid = GenerationSet(max_bytes)
        self._lax, self._strict, self._schnorr = (sha256(salt + kind + bytes(31)) for kind in (b"E", b"D", b"S"))

    def __len__(self) -> int:
        return len(self._valid)

    def verify_ecdsa(self, pubkey: bytes, sig_der: bytes, msg32: bytes) -> bool:
        """``signatures.verify_ecdsa``."""
        state = self._lax.copy()
        state.update(msg32 + pubkey + sig_der)  # a valid key's first byte tells its size
        slot = state.digest()
        if slot in self._valid:
            return True
        if not verify_ecdsa(pubkey, sig_der, msg32):
            return False
        self._valid.add(slot)
        return True

    def verify_ecdsa_strict(self, pubkey: bytes, sig_der: bytes, msg32: bytes, low_s: bool) -> bool:
        """``signatures.verify_ecdsa_strict``; what was valid with a low S is so without that demand."""
        state = self._strict.copy()
        state.update(msg32 + pubkey + sig_der)
        slot = state.digest()
        if slot in self._valid:
            return not low_s or is_low_der_s(sig_der)
        if not verify_ecdsa_strict(pubkey, sig_der, msg32, low_s):
            return False
        self._valid.add(slot)
        return True

    def verify_schnorr(self, xonly32: bytes, sig64: bytes, msg: bytes) -> bool:
        """``signatures.verify_schnorr``."""
        state = self._schnorr.copy()
        state.update(xonly32 + sig64 + msg)
        slot = state.digest()
        if slot in self._valid:
            return True
        if not verify_schnorr(xonly32, sig64, msg):
            return False
        self._valid.add(slot)
        return True


class ScriptExecutionCache:
    """Transactions whose scripts have all been verified under some flags (Core's script execution cache).

    The wtxid commits to the spent outputs through the prevouts' txids, so it stands for the whole verification.
    """

    __slots__ = ("_salted", "_valid")

    def __init__(self, salt: bytes, max_bytes: int = DEFAULT_EXECUTION_CACHE_BYTES) -> None:
        _require_salt(salt)
        self._valid = GenerationSet(max_bytes)
        self._salted = sha256(salt + b"X" + bytes(31))

    def __len__(self) -> int:
        return len(self._valid)

    def _digest(self, wtxid: bytes, flags: int) -> bytes:
        state = self._salted.copy()
        state.update(wtxid + flags.to_bytes(8, "little"))
        return state.digest()

    def contains(self, wtxid: bytes, flags: int) -> bool:
        """Whether ``add`` has been called with the same wtxid and flags."""
        return self._digest(wtxid, flags) in self._valid

    def add(self, wtxid: bytes, flags: int) -> None:
        """Remember that every input of the transaction is valid under ``flags``."""
        self._valid.add(self._digest(wtxid, flags))
