"""Making signatures for one input: real ones, and dummies to learn sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from btcnode.descriptors.curve import PUBNONCE_SIZE, Tweak, musig_nonce, musig_partial_signature, musig_signature
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sigdata import AggregateLeaf, SignatureData
from btcnode.descriptors.taproot import NO_KEY
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.checker import InputChecker, TaprootSpend
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.sighash import SIGHASH_ALL, SIGHASH_DEFAULT, SighashContext
from btcnode.script.signatures import sign_ecdsa, sign_schnorr, taproot_tweak_seckey

UNKNOWN_TXOUT = b"\xff" * 8 + b"\0"  # stands where the spent output is not known


class PartialChecker(InputChecker):
    """A checker for when not all spent outputs are known: then no taproot signature can be checked."""

    __slots__ = ("_taproot_ready",)

    def __init__(self, ctx: SighashContext, index: int, *, taproot_ready: bool) -> None:
        super().__init__(ctx, index)
        self._taproot_ready = taproot_ready

    def check_schnorr(self, sig: bytes, pubkey: bytes, spend: TaprootSpend) -> None:
        """As its base; raises ScriptAbort(SCHNORR_SIG_HASHTYPE) when spent outputs are missing."""
        if not self._taproot_ready and len(sig) in (64, 65):
            raise ScriptAbort(ScriptError.SCHNORR_SIG_HASHTYPE)
        super().check_schnorr(sig, pubkey, spend)


class SignatureCreator(Protocol):
    """Who makes signatures for an input."""

    @property
    def checker(self) -> InputChecker:
        """What checks them and lock times."""

    def ecdsa(self, provider: SigningProvider, key_id: bytes, script_code: bytes, *, witness_v0: bool) -> bytes | None:
        """DER signature with hash type by the key with this HASH160; None when there is no such key."""

    def schnorr(
        self, provider: SigningProvider, pubkey: bytes, leaf_hash: bytes | None, merkle_root: bytes | None
    ) -> bytes | None:
        """Taproot signature: by a leaf's key, or on the key path with the tweak of ``merkle_root`` (``NO_KEY``: no
        tree; None: no tweak).
        """

    def nonce(
        self, provider: SigningProvider, aggregate: bytes, participant: bytes, data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """A participant's public nonce."""

    def partial(
        self,
        provider: SigningProvider,
        aggregate: bytes,
        participant: bytes,
        place: AggregateLeaf,
        tweaks: Sequence[Tweak],
        data: SignatureData,
        leaf: bytes | None,
    ) -> bytes | None:
        """A participant's partial signature, when all nonces are there."""

    def aggregate(
        self, aggregate: bytes, place: AggregateLeaf, tweaks: Sequence[Tweak], data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """The signature from all partial ones."""


class TransactionSigner:
    """Signs one input of a transaction; ``spent`` are its spent outputs, None for those not known.

    The context of hashes can be shared between the inputs of a transaction.
    """

    def __init__(
        self,
        tx: Tx,
        index: int,
        spent: Sequence[bytes | None],
        hash_type: int,
        ctx: SighashContext | None = None,
        *,
        taproot: bool = True,
    ) -> None:
        self.index = index
        self.hash_type = hash_type
        self.ctx = ctx or spent_context(tx, spent)
        self.taproot_ready = taproot and None not in spent
        self._amount = int.from_bytes(self.ctx.amount(index), "little", signed=True)

    @property
    def checker(self) -> InputChecker:
        """See ``SignatureCreator``."""
        return PartialChecker(self.ctx, self.index, taproot_ready=self.taproot_ready)

    def ecdsa(self, provider: SigningProvider, key_id: bytes, script_code: bytes, *, witness_v0: bool) -> bytes | None:
        """See ``SignatureCreator``."""
        secret = provider.secret(key_id)
        if secret is None:
            return None
        hash_type = self.hash_type or SIGHASH_ALL
        if witness_v0:
            if not secret.compressed or not 0 <= self._amount <= MAX_MONEY:
                return None
            digest = self.ctx.segwit_v0(self.index, script_code, self.ctx.amount(self.index), hash_type)
        else:
            digest = self.ctx.legacy(self.index, script_code, hash_type)
        return sign_ecdsa(secret.secret, digest, grind=True) + bytes((hash_type,))

    def _taproot_hash(self, leaf_hash: bytes | None) -> bytes | None:
        if not self.taproot_ready:
            return None
        return self.ctx.taproot(self.index, self.hash_type, leaf_hash=leaf_hash)

    def _with_type(self, signature: bytes) -> bytes:
        return signature + bytes((self.hash_type,)) if self.hash_type != SIGHASH_DEFAULT else signature

    def schnorr(
        self, provider: SigningProvider, pubkey: bytes, leaf_hash: bytes | None, merkle_root: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        secret = provider.secret_of_xonly(pubkey)
        digest = self._taproot_hash(leaf_hash) if secret is not None else None
        if secret is None or digest is None:
            return None
        key = secret.secret
        if merkle_root is not None:
            key = taproot_tweak_seckey(key, merkle_root if merkle_root != NO_KEY else b"")
        return self._with_type(sign_schnorr(key, digest))

    def nonce(
        self, provider: SigningProvider, aggregate: bytes, participant: bytes, data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``; needs the provider's ``nonces``."""
        secret = provider.secret(hash160(participant))
        keys = data.aggregates.get(aggregate, [])
        if secret is None or participant not in keys or provider.nonces is None:
            return None
        digest = self._taproot_hash(leaf)
        if digest is None:
            return None
        made = musig_nonce(secret.secret, participant, aggregate, keys, digest, provider.nonces.entropy(32))
        if made is None:
            return None
        provider.nonces.keep(participant, digest, *made)
        return made[0]

    def partial(
        self,
        provider: SigningProvider,
        aggregate: bytes,
        participant: bytes,
        place: AggregateLeaf,
        tweaks: Sequence[Tweak],
        data: SignatureData,
        leaf: bytes | None,
    ) -> bytes | None:
        """See ``SignatureCreator``; needs the secret half of the nonce among the provider's ``nonces``."""
        secret = provider.secret(hash160(participant))
        keys, pubnonces = data.aggregates.get(aggregate, []), data.pubnonces.get(place, {})
        if secret is None or provider.nonces is None or len(pubnonces) != len(keys) or not set(keys) <= set(pubnonces):
            return None
        digest = self._taproot_hash(leaf)
        if digest is None or participant not in keys:
            return None
        secnonce = provider.nonces.take(participant, digest, pubnonces[participant])
        if secnonce is None:
            return None
        return musig_partial_signature(
            secret.secret,
            secnonce,
            keys.index(participant),
            keys,
            aggregate,
            tweaks,
            digest,
            [pubnonces[key] for key in keys],
        )

    def aggregate(
        self, aggregate: bytes, place: AggregateLeaf, tweaks: Sequence[Tweak], data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        keys = data.aggregates[aggregate]
        nonces, partials = data.pubnonces.get(place, {}), data.partial_sigs.get(place, {})
        if len(nonces) != len(keys) or len(partials) != len(keys) or not set(keys) <= nonces.keys() & partials.keys():
            return None
        digest = self._taproot_hash(leaf)
        if digest is None:
            return None
        signature = musig_signature(
            keys, aggregate, tweaks, digest, [nonces[key] for key in keys], [partials[key] for key in keys]
        )
        return self._with_type(signature) if signature is not None else None


def spent_context(tx: Tx, spent: Sequence[bytes | None]) -> SighashContext:
    """Hashes of a transaction, with a stand-in for spent outputs that are not known."""
    return SighashContext(tx, [txout if txout is not None else UNKNOWN_TXOUT for txout in spent])


class _LenientChecker(InputChecker):
    """Accepts every signature and lock time."""

    def check_ecdsa(self, sig: bytes, pubkey: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """Whether there is one."""
        return bool(sig)

    def check_schnorr(self, sig: bytes, pubkey: bytes, spend: TaprootSpend) -> None:
        """Raises ScriptAbort for an empty one."""
        if not sig:
            raise ScriptAbort(ScriptError.SCHNORR_SIG)

    def check_lock_time(self, wanted: int) -> bool:
        """Always."""
        return True

    def check_sequence(self, wanted: int) -> bool:
        """Always."""
        return True


_DUMMY_TX = Tx(2, [bytes(36)], [b""], [0], [bytes(9)])
_DUMMY_ECDSA = b"\x30\x44\x02\x20\x01" + bytes(31) + b"\x02\x20\x01" + bytes(31) + b"\x01"


class DummySigner:
    """Makes signatures of the usual size (71 and 64 bytes) that only its own checker takes."""

    @property
    def checker(self) -> InputChecker:
        """See ``SignatureCreator``."""
        return _LenientChecker(SighashContext(_DUMMY_TX, [bytes(9)]), 0)

    def ecdsa(self, provider: SigningProvider, key_id: bytes, script_code: bytes, *, witness_v0: bool) -> bytes | None:
        """See ``SignatureCreator``."""
        return _DUMMY_ECDSA

    def schnorr(
        self, provider: SigningProvider, pubkey: bytes, leaf_hash: bytes | None, merkle_root: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        return bytes(64)

    def nonce(
        self, provider: SigningProvider, aggregate: bytes, participant: bytes, data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        return bytes(PUBNONCE_SIZE)

    def partial(
        self,
        provider: SigningProvider,
        aggregate: bytes,
        participant: bytes,
        place: AggregateLeaf,
        tweaks: Sequence[Tweak],
        data: SignatureData,
        leaf: bytes | None,
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        return bytes(32)

    def aggregate(
        self, aggregate: bytes, place: AggregateLeaf, tweaks: Sequence[Tweak], data: SignatureData, leaf: bytes | None
    ) -> bytes | None:
        """See ``SignatureCreator``."""
        return bytes(64)
