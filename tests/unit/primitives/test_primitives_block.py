from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.block import parse_block
from btcnode.primitives.merkle import merkle_root
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
