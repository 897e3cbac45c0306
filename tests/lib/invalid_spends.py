"""Blocks whose transactions spend what they must not: missing coins, too much value, too early, too many sigops."""

from __future__ import annotations

from collections.abc import Iterator

from btcnode.errors import Fault
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import SEQUENCE_FINAL, Tx
from btcnode.script.scriptparse import push_data
from btcnode.testing.blocks import ANYONE_CAN_SPEND, coinbase_tx
from tests.lib.block_cases import Step, add_invalid, invalid, scenario, valid
from tests.lib.block_lab import Lab, LabCoin, alter, outpoint_of, sign, spend, split_block

MISSING = "bad-txns-inputs-missingorspent"
PREMATURE = "bad-txns-premature-spend-of-coinbase"
NONFINAL = "bad-txns-nonfinal"
SIGOPS = "bad-blk-sigops"
COINBASE_MATURITY = 100
MAX_LEGACY_SIGOPS = 20_000
TYPE_TIME = 1 << 22  # BIP68
DISABLED = 1 << 31
CHECKSIG, CHECKMULTISIG = b"\xac", b"\xae"

# -- missing and spent -----------------------------------------------------------------------------------------------


def _spend_of(outpoint: bytes, value: int = 0) -> Tx:
    return spend([LabCoin(outpoint, value, ANYONE_CAN_SPEND, 0)])


@invalid(MISSING)
def _spends_an_unknown_transaction(lab: Lab) -> bytes:
    return lab.block(_spend_of(sha256(b"unknown").digest() + bytes(4)))


@invalid(MISSING)
def _spends_an_output_beyond_the_last(lab: Lab) -> bytes:
    return lab.block(_spend_of(lab.coin().outpoint[:32] + b"\xff\xff\x00\x00"))


@invalid(MISSING)
def _spends_an_output_beyond_the_last_of_this_block(lab: Lab) -> bytes:
    tx = spend([lab.coin()])
    return lab.block(tx, _spend_of(outpoint_of(tx, 1)))


@invalid(MISSING)
def _spends_index_ffffffff_of_a_transaction(lab: Lab) -> bytes:
    return lab.block(_spend_of(lab.coin().outpoint[:32] + b"\xff" * 4))


@invalid(MISSING)
def _spends_the_null_txid(lab: Lab) -> bytes:
    return lab.block(_spend_of(bytes(36)))


@invalid(MISSING)
def _spends_by_wtxid(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    return lab.block(tx, _spend_of(tx.wtxid + bytes(4), 1000))


@invalid(MISSING)
def _spends_a_later_transaction(lab: Lab) -> bytes:
    tx = spend([lab.coin()])
    return lab.block(_spend_of(outpoint_of(tx), 1000), tx)


@invalid(MISSING)
def _spends_the_genesis_coinbase(lab: Lab) -> bytes:
    root = lab.params.genesis_block[36:68]
    return lab.block(_spend_of(root + bytes(4), 1000))


@invalid(MISSING)
def _spends_an_op_return(lab: Lab) -> bytes:
    tx = spend([lab.coin()], [make_txout(1000, b"\x6a")])
    return lab.block(tx, _spend_of(outpoint_of(tx), 1000))


@invalid(MISSING)
def _spends_a_script_of_10001_bytes(lab: Lab) -> bytes:
    tx = spend([lab.coin()], [make_txout(1000, b"\x51" + b"\x61" * 10_000)])
    return lab.block(tx, _spend_of(outpoint_of(tx), 1000))


@scenario
def _spends_an_op_return_of_an_earlier_block(lab: Lab) -> Iterator[Step]:
    tx = spend([lab.coin()], [make_txout(1000, b"\x6a\x01\x01"), make_txout(1000, ANYONE_CAN_SPEND)])
    yield Step(lab.block(tx))
    yield Step(lab.block(_spend_of(outpoint_of(tx), 1000)), MISSING, Fault.CONSENSUS)
    yield Step(lab.block(_spend_of(outpoint_of(tx, 1), 1000)))


@scenario
def _spends_what_an_earlier_block_spent(lab: Lab) -> Iterator[Step]:
    coin = lab.coin()
    yield Step(lab.block(spend([coin])))
    yield Step(lab.block(spend([coin], lock_time=1)), MISSING, Fault.CONSENSUS)


@scenario
def _cve_2012_1909_same_transaction_in_the_next_block(lab: Lab) -> Iterator[Step]:
    tx = spend([lab.coin()])
    yield Step(lab.block(tx))
    yield Step(lab.block(tx), "bad-txns-BIP30", Fault.CONSENSUS)
    yield Step(lab.block(spend([lab.coin()]), tx), "bad-txns-BIP30", Fault.CONSENSUS)
    # spent to the last output it overwrites nothing: then its inputs are what is missing
    yield Step(lab.block(_spend_of(outpoint_of(tx), 1000)))
    yield Step(lab.block(tx), MISSING, Fault.CONSENSUS)


@invalid(MISSING)
def _cve_2018_17144_across_two_transactions(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin]), spend([coin], lock_time=1))


