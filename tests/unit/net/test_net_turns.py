"""Turns: slices, order and charges, on a clock that only work moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from btcnode.net.turns import ALONE, ASKED, SLICE, Turn, Turns


class Loop:
    """Calls what is due one after the other; its clock stands still between pieces of work."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.block_in_work = False
        self.others = 0.0  # seconds that other threads have worked
        self.turns = Turns(
            self.due.append, lambda: self.now, lambda: self.now,
            call_later=lambda seconds, call: self.later.append((seconds, call)), gives_way=lambda: self.block_in_work,
            others=lambda: self.others,
        )  # fmt: skip
        self.order: list[int] = []
        self.spent: Counter[int] = Counter()

    def peer(self, number: int, cost: float, pieces: int) -> Turn:
        """A connection with so many pieces of work of ``cost`` seconds each."""
        left = pieces

        def work() -> bool:
            nonlocal left
            if not left:
                return False
            left -= 1
            self.now += cost
            self.order.append(number)
            self.spent[number] += cost  # type: ignore[assignment]
            return left > 0

        return Turn(number, work, lambda: None)

    def take_rests(self, busy: float = 1.0) -> float:
        """Let the seconds pass after which slices are to follow, and these follow; tells how many.

        ``busy``: the share of them that other threads work.
        """
        later, self.later[:] = self.later[:], []
        for seconds, call in later:
            self.now += seconds
            self.others += seconds * busy
            self.due.append(call)
        return sum(seconds for seconds, _ in later)

    def slice(self) -> int:
        """One pass of the loop; how many pieces were done in it."""
        before = len(self.order)
        due, self.due[:] = self.due[:], []
        for call in due:
            call()
        return len(self.order) - before


def test_a_slice_ends_and_the_loop_goes_on_before_the_next() -> None:
    loop = Loop()
    for number in range(110):
        loop.turns.add(loop.peer(number, 0.0005, 100))
    assert len(loop.due) == 1
    for _ in range(20):
        begun = loop.now
        loop.slice()
        assert loop.now - begun <= SLICE + 0.0005
        assert len(loop.due) == 1  # one call, whoever waits


def rested(loop: Loop, passes: int) -> float:
    """So many passes; the share of all seconds that was rest."""
    begun, rest = loop.now, 0.0
    for _ in range(passes):
        loop.slice()
        rest += loop.take_rests()
    return rest / (loop.now - begun)


@pytest.mark.parametrize("cost", [0.0001, 0.001, 0.006, 0.012])
def test_a_block_at_the_tip_has_most_of_the_interpreter(cost: float) -> None:
    loop = Loop()
    for number in range(50):
        loop.turns.add(loop.peer(number, cost, 10**6))
    assert rested(loop, 20) == 0
    loop.block_in_work = True
    assert 0.7 < rested(loop, 200) <= 0.7501
    loop.block_in_work = False
    rested(loop, 2)
    assert rested(loop, 20) == 0


def test_who_comes_again_and_again_leaves_the_same_share() -> None:
    loop = Loop()
    loop.block_in_work = True
    begun = loop.now
    for _ in range(1_000):  # a single short message each time: the queue is empty after each slice
        loop.turns.add(loop.peer(1, 0.0005, 1))
        loop.slice()
        loop.take_rests()
    assert 0.2 < loop.spent[1] / (loop.now - begun) < 0.3


def test_a_rest_ends_with_the_block() -> None:
    loop = Loop()
    loop.block_in_work = True
    for number in range(50):
        loop.turns.add(loop.peer(number, 0.02, 10**6))
    loop.slice()
    ((seconds, _),) = loop.later
    assert seconds <= SLICE
    loop.block_in_work = False
    done = len(loop.order)
    loop.take_rests()
    loop.slice()
    assert len(loop.order) > done


