"""Blocks with one fault each (and some with two), on a regtest chain of 110 blocks, with Core's reject reason."""

from __future__ import annotations

from collections.abc import Callable

from btcnode.primitives.amounts import COIN, MAX_MONEY
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import COMMITMENT_PREFIX, assemble, coinbase_tx, grind, push_number, witness_commitment
from tests.lib.mini_chain import MiniChain, spend

BLOCKS = 110  # coinbases of heights 1 to 11 can be spent in the next block
SUBSIDY = 50 * COIN

Build = Callable[[MiniChain], bytes]
BAD_BLOCKS: dict[str, tuple[str, Build]] = {}


def bad(code: str) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        BAD_BLOCKS[build.__name__] = (code, build)
        return build

    return add


def rebuilt(chain: MiniChain, txs: list[Tx], *, root: bytes | None = None, **header: object) -> bytes:
    """Any list of transactions under a header with proof of work."""
    raw = chain.template(**header).build()
    root = root if root is not None else merkle_root([tx.txid for tx in txs])[0]
    return assemble(grind(raw[:36] + root + raw[68:80]), txs)


def coinbase(chain: MiniChain, value: int = SUBSIDY, **changes: object) -> Tx:
    return coinbase_tx(chain.tip + 1, value, **changes)  # type: ignore[arg-type]


def with_witness(outpoint: bytes, value: int = 0) -> Tx:
    """Spends an output of OP_TRUE with a witness that nothing asks for (the script fails later)."""
    return spend(outpoint, value=value, witnesses=[[b"\x01"]])


# -- headers -------------------------------------------------------------------------------------------------------


@bad("high-hash")
def no_proof_of_work(chain: MiniChain) -> bytes:
    raw = chain.template().build()
    return grind(raw[:80], valid=False) + raw[80:]


@bad("bad-diffbits")
def wrong_bits(chain: MiniChain) -> bytes:
    return chain.template(bits=0x207FFFFE).build()


@bad("time-too-old")
def time_at_the_median(chain: MiniChain) -> bytes:
    return chain.template(time=chain.tree.median_time_past(chain.tip)).build()


@bad("time-too-new")
def far_future(chain: MiniChain) -> bytes:
    return chain.template(time=0xFFFFFFFF).build()


@bad("bad-version(0x00000003)")
def version_3(chain: MiniChain) -> bytes:
    return chain.template(version=3).build()


@bad("bad-version(0x80000000)")
def negative_version(chain: MiniChain) -> bytes:
    return chain.template(version=-(2**31)).build()


# -- the block alone -----------------------------------------------------------------------------------------------


@bad("bad-txnmrklroot")
def wrong_merkle_root(chain: MiniChain) -> bytes:
    return chain.template(merkle=bytes(31) + b"\x01").build()


@bad("bad-txns-duplicate")
def merkle_mutation_cve_2012_2459(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    second = spend(first.txid + bytes(4), value=SUBSIDY)
    txs = [coinbase(chain), first, second]
    return rebuilt(chain, [*txs, second], root=merkle_root([tx.txid for tx in txs])[0])


@bad("bad-txnmrklroot")
def no_transactions(chain: MiniChain) -> bytes:
    return chain.template().build()[:80] + b"\0"


@bad("bad-blk-length")
def no_transactions_and_their_root(chain: MiniChain) -> bytes:
    return rebuilt(chain, [], root=bytes(32))


@bad("bad-blk-length")
def stripped_size_above_a_million(chain: MiniChain) -> bytes:
    txout = make_txout(0, b"\x6a" + bytes(9_990))
    return rebuilt(chain, [coinbase(chain, extra_outputs=[txout] * 101)])


@bad("bad-cb-missing")
def first_is_no_coinbase(chain: MiniChain) -> bytes:
    return rebuilt(chain, [spend(chain.coinbases[1], value=SUBSIDY)])


@bad("bad-cb-multiple")
def two_coinbases(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), coinbase(chain, extra=b"\x02")])


@bad("bad-cb-multiple")
def second_coinbase_before_a_bad_transaction(chain: MiniChain) -> bytes:
    broken = spend(chain.coinbases[1], value=-1)
    return rebuilt(chain, [coinbase(chain), broken, coinbase(chain, extra=b"\x02")])


