"""Kernels beside the plain code: what they find must be what it finds, and what they prove must be valid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from btcnode import compiled
from btcnode.compiled import kernels as kernels_module
from btcnode.compiled.kernels import Kernels, interpreted_kernels, load_kernels
from btcnode.compiled.machine_code import is_possible
from btcnode.compiled.making import make
from btcnode.consensus.locks import LOCKTIME_THRESHOLD
from btcnode.consensus.sigops import count_input_sigops, count_output_sigops
from btcnode.consensus.transactions import check_block_transactions
from btcnode.errors import DecodeError, RuleViolation
from btcnode.primitives import block as block_module
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.script.runs import NO_CODE
from btcnode.script.verify import verify_input

COLUMNS = ("tx_pos", "body_pos", "witness_pos", "first_in", "first_out", "in_pos", "out_pos", "txids", "wtxids")


@cache
def compiled_kernels() -> Kernels | None:
    """Made where they are not there yet; None where that is impossible."""
    if not is_possible():
        return None
    make()
    return load_kernels()


def fresh_kernels(key_bits: int = kernels_module.KEY_BITS) -> Kernels | None:
    """Compiled ones with an unused table of ``1 << key_bits`` parsed keys in this thread; None where there are none."""
    if compiled_kernels() is None:
        return None
    usual, kernels_module.KEY_BITS = kernels_module.KEY_BITS, key_bits
    try:
        return load_kernels()  # which tries them, and so gives this thread its table
    finally:
        kernels_module.KEY_BITS = usual


@cache
def plain_kernels() -> Kernels:
    """The same ones, interpreted."""
    return interpreted_kernels()


class with_kernels:
    """Inside, ``parse_block`` and others use these kernels, or none; with ``always`` also for what is small."""

    def __init__(self, kernels: Kernels | None, *, always: bool = False) -> None:
        self._inside, self._outside = kernels, compiled.current()
        self._least = 0 if always else block_module.TXS_FOR_KERNEL
        self._usual = block_module.TXS_FOR_KERNEL

    def __enter__(self) -> None:
        compiled._kernels, block_module.TXS_FOR_KERNEL = self._inside, self._least

    def __exit__(self, *error: object) -> None:
        compiled._kernels, block_module.TXS_FOR_KERNEL = self._outside, self._usual


def parse_both_ways(raw: bytes, kernels: Kernels) -> ParsedBlock | None:
    """The block, None when it is none; AssertionError where kernels find anything else than the plain code."""
    with with_kernels(None):
        try:
            block = parse_block(raw, exact=False)
        except DecodeError:
            block = None
    with with_kernels(kernels):
        try:
            other = parse_block(raw, exact=False)
        except DecodeError:
            other = None
    assert (block is None) == (other is None), raw.hex()
    if block is None or other is None:
        return None
    for name in (*COLUMNS, "raw", "hash", "n_tx", "stripped_size"):
        assert getattr(block, name) == getattr(other, name), (name, raw.hex())
    return other


def plain_locks(block: ParsedBlock) -> tuple[int, int]:
    """The latest locks, by height and by time, of transactions whose sequences do not switch them off."""
    latest = [0, 0]
    for tx in map(block.tx, range(block.n_tx)):
        if any(sequence != SEQUENCE_FINAL for sequence in tx.sequences):
            by_time = tx.lock_time >= LOCKTIME_THRESHOLD
            latest[by_time] = max(latest[by_time], tx.lock_time)
    return latest[0], latest[1]


def assert_facts(block: ParsedBlock) -> bool:
    """What the facts say is what the rules find; whether they say that the block is sound."""
    facts, raw = block.facts, block.raw
    if facts is None:
        return False
    assert facts.sigops == count_input_sigops(raw, block.in_pos) + count_output_sigops(raw, block.out_pos)
    odd = [k for k, p in enumerate(block.out_pos) if raw[p + 8] and (raw[p + 9] == 0x6A or raw[p + 8] >= 0xFD)]
    assert facts.odd_outputs == odd
    assert (facts.lock_height, facts.lock_time) == plain_locks(block), raw.hex()
    if facts.sound:
        assert block.prevouts()[0] == NULL_OUTPOINT and block.prevouts().count(NULL_OUTPOINT) == 1
        block.facts = None
        try:
            check_block_transactions(block)
        except RuleViolation as violation:
            assert violation.code == "bad-cb-length", (violation.code, raw.hex())  # which facts do not look at
        block.facts = facts
    return facts.sound


def proven_inputs(kernels: Kernels, raw: bytes, spent: Sequence[bytes], flags: int) -> list[int]:
    """The inputs of one transaction that kernels know to be valid."""
    proven = kernels.verify_spends(raw, b"".join([NO_CODE + txout for txout in spent]), 1, flags)
    if proven is None:
        return []
    left = {each.place for each in proven.unproven}
    return [index for index in range(proven.inputs) if index not in left]


def assert_proven_is_valid(kernels: Kernels, raw: bytes, spent: Sequence[bytes], flags: int) -> list[int]:
    """The inputs of one transaction that kernels know to be valid, each of which is."""
    found = proven_inputs(kernels, raw, spent, flags)
    tx = Tx.parse(raw) if found else None
    for index in found:
        assert tx is not None
        assert verify_input(tx, index, spent, flags) is None, (index, flags, raw.hex())
    return found
