"""A short run of scripts/fuzz/blocks.py, and a generated chain of signed spends, with libbitcoinkernel beside us."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.block_fuzz import BlockFuzzer
from tests.lib.block_lab import Lab
from tests.lib.chain_generator import ChainGenerator

pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")

from tests.lib.kernel_chain import PairedChains

CASES = 500


@pytest.mark.parametrize("seed", range(4))
def test_changed_blocks(tmp_path: Path, seed: int) -> None:
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path)
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    fuzzer = BlockFuzzer(lab, random.Random(f"suite {seed}"))
    reasons: Counter[str] = Counter()
    for _ in range(CASES):
        raw = fuzzer.case()
        outcome = chains.feed(raw, lab.now, details=False)
        block_hash = header_hash(raw[:HEADER_SIZE])
        verdict = outcome.of(block_hash)
        reasons[verdict.reason.split(" (")[0] if verdict else "no verdict"] += 1
        if outcome.tip == block_hash != lab.tip_hash:
            fuzzer.accepted(raw)
        else:
            fuzzer.rejected()
    # the changes reach every layer: bytes, headers, forms, coins, scripts; and some blocks are none the worse
    assert len(reasons) >= 20
    assert reasons[""] >= CASES // 20
    assert reasons["bad-txns-inputs-missingorspent"] and reasons["block-script-verify-flag-failed"]
    assert chains.own.state.tree.height(chains.own.state.tip) == lab.height
    chains.reopen()
    assert chains.own.tip == chains.kernel.tip
    chains.close()


def test_unchanged_blocks_are_valid(tmp_path: Path) -> None:
    """What the fuzzer changes is valid before, or it would look for faults where one is already."""
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path)
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    fuzzer = BlockFuzzer(lab, random.Random(5))
    for _ in range(100):
        raw = fuzzer.valid_block()
        assert chains.feed(raw, lab.now).tip == header_hash(raw[:HEADER_SIZE])
        fuzzer.accepted(raw)
    chains.close()


def test_generated_chain(tmp_path: Path) -> None:
    """Every template, signed, in blocks of many transactions: the kernel takes all of them, and so do we."""
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path)
    generator = ChainGenerator(params, seed=3)
    now = int(time.time())
    for raw in generator.spread(600):
        assert chains.feed(raw, now).tip == header_hash(raw[:HEADER_SIZE])
    for _ in range(15):
        raw = generator.busy(25)
        assert chains.feed(raw, now).tip == header_hash(raw[:HEADER_SIZE])
    assert chains.own.tip == generator.tip_hash
    chains.close()
