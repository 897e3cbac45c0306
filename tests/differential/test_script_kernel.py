"""The same verdict as libbitcoinkernel on mutated vectors, under random sets of the consensus flags."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout, txout_script
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, VERIFY_P2SH, VERIFY_TAPROOT, VERIFY_WITNESS
from btcnode.script.scriptparse import iter_ops, push_data
from btcnode.script.verify import verify_input

pbk = pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")
kernel_script = pytest.importorskip("pbk.script")

SEED = 31
BITS = [1 << bit for bit in range(21) if MANDATORY_VERIFY_FLAGS >> bit & 1]
HOT_OPCODES = bytes.fromhex("005152616364676869757c768788939ca9")
SIG_OPCODES = bytes.fromhex("abacadaeafb1b2ba")


def kernel_accepts(tx: Tx, index: int, spent: list[bytes], flags: int) -> bool:
    outputs = [
        pbk.TransactionOutput(pbk.ScriptPubkey(txout_script(t)), int.from_bytes(t[:8], "little", signed=True))
        for t in spent
    ]
    kernel_tx = pbk.Transaction(tx.raw)
    data = kernel_script.PrecomputedTransactionData(kernel_tx, outputs)
    amount = int.from_bytes(spent[index][:8], "little", signed=True)
    script = pbk.ScriptPubkey(txout_script(spent[index]))
    return bool(script.verify(amount, kernel_tx, data, index, pbk.ScriptVerificationFlags(flags)))


def random_flags(rng: random.Random) -> int:
    if rng.random() < 0.5:
        return MANDATORY_VERIFY_FLAGS
    flags = sum(bit for bit in BITS if rng.random() < 0.7)
    if flags & VERIFY_TAPROOT:
        flags |= VERIFY_WITNESS
    return flags | VERIFY_P2SH if flags & VERIFY_WITNESS else flags


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(out) + 1)
        kind = rng.random()
        if kind < 0.4 and at < len(out):
            out[at] = rng.choice((out[at] ^ 1 << rng.randrange(8), rng.randrange(256), rng.choice(SIG_OPCODES)))
        elif kind < 0.6:
            out[at:at] = bytes((rng.choice(HOT_OPCODES + SIG_OPCODES),))
        elif kind < 0.8:
            del out[at : at + rng.choice((1, 1, 2, 20))]
        else:
            end = rng.randrange(at, len(out) + 1)
            out[at:at] = out[at:end][:80]
    return bytes(out)


def mutated_spend(rng: random.Random, tx: Tx, index: int) -> Tx:
    """The transaction with a change in one script_sig, witness item, sequence, version or lock time."""
    scripts, sequences = list(tx.script_sigs), list(tx.sequences)
    stacks = [list(stack) for stack in tx.witnesses] or [[] for _ in scripts]
    version, lock_time, kind = tx.version, tx.lock_time, rng.random()
    if kind < 0.1:
        sequences[index] = rng.choice((0, 1, 0xFFFFFFFF, 0xFFFFFFFE, 1 << 22, 1 << 31, rng.randrange(1 << 32)))
    elif kind < 0.15:
        version = rng.choice((0, 1, 2, 3, 0x80000000, 0xFFFFFFFF))
    elif kind < 0.2:
        lock_time = rng.choice((0, 1, 499_999_999, 500_000_000, 0xFFFFFFFF))
    elif stacks[index] and kind < 0.8:
        at = rng.randrange(len(stacks[index]))
        stacks[index][at] = mutate(rng, stacks[index][at])
        if kind < 0.3:
            stacks[index].insert(at, rng.choice((b"", b"\x01", b"\x50", b"\x50abc", bytes(521))))
    else:
        scripts[index] = mutate(rng, scripts[index])
    return Tx(version, tx.prevouts, scripts, sequences, tx.txouts, stacks, lock_time)


def check(tx: Tx, index: int, spent: list[bytes], flags: int, outcomes: Counter[str]) -> None:
    error = verify_input(tx, index, spent, flags)
    outcomes["OK" if error is None else error.value] += 1
    accepted = kernel_accepts(tx, index, spent, flags)
    assert accepted == (error is None), (tx.raw.hex(), index, [t.hex() for t in spent], flags, error)


def test_mutated_taproot_corpus(vectors: Path) -> None:
    rng = random.Random(SEED)
    with gzip.open(vectors / "btcd/taproot-ref.json.gz") as file:
        entries: list[dict[str, Any]] = json.load(file)
    outcomes: Counter[str] = Counter()
    for _ in range(3000):
        entry = rng.choice(entries)
        data = entry[rng.choice(("success", "success", "failure"))] if "failure" in entry else entry["success"]
        base, index = Tx.parse(bytes.fromhex(entry["tx"])), entry["index"]
        scripts = list(base.script_sigs)
        stacks: list[list[bytes]] = [[] for _ in base.prevouts]
        scripts[index] = bytes.fromhex(data["scriptSig"])
        stacks[index] = [bytes.fromhex(item) for item in data["witness"]]
        tx = Tx(base.version, base.prevouts, scripts, base.sequences, base.txouts, stacks, base.lock_time)
        if rng.random() < 0.8:
            tx = mutated_spend(rng, tx, index)
        check(tx, index, [bytes.fromhex(prevout) for prevout in entry["prevouts"]], random_flags(rng), outcomes)
    assert outcomes["OK"] > 300 and len(outcomes) > 15


def random_script(rng: random.Random, length: int) -> bytes:
    parts = []
    for _ in range(length):
        kind = rng.random()
        if kind < 0.35:
            parts.append(bytes((rng.choice((0x00, 0x4F, *range(0x51, 0x56))),)))
        elif kind < 0.5:
            parts.append(push_data(rng.choice((b"", b"\0", b"\x80", b"\x81", bytes(5), b"\xff" * 4, bytes(33)))))
        elif kind < 0.95:
            parts.append(bytes((rng.randrange(0x61, 0xBB),)))
        else:
            parts.append(bytes((rng.randrange(256),)))
    return b"".join(parts)


@pytest.mark.parametrize("wrapped", ["bare", "p2sh", "p2wsh", "p2sh-p2wsh"])
def test_random_scripts(wrapped: str) -> None:
    rng = random.Random(f"{SEED}{wrapped}")
    outcomes: Counter[str] = Counter()
    for _ in range(1500):
        script = random_script(rng, rng.randrange(1, 9))
        pushes = b"".join(push_data(rng.choice((b"", b"\x01", b"\x02", b"\x80"))) for _ in range(rng.randrange(6)))
        tx, spent = wrap(rng, wrapped, script, pushes)
        check(tx, 0, spent, random_flags(rng), outcomes)
    assert outcomes["OK"] > 20 and len(outcomes) > 10


def wrap(rng: random.Random, kind: str, script: bytes, pushes: bytes) -> tuple[Tx, list[bytes]]:
    items = [data for _, data in iter_ops(pushes)]
    program = b"\x00\x20" + sha256(script).digest()
    redeem = script if kind == "p2sh" else program
    script_sig, stack = pushes, []
    if kind == "bare":
        script_pubkey = script
    elif kind == "p2wsh":
        script_sig, stack, script_pubkey = b"", [*items, script], program
    else:
        script_pubkey = b"\xa9\x14" + hash160(redeem) + b"\x87"
        script_sig = pushes + push_data(redeem)
        if kind == "p2sh-p2wsh":
            script_sig, stack = push_data(redeem), [*items, script]
    prevout = bytes(rng.randrange(256) for _ in range(32)) + bytes(4)
    assert prevout != NULL_OUTPOINT
    sequence = rng.choice((0, 1, 2, 0xFFFFFFFF, 1 << 22))
    version, lock_time = rng.choice((1, 2)), rng.choice((0, 3))
    tx = Tx(version, [prevout], [script_sig], [sequence], [make_txout(1, b"\x51")], [stack], lock_time)
    return tx, [make_txout(rng.randrange(10**9), script_pubkey)]
