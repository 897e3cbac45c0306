"""Blocks that are wrong in their coinbase or in its witness commitment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from btcnode.errors import Fault
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.testing.blocks import (
    ANYONE_CAN_SPEND,
    COMMITMENT_PREFIX,
    assemble,
    coinbase_tx,
    push_number,
    witness_commitment,
)
from tests.lib.block_cases import Step, add_invalid, invalid, scenario
from tests.lib.block_lab import Lab, alter, reseal, sign, spend, split_block
from tests.lib.invalid_blocks import open_spends

# -- coinbase --------------------------------------------------------------------------------------------------------


def _coinbase_with(lab: Lab, script_sig: bytes) -> bytes:
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, lab.subsidy), script_sigs=[script_sig]))


@invalid("bad-cb-missing")
def _first_transaction_is_a_spend(lab: Lab) -> bytes:
    return reseal(lab.block(), [spend([lab.coin()]), *split_block(lab.block())[1]])


@invalid("bad-cb-missing")
def _coinbase_with_two_inputs(lab: Lab) -> bytes:
    coinbase = coinbase_tx(lab.height + 1, lab.subsidy)
    prevouts = [NULL_OUTPOINT, lab.coin().outpoint]
    return lab.block(
        coinbase=alter(coinbase, prevouts=prevouts, script_sigs=[*coinbase.script_sigs, b""], sequences=[0, 0])
    )


@invalid("bad-cb-missing")
def _coinbase_of_index_zero(lab: Lab) -> bytes:
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, lab.subsidy), prevouts=[bytes(36)]))


@invalid("bad-cb-missing")
def _cve_2017_12842_inner_nodes_as_transactions(lab: Lab) -> bytes:
    # 64 bytes that decode as a transaction, where a block's only transaction should be
    tx = spend([lab.coin()], [make_txout(0, b"\x51" * 4)])
    assert len(tx.raw) == 64
    return reseal(lab.block(), [tx])


@invalid("bad-cb-multiple")
def _two_coinbases(lab: Lab) -> bytes:
    return lab.block(coinbase_tx(lab.height + 1, 0, extra=b"\x07"))


@invalid("bad-cb-multiple")
def _second_coinbase_at_the_end(lab: Lab) -> bytes:
    return lab.block(*open_spends(lab, 3), coinbase_tx(lab.height + 1, 0, extra=b"\x07"))


for _size in (0, 1, 101, 252, 253, 300):

    def _script_of(lab: Lab, size: int = _size) -> bytes:
        return _coinbase_with(lab, (push_number(lab.height + 1) + bytes(300))[:size])

    add_invalid(f"coinbase_script_of_{_size}", "bad-cb-length", _script_of)


_HEIGHT_SCRIPTS: dict[str, Callable[[int], bytes]] = {
    "height_missing": lambda height: b"\x00\x00\x00",
    "height_one_less": lambda height: push_number(height - 1) + b"\x00",
    "height_one_more": lambda height: push_number(height + 1) + b"\x00",
    "height_padded": lambda height: b"\x03" + height.to_bytes(3, "little"),
    "height_by_pushdata1": lambda height: b"\x4c" + push_number(height),
    "height_big_endian": lambda height: b"\x02" + height.to_bytes(2, "big"),
    "height_behind_a_byte": lambda height: b"\x00" + push_number(height),
    "height_negative": lambda height: push_number(height)[:-1] + bytes([push_number(height)[-1] | 0x80]) + b"\x00",
}

for _name, _make_script in _HEIGHT_SCRIPTS.items():

    def _with_height(lab: Lab, name: str = _name) -> bytes:
        return _coinbase_with(lab, _HEIGHT_SCRIPTS[name](lab.height + 1))

    add_invalid(f"coinbase_{_name}", "bad-cb-height", _with_height)


@invalid("bad-cb-amount")
def _coinbase_one_satoshi_too_much(lab: Lab) -> bytes:
    return lab.block(coinbase_value=lab.subsidy + 1)


@invalid("bad-cb-amount")
def _coinbase_takes_twice_the_subsidy(lab: Lab) -> bytes:
    return lab.block(coinbase_value=2 * lab.subsidy)


@invalid("bad-cb-amount")
def _coinbase_takes_more_than_fees(lab: Lab) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin], [make_txout(coin.value - 700, ANYONE_CAN_SPEND)]), fees=701)


@invalid("bad-cb-amount")
def _coinbase_outputs_together_too_much(lab: Lab) -> bytes:
    extra = [make_txout(lab.subsidy // 2, ANYONE_CAN_SPEND), make_txout(1, ANYONE_CAN_SPEND)]
    return lab.block(coinbase=coinbase_tx(lab.height + 1, lab.subsidy - lab.subsidy // 2, extra_outputs=extra))


@invalid("bad-cb-amount")
def _coinbase_takes_an_unspendable_too_much(lab: Lab) -> bytes:
    extra = [make_txout(1, b"\x6a")]
    return lab.block(coinbase=coinbase_tx(lab.height + 1, lab.subsidy, extra_outputs=extra))


@invalid("bad-txns-vout-negative")
def _coinbase_pays_less_than_nothing(lab: Lab) -> bytes:
    return lab.block(coinbase=coinbase_tx(lab.height + 1, -1))


@invalid("bad-txns-vout-toolarge")
def _coinbase_pays_more_than_all_money(lab: Lab) -> bytes:
    return lab.block(coinbase=coinbase_tx(lab.height + 1, MAX_MONEY + 1))


@invalid("bad-txns-vout-empty")
def _coinbase_without_outputs(lab: Lab) -> bytes:
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, 0), txouts=[]))


@invalid("bad-txns-nonfinal")
def _coinbase_not_final(lab: Lab) -> bytes:
    return lab.block(coinbase=alter(coinbase_tx(lab.height + 1, 0), lock_time=lab.height + 1, sequences=[0]))


# -- witness commitment ----------------------------------------------------------------------------------------------


def commitment_block(lab: Lab, commitments: list[bytes], witness: list[list[bytes]], *txs: Tx) -> bytes:
    """A block whose coinbase has these scripts as last outputs and this witness (one stack, or none)."""
    coinbase = coinbase_tx(lab.height + 1, lab.subsidy, extra_outputs=[make_txout(0, script) for script in commitments])
    return lab.block(*txs, coinbase=alter(coinbase, witnesses=witness))


def right_commitment(*txs: Tx) -> bytes:
    """The output script that commits to ``txs`` under the zero nonce."""
    return COMMITMENT_PREFIX + witness_commitment(txs)


_WRONG = COMMITMENT_PREFIX + b"\x55" * 32


@invalid("bad-witness-merkle-match", Fault.MUTATED)
def _commitment_wrong(lab: Lab) -> bytes:
    return commitment_block(lab, [_WRONG], [[ZERO_HASH]])


@invalid("bad-witness-merkle-match", Fault.MUTATED)
def _commitment_right_then_wrong(lab: Lab) -> bytes:
    return commitment_block(lab, [right_commitment(), _WRONG], [[ZERO_HASH]])


@invalid("bad-witness-merkle-match", Fault.MUTATED)
def _commitment_for_another_nonce(lab: Lab) -> bytes:
    return commitment_block(lab, [right_commitment()], [[b"\x01" * 32]])


@invalid("bad-witness-merkle-match", Fault.MUTATED)
def _commitment_over_txids(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    bare = alter(tx, witnesses=None)
    return commitment_block(lab, [right_commitment(bare)], [[ZERO_HASH]], tx)


_BAD_NONCES: dict[str, list[list[bytes]]] = {
    "missing": [],
    "of_31_bytes": [[bytes(31)]],
    "of_33_bytes": [[bytes(33)]],
    "empty": [[b""]],
    "and_another_item": [[ZERO_HASH, b""]],
    "stuffed_beyond_the_weight_limit": [[bytes(3_999_000)]],
}

for _name, _witness in _BAD_NONCES.items():

    def _with_nonce(lab: Lab, witness: list[list[bytes]] = _witness) -> bytes:
        return commitment_block(lab, [right_commitment()], witness)

    add_invalid(f"nonce_{_name}", "bad-witness-nonce-size", _with_nonce, Fault.MUTATED)


@scenario
def _cve_2024_52921_stuffed_nonce_then_honest(lab: Lab) -> Iterator[Step]:
    honest = lab.block(sign([lab.coin_of("p2wpkh")]))
    header, txs = split_block(honest)
    stuffed = alter(txs[0], witnesses=[[bytes(3_990_000)]])
    yield Step(assemble(header, [stuffed, txs[1]]), "bad-witness-nonce-size", Fault.MUTATED)
    yield Step(honest)


@scenario
def _cve_2024_52921_changed_witness_then_honest(lab: Lab) -> Iterator[Step]:
    honest = lab.block(sign([lab.coin_of("p2wpkh")]))
    header, txs = split_block(honest)
    bent = alter(txs[1], witnesses=[[b"\x30", *txs[1].witnesses[0][1:]]])
    yield Step(assemble(header, [txs[0], bent]), "bad-witness-merkle-match", Fault.MUTATED)
    yield Step(honest)


@scenario
def _witness_stripped_then_honest(lab: Lab) -> Iterator[Step]:
    honest = lab.block(sign([lab.coin_of("p2wpkh")]))
    header, txs = split_block(honest)
    bare = [alter(tx, witnesses=None) for tx in txs]
    yield Step(assemble(header, bare), "bad-witness-nonce-size", Fault.MUTATED)
    yield Step(assemble(header, [txs[0], bare[1]]), "bad-witness-merkle-match", Fault.MUTATED)
    yield Step(honest)


@scenario
def _witness_added_then_honest(lab: Lab) -> Iterator[Step]:
    honest = lab.block(spend([lab.coin()]))
    header, txs = split_block(honest)
    yield Step(assemble(header, [alter(txs[0], witnesses=[[ZERO_HASH]]), txs[1]]), "unexpected-witness", Fault.MUTATED)
    yield Step(assemble(header, [txs[0], alter(txs[1], witnesses=[[b""]])]), "unexpected-witness", Fault.MUTATED)
    yield Step(honest)


@invalid("unexpected-witness", Fault.MUTATED)
def _witness_without_commitment(lab: Lab) -> bytes:
    return lab.block(sign([lab.coin_of("p2wpkh")]), commit=False)


@invalid("unexpected-witness", Fault.MUTATED)
def _coinbase_witness_without_commitment(lab: Lab) -> bytes:
    return commitment_block(lab, [], [[ZERO_HASH]])


@invalid("unexpected-witness", Fault.MUTATED)
def _commitment_one_byte_short(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    return commitment_block(lab, [right_commitment(tx)[:-1]], [[ZERO_HASH]], tx)


@invalid("unexpected-witness", Fault.MUTATED)
def _commitment_by_another_push(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    script = b"\x6a\x4c" + right_commitment(tx)[1:]
    return commitment_block(lab, [script], [[ZERO_HASH]], tx)


@invalid("unexpected-witness", Fault.MUTATED)
def _commitment_outside_the_coinbase(lab: Lab) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    coin = lab.coin()
    carrier = spend([coin], [make_txout(0, right_commitment(tx))])
    return lab.block(tx, carrier, commit=False)
