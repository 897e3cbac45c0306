"""Signature hashes: legacy, BIP143 and BIP341/BIP342.

``SighashContext`` belongs to one transaction and the outputs it spends. What all inputs share is computed once, when
the first of them asks. The ``*_state`` methods return the running SHA-256 just before the hash type, so that several
signatures over the same script cost one pass (Core's ``SigHashCache``).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.tx import Tx
from btcnode.script import signatures
from btcnode.script.scriptparse import strip_separators

if TYPE_CHECKING:
    from hashlib import _Hash

SIGHASH_DEFAULT = 0  # taproot only: like ALL
SIGHASH_ALL = 1
SIGHASH_NONE = 2
SIGHASH_SINGLE = 3
SIGHASH_ANYONECANPAY = 0x80
TAPROOT_HASH_TYPES = frozenset((0, 1, 2, 3, 0x81, 0x82, 0x83))
NO_CODESEPARATOR = 0xFFFFFFFF

SINGLE_BUG_HASH = b"\x01" + bytes(31)  # the number one: what SIGHASH_SINGLE without its output signs
_BLANK_TXOUT = b"\xff" * 8 + b"\0"
_BLANK_INPUT_SIZE = 41  # outpoint, empty script, sequence
_MIDSTATE_INPUTS = 12  # from this many inputs on, the prefix of a legacy hash is kept as a midstate


def _tagged(tag: bytes) -> _Hash:
    """A SHA-256 that has taken in the BIP340 prefix of ``tag``."""
    return sha256(sha256(tag).digest() * 2)


_TAP_SIGHASH = _tagged(b"TapSighash")
_TAP_LEAF = _tagged(b"TapLeaf")
_TAP_BRANCH = _tagged(b"TapBranch")


def tapleaf_hash(leaf_version: int, script: bytes) -> bytes:
    """BIP341 hash of a leaf: 32 bytes."""
    state = _TAP_LEAF.copy()
    state.update(bytes((leaf_version,)) + compact_size(len(script)) + script)
    return state.digest()


def tapbranch_hash(a: bytes, b: bytes) -> bytes:
    """BIP341 hash of two 32-byte nodes, in either order."""
    state = _TAP_BRANCH.copy()
    state.update(a + b if a < b else b + a)
    return state.digest()


def finish(state: _Hash, hash_type: int) -> bytes:
    """Complete a legacy or BIP143 state with the 4 bytes of the (signed 32-bit) hash type; ``state`` stays usable."""
    last = state.copy()
    last.update((hash_type & 0xFFFFFFFF).to_bytes(4, "little"))
    return sha256(last.digest()).digest()


class SignatureVerifier(Protocol):
    """Who verifies signatures: the module ``signatures`` itself, or who stands in front of it."""

    def verify_ecdsa(self, pubkey: bytes, sig_der: bytes, msg32: bytes) -> bool:
        """Whether a DER signature, read leniently, is one of a 32-byte hash by a key of 33 or 65 bytes."""

    def verify_ecdsa_strict(self, pubkey: bytes, sig_der: bytes, msg32: bytes, low_s: bool) -> bool:
        """The same for signatures in strict DER only, with ``low_s`` for those with a low S only."""

    def verify_schnorr(self, xonly32: bytes, sig64: bytes, msg: bytes) -> bool:
        """Whether 64 bytes are a BIP340 signature of ``msg`` by an x-only key of 32 bytes."""


class SighashContext:
    """A transaction, the txouts it spends (one per input), and their hashes as far as anybody asked.

    ``signatures`` verifies for its inputs.

    Single SHA-256 values (BIP341) end in ``_sha``; BIP143 takes the double hash. Raises ValueError when the number of
    spent txouts differs from that of inputs.
    """

    __slots__ = (
        "_blank", "_legacy_outputs", "_lock_time", "_prefix", "_shared", "_tap_common", "_v0_all", "_version",
        "signatures", "spent", "tx",
    )  # fmt: skip

    def __init__(self, tx: Tx, spent: Sequence[bytes], verifier: SignatureVerifier = signatures) -> None:
        if len(spent) != len(tx.prevouts):
            raise ValueError(f"{len(tx.prevouts)} inputs but {len(spent)} spent outputs")
        self.tx = tx
        self.spent = spent
        self.signatures = verifier
        self._version = tx.version.to_bytes(4, "little")
        self._lock_time = tx.lock_time.to_bytes(4, "little")
        self._shared: tuple[bytes, bytes, bytes] | None = None
        self._legacy_outputs: bytes | None = None
        self._blank: list[bytes | None] = [None, None]
        self._prefix: list[tuple[int, _Hash] | None] = [None, None]
        self._v0_all: tuple[bytes, bytes] | None = None
        self._tap_common: dict[int, _Hash] = {}

    def amount(self, index: int) -> bytes:
        """The value that input ``index`` spends: 8 bytes as in its txout."""
        return self.spent[index][:8]

    def shared(self) -> tuple[bytes, bytes, bytes]:
        """Single SHA-256 of all prevouts, all sequences, all txouts."""
        if self._shared is None:
            tx = self.tx
            self._shared = (
                sha256(b"".join(tx.prevouts)).digest(),
                sha256(b"".join([n.to_bytes(4, "little") for n in tx.sequences])).digest(),
                sha256(b"".join(tx.txouts)).digest(),
            )
        return self._shared

    # ---- legacy

    def legacy_state(self, index: int, script_code: bytes, hash_type: int) -> _Hash | None:
        """The hash of input ``index`` before its hash type; None is the SIGHASH_SINGLE bug (``SINGLE_BUG_HASH``).

        ``script_code`` has had its signatures deleted by the caller; OP_CODESEPARATORs are dropped here.
        """
        return self.plain_legacy_state(index, *strip_separators(script_code), hash_type)

    def plain_legacy_state(self, index: int, script: bytes, size: int, hash_type: int) -> _Hash | None:
        """``legacy_state`` for a script code that is known to have no OP_CODESEPARATOR; ``size`` is its length."""
        tx, kind = self.tx, hash_type & 0x1F
        if kind == SIGHASH_SINGLE:
            if index >= len(tx.txouts):
                return None
            outputs = b"".join((compact_size(index + 1), _BLANK_TXOUT * index, tx.txouts[index], self._lock_time))
        elif kind == SIGHASH_NONE:
            outputs = b"\0" + self._lock_time
        else:
            outputs = self._all_outputs()
        sequence = tx.sequences[index].to_bytes(4, "little")
        signed = b"".join((tx.prevouts[index], compact_size(size), script, sequence))
        if hash_type & SIGHASH_ANYONECANPAY:
            return sha256(b"".join((self._version, b"\x01", signed, outputs)))
        zero = kind in (SIGHASH_SINGLE, SIGHASH_NONE)
        blank = self._blank_inputs(zero)
        after = index * _BLANK_INPUT_SIZE + _BLANK_INPUT_SIZE
        count = len(tx.prevouts)
        if count >= _MIDSTATE_INPUTS:
            state = self._prefix_state(index, zero, blank)
            state.update(signed)
            state.update(memoryview(blank)[after:])
            state.update(outputs)
            return state
        head = self._version + compact_size(count)
        return sha256(b"".join((head, blank[: after - _BLANK_INPUT_SIZE], signed, blank[after:], outputs)))

    def legacy(self, index: int, script_code: bytes, hash_type: int) -> bytes:
        """The signature hash of a bare or P2SH input, 32 bytes in internal order."""
        state = self.legacy_state(index, script_code, hash_type)
        return SINGLE_BUG_HASH if state is None else finish(state, hash_type)

    def _all_outputs(self) -> bytes:
        """All txouts with their count, and the lock time."""
        if self._legacy_outputs is None:
            txouts = self.tx.txouts
            self._legacy_outputs = b"".join((compact_size(len(txouts)), *txouts, self._lock_time))
        return self._legacy_outputs

    def _blank_inputs(self, zero: bool) -> bytes:
        """All inputs with an empty script, 41 bytes each; with ``zero`` their sequences are 0."""
        blank = self._blank[zero]
        if blank is None:
            tx = self.tx
            if zero:
                blank = b"".join([prevout + bytes(5) for prevout in tx.prevouts])
            else:
                pairs = zip(tx.prevouts, tx.sequences, strict=True)
                blank = b"".join([prevout + b"\0" + n.to_bytes(4, "little") for prevout, n in pairs])
            self._blank[zero] = blank
        return blank

    def _prefix_state(self, index: int, zero: bool, blank: bytes) -> _Hash:
        """A hash that has taken in everything before input ``index``; cheap when inputs are asked for in order."""
        known = self._prefix[zero]
        if known is None or known[0] > index:
            known = (0, sha256(self._version + compact_size(len(self.tx.prevouts))))
        done, state = known
        if done < index:
            state.update(memoryview(blank)[done * _BLANK_INPUT_SIZE : index * _BLANK_INPUT_SIZE])
        self._prefix[zero] = (index, state)
        return state.copy()

    # ---- BIP143

    def segwit_v0_state(self, index: int, script_code: bytes, amount: bytes, hash_type: int) -> _Hash:
        """The BIP143 hash of input ``index`` before its hash type; ``amount`` is the 8 bytes of the spent value."""
        tx, kind = self.tx, hash_type & 0x1F
        if kind != SIGHASH_SINGLE and kind != SIGHASH_NONE and not hash_type & SIGHASH_ANYONECANPAY:
            head, tail = self._v0_all or self._v0_pieces()
        else:
            prevouts, _, outputs = self.shared()
            if kind == SIGHASH_SINGLE:
                single = index < len(tx.txouts)
                outputs = sha256(sha256(tx.txouts[index]).digest()).digest() if single else ZERO_HASH
            elif kind == SIGHASH_NONE:
                outputs = ZERO_HASH
            else:
                outputs = sha256(outputs).digest()
            prevouts = ZERO_HASH if hash_type & SIGHASH_ANYONECANPAY else sha256(prevouts).digest()
            head, tail = self._version + prevouts + ZERO_HASH, outputs + self._lock_time
        sequence = tx.sequences[index].to_bytes(4, "little")
        return sha256(
            b"".join((head, tx.prevouts[index], compact_size(len(script_code)), script_code, amount, sequence, tail))
        )

    def segwit_v0(self, index: int, script_code: bytes, amount: bytes, hash_type: int) -> bytes:
        """The signature hash of a witness v0 input (BIP143), 32 bytes."""
        return finish(self.segwit_v0_state(index, script_code, amount, hash_type), hash_type)

    def _v0_pieces(self) -> tuple[bytes, bytes]:
        """What precedes and follows the input's own fields under SIGHASH_ALL."""
        prevouts, sequences, outputs = self.shared()
        self._v0_all = (
            self._version + sha256(prevouts).digest() + sha256(sequences).digest(),
            sha256(outputs).digest() + self._lock_time,
        )
        return self._v0_all

    # ---- BIP341, BIP342

    def taproot(
        self,
        index: int,
        hash_type: int,
        annex_hash: bytes | None = None,
        leaf_hash: bytes | None = None,
        codeseparator_pos: int = NO_CODESEPARATOR,
    ) -> bytes | None:
        """The signature hash of a taproot input, 32 bytes; None when the hash type is not valid for it.

        ``annex_hash`` is SHA-256 of the annex with its length; ``leaf_hash`` makes it the script path (BIP342), and
        ``codeseparator_pos`` is the opcode index of the last OP_CODESEPARATOR executed.
        """
        if hash_type not in TAPROOT_HASH_TYPES:
            return None
        tx = self.tx
        common = self._tap_common.get(hash_type)
        if common is None:
            common = self._taproot_common(hash_type)
        parts = [bytes(((leaf_hash is not None) << 1 | (annex_hash is not None),))]
        if hash_type & SIGHASH_ANYONECANPAY:
            parts += (tx.prevouts[index], self.spent[index], tx.sequences[index].to_bytes(4, "little"))
        else:
            parts.append(index.to_bytes(4, "little"))
        if annex_hash is not None:
            parts.append(annex_hash)
        if hash_type & 3 == SIGHASH_SINGLE:
            if index >= len(tx.txouts):
                return None
            parts.append(sha256(tx.txouts[index]).digest())
        if leaf_hash is not None:
            parts += (leaf_hash, b"\0", codeseparator_pos.to_bytes(4, "little"))
        state = common.copy()
        state.update(b"".join(parts))
        return state.digest()

    def _taproot_common(self, hash_type: int) -> _Hash:
        """The part of the hash that all inputs with this hash type share."""
        prevouts, sequences, outputs = self.shared()
        parts = [bytes((0, hash_type)), self._version, self._lock_time]
        if not hash_type & SIGHASH_ANYONECANPAY:
            amounts = sha256(b"".join([txout[:8] for txout in self.spent])).digest()
            scripts = sha256(b"".join([txout[8:] for txout in self.spent])).digest()
            parts += (prevouts, amounts, scripts, sequences)
        if hash_type & 3 < SIGHASH_NONE:
            parts.append(outputs)
        state = _TAP_SIGHASH.copy()
        state.update(b"".join(parts))
        self._tap_common[hash_type] = state
        return state


def annex_digest(annex: bytes) -> bytes:
    """SHA-256 of an annex with its length, as BIP341 commits to it."""
    return sha256(compact_size(len(annex)) + annex).digest()
