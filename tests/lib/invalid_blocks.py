"""Blocks that are wrong in their header, their bytes, their merkle root, their size, or a transaction by itself."""

from __future__ import annotations

from collections.abc import Iterator

from btcnode.errors import Fault
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import (
    ANYONE_CAN_SPEND,
    COMMITMENT_PREFIX,
    assemble,
    coinbase_tx,
    grind,
    witness_commitment,
)
from tests.lib.block_cases import Step, add_invalid, invalid, scenario
from tests.lib.block_lab import Lab, alter, raw_tx, reheader, reseal, sign, spend, split_block

UNDECODABLE = "undecodable"

# -- headers ---------------------------------------------------------------------------------------------------------


@invalid("high-hash", Fault.INVALID_HEADER)
def _hash_above_target(lab: Lab) -> bytes:
    raw = lab.block()
    return grind(raw[:HEADER_SIZE], valid=False) + raw[HEADER_SIZE:]


for _name, _bits in (
    ("target_zero", 0),
    ("target_zero_mantissa", 0x20000000),
    ("target_negative", 0x20FFFFFF),
    ("target_overflow", 0xFF7FFFFF),
    ("target_above_limit", 0x21008000),
):

    def _with_bits(lab: Lab, bits: int = _bits) -> bytes:
        return reheader(lab.block(), bits=bits, proof=False)

    add_invalid(_name, "high-hash", _with_bits, Fault.INVALID_HEADER)


@invalid("bad-diffbits", Fault.INVALID_HEADER)
def _target_too_hard(lab: Lab) -> bytes:
    return reheader(lab.block(), bits=0x1F7FFFFF)


@invalid("bad-diffbits", Fault.INVALID_HEADER)
def _target_off_by_one(lab: Lab) -> bytes:
    return reheader(lab.block(), bits=0x207FFFFE)


@invalid("bad-diffbits", Fault.INVALID_HEADER)
def _target_before_time(lab: Lab) -> bytes:
    # two faults: the target is looked at first
    return reheader(lab.block(), bits=0x207FFFFE, time=0)


@invalid("time-too-old", Fault.INVALID_HEADER)
def _time_is_median(lab: Lab) -> bytes:
    return lab.block(time=lab.median_time)


@invalid("time-too-old", Fault.INVALID_HEADER)
def _time_zero(lab: Lab) -> bytes:
    return lab.block(time=0)


@invalid("time-too-new", Fault.TIME_FUTURE)
def _time_over_two_hours_ahead(lab: Lab) -> bytes:
    return lab.block(time=lab.now + 7200 + 3600)


@invalid("time-too-new", Fault.TIME_FUTURE)
def _time_at_the_end_of_its_range(lab: Lab) -> bytes:
    return lab.block(time=0xFFFFFFFF)


for _version in (3, 2, 1, 0, -1, -(1 << 31)):

    def _with_version(lab: Lab, version: int = _version) -> bytes:
        return lab.block(version=version)

    _shown = f"bad-version(0x{_version & 0xFFFFFFFF:08x})"
    add_invalid(f"version_{_version & 0xFFFFFFFF:08x}", _shown, _with_version, Fault.INVALID_HEADER)


@invalid("prev-blk-not-found", Fault.MISSING_PREV)
def _parent_unknown(lab: Lab) -> bytes:
    return reheader(lab.block(), prev_hash=b"\x11" * 32)


@invalid("prev-blk-not-found", Fault.MISSING_PREV)
def _parent_zero(lab: Lab) -> bytes:
    return reheader(lab.block(), prev_hash=ZERO_HASH)


@invalid("prev-blk-not-found", Fault.MISSING_PREV)
def _parent_byte_reversed(lab: Lab) -> bytes:
    return reheader(lab.block(), prev_hash=lab.tip_hash[::-1])


