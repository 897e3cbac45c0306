"""Real blocks as JSON text: byte for byte what the encoder makes of their transactions, and of what they spend."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.rpc.jsonvalue import encode
from btcnode.rpc.tx_text import block_txs_text
from tests.lib.real_blocks import RealBlock, floresta_block, raito_block
from tests.lib.tx_values import block_tx_value
from tests.vectors.test_consensus_blocks import RAITO

MAINNET = params_for("mainnet")


def check(block: RealBlock) -> None:
    parsed, coins, undo = parse_block(block.raw), iter(block.spent), []
    for i in range(1, parsed.n_tx):
        undo.append([next(coins).coin for _ in range(parsed.first_in[i + 1] - parsed.first_in[i])])
    for prevouts in (False, True):
        text = b"".join(block_txs_text(parsed, MAINNET, undo, prevouts=prevouts))
        values = [
            block_tx_value(parsed.tx(i), MAINNET, undo[i - 1] if i else None, prevouts=prevouts)
            for i in range(parsed.n_tx)
        ]
        assert b"[%b]" % text == encode(values)


@pytest.mark.parametrize("height", RAITO)
def test_raito(vectors: Path, height: int) -> None:
    check(raito_block(vectors / f"raito/full_{height}.json"))


@pytest.mark.parametrize("height", [866342])
def test_floresta(vectors: Path, height: int) -> None:
    check(floresta_block(vectors, height))
