"""Every input of 27 real blocks with the flags of its height, as Core 31 sets them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.script.errors import ScriptError
from btcnode.script.flags import (
    VERIFY_CHECKLOCKTIMEVERIFY,
    VERIFY_CHECKSEQUENCEVERIFY,
    VERIFY_DERSIG,
    VERIFY_NULLDUMMY,
    VERIFY_P2SH,
    VERIFY_TAPROOT,
    VERIFY_WITNESS,
)
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import ScriptJob, verify_jobs, verify_transaction
from tests.lib.script_text import verify_both_ways

BURIED = {  # network -> (flag, first height)
    "main": ((VERIFY_DERSIG, 363725), (VERIFY_CHECKLOCKTIMEVERIFY, 388381), (VERIFY_CHECKSEQUENCEVERIFY, 419328),
             (VERIFY_NULLDUMMY, 481824)),
    "test": ((VERIFY_DERSIG, 330776), (VERIFY_CHECKLOCKTIMEVERIFY, 581885), (VERIFY_CHECKSEQUENCEVERIFY, 770112),
             (VERIFY_NULLDUMMY, 834624)),
}  # fmt: skip

BLOCKS = {  # path without suffix -> (network, non-coinbase inputs)
    "bcoin/block300025": ("main", 1427),
    "bcoin/block1087400": ("test", 205),
    "bcoin/block928816": ("test", 8692),
    "bcoin/block928828": ("test", 1972),
    "bcoin/block928831": ("test", 9984),
    "bcoin/block928848": ("test", 11215),
    "bcoin/block928849": ("test", 8594),
    "bcoin/block928927": ("test", 9983),
    "floresta/block367891": ("main", 20817),
    "floresta/block866342": ("main", 7972),
    "btcd/block277647": ("main", 732),
    **{
        f"raito/raw/block{height}": ("main", inputs)
        for height, inputs in (
            (170, 1), (2016, 0), (24835, 74), (32256, 0), (32636, 0), (57043, 131), (72576, 0), (91722, 0),
            (116928, 12), (150013, 94), (210000, 899), (255018, 380), (403200, 1036), (478558, 666), (757739, 91),
            (757753, 131),
        )
    },
}  # fmt: skip
QUICK = [name for name, (_, inputs) in BLOCKS.items() if inputs < 1500 or name == "bcoin/block928828"]
TOTAL_INPUTS = 85_108


def flags_at(network: str, height: int) -> int:
    """Core applies BIP16, BIP141 and taproot to all blocks (but two listed ones), the others from their height."""
    flags = VERIFY_P2SH | VERIFY_WITNESS | VERIFY_TAPROOT
    for bit, first in BURIED[network]:
        if height >= first:
            flags |= bit
    return flags


def load(vectors: Path, name: str) -> tuple[ParsedBlock, list[ScriptJob]]:
    """A block and the jobs of its transactions but the coinbase."""
    block = parse_block((vectors / f"{name}.raw").read_bytes())
    undo = (vectors / f"{name}-undo.raw").read_bytes()
    network, _ = BLOCKS[name]
    flags = flags_at(network, int(name.rpartition("block")[2]))
    txouts, pos = [], 0
    while pos < len(undo):
        size, start = read_compact_size(undo, pos + 8)
        txouts.append(undo[pos : start + size])
        pos = start + size
    jobs, at = [], 0
    for i in range(1, block.n_tx):
        count = block.first_in[i + 1] - block.first_in[i]
        jobs.append(ScriptJob(block.tx_raw(i), txouts[at : at + count], flags))
        at += count
    assert at == len(txouts) == BLOCKS[name][1]
    return block, jobs


def test_the_list_is_whole() -> None:
    assert len(BLOCKS) == 27
    assert sum(inputs for _, inputs in BLOCKS.values()) == TOTAL_INPUTS


@pytest.mark.parametrize("name", QUICK)
def test_small_blocks(vectors: Path, name: str) -> None:
    _, jobs = load(vectors, name)
    assert verify_jobs(jobs) is None
    for raw, spent, flags in jobs:  # once more, with the interpreter alone
        tx = Tx.parse(raw)
        ctx = SighashContext(tx, spent)
        for index in range(len(spent)):
            assert verify_both_ways(tx, index, list(spent), flags, ctx) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in QUICK])
def test_large_blocks(vectors: Path, name: str) -> None:
    _, jobs = load(vectors, name)
    assert verify_jobs(jobs) is None


def test_wrong_amount_is_noticed(vectors: Path) -> None:
    """A spent value that is off by one satoshi breaks witness signatures: the blocks do test something."""
    _, jobs = load(vectors, "raito/raw/block757753")
    job = next(job for job in jobs if any(txout[8:11] == b"\x16\x00\x14" for txout in job.spent))
    index = next(i for i, txout in enumerate(job.spent) if txout[8:11] == b"\x16\x00\x14")
    spent = list(job.spent)
    spent[index] = (int.from_bytes(spent[index][:8], "little") + 1).to_bytes(8, "little") + spent[index][8:]
    failure = verify_transaction(job.raw_tx, spent, job.flags)
    assert failure == (index, ScriptError.EVAL_FALSE)
    numbered = verify_jobs([job, ScriptJob(job.raw_tx, spent, job.flags)])
    assert numbered == (1, failure)


RUN = range(831328, 831336)
RUN_INPUTS = 15_013


@pytest.mark.slow
def test_run_of_2024(vectors: Path) -> None:
    """Eight consecutive mainnet blocks: every input whose output was made within the run (6,717 are tapscript).

    A taproot input needs all outputs that its transaction spends, others only their own.
    """
    flags = flags_at("main", RUN[0])
    outputs: dict[bytes, bytes] = {}
    inputs: Counter[str] = Counter()
    for height in RUN:
        block = parse_block((vectors / f"ckb-bitcoin-spv-testdata/blocks/0{height}.bin").read_bytes())
        for i in range(block.n_tx):
            tx = block.tx(i)
            spent = [outputs.get(prevout, b"") for prevout in tx.prevouts]
            ctx = SighashContext(tx, spent)
            for index, txout in enumerate(spent):
                taproot = txout[8:11] == b"\x22\x51\x20"
                if not txout or (taproot and not all(spent)):
                    continue
                if taproot:
                    stack = tx.witnesses[index]
                    kind = "tapscript" if len(stack) > 1 + (stack[-1][:1] == b"\x50") else "key path"
                else:
                    kind = "segwit v0" if tx.witnesses and tx.witnesses[index] else "legacy"
                inputs[kind] += 1
                assert verify_both_ways(tx, index, spent, flags, ctx) is None
            for number, txout in enumerate(tx.txouts):
                outputs[tx.txid + number.to_bytes(4, "little")] = txout
    assert inputs == {"tapscript": 6717, "key path": 1325, "segwit v0": 6227, "legacy": 744}
    assert inputs.total() == RUN_INPUTS
