"""Reading the bytes of a partially signed transaction, with Core's messages for what is wrong."""

from __future__ import annotations

from collections.abc import Callable

from btcnode.descriptors.base64 import base64_bytes
from btcnode.descriptors.bip32 import KeyOrigin, decode_extended
from btcnode.descriptors.curve import PUBNONCE_SIZE
from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.psbt import GlobalXpub, Proprietary, Psbt, PsbtInput, PsbtOutput
from btcnode.descriptors.psbt_stream import Stream, failure
from btcnode.descriptors.sigdata import LeafOrigin
from btcnode.descriptors.taproot import MAX_TREE_DEPTH, NO_KEY, Leaf, is_complete_tree
from btcnode.primitives.hashes import hash160
from btcnode.script.encoding import check_signature_encoding, is_sized_pubkey
from btcnode.script.errors import ScriptAbort
from btcnode.script.flags import VERIFY_DERSIG, VERIFY_STRICTENC
from btcnode.script.signatures import is_valid_pubkey
from btcnode.script.tapscript import LEAF_MASK

MAGIC = b"psbt\xff"
HIGHEST_VERSION = 0
KEY_LENGTHS = (34, 66)  # type and public key

GLOBAL_TX, GLOBAL_XPUB, GLOBAL_VERSION = 0x00, 0x01, 0xFB
PROPRIETARY = 0xFC
IN_NON_WITNESS_UTXO, IN_WITNESS_UTXO, IN_PARTIAL_SIG, IN_SIGHASH, IN_REDEEM, IN_WITNESS = range(6)
IN_BIP32, IN_SCRIPT_SIG, IN_SCRIPT_WITNESS = 0x06, 0x07, 0x08
IN_HASHES = {0x0A: Fragment.RIPEMD160, 0x0B: Fragment.SHA256, 0x0C: Fragment.HASH160, 0x0D: Fragment.HASH256}
IN_TAP_KEY_SIG, IN_TAP_SCRIPT_SIG, IN_TAP_LEAF, IN_TAP_BIP32, IN_TAP_KEY, IN_TAP_ROOT = range(0x13, 0x19)
IN_MUSIG_KEYS, IN_MUSIG_NONCE, IN_MUSIG_SIG = 0x1A, 0x1B, 0x1C
OUT_REDEEM, OUT_WITNESS, OUT_BIP32 = 0x00, 0x01, 0x02
OUT_TAP_KEY, OUT_TAP_TREE, OUT_TAP_BIP32, OUT_MUSIG_KEYS = 0x05, 0x06, 0x07, 0x08