# -- transactions alone --------------------------------------------------------------------------------------------


@bad("bad-txns-vout-empty")
def no_outputs(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], value=0, txouts=[])])


@bad("bad-txns-vout-negative")
def negative_output(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], value=-1)])


@bad("bad-txns-vout-toolarge")
def output_above_all_money(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], value=MAX_MONEY + 1)])


@bad("bad-txns-txouttotal-toolarge")
def output_sum_cve_2010_5139(chain: MiniChain) -> bytes:
    txouts = [make_txout(MAX_MONEY, b"\x51"), make_txout(1, b"\x51")]
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], value=0, txouts=txouts)])


@bad("bad-txns-vout-toolarge")
def outputs_that_wrap_around_64_bits_cve_2010_5139(chain: MiniChain) -> bytes:
    txouts = [make_txout(2**63 - 1, b"\x51")] * 2
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], value=0, txouts=txouts)])


@bad("bad-txns-inputs-duplicate")
def same_input_twice_cve_2018_17144(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], chain.coinbases[1], value=2 * SUBSIDY)])


@bad("bad-txns-prevout-null")
def null_prevout(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase(chain), spend(chain.coinbases[1], NULL_OUTPOINT, value=SUBSIDY)])


@bad("bad-cb-length")
def coinbase_script_of_101_bytes(chain: MiniChain) -> bytes:
    return chain.template(extra=bytes(99)).build()


@bad("bad-cb-length")
def coinbase_script_of_1_byte(chain: MiniChain) -> bytes:
    return rebuilt(chain, [Tx(2, [NULL_OUTPOINT], [b"\x51"], [SEQUENCE_FINAL], [make_txout(0, b"\x51")])])


@bad("bad-txns-vout-negative")
def first_bad_transaction_counts(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=-1)
    return rebuilt(chain, [coinbase(chain), first, spend(chain.coinbases[2], value=0, txouts=[])])


@bad("bad-blk-sigops")
def legacy_sigops_above_20000(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[1], value=0, script_pubkey=b"\xae" * 1000 + b"\xac")
    return rebuilt(chain, [coinbase(chain), tx])


@bad("bad-blk-sigops")
def sigops_behind_an_unfinished_push_do_not_count_those_before_do(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[1], value=0, script_pubkey=b"\xaf" * 1000 + b"\xad\x4e\xff\xff\xff")
    return rebuilt(chain, [coinbase(chain), tx])


# -- the block in its chain ----------------------------------------------------------------------------------------


@bad("bad-txns-nonfinal")
def lock_by_height(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[1], value=0, sequences=[0], lock_time=chain.tip + 1)
    return rebuilt(chain, [coinbase(chain), tx])


@bad("bad-txns-nonfinal")
def lock_by_time_looks_at_the_median_bip113(chain: MiniChain) -> bytes:
    median = chain.tree.median_time_past(chain.tip)
    tx = spend(chain.coinbases[1], value=0, sequences=[SEQUENCE_FINAL - 1], lock_time=median)
    return rebuilt(chain, [coinbase(chain), tx])


@bad("bad-txns-nonfinal")
def coinbase_with_a_lock(chain: MiniChain) -> bytes:
    script_sig = push_number(chain.tip + 2)
    return rebuilt(chain, [Tx(2, [NULL_OUTPOINT], [script_sig], [0], [make_txout(0, b"\x51")], None, 2**32 - 1)])


@bad("bad-cb-height")
def another_height(chain: MiniChain) -> bytes:
    return rebuilt(chain, [coinbase_tx(chain.tip + 2, SUBSIDY)])


@bad("bad-cb-height")
def height_not_minimal(chain: MiniChain) -> bytes:
    height = chain.tip + 1
    script_sig = b"\x02" + height.to_bytes(2, "little")
    return rebuilt(chain, [Tx(2, [NULL_OUTPOINT], [script_sig], [0], [make_txout(0, b"\x51")])])


@bad("unexpected-witness")
def witness_without_commitment(chain: MiniChain) -> bytes:
    return chain.template(with_witness(chain.coinbases[1]), commit=False).build()