@scenario
def _child_of_a_condemned_block(lab: Lab) -> Iterator[Step]:
    bad = lab.block(coinbase_value=lab.subsidy + 1)
    yield Step(bad, "bad-cb-amount", Fault.CONSENSUS)
    fork = lab.branch(lab.height)
    fork.adopt(bad)
    yield Step(fork.block(), "bad-prevblk", Fault.INVALID_PREV)


@scenario
def _child_of_a_block_that_did_not_enter(lab: Lab) -> Iterator[Step]:
    bad = reseal(lab.block(), [raw_tx(split_block(lab.block())[1][0].raw)] * 2)
    yield Step(bad, "bad-txns-duplicate", Fault.MUTATED)
    fork = lab.branch(lab.height)
    fork.adopt(bad)
    yield Step(fork.block(), "prev-blk-not-found", Fault.MISSING_PREV)


@scenario
def _condemned_block_again(lab: Lab) -> Iterator[Step]:
    bad = lab.block(coinbase_value=lab.subsidy + 1)
    yield Step(bad, "bad-cb-amount", Fault.CONSENSUS)
    yield Step(bad, "duplicate-invalid", Fault.CACHED_INVALID)


@scenario
def _block_bad_in_itself_again(lab: Lab) -> Iterator[Step]:
    # it never entered the index, so it is checked anew each time
    bad = lab.block(coinbase=coinbase_tx(lab.height + 1, -1))
    yield Step(bad, "bad-txns-vout-negative", Fault.CONSENSUS)
    yield Step(bad, "bad-txns-vout-negative", Fault.CONSENSUS)


@scenario
def _good_block_again(lab: Lab) -> Iterator[Step]:
    good = lab.block()
    yield Step(good)
    yield Step(good, tip=False)


# -- bytes -----------------------------------------------------------------------------------------------------------


def _busy(lab: Lab) -> bytes:
    """A valid block with a witness transaction and one without."""
    return lab.block(sign([lab.coin_of("p2wpkh")]), spend([lab.coin()]))


def _raw_in_block(lab: Lab, raw: bytes) -> bytes:
    _, (coinbase,) = split_block(lab.block())
    return reseal(lab.block(), [coinbase, raw_tx(raw)])


_UNDECODABLE = {
    "empty": lambda lab: b"",
    "header_cut": lambda lab: lab.block()[:79],
    "header_alone": lambda lab: lab.block()[:80],
    "last_byte_missing": lambda lab: _busy(lab)[:-1],
    "half_a_block": lambda lab: _busy(lab)[:200],
    "count_not_canonical": lambda lab: _recounted(lab, b"\xfd\x01\x00"),
    "count_beyond_the_transactions": lambda lab: _recounted(lab, b"\x02"),
    "count_huge": lambda lab: _recounted(lab, b"\xff" * 9),
    "count_four_bytes_huge": lambda lab: _recounted(lab, b"\xfe\x01\x00\x00\x02"),
    "witness_flag_without_witness": lambda lab: _raw_in_block(lab, _flagged(lab, b"\x01", b"\x00")),
    "witness_flag_unknown": lambda lab: _raw_in_block(lab, _flagged(lab, b"\x02", b"")),
    "witness_flag_3": lambda lab: _raw_in_block(lab, _flagged(lab, b"\x03", b"\x01\x01\x00")),
    "witness_item_too_long": lambda lab: _raw_in_block(lab, _flagged(lab, b"\x01", b"\x01\xfe\xff\xff\xff\x01")),
    "witness_size_not_canonical": lambda lab: _raw_in_block(lab, _flagged(lab, b"\x01", b"\x01\xfd\x01\x00\x00")),
    "no_inputs_but_witness_flag": lambda lab: _raw_in_block(lab, b"\2\0\0\0\0\1\0\1" + make_txout(0, b"") + bytes(4)),
    "script_size_not_canonical": lambda lab: _raw_in_block(
        lab, b"\2\0\0\0\1" + lab.coin().outpoint + b"\xfd\x00\x00" + b"\xff" * 4 + b"\x00" + bytes(4)
    ),
    "script_size_beyond_limit": lambda lab: _raw_in_block(
        lab, b"\2\0\0\0\1" + lab.coin().outpoint + b"\xfe\x01\x00\x00\x02" + b"\xff" * 4 + b"\x00" + bytes(4)
    ),
}