@invalid(MISSING)
def _cve_2018_17144_across_with_transactions_between(lab: Lab) -> bytes:
    coin = lab.coin()
    between = [spend([lab.coin()]) for _ in range(5)]
    return lab.block(spend([coin]), *between, spend([lab.coin(), coin]))


@invalid(MISSING)
def _output_of_the_block_spent_twice(lab: Lab) -> bytes:
    tx = spend([lab.coin()])
    coin = LabCoin(outpoint_of(tx), 1000, ANYONE_CAN_SPEND, 0)
    return lab.block(tx, spend([coin]), spend([coin], lock_time=1))


@invalid(MISSING)
def _same_transaction_twice_not_side_by_side(lab: Lab) -> bytes:
    tx = spend([lab.coin()])
    return lab.block(spend([lab.coin()]), tx, spend([lab.coin()]), tx)


@invalid(MISSING)
def _two_transactions_spend_each_other(lab: Lab) -> bytes:
    # a true cycle cannot be hashed; the second spends the first, the first the old id of the second
    second = spend([lab.coin()])
    first = _spend_of(outpoint_of(second), 1000)
    return lab.block(first, alter(second, prevouts=[outpoint_of(first)]))


@scenario
def _spends_a_coin_of_a_side_branch(lab: Lab) -> Iterator[Step]:
    fork = lab.branch(lab.height)
    tx = spend([fork.coin()])
    side = fork.block(tx)
    yield Step(lab.block())
    yield Step(side, tip=False)
    yield Step(lab.block(_spend_of(outpoint_of(tx), 1000)), MISSING, Fault.CONSENSUS)


# -- maturity --------------------------------------------------------------------------------------------------------


def _coinbase_spend(lab: Lab, depth: int) -> bytes:
    return lab.block(spend([lab.coinbases[lab.height + 1 - depth]]))


for _depth in (1, 2, 50, 98, 99):

    def _early(lab: Lab, depth: int = _depth) -> bytes:
        return _coinbase_spend(lab, depth)

    add_invalid(f"coinbase_spent_at_depth_{_depth}", PREMATURE, _early)


@valid
def _coinbase_spent_at_depth_100(lab: Lab) -> bytes:
    return _coinbase_spend(lab, COINBASE_MATURITY)


@invalid(PREMATURE)
def _coinbase_spent_in_its_own_block(lab: Lab) -> bytes:
    coinbase = coinbase_tx(lab.height + 1, lab.subsidy)
    return lab.block(_spend_of(outpoint_of(coinbase), lab.subsidy), coinbase=coinbase)


@invalid(PREMATURE)
def _young_coinbase_among_good_inputs(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin(), lab.coinbases[lab.height - 50], lab.coin()]))


@invalid(MISSING)
def _missing_before_premature(lab: Lab) -> bytes:
    unknown = LabCoin(sha256(b"nothing").digest() + bytes(4), 0, b"", 0)
    return lab.block(spend([lab.coinbases[lab.height - 50], unknown]))


# -- values ----------------------------------------------------------------------------------------------------------


@invalid("bad-txns-in-belowout")
def _pays_one_satoshi_more_than_it_spends(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin], [make_txout(coin.value + 1, ANYONE_CAN_SPEND)]))


@invalid("bad-txns-in-belowout")
def _pays_too_much_over_several_outputs(lab: Lab) -> bytes:
    coins = [lab.coin(), lab.coin()]
    each = (coins[0].value + coins[1].value) // 4
    outputs = [make_txout(each, ANYONE_CAN_SPEND)] * 4 + [make_txout(1, b"\x6a")]
    return lab.block(spend(coins, outputs))


