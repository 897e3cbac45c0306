"""A thread that does what it is given."""

from __future__ import annotations

import threading

from btcnode.side_thread import SideThread


def test_pieces_are_done_in_order_and_waited_for() -> None:
    done: list[int] = []
    thread = SideThread("t")
    assert thread.wait(0.0)  # nothing was given
    for n in range(1_000):
        thread.give(lambda n=n: done.append(n))  # type: ignore[misc]
    assert thread.wait(60.0) and done == list(range(1_000))
    assert thread.close(60.0) and thread.wait(0.0)


def test_what_hangs_is_waited_for_as_long_as_said() -> None:
    goes_on = threading.Event()
    thread = SideThread("t")
    thread.give(goes_on.wait)  # type: ignore[arg-type]
    assert not thread.wait(0.001) and not thread.close(0.001)
    goes_on.set()
    assert thread.close(60.0)


def test_who_waits_for_one_that_is_about_to_end_waits_for_that() -> None:
    """And not for a piece behind its end: each node that stopped took two seconds for that."""
    goes_on = threading.Event()
    thread = SideThread("t")
    thread.give(goes_on.wait)  # type: ignore[arg-type]
    assert not thread.close(0.0) and not thread.wait(0.0)
    threading.Timer(0.05, goes_on.set).start()
    assert thread.wait(5.0)


def test_a_piece_does_not_wait_for_itself() -> None:
    said: list[bool] = []
    thread = SideThread("t")
    thread.give(lambda: said.append(thread.wait(60.0)))
    assert thread.wait(60.0) and said == [True]
    assert thread.close(60.0)


def test_one_that_was_given_nothing_has_no_thread_to_end() -> None:
    assert SideThread("t").close(0.0)
