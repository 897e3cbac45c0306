"""Signature hashes against plain serialisations of the same rules."""

from __future__ import annotations

import random
import struct

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import ZERO_HASH, sha256, sha256d
from btcnode.primitives.tx import Tx
from btcnode.script.sighash import SINGLE_BUG_HASH, SighashContext, annex_digest, tapbranch_hash, tapleaf_hash
from tests.lib.reference_sighash import tagged_hash

HASH_TYPES = [1, 2, 3, 0x81, 0x82, 0x83, 0, 4, 0x1F, 0x22, 0x43, 0xE3, 0xFF, -1, -(2**31), 2**31 - 1]


def random_tx(rng: random.Random, inputs: int, outputs: int) -> tuple[Tx, list[bytes]]:
    tx = Tx(
        rng.randrange(2**32),
        [rng.randbytes(36) for _ in range(inputs)],
        [rng.randbytes(rng.randrange(4)) for _ in range(inputs)],
        [rng.randrange(2**32) for _ in range(inputs)],
        [make_txout(rng.randrange(2**50), rng.randbytes(rng.randrange(300))) for _ in range(outputs)],
        None,
        rng.randrange(2**32),
    )
    return tx, [make_txout(rng.randrange(2**50), rng.randbytes(rng.randrange(40))) for _ in range(inputs)]


def plain_legacy(tx: Tx, index: int, script: bytes, hash_type: int) -> bytes:
    kind, anyone = hash_type & 31, hash_type & 0x80
    if kind == 3 and index >= len(tx.txouts):
        return SINGLE_BUG_HASH
    parts = [struct.pack("<I", tx.version)]
    chosen = [index] if anyone else list(range(len(tx.prevouts)))
    parts.append(compact_size(len(chosen)))
    for i in chosen:
        code = script if i == index else b""
        sequence = 0 if i != index and kind in (2, 3) else tx.sequences[i]
        parts += (tx.prevouts[i], compact_size(len(code)), code, struct.pack("<I", sequence))
    txouts = [] if kind == 2 else tx.txouts
    if kind == 3:
        txouts = [b"\xff" * 8 + b"\0"] * index + [tx.txouts[index]]
    parts += (compact_size(len(txouts)), *txouts, struct.pack("<I", tx.lock_time))
    return sha256d(b"".join(parts) + struct.pack("<I", hash_type & 0xFFFFFFFF))


@pytest.mark.parametrize("inputs", [1, 2, 5, 11, 12, 13, 40, 300])
def test_legacy_in_any_order(inputs: int) -> None:
    """Few inputs take the joined form, many the midstate, which must survive going back to an earlier input."""
    rng = random.Random(inputs)
    tx, spent = random_tx(rng, inputs, rng.randrange(1, 5))
    ctx = SighashContext(tx, spent)
    for _ in range(60):
        index, hash_type, script = rng.randrange(inputs), rng.choice(HASH_TYPES), b"\x6a" * rng.choice((0, 25, 300))
        assert ctx.legacy(index, script, hash_type) == plain_legacy(tx, index, script, hash_type)


def test_legacy_single_without_output_is_one() -> None:
    tx, spent = random_tx(random.Random(3), 3, 1)
    ctx = SighashContext(tx, spent)
    assert ctx.legacy(1, b"", 3) == ctx.legacy(2, b"\x51", 0x83) == bytes([1] + [0] * 31)
    assert ctx.legacy(0, b"", 3) != SINGLE_BUG_HASH
    assert ctx.legacy_state(1, b"", 3) is None


def plain_v0(tx: Tx, index: int, script: bytes, amount: bytes, hash_type: int) -> bytes:
    kind, anyone = hash_type & 31, hash_type & 0x80
    sequences = b"".join(struct.pack("<I", n) for n in tx.sequences)
    outputs = ZERO_HASH
    if kind not in (2, 3):
        outputs = sha256d(b"".join(tx.txouts))
    elif kind == 3 and index < len(tx.txouts):
        outputs = sha256d(tx.txouts[index])
    return sha256d(
        struct.pack("<I", tx.version)
        + (ZERO_HASH if anyone else sha256d(b"".join(tx.prevouts)))
        + (ZERO_HASH if anyone or kind in (2, 3) else sha256d(sequences))
        + tx.prevouts[index]
        + compact_size(len(script))
        + script
        + amount
        + struct.pack("<I", tx.sequences[index])
        + outputs
        + struct.pack("<II", tx.lock_time, hash_type & 0xFFFFFFFF)
    )


