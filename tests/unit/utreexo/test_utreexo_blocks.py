"""What blocks do to the forest: which leaves go and come, and in which order."""

from __future__ import annotations

import hashlib

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_coin, make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.tx import SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import ANYONE_CAN_SPEND, assemble, coinbase_tx
from btcnode.utreexo.blocks import SpentCoin, added_leaves, spent_leaves

OLD = bytes(range(32)) + (3).to_bytes(4, "little")
OLD_COIN = make_coin(7, True, 50, b"\x52")
BIG = b"\x51" * 10_001


def spend(outpoint: bytes, *scripts: bytes) -> Tx:
    return Tx(2, [outpoint], [b""], [SEQUENCE_FINAL], [make_txout(n, script) for n, script in enumerate(scripts)])


def busy_block() -> tuple[ParsedBlock, list[Tx], list[list[bytes]]]:
    """The second transaction spends an old coin, the third the second's last output; some cannot be spent."""
    first = spend(OLD, b"\x53", b"\x6a\x01", BIG, b"\x51" * 10_000, b"\x54")
    second = spend(first.txid + (4).to_bytes(4, "little"), b"\x55")
    txs = [coinbase_tx(120, 5000, extra_outputs=[make_txout(0, b"\x6a")]), first, second]
    block = parse_block(assemble(params_for("regtest").genesis_block[:80], txs))
    return block, txs, [[OLD_COIN], [make_coin(120, False, 4, b"\x54")]]


def leaf(block: ParsedBlock, tx: Tx, vout: int, code: int, value: int, script: bytes) -> bytes:
    """As BIP 182 writes it down."""
    tag = hashlib.sha512(b"UtreexoV1").digest()
    outpoint = tx.txid + vout.to_bytes(4, "little")
    data = code.to_bytes(4, "little") + value.to_bytes(8, "little") + compact_size(len(script)) + script
    return hashlib.new("sha512_256", tag + tag + block.hash + outpoint + data).digest()


def test_what_a_block_spends_of_itself_is_in_no_proof() -> None:
    block, _, spent = busy_block()
    assert spent_leaves(block, spent) == [SpentCoin(OLD, OLD_COIN)]


def test_leaves_come_in_the_order_of_the_outputs() -> None:
    block, (coinbase, first, second), _ = busy_block()
    assert added_leaves(block, 120) == [
        leaf(block, coinbase, 0, 241, 5000, ANYONE_CAN_SPEND),
        leaf(block, first, 0, 240, 0, b"\x53"),
        leaf(block, first, 3, 240, 3, b"\x51" * 10_000),
        leaf(block, second, 0, 240, 0, b"\x55"),
    ]


def test_the_genesis_block_adds_nothing() -> None:
    assert added_leaves(parse_block(params_for("main").genesis_block), 0) == []
