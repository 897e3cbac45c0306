"""The life of a signet with a challenge of its own: solutions that are right, wrong, odd or missing (BIP325).

The proof of work is a real one: ``bitcoin-util`` beside the bitcoind finds it, or some seconds of Python.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from typing import Any

from btcnode.consensus.signet import SIGNET_HEADER
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data
from btcnode.testing.blocks import COMMITMENT_PREFIX, coinbase_tx, grind, witness_commitment
from tests.lib.block_lab import SPACING, Lab, alter, reheader

from .pair import Pair

EASY_BITS = 0x207FFFFF
GRIND_S = 900  # on a busy machine
CHALLENGES = (b"\x51", b"\x51\x87", b"\x51\x88\x51", b"\x00", b"\x6a", b"\xa9\x14" + bytes(20) + b"\x87")
RIGHT = b"\x01\x51"  # a script_sig that OP_1 OP_EQUAL takes
SOLUTIONS: tuple[bytes | None, ...] = (
    RIGHT + b"\0", RIGHT + b"\0", RIGHT + b"\0", None, b"", b"\0\0", b"\x01\x52\0", RIGHT, RIGHT + b"\0\0",
    RIGHT + b"\x01\x00", RIGHT + b"\x01\x01\x51", b"\x02\x01\x01\0", b"\x02\x51\x51\0", b"\x03\x51\x61\x61\0",
    b"\xfd\x01\x00\x51\0", b"\x02\x51\0", b"\x05" + RIGHT,
)  # fmt: skip


class SignetLife:
    """A random life on one challenge."""

    def __init__(self, pair: Pair, rng: Random, challenge: bytes) -> None:
        self.pair = pair
        self.rng = rng
        self.params = params_for("signet", signet_challenge=challenge)
        self.lab = Lab(self.params)
        pair.now = self.lab.times[0] + 100 * SPACING
        self.lab.now = pair.now
        util = Path(pair.nodes[1].command[0]).with_name("bitcoin-util")
        self._util = str(util) if util.is_file() else ""

    def _work(self, raw: bytes) -> bytes:
        """The block with a proof of work."""
        header = raw[:HEADER_SIZE]
        if not self._util:
            return grind(header) + raw[HEADER_SIZE:]
        words = [self._util, "grind", header.hex()]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=GRIND_S)
        return bytes.fromhex(done.stdout.strip()) + raw[HEADER_SIZE:]

    def _coinbase(self) -> Tx:
        """With a solution of some sort in the commitment, behind it, before it, twice, or without a commitment."""
        rng, lab = self.rng, self.lab
        solution = rng.choice(SOLUTIONS)
        usual = coinbase_tx(
            lab.height + 1, lab.subsidy, extra=rng.randbytes(4), commitment=witness_commitment([])
        )  # fmt: skip
        if rng.random() < 0.08:
            return coinbase_tx(lab.height + 1, lab.subsidy, extra=rng.randbytes(4))
        script = COMMITMENT_PREFIX + witness_commitment([])
        if solution is not None:
            push = push_data(SIGNET_HEADER + solution)
            script += rng.choice(
                (push, push, push, push, push + push, b"\x51" + push, push + b"\x51", push_data(b"xy") + push)
            )
        if rng.random() < 0.05:
            script += push_data(SIGNET_HEADER[:3])
        return alter(usual, txouts=[usual.txouts[0], make_txout(0, script)])

    def step(self) -> None:
        """A block, mostly on the tip; sometimes with a wrong header."""
        rng, lab = self.rng, self.lab
        raw = lab.block(coinbase=self._coinbase(), bits=EASY_BITS)
        changes: dict[str, Any] = {"bits": self.params.pow_limit_bits}
        if rng.random() < 0.15:
            changes |= rng.choice(({"time": lab.median_time}, {"version": 1}, {"time": self.pair.now + 7201}))
        raw = self._work(reheader(raw, proof=False, **changes))
        if rng.random() < 0.05:
            raw = reheader(raw, proof=False, nonce=0)
        if rng.random() < 0.3:
            self.pair.both("getblocktemplate", {"rules": ["segwit", "signet"], "mode": "proposal", "data": raw.hex()})
        if rng.random() < 0.3:
            self.pair.both("submitheader", raw[:HEADER_SIZE].hex())
        if self.pair.both("submitblock", raw.hex()) is None:
            lab.adopt(raw)
        for method in ("getblockchaininfo", "getchaintips", "getmininginfo"):
            self.pair.same(method)
        self.pair.same("getblocktemplate", {"rules": ["segwit", "signet"]})
        self.pair.same("getblock", self.pair.same("getbestblockhash"), 3)


def live(pair: Pair, rng: Random, steps: int) -> None:
    """A whole life. Raises Difference."""
    challenge = rng.choice(CHALLENGES)
    life = SignetLife(pair, rng, challenge)
    for node in pair.nodes:
        node.network = ("-signet", f"-signetchallenge={challenge.hex()}")
    pair.restart()
    for _ in range(steps):
        life.step()
