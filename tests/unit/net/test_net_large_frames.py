"""Large messages that do not end: those that connected share what they may announce, and give way to each other."""

from __future__ import annotations

from btcnode.net.large_frames import PROGRESS, STALLED, LargeFrames

SIZE = 4_000_000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(budget: int = 4 * SIZE) -> tuple[Clock, LargeFrames]:
    clock = Clock()
    return clock, LargeFrames(clock, budget)


def test_only_so_many_are_read_at_a_time() -> None:
    _, frames = make()
    assert [frames.may_read(peer, SIZE, 70_000) for peer in range(6)] == [True] * 4 + [False] * 2
    assert not frames.may_read(9, 300_000, 70_000)  # what waits has no room either ...
    frames.forget(1)
    assert not frames.may_read(4, SIZE, 70_000)  # ... but the smallest of it is the next
    assert frames.may_read(9, 300_000, 70_000)


def test_who_does_not_go_on_gives_way_only_while_others_wait() -> None:
    clock, frames = make()
    for peer in range(4):
        frames.may_read(peer, SIZE, 3_900_000)
    clock.now += 100 * STALLED
    assert frames.stalled() == []
    assert not frames.may_read(4, SIZE, 70_000)
    frames.may_read(0, SIZE, 3_900_000 + PROGRESS - 1)
    frames.may_read(1, SIZE, 3_900_000 + PROGRESS)
    assert frames.stalled() == [0, 2, 3]
    for peer in (0, 2, 3):
        frames.forget(peer)
    assert frames.may_read(4, SIZE, 70_000)
    assert frames.stalled() == []


def test_next_message_of_a_peer_asks_for_room_anew() -> None:
    _, frames = make(2 * SIZE)
    assert frames.may_read(1, SIZE, 3_900_000)
    assert frames.may_read(2, SIZE, 70_000)
    assert not frames.may_read(3, SIZE // 2, 70_000)
    assert not frames.may_read(1, SIZE, 10_000)  # another one: somebody smaller waits
    assert frames.may_read(3, SIZE // 2, 70_000)


def test_a_peer_that_is_gone_leaves_nothing() -> None:
    _, frames = make(SIZE)
    frames.may_read(1, SIZE, 0)
    frames.may_read(2, 1000, 0)
    for peer in (1, 2, 3):
        frames.forget(peer)
    assert frames.may_read(4, SIZE, 0) and frames.stalled() == []
