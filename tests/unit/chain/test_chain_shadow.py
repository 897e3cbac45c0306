"""The second engine: it agrees, it finds a disagreement, and it leaves a file that can be run again."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from btcnode.chain.shadow import Disagreement, KernelEngine, ShadowDisagreement, ShadowEngine
from btcnode.errors import ConfigError, DecodeError
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import BlockHash
from btcnode.script.errors import ScriptError
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS, VERIFY_TAPROOT, VERIFY_WITNESS
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_jobs
from btcnode.testing.templates import TEMPLATES, signed_tx

HASH = BlockHash(bytes(range(32)))


def _job(seed: int, *, spoil: bool = False, flags: int = MANDATORY_VERIFY_FLAGS) -> ScriptJob:
    spendables = [make(seed) for make in TEMPLATES.values()]
    txouts = [make_txout(9000, spendable.script_pubkey) for spendable in spendables]
    outpoints = [bytes([seed]) * 32 + n.to_bytes(4, "little") for n in range(len(txouts))]
    tx = signed_tx(list(zip(outpoints, txouts, spendables, strict=True)), [make_txout(1, b"\x51")])
    if spoil:
        txouts[1] = make_txout(9001, spendables[1].script_pubkey)
    return ScriptJob(tx.raw, txouts, flags)


@pytest.fixture
def engine(tmp_path: Path) -> ShadowEngine:
    pytest.importorskip("pbk", reason="needs btcnode[kernel]")
    return ShadowEngine(tmp_path / "shadow", every=10)


def test_valid_jobs_agree(engine: ShadowEngine) -> None:
    jobs = [_job(1), _job(2)]
    engine.check_block(10, HASH, jobs, verify_jobs(jobs))
    assert (engine.blocks_compared, engine.inputs_compared) == (1, 2 * len(TEMPLATES))


def test_a_failure_of_both_agrees(engine: ShadowEngine) -> None:
    jobs = [_job(1), _job(2, spoil=True), _job(3)]
    verdict = verify_jobs(jobs)
    assert verdict == (1, ScriptFailure(1, ScriptError.EVAL_FALSE))
    engine.check_block(10, HASH, jobs, verdict)
    assert engine.inputs_compared == len(TEMPLATES) + 2


@pytest.mark.parametrize(
    ("spoil", "verdict", "ours", "kernel"),
    [
        (False, (0, ScriptFailure(2, ScriptError.SIG_DER)), "SIG_DER", "OK"),
        (True, None, "OK", "invalid"),
        (True, (0, ScriptFailure(4, ScriptError.SIG_DER)), "OK", "invalid"),
    ],
)
def test_a_disagreement_stops_and_is_recorded(
    engine: ShadowEngine, spoil: bool, verdict: tuple[int, ScriptFailure] | None, ours: str, kernel: str
) -> None:
    with pytest.raises(ShadowDisagreement) as caught:
        engine.check_block(20, HASH, [_job(1, spoil=spoil)], verdict)
    error = caught.value
    assert (error.case.ours, error.case.kernel) == (ours, kernel)
    assert error.case.note.startswith("block 20 1f1e1d")
    assert str(error.path) in str(error)
    assert Disagreement.read(error.path) == error.case
    again = error.case.rerun(KernelEngine())
    assert again == (("EVAL_FALSE", "invalid") if spoil else ("OK", "OK"))
    document = json.loads(error.path.read_text())
    assert "TAPROOT" in document["flag_names"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_sampling_is_by_height(engine: ShadowEngine) -> None:
    assert [height for height in range(31) if engine.selects(height)] == [0, 10, 20, 30]


def test_flags_that_would_abort_the_library_are_refused(engine: ShadowEngine) -> None:
    job = _job(1)
    kernel = KernelEngine().load(job.raw_tx, job.spent)
    with pytest.raises(ValueError, match="consensus flags only"):
        kernel.verify(0, STANDARD_VERIFY_FLAGS)
    with pytest.raises(ValueError, match="needs VERIFY_P2SH"):
        kernel.verify(0, VERIFY_WITNESS)
    with pytest.raises(ValueError, match="no input"):
        kernel.verify(99, MANDATORY_VERIFY_FLAGS)
    assert kernel.verify(0, VERIFY_TAPROOT)
    with pytest.raises(ValueError, match="spent outputs"):
        KernelEngine().load(job.raw_tx, job.spent[1:])
    with pytest.raises(DecodeError):
        KernelEngine().load(job.raw_tx[:50], job.spent)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    for text in ("[]", "{}", "not json", '{"spent": 5}'):
        path.write_text(text)
        with pytest.raises(DecodeError):
            Disagreement.read(path)


def test_without_the_library_the_option_explains_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pbk", None)
    with pytest.raises(ConfigError, match=r"btcnode\[kernel\]"):
        ShadowEngine(tmp_path)


def test_sample_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n >= 1"):
        ShadowEngine(tmp_path, every=0)
