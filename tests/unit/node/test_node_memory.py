"""How much memory a node may take: options, control groups and what others take in these; who gets it at the start."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.node import memory
from btcnode.node.control_groups import MemoryGroup
from btcnode.node.memory import MemoryBudget, NodeConsumers, fit_memory
from btcnode.rpc.room import Room
from btcnode.settings.settings import Settings
from btcnode.storage.coin_runs import MERGES
from btcnode.sync.memory_plan import FLUSH, MERGE, WRITER
from btcnode.sync.process_memory import Resident
from tests.lib.settings import settings_of

MIB = 1 << 20


def group(folder: Path, limit: int | str, used: int = 0) -> MemoryGroup:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(str(limit if isinstance(limit, str) else limit * MIB))
    (folder / "memory.current").write_text(str(used * MIB))
    return MemoryGroup(folder, 2)


def options(tmp_path: Path, network: str = "regtest", **more: object) -> Settings:
    return settings_of(network=network, datadir=tmp_path, par=2, **more)


def test_without_groups_the_option_counts(tmp_path: Path) -> None:
    budget = MemoryBudget(options(tmp_path, maxmemory=700), ())
    assert budget.limit(0) == 700 * MIB and not budget.enforced
    budget.check(0)


def test_the_tightest_group_counts_with_what_others_have_taken(tmp_path: Path) -> None:
    groups = (group(tmp_path / "pod/mine", 800, 150), group(tmp_path / "pod", 1000, 600), group(tmp_path, "max"))
    budget = MemoryBudget(options(tmp_path), groups)
    # others in the pod have 500 of its 1000
    assert budget.limit(100 * MIB) == int(0.85 * 500 * MIB) and budget.enforced
    group(tmp_path / "pod", 1000, 110)
    assert budget.limit(100 * MIB) == int(0.85 * 750 * MIB)  # 50 in the own group are not the node's
    group(tmp_path / "pod/mine", "max")
    group(tmp_path / "pod", "max")
    assert budget.limit(100 * MIB) == 1536 * MIB and not budget.enforced


def test_too_little_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    settings = options(tmp_path)
    with pytest.raises(ConfigError, match=r"leaves 200 MiB to this node, which needs (\d+) MiB") as refused:
        MemoryBudget(settings, (group(tmp_path / "a", 200),)).check(0)
    needed = int(str(refused.value).split("needs ")[1].split()[0])
    assert needed < 400
    MemoryBudget(settings, (group(tmp_path / "a", needed),)).check(0)
    with pytest.raises(ConfigError):
        MemoryBudget(settings, (group(tmp_path / "a", needed - 1),)).check(0)
    with pytest.raises(ConfigError, match="needs"):
        MemoryBudget(settings, (group(tmp_path / "a", 400, 300),)).check(0)  # the others are there already


def test_mainnet_needs_room_for_its_headers(tmp_path: Path) -> None:
    groups = (group(tmp_path / "a", 400),)
    MemoryBudget(options(tmp_path), groups).check(0)
    with pytest.raises(ConfigError, match="needs 5"):
        MemoryBudget(options(tmp_path, network="mainnet"), groups).check(0)


def test_a_program_with_a_node_inside_needs_its_own_memory_too(tmp_path: Path) -> None:
    groups = (group(tmp_path / "a", 500, 300),)
    MemoryBudget(options(tmp_path), groups, own=100 * MIB).check(300 * MIB)
    with pytest.raises(ConfigError, match="leaves 500 MiB"):
        MemoryBudget(options(tmp_path), groups, own=300 * MIB).check(300 * MIB)


def test_fewer_connections_need_less(tmp_path: Path) -> None:
    groups = (group(tmp_path / "a", 400),)
    many = options(tmp_path, maxconnections=1000)
    with pytest.raises(ConfigError, match="lower -maxconnections"):
        MemoryBudget(many, groups).check(0)


def test_huge_options_are_cut_to_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "memory_groups", lambda: (group(tmp_path / "a", 500),))
    monkeypatch.setattr(memory, "resident", lambda: Resident(60 * MIB, 0))  # a process of tests takes more and more
    wanted = options(tmp_path, dbcache=10_000, maxmempool=5000).changed("storage", par=64)
    with caplog.at_level(logging.INFO, logger="btcnode.node"):
        settings, budget, share = fit_memory(wanted)
    assert 50 * MIB < settings.storage.dbcache_bytes == share.coins < 200 * MIB
    assert settings.mempool.maxmempool_bytes == share.mempool < 200_000_000
    assert settings.storage.par == 1 + share.workers < 5
    text = caplog.text
    assert "Reducing -dbcache from 10000 to" in text and "Reducing -maxmempool from 5000 to" in text
    assert "Reducing -par from 64 to" in text and budget.enforced


def test_usual_options_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_groups", lambda: ())
    wanted = options(tmp_path).changed("storage", par=32)
    settings, _, share = fit_memory(wanted)
    assert settings.mempool == wanted.mempool and settings.storage.dbcache_bytes == wanted.storage.dbcache_bytes
    assert settings.storage.par == 32 and share.workers == 31


def consumers_of(room: Room, *, enforced: bool) -> tuple[NodeConsumers, SimpleNamespace]:
    """Those of a node with one database, and the runs of its coins."""
    nobody: Any = None
    runs = SimpleNamespace(most_merges=MERGES)
    store = SimpleNamespace(databases=[SimpleNamespace(coin_runs=runs)])
    driver: Any = SimpleNamespace(chainstate=SimpleNamespace(store=store))
    return NodeConsumers(driver, None, nobody, nobody, nobody, room, enforced), runs


def test_where_memory_is_short_one_process_merges_at_a_time() -> None:
    consumers, runs = consumers_of(Room(), enforced=True)
    for free, most in ((MERGES * MERGE - 1, 1), (MERGES * MERGE, MERGES), (0, 1)):
        consumers.offer(free)
        assert runs.most_merges == most


@pytest.mark.parametrize("enforced", [True, False])
def test_answers_get_what_is_left_where_more_would_end_the_node(enforced: bool) -> None:
    room = Room(100 * MIB)
    consumers, _ = consumers_of(room, enforced=enforced)
    consumers.offer(WRITER + FLUSH + 20 * MIB)  # a flush may begin meanwhile
    assert room.largest == (20 * MIB if enforced else sys.maxsize)
    consumers.offer(WRITER + FLUSH)
    assert room.largest == (memory.SMALL_ANSWER if enforced else sys.maxsize)
