"""Blocks that are handed in, whatever else comes under their headers at the same moment."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.read_view import ReadView
from btcnode.chain.store import ChainStore
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.chain_view import NodeChainView
from btcnode.services import chain as chain_module
from btcnode.services.alerts import Alerts
from btcnode.services.chain import Chain
from btcnode.services.chain_alerts import ChainAlerts
from btcnode.services.clock import Clock
from btcnode.sync.driver import ChainDriver
from btcnode.testing.blocks import assemble
from tests.lib.block_lab import Lab, alter, spend, split_block

REGTEST = params_for("regtest")
NOW = 1_700_000_000


def run(path: Path, body: Callable[[Chain, Lab], Coroutine[Any, Any, None]]) -> None:
    """Run ``body`` over a chain that follows a prepared lab."""

    async def main() -> None:
        failures: list[BaseException] = []
        state = Chainstate.open(REGTEST, ChainStore.open(path, REGTEST))
        driver = ChainDriver(state, on_fatal=failures.append)
        chain = Chain(driver, NodeChainView(state.tree, state.active, REGTEST), REGTEST, Clock())
        lab = Lab(REGTEST, now=NOW)
        for raw in lab.prepare():
            assert await chain.submit_block(raw) is None
        try:
            await body(chain, lab)
        finally:
            await driver.close()
        assert not failures

    asyncio.run(main())


def other_witness(raw: bytes) -> bytes:
    """Another nonce in the coinbase's witness, which is in no txid."""
    header, txs = split_block(raw)
    return assemble(header, [alter(txs[0], witnesses=[[b"\x01" * 32]]), *txs[1:]])


def repeated_leaves(raw: bytes) -> bytes:
    """The last transaction twice: of an odd number the merkle root is the same (CVE-2012-2459)."""
    header, txs = split_block(raw)
    assert len(txs) % 2
    return assemble(header, [*txs, txs[-1]])


def other_transactions(raw: bytes) -> bytes:
    header, txs = split_block(raw)
    return assemble(header, txs[:1])


FORMS: dict[Callable[[bytes], bytes], tuple[str, str]] = {
    other_witness: ("bad-witness-merkle-match", "duplicate"),
    repeated_leaves: ("bad-txns-duplicate", "bad-txns-duplicate"),
    other_transactions: ("bad-txnmrklroot", "bad-txnmrklroot"),
}


@pytest.mark.parametrize("mutate", FORMS)
@pytest.mark.parametrize("header_first", [True, False])
def test_the_honest_block_is_taken_while_a_mutated_one_is_in_work(
    tmp_path: Path, mutate: Callable[[bytes], bytes], header_first: bool
) -> None:
    async def body(chain: Chain, lab: Lab) -> None:
        raw = lab.block(spend([lab.coin()]), spend([lab.coin()]), commit=True)
        if header_first:
            chain.submit_header(raw[:HEADER_SIZE])
        answers = await asyncio.gather(*(chain.submit_block(form) for form in (mutate(raw), raw, mutate(raw), raw)))
        before, after = FORMS[mutate]
        assert answers == [before, None, after, "duplicate"]
        assert chain.tree.hash(chain.tip()) == header_hash(raw[:HEADER_SIZE])
        assert await chain.read_block(chain.tip()) == raw

    run(tmp_path, body)


def test_a_valid_block_with_an_invalid_child_that_is_here_already(tmp_path: Path) -> None:
    """It is connected, its child is not, and the chain goes back to the branch that came first."""

    async def body(chain: Chain, lab: Lab) -> None:
        branch = lab.fork()
        old = lab.block()
        assert await chain.submit_block(old) is None
        valid = branch.block()
        branch.adopt(valid)
        child = branch.block(coinbase_value=branch.subsidy + 1)
        chain.submit_header(valid[:HEADER_SIZE])
        assert await chain.submit_block(child) == "inconclusive"
        assert await chain.submit_block(valid) is None
        assert chain.tree.hash(chain.tip()) == header_hash(old[:HEADER_SIZE])
        assert await chain.submit_block(child) == "duplicate-invalid"

    run(tmp_path, body)


def test_a_block_with_a_broken_rule_and_one_with_too_little_work(tmp_path: Path) -> None:
    async def body(chain: Chain, lab: Lab) -> None:
        branch = lab.fork()
        assert await chain.submit_block(lab.block(coinbase_value=lab.subsidy + 1)) == "bad-cb-amount"
        assert await chain.submit_block(lab.block()) is None
        assert await chain.submit_block(branch.block()) == "inconclusive"

    run(tmp_path, body)


# -- what the user does to the chain ------------------------------------------------------------------------------


