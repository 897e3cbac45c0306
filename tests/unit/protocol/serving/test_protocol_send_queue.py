"""Classes, buckets and deadlines of what is sent to a peer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from btcnode.protocol.serving import send_queue as sq
from btcnode.protocol.serving.send_queue import SendQueue, SharedLimits, TokenBucket, class_of, rate_for

BURST = int(sq.RATE_MAX * sq.BURST)


def make(*, limited: bool = True) -> tuple[SendQueue, SharedLimits]:
    shared = SharedLimits(0.0)
    queue = SendQueue(shared, 0.0, 24)
    queue.limited = limited
    return queue, shared


def drain(queue: SendQueue, now: float, *, full: bool = False) -> list[str]:
    found = []
    while (message := queue.pop(now, full=full)) is not None:
        found.append(message.command)
    return found


def add(queue: SendQueue, now: float, *commands: str, full: bool = False, droppable: bool = False) -> None:
    for command in commands:
        queue.add(now, command, b"x" * 76, full=full, droppable=droppable)


def test_the_rate_follows_the_bandwidth_within_bounds() -> None:
    assert [rate_for(b) for b in (None, 0.0, 0.1e6, 1e6, 2e6, 4e6, 1e9)] == [200, 10, 10, 50, 100, 200, 200]


def test_classes() -> None:
    for command in (
        "ping",
        "pong",
        "headers",
        "block",
        "cmpctblock",
        "getblocktxn",
        "blocktxn",
        "getdata",
        "verack",
        "what",
    ):
        assert class_of(command, droppable=False) == 0
    assert class_of("inv", droppable=False) == 0  # of blocks
    assert class_of("inv", droppable=True) == class_of("tx", droppable=False) == 1
    assert {class_of(c, droppable=False) for c in ("addr", "addrv2", "cfilter")} == {2}


def test_class_0_never_waits_for_a_bucket_without_congestion() -> None:
    queue, _ = make()
    add(queue, 0.0, *["tx"] * (BURST + 10))
    add(queue, 0.0, *["ping"] * (2 * BURST))
    assert drain(queue, 0.0).count("ping") == 2 * BURST
    assert queue.holds


def test_a_bucket_lets_a_burst_pass_then_its_rate() -> None:
    queue, shared = make()
    add(queue, 0.0, *["tx"] * (BURST + 250))
    assert len(drain(queue, 0.0)) == BURST
    assert shared.counts.delayed[1] == 250
    assert queue.wait(0.0) == 1 / sq.RATE_MAX
    sent = 0
    for step in range(1, 11):
        queue.release(step / 10)
        sent += len(drain(queue, step / 10))
    assert sent == 200
    queue.release(3.0)
    assert len(drain(queue, 3.0)) == 50  # nothing was lost
    assert not queue.size
    assert queue.wait(3.0) is None


def test_classes_do_not_share_a_bucket() -> None:
    queue, _ = make()
    add(queue, 0.0, *["tx"] * (BURST + 5), "addr", "cfilter")
    assert drain(queue, 0.0)[-2:] == ["addr", "cfilter"]


def test_order_within_a_class_holds() -> None:
    queue, _ = make()
    add(queue, 0.0, *["tx"] * BURST, "merkleblock", "tx", "notfound")
    assert len(drain(queue, 0.0)) == BURST
    queue.release(10.0)
    assert drain(queue, 10.0) == ["merkleblock", "tx", "notfound"]


def test_late_news_is_dropped_and_answers_are_not() -> None:
    queue, shared = make()
    queue.measure(0.0, 1000, 1.0)  # a slow line: 10 a second
    add(queue, 0.0, *["tx"] * 60)
    add(queue, 0.0, *["inv"] * 3, droppable=True)
    assert len(drain(queue, 0.0)) == 50
    queue.release(0.6)  # 6 tokens for the answers in front, and it is too late for the rest
    queue.release(1.2)
    assert drain(queue, 1.2) == ["tx"] * 10
    queue.release(1.3)
    assert shared.counts.dropped == [0, 3, 0]
    assert not queue.size


def test_news_that_waited_for_us_is_sent() -> None:
    """A node that had no processor for a second tells late: the peer would not hear of it again."""
    queue, shared = make()
    add(queue, 0.0, "inv", "addr", droppable=True)
    assert drain(queue, 9.0) == ["inv", "addr"]
    add(queue, 10.0, *["tx"] * BURST)
    assert len(drain(queue, 10.0)) == BURST
    add(queue, 10.0, *["inv"] * 3, droppable=True)
    assert drain(queue, 10.0) == []  # they wait for the bucket, which has tokens long before anybody looks
    queue.release(11.0)
    assert drain(queue, 11.0) == ["inv"] * 3
    assert not any(shared.counts.dropped)


def test_news_that_waited_for_its_bucket_too_long_is_dropped() -> None:
    queue, shared = make()
    add(queue, 0.0, *["inv"] * (BURST + 500), droppable=True)
    assert len(drain(queue, 0.0)) == BURST
    for at in range(1, 20):
        queue.release(at / 10)
    told = int(sq.RATE_MAX * sq.DEADLINES[1])
    assert told <= len(drain(queue, 2.0)) <= told + sq.RATE_MAX / 10
    assert shared.counts.dropped[1] > 300
    assert not queue.size


def test_gossip_may_wait_longer_than_announcements() -> None:
    queue, shared = make()
    add(queue, 0.0, "inv", "addr", full=True, droppable=True)
    assert drain(queue, 0.4, full=True) == []  # the socket takes nothing
    assert drain(queue, 4.9) == ["addr"]
    assert shared.counts.dropped == [0, 1, 0]
    add(queue, 10.0, "addr", full=True, droppable=True)
    assert drain(queue, 15.1) == []
    assert shared.counts.dropped == [0, 1, 1]


def test_urgent_messages_overtake_what_a_full_socket_does_not_take() -> None:
    queue, _ = make()
    add(queue, 0.0, "block", "tx", "ping", "headers", full=True)
    assert drain(queue, 0.0, full=True) == ["ping", "headers"]
    assert drain(queue, 0.0) == ["block", "tx"]


def test_urgent_messages_never_overtake_each_other() -> None:
    queue, _ = make()
    add(queue, 0.0, "block", "headers")
    add(queue, 0.0, "cmpctblock", full=True)  # the socket was not full yet when the other one came
    assert drain(queue, 0.0, full=True) == ["headers", "cmpctblock"]
    assert drain(queue, 0.0) == ["block"]
    queue.measure(0.0, 1000, 1.0)  # a slow line: 15 a second of class 0, and 75 at once
    add(queue, 0.0, *["sendcmpct"] * 75, "headers", "getdata")
    assert drain(queue, 0.0) == ["sendcmpct"] * 75
    queue.release(0.1)
    add(queue, 0.1, "cmpctblock", full=True)
    queue.release(0.2)
    assert drain(queue, 0.2, full=True) == ["headers", "getdata", "cmpctblock"]


def test_a_pong_comes_after_all_answers_that_were_asked_for_before() -> None:
    queue, _ = make()
    add(queue, 0.0, *["tx"] * (BURST + 1), *["cfilter"] * (BURST + 2), "pong", "tx", "headers", "pong")
    assert drain(queue, 0.0)[-1] == "headers"
    assert queue.wait(0.0) == 1 / sq.RATE_MAX
    queue.release(1 / sq.RATE_MAX)
    assert drain(queue, 1.0) == ["tx", "cfilter"]
    queue.release(2 / sq.RATE_MAX)
    assert drain(queue, 1.0) == ["tx", "cfilter", "pong", "pong"]
    assert queue.wait(1.0) is None


@given(st.lists(st.tuples(st.sampled_from(["tx", "inv", "block", "headers", "pong", "cfilter", "verack"]),
                          st.booleans(), st.floats(0, 0.1)), max_size=200))  # fmt: skip
def test_order_holds_within_classes_and_before_pongs(steps: list[tuple[str, bool, float]]) -> None:
    queue, _ = make()
    queue.measure(0.0, 1000, 1.0)
    now, taken = 0.0, []
    for command, full, pause in steps:
        queue.add(now, command, b"", full=full, droppable=False)
        now += pause
        queue.release(now)
        while (message := queue.pop(now, full=full)) is not None:
            taken.append(message)
    taken += queue.pop_all()
    for kind in range(sq.CLASSES):
        past = {"pong", "block", *sq.URGENT}
        rest = [message.place for message in taken if message.kind == kind and message.command not in past]
        assert rest == sorted(rest)
    urgent = [m.place for m in taken if m.command in sq.URGENT]
    assert urgent == sorted(urgent)
    for n, message in enumerate(taken):
        if message.command == "pong":
            assert all(other.place < message.place or other.command != "pong" for other in taken[:n])
            assert not any(other.place < message.place for other in taken[n + 1 :])


def test_blocks_are_limited_by_the_socket_alone() -> None:
    queue, _ = make()
    queue.measure(0.0, 1000, 1.0)
    add(queue, 0.0, *["block"] * 5000)
    assert len(drain(queue, 0.0)) == 5000


def test_favoured_links_have_no_buckets() -> None:
    queue, _ = make(limited=False)
    add(queue, 0.0, *["tx", "addr"] * 5000)
    assert len(drain(queue, 0.0)) == 10_000


def test_all_peers_together_have_a_bucket_too() -> None:
    shared = SharedLimits(0.0)
    queues = [SendQueue(shared, 0.0, 24) for _ in range(20)]
    for queue in queues:
        add(queue, 0.0, *["tx"] * BURST)
    assert sum(len(drain(queue, 0.0)) for queue in queues) == sq.GLOBAL_FACTOR * BURST
    shared.measure(0.0, 200_000, 1.0)
    assert shared.rates.buckets[1].rate == sq.GLOBAL_FACTOR * sq.RATE_MIN


def test_nothing_is_lost_at_the_end() -> None:
    queue, _ = make()
    add(queue, 0.0, *["tx"] * (BURST + 3), "addr")
    left = queue.pop_all()
    assert [message.command for message in left] == ["tx"] * (BURST + 3) + ["addr"]
    assert not queue.size
    assert not queue
    assert not queue.holds


def test_too_short_a_moment_measures_nothing() -> None:
    queue, _ = make()
    queue.measure(0.0, 10, 0.0001)
    assert queue.bandwidth.value is None
    queue.measure(0.0, 1_000_000, 1.0)
    queue.measure(0.0, 3_000_000, 1.0)
    assert queue.bandwidth.value == 1_600_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tx", "inv", "addr", "block", "ping", "cfilter"]),
            st.booleans(),
            st.booleans(),
            st.floats(0, 0.2),
        ),
        max_size=300,
    )
)
def test_sizes_add_up_and_only_news_is_dropped(steps: list[tuple[str, bool, bool, float]]) -> None:
    queue, shared = make()
    queue.measure(0.0, 1000, 1.0)
    now, taken, droppable = 0.0, 0, 0
    for command, news, full, pause in steps:
        news = news and command in ("inv", "addr")
        add(queue, now, command, full=full, droppable=news)
        droppable += news
        now += pause
        queue.release(now)
        taken += len(drain(queue, now, full=full))
        left = len(steps) - taken - sum(shared.counts.dropped)
        assert queue.size >= 0
        assert left >= 0
    taken += len(queue.pop_all())
    assert taken + sum(shared.counts.dropped) == len(steps)
    assert sum(shared.counts.dropped) <= droppable
    assert queue.size == 0


def test_a_bucket_never_has_more_than_its_burst() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert bucket.has(1e9)
    for _ in range(50):
        assert bucket.has(1e9)
        bucket.take()
    assert not bucket.has(1e9)


def shares(queue: SendQueue, start: float, seconds: int, *, full: bool) -> list[int]:
    """Messages of each class that pass while more of every class than may pass waits, in steps of a tenth."""
    before = list(queue._shared.counts.sent)
    for step in range(10 * seconds):
        now = start + step / 10
        queue.release(now)
        for command, kind in (("inv", 0), ("tx", 1), ("addr", 2)):
            while len(queue._held[kind]) < 100:
                add(queue, now, command, full=full)
        drain(queue, now)
    return [after - b for b, after in zip(before, queue._shared.counts.sent, strict=True)]


def test_under_congestion_the_classes_get_their_shares_of_the_base_rate() -> None:
    """A line of 1 MB/s, so 50 messages a second: 75 of class 0, 50 of class 1, 15 of class 2; measured over 200 s."""
    queue, _ = make()
    queue.measure(0.0, 1_000_000, 1.0)
    shares(queue, 0.0, 20, full=True)  # bursts
    for sent, rate in zip(shares(queue, 20.0, 200, full=True), (75, 50, 15), strict=True):
        assert abs(sent - rate * 200) <= 5


def test_all_peers_together_get_the_same_shares_of_classes_1_and_2() -> None:
    shared = SharedLimits(0.0)
    queues = [SendQueue(shared, 0.0, 24) for _ in range(30)]
    sent = [0, 0, 0]
    for step in range(600):
        now = step / 10
        shared.measure(now, 100_000, 0.1)  # 1 MB/s: 500 a second of class 1 and 150 of class 2 for thirty peers
        for queue in queues:
            queue.release(now)
            for kind, command in ((1, "tx"), (2, "addr")):
                add(queue, now, *[command] * max(0, 30 - len(queue._held[kind])))
            drain(queue, now)
        if step == 199:
            sent = list(shared.counts.sent)
    assert abs(shared.counts.sent[1] - sent[1] - 500 * 40) <= 50
    assert abs(shared.counts.sent[2] - sent[2] - 150 * 40) <= 50


def test_the_end_of_congestion_sets_free() -> None:
    queue, shared = make()
    queue.measure(0.0, 1_000_000, 1.0)
    add(queue, 0.0, *["inv"] * 1000, *["addr"] * 1000)
    assert drain(queue, 0.0).count("inv") == 375  # five seconds of 75
    queue.release(4.0)
    assert drain(queue, 4.0).count("inv") == 300
    assert queue.wait(4.0) is not None
    queue.release(sq.CONGESTION)
    assert drain(queue, sq.CONGESTION).count("inv") == 325
    before = shared.counts.sent[2]
    for second in range(6, 16):
        queue.release(float(second))
        drain(queue, float(second))
    assert shared.counts.sent[2] - before == 500  # the base rate of class 2, not 0.3 of it


def test_peers_that_do_not_read_do_not_keep_others_pings_waiting() -> None:
    shared = SharedLimits(0.0)
    for _ in range(110):
        add(SendQueue(shared, 0.0, 24), 0.0, *["pong"] * 3000, full=True)
    slow = SendQueue(shared, 0.0, 24)
    add(slow, 0.0, "ping", full=True)
    assert drain(slow, 0.0, full=True) == ["ping"]


def test_peers_that_ask_for_much_do_not_keep_others_from_hearing_news() -> None:
    shared = SharedLimits(0.0)
    greedy = [SendQueue(shared, 0.0, 24) for _ in range(30)]
    honest = SendQueue(shared, 0.0, 24)
    heard = 0
    for step in range(300):
        now = step / 10
        for queue in greedy:
            queue.release(now)
            add(queue, now, *["notfound"] * max(0, 50 - len(queue._held[1])))
            drain(queue, now)
        honest.release(now)
        if step % 20 == 0:
            add(honest, now, "inv", droppable=True)
        heard += len(drain(honest, now))
    assert heard == 15
    assert not shared.counts.dropped[1]
