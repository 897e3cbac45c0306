"""Proofs of blocks as peers tell them: whatever is wrong, one ProofError, found before the work is done."""

from __future__ import annotations

import pytest

from btcnode.errors import ProofError
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.utreexo import block_proof
from btcnode.utreexo.block_proof import outside_inputs, read_block_proof
from tests.lib.chain_generator import ChainGenerator

MESSAGE = 4_000_000 - 32  # bytes that a message may have


def busy_block() -> tuple[ParsedBlock, int]:
    generator = ChainGenerator(params_for("regtest"), seed=9)
    blocks = [*generator.spread(60), generator.busy(5)]
    return parse_block(blocks[-1]), len(blocks)


BLOCK, HEIGHT = busy_block()
COINS = len(outside_inputs(BLOCK))
MANY_HASHES = (MESSAGE - 9) // 32


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0" + compact_size(MESSAGE - 7) + b"\1" * (MESSAGE - 7) + b"\0", "3999961 positions for"),
        (b"\0" + compact_size(440_000) + (b"\xff" + b"\1" * 8) * 440_000 + b"\0", "440000 positions for"),
        (compact_size(MANY_HASHES) + b"\1" * 32 * MANY_HASHES + b"\0\0", f"{MANY_HASHES} hashes for"),
        (b"\0\0" + compact_size(MESSAGE - 7) + bytes(MESSAGE - 7), "0 positions for"),
        (b"\0" + compact_size(COINS) + b"\1" * COINS + compact_size(MESSAGE // 2) + bytes(MESSAGE // 2), "leaves for"),
        (b"", "does not decode"),
        (b"\xff" * 9, "does not decode"),
        (b"\0\0\0", "0 positions for"),
    ],
)
def test_numbers_that_cannot_be_right_cost_nothing(data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(*args: int) -> tuple[int, int]:
        nonlocal read
        read += 1
        return read_compact_size(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(block_proof, "read_compact_size", counted)
    with pytest.raises(ProofError, match=why):
        read_block_proof(data, BLOCK, HEIGHT, lambda _: BlockHash(bytes(32)))
    assert read <= COINS + 3
