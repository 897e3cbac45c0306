"""Real header chains through every header rule."""

from __future__ import annotations

import base64
import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from btcnode.consensus.headers import check_header, contextual_check_header
from btcnode.consensus.pow import (
    bits_to_target,
    block_work,
    next_bits,
    permitted_transition,
    retarget,
    target_to_bits,
)
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import Header
from tests.lib.ancestry import ListAncestry
from tests.lib.real_blocks import PointAncestry, raito_header

FAR_FUTURE = 2**40
PERIOD = 2016


def check_chain(
    data: bytes, params: NetworkParams, first_height: int = 0, first_work: int | None = None
) -> ListAncestry:
    """Every header but the first through both checks; returns the tree."""
    assert len(data) % 80 == 0
    tree = ListAncestry(first_height, first_work)
    tree.append(data[:80])
    for at in range(80, len(data), 80):
        raw = data[at : at + 80]
        prev = len(tree) - 1
        assert raw[4:36] == tree.hash(prev)
        check_header(raw, params)
        contextual_check_header(raw, tree, prev, FAR_FUTURE, params)
        tree.append(raw)
    return tree


def test_mainnet_headers_0_to_10236(vectors: Path) -> None:
    params = params_for("mainnet")
    data = (vectors / "floresta/headers_mainnet_0_10236.bin").read_bytes()
    assert data[:80] == params.genesis_block[:80]
    tree = check_chain(data, params)
    assert len(tree) == 10237
    assert to_display(tree.hash(10236)) == "000000004f74d42205b9d7ae1cb5c1591e723894a71358fce73b7e0919628161"


def test_testnet3_headers_0_to_9999_with_the_20_minute_rule(vectors: Path) -> None:
    params = params_for("testnet3")
    data = (vectors / "veriblock/headers_testnet3_0_9999.bin").read_bytes()
    assert data[:80] == params.genesis_block[:80]
    tree = check_chain(data, params)
    bits = [tree.bits(i) for i in range(len(tree))]
    assert len(bits) == 10000
    assert len(set(bits)) == 3
    assert bits[4032:].count(params.pow_limit_bits) == 177


def test_signet_headers_0_to_2015(vectors: Path) -> None:
    params = params_for("signet")
    data = (vectors / "floresta/headers_signet_0_2015.bin").read_bytes()
    assert data[:80] == params.genesis_block[:80]
    assert len(check_chain(data, params)) == 2016


def chainwork_table(vectors: Path) -> dict[int, int]:
    with (vectors / "ckb-bitcoin-spv-testdata/chainwork.csv").open() as file:
        return {int(height): int(work, 16) for height, work in csv.reader(file)}


def test_mainnet_headers_822528_to_830592_and_their_chainwork(vectors: Path) -> None:
    data = (vectors / "ckb-bitcoin-spv-testdata/headers_822528_830592.bin").read_bytes()
    table = chainwork_table(vectors)
    tree = check_chain(data, params_for("mainnet"), 822528, table[822528])
    assert len(tree) == 8065
    compared = [height for height in table if 822528 <= height <= 830592]
    assert len(compared) == 9
    for height in compared:
        assert tree.chainwork(height - 822528) == table[height]
    assert len({tree.bits(i) for i in range(len(tree))}) == 5


def test_every_wrong_bit_in_a_real_header_is_noticed(vectors: Path) -> None:
    params = params_for("mainnet")
    raw = (vectors / "floresta/headers_mainnet_0_10236.bin").read_bytes()[80 * 5000 : 80 * 5001]
    check_header(raw, params)
    for bit in range(640):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RuleViolation) as caught:
            check_header(bytes(flipped), params)
        assert (caught.value.code, caught.value.fault) == ("high-hash", Fault.INVALID_HEADER)


def test_target_history_moves_only_at_periods_and_within_bounds(vectors: Path) -> None:
    params = params_for("mainnet")
    with (vectors / "nbitcoin/targethistory.csv").open(newline="") as file:
        rows = [(int(height), int(target)) for height, target in csv.reader(file)]
    assert len(rows) == 2114
    changes = 0
    for (_, old), (height, new) in pairwise(rows):
        old_bits, new_bits = target_to_bits(old), target_to_bits(new)
        assert bits_to_target(new_bits) == new
        boundary = height - height % PERIOD
        if height - boundary < 144:
            assert permitted_transition(params, boundary, old_bits, new_bits)
            changes += old != new
        else:
            assert old == new
    assert changes > 100


