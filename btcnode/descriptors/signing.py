"""Satisfying one input with what a provider knows (Core's ``ProduceSignature``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from btcnode.descriptors.creator import SignatureCreator
from btcnode.descriptors.descriptor import p2pkh_script
from btcnode.descriptors.miniscript_decoder import decode_miniscript
from btcnode.descriptors.miniscript_satisfier import Availability, satisfy
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.musig import sign_musig
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sigdata import SignatureData
from btcnode.descriptors.solutions import solve
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import hash160, ripemd160
from btcnode.script.encoding import is_sized_pubkey
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.opcodes import OP_0, OP_1, OP_1NEGATE
from btcnode.script.scriptparse import push_data, witness_program
from btcnode.script.sighash import tapleaf_hash
from btcnode.script.tapscript import LEAF_TAPSCRIPT
from btcnode.script.verify import run_scripts


class _Step(NamedTuple):
    """What came of one script: whether it is solved, its type, and the stack for it (or the script to go on with)."""

    solved: bool
    kind: str
    stack: list[bytes]


def verify_satisfaction(data: SignatureData, script_pubkey: bytes, creator: SignatureCreator) -> ScriptError | None:
    """Whether script_sig and witness spend the output by standard rules: None, or what is wrong."""
    try:
        run_scripts(data.script_sig, script_pubkey, data.script_witness, STANDARD_VERIFY_FLAGS, creator.checker)
    except ScriptAbort as abort:
        return abort.error
    return None


def push_all(items: list[bytes]) -> bytes:
    """A script that pushes these, each in its shortest way."""
    parts = []
    for item in items:
        if not item:
            parts.append(bytes((OP_0,)))
        elif len(item) == 1 and 1 <= item[0] <= 16:
            parts.append(bytes((OP_1 + item[0] - 1,)))
        elif item == b"\x81":
            parts.append(bytes((OP_1NEGATE,)))
        else:
            parts.append(push_data(item))
    return b"".join(parts)


def is_segwit_output(script: bytes, provider: SigningProvider) -> bool:
    """Whether an output is a witness program, or the hash of one that the provider knows."""
    if witness_program(script) is not None:
        return True
    kind, data = solve(script)
    inner = provider.script(data[0]) if kind == "scripthash" else None
    return inner is not None and witness_program(inner) is not None


def produce_signature(
    provider: SigningProvider, creator: SignatureCreator, script_pubkey: bytes, data: SignatureData
) -> bool:
    """Fill ``data`` with script_sig and witness for an output, as far as they can be made; whether they satisfy it."""
    if data.complete:
        return True
    return _Signer(provider, creator, data).run(script_pubkey)


class _Signer:
    """One attempt at one input."""

    def __init__(self, provider: SigningProvider, creator: SignatureCreator, data: SignatureData) -> None:
        self.provider = provider
        self.creator = creator
        self.data = data

    def run(self, script_pubkey: bytes) -> bool:
        data = self.data
        step = self._step(script_pubkey, witness_v0=False)
        redeem: bytes | None = None
        if step.solved and step.kind == "scripthash":
            redeem = data.redeem_script = step.stack[0]
            step = self._step(redeem, witness_v0=False)
            step = step._replace(solved=step.solved and step.kind != "scripthash")
        solved, stack = step.solved, step.stack
        if solved and step.kind == "witness_v0_keyhash":
            inner = self._step(p2pkh_script(stack[0]), witness_v0=True)
            solved, stack = inner.solved, []
            data.script_witness, data.witness = inner.stack, True
        elif solved and step.kind == "witness_v0_scripthash":
            solved, stack = self._witness_script(stack[0]), []
        elif step.kind == "witness_v1_taproot" and redeem is None:
            data.witness = True
            if solved:
                data.script_witness = stack
            stack = []
        if not data.witness:
            data.script_witness = []
        data.script_sig = push_all([*stack, redeem] if redeem is not None else stack)
        data.complete = solved and verify_satisfaction(data, script_pubkey, self.creator) is None
        return data.complete

    def _witness_script(self, script: bytes) -> bool:
        data = self.data
        data.witness_script = script
        step = self._step(script, witness_v0=True)
        nested = ("scripthash", "witness_v0_scripthash", "witness_v0_keyhash")
        solved, stack = step.solved and step.kind not in nested, step.stack
        if not solved and not stack:
            found = self._miniscript(script, None)
            if found is not None:
                solved, stack = True, found
        data.script_witness = [*stack, script]
        data.witness = True
        return solved

    # -- by type

    def _step(self, script: bytes, *, witness_v0: bool) -> _Step:
        """Satisfy a script of a standard type, or find the script behind a hash."""
        kind, data = solve(script)
        if kind == "pubkey":
            sig = self._ecdsa(data[0], script, witness_v0=witness_v0)
            return _Step(sig is not None, kind, [sig] if sig is not None else [])
        if kind == "pubkeyhash":
            key = self._pubkey(data[0])
            if key is None:
                self.data.missing_pubkeys.append(data[0])
                return _Step(False, kind, [])
            sig = self._ecdsa(key, script, witness_v0=witness_v0)
            return _Step(sig is not None, kind, [sig, key] if sig is not None else [])
        if kind == "multisig":
            return self._multisig(data, script, witness_v0)
        if kind in ("scripthash", "witness_v0_scripthash"):
            return self._behind_hash(kind, data[0])
        if kind == "witness_v0_keyhash":
            return _Step(True, kind, [data[0]])
        if kind == "witness_v1_taproot":
            stack = self._taproot(data[0])
            return _Step(stack is not None, kind, stack or [])
        return _Step(kind == "anchor", kind, [])

    def _multisig(self, data: list[bytes], script: bytes, witness_v0: bool) -> _Step:
        required = data[0][0]
        stack = [b""]  # CHECKMULTISIG takes one element too many
        for key in data[1:-1]:  # all that can be made are made, for who goes on with them
            sig = self._ecdsa(key, script, witness_v0=witness_v0)
            if sig is not None and len(stack) <= required:
                stack.append(sig)
        solved = len(stack) == required + 1
        # Core's loop counts up while the stack grows: it stops halfway
        return _Step(solved, "multisig", stack + [b""] * ((required + 2 - len(stack)) // 2))

    def _behind_hash(self, kind: str, digest: bytes) -> _Step:
        script_id = digest if kind == "scripthash" else ripemd160(digest)
        script = self.provider.script(script_id)
        if script is None:
            ours = (self.data.redeem_script, self.data.witness_script)
            script = next((found for found in ours if hash160(found) == script_id), None)
        if script is not None:
            return _Step(True, kind, [script])
        if kind == "scripthash":
            self.data.missing_redeem_script = digest
        else:
            self.data.missing_witness_script = digest
        return _Step(False, kind, [])

    def _pubkey(self, key_id: bytes) -> bytes | None:
        """The public key with this HASH160, wherever it is known."""
        data = self.data
        for table in (data.signatures, data.pubkeys):
            if key_id in table:
                return table[key_id][0]
        if key_id in data.xonly_keys:
            return b"\x02" + data.xonly_keys[key_id]
        return self.provider.pubkey(key_id)

    def _ecdsa(self, pubkey: bytes, script_code: bytes, *, witness_v0: bool) -> bytes | None:
        key_id, data = hash160(pubkey), self.data
        if key_id in data.signatures:
            return data.signatures[key_id][1]
        origin = self.provider.origin(key_id)
        if origin is not None:
            data.pubkeys.setdefault(key_id, (pubkey, origin))
        sig = self.creator.ecdsa(self.provider, key_id, script_code, witness_v0=witness_v0)
        if sig is None:
            data.missing_sigs.append(key_id)
        else:
            data.signatures[key_id] = (pubkey, sig)
        return sig

    # -- taproot

    def _taproot(self, output_key: bytes) -> list[bytes] | None:
        data, provider = self.data, self.provider
        known = provider.spend_data(output_key)
        if known is not None:
            data.spend.merge(known)
        data.tree = provider.trees.get(output_key, data.tree)
        for key, participants in provider.aggregates.items():
            data.aggregates.setdefault(key, participants)
        internal = data.spend.internal_key
        for key in (internal, output_key):
            origin = provider.origin_of_xonly(key)
            if origin is not None:
                data.taproot_origins.setdefault(key, (set(), origin))
        if not data.key_path_sig:
            self._key_path(internal, data.spend.merkle_root)
        if not data.key_path_sig:
            self._key_path(output_key, None)
        if data.key_path_sig:
            return [data.key_path_sig]
        best: list[bytes] | None = None
        for script, version, controls in data.spend.sorted_scripts():
            stack = self._leaf(script, version)
            if stack is not None:
                stack += [script, controls[0]]
                if best is None or _stack_size(stack) < _stack_size(best):
                    best = stack
        return best

    def _key_path(self, pubkey: bytes, merkle_root: bytes | None) -> None:
        sig = self.creator.schnorr(self.provider, pubkey, None, merkle_root)
        if sig is not None:
            self.data.key_path_sig = sig
        else:
            sign_musig(self.creator, self.data, self.provider, pubkey, merkle_root, None)

    def _leaf(self, script: bytes, version: int) -> list[bytes] | None:
        return self._miniscript(script, tapleaf_hash(version, script)) if version == LEAF_TAPSCRIPT else None

    def _leaf_signature(self, pubkey: bytes, leaf_hash: bytes) -> bytes | None:
        data, place = self.data, (pubkey, leaf_hash)
        origin = self.provider.origin_of_xonly(pubkey)
        if origin is not None:
            data.taproot_origins.setdefault(pubkey, (set(), origin))[0].add(leaf_hash)
        if place not in data.script_path_sigs:
            sig = self.creator.schnorr(self.provider, pubkey, leaf_hash, None)
            if sig is not None:
                data.script_path_sigs[place] = sig
            else:
                sign_musig(self.creator, data, self.provider, pubkey, None, leaf_hash)
        return data.script_path_sigs.get(place)

    # -- miniscript

    def _miniscript(self, script: bytes, leaf_hash: bytes | None) -> list[bytes] | None:
        """The stack for a witness script, or for a leaf with this hash."""

        def read_key(key: bytes) -> bytes | None:
            return key if (len(key) == 32 if leaf_hash is not None else is_sized_pubkey(key)) else None

        def read_hash(key_id: bytes) -> bytes | None:
            key = self._pubkey(key_id)
            if key is None:
                self.data.missing_pubkeys.append(key_id)
                return None
            return key[1:33] if leaf_hash is not None else key

        node = decode_miniscript(script, leaf_hash is not None, read_key, read_hash)
        if node is None:
            return None

        def sign(key: bytes) -> bytes | None:
            if leaf_hash is not None:
                return self._leaf_signature(key, leaf_hash)
            return self._ecdsa(key, script, witness_v0=True)

        available, stack = satisfy(node, _Source(self.creator, self.data, sign))
        return stack if available is Availability.YES else None


class _Source:
    """What miniscript is satisfied from; its keys are the bytes themselves."""

    def __init__(self, creator: SignatureCreator, data: SignatureData, sign: Callable[[bytes], bytes | None]) -> None:
        self._checker = creator.checker
        self._data = data
        self._sign = sign

    def sign(self, key: Any) -> tuple[Availability, bytes]:
        sig = self._sign(key)
        return (Availability.YES, sig) if sig is not None else (Availability.NO, b"")

    def key_bytes(self, key: Any) -> bytes:
        return bytes(key)

    def check_after(self, value: int) -> bool:
        return self._checker.check_lock_time(value)

    def check_older(self, value: int) -> bool:
        return self._checker.check_sequence(value)

    def preimage(self, fragment: Fragment, digest: bytes) -> tuple[Availability, bytes]:
        found = self._data.preimages.get((fragment, digest))
        return (Availability.YES, found) if found is not None else (Availability.NO, b"")


def _stack_size(stack: list[bytes]) -> int:
    return len(compact_size(len(stack))) + sum(len(compact_size(len(item))) + len(item) for item in stack)
