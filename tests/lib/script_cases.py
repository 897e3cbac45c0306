"""Random spends for tests and the fuzzer: every template signed properly, then mutated.

Everything comes from one ``Random``, so a seed reproduces a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from btcnode.primitives.coin import make_txout, txout_script
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.scriptparse import push_data
from btcnode.script.signatures import (
    sign_ecdsa,
    sign_schnorr,
    taproot_tweak_pubkey,
    taproot_tweak_seckey,
)
from tests.lib import reference_sighash as reference
from tests.lib.script_builder import (
    CHECKSIG,
    KEYS,
    Argument,
    Key,
    ScriptBuilder,
    Slot,
    damaged_der,
    number,
    random_hash_type,
    soup,
)

_CONSENSUS_BITS = [1 << n for n in range(21) if MANDATORY_VERIFY_FLAGS >> n & 1]


@dataclass(frozen=True, slots=True)
class ScriptCase:
    """One input of a transaction with the txouts that the transaction spends; ``label`` tells the template."""

    tx: Tx
    index: int
    spent: list[bytes]
    label: str


@dataclass(slots=True)
class Plan:
    """How an output is spent: what the signatures cover and where the arguments go.

    ``place`` is bare, p2sh, p2wsh, p2sh-p2wsh, tapscript, p2wpkh, p2sh-p2wpkh, p2tr-key or fixed (nothing to sign).
    """

    label: str
    place: str
    script_pubkey: bytes
    script: bytes = b""
    arguments: Sequence[Argument] = ()
    control: bytes = b""
    leaf_version: int = 0xC0
    merkle_root: bytes = b""
    annex: bytes | None = None
    script_sig: bytes = b""
    witness: Sequence[bytes] = ()


def consensus_flags(rng: Random) -> int:
    """All consensus flags, or a random consistent combination of them."""
    if rng.random() < 0.4:
        return MANDATORY_VERIFY_FLAGS
    flags = sum(bit for bit in _CONSENSUS_BITS if rng.random() < 0.6)
    return flags | VERIFY_P2SH if flags & VERIFY_WITNESS else flags


def push_argument(rng: Random, data: bytes) -> bytes:
    """A push for a script_sig: mostly the shortest, sometimes an OP_N or a longer form."""
    if data == b"" and rng.random() < 0.9:
        return b"\0"
    if len(data) == 1 and 1 <= data[0] <= 16 and rng.random() < 0.7:
        return bytes((0x50 + data[0],))
    roll = rng.random()
    if roll < 0.96:
        return push_data(data)
    if roll < 0.98 and len(data) < 0x100:
        return b"\x4c" + bytes((len(data),)) + data
    return b"\x4d" + len(data).to_bytes(2, "little") + data


class CaseGenerator:
    """Makes cases from ``rng``."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    # ---- outputs

    def plan(self) -> Plan:
        """A random output and the way to spend it."""
        roll = self.rng.random()
        if roll < 0.3:
            return self.key_plan()
        if roll < 0.42:
            return self.multisig_plan()
        if roll < 0.72:
            return self._script_plan()
        return self._soup_plan() if roll < 0.92 else self._odd_plan()

    def key_plan(self) -> Plan:
        """P2PK, P2PKH, P2WPKH, P2SH-P2WPKH, taproot by key."""
        rng = self.rng
        key = rng.choice(KEYS)
        slot = Slot(key, random_hash_type(rng))
        kind = rng.choice(("p2pk", "p2pkh", "p2wpkh", "p2sh-p2wpkh", "p2tr-key", "p2tr-single"))
        if kind.startswith("p2tr"):
            slot = Slot(key, 0 if rng.random() < 0.5 else slot.hash_type)
            if kind == "p2tr-single":
                return self.tapscript(kind, push_data(key.xonly) + bytes((CHECKSIG,)), [slot])
            root = rng.randbytes(32) if rng.random() < 0.5 else b""
            output, _ = taproot_tweak_pubkey(key.xonly, root)
            annex = b"\x50" + rng.randbytes(rng.choice((0, 1, 300))) if rng.random() < 0.15 else None
            return Plan(kind, kind, b"\x51\x20" + output, arguments=[slot], merkle_root=root, annex=annex)
        public = key.compressed
        if rng.random() < 0.2:
            public = rng.choice((key.uncompressed, key.hybrid))
        if kind == "p2pk":
            script = push_data(public) + bytes((CHECKSIG,))
            return Plan(kind, "bare", script, script, [slot])
        code = reference.p2pkh_code(hash160(public))
        if kind == "p2pkh":
            return Plan(kind, "bare", code, code, [public, slot])
        program = b"\0\x14" + hash160(public)
        if kind == "p2wpkh":
            return Plan(kind, kind, program, code, [public, slot])
        return Plan(kind, kind, _p2sh(program), code, [public, slot], script_sig=push_data(program))

    def multisig_plan(self) -> Plan:
        """The plain multisig templates in every wrapping."""
        rng = self.rng
        total = rng.choice((1, 2, 3, 3, 5, 16))
        needed = rng.randint(1, min(total, 3))
        keys = rng.sample(KEYS, total) if total < 12 else [rng.choice(KEYS) for _ in range(total)]
        full = 0.15 if rng.random() < 0.3 else 0.0
        publics = [key.uncompressed if rng.random() < full else key.compressed for key in keys]
        script = number(needed) + b"".join(map(push_data, publics)) + number(total) + b"\xae"
        signers = sorted(rng.sample(range(total), needed))
        shared = random_hash_type(rng)
        slots: list[Argument] = [Slot(keys[n], shared if rng.random() < 0.9 else 1) for n in reversed(signers)]
        return self.wrap("multisig", script, [*slots, b""], rng.choice(("bare", "p2sh", "p2wsh", "p2sh-p2wsh")))

    def _script_plan(self) -> Plan:
        """A script of fragments in any wrapping."""
        rng = self.rng
        place = rng.choice(("bare", "p2sh", "p2wsh", "p2sh-p2wsh", "tapscript", "tapscript"))
        builder = ScriptBuilder(rng, place == "tapscript")
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            builder.fragment()
        builder.finish()
        if place == "tapscript":
            return self.tapscript("fragments", builder.script, builder.arguments)
        return self.wrap("fragments", builder.script, builder.arguments, place)

    def _soup_plan(self) -> Plan:
        """A random script in any wrapping."""
        rng = self.rng
        arguments: list[Argument] = [
            rng.choice((b"", b"\1", b"\2", rng.randbytes(4))) for _ in range(rng.randint(0, 4))
        ]
        place = rng.choice(("bare", "p2sh", "p2wsh", "p2sh-p2wsh", "tapscript"))
        if place == "tapscript":
            return self.tapscript("soup", soup(rng), arguments)
        return self.wrap("soup", soup(rng), arguments, place)

    def _odd_plan(self) -> Plan:
        """Witness programs nobody uses, odd leaf versions, limits, a signature inside its own script."""
        rng = self.rng
        kind = rng.randrange(9)
        if kind == 0:
            version, size = rng.randint(0, 16), rng.choice((2, 19, 20, 31, 32, 33, 40, 41))
            program = number(version) + push_data(rng.randbytes(size))
            witness = [rng.randbytes(rng.randint(0, 5)) for _ in range(rng.randint(0, 3))]
            return Plan("program", "fixed", program, witness=witness)
        if kind == 1:
            return Plan("anchor", "fixed", b"\x51\x02\x4e\x73", witness=[b"\1"] * rng.randint(0, 1))
        if kind == 2:
            return self.tapscript("leaf-version", soup(rng), [b"\1"], rng.choice((0x50, 0xC2, 0xFE, 0x66, 0x00)))
        if kind == 3:
            op = rng.choice((80, 98, 126, 137, 141, 149, 187, 254))
            return self.tapscript("op-success", rng.randbytes(rng.randint(0, 3)) + bytes((op,)) + soup(rng), [])
        if kind == 4:
            return self.wrap("limits", self._limit_script(), [], rng.choice(("bare", "p2sh", "p2wsh")))
        if kind == 5:
            return self.tapscript("limits", self._limit_script(), [b""] * rng.choice((0, 999, 1000, 1001)))
        if kind == 6:
            output, _ = taproot_tweak_pubkey(KEYS[0].xonly)
            program = b"\x51\x20" + output
            return Plan("nested-taproot", "fixed", _p2sh(program), script_sig=push_data(program), witness=[bytes(64)])
        if kind == 7:  # one signature checked again and again: the budget of BIP342 runs out
            key, repeats = rng.choice(KEYS), rng.choice((2, 3, 4, 10))
            script = push_data(key.xonly) + b"\x6e\xad" * repeats + bytes((CHECKSIG,))
            return self.tapscript("weight", script, [Slot(key, 0)])
        key, tail = rng.choice(KEYS), b"\x75"
        code = tail + push_data(key.compressed) + bytes((CHECKSIG,))
        plan = Plan("find-and-delete", "bare", b"", code, [Slot(key, 1)])
        return replace(plan, place="find-and-delete", witness=())

    def _limit_script(self) -> bytes:
        """A script at or just over a limit."""
        rng = self.rng
        more = rng.choice((0, 0, 1))
        return rng.choice(
            (
                b"\x61" * (201 + more) + b"\x51",
                b"\x51" * (1000 + more),
                b"\x51" * (500 + more) + b"\x6b" * 200 + b"\x51" * 500,
                b"\x51" + (b"\x4d\x08\x02" + bytes(520) + b"\x75") * 19 + b"\x61" * (54 + more),
                b"\x51" + b"\x4d" + (520 + more).to_bytes(2, "little") + bytes(520 + more) + b"\x75",
                b"\0\x63" * (50 + more) + b"\x68" * 50 + b"\x51",
                b"\0\0\0" * 2 + b"\0\0" + number(20 + more) + b"\xae",
                (b"\0\0" + b"\x51" * 20 + b"\x01\x14\xae\x75") * (9 + more) + b"\x51",
            )
        )

    def wrap(self, label: str, script: bytes, arguments: Sequence[Argument], place: str) -> Plan:
        """Put a script behind bare, p2sh, p2wsh or p2sh-p2wsh."""
        label = f"{place}/{label}"
        if place == "bare":
            return Plan(label, place, script, script, arguments)
        if place == "p2sh":
            return Plan(label, place, _p2sh(script), script, arguments)
        program = b"\0\x20" + sha256(script).digest()
        if place == "p2wsh":
            return Plan(label, place, program, script, arguments)
        return Plan(label, place, _p2sh(program), script, arguments, script_sig=push_data(program))

    def tapscript(self, label: str, script: bytes, arguments: Sequence[Argument], leaf_version: int = 0xC0) -> Plan:
        """Put a script into a leaf of a random tree."""
        rng = self.rng
        internal = rng.choice(KEYS).xonly
        node = reference.tapleaf(script, leaf_version)
        path = [rng.randbytes(32) for _ in range(rng.choice((0, 0, 1, 2, 5, 128)) if rng.random() < 0.3 else 0)]
        for sibling in path:
            node = reference.tapbranch(node, sibling)
        output, parity = taproot_tweak_pubkey(internal, node)
        control = bytes((leaf_version | parity,)) + internal + b"".join(path)
        annex = b"\x50" + rng.randbytes(rng.randint(0, 20)) if rng.random() < 0.1 else None
        return Plan(
            f"tapscript/{label}",
            "tapscript",
            b"\x51\x20" + output,
            script,
            arguments,
            control,
            leaf_version,
            annex=annex,
        )

    # ---- transactions

    def base(self, plan: Plan | None = None) -> ScriptCase:
        """A transaction around a random output, its tested input signed for real, the other inputs left open."""
        rng = self.rng
        plan = plan or self.plan()
        count = rng.choice((1, 1, 1, 2, 3)) if rng.random() < 0.97 else rng.choice((13, 30))
        index = rng.randrange(count)
        if plan.place == "find-and-delete":
            plan.script_pubkey = b"\0"  # replaced when the signature is known
        txouts = [
            make_txout(rng.choice((0, 1, 546, 10**8, 21 * 10**14)), self._any_script())
            for _ in range(rng.randint(1, 3))
        ]
        tx = Tx(
            rng.choice((1, 2, 2, 2, 0, 3, 0xFFFFFFFF, 0x80000000)),
            [rng.randbytes(32) + rng.choice((0, 1, 7, 0xFFFFFFFF)).to_bytes(4, "little") for _ in range(count)],
            [b""] * count,
            [
                rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0, 16, 100, 65535, 1 << 22, (1 << 22) + 100, 1 << 31))
                for _ in range(count)
            ],
            txouts[: rng.randint(0, 3)] or txouts[:1],
            lock_time=rng.choice((0, 0, 16, 100, 499_999_999, 500_000_000, 0xFFFFFFFF)),
        )
        values = [rng.choice((0, 1, 10**8, 21 * 10**14, -1, 2**62)) for _ in range(count)]
        spent = [make_txout(value, self._any_script()) for value in values]
        spent[index] = make_txout(values[index], plan.script_pubkey)
        return self.solve(tx, index, spent, plan)

    def _any_script(self) -> bytes:
        """Some output script."""
        rng = self.rng
        return rng.choice((b"", b"\x51", b"\0\x14" + rng.randbytes(20), b"\x51\x20" + KEYS[0].xonly, b"\x6a"))

    def solve(self, tx: Tx, index: int, spent: list[bytes], plan: Plan) -> ScriptCase:
        """Fill in script_sig and witness of the input."""
        rng = self.rng
        arguments = [self._argument(tx, index, spent, plan, argument) for argument in reversed(plan.arguments)]
        script_sig, witness = plan.script_sig, list(plan.witness)
        place = plan.place
        if place in ("bare", "p2sh"):
            script_sig = b"".join(push_argument(rng, item) for item in arguments)
            if place == "p2sh":
                script_sig += push_data(plan.script)
        elif place == "find-and-delete":
            spent[index] = spent[index][:8] + make_txout(0, push_data(arguments[0]) + plan.script)[8:]
            script_sig = push_data(arguments[0])
        elif place in ("p2wsh", "p2sh-p2wsh"):
            witness = [*arguments, plan.script]
        elif place == "tapscript":
            witness = [*arguments, plan.script, plan.control]
        elif place != "fixed":
            witness = arguments
        if plan.annex is not None:
            witness.append(plan.annex)
        scripts = [script_sig if n == index else b"" for n in range(len(tx.prevouts))]
        stacks = [witness if n == index else [] for n in range(len(tx.prevouts))]
        solved = Tx(tx.version, tx.prevouts, scripts, tx.sequences, tx.txouts, stacks, tx.lock_time)
        return ScriptCase(solved, index, spent, plan.label)

    def _argument(self, tx: Tx, index: int, spent: list[bytes], plan: Plan, argument: Argument) -> bytes:
        """The bytes of an argument; slots are signed, now and then wrongly."""
        if isinstance(argument, bytes):
            return argument
        rng = self.rng
        if rng.random() < 0.03:
            return b"" if rng.random() < 0.7 else rng.randbytes(rng.choice((1, 9, 63, 64, 65, 71)))
        key: Key = argument.key if rng.random() < 0.97 else rng.choice(KEYS)
        if plan.place in ("p2tr-key", "tapscript"):
            return self._schnorr(tx, index, spent, plan, argument, key)
        if plan.place in ("bare", "p2sh", "find-and-delete"):
            digest = reference.legacy(tx, index, plan.script[argument.code_start :], argument.hash_type)
        else:
            code = plan.script[argument.code_start :]
            digest = reference.segwit_v0(tx, index, code, spent[index][:8], argument.hash_type)
        der = sign_ecdsa(key.secret, digest)
        if rng.random() < 0.12:
            der = damaged_der(rng, der)
        return der + bytes((argument.hash_type,))

    def _schnorr(self, tx: Tx, index: int, spent: list[bytes], plan: Plan, slot: Slot, key: Key) -> bytes:
        """A taproot signature."""
        rng = self.rng
        leaf = reference.tapleaf(plan.script, plan.leaf_version) if plan.place == "tapscript" else None
        digest = reference.taproot(
            tx, index, spent, slot.hash_type, annex=plan.annex, leaf_hash=leaf, separator=slot.separator
        )
        secret = key.secret if leaf else taproot_tweak_seckey(key.secret, plan.merkle_root)
        sig = sign_schnorr(secret, digest or bytes(32))
        if slot.hash_type or rng.random() < 0.02:
            sig += bytes((slot.hash_type,))
        return sig


def _p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def spent_script(case: ScriptCase) -> bytes:
    """The script_pubkey that the tested input spends."""
    return txout_script(case.spent[case.index])
