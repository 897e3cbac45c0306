"""Transactions that mix standard spends and faults of their structure: what kernels prove of them must be valid.

A case of ``tests.lib.script_cases`` has one input that matters. Here inputs of all templates stand side by side and
share few keys, which also stand where another kind of key belongs, so that whatever kernels keep from one input to the
next is used. Everything comes from one ``Random``, so a seed reproduces a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from btcnode.chain.shadow import Disagreement, KernelEngine, KernelTransaction
from btcnode.compiled.kernels import Kernels
from btcnode.primitives.coin import make_txout, txout_value
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext, tapbranch_hash, tapleaf_hash
from btcnode.script.signatures import sign_ecdsa, sign_schnorr, taproot_tweak_pubkey
from tests.lib.kernels import proven_inputs
from tests.lib.script_builder import KEYS, Key, damaged_der
from tests.lib.script_cases import ScriptCase, consensus_flags
from tests.lib.script_fuzz import any_flags, interpret

TEMPLATES = (
    "p2pkh",
    "p2wpkh",
    "p2sh-p2wpkh",
    "p2sh-multisig",
    "p2wsh-multisig",
    "p2sh-p2wsh-multisig",
    "p2tr-key",
    "p2tr-script",
)
FLAG_SETS_PER_MIXTURE = 2

_FEW_KEYS = KEYS[:6]
_HASH_TYPES = [1] * 14 + [2, 3, 0x81, 0x82, 0x83, 0, 4, 0x41]
_WRONG_HEADS = (0, 1, 1, 1, 4, 5, 6, 7, 0xFF)  # 1: how a table of keys may name an x-only one
_AMOUNTS = (0, 1, 5_000, 21 * 10**14)
_CROWDS = (199, 200, 201, 202)  # at the most inputs beside which legacy hashes are made


@dataclass(frozen=True, slots=True)
class Mixture:
    """A serialised transaction that may be malformed, the txouts that it spends, and their templates."""

    raw: bytes
    spent: list[bytes]
    templates: list[str]


@dataclass(slots=True)
class _Owner:
    """An output and what is known for its spending.

    ``code``: what ECDSA signatures cover, or a leaf's script. ``public``: the key as its hash commits to it.
    ``program``: what a P2SH output has the hash of. ``needed``: how many of ``keys`` sign.
    """

    template: str
    script_pubkey: bytes
    keys: list[Key] = field(default_factory=list)
    hash_type: int = 1
    code: bytes = b""
    public: bytes = b""
    program: bytes = b""
    needed: int = 1
    leaf: bytes | None = None
    control: bytes = b""


class MixtureGenerator:
    """Makes mixtures from ``rng``."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def flags(self) -> int:
        """Consensus flags more often than not, else policy flags among them; always consistent."""
        return consensus_flags(self.rng) if self._happens(0.7) else any_flags(self.rng)

    def mixture(self) -> Mixture:
        """A transaction of one to six inputs, or rarely of a crowd of them."""
        rng = self.rng
        owners = [self._owner() for _ in range(rng.choice((1, 2, 2, 3, 4, 6)))]
        if self._happens(0.005):
            size = rng.choice(_CROWDS)
            owners = (owners * size)[:size]
        spent = [make_txout(self._amount(), owner.script_pubkey) for owner in owners]
        blank = self._unsigned(len(owners))
        ctx = SighashContext(blank, spent)
        script_sigs, stacks = [], []
        for index, owner in enumerate(owners):
            script_sig, stack = self._disturbed(*self._solution(ctx, index, owner))
            script_sigs.append(script_sig)
            stacks.append(stack)
        if len(stacks) > 1 and self._happens(0.02):
            stacks[0], stacks[1] = stacks[1], stacks[0]
        tx = Tx(blank.version, blank.prevouts, script_sigs, blank.sequences, blank.txouts, stacks, blank.lock_time)
        return Mixture(self._changed(tx.raw), spent, [owner.template for owner in owners])

    def _happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    def _amount(self) -> int:
        return self.rng.choice((-1, -5)) if self._happens(0.03) else self.rng.choice(_AMOUNTS)

    def _unsigned(self, inputs: int) -> Tx:
        """Edges of version, sequences, lock time and of the sizes of outputs."""
        rng = self.rng
        sizes = [rng.choice((0, 1, 25, 252, 253, 300)) for _ in range(rng.choice((1, 1, 2, 3)))]
        return Tx(
            rng.choice((1, 2, 2, 3, 0x80000000, 0xFFFFFFFF)),
            [rng.randbytes(32) + rng.choice((0, 1, 0xFFFFFFFF)).to_bytes(4, "little") for _ in range(inputs)],
            [b""] * inputs,
            [rng.choice((0, 0xFFFFFFFF, rng.getrandbits(32))) for _ in range(inputs)],
            [make_txout(rng.randrange(10**9), rng.randbytes(size)) for size in sizes],
            lock_time=rng.choice((0, rng.getrandbits(32))),
        )

    def _changed(self, raw: bytes) -> bytes:
        """Now and then with one byte that is another."""
        if self._happens(0.9):
            return raw
        rng, place = self.rng, self.rng.randrange(len(raw))
        new = rng.choice((0, 1, 0xFD, 0xFE, 0xFF, raw[place] ^ 1 << rng.randrange(8)))
        return raw[:place] + bytes([new]) + raw[place + 1 :]

    # ---- outputs

    def _owner(self) -> _Owner:
        template = self.rng.choice((*TEMPLATES, *TEMPLATES, "other"))
        if template == "p2tr-key":
            return self._taproot_key()
        if template == "p2tr-script":
            return self._tapscript()
        if template == "other":
            return self._other()
        return self._multisig(template) if template.endswith("multisig") else self._key_hash(template)

    def _public(self, key: Key) -> bytes:
        """The key in some form, or 33 or 65 bytes that only look like it."""
        roll = self.rng.random()
        if roll < 0.70:
            return key.compressed
        if roll < 0.78:
            return key.uncompressed
        if roll < 0.82:
            return key.hybrid
        if roll < 0.84:
            return bytes([key.hybrid[0] ^ 1]) + key.hybrid[1:]
        if roll < 0.86:
            return bytes([key.compressed[0] ^ 1]) + key.xonly
        return bytes([self.rng.choice(_WRONG_HEADS)]) + key.xonly

    def _key_hash(self, template: str) -> _Owner:
        key = self.rng.choice(_FEW_KEYS)
        public = self._public(key)
        hashed = hash160(public)
        code, program = b"\x76\xa9\x14" + hashed + b"\x88\xac", b"\0\x14" + hashed
        script = {"p2pkh": code, "p2wpkh": program, "p2sh-p2wpkh": _p2sh(program)}[template]
        hash_type = self.rng.choice(_HASH_TYPES)
        return _Owner(template, script, [key], hash_type, code=code, public=public, program=program)

    def _multisig(self, template: str) -> _Owner:
        rng = self.rng
        total = rng.choice((1, 2, 3, 3, 15, 16)) if self._happens(0.3) else rng.randint(1, 3)
        needed = rng.randint(1, total)
        keys = [rng.choice(_FEW_KEYS) for _ in range(total)]
        publics = [self._public(key) if self._happens(0.15) else key.compressed for key in keys]
        said_needed, said_total = (rng.randint(0, 17) if self._happens(0.05) else n for n in (needed, total))
        tail = b"\xaf\x51" if self._happens(0.05) else b"\xae"  # CHECKMULTISIGVERIFY 1
        code = bytes([0x50 + said_needed]) + b"".join(map(push_data, publics)) + bytes([0x50 + said_total]) + tail
        program = code if template == "p2sh-multisig" else b"\0\x20" + sha256(code).digest()
        script = program if template == "p2wsh-multisig" else _p2sh(program)
        return _Owner(template, script, keys, rng.choice(_HASH_TYPES), code=code, program=program, needed=needed)

    def _taproot_key(self) -> _Owner:
        key = self.rng.choice(_FEW_KEYS)
        version = b"\x52" if self._happens(0.2) else b"\x51"
        program = version + b"\x20" + key.xonly
        if self._happens(0.05):
            return _Owner("p2tr-key", _p2sh(program), [key], self.rng.choice(_HASH_TYPES), program=program)
        return _Owner("p2tr-key", program, [key], self.rng.choice(_HASH_TYPES))

    def _tapscript(self) -> _Owner:
        rng = self.rng
        key, internal = rng.choice(_FEW_KEYS), rng.choice(_FEW_KEYS).xonly
        version = rng.choice((0xC2, 0x50)) if self._happens(0.1) else 0xC0
        script = self._leaf_script(key)
        leaf = node = tapleaf_hash(version, script)
        lengths = (0, 0, 1, 2, 5, 128, 129) if self._happens(0.2) else (0, 1, 2)
        path = [rng.randbytes(32) if self._happens(0.8) else leaf for _ in range(rng.choice(lengths))]
        for sibling in path:
            node = tapbranch_hash(node, sibling)
        output, parity = taproot_tweak_pubkey(internal, node)
        said = version ^ 2 if self._happens(0.03) else version
        control = bytes([said | parity ^ self._happens(0.03)]) + internal + b"".join(path)
        return _Owner(
            "p2tr-script", b"\x51\x20" + output, [key], rng.choice(_HASH_TYPES), code=script, leaf=leaf, control=control
        )

    def _leaf_script(self, key: Key) -> bytes:
        """One key and CHECKSIG more often than not; else others that begin so, or have the size."""
        if self._happens(0.8):
            return b"\x20" + key.xonly + b"\xac"
        unknown, begun = self.rng.randbytes(32), b"\x20" + key.xonly
        return self.rng.choice(
            (
                b"\x20" + unknown + b"\xac",
                begun + b"\xba",
                begun + b"\xad",
                begun + b"\xae",
                b"\x21" + key.compressed + b"\xac",
                b"\x51",
                b"\x7e" * 34,  # OP_SUCCESS
            )
        )

    def _other(self) -> _Owner:
        """What no template knows, of their sizes or none of them."""
        rng = self.rng
        key = rng.choice(_FEW_KEYS)
        noise = rng.randbytes(rng.choice((22, 23, 25, 34)))
        scripts = (b"\x51", push_data(key.compressed) + b"\xac", b"", b"\x51\x02\x4e\x73", noise)
        return _Owner("other", rng.choice(scripts))

    # ---- spends

    def _solution(self, ctx: SighashContext, index: int, owner: _Owner) -> tuple[bytes, list[bytes]]:
        """script_sig and stack, which are the right ones more often than not."""
        if owner.template == "other":
            return b"", []
        if owner.template.startswith("p2tr"):
            stack = [self._schnorr(ctx, index, owner)]
            if owner.leaf is not None:
                stack += [owner.code, owner.control]
        elif owner.public:
            stack = [self._ecdsa(ctx, index, owner, owner.keys[0]), owner.public]
            if self._happens(0.02):
                stack.insert(0, b"")
        else:
            stack = self._signatures(ctx, index, owner)
        if owner.template == "p2pkh":
            return b"".join(map(push_data, stack)), []
        if owner.template == "p2sh-multisig":
            return self._pushes([*stack, owner.program]), []
        if owner.template.endswith("multisig"):
            stack.append(owner.code)
        if not owner.script_pubkey.startswith(b"\xa9"):
            return b"", stack
        program = push_data(owner.program)
        return (b"\x4c" + program if self._happens(0.03) else program), stack

    def _signatures(self, ctx: SighashContext, index: int, owner: _Owner) -> list[bytes]:
        """Those of multisig, in the order of keys, with the element in front that it takes too much."""
        signers = sorted(self.rng.sample(range(len(owner.keys)), owner.needed))
        if self._happens(0.04):
            self.rng.shuffle(signers)
        stack = [b"\1" if self._happens(0.04) else b""]
        stack += [self._ecdsa(ctx, index, owner, owner.keys[signer]) for signer in signers]
        if self._happens(0.02):
            stack.append(stack[-1])
        return stack

    def _pushes(self, elements: list[bytes]) -> bytes:
        """A script_sig that pushes them, sometimes in another than the shortest form or with an opcode behind."""
        longer = self._happens(0.05)
        script = b""
        for element in elements:
            fits = 0 < len(element) < 0x100
            script += b"\x4c" + bytes([len(element)]) + element if longer and fits else push_data(element)
        return script + self.rng.choice((b"\x61", b"\x75", b"\0")) if self._happens(0.03) else script

    def _ecdsa(self, ctx: SighashContext, index: int, owner: _Owner, key: Key) -> bytes:
        hash_type = self.rng.choice(_HASH_TYPES) if self._happens(0.05) else owner.hash_type
        if owner.template in ("p2pkh", "p2sh-multisig"):
            digest = ctx.legacy(index, owner.code, hash_type)
        else:
            digest = ctx.segwit_v0(index, owner.code, ctx.amount(index), hash_type)
        der = sign_ecdsa(key.secret, digest)
        if self._happens(0.04):
            der = damaged_der(self.rng, der)
        return b"" if self._happens(0.02) else der + bytes([hash_type])

    def _schnorr(self, ctx: SighashContext, index: int, owner: _Owner) -> bytes:
        """By the key itself: an output's key is never tweaked here."""
        hash_type = 0 if self._happens(0.6) else owner.hash_type
        digest = ctx.taproot(index, hash_type, leaf_hash=owner.leaf)
        signature = sign_schnorr(owner.keys[0].secret, digest) if digest is not None else bytes(64)
        if hash_type or self._happens(0.05):
            signature += bytes([hash_type])
        if self._happens(0.03):
            signature = self.rng.choice((b"", signature[:-1], signature + b"\0"))
        return signature

    def _disturbed(self, script_sig: bytes, stack: list[bytes]) -> tuple[bytes, list[bytes]]:
        """The same, but for one time in ten: then what an input has is changed."""
        rng = self.rng
        if self._happens(0.9):
            return script_sig, stack
        fault = rng.randrange(5)
        if fault == 0:
            return script_sig, [*stack, b"\x50" + rng.randbytes(rng.randrange(4))]  # an annex, where one may be
        if fault == 1:
            return script_sig, []
        if fault == 2:
            return script_sig, [*stack, b""]
        if fault == 3:
            return script_sig, stack * 2
        scripts = (b"\x51", b"", b"\0", script_sig + b"\x61", b"\x61" + script_sig, script_sig * 2)
        return rng.choice(scripts), stack


