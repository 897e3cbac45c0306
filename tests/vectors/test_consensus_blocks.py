"""Real blocks through every block rule and, where their spent outputs are known, onto coins and off again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.commitment import witness_commitment
from btcnode.consensus.connect import connect_block, connect_context, disconnect_block
from btcnode.consensus.headers import contextual_check_header
from btcnode.consensus.sigops import transaction_sigop_cost
from btcnode.consensus.subsidy import block_subsidy
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_value
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.testing.blocks import push_number
from tests.lib.ancestry import ListAncestry
from tests.lib.coins import DictCoins
from tests.lib.real_blocks import (
    PointAncestry,
    RealBlock,
    block_with_undo,
    bz2_blocks,
    context,
    floresta_block,
    framed_blocks,
    outside_coins,
    raito_block,
)

MAINNET = params_for("mainnet")
TESTNET3 = params_for("testnet3")
SIGNET = params_for("signet")

RAITO = (169, 2015, 24834, 32255, 32635, 57042, 72575, 91721, 116927, 150012, 209999, 255017, 403199, 478557,
         757738, 757752)  # fmt: skip
BCOIN_TESTNET3 = (1087400, 928816, 928828, 928831, 928848, 928849, 928927)
BCOIN = (("block300025", 300025, MAINNET), *((f"block{height}", height, TESTNET3) for height in BCOIN_TESTNET3))


def connect(block: RealBlock, params: NetworkParams, *, with_times: bool) -> tuple[ParsedBlock, int]:
    """All rules for one block; the coins come out right, go back right, and the coinbase takes what it may."""
    parsed = parse_block(block.raw)
    check_block(parsed, params)
    tree = PointAncestry(block.height - 1, mtp=block.prev_mtp or int.from_bytes(block.raw[68:72], "little"))
    contextual_check_block(parsed, tree, block.height - 1, params)
    ctx = context(block, parsed, params)
    if not with_times:
        ctx = dataclasses.replace(ctx, csv_active=False)
    before = outside_coins(block, parsed)
    coins = DictCoins(before)
    delta = connect_block(parsed, block.height, coins, ctx)
    # fees once more, from the columns
    spent = sum(coin_value(entry.coin) for entry in block.spent)
    made = sum(int.from_bytes(block.raw[p : p + 8], "little") for p in parsed.out_pos[parsed.first_out[1] :])
    assert delta.fees == spent - made
    assert [len(inputs) for inputs in delta.undo] == [
        parsed.first_in[i + 1] - parsed.first_in[i] for i in range(1, parsed.n_tx)
    ]
    for job, inputs in zip(delta.jobs, delta.undo, strict=True):
        assert job.spent == [coin[4:] for coin in inputs]
    assert b"".join(job.raw_tx for job in delta.jobs) == block.raw[parsed.tx_pos[1] :]
    assert delta.spent == before
    cost = 0
    for i in range(parsed.n_tx):
        cost += transaction_sigop_cost(parsed.tx(i), delta.undo[i - 1] if i else [b""], ctx.flags)
    assert delta.sigop_cost == cost
    coins.apply(delta)
    undone = disconnect_block(parsed, block.height, delta.undo, coins)
    assert undone.clean
    coins.revert(undone)
    assert coins.coins == before
    return parsed, delta.fees


@pytest.mark.parametrize("height", RAITO)
def test_raito(vectors: Path, height: int) -> None:
    block = raito_block(vectors / f"raito/full_{height}.json")
    parsed, _ = connect(block, MAINNET, with_times=True)
    assert parsed.hash[::-1].hex() == block.expected["best_block_hash"]
    stored = vectors / f"raito/raw/block{block.height}.raw"
    assert stored.read_bytes() == block.raw


@pytest.mark.parametrize(
    ("height", "inputs", "relative"),
    [(367891, 20817, 0), (866342, 7972, 453)],
)
def test_floresta_with_ages(vectors: Path, height: int, inputs: int, relative: int) -> None:
    block = floresta_block(vectors, height)
    # the parent's median time past is not told; the coins made in the parent have been made at most then
    block.prev_mtp = int.from_bytes(block.raw[68:72], "little") - 600
    parsed, fees = connect(block, MAINNET, with_times=True)
    assert len(block.spent) == inputs
    locked = 0
    for i in range(1, parsed.n_tx):
        tx = parsed.tx(i)
        locked += sum(tx.version >= 2 and not sequence >> 31 for sequence in tx.sequences)
    assert locked == relative
    coinbase = sum(int.from_bytes(txout[:8], "little") for txout in parsed.tx(0).txouts)
    assert coinbase == fees + block_subsidy(height, MAINNET)


def test_floresta_block_is_refused_below_its_tightest_relative_lock(vectors: Path) -> None:
    block = floresta_block(vectors, 866342)
    block.prev_mtp = int.from_bytes(block.raw[68:72], "little") - 600
    parsed = parse_block(block.raw)
    ages = iter(block.spent)
    lowest = 0
    for i in range(1, parsed.n_tx):
        tx = parsed.tx(i)
        for sequence in tx.sequences:
            spent = next(ages)
            if tx.version >= 2 and not sequence & (1 << 31 | 1 << 22):
                lowest = max(lowest, spent.height + (sequence & 0xFFFF))
    assert 866000 < lowest <= 866342
    ctx = context(block, parsed, MAINNET)
    connect_block(parsed, max(lowest, 866342), DictCoins(outside_coins(block, parsed)), ctx)
    with pytest.raises(RuleViolation, match="bad-txns-nonfinal"):
        connect_block(parsed, lowest - 1, DictCoins(outside_coins(block, parsed)), ctx)


@pytest.mark.parametrize(("name", "height", "params"), BCOIN, ids=[row[0] for row in BCOIN])
def test_bcoin(vectors: Path, name: str, height: int, params: NetworkParams) -> None:
    connect(block_with_undo(vectors / f"bcoin/{name}.raw", height), params, with_times=False)


def test_btcd_277647(vectors: Path) -> None:
    connect(block_with_undo(vectors / "btcd/block277647.raw", 277647), MAINNET, with_times=False)


def connect_chain(raws: list[bytes], params: NetworkParams, *, maturity: int | None = None) -> tuple[DictCoins, int]:
    """Connect blocks from height 1 on genesis, then disconnect all of them."""
    tree = ListAncestry()
    tree.append(params.genesis_block)
    coins = DictCoins()
    history = []
    inputs = 0
    for raw in raws:
        block = parse_block(raw)
        prev, height = len(tree) - 1, len(tree)
        contextual_check_header(raw, tree, prev, 2**40, params)
        check_block(block, params)
        contextual_check_block(block, tree, prev, params)
        delta = connect_block(block, height, coins, connect_context(tree, prev, block.hash, params))
        history.append((block, height, delta.undo, dict(coins.coins)))
        coins.apply(delta)
        tree.append(raw)
        inputs += len(block.in_pos) - 1
    final = DictCoins(coins.coins)
    for block, height, undo, before in reversed(history):
        undone = disconnect_block(block, height, undo, coins)
        assert undone.clean
        coins.revert(undone)
        assert coins.coins == before
    assert not coins.coins
    return final, inputs


def test_mainnet_0_to_599(vectors: Path) -> None:
    raws = [
        raw
        for name in ("blk00000.dat", "blk00001.dat")
        for raw in framed_blocks((vectors / "nbitcoin" / name).read_bytes())
    ]
    assert raws[0] == MAINNET.genesis_block
    final, inputs = connect_chain(raws[1:], MAINNET)
    assert (len(raws), inputs) == (600, 25)
    assert sum(map(coin_value, final.coins.values())) == 599 * 50 * 10**8


def test_btcd_mainnet_1_to_255(vectors: Path) -> None:
    raws = bz2_blocks(vectors / "btcd/blocks1-256.bz2")
    assert len(raws) == 255
    connect_chain(raws, MAINNET)


def test_signet_0_to_120_with_block_signatures(vectors: Path) -> None:
    rows = json.loads((vectors / "floresta/signet_blocks_0_120.json").read_text())
    raws = [bytes.fromhex(row["block"]) for row in sorted(rows, key=lambda row: row["height"])]
    assert raws[0] == SIGNET.genesis_block
    connect_chain(raws[1:], SIGNET)
    assert len(raws) == 121


def test_signet_31500_and_its_solution(vectors: Path) -> None:
    row = json.loads((vectors / "electrumx/block_bitcoin_signet_31500.json").read_text())
    check_block(parse_block(bytes.fromhex(row["block"])), SIGNET)
    other = params_for("signet", signet_challenge=b"\x51\x87")
    with pytest.raises(RuleViolation, match="bad-signet-blksig"):
        check_block(parse_block(bytes.fromhex(row["block"])), other)


@pytest.mark.parametrize(
    ("path", "count", "spends"),
    [("py-bitcoinkernel/regtest_blocks.txt", 206, 26), ("floresta/regtest_blocks.txt", 150, 0)],
)
def test_regtest_chains(vectors: Path, path: str, count: int, spends: int) -> None:
    params = params_for("regtest")
    raws = [bytes.fromhex(line) for line in (vectors / path).read_text().split()]
    if raws[0] == params.genesis_block:
        raws = raws[1:]
    assert len(raws) == count
    assert connect_chain(raws, params)[1] == spends


def test_alternative_mainnet_of_2016_blocks(vectors: Path) -> None:
    data = json.loads((vectors / "core/functional/mainnet_alt.json").read_text())
    tree = ListAncestry()
    tree.append(MAINNET.genesis_block)
    script = bytes.fromhex("76a914eadbac7f36c37e39361168b7aaee3cb24a25312d88ac")
    for height, (time, nonce) in enumerate(zip(data["timestamps"], data["nonces"], strict=True), 1):
        script_sig = push_number(height) + (b"\x00" if height <= 16 else b"")
        coinbase = b"".join(
            (
                b"\x02\0\0\0\x01", bytes(32), b"\xff" * 4, compact_size(len(script_sig)), script_sig, b"\xff" * 4,
                b"\x01", (50 * 10**8).to_bytes(8, "little"), compact_size(len(script)), script, bytes(4),
            )
        )  # fmt: skip
        bits = 0x1D00FFFF if height < 2016 else 0x1C3FFFC0
        header = b"".join(
            (
                (0x20000000).to_bytes(4, "little"), tree.hash(height - 1), sha256d(coinbase),
                time.to_bytes(4, "little"), bits.to_bytes(4, "little"), nonce.to_bytes(4, "little"),
            )
        )  # fmt: skip
        block = parse_block(header + b"\x01" + coinbase)
        contextual_check_header(header, tree, height - 1, 2**40, MAINNET)
        check_block(block, MAINNET)
        contextual_check_block(block, tree, height - 1, MAINNET)
        tree.append(header)
    assert tree.hash(2016)[::-1].hex() == "000000000c806553811fd3e6c40bc9c279db53643da7d3b401a9882c074c24b2"


CKB = (830000, *range(831328, 831336))
SINGLE = (
    ("bitcoinj/block169482.dat", 169482, MAINNET),
    ("bitcoinj/block227835.dat", 227835, MAINNET),
    ("bitcoinj/block227836.dat", 227836, MAINNET),
    ("bitcoinj/block363703.dat", 363703, MAINNET),
    ("bitcoinj/block370661.dat", 370661, MAINNET),
    ("bitcoinj/block383616.dat", 383616, MAINNET),
    ("bitcoinj/block481815.dat", 481815, MAINNET),
    ("bitcoinj/block481829.dat", 481829, MAINNET),
    ("bitcoinj/block_testnet32768.dat", 32768, TESTNET3),
    ("bitcoinj/block_testnet700000.dat", 700000, TESTNET3),
    ("core/block413567.raw", 413567, MAINNET),
    (
        "rust-bitcoin/mainnet_block_000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae.raw",
        702861,
        MAINNET,
    ),
    (
        "rust-bitcoin/testnet_block_000000000000045e0b1660b6445b5e5c5ab63c9a4f956be7e1e69be04fa4497b.raw",
        924634,
        TESTNET3,
    ),
    ("electrs/000000000000000002d249a3d89f63ef3fee203adcca7c24008c13fd854513f2.raw", 437303, MAINNET),
    ("electrs/00000000000000001203c1ea455e38612bdf36e9967fdead11935c8e22283ecc.raw", 333961, MAINNET),
    ("bitcoin-kmp/block1.dat", 252860, MAINNET),
    ("bcoin/block1.raw", 1, MAINNET),
    ("bcoin/block426884.raw", 426884, MAINNET),
    ("bcoin/block482683.raw", 482683, MAINNET),
    ("bcoin/block898352.raw", 898352, TESTNET3),
    ("bitcoin-ruby/rawblock-131025.bin", 131025, MAINNET),
    ("bitcoin-ruby/rawblock-testnet-265322.bin", 265322, TESTNET3),
    (
        "bitcoin-ruby/block-testnet-0000000000ac85bb2530a05a4214a387e6be02b22d3348abc5e7a5d9c4ce8dab.bin",
        54503,
        TESTNET3,
    ),
    *((f"ckb-bitcoin-spv-testdata/blocks/0{height}.bin", height, MAINNET) for height in CKB),
)


@pytest.mark.parametrize(("path", "height", "params"), SINGLE, ids=[str(row[1]) for row in SINGLE])
def test_single_blocks_pass_all_rules_but_those_of_coins(
    vectors: Path, path: str, height: int, params: NetworkParams
) -> None:
    block = parse_block((vectors / path).read_bytes())
    check_block(block, params)
    tree = PointAncestry(height - 1, mtp=int.from_bytes(block.raw[68:72], "little"))
    contextual_check_block(block, tree, height - 1, params)


def test_witness_rules_depend_on_activation(vectors: Path) -> None:
    segwit_from_start = dataclasses.replace(MAINNET, segwit_height=0)
    no_segwit = dataclasses.replace(MAINNET, segwit_height=2**31 - 1)
    before = parse_block((vectors / "bitcoinj/block481815.dat").read_bytes())
    assert witness_commitment(before) is not None  # a commitment without a nonce means nothing before activation
    with pytest.raises(RuleViolation, match="bad-witness-nonce-size"):
        contextual_check_block(before, PointAncestry(481814, mtp=2**31), 481814, segwit_from_start)
    after = parse_block((vectors / "bitcoinj/block481829.dat").read_bytes())
    with pytest.raises(RuleViolation, match="unexpected-witness"):
        contextual_check_block(after, PointAncestry(481828, mtp=2**31), 481828, no_segwit)


def test_scripts_above_10000_bytes_make_no_coins(vectors: Path) -> None:
    name = "block-testnet-0000000000ac85bb2530a05a4214a387e6be02b22d3348abc5e7a5d9c4ce8dab.bin"
    block = parse_block((vectors / "bitcoin-ruby" / name).read_bytes())
    sizes = sorted(len(out.script_pubkey) for i in range(block.n_tx) for out in block.tx(i).outputs)
    assert [size for size in sizes if size > 10_000] == [10_001, 10_002, 20_002]
    made = set(block.txids)
    outside = {
        op: bytes(4) + (10**12).to_bytes(8, "little") + b"\0" for op in block.prevouts()[1:] if op[:32] not in made
    }
    ctx = context(RealBlock("", 54503, block.raw, []), block, TESTNET3)
    ctx = dataclasses.replace(ctx, subsidy=10**15)
    delta = connect_block(block, 54503, DictCoins(outside), ctx)
    inside = sum(op[:32] in made for op in block.prevouts()[1:])
    assert len(delta.created) == len(sizes) - 3 - inside


def test_blk_4a_side_chain_is_premature_on_mainnet(vectors: Path) -> None:
    """btcd's reorganisation chain spends coinbases at age 1, which a maturity of 100 forbids."""
    raws = bz2_blocks(vectors / "btcd/blk_0_to_4.dat.bz2")
    tree = ListAncestry()
    tree.append(raws[0])
    coins = DictCoins()
    codes = []
    for height, raw in enumerate(raws[1:], 1):
        block = parse_block(raw)
        check_block(block, MAINNET)
        try:
            delta = connect_block(block, height, coins, connect_context(tree, height - 1, block.hash, MAINNET))
        except RuleViolation as violation:
            codes.append(violation.code)
            break
        coins.apply(delta)
        tree.append(raw)
    assert codes == ["bad-txns-premature-spend-of-coinbase"]