class _Map:
    """One map of keys and values: where it is read from, the key at hand, and the keys seen so far."""

    def __init__(self, stream: Stream, place: str) -> None:
        self.stream = stream
        self.place = place  # "an input", "an output" or "the global", for the message
        self.key = b""
        self.seen: set[bytes] = set()

    def next_type(self) -> int | None:
        """The type of the next key, None at the end of the map; raises PsbtError when it does not end."""
        if not self.stream.left:
            raise failure(f"Separator is missing at the end of {self.place} map")
        self.key = self.stream.data()
        if not self.key:
            return None
        return Stream(self.key).size()

    def once(self, said: str) -> None:
        """The key must not have come before."""
        if self.key in self.seen:
            raise failure(f"Duplicate Key, {said} already provided")
        self.seen.add(self.key)

    def single(self, said: str, name: str) -> None:
        """Besides, it must be its type and nothing else."""
        self.once(said)
        if len(self.key) != 1:
            raise failure(f"{name} key is more than one byte type")

    def unknown(self, known: dict[bytes, bytes]) -> None:
        """A field that means nothing to us."""
        if self.key in known:
            raise failure("Duplicate Key, key for unknown value already provided")
        known[self.key] = self.stream.data()

    def proprietary(self, known: dict[bytes, Proprietary]) -> None:
        """A field for somebody's own uses."""
        inner = Stream(self.key)
        inner.size()
        identifier, subtype = inner.data(), inner.size()
        if self.key in known:
            raise failure("Duplicate Key, proprietary key already found")
        known[self.key] = Proprietary(identifier, subtype, self.key, self.stream.data())

    # -- values that occur in several maps

    def pubkey(self, said: str) -> bytes:
        """The public key behind the type."""
        if len(self.key) not in KEY_LENGTHS:
            raise failure(f"Size of key was not the expected size for the type {said}")
        key = self.key[1:]
        if not is_sized_pubkey(key) or not is_valid_pubkey(key):
            raise failure("Invalid pubkey")
        return key

    def origin(self, length: int) -> KeyOrigin:
        """A fingerprint and a path in so many bytes."""
        if length % 4 or not length:
            raise failure("Invalid length for HD key path")
        fingerprint = self.stream.take(4)
        path = [int.from_bytes(self.stream.take(4), "little") for _ in range(length // 4 - 1)]
        return KeyOrigin(fingerprint, tuple(path))

    def derivation(self, origins: dict[bytes, KeyOrigin]) -> None:
        """Where a public key comes from."""
        key = self.pubkey("BIP32 keypath")
        if key in origins:
            raise failure("Duplicate Key, pubkey derivation path already provided")
        origins[key] = self.origin(self.stream.size())

    def taproot_derivation(self, origins: dict[bytes, LeafOrigin], side: str) -> None:
        """Where an x-only key comes from, and the leaves it is in."""
        said = side.lower()
        self.once(f"{said} Taproot BIP32 keypath")
        if len(self.key) != 33:
            raise failure(f"{side} Taproot BIP32 keypath key is not at 33 bytes")
        length, before = self.stream.size(), self.stream.left
        hashes = {self.stream.take(32) for _ in range(self.stream.size())}
        length -= before - self.stream.left
        if length < 0:
            raise failure(f"{side} Taproot BIP32 keypath has an invalid length")
        origins.setdefault(self.key[1:], (hashes, self.origin(length)))

    def participants(self, aggregates: dict[bytes, list[bytes]], side: str) -> None:
        """The keys of an aggregate."""
        self.once(f"{side.lower()} participant pubkeys for an aggregate key")
        if len(self.key) != 34:
            raise failure(f"{side} musig2 participants pubkeys aggregate key is not 34 bytes")
        aggregate = self.key[1:]
        if not _is_compressed(aggregate):
            raise failure(f"{side} musig2 aggregate pubkey is invalid")
        value = self.stream.data()
        keys = [value[at : at + 33] for at in range(0, len(value) - 32, 33)]
        if not all(map(_is_compressed, keys)):
            raise failure(f"{side} musig2 participant pubkey is invalid")
        if len(value) % 33:
            raise failure(f"{side} musig2 participants pubkeys value size is not a multiple of 33")
        aggregates.setdefault(aggregate, keys)


def _is_compressed(key: bytes) -> bool:
    return is_sized_pubkey(key) and is_valid_pubkey(key)


class _InputReader(_Map):
    """Reads the map of an input."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, "an input")
        self.result = PsbtInput()
        self._readers: dict[int, Callable[[], None]] = {
            IN_NON_WITNESS_UTXO: self._non_witness_utxo, IN_WITNESS_UTXO: self._witness_utxo,
            IN_PARTIAL_SIG: self._partial_sig, IN_SIGHASH: self._sighash, IN_REDEEM: self._redeem,
            IN_WITNESS: self._witness, IN_BIP32: lambda: self.derivation(self.result.origins),
            IN_SCRIPT_SIG: self._script_sig, IN_SCRIPT_WITNESS: self._script_witness,
            IN_TAP_KEY_SIG: self._key_path_sig, IN_TAP_SCRIPT_SIG: self._script_path_sig, IN_TAP_LEAF: self._leaf,
            IN_TAP_BIP32: lambda: self.taproot_derivation(self.result.taproot_origins, "Input"),
            IN_TAP_KEY: self._internal_key, IN_TAP_ROOT: self._merkle_root,
            IN_MUSIG_KEYS: lambda: self.participants(self.result.aggregates, "Input"),
            IN_MUSIG_NONCE: self._nonce, IN_MUSIG_SIG: self._musig_sig,
            PROPRIETARY: lambda: self.proprietary(self.result.proprietary),
        }  # fmt: skip

    def read(self) -> PsbtInput:
        """The input; raises PsbtError."""
        while (kind := self.next_type()) is not None:
            if kind in IN_HASHES:
                self._preimage(IN_HASHES[kind])
            elif kind in self._readers:
                self._readers[kind]()
            else:
                self.unknown(self.result.unknown)
        return self.result

    def _non_witness_utxo(self) -> None:
        self.single("input non-witness utxo", "Non-witness utxo")
        self.result.non_witness_utxo = self.stream.sized(lambda stream: stream.transaction(witness=True))

    def _witness_utxo(self) -> None:
        self.single("input witness utxo", "Witness utxo")
        txout = self.stream.sized(Stream.txout)
        self.result.witness_utxo = txout if txout[:8] != b"\xff" * 8 else None

    def _partial_sig(self) -> None:
        key = self.pubkey("partial signature pubkey")
        key_id = hash160(key)
        if key_id in self.result.partial_sigs:
            raise failure("Duplicate Key, input partial signature for pubkey already provided")
        sig = self.stream.data()
        try:
            check_signature_encoding(sig, VERIFY_DERSIG | VERIFY_STRICTENC)
            good = bool(sig)
        except ScriptAbort:
            good = False
        if not good:
            raise failure("Signature is not a valid encoding")
        self.result.partial_sigs[key_id] = (key, sig)

    def _sighash(self) -> None:
        self.single("input sighash type", "Sighash type")
        self.result.sighash = int.from_bytes(self.stream.sized(lambda stream: stream.take(4)), "little", signed=True)

    def _redeem(self) -> None:
        self.single("input redeemScript", "Input redeemScript")
        self.result.redeem_script = self.stream.data()

    def _witness(self) -> None:
        self.single("input witnessScript", "Input witnessScript")
        self.result.witness_script = self.stream.data()

    def _script_sig(self) -> None:
        self.single("input final scriptSig", "Final scriptSig")
        self.result.final_script_sig = self.stream.data()

    def _script_witness(self) -> None:
        self.single("input final scriptWitness", "Final scriptWitness")
        self.result.final_witness = self.stream.sized(lambda stream: [stream.data() for _ in range(stream.size())])

    def _preimage(self, fragment: Fragment) -> None:
        size = 20 if fragment in (Fragment.RIPEMD160, Fragment.HASH160) else 32
        name = fragment.value
        if len(self.key) != size + 1:
            raise failure(f"Size of key was not the expected size for the type {name} preimage")
        place = (fragment, self.key[1:])
        if place in self.result.preimages:
            raise failure(f"Duplicate Key, input {name} preimage already provided")
        self.result.preimages[place] = self.stream.data()

    def _key_path_sig(self) -> None:
        self.single("input Taproot key signature", "Input Taproot key signature")
        self.result.key_path_sig = self._schnorr("key")

    def _schnorr(self, path: str) -> bytes:
        sig = self.stream.data()
        if len(sig) not in (64, 65):
            length = "shorter than 64" if len(sig) < 64 else "longer than 65"
            raise failure(f"Input Taproot {path} path signature is {length} bytes")
        return sig

    def _script_path_sig(self) -> None:
        self.once("input Taproot script signature")
        if len(self.key) != 65:
            raise failure("Input Taproot script signature key is not 65 bytes")
        self.result.script_path_sigs.setdefault((self.key[1:33], self.key[33:]), self._schnorr("script"))

    def _leaf(self) -> None:
        self.once("input Taproot leaf script")
        if len(self.key) < 34:
            raise failure("Taproot leaf script key is not at least 34 bytes")
        if (len(self.key) - 2) % 32:
            raise failure("Input Taproot leaf script key's control block size is not valid")
        value = self.stream.data()
        if not value:
            raise failure("Input Taproot leaf script must be at least 1 byte")
        self.result.leaf_scripts.setdefault((value[:-1], value[-1]), set()).add(self.key[1:])

    def _internal_key(self) -> None:
        self.single("input Taproot internal key", "Input Taproot internal key")
        self.result.internal_key = self.stream.sized(lambda stream: stream.take(32))

    def _merkle_root(self) -> None:
        self.single("input Taproot merkle root", "Input Taproot merkle root")
        self.result.merkle_root = self.stream.sized(lambda stream: stream.take(32))

    def _place(self, said: str) -> tuple[bytes, tuple[bytes, bytes]]:
        """Participant, and aggregate key with leaf hash, out of the key."""
        self.once(f"input musig2 {said}")
        if len(self.key) not in (67, 99):
            raise failure(f"Input musig2 {said} key is not expected size of 67 or 99 bytes")
        participant, aggregate, leaf = self.key[1:34], self.key[34:67], self.key[67:]
        if not _is_compressed(aggregate):
            raise failure("musig2 aggregate pubkey is invalid")
        if not _is_compressed(participant):
            raise failure("musig2 participant pubkey is invalid")
        return participant, (aggregate, leaf or NO_KEY)

    def _nonce(self) -> None:
        participant, place = self._place("pubnonce")
        nonce = self.stream.data()
        if len(nonce) != PUBNONCE_SIZE:
            raise failure("Input musig2 pubnonce value is not 66 bytes")
        self.result.pubnonces.setdefault(place, {}).setdefault(participant, nonce)

    def _musig_sig(self) -> None:
        participant, place = self._place("partial sig")
        sig = self.stream.sized(lambda stream: stream.take(32))
        self.result.musig_sigs.setdefault(place, {}).setdefault(participant, sig)


class _OutputReader(_Map):
    """Reads the map of an output."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, "an output")
        self.result = PsbtOutput()

    def read(self) -> PsbtOutput:
        """The output; raises PsbtError."""
        result = self.result
        while (kind := self.next_type()) is not None:
            if kind == OUT_REDEEM:
                self.single("output redeemScript", "Output redeemScript")
                result.redeem_script = self.stream.data()
            elif kind == OUT_WITNESS:
                self.single("output witnessScript", "Output witnessScript")
                result.witness_script = self.stream.data()
            elif kind == OUT_BIP32:
                self.derivation(result.origins)
            elif kind == OUT_TAP_KEY:
                self.single("output Taproot internal key", "Output Taproot internal key")
                result.internal_key = self.stream.sized(lambda stream: stream.take(32))
            elif kind == OUT_TAP_TREE:
                self._tree()
            elif kind == OUT_TAP_BIP32:
                self.taproot_derivation(result.taproot_origins, "Output")
            elif kind == OUT_MUSIG_KEYS:
                self.participants(result.aggregates, "Output")
            elif kind == PROPRIETARY:
                self.proprietary(result.proprietary)
            else:
                self.unknown(result.unknown)
        return result

    def _tree(self) -> None:
        self.single("output Taproot tree", "Output Taproot tree")
        inner = Stream(self.stream.data())
        if not inner.left:
            raise failure("Output Taproot tree must not be empty")
        leaves = self.result.tree
        while inner.left:
            depth, version = inner.take(2)
            script = inner.data()
            if depth > MAX_TREE_DEPTH:
                raise failure("Output Taproot tree has as leaf greater than Taproot maximum depth")
            if version & ~LEAF_MASK:
                raise failure("Output Taproot tree has a leaf with an invalid leaf version")
            leaves.append(Leaf(depth, version, script))
        if not is_complete_tree(leaves):
            raise failure("Output Taproot tree is malformed")


class _GlobalReader(_Map):
    """Reads the global map."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, "the global")
        self.xpubs: list[GlobalXpub] = []

    def read(self) -> Psbt:
        """A PSBT without inputs and outputs; raises PsbtError."""
        tx = version = None
        unknown: dict[bytes, bytes] = {}
        proprietary: dict[bytes, Proprietary] = {}
        while (kind := self.next_type()) is not None:
            if kind == GLOBAL_TX:
                self.single("unsigned tx", "Global unsigned tx")
                tx = self.stream.sized(lambda stream: stream.transaction(witness=False))
                if any(tx.script_sigs):
                    raise failure("Unsigned tx does not have empty scriptSigs and scriptWitnesses.")
            elif kind == GLOBAL_XPUB:
                self._xpub()
            elif kind == GLOBAL_VERSION:
                if version is not None:
                    raise failure("Duplicate Key, version already provided")
                if len(self.key) != 1:
                    raise failure("Global version key is more than one byte type")
                version = int.from_bytes(self.stream.sized(lambda stream: stream.take(4)), "little")
                if version > HIGHEST_VERSION:
                    raise failure("Unsupported version number")
            elif kind == PROPRIETARY:
                self.proprietary(proprietary)
            else:
                self.unknown(unknown)
        if tx is None:
            raise failure("No unsigned transaction was provided")
        return Psbt(tx, [], [], self.xpubs, version, unknown, proprietary)

    def _xpub(self) -> None:
        if len(self.key) != 79:
            raise failure("Size of key was not the expected size for the type global xpub")
        raw = self.key[1:]
        if decode_extended(raw[4:]) is None:
            raise failure("Invalid pubkey")
        xpub = GlobalXpub(raw, KeyOrigin(b""))
        if xpub.identity in {known.identity for known in self.xpubs}:
            raise failure("Duplicate key, global xpub already provided")
        self.xpubs.append(xpub._replace(origin=self.origin(self.stream.size())))


def read_psbt(raw: bytes) -> Psbt:
    """Decode the bytes of a PSBT; raises PsbtError."""
    stream = Stream(raw)
    if stream.take(5) != MAGIC:
        raise failure("Invalid PSBT magic bytes")
    psbt = _GlobalReader(stream).read()
    tx = psbt.tx
    while stream.left and len(psbt.inputs) < len(tx.prevouts):
        item, outpoint = _InputReader(stream).read(), tx.prevouts[len(psbt.inputs)]
        psbt.inputs.append(item)
        if item.non_witness_utxo is not None:
            if item.non_witness_utxo.txid != outpoint[:32]:
                raise failure("Non-witness UTXO does not match outpoint hash")
            if int.from_bytes(outpoint[32:], "little") >= len(item.non_witness_utxo.txouts):
                raise failure("Input specifies output index that does not exist")
    if len(psbt.inputs) != len(tx.prevouts):
        raise failure("Inputs provided does not match the number of inputs in transaction.")
    while stream.left and len(psbt.outputs) < len(tx.txouts):
        psbt.outputs.append(_OutputReader(stream).read())
    if len(psbt.outputs) != len(tx.txouts):
        raise failure("Outputs provided does not match the number of outputs in transaction.")
    if stream.left:
        raise PsbtError("extra data after PSBT")
    return psbt


def decode_psbt(text: str) -> Psbt:
    """Decode a PSBT in base64; raises PsbtError."""
    raw = base64_bytes(text)
    if raw is None:
        raise PsbtError("invalid base64")
    return read_psbt(raw)
