"""Every case of the block catalogue, fed to libbitcoinkernel and to btcnode on one chain.

Three parties must agree on each block: what the case says must happen, the kernel, and we; on the verdict, on Core's
reject reason with its detail (from the kernel's log), on the category of the fault, and on the tip afterwards.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from btcnode.consensus import blocks, commitment, connect, headers, locks, transactions
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.script.errors import ScriptError
from tests.lib.block_lab import BASE_HEIGHT, Lab

pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")

from tests.lib.block_catalogue import CASES, Case
from tests.lib.kernel_chain import DisagreementError, PairedChains

REASONS_OF_ISSUE = {
    "bad-txnmrklroot", "bad-txns-duplicate", "bad-cb-amount", "bad-cb-height", "bad-witness-merkle-match",
    "unexpected-witness", "bad-witness-nonce-size", "bad-txns-premature-spend-of-coinbase", "time-too-old",
    "time-too-new", "bad-diffbits", "high-hash", "bad-blk-sigops", "bad-blk-weight", "bad-blk-length",
    "bad-cb-missing", "bad-cb-multiple", "bad-cb-length", "bad-txns-vin-empty", "bad-txns-vout-empty",
    "bad-txns-vout-negative", "bad-txns-vout-toolarge", "bad-txns-txouttotal-toolarge", "bad-txns-inputs-duplicate",
    "bad-txns-prevout-null", "bad-txns-inputs-missingorspent", "bad-txns-in-belowout", "bad-txns-nonfinal",
    "bad-txns-BIP30", "prev-blk-not-found", "bad-prevblk", "duplicate-invalid", "undecodable",
}  # fmt: skip

NEVER_IN_BLOCKS = {
    error
    for error in ScriptError
    if error.startswith("DISCOURAGE")
    or error in ("OK", "UNKNOWN_ERROR", "MINIMALDATA", "MINIMALIF", "NULLFAIL", "OP_CODESEPARATOR", "PUBKEYTYPE")
    or error in ("SIG_FINDANDDELETE", "SIG_HASHTYPE", "SIG_HIGH_S", "WITNESS_PUBKEYTYPE")
}
"""Errors under flags that are policy of relay only."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PairedChains, Lab]]:
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path_factory.mktemp("paired"))
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    assert chains.kernel.tip == lab.tip_hash and lab.height == BASE_HEIGHT
    yield chains, lab
    chains.close()


seen: Counter[str] = Counter()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, world: tuple[PairedChains, Lab]) -> None:
    chains, lab = world
    steps = 0
    for step in case.build(lab):
        steps += 1
        block_hash = header_hash(step.raw[:HEADER_SIZE])
        outcome = chains.feed(step.raw, lab.now)  # raises where the two do not agree
        verdict = outcome.of(block_hash)
        if not step.tip:
            assert verdict is None and outcome.tip == lab.tip_hash
            continue
        assert verdict is not None, f"step {steps}: no verdict"
        assert (verdict.reason, verdict.fault) == (step.reason, step.fault), f"step {steps}: {verdict}"
        seen[verdict.reason] += 1
        if not step.reason:
            assert outcome.tip == block_hash
            lab.adopt(step.raw)
        assert outcome.tip == lab.tip_hash
    assert steps


def test_catalogue_is_wide_enough() -> None:
    assert sum(case.rejects for case in CASES.values()) >= 300
    assert sum(not case.rejects for case in CASES.values()) >= 60


def test_every_reason_has_been_seen() -> None:
    if sum(seen.values()) < len(CASES):
        pytest.skip("only part of the cases ran")
    scripts = {reason for reason in seen if reason.startswith("block-script-verify-flag-failed")}
    versions = {reason for reason in seen if reason.startswith("bad-version(0x")}
    assert set(seen) - scripts - versions - {""} == REASONS_OF_ISSUE
    texts = {f"block-script-verify-flag-failed ({error.text})" for error in ScriptError if error not in NEVER_IN_BLOCKS}
    assert scripts == texts
    assert len(versions) >= 6


def test_chain_is_the_same_after_a_restart(world: tuple[PairedChains, Lab]) -> None:
    """What was found invalid has left no trace in coins or index: the chain goes on from disk."""
    chains, lab = world
    chains.reopen()
    assert chains.own.tip == chains.kernel.tip == lab.tip_hash
    raw = lab.block()
    assert chains.feed(raw, lab.now).tip == header_hash(raw[:HEADER_SIZE])
    lab.adopt(raw)


SLIPS = [
    (connect, "COINBASE_MATURITY", 99, "coinbase-spent-at-depth-99"),
    (connect, "MAX_BLOCK_SIGOPS_COST", 80_001, "sigops-p2wsh-one-over"),
    (connect, "MAX_BLOCK_SIGOPS_COST", 79_999, "sigop-cost-80000-by-p2sh"),
    (connect, "MAX_SCRIPT_SIZE", 10_001, "spends-a-script-of-10001-bytes"),
    (connect, "MAX_SCRIPT_SIZE", 9_999, "script-pubkey-of-10000-bytes-is-spent"),
    (blocks, "MAX_BLOCK_WEIGHT", 4_000_001, "weight-one-over"),
    (blocks, "MAX_BLOCK_WEIGHT", 3_999_999, "stripped-size-of-a-million"),
    (commitment, "MIN_WITNESS_COMMITMENT", 37, "commitment-one-byte-short"),
    (headers, "MAX_FUTURE_BLOCK_TIME", 7199, "time-two-hours-ahead-to-the-second"),
    (locks, "SEQUENCE_GRANULARITY", 10, "bip68-at-its-time"),
    (transactions, "MAX_COINBASE_SCRIPT", 101, "coinbase-script-of-101"),
    (transactions, "MAX_MONEY", 21 * 10**14 + 1, "value-one-over-all-money"),
]


@pytest.mark.parametrize(("module", "name", "wrong", "case"), SLIPS, ids=[f"{slip[1]}={slip[2]}" for slip in SLIPS])
def test_a_slip_by_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, wrong: int, case: str
) -> None:
    """The comparison itself can fail: with one constant off by one, the case at its edge tells."""
    params = params_for("regtest")
    chains = PairedChains(params, tmp_path)
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(DisagreementError):
        for step in CASES[case].build(lab):
            chains.feed(step.raw, lab.now)
    chains.close()
