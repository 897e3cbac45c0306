"""SwiftSync that verifies every script, with real processes: what blocks spend comes from peers of all kinds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_value, make_coin, txout_script
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.chain_generator import ChainGenerator
from tests.lib.hints import reference_hints
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, wait_until
from tests.lib.spent import spent_coins, tell
from tests.lib.swift_nodes import figures, name, run, write_hints

PARAMS = params_for("regtest")
ABOVE = 5  # blocks above the hints' one
DONE = "SwiftSync has brought the chain to height"
FAILED = "SwiftSync has failed"


@dataclass(frozen=True)
class World:
    """A chain, its hints, the coins that each block spends, and the UTXO set of a node that has synced as usual."""

    chain: list[bytes]
    hints: list[list[int]]
    coins: dict[BlockHash, list[bytes]]
    expected: dict[str, Any]

    def words(self, directory: Path) -> tuple[str, ...]:
        """Options of a full sync with the hints."""
        return (*write_hints(directory / "hints", self.hints), "--swiftsync-full")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(800), *(generator.busy(20) for _ in range(40))]
    coins = {header_hash(raw[:HEADER_SIZE]): spent for raw, spent in zip(chain, spent_coins(chain), strict=True)}
    folder = tmp_path_factory.mktemp("usual") / "node"
    with ChainServer.of_blocks(PARAMS, chain) as server, run(folder, server.address).start() as node:
        node.wait_height(len(chain))
        return World(chain, reference_hints(chain[: len(chain) - ABOVE]), coins, figures(node))


def server_of(chain: list[bytes], coins: dict[BlockHash, list[bytes]] | None) -> ChainServer:
    server = ChainServer.of_blocks(PARAMS, chain)
    if coins is not None:
        server.spent = {block_hash: tell(spent) for block_hash, spent in coins.items()}
    return server


@pytest.mark.parametrize("more", [(), ("--par", "1"), ("--prune", "1"), ("--swiftsync-validate",)])
def test_between_two_nodes(tmp_path: Path, world: World, more: tuple[str, ...]) -> None:
    (tmp_path / "archive").mkdir()
    archive = NodeProcess(tmp_path / "archive", "regtest", "--peerblockinputs")
    words = (*world.words(tmp_path), *more)
    with ChainServer.of_blocks(PARAMS, world.chain) as server, archive.start("--connect", server.address):
        archive.wait_height(len(world.chain))
        assert "BLOCK_UNDO" in archive.rpc("getnetworkinfo")["localservicesnames"]
        with run(tmp_path / "node", archive.address, *words) as node:
            node.start()
            node.wait_height(len(world.chain))
            assert figures(node) == world.expected == figures(archive)
            assert DONE in node.output() and FAILED not in node.output()
            (peer,) = node.rpc("getpeerinfo")
            assert int(peer["services"], 16) >> 21 & 1
            assert node.stop() == 0
            node.start()
            assert figures(node) == world.expected
            assert "Traceback" not in node.output() + archive.output()
            assert node.stop() == 0


def changed(coin: bytes, how: str) -> bytes:
    height, value, script = coin_height(coin), coin_value(coin), txout_script(coin[4:])
    if how == "script":
        return make_coin(height, bool(coin[0] & 1), value, b"\x00")  # which nothing can spend
    if how == "amount":
        return make_coin(height, bool(coin[0] & 1), value + 1, script)
    return make_coin(height, not coin[0] & 1, value, script)


LIES: dict[str, Callable[[list[bytes]], bytes]] = {
    "script": lambda spent: tell([changed(spent[0], "script"), *spent[1:]]),
    "truncated": lambda spent: tell(spent)[:-1],
    "one missing": lambda spent: tell(spent[:-1]),
    "one too many": lambda spent: tell([*spent, spent[0]]),
    "none": lambda spent: b"\0",
    "far too many": lambda spent: tell([spent[0]] * 24_390),
    "random bytes": lambda spent: b"\3" + random.Random(5).randbytes(100),
}


@pytest.mark.parametrize("how", LIES)
def test_a_peer_that_lies_is_named_and_another_asked(tmp_path: Path, world: World, how: str) -> None:
    words = world.words(tmp_path)
    with server_of(world.chain, world.coins) as good, server_of(world.chain, world.coins) as bad:
        lies = []

        def lie(block_hash: bytes, told: bytes) -> bytes:
            spent = world.coins[BlockHash(block_hash)]
            if not spent:
                return told
            lies.append(block_hash)
            return LIES[how](spent)

        bad.on_spent = lie
        with run(tmp_path / "node", bad.address, *words).start() as node:
            wait_until(lambda: "told wrong coins for block" in node.output(), what="a lie that is found")
            node.rpc("addnode", good.address, "onetry")
            node.wait_height(len(world.chain))
            assert figures(node) == world.expected
            assert DONE in node.output() and FAILED not in node.output()
            assert "Traceback" not in node.output()
        assert len(lies) <= 64


@pytest.mark.parametrize("how", ["amount", "coinbase"])
def test_what_only_the_sums_show_ends_in_the_usual_sync(tmp_path: Path, world: World, how: str) -> None:
    """A P2PKH signature does not commit to the amount, and no rule asks whether an old coin was a coinbase."""

    def fits(coin: bytes) -> bool:
        return coin[12:14] == b"\x19\x76" if how == "amount" else bool(coin[0] & 1)

    def place_of(raw: bytes) -> int:
        """Of the coins that a transaction spends which has no others than such."""
        block = parse_block(raw)
        rest = iter(world.coins[header_hash(raw[:HEADER_SIZE])])
        first = 0
        for i in range(1, block.n_tx):
            spent = list(islice(rest, len(block.tx(i).prevouts)))
            if all(map(fits, spent)):
                return first
            first += len(spent)
        return -1

    raw = next(raw for raw in world.chain if place_of(raw) >= 0)
    block_hash, place = header_hash(raw[:HEADER_SIZE]), place_of(raw)
    told = {key: tell(spent) for key, spent in world.coins.items()}
    spent = world.coins[block_hash]
    told[block_hash] = tell([*spent[:place], changed(spent[place], how), *spent[place + 1 :]])
    words = world.words(tmp_path)
    with ChainServer.of_blocks(PARAMS, world.chain) as server:
        server.spent = told
        with run(tmp_path / "node", server.address, *words).start() as node:
            node.wait_height(len(world.chain))
            assert figures(node) == world.expected
            assert "a peer told wrong coins (peer=0: " in node.output()
            assert "Traceback" not in node.output()


def test_a_peer_that_stops_telling(tmp_path: Path, world: World) -> None:
    words = world.words(tmp_path)
    with server_of(world.chain, world.coins) as silent, server_of(world.chain, world.coins) as good:
        told = []

        def a_few(block_hash: bytes, spent: bytes) -> bytes | None:
            told.append(block_hash)
            return spent if len(told) < 30 else None

        silent.on_spent = a_few
        with run(tmp_path / "node", silent.address, *words).start() as node:
            wait_until(lambda: len(told) >= 30, what="the peer's silence")
            node.rpc("addnode", good.address, "onetry")
            node.wait_height(len(world.chain))
            assert figures(node) == world.expected
            assert DONE in node.output() and FAILED not in node.output()


def test_blocks_of_one_peer_and_coins_of_another(tmp_path: Path, world: World) -> None:
    words = world.words(tmp_path)
    with server_of(world.chain, None) as plain, server_of(world.chain, world.coins) as teller:
        teller.on_block = lambda _hash, _raw: None
        with run(tmp_path / "node", plain.address, *words, "--connect", teller.address).start() as node:
            node.wait_height(len(world.chain))
            assert figures(node) == world.expected
            assert DONE in node.output()


def test_coins_that_nobody_asked_for(tmp_path: Path, world: World) -> None:
    words = world.words(tmp_path)
    with server_of(world.chain, world.coins) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(world.chain))
        server._peers[0].send_raw("bspent", header_hash(world.chain[5][:HEADER_SIZE]) + b"\0")
        wait_until(lambda: "spent coins that were not asked for" in node.output(), what="the consequence")
        assert figures(node) == world.expected


def test_a_sync_without_scripts_is_not_gone_on_with(tmp_path: Path, world: World) -> None:
    """Its sums are others, and its blocks were not verified."""
    words = (*write_hints(tmp_path / "hints", world.hints), "--swiftsyncblock", name(world.chain[len(world.hints) - 1]))
    with server_of(world.chain, world.coins) as server:

        def slowly(_: bytes, raw: bytes) -> bytes:
            time.sleep(0.02)
            return raw

        server.on_block = slowly
        with run(tmp_path / "node", server.address, *words) as node:
            node.start()
            wait_until(lambda: len(server.requests) > 60, what="some blocks")
            assert node.stop() == 0
            assert "SwiftSync to block" in node.output()
            node.options = (*node.options, "--swiftsync-full")
            node.start()
            node.wait_height(len(world.chain))
            assert "SwiftSync goes on" not in node.output()
            assert figures(node) == world.expected
            assert DONE in node.output()
