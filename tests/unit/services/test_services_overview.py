"""What the dashboard is told: answers, the mempool by fee rate, recent events, peers as they are."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from btcnode.mempool.pool import Mempool
from btcnode.observe.progress import Rates, Snapshot
from btcnode.protocol.chronicle import MOST_ARRIVALS, MOST_DEPARTURES, Chronicle, Departure
from btcnode.services import answers
from btcnode.services.answers import Disk, Suspect
from btcnode.services.fee_survey import BLOCK_WEIGHT, BOUNDS, MOST_BLOCKS, ProjectedBlock, survey
from btcnode.services.recent import LEAST_TREND, DiskTrend

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
Running = Any
GB = 1_000_000_000


def snapshot(**more: Any) -> Snapshot:
    usual: dict[str, Any] = {"network": "mainnet", "now": 10_000, "blocks": 5, "headers": 5, "tip_time": 9_900}
    return Snapshot(**(usual | {"state": "synced", "peers_out": 8} | more))


def sections(running: Running) -> Any:
    """As they go out: through JSON."""
    return json.loads(json.dumps(running.do(running.assembled.overview.sections())))


# ---- answers


def test_is_it_in_sync() -> None:
    assert answers.in_sync(snapshot(), Rates())["answer"] == "Yes. The tip is 1 min 40 s old."
    behind = answers.in_sync(snapshot(state="blocks", headers=105), Rates(seconds_left=3700))
    assert behind == {
        "question": "Is it in sync?",
        "level": "plain",
        "answer": "No. 100 of 105 blocks are missing, 1 h 1 min left.",
    }
    alone = answers.in_sync(snapshot(peers_out=0), Rates())
    assert alone["level"] == "bad" and alone["answer"].startswith("Unknown: no peer")
    old = answers.in_sync(snapshot(now=1_000_000), Rates())
    assert old["level"] == "bad" and "Not for sure" in old["answer"]


def test_why_is_it_slow() -> None:
    busy = {"fetch": 1.0, "decode": 0.1, "validate": 0.8, "scripts": 0.75, "commit": 0.0}
    far = snapshot(state="blocks", headers=500)
    assert "coins to be looked up" in answers.why_slow(far, busy)["answer"]
    assert "80%" in answers.why_slow(far, busy)["answer"]
    assert "come from peers" in answers.why_slow(far, {"fetch": 1.0, "validate": 0.1})["answer"]
    assert answers.why_slow(far, {})["answer"].startswith("No stage")
    assert answers.why_slow(snapshot(), {})["level"] == "good"
    assert answers.why_slow(snapshot(peers_out=0, advice="Try this."), {})["answer"] == "It waits for a peer."
    assert answers.why_slow(snapshot(state="stalled"), busy)["level"] == "bad"


def departure(score: float, unix: int, *, broke_rules: bool = False) -> Departure:
    return Departure(7, "1.2.3.4:5", "ipv4", "/x/", True, unix, 10, score, broke_rules, "score 12, useless data")


def test_who_abuses() -> None:
    assert answers.who_abuses([Suspect(50.0, "1.1.1.1:1", 0, 0)], [], 0, 100)["level"] == "good"
    found = answers.who_abuses([Suspect(30.0, f"{n}.1.1.1:1", 2, 0) for n in range(5)], [], 3, 100)
    assert found["level"] == "bad" and "0.1.1.1:1 (score 30)" in found["answer"] and "and 2 more" in found["answer"]
    gone = answers.who_abuses([], [departure(12, 100), departure(90, 100)], 3, 100)
    assert gone["answer"].startswith("Nobody now. 1 has gone that was bad, the last 1.2.3.4:5: score")
    assert "3 faults" in answers.who_abuses([], [departure(12, 100)], 3, 200_000)["answer"]


def test_who_breaks_a_rule_and_is_gone_at_once_is_told() -> None:
    """Its score was never made anew."""
    gone = answers.who_abuses([], [departure(50, 100, broke_rules=True), departure(50, 100)], 3, 100)
    assert gone["level"] == "plain" and "1 has gone" in gone["answer"]


def test_who_only_fails_is_not_called_an_abuser() -> None:
    found = answers.who_abuses([Suspect(35.0, "1.1.1.1:1", 0, 0)], [], 0, 100)
    assert found["level"] == "plain" and found["answer"].startswith("Nobody breaks rules, but 1.1.1.1:1 (score 35)")


def test_when_is_the_disk_full() -> None:
    usual = {"free": 100 * GB, "keeps": 0, "missing": 0, "rate": None, "guessed": 0}
    measured = answers.when_full(Disk(**(usual | {"rate": 1_000_000.0})))  # type: ignore[arg-type]
    assert measured == {
        "question": "When is the disk full?",
        "level": "bad",
        "answer": "In 1 d 3 h (measured): 100.0 GB are free. The node stops before that.",
    }
    guessed = answers.when_full(Disk(**(usual | {"guessed": 1_000_000_000})))  # type: ignore[arg-type]
    assert "In 100 d 0 h (estimated)" in guessed["answer"] and guessed["level"] == "good"
    short = answers.when_full(Disk(**(usual | {"missing": 600 * GB})))  # type: ignore[arg-type]
    assert short["level"] == "bad" and "600.0 GB of blocks are missing" in short["answer"]
    assert "some minutes" in answers.when_full(Disk(**usual))["answer"]  # type: ignore[arg-type]
    assert answers.when_full(Disk(**(usual | {"rate": 0.0})))["level"] == "good"  # type: ignore[arg-type]
    little = answers.when_full(Disk(**(usual | {"free": 78_500_000, "keeps": 50_000_000})))  # type: ignore[arg-type]
    assert little["level"] == "bad" and "Soon: 78 MB are free, and at 50 MB the node stops" in little["answer"]
    assert Disk(**(usual | {"free": 5, "keeps": 10})).seconds_left() == 0  # type: ignore[arg-type]


def test_which_fee() -> None:
    full = ProjectedBlock(txs=2000, weight=BLOCK_WEIGHT - 10, fees=1, high=90.0, low=7.25)
    assert answers.which_fee([full], 1.0, {}, 0.9 * BLOCK_WEIGHT, in_sync=True)["answer"].startswith("7.25 sat/vB")
    assert answers.which_fee([], 1.0, {6: 3.5}, BLOCK_WEIGHT, in_sync=True)["answer"] == (
        "1.00 sat/vB would be in the next block as it is now; 3.50 within 6 blocks, by the last days."
    )
    part = ProjectedBlock(txs=1, weight=1000, fees=1, high=90.0, low=90.0)
    assert answers.which_fee([part], 1.0, {}, 0.9 * BLOCK_WEIGHT, in_sync=True)["answer"].startswith("1.00 sat/vB")
    assert answers.which_fee([full], 1.0, {6: 3.5}, 1.0, in_sync=False)["answer"].startswith("Unknown until")


def test_the_disk_is_judged_by_more_than_some_minutes() -> None:
    trend = DiskTrend()
    assert trend.free is None and trend.bytes_per_second() is None
    trend.add(0, 1000)
    trend.add(LEAST_TREND - 1, 900)
    assert trend.bytes_per_second() is None
    trend.add(2 * LEAST_TREND, 400)
    assert trend.bytes_per_second() == 600 / (2 * LEAST_TREND)
    trend.add(3 * LEAST_TREND, 2000)  # something was deleted
    assert trend.bytes_per_second() == 0
    for n in range(5000):
        trend.add(3 * LEAST_TREND + n, 1)
    assert len(trend._looks) == 1440


# ---- the mempool


class Chunks:
    """A mempool as far as a survey looks at it."""

    version = 5

    def __init__(self, rates: list[tuple[float, int]]) -> None:
        """Rate in sat/vB and vbytes, the best first."""
        self.found = [(int(rate * size), 4 * size) for rate, size in rates]

    def chunks_between(self, start: int, stop: int) -> list[Any]:
        class One:
            def __init__(self, fee: int, size: int) -> None:
                self.fee, self.size, self.entries = fee, size, (None,)

        return [One(*pair) for pair in self.found[start:stop]]


def surveyed(pool: Any) -> Any:
    return asyncio.run(survey(pool))


def test_a_survey_sorts_by_rate_and_projects_blocks() -> None:
    found = surveyed(Chunks([(600, 10_000), (50, 980_000), (49, 20_000), (2.5, 900_000), (0.1, 1000)]))
    assert found.version == 5
    by_range = dict(zip([0.0, *BOUNDS], found.vbytes, strict=True))
    assert by_range[500] == 10_000 and by_range[50] == 980_000 and by_range[30] == 20_000
    assert by_range[2] == 900_000 and by_range[0.0] == 1000
    assert [(block.txs, round(block.low, 1)) for block in found.blocks] == [(2, 50.0), (3, 0.1)]
    assert surveyed(Mempool()).blocks == []


def test_a_survey_of_a_huge_mempool_is_bounded_and_lets_others_in() -> None:
    pool = Chunks([(100_000 / (n + 1), 250) for n in range(200_000)])

    async def work() -> tuple[Any, int]:
        turns = 0
        task = asyncio.ensure_future(survey(pool))  # type: ignore[arg-type]
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return task.result(), turns

    found, turns = asyncio.run(work())
    assert sum(found.vbytes) == 200_000 * 250 and len(found.blocks) == MOST_BLOCKS
    assert turns >= 200


# ---- events


def test_the_chronicle_is_bounded() -> None:
    class Peer:
        id, address, network, user_agent, inbound, connected_unix = 3, "1.2.3.4:5", "ipv4", "/x/", True, 100

        class conduct:
            score, offences = 50.0, {"HEADERS_TOO_MANY": 1}

    chronicle, peer = Chronicle(), Peer()
    for n in range(1000):
        chronicle.announced(n, peer, float(n))  # type: ignore[arg-type]
        chronicle.came(n, peer, n + 0.5, 1000, "compact", 2)  # type: ignore[arg-type]
        chronicle.came(n, peer, n + 9.0, 1000, "full", 0)  # type: ignore[arg-type]
        chronicle.left(peer, 160.0, "bye")  # type: ignore[arg-type]
    assert len(chronicle.arrivals) == MOST_ARRIVALS and len(chronicle.departures) == MOST_DEPARTURES
    last = chronicle.arrivals[999]
    assert (last.form, last.asked, last.first, last.whole) == ("compact", 2, 999.0, 999.5)
    assert chronicle.departures[-1].seconds == 60


def test_blocks_and_reorganisations_are_told(running: Running) -> None:
    made = running.call("generatetoaddress", 4, ADDRESS)
    running.call("invalidateblock", made[2])
    new = running.call("generatetoaddress", 3, OTHER)
    found = sections(running)
    assert found["state"]["blocks"] == 5 and found["state"]["tip"] == new[-1]
    assert [one["height"] for one in found["blocks"]][:3] == [5, 4, 3]
    (branch,) = found["branches"]
    assert branch["depth"] == 2 and branch["fork"] == {"height": 2, "hash": made[1]}
    assert [one["hash"] for one in branch["left"]] == made[2:]
    assert [one["hash"] for one in branch["joined"]] == new
    running.call("generatetoaddress", 2, ADDRESS)
    assert len(sections(running)["branches"][0]["joined"]) == 3


def test_a_minute_of_looks_is_remembered(running: Running) -> None:
    recent = running.assembled.recent
    for _ in range(500):
        running.do(recent.note_state())
    assert len(recent.fees) == 180
    found = sections(running)
    assert len(found["mempool"]["history"]) <= 60
    assert len(found["mempool"]["history"][-1][1]) == len(BOUNDS) + 1


def test_a_disk_that_cannot_be_asked_ends_nothing_here(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = running.assembled.recent
    running.do(recent.note_state())
    free, looks = recent.disk.free, len(recent.fees)

    def gone(path: Path) -> NoReturn:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "statvfs", gone)
    running.do(recent.note_state())
    assert recent.disk.free == free and len(recent.fees) == looks + 1


# ---- peers


def test_peers_come_as_they_are_with_their_departures(running: Running) -> None:
    peer = running.add_peer("8.7.6.5:8333", user_agent=b"/<script>alert(1)</script>/")
    found = sections(running)
    (told,) = found["peers"]["listed"]
    assert told["address"] == "8.7.6.5:8333" and told["user_agent"] == "/scriptalert(1)/script/"
    assert told["network"] == "ipv4" and told["inbound"] and told["standing"] == "observed"
    assert found["traffic"]["types"]["version"][0] > 100
    peer.close()
    for _ in range(200):
        found = sections(running)
        if found["peers"]["gone"]:
            break
    (gone,) = found["peers"]["gone"]
    assert gone["address"] == "8.7.6.5:8333"
    assert gone["reason"] == "remote end closed" or "reset" in gone["reason"]  # what it had not read


def test_many_peers_are_told_in_one_picture(running: Running) -> None:
    count = 110  # as many as may come in
    for n in range(count):
        running.add_peer(f"{20 + n}.1.1.1:8333")
    found = sections(running)
    assert found["peers"]["number"] == count
    assert len(found["peers"]["listed"]) == count
    assert len(json.dumps(found)) < 100_000
