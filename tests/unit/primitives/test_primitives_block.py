from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.block import TXS_IN_STEP, ParsedBlock, parse_block, parse_block_in_steps
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx

BLOCKS = [
    "bcoin/block300025.raw",
    "bcoin/block482683.raw",
    "bcoin/block928831.raw",
    "core/block413567.raw",
    "floresta/block367891.raw",
    "floresta/block866342.raw",
]


@pytest.mark.parametrize("name", BLOCKS)
def test_columns_agree_with_each_transaction(vectors: Path, name: str) -> None:
    block = parse_block((vectors / name).read_bytes())
    assert merkle_root(block.txids) == (block.header.merkle_root, False)
    stripped = 0
    for i in range(block.n_tx):
        tx = block.tx(i)
        assert (tx.txid, tx.wtxid) == (block.txids[i], block.wtxids[i])
        first, last = block.first_in[i], block.first_in[i + 1]
        assert tx.prevouts == block.prevouts()[first:last]
        positions = block.out_pos[block.first_out[i] : block.first_out[i + 1]]
        assert [block.raw[p : p + len(out)] for p, out in zip(positions, tx.txouts, strict=True)] == tx.txouts
        assert block.tx_stripped(i) == tx.stripped()
        stripped += len(tx.stripped())
        rebuilt = Tx(
            tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, tx.witnesses, lock_time=tx.lock_time
        )
        assert (rebuilt.raw, rebuilt.txid, rebuilt.weight) == (tx.raw, tx.txid, tx.weight)
    counts = block.tx_pos[0]
    assert block.stripped_size == stripped + counts
    assert block.weight <= 4_000_000


def test_every_truncation_is_refused(vectors: Path) -> None:
    raw = (vectors / "raito/raw/block170.raw").read_bytes()
    assert parse_block(raw).n_tx == 2
    for end in range(len(raw)):
        with pytest.raises(DecodeError):
            parse_block(raw[:end])
    with pytest.raises(DecodeError, match="left over"):
        parse_block(raw + b"\x00")


def test_count_beyond_the_bytes_is_refused_at_once() -> None:
    with pytest.raises(DecodeError, match="truncated"):
        parse_block(bytes(80) + b"\xfe\xff\xff\xff\x01" + bytes(100))


def long_block(count: int) -> bytes:
    """Bytes that parse as a block of so many small transactions."""
    one = b"\x02\0\0\0\x01" + bytes(36) + b"\0" + b"\xff" * 4 + b"\x01" + bytes(8) + b"\x01\x51" + bytes(4)
    return bytes(80) + compact_size(count) + one * count


@pytest.mark.parametrize("count", [0, 1, TXS_IN_STEP, TXS_IN_STEP + 1, 3 * TXS_IN_STEP])
def test_in_steps_a_block_is_the_same(count: int) -> None:
    raw = long_block(count)
    steps = parse_block_in_steps(raw + b"left over")
    taken = sum(1 for _ in range(max(0, -(-count // TXS_IN_STEP) - 1)) if next(steps) is None)
    with pytest.raises(StopIteration) as end:
        next(steps)
    found, whole = end.value.value, parse_block(raw)
    assert all(getattr(found, name) == getattr(whole, name) for name in ParsedBlock.__slots__)
    assert taken == max(0, -(-count // TXS_IN_STEP) - 1)
    if count:
        with pytest.raises(DecodeError, match="truncated"):
            at_once(parse_block_in_steps(raw[:-1]))
