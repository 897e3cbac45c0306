"""The memory budget: what is measured, how it is divided, what happens when it is short."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from btcnode.chain.coins_cache import CoinsCache
from btcnode.sync.memory_limiter import MIB, MIN_CACHE, MIN_QUEUE, MemoryLimiter, queue_budget
from btcnode.sync.process_memory import Resident, container_limit, resident, resident_of


class NoCoins:
    def get_many(self, wanted: list[bytes]) -> list[bytes | None]:
        return [None] * len(wanted)


class Machine:
    """A limiter over figures that the test sets."""

    def __init__(self, limit: int, dbcache: int = 450) -> None:
        self.coins = CoinsCache(NoCoins(), dbcache * MIB)
        self.own, self.mapped = 100, 0
        self.admitted: list[int] = []
        self.released = 0
        self.limiter = MemoryLimiter(
            limit * MIB,
            coins=self.coins,
            dbcache=dbcache * MIB,
            measure=lambda: Resident(self.own * MIB, self.mapped * MIB),
            admit=self.admitted.append,
            release=self.release,
        )

    def release(self) -> None:
        self.released += 1

    def look(self, own: int, mapped: int = 0) -> None:
        self.own, self.mapped = own, mapped
        self.limiter.divide()


def test_the_cache_gets_what_is_left() -> None:
    machine = Machine(1536)
    machine.look(150)
    assert machine.coins.budget == 450 * MIB  # there is room for all of --dbcache
    machine.look(1200)
    queue = queue_budget(1536 * MIB)
    assert machine.coins.budget == pytest.approx(int(1536 * 0.95) * MIB - 1200 * MIB - queue, abs=MIB)
    machine.look(1500)
    assert machine.coins.budget == MIN_CACHE
    machine.look(150)
    assert machine.coins.budget == 450 * MIB


def test_memory_kept_for_the_next_coins_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(1000)
    use = [400 * MIB]
    monkeypatch.setattr(CoinsCache, "usage", property(lambda _: use[0]))
    machine.look(600)
    before = machine.coins.budget
    use[0] = 10 * MIB  # flushed: the process keeps its size
    machine.look(600)
    assert machine.coins.budget == before


def test_admission_stops_before_the_budget_is_passed_and_starts_again() -> None:
    machine = Machine(1000)
    machine.look(500)
    full = queue_budget(1000 * MIB)
    assert machine.admitted == [full] and full > MIN_QUEUE
    machine.look(895)
    assert machine.admitted == [full]
    machine.look(905)
    machine.look(950)
    assert machine.admitted == [full, MIN_QUEUE]  # one block at the least: the sync never stands still
    machine.look(850)
    assert machine.admitted == [full, MIN_QUEUE]
    machine.look(790)
    assert machine.admitted == [full, MIN_QUEUE, full]


def test_mapped_pages_are_given_back_when_they_make_the_process_too_large() -> None:
    machine = Machine(1000)
    machine.look(500, 400)
    assert machine.released == 0
    machine.look(500, 600)
    assert machine.released == 1
    machine.look(900, 150)  # a few mapped pages are not what is wrong
    assert machine.released == 1


def test_resident_memory_grows_with_what_is_allocated() -> None:
    code = """
        from btcnode.sync.process_memory import resident
        before = resident()
        block = b"x" * (64 << 20)
        after = resident()
        print(after.own - before.own, before.mapped)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    grown, mapped = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert 60 * MIB < grown < 80 * MIB and mapped > 0


def test_resident_memory_of_other_processes() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert 0 < resident_of([child.pid]).total < 100 * MIB
        assert resident().total > 0
    finally:
        child.communicate(b"\n")
    assert resident_of([child.pid]) == Resident(0, 0)


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "536870912\n"}, 512 * MIB),
        ("0::/a/b\n", {"a/memory.max": "1048576\n", "a/b/memory.max": "max\n"}, MIB),
        ("0::/host/path\n", {"memory.max": "2097152\n"}, 2 * MIB),
        ("5:cpu,memory:/docker/x\n", {"memory/docker/x/memory.limit_in_bytes": "3145728\n"}, 3 * MIB),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("nonsense\n", {"memory.max": "1\n"}, None),
    ],
)
def test_container_limits(tmp_path: Path, membership: str, files: dict[str, str], limit: int | None) -> None:
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert container_limit(tmp_path / "cgroup", tmp_path / "membership") == limit


def test_no_control_groups(tmp_path: Path) -> None:
    assert container_limit(tmp_path, tmp_path / "absent") is None