@bad("bad-witness-nonce-size")
def commitment_without_nonce(chain: MiniChain) -> bytes:
    txouts = [make_txout(SUBSIDY, b"\x51"), make_txout(0, COMMITMENT_PREFIX + witness_commitment([]))]
    return rebuilt(chain, [spend(NULL_OUTPOINT, value=0, script_sigs=[push_number(chain.tip + 1)], txouts=txouts)])


def commitment_with(chain: MiniChain, stack: list[bytes], commitment: bytes | None = None) -> bytes:
    script = COMMITMENT_PREFIX + (commitment or witness_commitment([]))
    txouts = [make_txout(SUBSIDY, b"\x51"), make_txout(0, script)]
    script_sig = push_number(chain.tip + 1)
    return rebuilt(chain, [spend(NULL_OUTPOINT, value=0, script_sigs=[script_sig], txouts=txouts, witnesses=[stack])])


@bad("bad-witness-nonce-size")
def nonce_of_31_bytes(chain: MiniChain) -> bytes:
    return commitment_with(chain, [bytes(31)])


@bad("bad-witness-nonce-size")
def two_nonces(chain: MiniChain) -> bytes:
    return commitment_with(chain, [bytes(32), bytes(32)])


@bad("bad-witness-merkle-match")
def wrong_commitment(chain: MiniChain) -> bytes:
    return commitment_with(chain, [bytes(32)], bytes(31) + b"\x07")


@bad("bad-witness-merkle-match")
def last_commitment_counts(chain: MiniChain) -> bytes:
    good = make_txout(0, COMMITMENT_PREFIX + witness_commitment([]))
    wrong = make_txout(0, COMMITMENT_PREFIX + bytes(32) + b"\x51")
    script_sig = push_number(chain.tip + 1)
    return rebuilt(
        chain,
        [spend(NULL_OUTPOINT, value=0, script_sigs=[script_sig], txouts=[good, wrong], witnesses=[[bytes(32)]])],
    )


@bad("bad-blk-weight")
def weight_above_four_million(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[1], value=0, witnesses=[[bytes(4_000_000)]])
    return chain.template(tx).build()


# -- the block on the coins ----------------------------------------------------------------------------------------


@bad("bad-txns-inputs-missingorspent")
def unknown_coin(chain: MiniChain) -> bytes:
    return chain.template(spend(b"\x01" * 36, value=0)).build()


@bad("bad-txns-inputs-missingorspent")
def spent_twice_in_the_block_cve_2018_17144(chain: MiniChain) -> bytes:
    first, second = (spend(chain.coinbases[1], value=value) for value in (1, 2))
    return rebuilt(chain, [coinbase(chain), first, second])


