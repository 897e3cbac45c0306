"""What lies in a data directory when a rebuild is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.chain import store as store_module
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.steps import FlushStep
from btcnode.chain.store import ChainStore
from btcnode.errors import CorruptionError
from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("moment", ["Database.open", "BlockFiles.open", "_reindex_begun"])
def test_a_rebuild_that_is_killed_at_its_beginning_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = ChainStore.open(tmp_path, PARAMS)
    store.files.append_block(PARAMS.genesis_block)
    store.history().commit({}, (), (), None, store.take_changes(), {})
    store.close()

    def kill(*args: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"{store_module.__name__}.{moment}", kill)
        with pytest.raises(Killed):
            ChainStore.open(tmp_path, PARAMS, reindex=True)
    for _ in range(2):  # as long as it has not come to its end
        again = ChainStore.open(tmp_path, PARAMS)
        assert again.reindexing
        again.close()
    last = ChainStore.open(tmp_path, PARAMS)
    last.end_reindex()
    last.close()
    done = ChainStore.open(tmp_path, PARAMS)
    assert not done.reindexing
    done.close()


@pytest.mark.parametrize("ratio", [0, 1 << 40])
def test_with_a_crash_ratio_flushes_are_over_when_the_answer_is_given(tmp_path: Path, ratio: int) -> None:
    """Whoever has writes crash wants to know which call it was."""
    generator = ChainGenerator(PARAMS)
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS, crash_ratio=ratio), dbcache=500_000)
    kinds, waits = set(), False
    for raw in generator.spread(3000):
        step = state.plan_store(raw, generator.time, requested=True)
        assert step is not None
        state.run(step)
        while (next_step := state.plan_step()) is not None:
            if isinstance(next_step, FlushStep):
                kinds.add(next_step.beside)
            state.run(next_step)
        waits |= state.coins.is_waiting
    assert kinds == {not ratio}
    assert waits == (not ratio)  # what comes above the last flush only now could make another one due
    state.close()


def test_a_large_store_that_lacks_a_file_of_coins_is_told_at_the_start(tmp_path: Path) -> None:
    store = ChainStore.open(tmp_path, PARAMS)
    store.commit({bytes(36): b"coin"}, (), (), PARAMS.genesis_hash, store.take_changes(), {})
    [run] = store.database.coin_runs.runs
    run.path.unlink()
    store.close()
    again = ChainStore.open(tmp_path, PARAMS)
    again.database.is_small = False
    with pytest.raises(CorruptionError, match="--reindex-chainstate"):
        again.verify_small_coins()
    again.forget_coins(PARAMS.genesis_hash)
    again.verify_small_coins()
    again.close()
