"""Blocks that this node makes hold to the rules it checks."""

from __future__ import annotations

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.commitment import witness_commitment
from btcnode.consensus.deployments import VersionBits
from btcnode.mining.assembler import assemble, grind, minimum_time, with_coinbase_witness
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.tx import Tx

NOW = 1_700_000_000
SPEND = Tx(2, [b"\x11" * 36], [b""], [0], [(1000).to_bytes(8, "little") + b"\x01\x51"], [[b"x"]])


@pytest.mark.parametrize("overrides", [{}, {"segwit": 100, "bip34": 100}])
def test_blocks_pass_the_checks(overrides: dict[str, int]) -> None:
    params = params_for("regtest", activation_overrides=overrides or None)
    tree = HeaderTree(params)
    bits = VersionBits(params, tree)
    tip = 0
    for height in range(1, 40):
        txs = [SPEND] if height % 3 == 0 and not overrides else []
        candidate = assemble(tree, tip, params, bits, NOW + height // 5, b"\x51", txs)
        header, _ = grind(candidate.header, 1000)
        assert header is not None
        block = parse_block(candidate.with_header(header))
        check_block(block, params)
        tip, new = tree.add(header, NOW + 100)
        assert new
        contextual_check_block(block, tree, tree.prev(tip), params)
        assert block.n_tx == 1 + len(txs)
        assert block.tx(0).has_witness is (not overrides)
        assert witness_commitment(block) is not None  # before segwit too, as in Core's blocks


def test_time_is_after_the_median_and_honours_bip94() -> None:
    params = params_for("regtest")
    tree = HeaderTree(params)
    bits = VersionBits(params, tree)
    tip = 0
    for _ in range(params.difficulty_adjustment_interval - 1):
        header, _ = grind(assemble(tree, tip, params, bits, NOW, b"\x51").header, 1000)
        assert header is not None
        tip, _ = tree.add(header, NOW + 7200)
    assert minimum_time(tree, tip, params) == max(tree.median_time_past(tip) + 1, tree.time(tip) - 600)
    assert int.from_bytes(
        assemble(tree, tip, params, bits, 0, b"\x51").header[68:72], "little"
    ) > tree.median_time_past(tip)


def test_grind_gives_up() -> None:
    params = params_for("mainnet")
    tree = HeaderTree(params)
    header = assemble(tree, 0, params, VersionBits(params, tree), NOW, b"\x51").header
    assert grind(header, 10) == (None, 10)


def test_only_hashes_that_failed_are_counted() -> None:
    params = params_for("regtest")
    tree = HeaderTree(params)
    for now in range(NOW, NOW + 20):
        header = assemble(tree, 0, params, VersionBits(params, tree), now, b"\x51").header
        solved, tries = grind(header, 100)
        assert solved is not None
        assert int.from_bytes(solved[76:], "little") == tries
        assert grind(header, tries) == (None, tries)  # a hash is only taken while there are tries left
        assert grind(header, tries + 1) == (solved, tries)
        assert grind(header, 100, tries) == (solved, 0)


def test_missing_coinbase_witness_is_filled_in() -> None:
    params = params_for("regtest")
    tree = HeaderTree(params)
    candidate = assemble(tree, 0, params, VersionBits(params, tree), NOW, b"\x51", [SPEND])
    whole = candidate.with_header(candidate.header)
    bare = candidate.header + b"\x02" + candidate.txs[0].stripped() + SPEND.raw
    assert with_coinbase_witness(parse_block(bare)) == whole
    assert with_coinbase_witness(parse_block(whole)) == whole
    genesis = params.genesis_block
    assert with_coinbase_witness(parse_block(genesis)) == genesis