@bad("bad-txns-inputs-missingorspent")
def made_in_the_block_and_spent_twice(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    rest = [spend(first.txid + bytes(4), value=value) for value in (1, 2)]
    return rebuilt(chain, [coinbase(chain), first, *rest])


@bad("bad-txns-inputs-missingorspent")
def spent_before_it_is_made(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    return rebuilt(chain, [coinbase(chain), spend(first.txid + bytes(4), value=1), first])


@bad("bad-txns-inputs-missingorspent")
def output_number_that_is_not_there(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    return rebuilt(chain, [coinbase(chain), first, spend(first.txid + b"\x01\0\0\0", value=1)])


@bad("bad-txns-inputs-missingorspent")
def unspendable_output(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x6a")
    return rebuilt(chain, [coinbase(chain), first, spend(first.txid + bytes(4), value=1)])


@bad("bad-txns-inputs-missingorspent")
def output_with_a_script_of_10001_bytes(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x51" * 10_001)
    return rebuilt(chain, [coinbase(chain), first, spend(first.txid + bytes(4), value=1)])


@bad("bad-txns-inputs-missingorspent")
def genesis_coinbase(chain: MiniChain) -> bytes:
    genesis = parse_block(chain.params.genesis_block)
    return rebuilt(chain, [coinbase(chain), spend(genesis.txids[0] + bytes(4), value=1)])


@bad("bad-txns-premature-spend-of-coinbase")
def coinbase_of_depth_99(chain: MiniChain) -> bytes:
    return chain.template(spend(chain.coinbases[chain.tip + 1 - 99], value=0)).build()


@bad("bad-txns-premature-spend-of-coinbase")
def coinbase_of_the_same_block(chain: MiniChain) -> bytes:
    own = coinbase(chain)
    return rebuilt(chain, [own, spend(own.txid + bytes(4), value=0)])


@bad("bad-txns-in-belowout")
def more_out_than_in(chain: MiniChain) -> bytes:
    return chain.template(spend(chain.coinbases[1], value=SUBSIDY + 1)).build()


@bad("bad-txns-premature-spend-of-coinbase")
def premature_before_below_out(chain: MiniChain) -> bytes:
    return chain.template(spend(chain.coinbases[1], chain.coinbases[100], value=MAX_MONEY)).build()


@bad("bad-txns-nonfinal")
def bip68_by_height(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[11], value=SUBSIDY, sequences=[101])
    return chain.template(tx).build()


@bad("bad-txns-nonfinal")
def bip68_by_time(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[11], value=SUBSIDY, sequences=[1 << 22 | 0xFFFF])
    return chain.template(tx).build()


@bad("bad-txns-nonfinal")
def bip68_version_is_unsigned_cve_2024_34478(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[11], value=SUBSIDY, sequences=[101], version=0xFFFFFFFF)
    return chain.template(tx).build()


@bad("bad-txns-nonfinal")
def bip68_in_the_block_that_makes_the_coin(chain: MiniChain) -> bytes:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    return chain.template(first, spend(first.txid + bytes(4), value=0, sequences=[1])).build()


@bad("bad-txns-nonfinal")
def bip68_on_the_second_of_two_inputs(chain: MiniChain) -> bytes:
    tx = spend(chain.coinbases[1], chain.coinbases[11], value=0, sequences=[SEQUENCE_FINAL, 101])
    return chain.template(tx).build()


def p2sh_multisig_spends(chain: MiniChain, inputs: int) -> list[Tx]:
    """A funding transaction and one that spends ``inputs`` P2SH outputs of 15 times 20 sigops each."""
    redeem = b"\xae" * 15 + b"\x51"
    script = b"\xa9\x14" + hash160(redeem) + b"\x87"
    fund = spend(chain.coinbases[1], value=0, txouts=[make_txout(1, script)] * inputs)
    script_sig = bytes((len(redeem),)) + redeem
    prevouts = [fund.txid + vout.to_bytes(4, "little") for vout in range(inputs)]
    return [fund, spend(*prevouts, value=0, script_sigs=[script_sig] * inputs)]


@bad("bad-blk-sigops")
def p2sh_sigops(chain: MiniChain) -> bytes:
    return chain.template(*p2sh_multisig_spends(chain, 67)).build()


@bad("bad-blk-sigops")
def sigops_before_a_later_missing_coin(chain: MiniChain) -> bytes:
    return chain.template(*p2sh_multisig_spends(chain, 67), spend(b"\x01" * 36, value=0)).build()


@bad("bad-txns-inputs-missingorspent")
def missing_coin_before_later_sigops(chain: MiniChain) -> bytes:
    return chain.template(spend(b"\x01" * 36, value=0), *p2sh_multisig_spends(chain, 67)).build()


@bad("bad-blk-sigops")
def witness_sigops(chain: MiniChain) -> bytes:
    script = b"\xae" * 4001
    output = b"\x00\x20" + sha256(script).digest()
    fund = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=output)
    return chain.template(fund, spend(fund.txid + bytes(4), value=0, witnesses=[[script]])).build()


@bad("bad-cb-amount")
def one_satoshi_too_much(chain: MiniChain) -> bytes:
    return chain.template(coinbase_value=SUBSIDY + 1).build()


@bad("bad-cb-amount")
def amount_comes_before_scripts(chain: MiniChain) -> bytes:
    false = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x00")
    tx = spend(false.txid + bytes(4), value=0)
    return chain.template(false, tx, coinbase_value=2 * SUBSIDY + 1).build()


@bad(
    "block-script-verify-flag-failed (Script evaluated without error but finished with a false/empty top stack element)"
)
def script_false(chain: MiniChain) -> bytes:
    false = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x00")
    return chain.template(false, spend(false.txid + bytes(4), value=0)).build()