@invalid("bad-txns-in-belowout")
def _fee_of_another_transaction_does_not_help(lab: Lab) -> bytes:
    rich, poor = lab.coin(), lab.coin()
    giving = spend([rich], [make_txout(1, ANYONE_CAN_SPEND)])
    return lab.block(giving, spend([poor], [make_txout(poor.value + 1, ANYONE_CAN_SPEND)]))


@invalid("bad-txns-in-belowout")
def _makes_money_of_nothing_in_the_block(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(ANYONE_CAN_SPEND)
    return lab.block(funding, spend([coin], [make_txout(coin.value * 2, ANYONE_CAN_SPEND)]))


@valid
def _fee_claimed_to_the_last_satoshi(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin], [make_txout(coin.value - 700, ANYONE_CAN_SPEND)]), fees=700)


# -- lock times ------------------------------------------------------------------------------------------------------


def _locked(lab: Lab, lock_time: int, sequences: list[int] | None = None) -> bytes:
    coins = [lab.coin() for _ in sequences or [0]]
    return lab.block(spend(coins, lock_time=lock_time, sequences=sequences or [0xFFFFFFFE]))


add_invalid("lock_height_of_this_block", NONFINAL, lambda lab: _locked(lab, lab.height + 1))
add_invalid("lock_height_far", NONFINAL, lambda lab: _locked(lab, 499_999_999))
add_invalid("lock_time_is_median", NONFINAL, lambda lab: _locked(lab, lab.median_time))
add_invalid("lock_time_before_the_block_but_after_median", NONFINAL, lambda lab: _locked(lab, lab.times[-1]))
add_invalid("lock_time_lowest", NONFINAL, lambda lab: _locked(lab, 0xFFFFFFFF))
add_invalid(
    "lock_with_one_sequence_not_final",
    NONFINAL,
    lambda lab: _locked(lab, lab.height + 1, [SEQUENCE_FINAL, SEQUENCE_FINAL, 0xFFFFFFFE]),
)


@valid
def _lock_height_of_the_parent(lab: Lab) -> bytes:
    return _locked(lab, lab.height)


@valid
def _lock_time_one_before_median(lab: Lab) -> bytes:
    return _locked(lab, lab.median_time - 1)


@valid
def _lock_time_at_threshold(lab: Lab) -> bytes:
    return _locked(lab, 500_000_000)


@valid
def _lock_switched_off_by_sequences(lab: Lab) -> bytes:
    return _locked(lab, 0xFFFFFFFF, [SEQUENCE_FINAL, SEQUENCE_FINAL])


def _relative(lab: Lab, sequence: int, coin: LabCoin | None = None, version: int = 2) -> bytes:
    return lab.block(spend([coin or lab.coin()], sequences=[sequence], version=version))


def _age(lab: Lab) -> int:
    """Blocks between the open coins and the next block."""
    return lab.height + 1 - lab.open_coins[0].height


def _time_units(lab: Lab) -> int:
    """The longest relative time lock (units of 512 s) that is over for an open coin in the next block."""
    start = lab.median_time_at(lab.open_coins[0].height - 1)
    return (lab.median_time - start) // 512


add_invalid("bip68_one_block_too_early", NONFINAL, lambda lab: _relative(lab, _age(lab) + 1))
add_invalid("bip68_maximum", NONFINAL, lambda lab: _relative(lab, 0xFFFF))
add_invalid("bip68_one_unit_too_early", NONFINAL, lambda lab: _relative(lab, TYPE_TIME | (_time_units(lab) + 1)))
add_invalid("bip68_unused_bits_set", NONFINAL, lambda lab: _relative(lab, 0x7FBF0000 | (_age(lab) + 1)))
add_invalid(
    "cve_2024_34478_version_ffffffff_has_locks",
    NONFINAL,
    lambda lab: _relative(lab, _age(lab) + 1, version=0xFFFFFFFF),
)
add_invalid(
    "cve_2024_34478_version_80000000_has_locks",
    NONFINAL,
    lambda lab: _relative(lab, _age(lab) + 1, version=0x80000000),
)


