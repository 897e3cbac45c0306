"""The text of transactions is what the encoder makes of them, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix, make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.rpc.block_text import block_text
from btcnode.rpc.jsonvalue import decode, encode
from btcnode.rpc.tx_text import block_txs_text, tx_text
from tests.lib.chain_generator import benchmark_chain
from tests.lib.tx_values import block_tx_value

REGTEST, MAIN = params_for("regtest"), params_for("mainnet")
KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
SIGNATURE = bytes.fromhex("3006020101020101") + b"\x83"

SCRIPTS = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\x76\xa9\x14" + h + b"\x88\xac"),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\xa9\x14" + h + b"\x87"),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\x00\x14" + h),
    st.binary(min_size=32, max_size=32).map(lambda h: b"\x00\x20" + h),
    st.binary(min_size=32, max_size=32).map(lambda h: b"\x51\x20" + h),
    st.binary(min_size=2, max_size=40).map(lambda h: b"\x60" + bytes((len(h),)) + h),
    st.binary(max_size=75).map(lambda data: b"\x6a" + bytes((len(data),)) + data),
    st.sampled_from([
        b"", b"\x51\x02\x4e\x73", b"\x51\x20" + KEY[1:], b"\x21" + KEY + b"\xac", b"\x41\x06" + bytes(64) + b"\xac",
        b"\x51\x21" + KEY + b"\x21" + KEY + b"\x52\xae", b"\x4c", b"\x6a" * 130, b"\x00" * 300, b"\xba\x50\xff",
    ]),
)  # fmt: skip
SCRIPT_SIGS = st.one_of(
    st.just(b""), st.binary(max_size=40), st.just(bytes((len(SIGNATURE),)) + SIGNATURE + b"\x21" + KEY)
)
VALUES = st.integers(-(1 << 63), (1 << 63) - 1)
U32 = st.integers(0, (1 << 32) - 1)
TXOUTS = st.builds(lambda value, script: value.to_bytes(8, "little", signed=True) + make_txout(0, script)[8:],
                   VALUES, SCRIPTS)  # fmt: skip
COINS = st.builds(lambda height, made, txout: coin_prefix(height, made) + txout, st.integers(0, (1 << 31) - 1),
                  st.booleans(), TXOUTS)  # fmt: skip
OUTPOINTS = st.one_of(st.binary(min_size=36, max_size=36), st.just(NULL_OUTPOINT))
INPUTS = st.tuples(OUTPOINTS, SCRIPT_SIGS, U32, st.lists(st.binary(max_size=80), max_size=3), COINS)
SPENDS = st.tuples(U32, st.lists(INPUTS, min_size=1, max_size=4), st.lists(TXOUTS, max_size=4), U32)


@given(SPENDS, st.booleans(), st.sampled_from([REGTEST, MAIN]))
def test_any_transaction(parts: tuple[int, list[tuple[bytes, bytes, int, list[bytes], bytes]], list[bytes], int],
                         prevouts: bool, params: object) -> None:  # fmt: skip
    version, inputs, txouts, lock_time = parts
    prevs, sigs, sequences, stacks, coins = (list(column) for column in zip(*inputs, strict=True))
    tx = Tx(version, prevs, sigs, sequences, txouts, stacks if any(stacks) else None, lock_time)
    chosen = MAIN if params is MAIN else REGTEST
    raw = REGTEST.genesis_block[:80] + compact_size(2) + tx.raw * 2
    block = parse_block(raw)
    pieces = list(block_txs_text(block, chosen, [coins], prevouts=prevouts))
    first = block_tx_value(tx, chosen, None, prevouts=prevouts)
    second = block_tx_value(tx, chosen, coins, prevouts=prevouts)
    assert b"[%b]" % b"".join(pieces) == encode([first, second])
    members = b'{%b,"hex":"%b"}' % (tx_text(tx, chosen).encode(), tx.raw.hex().encode())
    assert members == encode(first)


def test_blocks_in_pieces() -> None:
    """Long enough for several pieces, at every verbosity; what stands before and behind the list fits too."""
    raw = max(benchmark_chain(REGTEST, big_blocks=1, big_txs=300, small_blocks=0), key=len)
    block: ParsedBlock = parse_block(raw)
    pieces = list(block_txs_text(block, REGTEST, None, prevouts=False))
    values = [block_tx_value(block.tx(i), REGTEST, None, prevouts=False) for i in range(block.n_tx)]
    assert len(pieces) > 1 and b"[%b]" % b"".join(pieces) == encode(values)
    whole = decode(b'{"hash":""' + b"".join(block_text(block, REGTEST, None, 2)))
    assert whole["tx"] == decode(encode(values)) and whole["size"] == len(raw)
    whole = decode(b'{"hash":""' + b"".join(block_text(block, REGTEST, None, 1)))
    assert whole["tx"] == [txid[::-1].hex() for txid in block.txids]
