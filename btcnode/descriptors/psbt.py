"""Partially signed transactions in memory (BIP174, BIP371, BIP373)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple, TypeVar

from btcnode.descriptors.bip32 import KeyOrigin
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.sigdata import AggregateLeaf, LeafOrigin, SignatureData
from btcnode.descriptors.taproot import NO_KEY, Leaf, TaprootTree
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.record import struct
from btcnode.script.signatures import is_valid_xonly

K = TypeVar("K")
V = TypeVar("V")


class Proprietary(NamedTuple):
    """A field for own uses; ``key`` is the whole key, from which identifier and subtype are read."""

    identifier: bytes
    subtype: int
    key: bytes
    value: bytes


class GlobalXpub(NamedTuple):
    """An extended key as it stands in the file (78 bytes with its version), and where it comes from."""

    raw: bytes
    origin: KeyOrigin

    @property
    def identity(self) -> bytes:
        """Public key and chain code: what makes it the same key as another."""
        return self.raw[45:] + self.raw[13:45]

    @property
    def order(self) -> tuple[tuple[bytes, int, tuple[int, ...]], bytes]:
        """Sorts as Core does."""
        return self.origin.order, self.identity


def fill(mine: dict[K, V], theirs: Mapping[K, V]) -> None:
    """Take over what is not there yet."""
    for key, value in theirs.items():
        mine.setdefault(key, value)


@struct
class PsbtInput:
    """What goes with one input. Empty bytes, None and ``NO_KEY`` mean that a field is not there.

    ``witness_utxo`` is a serialised txout; ``partial_sigs`` go by HASH160 of the key; ``leaf_scripts`` map (script,
    leaf version) to control blocks; ``taproot_origins`` go by x-only key.
    """

    non_witness_utxo: Tx | None = None
    witness_utxo: bytes | None = None
    partial_sigs: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    sighash: int | None = None
    redeem_script: bytes = b""
    witness_script: bytes = b""
    origins: dict[bytes, KeyOrigin] = field(default_factory=dict)
    final_script_sig: bytes = b""
    final_witness: list[bytes] = field(default_factory=list)
    preimages: dict[tuple[Fragment, bytes], bytes] = field(default_factory=dict)
    key_path_sig: bytes = b""
    script_path_sigs: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    leaf_scripts: dict[tuple[bytes, int], set[bytes]] = field(default_factory=dict)
    taproot_origins: dict[bytes, LeafOrigin] = field(default_factory=dict)
    internal_key: bytes = NO_KEY
    merkle_root: bytes = NO_KEY
    aggregates: dict[bytes, list[bytes]] = field(default_factory=dict)
    pubnonces: dict[AggregateLeaf, dict[bytes, bytes]] = field(default_factory=dict)
    musig_sigs: dict[AggregateLeaf, dict[bytes, bytes]] = field(default_factory=dict)
    unknown: dict[bytes, bytes] = field(default_factory=dict)
    proprietary: dict[bytes, Proprietary] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether it has its final script_sig or witness."""
        return bool(self.final_script_sig or self.final_witness)

    def utxo(self, outpoint: bytes) -> bytes | None:
        """The txout it spends, when it is there and belongs to the outpoint."""
        if self.non_witness_utxo is None:
            return self.witness_utxo
        n = int.from_bytes(outpoint[32:], "little")
        tx = self.non_witness_utxo
        return tx.txouts[n] if n < len(tx.txouts) and tx.txid == outpoint[:32] else None

    def fill_data(self, data: SignatureData) -> None:
        """Tell all that is known to who is going to sign."""
        if self.is_final:
            data.complete = True
            data.script_sig, data.script_witness = self.final_script_sig, list(self.final_witness)
            return
        data.signatures.update(self.partial_sigs)
        data.redeem_script = self.redeem_script or data.redeem_script
        data.witness_script = self.witness_script or data.witness_script
        for key, origin in self.origins.items():
            data.pubkeys.setdefault(hash160(key), (key, origin))
        data.key_path_sig = self.key_path_sig or data.key_path_sig
        fill(data.script_path_sigs, self.script_path_sigs)
        data.spend.internal_key, data.spend.merkle_root = self.internal_key, self.merkle_root
        for leaf, controls in self.leaf_scripts.items():
            data.spend.scripts.setdefault(leaf, set(controls))
        _fill_taproot_origins(data, self.taproot_origins)
        fill(data.preimages, self.preimages)
        fill(data.aggregates, self.aggregates)
        for place, nonces in self.pubnonces.items():
            fill(data.pubnonces.setdefault(place, {}), nonces)
        for place, sigs in self.musig_sigs.items():
            fill(data.partial_sigs.setdefault(place, {}), sigs)

    def take_data(self, data: SignatureData) -> None:
        """Take over what signing has found and made; of a complete one nothing but the final fields stays."""
        if data.complete:
            self.partial_sigs, self.origins, self.redeem_script, self.witness_script = {}, {}, b"", b""
            self.final_script_sig = data.script_sig or self.final_script_sig
            self.final_witness = data.script_witness or self.final_witness
            return
        fill(self.partial_sigs, data.signatures)
        self.redeem_script = self.redeem_script or data.redeem_script
        self.witness_script = self.witness_script or data.witness_script
        for key, origin in data.pubkeys.values():
            self.origins.setdefault(key, origin)
        self.key_path_sig = data.key_path_sig or self.key_path_sig
        fill(self.script_path_sigs, data.script_path_sigs)
        if data.spend.internal_key != NO_KEY:
            self.internal_key = data.spend.internal_key
        if data.spend.merkle_root != NO_KEY:
            self.merkle_root = data.spend.merkle_root
        for leaf, controls in data.spend.scripts.items():
            self.leaf_scripts.setdefault(leaf, set(controls))
        fill(self.taproot_origins, data.taproot_origins)
        fill(self.aggregates, data.aggregates)
        for place, nonces in data.pubnonces.items():
            fill(self.pubnonces.setdefault(place, {}), nonces)
        for place, sigs in data.partial_sigs.items():
            fill(self.musig_sigs.setdefault(place, {}), sigs)

    def merge(self, other: PsbtInput) -> None:
        """Take over what another one for the same input has more."""
        self.non_witness_utxo = self.non_witness_utxo or other.non_witness_utxo
        if self.witness_utxo is None:
            self.witness_utxo = other.witness_utxo
        fill(self.partial_sigs, other.partial_sigs)
        fill(self.preimages, other.preimages)
        fill(self.origins, other.origins)
        fill(self.unknown, other.unknown)
        fill(self.script_path_sigs, other.script_path_sigs)
        fill(self.leaf_scripts, other.leaf_scripts)
        fill(self.taproot_origins, other.taproot_origins)
        self.redeem_script = self.redeem_script or other.redeem_script
        self.witness_script = self.witness_script or other.witness_script
        self.final_script_sig = self.final_script_sig or other.final_script_sig
        self.final_witness = self.final_witness or other.final_witness
        self.key_path_sig = self.key_path_sig or other.key_path_sig
        if self.internal_key == NO_KEY:
            self.internal_key = other.internal_key
        if self.merkle_root == NO_KEY:
            self.merkle_root = other.merkle_root
        fill(self.aggregates, other.aggregates)
        for place, nonces in other.pubnonces.items():
            fill(self.pubnonces.setdefault(place, {}), nonces)
        for place, sigs in other.musig_sigs.items():
            fill(self.musig_sigs.setdefault(place, {}), sigs)