@invalid(NONFINAL)
def _bip68_lock_on_an_output_of_the_block(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(ANYONE_CAN_SPEND)
    return lab.block(funding, spend([coin], sequences=[1]))


@invalid(NONFINAL)
def _bip68_time_lock_on_an_output_of_the_block(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(ANYONE_CAN_SPEND)
    return lab.block(funding, spend([coin], sequences=[TYPE_TIME | 2]))


@invalid(NONFINAL)
def _bip68_one_of_three_inputs(lab: Lab) -> bytes:
    coins = [lab.coin(), lab.coin(), lab.coin()]
    return lab.block(spend(coins, sequences=[0, _age(lab) + 1, SEQUENCE_FINAL]))


@valid
def _bip68_at_its_height(lab: Lab) -> bytes:
    return _relative(lab, _age(lab))


@valid
def _bip68_at_its_time(lab: Lab) -> bytes:
    return _relative(lab, TYPE_TIME | _time_units(lab))


@valid
def _bip68_not_in_version_1(lab: Lab) -> bytes:
    return _relative(lab, 0xFFFF, version=1)


@valid
def _bip68_not_in_version_0(lab: Lab) -> bytes:
    return _relative(lab, 0xFFFF, version=0)


@valid
def _bip68_disabled(lab: Lab) -> bytes:
    return _relative(lab, DISABLED | TYPE_TIME | 0xFFFF)


@valid
def _bip68_zero_on_an_output_of_the_block(lab: Lab) -> bytes:
    funding, (coin,) = lab.fund(ANYONE_CAN_SPEND)
    return lab.block(funding, spend([coin], sequences=[0]))


# -- sigops ----------------------------------------------------------------------------------------------------------


def _with_outputs(lab: Lab, *scripts: bytes) -> bytes:
    return lab.block(spend([lab.coin()], [make_txout(0, script) for script in scripts]))


add_invalid("sigops_20001_checksig", SIGOPS, lambda lab: _with_outputs(lab, CHECKSIG * 20_001))
add_invalid("sigops_20001_checksigverify", SIGOPS, lambda lab: _with_outputs(lab, b"\xad" * 20_001))
add_invalid("sigops_multisig_counts_20", SIGOPS, lambda lab: _with_outputs(lab, CHECKMULTISIG * 1000 + CHECKSIG))
add_invalid(
    "sigops_multisig_counts_20_whatever_the_number",
    SIGOPS,
    lambda lab: _with_outputs(lab, b"\x51\xae" * 1000 + CHECKSIG),
)
add_invalid("sigops_over_two_outputs", SIGOPS, lambda lab: _with_outputs(lab, CHECKSIG * 10_000, CHECKSIG * 10_001))
add_invalid("sigops_in_unspendable_outputs", SIGOPS, lambda lab: _with_outputs(lab, b"\x6a" + CHECKSIG * 20_001))
add_invalid("sigops_before_a_truncated_push", SIGOPS, lambda lab: _with_outputs(lab, CHECKSIG * 20_001 + b"\x4c\xff"))


@invalid(SIGOPS)
def _sigops_in_a_script_sig(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin()], script_sigs=[CHECKSIG * 20_001]))


@invalid(SIGOPS)
def _sigops_in_the_coinbase(lab: Lab) -> bytes:
    outputs = [make_txout(0, CHECKMULTISIG * 999)]
    coinbase = coinbase_tx(lab.height + 1, lab.subsidy, extra=CHECKSIG * 21, extra_outputs=outputs)
    return lab.block(coinbase=coinbase)


@valid
def _sigops_20000_exactly(lab: Lab) -> bytes:
    return _with_outputs(lab, CHECKSIG * MAX_LEGACY_SIGOPS)


@valid
def _sigops_behind_a_truncated_push_do_not_count(lab: Lab) -> bytes:
    return _with_outputs(lab, CHECKSIG * MAX_LEGACY_SIGOPS + b"\x4d\xff\xff" + CHECKSIG * 300)


@valid
def _sigops_in_pushed_data_do_not_count(lab: Lab) -> bytes:
    return _with_outputs(lab, (b"\x4b" + CHECKSIG * 75) * 300)


def hidden_sigops(count: int) -> bytes:
    """A script that yields true and counts ``count`` accurate sigops that never run (up to 3,900)."""
    many, few = divmod(count, 20)
    return b"\x00\x63" + CHECKMULTISIG * many + CHECKSIG * few + b"\x68\x51"


