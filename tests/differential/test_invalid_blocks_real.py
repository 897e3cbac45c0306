"""Real mainnet blocks, changed at random: the context-free checks of libbitcoinkernel and ours say the same."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from btcnode.consensus.blocks import check_block
from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import assemble
from tests.lib.block_fuzz import mutate_bytes
from tests.lib.block_lab import split_block

pbk = pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")

CASES = {"btcd/block277647.raw": 200, "floresta/block367891.raw": 30, "floresta/block866342.raw": 30}
FLAGS = pbk.BlockCheckFlags.MERKLE


def kernel_verdict(raw: bytes) -> str:
    try:
        block = pbk.Block(raw)
    except RuntimeError:
        return "undecodable"
    state = block.check(pbk.ChainParameters(pbk.ChainType.MAINNET).consensus_params, FLAGS)
    return "valid" if state.validation_mode == pbk.ValidationMode.VALID else str(state.block_validation_result.name)


def own_verdict(raw: bytes) -> tuple[str, str]:
    try:
        check_block(parse_block(raw, exact=False), params_for("mainnet"), check_pow=False)
    except DecodeError:
        return "undecodable", "undecodable"
    except RuleViolation as violation:
        assert violation.fault in (Fault.CONSENSUS, Fault.MUTATED)
        return violation.fault.name, violation.code
    return "valid", "valid"


def changed(header: bytes, txs: list[Tx], rng: random.Random) -> bytes:
    """The block with one transaction changed, dropped, repeated or moved, nearly always under a root that fits."""
    txs = list(txs)
    at = rng.randrange(len(txs)) if rng.random() < 0.6 else 0
    kind = rng.randrange(6)
    if kind == 0:
        del txs[at]
    elif kind == 1:
        txs.insert(rng.randrange(len(txs)), txs[at])
    elif kind == 2:
        txs.insert(rng.randrange(len(txs)), txs.pop(at))
    else:
        for _ in range(10):
            try:
                txs[at] = Tx.parse(mutate_bytes(txs[at].raw, rng))
            except DecodeError:
                continue
            break
    if rng.random() < 0.9:
        header = header[:36] + merkle_root([tx.txid for tx in txs])[0] + header[68:]
    return assemble(header, txs)


@pytest.mark.parametrize("name", CASES)
def test_changed_real_block(vectors: Path, name: str) -> None:
    raw = (vectors / name).read_bytes()
    assert kernel_verdict(raw) == "valid" and own_verdict(raw) == ("valid", "valid")
    header, txs = split_block(raw)
    rng = random.Random(name)
    codes: Counter[str] = Counter()
    for case in range(CASES[name]):
        block = mutate_bytes(raw, rng) if case % 6 == 0 else changed(header, txs, rng)
        verdict, code = own_verdict(block)
        assert kernel_verdict(block) == verdict, f"case {case}: {code}"
        codes[code] += 1
    assert codes["valid"] and len(codes) >= 4, codes