def _p2sh(program: bytes) -> bytes:
    return b"\xa9\x14" + hash160(program) + b"\x87"


@dataclass(slots=True)
class MixtureResult:
    """Counts of a run, inputs by template, and inputs that were proven but are not valid."""

    transactions: int = 0
    inputs: Counter[str] = field(default_factory=Counter)
    proven: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)

    def merge(self, other: MixtureResult) -> None:
        """Add the counts of another run."""
        self.transactions += other.transactions
        self.inputs += other.inputs
        self.proven += other.proven
        self.disagreements += other.disagreements


def fuzz_mixture(
    kernels: Kernels, rng: Random, note: str, result: MixtureResult, engine: KernelEngine | None = None
) -> None:
    """One mixture under several flags; adds to ``result``.

    Every input that ``kernels`` prove has to be valid for the interpreter without fast paths, and for ``engine``.
    """
    generator = MixtureGenerator(rng)
    mixture = generator.mixture()
    result.transactions += 1
    for _ in range(FLAG_SETS_PER_MIXTURE):
        flags = generator.flags()
        proven = proven_inputs(kernels, mixture.raw, mixture.spent, flags)
        result.inputs.update(mixture.templates)
        result.proven.update(mixture.templates[index] for index in proven)
        if proven:
            result.disagreements += _judge(mixture, proven, flags, note, engine)


def _judge(
    mixture: Mixture, proven: list[int], flags: int, note: str, engine: KernelEngine | None
) -> list[Disagreement]:
    """Those of the inputs ``proven`` that are not valid."""
    tx = Tx.parse(mixture.raw)
    ctx = SighashContext(tx, mixture.spent)
    loaded: KernelTransaction | None = None
    if engine is not None and all(txout_value(txout) >= 0 for txout in mixture.spent):
        loaded = engine.load(mixture.raw, mixture.spent)
    wrong = []
    for index in proven:
        case = ScriptCase(tx, index, mixture.spent, mixture.templates[index])
        error = interpret(case, flags, ctx)
        valid = loaded is None or loaded.verify(index, flags & MANDATORY_VERIFY_FLAGS)
        if error is not None or not valid:
            spent = tuple(txout.hex() for txout in mixture.spent)
            ours, words = error.value if error else "OK", "proven by kernels" if valid else "invalid"
            wrong.append(Disagreement(tx.raw.hex(), spent, index, flags, ours, words, f"{case.label} {note}"))
    return wrong
