"""MuSig2 in taproot inputs (BIP327, BIP328, BIP373): nonces, partial signatures, and what they come to.

Between the two calls of a signer the secret half of its nonce lives in ``SecretNonces``, which a wallet has.
"""

from __future__ import annotations

from btcnode.descriptors.bip32 import HARDENED, KeyOrigin, musig_extended
from btcnode.descriptors.creator import SignatureCreator
from btcnode.descriptors.curve import Tweak
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sigdata import SignatureData
from btcnode.descriptors.taproot import NO_KEY
from btcnode.primitives.hashes import hash160
from btcnode.script.signatures import tap_tweak_hash, taproot_tweak_pubkey


def _derivation(aggregate: bytes, pubkey: bytes, origin: KeyOrigin | None) -> tuple[bytes, list[Tweak]] | None:
    """The key of the script as 33 bytes and the tweaks that lead to it from the aggregate; None when it is another."""
    if aggregate[1:] == pubkey:
        return aggregate, []
    if origin is None or not origin.path or origin.fingerprint != hash160(aggregate)[:4]:
        return None
    key = musig_extended(aggregate)
    tweaks: list[Tweak] = []
    for step in origin.path:
        derived = key.derive_with_tweak(step) if not step & HARDENED else None
        if derived is None:
            return None
        key = derived[0]
        tweaks.append((derived[1], False))
    return (key.pubkey, tweaks) if key.pubkey[1:] == pubkey else None


def _note_participants(
    data: SignatureData, provider: SigningProvider, participants: list[bytes], leaf_hash: bytes | None
) -> None:
    """Remember where participants' keys come from."""
    for participant in participants:
        origin = provider.origin(hash160(participant))
        if origin is not None:
            leaves, _ = data.taproot_origins.setdefault(participant[1:], (set(), origin))
            if leaf_hash is not None:
                leaves.add(leaf_hash)


def sign_musig(
    creator: SignatureCreator,
    data: SignatureData,
    provider: SigningProvider,
    pubkey: bytes,
    merkle_root: bytes | None,
    leaf_hash: bytes | None,
) -> None:
    """Do what can be done for an x-only key that may be an aggregate: its signature, or this signer's part of it."""
    known = data.taproot_origins.get(pubkey)
    for aggregate, participants in sorted(data.aggregates.items()):
        if not participants:
            continue
        _note_participants(data, provider, participants, leaf_hash)
        found = _derivation(aggregate, pubkey, known[1] if known else None)
        if found is None:
            continue
        plain, tweaks = found
        if leaf_hash is None and merkle_root is not None:
            root = merkle_root if merkle_root != NO_KEY else b""
            tweaks.append((tap_tweak_hash(pubkey, root), True))
            output, parity = taproot_tweak_pubkey(pubkey, root)
            plain = bytes((2 + parity,)) + output
        place = (plain, leaf_hash or NO_KEY)
        signature = creator.aggregate(aggregate, place, tweaks, data, leaf_hash)
        if signature is not None:
            if leaf_hash is None:
                data.key_path_sig = signature
            else:
                data.script_path_sigs[pubkey, leaf_hash] = signature
            continue
        for participant in participants:
            partial = creator.partial(provider, aggregate, participant, place, tweaks, data, leaf_hash)
            if partial is not None:
                data.partial_sigs.setdefault(place, {}).setdefault(participant, partial)
        if not data.partial_sigs.get(place):
            nonces = data.pubnonces.setdefault(place, {})
            for participant in participants:
                if participant not in nonces:
                    nonce = creator.nonce(provider, aggregate, participant, data, leaf_hash)
                    if nonce is not None:
                        nonces[participant] = nonce
