"""Decoding accepts and refuses the same bytes as Bitcoin Core, and finds the same identifiers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx

pbk = pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")

SEEDS = ["bcoin/tx1.raw", "bcoin/tx4.raw", "bcoin/tx5.raw", "bcoin/tx10.raw"]


def kernel_decodes(raw: bytes) -> bytes | None:
    """The bytes as Core writes them again, or None where it refuses them."""
    try:
        return bytes(pbk.Transaction(raw))
    except Exception:
        return None


def we_decode(raw: bytes) -> bytes | None:
    try:
        tx, _ = Tx.parse_at(raw, 0)
    except DecodeError:
        return None
    return tx.raw


def mutate(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(5)
        # counts and markers stand in front: most mutations go there
        at = rng.randrange(min(len(data), 60)) if rng.random() < 0.7 else rng.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 2, 3, 0xFC, 0xFD, 0xFE, 0xFF))
        elif kind == 2:
            del data[at : at + rng.randint(1, 5)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 3))
        else:
            del data[rng.randrange(len(data)) + 1 :]
        if not data:
            data = bytearray(1)
    return bytes(data)


def small_segwit() -> bytes:
    stacks = [[b"\x01" * 5, b""], [], [b"\x02"]]
    txouts = [make_txout(5, b"\x51"), make_txout(7, b"\x00\x14" + bytes(20))]
    return Tx(2, [bytes([n]) * 36 for n in range(3)], [b"", b"\x51", b""], [0, 1, 2], txouts, stacks).raw


@pytest.mark.parametrize("name", [*SEEDS, "small-segwit"])
def test_mutated_transactions(vectors: Path, name: str) -> None:
    raw = small_segwit() if name == "small-segwit" else (vectors / name).read_bytes()
    cases = 4000 if len(raw) < 5000 else 200  # the binding copies slowly
    assert we_decode(raw) == kernel_decodes(raw) is not None
    rng = random.Random(name)
    accepted = 0
    for _ in range(cases):
        case = mutate(raw, rng)
        ours = we_decode(case)
        accepted += ours is not None
        assert ours == kernel_decodes(case), case.hex()
    assert cases // 40 < accepted < cases - cases // 40  # both sides of the fence were visited


@pytest.mark.parametrize("text", ["01000000000000000000", "0100000000010000000000", "02000000000200000000000000"])
def test_empty_and_flagged_forms(text: str) -> None:
    raw = bytes.fromhex(text)
    assert we_decode(raw) == kernel_decodes(raw)


def test_identifiers(vectors: Path) -> None:
    for name in SEEDS:
        raw = (vectors / name).read_bytes()
        assert Tx.parse(raw).txid == bytes(pbk.Transaction(raw).txid)