def found_invalid(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """What the lines of InvalidChainFound name: kind, hash, height."""
    pattern = (
        r"InvalidChainFound: (invalid block| current best)=([0-9a-f]{64})  height=(\d+)  log2_work=\d+\.\d{6}  date=.*Z"
    )
    found = [re.fullmatch(pattern, line) for line in caplog.messages]
    return [(m[1].strip(), m[2], int(m[3])) for m in found if m is not None]


def test_invalidateblock_tells_what_it_has_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "btcnode")

    async def body(chain: Chain, lab: Lab) -> None:
        ChainAlerts(chain, Alerts())
        tree, tip = chain.tree, chain.tip()
        height = tree.height(tip)
        third = tree.ancestor(tip, height - 2)
        names = [to_display(tree.hash(tree.ancestor(tip, height - n))) for n in range(4)]
        await chain.invalidate_block(third)
        parent = ("current best", names[3], height - 3)
        assert found_invalid(caplog) == [("invalid block", names[2], height - 2), parent]
        caplog.clear()
        await chain.invalidate_block(third)  # it is off the chain already
        assert found_invalid(caplog) == [("invalid block", names[2], height - 2), parent]
        await chain.reconsider_block(third)
        assert chain.tip() == tip
        caplog.clear()
        await chain.invalidate_block(0)
        assert chain.tip() == tip and not caplog.messages

    run(tmp_path, body)


def test_a_block_that_fails_is_told_with_the_chain_on_top_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "btcnode")

    async def body(chain: Chain, lab: Lab) -> None:
        ChainAlerts(chain, Alerts())
        top = chain.tree.height(chain.tip())
        tip = ("current best", to_display(chain.tree.hash(chain.tip())), top)
        bad = lab.block(coinbase_value=lab.subsidy + 1)
        lab.adopt(bad)
        child = lab.block()
        chain.submit_header(bad[:HEADER_SIZE])
        assert await chain.submit_block(child) == "inconclusive"
        assert await chain.submit_block(bad) == "bad-cb-amount"
        names = [to_display(header_hash(raw[:HEADER_SIZE])) for raw in (bad, child)]
        found = [("invalid block", names[0], top + 1), tip, ("invalid block", names[1], top + 2), tip]
        assert found_invalid(caplog) == found
        assert sum(line.startswith("Block validation error: bad-cb-amount") for line in caplog.messages) == 1
        assert any(
            line.startswith(f"ConnectTip: ConnectBlock {names[0]} failed, bad-cb-am") for line in caplog.messages
        )
        assert await chain.submit_block(bad) == "duplicate-invalid"
        why = f"duplicate-invalid, block {names[0]} was previously marked invalid"
        assert caplog.messages[-1] == f"ProcessNewBlock: AcceptBlock FAILED ({why})"

    run(tmp_path, body)


def test_everything_that_holds_the_chain_back_takes_its_turn(tmp_path: Path) -> None:
    async def body(chain: Chain, lab: Lab) -> None:
        tip = chain.tip()
        work = [chain.utxo_stats("none"), chain.driver.flush(), chain.invalidate_block(tip), chain.utxo_stats("muhash")]
        again = [chain.reconsider_block(tip), chain.driver.flush(), chain.utxo_stats("none"), chain.precious_block(tip)]
        await asyncio.gather(*work, *again)
        await chain.driver.settled()  # whoever came last has held it back from the best chain
        assert chain.tip() == tip

    run(tmp_path, body)


def test_coins_that_a_disk_has_are_looked_up_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(chain: Chain, lab: Lab) -> None:
        outpoint = parse_block(chain.read_block_now(chain.tip())).txids[0] + bytes(4)
        reads, threads = 0, list[str]()
        given = chain.driver.chainstate.read_view.get_many

        def noted(outpoints: Sequence[bytes]) -> list[bytes | None]:
            nonlocal reads
            reads += 1
            threads.append(threading.current_thread().name)
            return given(outpoints)

        monkeypatch.setattr(CoinsCache, "unknown", lambda self, outpoints: outpoints)
        monkeypatch.setattr(ReadView, "get_many", lambda self, outpoints: noted(outpoints))
        monkeypatch.setattr(chain_module, "thread_disk_reads", lambda: 0)
        coin = await chain.get_coin(outpoint)
        assert coin is not None and not threads, "it is in memory"
        monkeypatch.setattr(ReadView, "held", lambda self, outpoint: None)
        assert await chain.get_coin(outpoint) == coin and threads == ["MainThread"]
        monkeypatch.setattr(chain_module, "thread_disk_reads", lambda: reads)
        assert await chain.get_coin(outpoint) == coin
        assert await chain.get_coin(outpoint) == coin
        assert threads[:2] == ["MainThread"] * 2 and threads[2] != "MainThread"

    run(tmp_path, body)


def test_the_end_of_the_initial_download_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    week = 7 * 24 * 60 * 60

    async def body(chain: Chain, lab: Lab) -> None:
        view = NodeChainView(chain.tree, chain._view._active, REGTEST)
        now = chain.tree.time(chain.tip())
        with caplog.at_level("INFO", logger="btcnode.chain"):
            assert view.is_initial_block_download(now + week)
            assert "InitialBlockDownload" not in caplog.text
            assert not view.is_initial_block_download(now)
            assert not view.is_initial_block_download(now + week)
        told = [message for message in caplog.messages if "InitialBlockDownload" in message]
        assert told == ["Leaving InitialBlockDownload (latching to false)"]  # which tools wait for

    run(tmp_path, body)
