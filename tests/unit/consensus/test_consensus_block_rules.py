from __future__ import annotations

from dataclasses import replace

import pytest

from btcnode.consensus.blocks import (
    check_block,
    check_merkle_root,
    check_witness_malleation,
    contextual_check_block,
    height_script,
)
from btcnode.consensus.commitment import commitment_index, witness_commitment
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import COMMITMENT_PREFIX, assemble, coinbase_tx, push_number
from tests.lib.bad_blocks import SUBSIDY, coinbase, rebuilt
from tests.lib.mini_chain import MiniChain, spend

A = b"\x01" * 36


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return MiniChain(blocks=105)


@pytest.mark.parametrize(
    ("height", "script"),
    [
        (0, "00"), (1, "51"), (16, "60"), (17, "0111"), (127, "017f"), (128, "028000"), (255, "02ff00"),
        (256, "020001"),
        (32767, "02ff7f"), (32768, "03008000"), (227931, "035b7a03"), (2**23 - 1, "03ffff7f"), (2**23, "0400008000"),
    ],
)  # fmt: skip
def test_height_script(height: int, script: str) -> None:
    assert height_script(height).hex() == script


def test_genesis_blocks_pass_without_a_parent() -> None:
    for network in ("mainnet", "testnet3", "testnet4", "signet", "regtest"):
        params = params_for(network)
        block = parse_block(params.genesis_block)
        check_block(block, params)
        if params.segwit_height:
            contextual_check_block(block, MiniChain().tree, -1, params)


def test_templates_skip_proof_of_work_and_root(chain: MiniChain) -> None:
    raw = bytearray(chain.template().build())
    raw[36] ^= 1
    raw[75] = 0  # an impossible target
    block = parse_block(bytes(raw))
    with pytest.raises(RuleViolation, match="high-hash"):
        check_block(block, chain.params)
    with pytest.raises(RuleViolation, match="bad-txnmrklroot"):
        check_block(block, chain.params, check_pow=False)
    check_block(block, chain.params, check_pow=False, check_merkle=False)


def test_cve_2012_2459_mutated_form_is_refused_and_the_honest_one_accepted(chain: MiniChain) -> None:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    second = spend(first.txid + bytes(4), value=SUBSIDY)
    honest = chain.template(first, second).build()
    block = parse_block(honest)
    mutated = parse_block(assemble(honest[:80], [block.tx(i) for i in (0, 1, 2, 2)]))
    assert mutated.hash == block.hash
    with pytest.raises(RuleViolation) as caught:
        check_block(mutated, chain.params)
    assert caught.value.fault is Fault.MUTATED
    assert chain.judge(honest) == "ok"


def test_cve_2024_52921_a_changed_witness_does_not_condemn_the_hash(chain: MiniChain) -> None:
    """The honest block is accepted after its stripped, its stuffed and its nonce-less form."""
    fund = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x51\x02\x4e\x73")  # pay to anchor
    honest = chain.template(fund, spend(fund.txid + bytes(4), value=SUBSIDY), commit=True).build()
    block = parse_block(honest)
    txs = [block.tx(i) for i in range(3)]
    stuffed = txs[2]
    stuffed = Tx(2, stuffed.prevouts, stuffed.script_sigs, stuffed.sequences, stuffed.txouts, [[b"stuffed"]])
    bare = Tx.parse(txs[0].stripped())
    forms = [
        ([txs[0], txs[1], stuffed], "bad-witness-merkle-match"),
        ([bare, txs[1], txs[2]], "bad-witness-nonce-size"),
        ([bare, txs[1], stuffed], "bad-witness-nonce-size"),
    ]
    for changed, code in forms:
        form = parse_block(assemble(honest[:80], changed))
        assert form.hash == block.hash
        with pytest.raises(RuleViolation) as caught:
            chain.check(form.raw)
        assert (caught.value.code, caught.value.fault) == (code, Fault.MUTATED)
    assert chain.judge(honest) == "ok"


def test_a_stuffed_coinbase_witness_is_no_matter_of_weight(chain: MiniChain) -> None:
    """The nonce's size is checked first, so that the weight cannot condemn the hash."""
    block = parse_block(chain.template(commit=True).build())
    coinbase = block.tx(0)
    heavy = Tx(2, coinbase.prevouts, coinbase.script_sigs, coinbase.sequences, coinbase.txouts, [[bytes(4_000_000)]])
    form = parse_block(assemble(block.raw[:80], [heavy]))
    assert form.weight > 4_000_000
    with pytest.raises(RuleViolation) as caught:
        chain.check(form.raw)
    assert (caught.value.code, caught.value.fault) == ("bad-witness-nonce-size", Fault.MUTATED)


