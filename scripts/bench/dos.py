"""Denial-of-service shapes: seconds that btcnode and libbitcoinkernel take to verify the costliest blocks.

    python scripts/bench/dos.py [--scale 1.0] [--vectors DIR]

Time is script verification alone, both engines having parsed the transactions; ``--scale`` shrinks every shape.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from btcnode.chain.shadow import KernelEngine
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, VERIFY_DERSIG, VERIFY_P2SH
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext, annex_digest, tapleaf_hash
from btcnode.script.signatures import pubkey_create, sign_ecdsa, sign_schnorr, taproot_tweak_pubkey, xonly
from btcnode.script.verify import verify_transaction
from btcnode.testing.templates import seckey

DEFAULT_VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
Shape = tuple[list[tuple[Tx, list[bytes]]], int]  # transactions with what they spend, flags


def _outpoints(count: int) -> list[bytes]:
    return [b"\7" * 32 + n.to_bytes(4, "little") for n in range(count)]


def _skeleton(count: int, txouts: list[bytes] | None = None) -> Tx:
    outputs = txouts or [make_txout(0, b"\x51")]
    return Tx(2, _outpoints(count), [b""] * count, [0xFFFFFFFF] * count, outputs)


def _complete(tx: Tx, script_sigs: list[bytes], witnesses: list[list[bytes]]) -> Tx:
    return Tx(tx.version, tx.prevouts, script_sigs, tx.sequences, tx.txouts, witnesses, tx.lock_time)


def many_inputs(scale: float) -> Shape:
    """One P2PKH transaction of nearly 1 MB: every input's signature hashes all the others."""
    count = max(1, int(6_600 * scale))
    key = seckey(1)
    public = pubkey_create(key)
    script = b"\x76\xa9\x14" + hash160(public) + b"\x88\xac"
    spent = [make_txout(1, script)] * count
    blank = _skeleton(count)
    ctx = SighashContext(blank, spent)
    sigs = [sign_ecdsa(key, ctx.legacy(n, script, 1)) + b"\x01" for n in range(count)]
    return [(_complete(blank, [push_data(sig) + push_data(public) for sig in sigs], []), spent)], MANDATORY_VERIFY_FLAGS


def separators(scale: float) -> Shape:
    """A 1 MB transaction whose scripts check 66 signatures each, every one over another script code."""
    count = max(1, int(30 * scale))
    public = pubkey_create(seckey(1))
    sig = bytes.fromhex("3006020101020101") + b"\x01"
    check = b"\xab" + push_data(sig) + push_data(public) + b"\xac\x75"
    spent = [make_txout(1, check * 66 + b"\x51")] * count
    return [(_skeleton(count, [make_txout(0, bytes(9_990))] * 99), spent)], MANDATORY_VERIFY_FLAGS


def sigops(scale: float) -> Shape:
    """80,000 signature checks: 1-of-20 multisig in P2WSH, the signature being the last key's that is tried."""
    count = max(1, int(4_000 * scale))
    keys = [seckey(n) for n in range(20)]
    script = b"\x51" + b"".join(push_data(pubkey_create(key)) for key in keys) + b"\x01\x14\xae"
    program = b"\0\x20" + sha256(script).digest()
    spent = [make_txout(1, program)] * count
    blank = _skeleton(count)
    ctx = SighashContext(blank, spent)
    stacks = []
    for n in range(count):
        digest = ctx.segwit_v0(n, script, spent[n][:8], 1)
        stacks.append([b"", sign_ecdsa(keys[0], digest) + b"\x01", script])
    return [(_complete(blank, blank.script_sigs, stacks), spent)], MANDATORY_VERIFY_FLAGS


def tapscript_weight(scale: float) -> Shape:
    """A tapscript that spends the validation weight of a whole block on signature checks; the annex pays for it."""
    checks = max(1, int(76_000 * scale))
    key, internal = seckey(1), xonly(seckey(2))
    script = push_data(xonly(key)) + b"\x6e\xad" * (checks - 1) + b"\xac"
    leaf = tapleaf_hash(0xC0, script)
    output, parity = taproot_tweak_pubkey(internal, leaf)
    annex = b"\x50" + bytes(checks * 50 - len(script))
    spent = [make_txout(1, b"\x51\x20" + output)]
    blank = _skeleton(1)
    digest = SighashContext(blank, spent).taproot(0, 0, annex_digest(annex), leaf)
    if digest is None:
        raise SystemExit("no digest for the default hash type")
    stack = [sign_schnorr(key, digest), script, bytes((0xC0 | parity,)) + internal, annex]
    return [(_complete(blank, [b""], [stack]), spent)], MANDATORY_VERIFY_FLAGS


def opcode_soup(scale: float) -> Shape:
    """A tapscript of 3.9 million cheap opcodes: what the loop itself costs."""
    count = max(1, int(1_950_000 * scale))
    script = b"\x51\x75" * count + b"\x51"
    internal = xonly(seckey(2))
    output, parity = taproot_tweak_pubkey(internal, tapleaf_hash(0xC0, script))
    stack = [script, bytes((0xC0 | parity,)) + internal]
    return [(_complete(_skeleton(1), [b""], [stack]), [make_txout(1, b"\x51\x20" + output)])], MANDATORY_VERIFY_FLAGS


def block_367891(vectors: Path) -> Shape:
    """Mainnet block 367891: one transaction has 20,000 inputs that spend empty scripts."""
    raw = (vectors / "floresta" / "block367891.raw").read_bytes()
    undo = (vectors / "floresta" / "block367891-undo.raw").read_bytes()
    pos, txouts = 0, []
    while pos < len(undo):
        size, start = read_compact_size(undo, pos + 8)
        txouts.append(undo[pos : start + size])
        pos = start + size
    transactions: list[tuple[Tx, list[bytes]]] = []
    count, at = read_compact_size(raw, 80)
    _, at = Tx.parse_at(raw, at)  # the coinbase
    taken = 0
    for _ in range(count - 1):
        tx, at = Tx.parse_at(raw, at)
        transactions.append((tx, txouts[taken : taken + len(tx.prevouts)]))
        taken += len(tx.prevouts)
    return transactions, VERIFY_P2SH | VERIFY_DERSIG


def run(name: str, make: Callable[[], Shape]) -> None:
    transactions, flags = make()
    inputs = sum(len(spent) for _, spent in transactions)
    engine = KernelEngine()
    loaded = [(engine.load(tx.raw, spent), len(spent)) for tx, spent in transactions]
    started = time.perf_counter()
    ours = all(verify_transaction(tx, spent, flags) is None for tx, spent in transactions)
    middle = time.perf_counter()
    theirs = all(transaction.verify(n, flags) for transaction, count in loaded for n in range(count))
    end = time.perf_counter()
    if not ours or not theirs:
        raise SystemExit(f"{name}: btcnode {ours}, libbitcoinkernel {theirs}")
    weight = sum(tx.weight for tx, _ in transactions)
    a, b = middle - started, end - middle
    print(f"{name:22}{inputs:8,}{weight:12,}{a:10.2f} s{b:10.2f} s{b / a:8.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--vectors", type=Path, default=Path(os.environ.get("BTCNODE_VECTORS", DEFAULT_VECTORS)))
    options = parser.parse_args()
    print(f"{'shape':22}{'inputs':>8}{'weight':>12}{'btcnode':>12}{'kernel':>12}{'ratio':>8}")
    for shape in (many_inputs, separators, sigops, tapscript_weight, opcode_soup):
        run(shape.__name__, partial(shape, options.scale))
    if (options.vectors / "floresta").is_dir():
        run("block 367891", lambda: block_367891(options.vectors))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