def _recounted(lab: Lab, count: bytes) -> bytes:
    raw = lab.block()
    return raw[:HEADER_SIZE] + count + raw[HEADER_SIZE + 1 :]


def _flagged(lab: Lab, flag: bytes, witness: bytes) -> bytes:
    tx = spend([lab.coin()])
    return tx.raw[:4] + b"\x00" + flag + tx.raw[4:-4] + witness + tx.raw[-4:]


for _name, _make in _UNDECODABLE.items():
    add_invalid(f"bytes_{_name}", UNDECODABLE, _make, None)


@scenario
def _bytes_after_the_block(lab: Lab) -> Iterator[Step]:
    yield Step(_busy(lab) + b"\x00some more")


# -- merkle root -----------------------------------------------------------------------------------------------------


def open_spends(lab: Lab, count: int) -> list[Tx]:
    """Transactions that spend one open coin each."""
    return [spend([lab.coin()]) for _ in range(count)]


@invalid("bad-txnmrklroot", Fault.MUTATED)
def _merkle_root_zero(lab: Lab) -> bytes:
    return lab.block(merkle=ZERO_HASH)


@invalid("bad-txnmrklroot", Fault.MUTATED)
def _merkle_root_one_bit_off(lab: Lab) -> bytes:
    raw = lab.block()
    root = bytearray(raw[36:68])
    root[31] ^= 1
    return reheader(raw, merkle_root=bytes(root))


@invalid("bad-txnmrklroot", Fault.MUTATED)
def _merkle_root_over_wtxids(lab: Lab) -> bytes:
    raw = lab.block(sign([lab.coin_of("p2wpkh")]))
    return reheader(raw, merkle_root=merkle_root([tx.wtxid for tx in split_block(raw)[1]])[0])


def _altered_afterwards(lab: Lab, change: str) -> bytes:
    raw = lab.block(*open_spends(lab, 4))
    header, txs = split_block(raw)
    if change == "swapped":
        txs[1], txs[2] = txs[2], txs[1]
    elif change == "dropped":
        del txs[2]
    elif change == "added":
        txs.append(spend([lab.coin()]))
    else:
        txs[3] = alter(txs[3], lock_time=txs[3].lock_time + 1)
    return assemble(header, txs)


for _change in ("swapped", "dropped", "added", "changed"):

    def _changed(lab: Lab, change: str = _change) -> bytes:
        return _altered_afterwards(lab, change)

    add_invalid(f"transaction_{_change}_under_the_header", "bad-txnmrklroot", _changed, Fault.MUTATED)


@scenario
def _swapped_then_honest(lab: Lab) -> Iterator[Step]:
    raw = lab.block(*open_spends(lab, 3))
    header, txs = split_block(raw)
    yield Step(assemble(header, [txs[0], txs[2], txs[1], txs[3]]), "bad-txnmrklroot", Fault.MUTATED)
    yield Step(raw)


def _cve_2012_2459(lab: Lab, count: int, repeated: int) -> Iterator[Step]:
    """``count`` transactions, then the last ``repeated`` of them once more: the same root, the same hash."""
    raw = lab.block(*open_spends(lab, count - 1))
    header, txs = split_block(raw)
    mutated = assemble(header, [*txs, *txs[-repeated:]])
    yield Step(mutated, "bad-txns-duplicate", Fault.MUTATED)
    yield Step(mutated, "bad-txns-duplicate", Fault.MUTATED)
    yield Step(raw)


