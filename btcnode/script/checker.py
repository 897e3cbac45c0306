"""What a script can ask about the transaction that spends it: signatures and lock times of one input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.primitives.tx import SEQUENCE_FINAL
from btcnode.script.encoding import is_sized_pubkey
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.opcodes import (
    LOCKTIME_THRESHOLD,
    SEQUENCE_LOCKTIME_DISABLE_FLAG,
    SEQUENCE_LOCKTIME_MASK,
    SEQUENCE_LOCKTIME_TYPE_FLAG,
)
from btcnode.script.sighash import (
    NO_CODESEPARATOR,
    SIGHASH_ANYONECANPAY,
    SIGHASH_NONE,
    SIGHASH_SINGLE,
    SINGLE_BUG_HASH,
    SighashContext,
    finish,
)

if TYPE_CHECKING:
    from hashlib import _Hash

_SEQUENCE_BITS = SEQUENCE_LOCKTIME_TYPE_FLAG | SEQUENCE_LOCKTIME_MASK


class TaprootSpend:
    """What a taproot input carries into its signature hashes, and its budget of signature checks (BIP342).

    ``leaf_hash`` is None on the key path, ``annex_hash`` None without an annex; ``weight_left`` counts down.
    """

    __slots__ = ("annex_hash", "codeseparator_pos", "leaf_hash", "weight_left")

    def __init__(self, annex_hash: bytes | None, leaf_hash: bytes | None = None, weight_left: int = 0) -> None:
        self.annex_hash = annex_hash
        self.leaf_hash = leaf_hash
        self.weight_left = weight_left
        self.codeseparator_pos = NO_CODESEPARATOR


class InputChecker:
    """Signature and lock-time checks for input ``index`` of the transaction of ``ctx``."""

    __slots__ = ("_states", "amount", "ctx", "index")

    def __init__(self, ctx: SighashContext, index: int) -> None:
        self.ctx = ctx
        self.index = index
        self.amount = ctx.spent[index][:8]
        self._states: dict[int, tuple[bytes, _Hash | None]] = {}

    def check_ecdsa(self, sig: bytes, pubkey: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """Whether ``sig`` (DER and hash type) by ``pubkey`` covers this input with ``script_code``."""
        if not sig or not is_sized_pubkey(pubkey):
            return False
        if witness_v0 and self.amount[7] & 0x80:  # Core takes a negative amount for an unknown one
            return False
        hash_type = sig[-1]
        kind = hash_type & 0x1F
        # One state for each way of hashing the transaction, as the hash type itself comes last (Core: SigHashCache).
        slot = hash_type & SIGHASH_ANYONECANPAY | (kind if kind in (SIGHASH_NONE, SIGHASH_SINGLE) else 0)
        known = self._states.get(slot)
        if known is not None and known[0] == script_code:
            state = known[1]
        else:
            if witness_v0:
                state = self.ctx.segwit_v0_state(self.index, script_code, self.amount, hash_type)
            else:
                state = self.ctx.legacy_state(self.index, script_code, hash_type)
            self._states[slot] = (script_code, state)
        digest = SINGLE_BUG_HASH if state is None else finish(state, hash_type)
        return self.ctx.signatures.verify_ecdsa(pubkey, sig[:-1], digest)

    def check_schnorr(self, sig: bytes, pubkey: bytes, spend: TaprootSpend) -> None:
        """Verify a taproot signature (64 bytes, or 65 with hash type) by the 32-byte ``pubkey``.

        Raises ScriptAbort: SCHNORR_SIG_SIZE, SCHNORR_SIG_HASHTYPE or SCHNORR_SIG.
        """
        hash_type = 0
        if len(sig) == 65:
            hash_type = sig[64]
            if hash_type == 0:
                raise ScriptAbort(ScriptError.SCHNORR_SIG_HASHTYPE)
            sig = sig[:64]
        elif len(sig) != 64:
            raise ScriptAbort(ScriptError.SCHNORR_SIG_SIZE)
        digest = self.ctx.taproot(self.index, hash_type, spend.annex_hash, spend.leaf_hash, spend.codeseparator_pos)
        if digest is None:
            raise ScriptAbort(ScriptError.SCHNORR_SIG_HASHTYPE)
        if not self.ctx.signatures.verify_schnorr(pubkey, sig, digest):
            raise ScriptAbort(ScriptError.SCHNORR_SIG)

    def check_lock_time(self, wanted: int) -> bool:
        """BIP65: whether the transaction's lock time is of the same kind as ``wanted`` and not before it."""
        lock_time = self.ctx.tx.lock_time
        if (lock_time < LOCKTIME_THRESHOLD) != (wanted < LOCKTIME_THRESHOLD):
            return False
        return wanted <= lock_time and self.ctx.tx.sequences[self.index] != SEQUENCE_FINAL

    def check_sequence(self, wanted: int) -> bool:
        """BIP112: whether the input's relative lock time is of the same kind as ``wanted`` and not shorter.

        The version is unsigned, so what BIP68 called negative counts as 2 or more (CVE-2024-34478).
        """
        sequence = self.ctx.tx.sequences[self.index]
        if self.ctx.tx.version < 2 or sequence & SEQUENCE_LOCKTIME_DISABLE_FLAG:
            return False
        have, need = sequence & _SEQUENCE_BITS, wanted & _SEQUENCE_BITS
        if (have < SEQUENCE_LOCKTIME_TYPE_FLAG) != (need < SEQUENCE_LOCKTIME_TYPE_FLAG):
            return False
        return need <= have
