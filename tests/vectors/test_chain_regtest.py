"""Chains and reorganisations of other implementations' test data, through the whole chainstate."""

from __future__ import annotations

import bz2
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.chain.store import ChainStore
from btcnode.consensus import connect, transactions
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import from_display, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash

NOW = 1_800_000_000


class Chains:
    """Opens chainstates and closes them at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.opened: list[Chainstate] = []

    def open(self, network: str = "regtest") -> Chainstate:
        params = params_for(network)
        state = Chainstate.open(params, ChainStore.open(self._directory / str(len(self.opened)), params))
        self.opened.append(state)
        return state


@pytest.fixture
def chains(tmp_path: Path) -> Iterator[Chains]:
    opened = Chains(tmp_path)
    yield opened
    for state in opened.opened:
        state.close()


def read_hex(path: Path) -> list[bytes]:
    return [bytes.fromhex(line) for line in path.read_text().split()]


def framed(path: Path) -> list[bytes]:
    """Blocks behind network magic and length."""
    data, blocks, p = bz2.decompress(path.read_bytes()), [], 0
    while p < len(data):
        size = int.from_bytes(data[p + 4 : p + 8], "little")
        blocks.append(data[p + 8 : p + 8 + size])
        p += 8 + size
    return blocks


def feed(state: Chainstate, blocks: list[bytes]) -> list[Any]:
    events: list[Any] = []
    for raw in blocks:
        events += state.process_block(raw, NOW)
    return events


def tip_hash(state: Chainstate) -> bytes:
    return state.tree.hash(state.tip)


def utxo_set(state: Chainstate) -> tuple[bytes | None, int, int]:
    state.flush()
    stats = state.store.coins.utxo_stats()
    return stats.hash, stats.txouts, stats.total_amount


def assert_tip_is(state: Chainstate, raw: bytes) -> None:
    assert tip_hash(state) == header_hash(raw[:HEADER_SIZE])


def assert_same_as_straight(chains: Chains, state: Chainstate, blocks: list[bytes]) -> None:
    """The coins after whatever happened are those of a node that has seen only the winning chain."""
    straight = chains.open(state.params.name)
    feed(straight, blocks)
    assert tip_hash(straight) == tip_hash(state)
    assert utxo_set(straight) == utxo_set(state)


def test_py_bitcoinkernel_chain(vectors: Path, chains: Chains) -> None:
    blocks = read_hex(vectors / "py-bitcoinkernel/regtest_blocks.txt")
    state = chains.open()
    events = feed(state, blocks)
    assert len(blocks) == 206 and state.tree.height(state.tip) == 206
    assert_tip_is(state, blocks[-1])
    connected = [event for event in events if isinstance(event, BlockConnected)]
    assert sum(event.inputs for event in connected) == 26
    assert sum(event.txs for event in connected) == 206 + 25  # one spends two coins


def test_floresta_chain(vectors: Path, chains: Chains) -> None:
    blocks = read_hex(vectors / "floresta/regtest_blocks.txt")
    state = chains.open()
    assert header_hash(blocks[0][:HEADER_SIZE]) == state.params.genesis_hash
    assert feed(state, blocks[:1]) == []  # known already
    feed(state, blocks[1:])
    assert state.tree.height(state.tip) == 150
    assert_tip_is(state, blocks[-1])


@pytest.mark.parametrize("order", ["first-then-second", "second-then-first", "in-turn"])
def test_floresta_reorganisation(vectors: Path, chains: Chains, order: str) -> None:
    data = json.loads((vectors / "floresta/test_reorg.json").read_text())
    short, long = ([bytes.fromhex(raw) for raw in side] for side in data)
    state = chains.open()
    if order == "in-turn":
        feed(state, short[:5])  # the common part
        ours, theirs = short[5:], list(long)
        while ours or theirs:
            feed(state, [side.pop(0) for side in (ours, theirs) if side])
    else:
        first, second = (short, long) if order == "first-then-second" else (short[:5] + long, short[5:])
        feed(state, first)
        events = feed(state, second)
        gone = sum(isinstance(event, BlockDisconnected) for event in events)
        assert gone == (5 if order == "first-then-second" else 0)
    assert state.tree.height(state.tip) == 16
    assert_tip_is(state, long[-1])
    assert_same_as_straight(chains, state, short[:5] + long)


def test_kernel_bindings_chain(vectors: Path, chains: Chains) -> None:
    """The steps of the conformance test as they stand, the calls that manage objects left out."""
    steps = json.loads((vectors / "kernel-bindings-tests/chain.json").read_text())["tests"]
    state = chains.open()
    named: dict[str, Any] = {}
    done = 0
    for step in steps:
        method, params = step["request"]["method"], step["request"]["params"]
        expected = step["expected_response"]["result"]
        ref = step["request"].get("ref", "")
        done += 1
        if method == "btck_block_create":
            named[ref] = bytes.fromhex(params["raw_block"])
        elif method == "btck_chainstate_manager_process_block":
            before = len(state.tree)
            state.process_block(named[params["block"]["ref"]], NOW)
            assert (len(state.tree) > before) is expected["new_block"]
        elif method == "btck_chain_get_height":
            assert state.tree.height(state.tip) == expected
        elif method == "btck_chain_get_by_height":
            named[ref] = state.active.at(params["block_height"])
        elif method == "btck_block_tree_entry_get_block_hash":
            assert to_display(state.tree.hash(named[params["block_tree_entry"]["ref"]])) == expected
        elif method == "btck_chain_contains":
            index = named[params["block_tree_entry"]["ref"]]
            assert (state.active.at(state.tree.height(index)) == index) is expected
        else:
            assert method.endswith(("_create", "_destroy", "_get_active_chain"))
            done -= 1
    assert done == 20


def test_core_getblockstats_chain(vectors: Path, chains: Chains) -> None:
    data = json.loads((vectors / "core/functional/rpc_getblockstats.json").read_text())
    blocks = [bytes.fromhex(raw) for raw in data["blocks"]]
    state = chains.open()
    connected = {event.height: event for event in feed(state, blocks) if isinstance(event, BlockConnected)}
    assert state.tree.height(state.tip) == len(blocks) - 1 == 103
    for stats in data["stats"]:
        event = connected[stats["height"]]
        assert state.tree.hash(event.index) == from_display(stats["blockhash"])
        assert state.tree.median_time_past(event.index) == stats["mediantime"]
        assert (event.txs, event.inputs, event.fees) == (stats["txs"], stats["ins"], stats["totalfee"])


def test_btcd_mainnet_blocks_1_to_255(vectors: Path, chains: Chains) -> None:
    blocks = framed(vectors / "btcd/blocks1-256.bz2")
    state = chains.open("mainnet")
    feed(state, blocks)
    assert state.tree.height(state.tip) == 255
    assert_tip_is(state, blocks[-1])


def test_btcd_reorganisation(vectors: Path, chains: Chains, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spends on both sides of a fork; made for a maturity of one block."""
    monkeypatch.setattr(connect, "COINBASE_MATURITY", 1)
    monkeypatch.setattr(transactions, "COINBASE_MATURITY", 1)
    trunk = framed(vectors / "btcd/blk_0_to_4.dat.bz2")[1:]
    side = [framed(vectors / f"btcd/blk_{name}.dat.bz2")[0] for name in ("3A", "4A", "5A")]
    state = chains.open("mainnet")
    feed(state, trunk)
    assert_tip_is(state, trunk[-1])
    feed(state, side[:2])
    assert_tip_is(state, trunk[-1])
    events = feed(state, side[2:])
    assert sum(isinstance(event, BlockDisconnected) for event in events) == 2
    assert_tip_is(state, side[-1])
    assert_same_as_straight(chains, state, trunk[:2] + side)