@scenario
def _coinbase_twice_under_the_header(lab: Lab) -> Iterator[Step]:
    # the root of one leaf is the leaf itself, so this is no form of CVE-2012-2459
    honest = lab.block()
    header, (coinbase,) = split_block(honest)
    yield Step(assemble(header, [coinbase, coinbase]), "bad-txnmrklroot", Fault.MUTATED)
    yield Step(honest)


@scenario
def _cve_2012_2459_last_of_three(lab: Lab) -> Iterator[Step]:
    yield from _cve_2012_2459(lab, 3, 1)


@scenario
def _cve_2012_2459_last_two_of_six(lab: Lab) -> Iterator[Step]:
    yield from _cve_2012_2459(lab, 6, 2)


@scenario
def _cve_2012_2459_last_four_of_twelve(lab: Lab) -> Iterator[Step]:
    yield from _cve_2012_2459(lab, 12, 4)


@scenario
def _cve_2012_2459_of_an_invalid_block(lab: Lab) -> Iterator[Step]:
    # the honest form is condemned for its own fault, the mutated one before and after only for its form
    txs = [split_block(lab.block(coinbase_value=lab.subsidy + 1))[1][0], *open_spends(lab, 2)]
    raw = reseal(lab.block(), txs)
    yield Step(assemble(raw[:HEADER_SIZE], [*txs, txs[2]]), "bad-txns-duplicate", Fault.MUTATED)
    yield Step(raw, "bad-cb-amount", Fault.CONSENSUS)
    yield Step(raw, "duplicate-invalid", Fault.CACHED_INVALID)


# -- sizes -----------------------------------------------------------------------------------------------------------


@invalid("bad-blk-length")
def _no_transactions(lab: Lab) -> bytes:
    return reseal(lab.block(), [], ZERO_HASH)


def padded_coinbase(lab: Lab, stripped_size: int) -> Tx:
    """A coinbase whose junk output makes a block of itself alone exactly ``stripped_size`` bytes (of 65 k or more)."""
    overhead = HEADER_SIZE + 1 + len(coinbase_tx(lab.height + 1, 0).raw) + 8 + 5
    return coinbase_tx(
        lab.height + 1, lab.subsidy, extra_outputs=[make_txout(0, b"\x6a" + bytes(stripped_size - overhead - 1))]
    )


@invalid("bad-blk-length")
def _one_byte_over_a_million(lab: Lab) -> bytes:
    return lab.block(coinbase=padded_coinbase(lab, 1_000_001))


@invalid("bad-blk-length")
def _coinbase_alone_over_the_limit(lab: Lab) -> bytes:
    return lab.block(coinbase=padded_coinbase(lab, 1_300_000))


@invalid("bad-blk-weight")
def _weight_one_over(lab: Lab) -> bytes:
    return heavy_block(lab, 4_000_001)


@invalid("bad-blk-weight")
def _weight_with_full_stripped_size(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(b"\x52\x02\x01\x02")
    tx = spend([coin], witnesses=[[b"x"]])
    raw = reseal(lab.block(), [padded_coinbase(lab, 999_000), funding, tx])
    _, txs = split_block(raw)
    size = HEADER_SIZE + 1 + sum(len(part.stripped()) for part in txs)
    return with_commitment(lab, [funding, tx], padded_coinbase(lab, 999_000 + 1_000_000 - size - 47))


def with_commitment(lab: Lab, txs: list[Tx], coinbase: Tx, nonce: bytes = ZERO_HASH) -> bytes:
    """The block of ``coinbase`` and ``txs`` with a commitment output (47 bytes) and its nonce added."""
    txouts = [*coinbase.txouts, make_txout(0, COMMITMENT_PREFIX + witness_commitment(txs, nonce))]
    return lab.block(*txs, coinbase=alter(coinbase, txouts=txouts, witnesses=[[nonce]]))


def heavy_block(lab: Lab, weight: int) -> bytes:
    """A block of exactly this weight (of some 300,000 or more), most of it witness."""
    funding, (coin,) = lab.fund(b"\x52\x02\x01\x02")  # an unknown witness version: any witness will do

    def build(size: int) -> bytes:
        return lab.block(funding, spend([coin], witnesses=[[bytes(size)]]))

    start = 300_000
    raw = build(start)
    _, txs = split_block(raw)
    base = HEADER_SIZE + 1 + sum(len(tx.stripped()) for tx in txs)
    return build(start + weight - 3 * base - len(raw))


# -- transactions by themselves --------------------------------------------------------------------------------------


@invalid("bad-txns-vin-empty")
def _transaction_without_inputs(lab: Lab) -> bytes:
    return _raw_in_block(lab, b"\2\0\0\0" + b"\0\0" + bytes(4))


@invalid("bad-txns-vout-empty")
def _transaction_without_outputs(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin()], []))


