"""What is known about satisfying one input: found, made, and still missing."""

from __future__ import annotations

from dataclasses import field, fields

from btcnode.descriptors.bip32 import KeyOrigin
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.taproot import SpendData, TaprootTree
from btcnode.record import struct

LeafOrigin = tuple[set[bytes], KeyOrigin]
"""The leaf hashes whose scripts have an x-only key, and where it comes from."""
AggregateLeaf = tuple[bytes, bytes]
"""A MuSig2 key as it stands in the script, and the leaf hash (32 zero bytes on the key path)."""


@struct
class SignatureData:
    """Tables by HASH160 of the key (``signatures``, ``pubkeys``: key and signature, key and origin), by x-only key, by
    (x-only key, leaf hash), by hash of a preimage.

    ``missing_redeem_script`` and ``missing_witness_script`` are the hashes of scripts, empty for none.
    """

    complete: bool = False
    witness: bool = False
    script_sig: bytes = b""
    script_witness: list[bytes] = field(default_factory=list)
    redeem_script: bytes = b""
    witness_script: bytes = b""
    signatures: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    pubkeys: dict[bytes, tuple[bytes, KeyOrigin]] = field(default_factory=dict)
    spend: SpendData = field(default_factory=SpendData)
    tree: TaprootTree | None = None
    key_path_sig: bytes = b""
    script_path_sigs: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    taproot_origins: dict[bytes, LeafOrigin] = field(default_factory=dict)
    xonly_keys: dict[bytes, bytes] = field(default_factory=dict)
    preimages: dict[tuple[Fragment, bytes], bytes] = field(default_factory=dict)
    aggregates: dict[bytes, list[bytes]] = field(default_factory=dict)
    pubnonces: dict[AggregateLeaf, dict[bytes, bytes]] = field(default_factory=dict)
    partial_sigs: dict[AggregateLeaf, dict[bytes, bytes]] = field(default_factory=dict)
    missing_pubkeys: list[bytes] = field(default_factory=list)
    missing_sigs: list[bytes] = field(default_factory=list)
    missing_redeem_script: bytes = b""
    missing_witness_script: bytes = b""

    def merge(self, other: SignatureData) -> None:
        """Take scripts and ECDSA signatures over; a complete one is taken as a whole."""
        if self.complete:
            return
        if other.complete:
            for part in fields(self):
                setattr(self, part.name, getattr(other, part.name))
            return
        self.redeem_script = self.redeem_script or other.redeem_script
        self.witness_script = self.witness_script or other.witness_script
        for key, pair in other.signatures.items():
            self.signatures.setdefault(key, pair)