def test_a_rest_ends_when_no_other_thread_makes_use_of_it() -> None:
    for busy, at_most in ((0.01, 2), (0.9, 12)):
        loop = Loop()
        loop.block_in_work = True
        loop.turns.add(loop.peer(1, 0.02, 10**6))
        loop.slice()
        done, steps = len(loop.order), 0
        while len(loop.order) == done:
            assert loop.take_rests(busy)
            loop.slice()
            steps += 1
        assert steps <= at_most and (steps == 1) is (busy < 0.1)  # the chain's thread may wait for workers


def test_newcomers_do_not_each_have_what_an_honest_peer_has_had_before_it() -> None:
    loop = Loop()
    honest = Turn(999, loop.peer(999, 0.0002, 1).work, lambda: None)
    for _ in range(100):  # it has had 20 ms of late
        honest.work = loop.peer(999, 0.0002, 1).work
        loop.turns.add(honest)
        loop.slice()
    for number in range(110):
        loop.turns.add(loop.peer(number, 0.0005, 1000))
    honest.work = loop.peer(999, 0.0001, 1).work
    loop.turns.add(honest)
    begun = loop.now
    while loop.order.count(999) < 101:
        loop.slice()
    assert loop.now - begun <= 110 * 0.0015 + 0.001  # a turn of each; what the honest one has had, of each: two seconds


def test_little_work_is_done_at_once_beside_a_block() -> None:
    loop = Loop()
    loop.block_in_work = True
    loop.turns.add(loop.peer(1, 0.0005, 1))
    assert loop.slice() == 1 and not loop.later


def test_a_piece_longer_than_a_slice_ends_it() -> None:
    loop = Loop()
    for number in range(10):
        loop.turns.add(loop.peer(number, 4 * SLICE, 3))
    assert [loop.slice() for _ in range(10)] == [1] * 10
    assert loop.order == list(range(10))


def test_shares_are_equal_in_time_not_in_messages() -> None:
    loop = Loop()
    loop.turns.add(loop.peer(1, 0.016, 1000))
    loop.turns.add(loop.peer(2, 0.0001, 100_000))
    while loop.now < 3.0:
        loop.slice()
    assert abs(loop.spent[1] - loop.spent[2]) <= 0.04


def test_who_asks_for_little_is_served_next_however_many_are_busy() -> None:
    loop = Loop()
    for number in range(110):
        loop.turns.add(loop.peer(number, 0.01, 1000))
    for _ in range(150):  # each of them has had something
        loop.slice()
    honest = loop.peer(999, 0.0001, 1)
    for _ in range(20):
        honest.work = loop.peer(999, 0.0001, 1).work  # one message, then it waits for the answer
        done = len(loop.order)
        loop.turns.add(honest)
        loop.slice()
        assert loop.order[done] == 999
        for _ in range(7):
            loop.slice()


def test_who_brings_little_goes_before_who_brings_much() -> None:
    """A hundred peers that were silent so far bring a megabyte each at once: a ping does not wait for all of them."""
    loop = Loop()
    honest = loop.peer(999, 0.0001, 50)
    loop.turns.add(honest)
    loop.slice()  # it has had a little
    honest.work = loop.peer(999, 0.0001, 1).work
    honest.held = 32
    for number in range(100):
        hostile = loop.peer(number, 0.02, 1)
        hostile.held = 1_000_000
        loop.turns.add(hostile)
    loop.turns.add(honest)
    loop.slice()
    assert loop.order[50] == 999


@pytest.mark.parametrize(("strangers", "most"), [(20, 0.03), (110, 0.05)])
def test_a_round_of_many_with_much_to_do_is_short(strangers: int, most: float) -> None:
    """Who asks for a little again and again is ahead of a hundred who come anew, and waits until each has as much."""
    loop = Loop()
    for number in range(strangers):
        loop.turns.add(loop.peer(number, 0.00002, 10**6))
    honest = loop.peer(999, 0.0003, 1)
    waits = []
    for _ in range(20):
        honest.work = loop.peer(999, 0.0003, 1).work
        loop.turns.add(honest)
        begun, asked = loop.now, loop.spent[999]
        while loop.spent[999] == asked:
            loop.slice()
        waits.append(loop.now - begun)
    assert max(waits) < most
    shares = [loop.spent[number] for number in range(strangers)]
    assert max(shares) - min(shares) < 0.0015, "and all have the same"


