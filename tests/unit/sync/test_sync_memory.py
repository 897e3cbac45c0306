"""The memory budget: what is measured, how it is divided, what happens when it is short."""

from __future__ import annotations

import platform
import subprocess
import sys
import textwrap
from collections.abc import Collection

import pytest

from btcnode.chain.coins_cache import CoinsCache
from btcnode.sync.memory_limiter import MIN_CACHE, PATIENCE, MemoryLimiter
from btcnode.sync.memory_plan import MIB, MIN_QUEUE, MemoryPlan, Wishes, plan
from btcnode.sync.process_memory import Resident, resident, resident_of


class NoCoins:
    """A backend without coins."""

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        return set(txids)

    def get_many(self, wanted: list[bytes]) -> list[bytes | None]:
        return [None] * len(wanted)


class Machine:
    """A limiter over figures that the test sets, in MiB."""

    def __init__(self, limit: int, dbcache: int = 450) -> None:
        self.coins = CoinsCache(NoCoins(), dbcache * MIB)
        self.limit_mib, self.dbcache = limit, dbcache
        self.own, self.mapped = 100, 0
        self.admitted: list[int] = []
        self.plans: list[MemoryPlan] = []
        self.told_own: list[int] = []
        self.offered = 0
        self.relieved: list[int] = []
        self.released = 0
        self.trimmed = 0
        self.limiter = MemoryLimiter(self, self, self.coins)

    def limit(self, own: int) -> int:
        self.told_own.append(own)
        return self.limit_mib * MIB

    def plan(self, limit: int) -> MemoryPlan:
        return plan(limit, Wishes(0, 0, 1, self.dbcache * MIB, 300 * MIB))

    def measure(self) -> Resident:
        return Resident(self.own * MIB, self.mapped * MIB)

    def apply(self, plan: MemoryPlan) -> None:
        self.plans.append(plan)

    def admit(self, queue: int) -> None:
        self.admitted.append(queue)

    def offer(self, free: int) -> None:
        self.offered = free

    def release(self) -> None:
        self.released += 1

    def trim(self) -> None:
        self.trimmed += 1

    def relieve(self, excess: int) -> None:
        self.relieved.append(excess)

    def look(self, own: int, mapped: int = 0) -> None:
        self.own, self.mapped = own, mapped
        self.limiter.divide()


def test_the_cache_gets_what_is_left() -> None:
    machine = Machine(1536)
    machine.look(150)
    assert machine.coins.budget == 450 * MIB  # there is room for all of --dbcache
    machine.look(900)
    share = machine.plans[0]
    kept = share.queue + share.answers  # for what comes
    assert machine.coins.budget == pytest.approx(int(1536 * 0.95) * MIB - 900 * MIB - kept, abs=MIB)
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
    full = machine.plans[0].queue
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


def test_what_the_node_has_already_is_its_own_from_the_beginning() -> None:
    machine = Machine(500)
    assert machine.told_own == [100 * MIB]  # else it would count as what others in the container take


def test_a_limit_that_changes_is_followed() -> None:
    machine = Machine(1536)
    machine.look(150)
    assert machine.coins.budget == 450 * MIB and len(machine.plans) == 1
    machine.limit_mib = 1500  # others in the container have taken a little
    machine.look(150)
    assert len(machine.plans) == 1
    machine.limit_mib = 500
    machine.look(150)
    small = machine.plans[-1]
    assert small.limit == 500 * MIB and machine.coins.budget == small.coins < 450 * MIB
    assert machine.admitted[-1] == small.queue < machine.admitted[0]
    machine.limit_mib = 1536
    machine.look(150)
    assert machine.plans[-1] == machine.plans[0] and machine.coins.budget == 450 * MIB


def test_the_mempool_gives_way_when_the_coins_have_nothing_left_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(500)
    use = [100 * MIB]
    monkeypatch.setattr(CoinsCache, "usage", property(lambda _: use[0]))
    machine.look(520)
    assert machine.relieved == [] and machine.coins.budget == MIN_CACHE
    use[0] = 4 * MIB
    for _ in range(PATIENCE):
        machine.look(520)
    assert machine.relieved == [20 * MIB]  # freed memory goes back to the system slowly
    machine.look(530)
    assert machine.relieved == [20 * MIB, 30 * MIB]


def test_what_was_freed_goes_back_to_the_system_where_memory_is_short() -> None:
    machine = Machine(500)
    for own, trimmed in ((220, 0), (230, 1), (460, 1), (220, 1)):
        machine.look(own)
        assert machine.trimmed == trimmed
    for _ in range(PATIENCE):
        machine.look(460)
    assert machine.trimmed == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library keeps what was freed")
def test_giving_back_frees_what_lies_between() -> None:
    code = """
        from btcnode.sync.process_memory import give_back, resident
        kept, freed = [], []
        for _ in range(5000):
            freed.append(bytes(20_000))
            kept.append(bytes(600))
        freed.clear()
        before = resident().own
        give_back()
        print(before - resident().own)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert int(subprocess.run(command, capture_output=True, check=True).stdout) > 60 * MIB


def test_what_is_not_taken_is_offered_for_answers() -> None:
    machine = Machine(500)
    machine.look(200)
    assert machine.offered == 300 * MIB
    machine.look(600)
    assert machine.offered == 0


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


@pytest.mark.skipif(sys.platform != "linux", reason="nothing tells of page tables")
def test_page_tables_are_memory_of_the_process() -> None:
    """Looking at one page of each two megabytes takes a page of entries, which stays as long as they are mapped."""
    code = """
        import mmap
        from btcnode.sync.process_memory import resident
        size = 1 << 30
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
        mapped.madvise(mmap.MADV_NOHUGEPAGE)
        before = resident()
        for at in range(0, size, 2 << 20):
            mapped[at]
        print(resident().own - before.own)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert int(subprocess.run(command, capture_output=True, check=True).stdout) >= MIB


def test_resident_memory_of_other_processes() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert 0 < resident_of([child.pid]).total < 100 * MIB
        assert resident().total > 0
    finally:
        child.communicate(b"\n")
    assert resident_of([child.pid]) == Resident(0, 0)