def p2sh(script: bytes) -> bytes:
    """The script_pubkey that pays to the hash of ``script``."""
    return b"\xa9\x14" + hash160(script) + b"\x87"


def p2wsh(script: bytes) -> bytes:
    """The witness program of ``script``."""
    return b"\x00\x20" + sha256(script).digest()


def _p2sh_sigops(lab: Lab, counts: list[int], legacy: int = 0) -> bytes:
    """A block with inputs of these P2SH sigops (cost 4 each) and ``legacy`` ones beside."""
    txs = []
    for count in counts:
        script = hidden_sigops(count)
        funding, (coin,) = lab.fund(p2sh(script))
        txs += [funding, spend([coin], script_sigs=[push_data(script)])]
    return lab.block(*txs, spend([lab.coin()], [make_txout(0, CHECKSIG * legacy)]))


def _witness_sigops(lab: Lab, counts: list[int], *, nested: bool = False, legacy: int = 0) -> bytes:
    """The same with P2WSH inputs (cost 1 each), bare or in P2SH."""
    txs = []
    for count in counts:
        script = hidden_sigops(count)
        program = p2wsh(script)
        funding, (coin,) = lab.fund(p2sh(program) if nested else program)
        script_sig = push_data(program) if nested else b""
        txs += [funding, spend([coin], script_sigs=[script_sig], witnesses=[[script]])]
    return lab.block(*txs, spend([lab.coin()], [make_txout(0, CHECKSIG * legacy)]))


def _key_sigops(lab: Lab, template: str, inputs: int, legacy: int) -> bytes:
    coins = [lab.coin_of(template) for _ in range(inputs)]
    tx = sign(coins, [make_txout(0, CHECKSIG * legacy)])
    return lab.block(tx)


_FULL = [3800] * 5
add_invalid("sigops_p2sh_one_over", SIGOPS, lambda lab: _p2sh_sigops(lab, [*_FULL, 1001]))
add_invalid("sigops_p2sh_and_legacy", SIGOPS, lambda lab: _p2sh_sigops(lab, [3800, 3800], 12_401))
add_invalid("sigops_p2wsh_one_over", SIGOPS, lambda lab: _witness_sigops(lab, [3800] * 21 + [201]))
add_invalid("sigops_p2sh_p2wsh_one_over", SIGOPS, lambda lab: _witness_sigops(lab, [3800] * 21 + [201], nested=True))
add_invalid("sigops_p2wsh_and_legacy", SIGOPS, lambda lab: _witness_sigops(lab, [5], legacy=19_999))
add_invalid("sigops_p2wpkh_one_over", SIGOPS, lambda lab: _key_sigops(lab, "p2wpkh", 5, 19_999))
add_invalid("sigops_p2sh_p2wpkh_one_over", SIGOPS, lambda lab: _key_sigops(lab, "p2sh-p2wpkh", 5, 19_999))


@valid
def _sigop_cost_80000_by_p2sh(lab: Lab) -> bytes:
    return _p2sh_sigops(lab, [*_FULL, 1000])


@valid
def _sigop_cost_80000_by_p2wsh(lab: Lab) -> bytes:
    return _witness_sigops(lab, [3800] * 21 + [200])


@valid
def _sigop_cost_80000_by_p2sh_p2wsh_and_legacy(lab: Lab) -> bytes:
    return _witness_sigops(lab, [3800], nested=True, legacy=19_050)


@valid
def _sigop_cost_80000_by_p2wpkh(lab: Lab) -> bytes:
    return _key_sigops(lab, "p2wpkh", 4, 19_999)


@valid
def _sigop_cost_of_taproot_is_none(lab: Lab) -> bytes:
    return _key_sigops(lab, "p2tr-script", 5, 20_000)


@invalid(SIGOPS)
def _sigops_before_a_later_missing_input(lab: Lab) -> bytes:
    raw = _p2sh_sigops(lab, [*_FULL, 1001])
    _, txs = split_block(raw)
    return lab.block(*txs[1:], _spend_of(sha256(b"later").digest() + bytes(4)))


@invalid(MISSING)
def _missing_input_before_the_sigops(lab: Lab) -> bytes:
    raw = _p2sh_sigops(lab, [*_FULL, 1001])
    _, txs = split_block(raw)
    return lab.block(_spend_of(sha256(b"earlier").digest() + bytes(4)), *txs[1:])
