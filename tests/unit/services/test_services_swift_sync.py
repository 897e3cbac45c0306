"""SwiftSync's judgement about which block the hints are for, over a real node whose loop a test holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import CorruptionError
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.services import swift_sync
from btcnode.services.snapshot_files import SnapshotRefusedError
from btcnode.services.swift_sync import SwiftSync
from btcnode.storage.utxo_snapshot import SnapshotHeader
from btcnode.swiftsync.ledger import Ledger
from btcnode.wire.messages import GetData, Headers
from tests.lib.chain_generator import ChainGenerator
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.node_parts import NodeLab, regtest_config

PARAMS = params_for("regtest")


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(60), *(generator.busy(3) for _ in range(10))]


def open_lab(path: Path, chain: list[bytes], height: int, *, full: bool = False) -> tuple[NodeLab, SwiftSync]:
    (path / "hints").write_bytes(pack_hints(reference_hints(chain[:height])))
    block = header_hash(chain[height - 1][:HEADER_SIZE])[::-1].hex()
    how: dict[str, Any] = {"swiftsync_full": True} if full else {"swiftsyncblock": block}
    lab = NodeLab(regtest_config(path / "node", swiftsync=str(path / "hints"), **how))
    swift = lab.parts.swiftsync
    assert swift is not None
    lab.do(swift.open())
    return lab, swift


def test_blocks_that_others_bring_are_folded_too(tmp_path: Path, chain: list[bytes]) -> None:
    height = len(chain) - 3
    lab, swift = open_lab(tmp_path, chain, height)
    for raw in chain:
        lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))
    tree = lab.parts.chain.tree
    lab.until(lambda: tree.height(lab.parts.chain.tip()) == len(chain))
    assert not swift.running
    assert not tree.has_undo(tree.ancestor(lab.parts.chain.tip(), height))
    assert tree.has_undo(tree.ancestor(lab.parts.chain.tip(), height + 1))
    lab.close()


def test_blocks_that_come_while_the_stored_ones_are_counted(
    tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million heights are gone through beside the loop; what is stored meanwhile is not forgotten."""
    come = threading.Event()
    count = SwiftSync._find_stored

    def count_late(swift: SwiftSync, ledger: Ledger) -> list[int]:
        found = count(swift, ledger)
        assert come.wait(60)
        return found

    monkeypatch.setattr(SwiftSync, "_find_stored", count_late)
    lab, swift = open_lab(tmp_path, chain, len(chain))
    try:
        for raw in chain:
            lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))
    finally:
        come.set()
    lab.until(lambda: lab.parts.chain.tree.height(lab.parts.chain.tip()) == len(chain))
    assert swift.progress().blocks == len(chain) and not swift.progress().failure
    lab.close()


def in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "deleted": lambda path, _: path.unlink(),
    "replaced": lambda path, _: path.rename(path.with_name("old")) and path.write_bytes(b"another"),
    "shorter": lambda path, data: in_place(path, data[:30]),
    "overwritten": lambda path, data: in_place(path, data[:30] + b"\xff" * (len(data) - 30)),
    "other hints": lambda path, data: in_place(path, data[:30] + bytes(len(data) - 30)),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_of_hints_that_changes_while_it_is_used(tmp_path: Path, chain: list[bytes], how: str) -> None:
    """Written into it is of no use any more, and that is not held against the hints that were read at the start."""
    height = len(chain) - 3
    lab, swift = open_lab(tmp_path, chain, height)
    peer, tree = lab.add_peer("11.1.1.1:8333"), lab.parts.chain.tree
    peer.send(Headers(tuple(raw[:HEADER_SIZE] for raw in chain)))
    lab.until(lambda: swift.target >= 0)

    def bring(blocks: list[bytes]) -> None:
        for raw in blocks:
            index = tree.find(header_hash(raw[:HEADER_SIZE]))
            if swift.wants(index):
                lab.do(swift.take(index, raw))
            else:
                lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))

    bring(chain[:15])
    assert swift.progress().blocks == 15
    path = tmp_path / "hints"
    CHANGES[how](path, path.read_bytes())
    bring(chain[15:])
    lab.until(lambda: tree.height(lab.parts.chain.tip()) == len(chain))
    failure, served = swift.progress().failure, how in ("deleted", "replaced")
    assert ("written into the file" in failure) is not served
    assert bool(failure) is not served and not swift.running
    assert tree.has_undo(tree.ancestor(lab.parts.chain.tip(), height)) is not served
    folder = lab.parts.chain.driver.chainstate.store.directory / "swiftsync"
    lab.until(lambda: not folder.exists())  # removed beside the loop
    lab.close()


def test_blocks_are_asked_for_as_soon_as_headers_say_which(tmp_path: Path, chain: list[bytes]) -> None:
    """Not at the next tick: none comes here."""
    lab, _ = open_lab(tmp_path, chain, len(chain) - 3)
    peer = lab.add_peer("11.1.1.1:8333")
    peer.send(Headers(tuple(raw[:HEADER_SIZE] for raw in chain)))
    assert peer.expect(GetData).items[0].hash == header_hash(chain[0][:HEADER_SIZE])
    lab.close()


@pytest.mark.parametrize("full", [False, True])
def test_a_chain_that_ends_below_the_hints(
    tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, full: bool
) -> None:
    monkeypatch.setattr(swift_sync, "HEADERS_PATIENCE", 0.5)
    monkeypatch.setattr(swift_sync, "POLL_SECONDS", 0.05)
    lab, swift = open_lab(tmp_path, chain, len(chain), full=full)
    lab.add_peer("11.1.1.1:8333")
    short = chain[:50]
    for raw in short:
        lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))
    with caplog.at_level(logging.ERROR):
        lab.until(lambda: not swift.running)
    lab.until(lambda: lab.parts.chain.tree.height(lab.parts.chain.tip()) == len(short))
    assert "theirs ends at 50" in caplog.text
    lab.close()


