"""A workbench for mempools: a regtest chain whose coins have many kinds of script, and transactions that spend them.

The chain is held in memory (``tree``, ``coins``, ``tip``) as admission wants to see it; its blocks are in ``raws``, for
other nodes to follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy

from btcnode.mempool.acceptance import SubmissionSteps
from btcnode.mempool.rejection import PackageResult
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_prefix, make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import is_unspendable, push_data
from btcnode.script.solver import ANCHOR_SCRIPT
from btcnode.script.verify import verify_transaction
from btcnode.testing.blocks import ANYONE_CAN_SPEND
from btcnode.testing.templates import TEMPLATES, Spendable
from tests.lib.ancestry import ListAncestry
from tests.lib.block_lab import Lab, LabCoin, outpoint_of, sign, spend
from tests.lib.coins import DictCoins

START = 1_700_000_000  # Unix seconds; blocks are ten minutes apart up to here
FUNDED_VALUE = 200_000  # satoshi of each prepared coin


def p2wsh(script: bytes, *items: bytes) -> Spendable:
    """A witness script and the items that satisfy it."""
    program = sha256(script).digest()
    return Spendable("p2wsh", b"\x00\x20" + program, lambda ctx, index: (b"", [*items, script]))


def p2sh(redeem: bytes, script_sig: bytes = b"", witness: Sequence[bytes] = ()) -> Spendable:
    """A redeem script and the script_sig that satisfies it, without the push of the redeem script."""
    script_pubkey = b"\xa9\x14" + hash160(redeem) + b"\x87"
    return Spendable("p2sh", script_pubkey, lambda ctx, index: (script_sig + push_data(redeem), list(witness)))


def bare(script_pubkey: bytes, script_sig: bytes = b"", witness: Sequence[bytes] = ()) -> Spendable:
    """Any script_pubkey, and what is given for it."""
    return Spendable("bare", script_pubkey, lambda ctx, index: (script_sig, list(witness)))


FREE = p2wsh(ANYONE_CAN_SPEND)
"""Anybody may spend it, without a signature, in a standard way."""
ANCHOR = bare(ANCHOR_SCRIPT)


def coins_of(tx: Tx, how: Spendable = FREE) -> list[LabCoin]:
    """The outputs of a transaction with the script of ``how``."""
    return [
        LabCoin(outpoint_of(tx, n), output.value, output.script_pubkey, 0, how)
        for n, output in enumerate(tx.outputs)
        if output.script_pubkey == how.script_pubkey
    ]


def pay(coins: Sequence[LabCoin], fee: int, outputs: int = 1, *, extra: Sequence[bytes] = (), **how: int) -> Tx:
    """A transaction that spends ``coins`` whole to ``outputs`` equal free outputs behind ``extra`` txouts.

    ``how`` are version, lock_time and sequence.
    """
    rest = sum(coin.value for coin in coins) - fee - sum(int.from_bytes(txout[:8], "little") for txout in extra)
    each = rest // outputs
    values = [each] * (outputs - 1) + [rest - each * (outputs - 1)]
    return sign(coins, [*extra, *(make_txout(value, FREE.script_pubkey) for value in values)], **how)


def outcome(steps: SubmissionSteps) -> PackageResult:
    """What a package's admission comes to, its scripts verified here and now."""
    try:
        jobs = next(steps)
        while True:
            jobs = steps.send([verify_transaction(job.raw_tx, job.spent, job.flags) for job in jobs])
    except StopIteration as end:
        result: PackageResult = end.value
        return result


class MempoolLab:
    """The chain, as ``precheck.ActiveTip`` and ``precheck.CoinSource`` see it.

    ``free`` are confirmed coins of ``FREE``, ``kinds`` those of the other forms that were asked for.
    """

    def __init__(self, kinds: Mapping[str, Spendable] | None = None, *, free: int = 400, each: int = 12) -> None:
        self.params = params_for("regtest")
        self.tree = ListAncestry()
        self.tree.append(self.params.genesis_block)
        self.tip = 0
        self.coins = DictCoins()
        self.raws: list[bytes] = []
        self.lab = Lab(self.params, now=START)
        self.free: deque[LabCoin] = deque()
        self.kinds: dict[str, deque[LabCoin]] = {}
        for raw in self.lab.prepare():
            self._connect(raw)
        wanted = {name: make(1) for name, make in TEMPLATES.items()} | dict(kinds or {})
        self._fund([("free", FREE)] * free + [(name, how) for name, how in wanted.items() for _ in range(each)])
        self.mine()

    def copy(self) -> MempoolLab:
        """Another one as this one is now: milliseconds, where a new one takes two seconds."""
        return deepcopy(self, {id(self.params): self.params})

    @property
    def height(self) -> int:
        """Of the tip."""
        return self.lab.height

    def _connect(self, raw: bytes) -> None:
        self.raws.append(raw)
        self.tip = self.tree.append(raw)
        block, coins = parse_block(raw), self.coins.coins
        height = self.tree.height(self.tip)
        for i in range(block.n_tx):
            tx = block.tx(i)
            if i:
                for prevout in tx.prevouts:
                    del coins[prevout]
            for n, txout in enumerate(tx.txouts):
                if not is_unspendable(tx.outputs[n].script_pubkey):
                    coins[outpoint_of(tx, n)] = coin_prefix(height, i == 0) + txout

    def _fund(self, owners: Sequence[tuple[str, Spendable]]) -> None:
        """Mine coins for ``owners`` out of the oldest coinbase."""
        source = self.lab.coinbases[3]
        tx = spend([source], [make_txout(FUNDED_VALUE, how.script_pubkey) for _, how in owners])
        self.mine(tx)
        for n, (name, how) in enumerate(owners):
            coin = LabCoin(outpoint_of(tx, n), FUNDED_VALUE, how.script_pubkey, self.height, how)
            (self.free if name == "free" else self.kinds.setdefault(name, deque())).append(coin)

    def mine(self, *txs: Tx) -> bytes:
        """A block on the tip with ``txs`` (fees are left to nobody), connected; returns it."""
        raw = self.lab.block(*txs)
        self.lab.adopt(raw)
        self._connect(raw)
        return raw

    def coin(self) -> LabCoin:
        """A free coin, not given out before."""
        return self.free.popleft()

    def coin_of(self, kind: str) -> LabCoin:
        """A coin of another form, not given out before."""
        return self.kinds[kind].popleft()
