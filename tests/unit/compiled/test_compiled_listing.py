"""What a block spends and makes by kernels, compiled and interpreted, against what its transactions say."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import addressof, c_char
from random import Random

import pytest

from btcnode.compiled import listing, memory, scanning
from btcnode.compiled.kernels import Kernels
from btcnode.consensus.connect import is_unspendable_at
from btcnode.errors import DecodeError
from btcnode.primitives.coin import coin_prefix, make_txout, vout_bytes
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from tests.lib.block_fuzz import mutate_bytes
from tests.lib.kernels import compiled_kernels

PREFIXES = coin_prefix(700_000, False), coin_prefix(700_000, True)
SCRIPTS = (
    b"", b"\x51", b"\x6a", b"\x6a\x01\x07", b"\x00\x14" + b"w" * 20, b"\x51" * 252, b"\x51" * 253, b"\x6a" * 253,
    b"\x51" * 10_000, b"\x51" * 10_001, b"\x6a" + b"\x51" * 10_000,
)  # fmt: skip
SEQUENCES = (0, 1, 0x7FFFFFFF, 0x80000000, SEQUENCE_FINAL - 1, SEQUENCE_FINAL)
VERSIONS = (0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def random_tx(rng: Random, inputs: int, outputs: int) -> Tx:
    return Tx(
        rng.choice(VERSIONS),
        [rng.randbytes(36) for _ in range(inputs)],
        [rng.randbytes(rng.choice((0, 0, 3, 252, 253))) for _ in range(inputs)],
        [rng.choice(SEQUENCES) for _ in range(inputs)],
        [make_txout(rng.randrange(1 << 50), rng.choice(SCRIPTS)) for _ in range(outputs)],
        [[rng.randbytes(rng.choice((0, 5, 300))) for _ in range(3)] for _ in range(inputs)] * (rng.random() < 0.5),
    )


def random_block(rng: Random) -> tuple[bytes, list[Tx]]:
    """Bytes that lie in front of the transactions, and these."""
    coinbase = Tx(2, [NULL_OUTPOINT], [b"\x01\x02"], [0], [make_txout(50, b"\x51"), make_txout(0, b"\x6a\x24")])
    count = rng.choice((0, 1, 2, 8))
    return rng.randbytes(81), [
        coinbase,
        *(random_tx(rng, rng.choice((1, 1, 2, 5, 260)), rng.choice((1, 2, 3, 9, 300))) for _ in range(count)),
    ]


def coins_of(txs: list[Tx]) -> dict[bytes, bytes]:
    return {
        tx.txid + vout_bytes(vout): PREFIXES[n == 0] + txout
        for n, tx in enumerate(txs)
        for vout, txout in enumerate(tx.txouts)
        if not is_unspendable_at(txout, 0, len(txout))
    }


def locked(txs: list[Tx]) -> int:
    return sum(tx.version >= 2 and min(tx.sequences) < 1 << 31 for tx in txs[1:])


def places(head: bytes, txs: list[Tx]) -> list[int]:
    found = [len(head)]
    for tx in txs:
        found.append(found[-1] + len(tx.raw))
    return found


def test_what_a_block_spends_and_makes_is_listed(kernels: Kernels) -> None:
    rng = Random(7)
    for _ in range(120 if kernels is compiled_kernels() else 5):
        head, txs = random_block(rng)
        raw, tx_pos = head + b"".join([tx.raw for tx in txs]), places(head, txs)
        listed = kernels.list_inputs(raw, tx_pos, len(txs))
        assert listed is not None
        assert listed.prevouts == [prevout for tx in txs for prevout in tx.prevouts]
        assert listed.prevouts_of == [len(tx.prevouts) for tx in txs]
        assert listed.locked == locked(txs)
        coins = coins_of(txs)
        assert (listed.coins, listed.coin_bytes) == (len(coins), sum(map(len, coins.values())))
        made = kernels.list_coins(raw, tx_pos, [tx.txid for tx in txs], b"".join(PREFIXES), listed)
        assert list(made.items()) == list(coins.items())


def test_nothing_behind_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it ends, and whatever its lengths say."""
    rng = Random(9)
    room = bytearray(2000)
    start = addressof(c_char.from_buffer(room))
    ends = [0]

    def watched(load: Callable[[int], int], width: int) -> Callable[[int], int]:
        def look(at: int) -> int:
            assert not start <= at < start + len(room) or at + width <= start + ends[0], "behind the end"
            return load(at)

        return look

    for name, width in (("load8", 1), ("load16", 2), ("load32", 4)):
        for module in (listing, scanning):
            monkeypatch.setattr(module, name, watched(getattr(memory, name), width), raising=False)
    place, found = bytearray(4), bytearray(8 * listing.FINDINGS)
    tx_pos, to = (addressof(c_char.from_buffer(each)) for each in (place, found))
    for _ in range(120):
        raw = random_tx(rng, rng.choice((1, 2)), rng.choice((1, 2))).raw[:300]
        for _ in range(rng.randrange(3)):
            at = rng.randrange(4, len(raw))
            raw = raw[:at] + bytes([rng.choice((0, 1, 0x7F, 0xFC, 0xFD, 0xFE, 0xFF))]) + raw[at + 1 :]
        ends[0] = rng.choice((len(raw), rng.randrange(len(raw)), rng.randrange(48, 100)))
        room[: len(raw)] = raw
        listing.count_parts(start, ends[0], tx_pos, 1, to)


def test_numbers_that_do_not_fit_are_refused(kernels: Kernels) -> None:
    tx = random_tx(Random(2), 1, 1)
    listed = kernels.list_inputs(tx.raw, [0], 1)
    assert listed is not None
    with pytest.raises(ValueError, match="offset"):
        kernels.list_inputs(tx.raw, [0], 2)
    for tx_pos, txids in (([0], [tx.txid] * 2), ([0], []), ([], [tx.txid])):
        with pytest.raises(ValueError, match="not listed"):
            kernels.list_coins(tx.raw, tx_pos, txids, b"".join(PREFIXES), listed)


def test_what_is_no_transaction_is_not_listed(kernels: Kernels) -> None:
    """Cut anywhere, or changed: either it has no answer, or the bytes are transactions of which it is true."""
    rng = Random(8)
    few = kernels is not compiled_kernels()
    plain = Tx(2, [rng.randbytes(36)] * 2, [b"", b"\x51" * 253], [0, 0], [make_txout(1, b"\x51" * 253)] * 2).raw
    for end in range(len(plain) - 4):
        assert kernels.list_inputs(plain[:end], [0], 1) is None
    assert kernels.list_inputs(plain[:-4], [0], 1) is not None, "nobody asked for the lock time"
    wide = plain[:5] + bytes(36) + b"\xfd\x05\0" + b"\x01" + make_txout(1, b"\x51") + bytes(4)  # 5 in three bytes
    assert kernels.list_inputs(wide[:4] + b"\x01" + wide[5:], [0], 1) is None
    for _ in range(30 if few else 4000):
        raw = mutate_bytes(random_tx(rng, 2, 2).raw, rng)
        listed = kernels.list_inputs(raw, [0], 1)
        try:
            tx = Tx.parse_at(raw + bytes(4), 0)[0]
        except DecodeError:
            assert raw[4:5] == b"\0" or listed is None, "of one with witnesses only these may be wrong"
            continue
        if listed is not None:
            coins = coins_of([tx])
            assert listed.prevouts == tx.prevouts and listed.coins == len(coins)
            assert kernels.list_coins(raw, [0], [tx.txid], b"".join(PREFIXES), listed) == coins