@pytest.mark.parametrize(("network", "periods"), [("mainnet", 473)])
def test_electrum_checkpoints_are_permitted_transitions(vectors: Path, network: str, periods: int) -> None:
    params = params_for(network)
    rows = json.loads((vectors / f"electrum/checkpoints_{network}.json").read_text())
    assert len(rows) == periods
    for number, ((_, old), (_, new)) in enumerate(pairwise(rows), 2):
        assert permitted_transition(params, number * PERIOD, target_to_bits(old), target_to_bits(new))
        assert not permitted_transition(params, number * PERIOD, target_to_bits(old), target_to_bits(new // 17))


@pytest.mark.parametrize(("network", "name"), [("mainnet", "production"), ("signet", "signet")])
def test_work_between_bitcoinj_checkpoints(vectors: Path, network: str, name: str) -> None:
    params = params_for(network)
    lines = (vectors / f"bitcoinj/org.bitcoin.{name}.checkpoints.txt").read_text().split()
    records = [base64.b64decode(line + "=" * (-len(line) % 4)) for line in lines if len(line) == 128]
    assert len(records) > 100
    previous: tuple[int, int, Header] | None = None
    compared = 0
    for record in records:
        work, height = int.from_bytes(record[:12], "big"), int.from_bytes(record[12:16], "big")
        check_header(record[16:], params)
        header = Header.parse(record[16:])
        if previous is not None and height == previous[1] + PERIOD:
            before_work, _, before = previous
            assert permitted_transition(params, height, before.bits, header.bits)
            assert work - before_work == (PERIOD - 1) * block_work(before.bits) + block_work(header.bits)
            compared += 1
        previous = work, height, header
    assert compared > 100


def raito_files() -> list[str]:
    heights = (
        169, 2015, 24834, 32255, 57042, 72575, 91721, 116927, 150012, 209999, 403199, 478557, 481823, 489888, 491406,
        629999, 709631, 757738, 757752, 774627, 839999,
    )  # fmt: skip
    return [f"light_{height}.json" for height in heights]


@pytest.mark.parametrize("name", raito_files())
def test_raito_header_steps(vectors: Path, name: str) -> None:
    data: dict[str, Any] = json.loads((vectors / "raito" / name).read_text())
    params = params_for("mainnet")
    state, expected, (block,) = data["chain_state"], data["expected"], data["blocks"]
    tip = state["block_height"]
    raw = raito_header(state, block["header"], bytes.fromhex(block["data"]["merkle_root"])[::-1])
    assert to_display(check_header(raw, params)) == expected["best_block_hash"]
    times = state["prev_timestamps"]
    tree = PointAncestry(
        tip,
        mtp=sorted(times)[len(times) // 2],
        bits=target_to_bits(int(state["current_target"])),
        times={tip: times[-1], tip - tip % PERIOD: state["epoch_start_time"]},
    )
    contextual_check_header(raw, tree, tip, FAR_FUTURE, params)
    assert next_bits(tree, tip, 0, params) == target_to_bits(int(expected["current_target"]))
    assert int(state["total_work"]) + block_work(Header.parse(raw).bits) == int(expected["total_work"])


def test_testnet3_fork_headers(vectors: Path) -> None:
    params = params_for("testnet3")
    lines = (vectors / "core/functional/blockheader_testnet3.hex").read_text().split("\n")
    main = [bytes.fromhex(line) for line in lines if line and not line.startswith(("fork:", "#"))]
    fork = [bytes.fromhex(line.removeprefix("fork:")) for line in lines if line.startswith("fork:")]
    assert (len(main), len(fork)) == (546, 2)
    tree = check_chain(b"".join((params.genesis_block[:80], *main)), params)
    prev = 0
    for raw in fork:
        contextual_check_header(raw, tree, prev, FAR_FUTURE, params)
        check_header(raw, params)
        prev = tree.append(raw, prev)
    assert tree.height(prev) == 2
    assert tree.ancestor(prev, 0) == 0
    assert tree.ancestor(prev, 1) != tree.ancestor(546, 1)


def test_alternative_mainnet_retargets_by_the_largest_factor() -> None:
    params = params_for("mainnet")
    assert retarget(0x1D00FFFF, 1, params) == 0x1C3FFFC0
    assert permitted_transition(params, PERIOD, 0x1D00FFFF, 0x1C3FFFC0)
    assert not permitted_transition(params, PERIOD, 0x1D00FFFF, 0x1C3FFFBF)