def test_merkle_root_faults_are_mutations(chain: MiniChain) -> None:
    raw = chain.template().build()
    with pytest.raises(RuleViolation) as caught:
        check_merkle_root(parse_block(raw[:36] + bytes(32) + raw[68:]))
    assert caught.value.debug == "hashMerkleRoot mismatch"
    assert caught.value.fault is Fault.MUTATED


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (COMMITMENT_PREFIX + b"c" * 32, True),
        (COMMITMENT_PREFIX + b"c" * 32 + b"and more", True),
        (COMMITMENT_PREFIX + b"c" * 31, False),
        (b"\x6a\x25" + COMMITMENT_PREFIX[2:] + b"c" * 32, False),
        (b"\x51" + COMMITMENT_PREFIX[1:] + b"c" * 32, False),
    ],
)
def test_commitment(script: bytes, found: bool) -> None:
    tx = spend(NULL_OUTPOINT, value=0, txouts=[make_txout(0, b"\x51"), make_txout(0, script), make_txout(1, b"")])
    block = parse_block(assemble(bytes(80), [tx]))
    assert commitment_index(block) == (1 if found else -1)
    assert witness_commitment(block) == (b"c" * 32 if found else None)


def test_commitment_of_another_transaction_does_not_count(chain: MiniChain) -> None:
    other = spend(A, value=0, script_pubkey=COMMITMENT_PREFIX + bytes(32))
    block = parse_block(rebuilt(chain, [coinbase(chain), other]))
    assert commitment_index(block) == -1
    check_witness_malleation(block, True)


def test_before_segwit_a_commitment_needs_no_nonce() -> None:
    tx = coinbase_tx(1, 0)
    tx = Tx(2, tx.prevouts, tx.script_sigs, tx.sequences, [*tx.txouts, make_txout(0, COMMITMENT_PREFIX + bytes(32))])
    block = parse_block(assemble(bytes(80), [tx]))
    check_witness_malleation(block, False)
    with pytest.raises(RuleViolation, match="bad-witness-nonce-size"):
        check_witness_malleation(block, True)


def test_lock_times_before_bip113_look_at_the_blocks_own_time(chain: MiniChain) -> None:
    median = chain.tree.median_time_past(chain.tip)
    tx = spend(chain.coinbases[1], value=SUBSIDY, sequences=[0], lock_time=median)
    block = parse_block(chain.template(tx).build())
    with pytest.raises(RuleViolation, match="bad-txns-nonfinal"):
        contextual_check_block(block, chain.tree, chain.tip, chain.params)
    contextual_check_block(block, chain.tree, chain.tip, replace(chain.params, csv_height=1000))


def test_locks_that_are_over_and_those_switched_off(chain: MiniChain) -> None:
    height = chain.tip + 1
    txs = [
        spend(chain.coinbases[1], value=SUBSIDY, sequences=[1 << 31], lock_time=height - 1),
        spend(chain.coinbases[2], value=SUBSIDY, lock_time=2**32 - 1),
        spend(chain.coinbases[3], value=SUBSIDY, script_sigs=[b"\x51" * 300], lock_time=2**32 - 1),
    ]
    assert chain.judge(chain.template(*txs).build()) == "ok"


def test_bip34_height_is_a_prefix(chain: MiniChain) -> None:
    height = chain.tip + 1
    for script_sig, good in ((push_number(height) + b"rest", True), (b"\x01" + push_number(height), False)):
        tx = Tx(2, [NULL_OUTPOINT], [script_sig], [SEQUENCE_FINAL], [make_txout(SUBSIDY, b"\x51")])
        assert chain.judge(rebuilt(chain, [tx])) == ("ok" if good else "bad-cb-height")
    none_yet = replace(chain.params, bip34_height=1000)
    block = parse_block(rebuilt(chain, [Tx(2, [NULL_OUTPOINT], [b"xx"], [0], [make_txout(1, b"")])]))
    contextual_check_block(block, chain.tree, chain.tip, none_yet)
