"""Blocks that go to a limit, or look wrong, and must be accepted."""

from __future__ import annotations

from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import ANYONE_CAN_SPEND, COMMITMENT_PREFIX, coinbase_tx, push_number
from tests.lib.block_cases import valid
from tests.lib.block_lab import Lab, LabCoin, alter, outpoint_of, sign, spend, split_block
from tests.lib.invalid_blocks import heavy_block, padded_coinbase, with_commitment
from tests.lib.invalid_coinbases import commitment_block, right_commitment
from tests.lib.invalid_scripts import spend_leaf, spend_script, taproot_leaf
from tests.lib.invalid_spends import p2sh

# -- headers ---------------------------------------------------------------------------------------------------------


@valid
def _time_before_the_parent(lab: Lab) -> bytes:
    return lab.block(time=lab.times[-1] - 1)


@valid
def _time_one_after_median(lab: Lab) -> bytes:
    return lab.block(time=lab.median_time + 1)


@valid
def _version_4(lab: Lab) -> bytes:
    return lab.block(version=4)


@valid
def _version_7fffffff(lab: Lab) -> bytes:
    return lab.block(version=0x7FFFFFFF)


@valid
def _version_with_unknown_bits(lab: Lab) -> bytes:
    return lab.block(version=0x3FFFFFFF)


# -- sizes -----------------------------------------------------------------------------------------------------------


@valid
def _stripped_size_of_a_million(lab: Lab) -> bytes:
    return lab.block(coinbase=padded_coinbase(lab, 1_000_000))


@valid
def _weight_of_four_million(lab: Lab) -> bytes:
    return heavy_block(lab, 4_000_000)


@valid
def _cve_2017_12842_transaction_of_64_bytes(lab: Lab) -> bytes:
    coin = lab.coin()
    tx = spend([coin], [make_txout(0, b"\x51" * 4)])
    assert len(tx.raw) == 64
    return lab.block(tx)


@valid
def _transaction_of_61_bytes(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin()], [make_txout(0, b"\x51")]))


@valid
def _transactions_of_300_outputs_and_inputs(lab: Lab) -> bytes:
    funding, coins = lab.fund(ANYONE_CAN_SPEND, 300)
    return lab.block(funding, spend(coins))


@valid
def _chain_of_50_transactions_in_the_block(lab: Lab) -> bytes:
    coin = lab.coin()
    txs = []
    for _ in range(50):
        tx = spend([coin])
        txs.append(tx)
        coin = LabCoin(outpoint_of(tx), coin.value, ANYONE_CAN_SPEND, lab.height + 1)
    return lab.block(*txs)


@valid
def _two_hundred_transactions(lab: Lab) -> bytes:
    return lab.block(*(spend([lab.coin()]) for _ in range(200)))


# -- coinbase --------------------------------------------------------------------------------------------------------


@valid
def _coinbase_script_of_100(lab: Lab) -> bytes:
    script = (push_number(lab.height + 1) + b"\xff" * 100)[:100]
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, lab.subsidy), script_sigs=[script]))


@valid
def _coinbase_takes_nothing(lab: Lab) -> bytes:
    return lab.block(coinbase_value=0)


@valid
def _coinbase_script_sig_is_no_script(lab: Lab) -> bytes:
    script = push_number(lab.height + 1) + b"\x4e\xff\xff\xff\xff"
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, lab.subsidy), script_sigs=[script]))


@valid
def _coinbase_of_negative_version_and_any_sequence(lab: Lab) -> bytes:
    coinbase = coinbase_tx(lab.height + 1, lab.subsidy)
    return lab.block(coinbase=alter(coinbase, version=0xFFFFFFFF, sequences=[5], lock_time=lab.height))


@valid
def _coinbase_with_unspendable_outputs(lab: Lab) -> bytes:
    outputs = [make_txout(0, b"\x6a"), make_txout(0, b""), make_txout(0, b"\x6a" * 10_001), make_txout(0, b"\xff")]
    return lab.block(coinbase=coinbase_tx(lab.height + 1, lab.subsidy, extra_outputs=outputs))


# -- commitments -----------------------------------------------------------------------------------------------------

_WRONG = COMMITMENT_PREFIX + b"\xaa" * 32


@valid
def _commitment_wrong_then_right(lab: Lab) -> bytes:
    return commitment_block(lab, [_WRONG, right_commitment()], [[ZERO_HASH]])


@valid
def _commitment_not_last_output(lab: Lab) -> bytes:
    return commitment_block(lab, [right_commitment(), b"\x6a\x24\xaa\x21\xa9\xee" + bytes(32)], [[ZERO_HASH]])


@valid
def _commitment_followed_by_a_short_one(lab: Lab) -> bytes:
    return commitment_block(lab, [right_commitment(), _WRONG[:-1]], [[ZERO_HASH]])