def test_segwit_v0() -> None:
    rng = random.Random(4)
    for _ in range(40):
        tx, spent = random_tx(rng, rng.randrange(1, 6), rng.randrange(4))
        ctx = SighashContext(tx, spent)
        for hash_type in HASH_TYPES:
            index, script = rng.randrange(len(spent)), b"\xab\xac" * rng.choice((0, 5, 200))
            amount = ctx.amount(index)
            assert ctx.segwit_v0(index, script, amount, hash_type) == plain_v0(tx, index, script, amount, hash_type)


def plain_taproot(
    tx: Tx, spent: list[bytes], index: int, hash_type: int, annex: bytes | None, leaf: bytes | None, pos: int
) -> bytes:
    data = bytes((0, hash_type)) + struct.pack("<II", tx.version, tx.lock_time)
    if not hash_type & 0x80:
        data += sha256(b"".join(tx.prevouts)).digest()
        data += sha256(b"".join(txout[:8] for txout in spent)).digest()
        data += sha256(b"".join(txout[8:] for txout in spent)).digest()
        data += sha256(b"".join(struct.pack("<I", n) for n in tx.sequences)).digest()
    if hash_type & 3 in (0, 1):
        data += sha256(b"".join(tx.txouts)).digest()
    data += bytes((2 * (leaf is not None) + (annex is not None),))
    if hash_type & 0x80:
        data += tx.prevouts[index] + spent[index] + struct.pack("<I", tx.sequences[index])
    else:
        data += struct.pack("<I", index)
    if annex is not None:
        data += sha256(compact_size(len(annex)) + annex).digest()
    if hash_type & 3 == 3:
        data += sha256(tx.txouts[index]).digest()
    if leaf is not None:
        data += leaf + b"\0" + struct.pack("<I", pos)
    return tagged_hash("TapSighash", data)


def test_taproot() -> None:
    rng = random.Random(5)
    for _ in range(40):
        tx, spent = random_tx(rng, rng.randrange(1, 6), rng.randrange(1, 6))
        ctx = SighashContext(tx, spent)
        for hash_type in (0, 1, 2, 3, 0x81, 0x82, 0x83):
            index = rng.randrange(len(spent))
            annex = rng.choice((None, b"\x50", b"\x50" * 300))
            leaf, pos = rng.choice(((None, 0xFFFFFFFF), (rng.randbytes(32), rng.choice((0, 7, 0xFFFFFFFF)))))
            digest = ctx.taproot(index, hash_type, None if annex is None else annex_digest(annex), leaf, pos)
            if hash_type & 3 == 3 and index >= len(tx.txouts):
                assert digest is None
            else:
                assert digest == plain_taproot(tx, spent, index, hash_type, annex, leaf, pos)


@pytest.mark.parametrize("hash_type", [4, 0x7F, 0x80, 0x84, 0xFF])
def test_taproot_refuses_other_hash_types(hash_type: int) -> None:
    tx, spent = random_tx(random.Random(6), 1, 1)
    assert SighashContext(tx, spent).taproot(0, hash_type) is None


def test_tree_hashes() -> None:
    assert tapleaf_hash(0xC0, b"\x51") == tagged_hash("TapLeaf", b"\xc0\x01\x51")
    a, b = b"\1" * 32, b"\2" * 32
    assert tapbranch_hash(a, b) == tapbranch_hash(b, a) == tagged_hash("TapBranch", a + b)


def test_one_spent_output_per_input() -> None:
    tx, spent = random_tx(random.Random(7), 2, 1)
    with pytest.raises(ValueError, match="2 inputs but 1 spent"):
        SighashContext(tx, spent[:1])
