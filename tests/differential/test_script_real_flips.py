"""Real inputs with something changed: btcnode and libbitcoinkernel give the same verdict on all 27 blocks."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("pbk", reason="needs btcnode[kernel]")

from btcnode.chain.shadow import KernelEngine
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS
from btcnode.script.verify import verify_input
from tests.lib.script_cases import ScriptCase, consensus_flags, spent_script
from tests.lib.script_mutations import mutate

SEED = int(os.environ.get("BTCNODE_FUZZ_SEED", "866342"))
PER_BLOCK = 60  # inputs changed in each block; large transactions cost the engines' parsers most of the time
MAX_TX_SIZE = 20_000
FOLDERS = ("bcoin", "floresta", "raito/raw", "btcd")


def _spends(block: Path) -> list[tuple[Tx, list[bytes]]]:
    raw, undo = block.read_bytes(), block.with_name(f"{block.stem}-undo.raw").read_bytes()
    spends = []
    taken = 0
    count, pos = read_compact_size(raw, 80)
    for number in range(count):
        tx, pos = Tx.parse_at(raw, pos)
        spent = []
        for _ in tx.prevouts if number else ():
            size, start = read_compact_size(undo, taken + 8)
            spent.append(undo[taken : start + size])
            taken = start + size
        if number and len(tx.raw) <= MAX_TX_SIZE:
            spends.append((tx, spent))
    assert taken == len(undo)
    return spends


def test_changed_inputs_of_real_blocks(vectors: Path) -> None:
    blocks = sorted(
        path
        for folder in FOLDERS
        for path in (vectors / folder).glob("block*.raw")
        if "undo" not in path.name and path.with_name(f"{path.stem}-undo.raw").exists()
    )
    assert len(blocks) == 27
    engine, verdicts, kinds = KernelEngine(), Counter[str](), Counter[str]()
    for block in blocks:
        rng, spends = Random(f"{SEED} {block.name}"), _spends(block)
        for _ in range(PER_BLOCK if spends else 0):
            tx, spent = rng.choice(spends)
            case = mutate(rng, ScriptCase(tx, rng.randrange(len(spent)), spent, block.stem))
            kernel = engine.load(case.tx.raw, case.spent)
            kinds[spent_script(case)[:2].hex()] += 1
            for flags in (MANDATORY_VERIFY_FLAGS, consensus_flags(rng)):
                error = verify_input(case.tx, case.index, case.spent, flags)
                assert kernel.verify(case.index, flags) is (error is None), (case, flags, error)
                verdicts[error.value if error else "OK"] += 1
    assert sum(verdicts.values()) >= 2 * PER_BLOCK * 20
    assert verdicts["OK"] > 100
    assert sum(verdicts.values()) - verdicts["OK"] > 500
    assert {"76a9", "0014", "a914", "5120", "0020"} <= set(kinds)
