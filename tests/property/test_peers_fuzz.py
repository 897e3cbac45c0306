"""Random peers against the protocol; ``scripts/fuzz/peers.py`` does the same for longer."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.peer_fuzz import MODES, PeerFuzzer, memory_of

STEPS = 4000
MEMORY_LIMIT = 64 << 20


@pytest.mark.parametrize(("mode", "seed"), [("full", 1), ("full", 2), *((mode, 0) for mode in MODES)])
def test_random_peers_raise_nothing_and_leave_nothing(mode: str, seed: int) -> None:
    fuzzer = PeerFuzzer(params_for("regtest"), seed, mode)
    for step in range(STEPS):
        fuzzer.step()
        if step % 50 == 0:
            fuzzer.check()
    assert memory_of(fuzzer.bench.protocol, fuzzer.bench.chain, fuzzer.pool, fuzzer) <= MEMORY_LIMIT
    assert len([name for name in fuzzer.counts if name.startswith("message ")]) > 30
    fuzzer.finish()


def test_the_same_seed_does_the_same() -> None:
    runs = []
    for _ in range(2):
        fuzzer = PeerFuzzer(params_for("regtest"), 5)
        for _ in range(800):
            fuzzer.step()
        runs.append((fuzzer.counts, fuzzer.bench.protocol.peer_ids(), len(fuzzer.open)))
    assert runs[0] == runs[1]
