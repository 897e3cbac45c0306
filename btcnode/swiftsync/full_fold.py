"""Folding a block whose spent coins somebody has told: every rule of consensus holds, and the sums prove the coins.

What was told is used as if it were true. Each coin goes into the sum of what is spent with its height, its coinbase
flag, its amount and its script, and each output with the same into the sum of what is made: a coin that was told
wrongly makes the sums differ. Most lies show before, since scripts fail, amounts do not suffice, or the block itself
has the coin. What a block spends of its own outputs is in neither sum: it is all there to be compared.
"""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import NamedTuple

from btcnode.consensus.connect import BlockDelta, ConnectContext, connect_block, script_violation
from btcnode.consensus.deployments import script_flags
from btcnode.consensus.subsidy import block_subsidy
from btcnode.errors import DecodeError, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_height, coin_value
from btcnode.script.runs import verify_run
from btcnode.swiftsync.fold import (
    RECORD_HEAD,
    Fold,
    FoldJob,
    HintMismatch,
    OutputNames,
    check_alone,
    fold_parsed,
    kept_outputs,
    lost_outputs,
    lost_value,
)
from btcnode.swiftsync.spent_coins import decode_spent
from btcnode.swiftsync.sums import salted_sum

_HEIGHT = Struct("<I")


class SpentRefused(NamedTuple):
    """The block is good by itself, and does not go together with the coins that were told: why."""

    reason: str

    def pack(self) -> bytes:
        """As bytes."""
        return self.reason.encode()

    @classmethod
    def unpack(cls, data: bytes) -> SpentRefused:
        """The inverse of ``pack``."""
        return cls(data.decode("utf-8", "replace"))


class TimesWanted(NamedTuple):
    """Relative locks by time (BIP68) need the median times past at these heights: the job shall come with them."""

    heights: tuple[int, ...]

    def pack(self) -> bytes:
        """As bytes."""
        return b"".join(map(_HEIGHT.pack, self.heights))

    @classmethod
    def unpack(cls, data: bytes) -> TimesWanted:
        """The inverse of ``pack``; raises DecodeError."""
        if len(data) % _HEIGHT.size:
            raise DecodeError("no heights")
        return cls(tuple([height for (height,) in _HEIGHT.iter_unpack(data)]))


FoldResult = Fold | SpentRefused | TimesWanted


class ToldCoins:
    """The coins that the block takes from others: none that is as young as the block."""

    def __init__(self, coins: dict[bytes, bytes], height: int) -> None:
        self._coins = coins
        self._height = height

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The coin of each outpoint, None where it was told with a height that cannot be."""
        coins, height = self._coins, self._height
        found = [coins[outpoint] for outpoint in outpoints]
        return [coin if coin_height(coin) < height else None for coin in found]

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Whether one of the outpoints is among the coins that were told."""
        return not self._coins.keys().isdisjoint(outpoints)


class _MedianTimes:
    """The median times past that the job has; heights that it lacks are noted, and their locks count as over."""

    def __init__(self, known: tuple[tuple[int, int], ...]) -> None:
        self._known = dict(known)
        self.wanted: set[int] = set()

    def at(self, height: int) -> int:
        """That of the ancestor at a height."""
        if height not in self._known:
            self.wanted.add(height)
            return 0
        return self._known[height]


def fold_any(raw: bytes, job: FoldJob, params: NetworkParams) -> FoldResult:
    """Check a block and fold it, with the coins that the job has told or without any.

    Raises RuleViolation for a block that is bad by itself, DecodeError for one that cannot be parsed, HintMismatch.
    """
    block = parse_block(raw, exact=False)
    check_alone(block, job, params)
    return fold_parsed(block, job) if job.spent is None else fold_fully(block, job, job.spent, params)


def fold_fully(block: ParsedBlock, job: FoldJob, spent: bytes, params: NetworkParams) -> FoldResult:
    """Connect a block that is good by itself to the coins that were told, verify every script, and fold it.

    Raises HintMismatch.
    """
    inputs = block.prevouts()[1:]
    times = _MedianTimes(job.times)
    context = ConnectContext(
        flags=script_flags(job.height, block.hash, params),
        subsidy=block_subsidy(job.height, params),
        check_bip30=False,  # it is found at the end, among all coinbases
        csv_active=job.height >= params.csv_height,
        prev_mtp=job.median_time,
        mtp_at=times.at,
    )
    try:
        told = decode_spent(spent, len(inputs))
        delta = connect_block(block, job.height, ToldCoins(dict(zip(inputs, told, strict=True)), job.height), context)
    except DecodeError as error:
        return SpentRefused(str(error))
    except RuleViolation as violation:
        return SpentRefused(str(violation))
    if list(chain.from_iterable(delta.undo)) != told:
        return SpentRefused("a coin that the block itself makes was told in another form")
    if times.wanted:
        return TimesWanted(tuple(sorted(times.wanted)))
    failed = verify_run(delta.jobs)
    if failed is not None:
        return SpentRefused(str(script_violation(delta.jobs[failed[0]], failed[1])))
    return _fold_delta(block, job, delta)


def _fold_delta(block: ParsedBlock, job: FoldJob, delta: BlockDelta) -> Fold:
    """What a block that is valid with these coins comes to; raises HintMismatch."""
    outputs = OutputNames(block)
    lost = lost_outputs(block, coinbase_lost=job.coinbase_lost)
    created = dict(delta.created)
    if job.coinbase_lost:
        coinbase = block.txids[0]
        created = {outpoint: coin for outpoint, coin in created.items() if outpoint[:32] != coinbase}
    stay = kept_outputs(job.hint, lost, len(block.out_pos))
    parts: list[bytes] = []
    kept = 0
    for k in stay:
        name = outputs.name(k)
        coin = created.pop(name, None)
        if coin is None:
            raise HintMismatch(f"the hint names output {k} of the block, which the block itself spends")
        kept += coin_value(coin)
        parts += (RECORD_HEAD.pack(name, len(coin)), coin)
    return Fold(
        size=len(block.raw),
        txs=block.n_tx,
        inputs=sum(map(len, delta.undo)),
        coins=len(stay),
        kept=kept,
        lost=lost_value(block, lost),
        created=salted_sum(job.salt, map(bytes.__add__, created, created.values())),
        spent=salted_sum(job.salt, map(bytes.__add__, delta.spent, delta.spent.values())),
        coinbase=block.txids[0],
        records=b"".join(parts),
    )