@valid
def _commitment_with_bytes_behind(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    return commitment_block(lab, [right_commitment(tx) + b"more"], [[ZERO_HASH]], tx)


@valid
def _commitment_as_first_output(lab: Lab) -> bytes:
    coinbase = coinbase_tx(lab.height + 1, 0, right_commitment())
    return lab.block(coinbase=alter(coinbase, witnesses=[[ZERO_HASH]]))


@valid
def _commitment_with_a_nonce_of_its_own(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2tr-key")])
    return with_commitment(lab, [tx], coinbase_tx(lab.height + 1, lab.subsidy), b"\x77" * 32)


@valid
def _commitment_without_any_witness(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin()]), commit=True)


@valid
def _no_commitment_and_no_witness(lab: Lab) -> bytes:
    return lab.block(spend([lab.coin()]), commit=False)


# -- scripts ---------------------------------------------------------------------------------------------------------


@valid
def _every_template_in_one_transaction(lab: Lab) -> bytes:
    return lab.block(sign([lab.coin_of(name) for name in lab.template_coins]))


@valid
def _unknown_witness_version(lab: Lab) -> bytes:
    return spend_script(lab, b"\x60\x02\x01\x02", b"", [b"anything", b""])


@valid
def _pay_to_anchor(lab: Lab) -> bytes:
    return spend_script(lab, b"\x51\x02\x4e\x73", b"", [])


@valid
def _witness_v1_of_31_bytes(lab: Lab) -> bytes:
    return spend_script(lab, b"\x51\x1f" + b"\x01" * 31, b"", [b"x"])


@valid
def _taproot_inside_p2sh_is_free(lab: Lab) -> bytes:
    program = b"\x51\x20" + b"\x01" * 32
    return spend_script(lab, p2sh(program), b"\x22" + program, [])


@valid
def _tapscript_op_success(lab: Lab) -> bytes:
    return spend_leaf(lab, b"\x50\xae\x00")


@valid
def _taproot_unknown_leaf_version(lab: Lab) -> bytes:
    script_pubkey, control = taproot_leaf(b"\x6a", 0xC2)
    return spend_script(lab, script_pubkey, b"", [b"\x6a", control])


@valid
def _script_pubkey_of_10000_bytes_is_spent(lab: Lab) -> bytes:
    return spend_script(lab, b"\x4d\x08\x02" + bytes(520) + (b"\x4d\x08\x02" + bytes(520)) * 18 + b"\x51" * 63, b"", [])


@valid
def _operations_201(lab: Lab) -> bytes:
    return spend_script(lab, b"\x61" * 201 + b"\x51", b"", [])


@valid
def _op_return_in_a_branch_not_taken(lab: Lab) -> bytes:
    return spend_script(lab, b"\x00\x63\x6a\x68\x51", b"", [])


@valid
def _upgradable_nops(lab: Lab) -> bytes:
    return spend_script(lab, b"\xb0\xb3\xb4\xb5\xb6\xb7\xb8\xb9\x51", b"", [])


@valid
def _rules_of_policy_only(lab: Lab) -> bytes:
    # a stack that is not clean, a push that is not minimal: rules of relay, not of blocks
    return spend_script(lab, ANYONE_CAN_SPEND, b"\x4c\x01\x07\x4c\x01\x07", [])


@valid
def _script_sig_with_opcodes(lab: Lab) -> bytes:
    return spend_script(lab, b"\x87", b"\x51\x52\x93\x53", [])


@valid
def _cltv_and_csv_satisfied(lab: Lab) -> bytes:
    height = push_number(lab.height)
    script = height + b"\xb1\x75\x00\xb2\x51"
    return spend_script(lab, script, b"", [], lock_time=lab.height, sequence=0)


@valid
def _outputs_of_zero_and_odd_scripts(lab: Lab) -> bytes:
    scripts = [b"", b"\x4c", b"\xff" * 20, b"\x6a", b"\x00" * 300, b"\x51" + compact_size(70_000)]
    tx: Tx = spend([lab.coin()], [make_txout(0, script) for script in scripts])
    return lab.block(tx)


@valid
def _same_transaction_form_with_other_witness(lab: Lab) -> bytes:
    raw = lab.block(sign([lab.coin_of("p2wpkh")]), sign([lab.coin_of("p2wpkh")]))
    _, txs = split_block(raw)
    return lab.block(*txs[2:], *txs[1:2])


# -- last, for the chain's clock stands in the future after it -------------------------------------------------------


@valid
def _time_two_hours_ahead_to_the_second(lab: Lab) -> bytes:
    return lab.block(time=lab.now + 7200)


@valid
def _parent_from_the_future(lab: Lab) -> bytes:
    return lab.block()