@pytest.mark.parametrize("full", [False, True])
def test_a_chain_with_more_work_without_the_block(tmp_path: Path, chain: list[bytes], full: bool) -> None:
    """It shows while blocks are still missing."""
    lab, swift = open_lab(tmp_path, chain, len(chain) - 2, full=full)
    other = ChainGenerator(PARAMS, seed=7)
    now = lab.now
    tree = lab.parts.chain.tree
    lab.thread.call(lambda: tree.add_many([raw[:HEADER_SIZE] for raw in chain], now))
    lab.until(lambda: swift.target >= 0)
    for _ in range(len(chain) + 1):
        lab.do(lab.parts.chain.driver.store_block(other.block(), now, requested=True))
    lab.until(lambda: tree.hash(lab.parts.chain.tip()) == other.tip_hash)
    assert not swift.running
    lab.close()


def test_no_set_is_loaded_meanwhile(tmp_path: Path, chain: list[bytes]) -> None:
    """It would be in the place where this sync puts its own, which removes what is there."""
    block = header_hash(chain[5][:HEADER_SIZE])
    (tmp_path / "set").write_bytes(SnapshotHeader(block, 1).pack(PARAMS))
    lab, swift = open_lab(tmp_path, chain, len(chain) - 3)
    with pytest.raises(SnapshotRefusedError, match="while the node syncs with hints"):
        lab.do(lab.parts.assumed.load(str(tmp_path / "set")))
    for raw in chain:
        lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))
    lab.until(lambda: not swift.running)
    with pytest.raises(SnapshotRefusedError, match=r"more than once|not recognized"):
        lab.do(lab.parts.assumed.load(str(tmp_path / "set")))
    lab.close()


def test_a_node_with_a_chain_goes_on_with_it(tmp_path: Path, chain: list[bytes]) -> None:
    with_chain = NodeLab(regtest_config(tmp_path / "node"))
    for raw in chain[:20]:
        with_chain.do(with_chain.parts.chain.driver.store_block(raw, with_chain.now, requested=True))
    with_chain.do(with_chain.parts.chain.driver.settled())
    with_chain.close()
    lab, swift = open_lab(tmp_path, chain, len(chain))
    assert not swift.running
    assert lab.parts.chain.tree.height(lab.parts.chain.tip()) == 20
    lab.close()


@pytest.mark.parametrize("how", ["changed", "cut off", "gone"])
def test_damaged_survivors_are_named_and_made_again(tmp_path: Path, chain: list[bytes], how: str) -> None:
    """The hints are not to blame: they are used again, and nobody has to delete anything."""
    height = len(chain) - 3

    def give(lab: NodeLab, swift: SwiftSync, blocks: list[bytes]) -> None:
        for raw in blocks:
            lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))

    (tmp_path / "hints").write_bytes(pack_hints(reference_hints(chain[:height])))
    block = header_hash(chain[height - 1][:HEADER_SIZE])[::-1].hex()
    settings = regtest_config(tmp_path / "node", swiftsync=str(tmp_path / "hints"), swiftsyncblock=block)

    def begin() -> tuple[NodeLab, SwiftSync]:
        lab = NodeLab(settings, opens_hints=True)
        tree, now, swift = lab.parts.chain.tree, lab.now, lab.parts.swiftsync
        assert swift is not None
        lab.thread.call(lambda: tree.add_many([raw[:HEADER_SIZE] for raw in chain], now))
        lab.until(lambda: swift.target >= 0)
        return lab, swift

    lab, swift = begin()
    give(lab, swift, chain[: height // 2])
    lab.close()
    run = tmp_path / "node" / "regtest" / "swiftsync" / "run00000.dat"
    data = run.read_bytes()
    if how == "gone":
        run.unlink()
    else:
        run.write_bytes(data[:-1] if how == "cut off" else bytes([data[0] ^ 1]) + data[1:])
    lab, swift = begin()
    give(lab, swift, chain)
    lab.until(lambda: lab.launch.failure.error is not None)
    with pytest.raises(CorruptionError, match=r"run00000\.dat is .*begins anew"):
        lab.close()
    lab, swift = begin()
    give(lab, swift, chain)
    tree = lab.parts.chain.tree
    lab.until(lambda: tree.height(lab.parts.chain.tip()) == len(chain))
    assert not swift.running and not tree.has_undo(tree.ancestor(lab.parts.chain.tip(), height))
    lab.close()


def test_nobody_tells_what_blocks_spend(
    tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The node has peers, and the blocks: it syncs as usual with these."""
    monkeypatch.setattr(swift_sync, "SPENT_PATIENCE", 0.5)
    lab, swift = open_lab(tmp_path, chain, len(chain), full=True)
    lab.add_peer("11.1.1.1:8333")
    for raw in chain:
        lab.do(lab.parts.chain.driver.store_block(raw, lab.now, requested=True))
    with caplog.at_level(logging.ERROR):
        lab.until(lambda: not swift.running)
    lab.until(lambda: lab.parts.chain.tree.height(lab.parts.chain.tip()) == len(chain))
    assert "no peer has told what blocks spend" in caplog.text
    assert "no peer has told" in swift.progress().failure
    lab.close()