def test_rest_is_not_saved_up() -> None:
    """Who was silent for long has no claim on all the time that others had meanwhile."""
    loop = Loop()
    loop.turns.add(loop.peer(1, 0.001, 1_000_000))
    while loop.now < 100.0:
        loop.slice()
    loop.turns.add(loop.peer(2, 0.001, 100_000))
    before = loop.spent[1]
    while loop.now < 106.0:
        loop.slice()
    assert loop.spent[1] - before >= 2.0


def test_a_newcomer_does_not_come_before_those_who_wait_for_ever() -> None:
    """Connections without a past, one after the other, do not keep a busy one from its turn."""
    loop = Loop()
    loop.turns.add(loop.peer(1, 0.005, 10_000))
    while loop.now < 5.0:
        loop.slice()
    before = loop.spent[1]
    for number in range(2, 302):
        loop.turns.add(loop.peer(number, 0.005, 10_000))
        for _ in range(20):
            loop.slice()
    assert loop.spent[1] > before


def test_what_is_excused_is_not_charged_but_counts_for_the_order() -> None:
    loop = Loop()

    def work() -> bool:
        loop.now += 0.003
        turn.excused = True
        return False

    turn = Turn(7, work, lambda: None)
    loop.turns.add(loop.peer(8, 0.002, 1))
    loop.turns.add(turn)
    loop.slice()
    assert dict(loop.turns.take_charges()) == {8: pytest.approx(0.002)}
    assert turn.end - turn.start == pytest.approx(0.003 * ASKED, rel=0.01)
    assert dict(loop.turns.take_charges()) == {}


def test_work_that_keeps_nobody_waiting_is_charged_with_little() -> None:
    loop = Loop()
    loop.turns.add(loop.peer(7, 0.002, 1))
    loop.slice()
    assert dict(loop.turns.take_charges()) == {7: pytest.approx(0.002 * ALONE)}


def test_writing_at_the_end_of_a_turn_counts_for_the_order_and_may_ask_for_another_turn() -> None:
    loop = Loop()
    writes = 3

    def finish() -> None:
        nonlocal writes
        writes -= 1
        loop.now += 0.004
        if writes:
            loop.turns.add(turn)

    turn = Turn(1, lambda: False, finish)
    loop.turns.add(turn)
    for _ in range(5):
        loop.slice()
    assert not writes
    assert not loop.due
    assert turn.end == pytest.approx(0.012, rel=0.01)
    assert sum(seconds for _, seconds in loop.turns.take_charges()) == 0


def test_an_error_in_one_connections_work_does_not_stop_the_others() -> None:
    loop = Loop()

    def work() -> bool:
        raise RuntimeError("broken")

    loop.turns.add(Turn(1, work, lambda: None))
    loop.turns.add(loop.peer(2, 0.001, 3))
    with pytest.raises(RuntimeError):
        loop.slice()
    loop.slice()
    assert loop.order == [2, 2, 2]


def test_a_turn_asks_for_processor_time_at_its_ends_only() -> None:
    """That is a system call, dear beside a small message; pieces have their shares by the clock."""
    asked = 0
    loop = Loop()

    def cpu() -> float:
        nonlocal asked
        asked += 1
        return loop.now / 2  # a thread beside the loop has the other half

    loop.turns = Turns(loop.due.append, clock=lambda: loop.now, cpu=cpu)
    left = 8

    def work() -> bool:
        nonlocal left
        left -= 1
        loop.now += 0.0001
        turn.excused = left % 4 == 0
        return left > 0

    turn = Turn(1, work, lambda: None)
    loop.turns.add(turn)
    loop.slice()
    assert not left
    assert asked == 3
    assert dict(loop.turns.take_charges()) == {1: pytest.approx(0.0003 * ALONE)}  # six of eight pieces, half the time
