"""Our files under Bitcoin Core, Core's files under us, and one verdict on the UTXO set.

Needs a ``bitcoind`` with ``bitcoin-cli`` beside it: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix
from btcnode.primitives.hashes import to_display
from btcnode.storage.block_import import iter_blocks, xor_key_beside
from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.layout import FRAME, FRAME_SIZE, UNDO_CHECKSUM_SIZE
from btcnode.storage.obfuscation import Obfuscation
from btcnode.storage.undo import decode_undo, encode_undo
from btcnode.storage.utxo_snapshot import SnapshotHeader, write_coins
from tests.lib.chain_generator import ChainGenerator
from tests.lib.coins import all_coins
from tests.lib.process import free_port

PARAMS = params_for("regtest")
SATOSHI = 100_000_000
OP_RETURN = 0x6A


class Core:
    """A bitcoind without network, and its bitcoin-cli."""

    def __init__(self, daemon: Path, directory: Path, *options: str) -> None:
        port = free_port()
        common = ["-regtest", f"-datadir={directory}", f"-rpcport={port}"]
        isolated = ["-listen=0", "-connect=0", "-dnsseed=0", "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"]
        self._cli = [str(daemon.with_name("bitcoin-cli")), *common, "-rpcwait", "-rpcwaittimeout=60"]
        self.process = subprocess.Popen(
            [str(daemon), *common, *isolated, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def call(self, *words: str) -> Any:
        done = subprocess.run([*self._cli, *words], capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout, parse_float=str) if done.stdout.strip().startswith(("{", "[")) else done.stdout

    def stop(self) -> None:
        self.call("stop")
        self.process.wait(60)


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    """A regtest chain whose coins have many kinds of script and outputs above 255."""
    generator = ChainGenerator(PARAMS, 5)
    return [*generator.spread(2500), *(generator.busy(60) for _ in range(4))]


@pytest.fixture(scope="module")
def core_run(
    tmp_path_factory: pytest.TempPathFactory, chain: list[bytes]
) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Core's directory after it imported our block file, and what it says of the UTXO set."""
    found = os.environ.get("BTCNODE_BITCOIND") or shutil.which("bitcoind")
    if not found:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    directory = tmp_path_factory.mktemp("core")
    files = BlockFiles(directory / "ours", PARAMS.magic, use_xor=False)
    for raw in [PARAMS.genesis_block, *chain]:  # Core wants the genesis block first in a fresh directory
        files.append_block(raw)
    files.close()
    core = Core(Path(found), directory, f"-loadblock={files.block_path(0)}")
    try:
        core.call("waitforblockheight", str(len(chain)), "100000")
        serialized = core.call("gettxoutsetinfo", "hash_serialized_3")
        muhash = core.call("gettxoutsetinfo", "muhash")
        core.call("dumptxoutset", str(directory / "core.dat"), "latest")
        core.stop()
    finally:
        core.process.kill()
        core.process.wait(60)
    yield directory / "regtest" / "blocks", serialized, muhash


def spend(block: ParsedBlock, height: int, coins: dict[bytes, bytes]) -> list[list[bytes]]:
    """Apply a block to ``coins`` in the plainest way; returns what it spent, as undo data has it."""
    undo: list[list[bytes]] = []
    for i in range(block.n_tx):
        tx = block.tx(i)
        if i:
            undo.append([coins.pop(prevout) for prevout in tx.prevouts])
        for n, txout in enumerate(tx.txouts):
            if txout[9:10] != bytes((OP_RETURN,)):
                coins[tx.txid + n.to_bytes(4, "little")] = coin_prefix(height, i == 0) + txout
    return undo


def test_our_utxo_file_is_cores(
    core_run: tuple[Path, dict[str, Any], dict[str, Any]], chain: list[bytes], tmp_path: Path
) -> None:
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    for raw in chain:
        state.process_block(raw, 2_000_000_000)
    state.flush()
    rows = all_coins(state.store.coins)
    out = io.BytesIO()
    out.write(SnapshotHeader(state.tree.hash(state.tip), len(rows)).pack(PARAMS))
    written = write_coins(out, [rows], lambda: None)
    state.close()
    assert out.getvalue() == (core_run[0].parents[1] / "core.dat").read_bytes()
    assert to_display(written.utxo_hash) == core_run[1]["hash_serialized_3"]


def test_core_imports_our_files_and_we_read_its(
    core_run: tuple[Path, dict[str, Any], dict[str, Any]], chain: list[bytes]
) -> None:
    directory, serialized, _ = core_run
    key = xor_key_beside(directory / "blk00000.dat")
    assert key != bytes(8)
    stored = list(iter_blocks(directory / "blk00000.dat", PARAMS.magic, key))
    assert [raw for _, raw in stored] == [PARAMS.genesis_block, *chain]
    assert serialized["height"] == len(chain)
    files = BlockFiles(directory, PARAMS.magic)
    assert [files.read_block(BlockPos(0, pos)) for pos, _ in stored[1:]] == chain

    clear = Obfuscation(key).apply((directory / "rev00000.dat").read_bytes(), 0)
    coins: dict[bytes, bytes] = {}
    pos = 0
    for height, raw in enumerate(chain, 1):
        block = parse_block(raw)
        undo = spend(block, height, coins)
        payload = files.read_undo(BlockPos(0, pos + FRAME_SIZE), bytes(block.prev_hash))
        assert payload == encode_undo(undo), height
        assert decode_undo(payload) == undo
        pos += FRAME_SIZE + FRAME.unpack_from(clear, pos)[1] + UNDO_CHECKSUM_SIZE


def test_utxo_set_is_the_one_of_core(
    core_run: tuple[Path, dict[str, Any], dict[str, Any]], chain: list[bytes], tmp_path: Path
) -> None:
    _, serialized, muhash = core_run
    coins: dict[bytes, bytes] = {}
    for height, raw in enumerate(chain, 1):
        spend(parse_block(raw), height, coins)
    assert any(key[33:] != bytes(3) for key in coins)
    database = Database.open(tmp_path)
    database.commit(coins_put=coins)
    db = CoinsDb(database)
    stats = db.utxo_stats()
    assert stats.hash is not None and to_display(stats.hash) == serialized["hash_serialized_3"]
    assert stats.txouts == serialized["txouts"]
    assert stats.transactions == serialized["transactions"]
    assert stats.bogosize == serialized["bogosize"]
    whole, part = serialized["total_amount"].split(".")
    assert stats.total_amount == int(whole) * SATOSHI + int(part)
    product = db.utxo_stats("muhash").hash
    assert product is not None and to_display(product) == muhash["muhash"]
    database.close()