def _fill_taproot_origins(data: SignatureData, origins: Mapping[bytes, LeafOrigin]) -> None:
    for key, (leaves, origin) in origins.items():
        data.taproot_origins.setdefault(key, (set(leaves), origin))
        data.xonly_keys.setdefault(hash160(key), key)


@struct
class PsbtOutput:
    """What goes with one output; fields as in ``PsbtInput``."""

    redeem_script: bytes = b""
    witness_script: bytes = b""
    origins: dict[bytes, KeyOrigin] = field(default_factory=dict)
    internal_key: bytes = NO_KEY
    tree: list[Leaf] = field(default_factory=list)
    taproot_origins: dict[bytes, LeafOrigin] = field(default_factory=dict)
    aggregates: dict[bytes, list[bytes]] = field(default_factory=dict)
    unknown: dict[bytes, bytes] = field(default_factory=dict)
    proprietary: dict[bytes, Proprietary] = field(default_factory=dict)

    def fill_data(self, data: SignatureData) -> None:
        """Tell all that is known."""
        data.redeem_script = self.redeem_script or data.redeem_script
        data.witness_script = self.witness_script or data.witness_script
        for key, origin in self.origins.items():
            data.pubkeys.setdefault(hash160(key), (key, origin))
        if self.tree and is_valid_xonly(self.internal_key):
            data.spend.internal_key = self.internal_key
            data.spend.merge(TaprootTree(self.internal_key, self.tree).spend_data())
        _fill_taproot_origins(data, self.taproot_origins)
        fill(data.aggregates, self.aggregates)

    def take_data(self, data: SignatureData) -> None:
        """Take over scripts, keys and tree."""
        self.redeem_script = self.redeem_script or data.redeem_script
        self.witness_script = self.witness_script or data.witness_script
        for key, origin in data.pubkeys.values():
            self.origins.setdefault(key, origin)
        if data.spend.internal_key != NO_KEY:
            self.internal_key = data.spend.internal_key
        if data.tree is not None and data.tree.leaves:
            self.tree = data.tree.ordered_leaves()
        fill(self.taproot_origins, data.taproot_origins)
        fill(self.aggregates, data.aggregates)

    def merge(self, other: PsbtOutput) -> None:
        """Take over what another one for the same output has more."""
        fill(self.origins, other.origins)
        fill(self.unknown, other.unknown)
        fill(self.taproot_origins, other.taproot_origins)
        self.redeem_script = self.redeem_script or other.redeem_script
        self.witness_script = self.witness_script or other.witness_script
        if self.internal_key == NO_KEY:
            self.internal_key = other.internal_key
        self.tree = self.tree or other.tree
        fill(self.aggregates, other.aggregates)


