"""Thousands of peers come and go, in every role and at every stage: no table grows with their number."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.object_sizes import container_sizes
from tests.lib.peer_fuzz import PeerFuzzer

PEERS = 2000
BOUNDED = (  # grow with blocks, addresses, transactions and refusals up to their limits, which tests of their own see
    "._ctx.tree", "._ctx.active", "._ctx.delays", "._ctx.discouraged", "._ctx.bans", "._gossip.book", "._intake.extra",
    "._relay._snapshots", "._intake.download._rejects", "._intake.download._reconsiderable",
)  # fmt: skip
SLACK = PEERS // 40


class Restless(PeerFuzzer):
    """Peers that do not stay long."""

    def run(self, peers: int) -> None:
        """Let so many connect, say something and leave."""
        until = self.bench._next_peer + peers
        self._actions = (
            [self._message] * 50 + [self._connect] * 14 + [self._disconnect] * 10 + [self._tick] * 3
            + [self._answer] * 40 + [self._buffer] * 2 + [self._command]
        )  # fmt: skip
        while self.bench._next_peer < until:
            self.step()
        self.finish()


@pytest.mark.parametrize("seed", range(2))
def test_no_table_grows_with_the_number_of_peers_that_were_there(seed: int) -> None:
    fuzzer = Restless(params_for("regtest"), seed)
    fuzzer.run(PEERS)  # fills what remembers a bounded number of peers
    protocol = fuzzer.bench.protocol
    before = container_sizes(protocol, fuzzer.bench.chain, fuzzer.pool)
    fuzzer.run(PEERS)
    after = container_sizes(protocol, fuzzer.bench.chain, fuzzer.pool)
    grown = [way for way, size in after.items() if size > before[way] + SLACK and not way.startswith(BOUNDED)]
    assert not grown
