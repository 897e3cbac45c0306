"""Large answers that processes beside the node make: not a byte differs, and what they fail at is done without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.rpc import room
from btcnode.rpc.block_statistics import statistics_of_bytes
from btcnode.rpc.block_text import text_of_bytes
from btcnode.rpc.methods import scanblocks
from btcnode.side_processes import SideProcesses

Running = Any
ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
MATURITY = 100


@pytest.fixture
def block(running: Running, monkeypatch: pytest.MonkeyPatch) -> str:
    """A block that spends something, in a node that keeps no answers and asks processes for everything."""
    running.parts.chain.lately.set_limit(0)
    monkeypatch.setattr(room, "ELSEWHERE_BYTES", 0)
    first = running.call("generatetodescriptor", 1, "raw(52)")[0]
    coinbase = running.call("getblock", first)["tx"][0]
    running.call("generatetodescriptor", MATURITY, "raw(51)")
    outpoint = bytes.fromhex(coinbase)[::-1] + bytes(4)
    spend = Tx(2, [outpoint], [b""], [0xFFFFFFFF], [make_txout(49 * 10**8, b"\x51"), make_txout(5, b"\x6a\x01x")])
    made: str = running.call("generateblock", ADDRESS, [spend.raw.hex()])["hash"]
    return made


def answers(running: Running, block: str) -> list[Any]:
    genesis = running.call("getblockhash", 0)
    calls = [("getblock", [name, level]) for name in (block, genesis) for level in (1, 2, 3)]
    calls += [("getblockstats", [name]) for name in (block, genesis)]
    return [running.call(method, *params) for method, params in calls]


def noting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What processes are asked for from now on, which is done at once."""
    asked: list[str] = []

    def submit(self: SideProcesses, work: Callable[..., Any], parts: Sequence[bytes]) -> Future[Any]:
        asked.append(work.__name__)
        answer: Future[Any] = Future()
        answer.set_result(list(work(*parts)))
        return answer

    monkeypatch.setattr(SideProcesses, "submit", submit)
    return asked


def test_answers_are_the_same_from_a_process(running: Running, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(running, block)
    assert expected[2]["tx"][1]["fee"] == 0.99999995
    asked = noting(monkeypatch)
    assert answers(running, block) == expected
    assert asked == [text_of_bytes.__name__] * 6 + [statistics_of_bytes.__name__] * 2


def test_what_a_process_fails_at_is_done_by_the_node(
    running: Running, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: Future[None] = Future()
    failed.set_result(None)
    expected = answers(running, block)
    monkeypatch.setattr(SideProcesses, "submit", lambda *_: failed)
    assert answers(running, block) == expected


def test_processes_of_a_node_answer_and_end_with_it(
    running: Running, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(running, block)
    processes = SideProcesses(1)
    monkeypatch.setattr(running.opened.http.room, "processes", processes)
    running.until(lambda: answers(running, block) == expected and processes.pids)
    done, given = list[bool](), SideProcesses.submit

    def submit(self: SideProcesses, *args: Any) -> Future[Any] | None:
        answer = given(self, *args)
        done.append(answer is not None)
        return answer

    monkeypatch.setattr(SideProcesses, "submit", submit)
    assert answers(running, block) == expected
    assert all(done) and len(done) == len(expected)
    processes.close()
    running.until(lambda: not processes.pids)
    assert answers(running, block) == expected


def test_filters_are_matched_by_processes(run_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of them by one; blocks are found in their order, by the node where there are many scripts to find."""
    monkeypatch.setattr(room, "ELSEWHERE_BYTES", 0)
    monkeypatch.setattr(scanblocks, "FILTERS_TOGETHER", 3)
    running = run_server(blockfilterindex=True)
    wanted: list[str] = []
    for n in range(10):
        made = running.call("generatetodescriptor", 1, "raw(52)" if n in (2, 3, 8) else "raw(51)")
        wanted += made if n in (2, 3, 8) else []
    scan = ("scanblocks", "start", ["raw(52)"])
    running.until(lambda: running.call("getindexinfo")["basic block filter index"]["best_block_height"] == 10)
    expected = running.call(*scan)
    assert expected["relevant_blocks"] == wanted
    asked = noting(monkeypatch)
    assert running.call(*scan) == expected
    assert asked == ["matching_of_bytes"] * 4
    monkeypatch.setattr(scanblocks, "MOST_SENT", 0)
    assert running.call(*scan) == expected
    assert len(asked) == 4