@struct
class Psbt:
    """A transaction without signatures and what signers tell each other about it."""

    tx: Tx
    inputs: list[PsbtInput]
    outputs: list[PsbtOutput]
    xpubs: list[GlobalXpub] = field(default_factory=list)
    version: int | None = None
    unknown: dict[bytes, bytes] = field(default_factory=dict)
    proprietary: dict[bytes, Proprietary] = field(default_factory=dict)

    @classmethod
    def of(cls, tx: Tx) -> Psbt:
        """A blank one for a transaction."""
        return cls(tx, [PsbtInput() for _ in tx.prevouts], [PsbtOutput() for _ in tx.txouts])

    def spent(self) -> list[bytes | None]:
        """The txouts that the inputs spend, None for those that are not known."""
        return [item.utxo(outpoint) for item, outpoint in zip(self.inputs, self.tx.prevouts, strict=True)]

    def add_xpubs(self, xpubs: list[GlobalXpub]) -> None:
        """Take over extended keys that are not there for their origin."""
        known = {xpub.order for xpub in self.xpubs}
        for xpub in xpubs:
            if xpub.order not in known:
                known.add(xpub.order)
                self.xpubs.append(xpub)

    def become(self, other: Psbt) -> None:
        """Hold what another one does, which nobody changes any more."""
        self.tx, self.inputs, self.outputs, self.xpubs = other.tx, other.inputs, other.outputs, other.xpubs
        self.version, self.unknown, self.proprietary = other.version, other.unknown, other.proprietary

    def merge(self, other: Psbt) -> bool:
        """Take over what another one has more; False, and nothing done, when it is for another transaction."""
        if self.tx.txid != other.tx.txid:
            return False
        for mine, theirs in zip(self.inputs, other.inputs, strict=True):
            mine.merge(theirs)
        for ours, more in zip(self.outputs, other.outputs, strict=True):
            ours.merge(more)
        self.add_xpubs(other.xpubs)
        fill(self.unknown, other.unknown)
        return True