_OUTPUT_VALUES: dict[str, tuple[str, list[int]]] = {
    "minus_one": ("bad-txns-vout-negative", [-1]),
    "minus_2_to_63": ("bad-txns-vout-negative", [-(1 << 63)]),
    "negative_behind_a_good_one": ("bad-txns-vout-negative", [1000, -1000]),
    "one_over_all_money": ("bad-txns-vout-toolarge", [MAX_MONEY + 1]),
    "2_to_63_minus_1": ("bad-txns-vout-toolarge", [(1 << 63) - 1]),
    "cve_2010_5139_as_it_was": ("bad-txns-vout-toolarge", [9_223_372_036_854_277_039] * 2),
    "sum_over_all_money": ("bad-txns-txouttotal-toolarge", [MAX_MONEY, 1]),
    "cve_2010_5139_sum_wraps": ("bad-txns-txouttotal-toolarge", [MAX_MONEY] * 8785),
    "sum_over_then_negative": ("bad-txns-txouttotal-toolarge", [MAX_MONEY, MAX_MONEY, -MAX_MONEY]),
    "all_money_exactly": ("bad-txns-in-belowout", [MAX_MONEY]),
}

for _name, (_reason, _values) in _OUTPUT_VALUES.items():

    def _paying(lab: Lab, values: list[int] = _values) -> bytes:
        return lab.block(spend([lab.coin()], [make_txout(value, ANYONE_CAN_SPEND) for value in values]))

    add_invalid(f"value_{_name}", _reason, _paying)


@invalid("bad-txns-prevout-null")
def _null_input_in_a_spend(lab: Lab) -> bytes:
    tx = spend([lab.coin(), lab.coin()])
    return lab.block(alter(tx, prevouts=[tx.prevouts[0], NULL_OUTPOINT]))


@invalid("bad-txns-inputs-duplicate")
def _null_input_twice(lab: Lab) -> bytes:
    tx = spend([lab.coin(), lab.coin()])
    return lab.block(alter(tx, prevouts=[NULL_OUTPOINT, NULL_OUTPOINT]))


@invalid("bad-txns-inputs-duplicate")
def _cve_2018_17144_same_input_twice(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin, coin]))


@invalid("bad-txns-inputs-duplicate")
def _cve_2018_17144_same_input_far_apart(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin, lab.coin(), lab.coin(), coin], sequences=[0, 1, 2, SEQUENCE_FINAL]))


@invalid("bad-txns-inputs-duplicate")
def _cve_2018_17144_of_an_output_of_the_block(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(ANYONE_CAN_SPEND)
    return lab.block(funding, spend([coin, coin]))


@invalid("bad-blk-sigops")
def _fault_of_the_block_before_its_context(lab: Lab) -> bytes:
    # too many sigops and a wrong height: what needs no context is found first
    return lab.block(coinbase=coinbase_tx(lab.height + 7, lab.subsidy, extra_outputs=[make_txout(0, b"\xac" * 20_001)]))
