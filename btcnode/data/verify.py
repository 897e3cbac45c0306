"""What a worker does with some blocks in a row: every rule, every script, and what they come to as a sum.

Blocks are verified with the coins that the source tells (undo data, or an export with prevouts), as if these were true.
Each coin that is made and each that is spent goes into the sum of the partition with its height, its coinbase flag, its
amount and its script. So nobody needs the state of another, and what was told wrongly shows when all sums are together.
"""

from __future__ import annotations

import re
import socket
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from os import getpid
from time import monotonic, process_time
from typing import Any, NamedTuple, Protocol

from btcnode.consensus.blocks import check_merkle_root
from btcnode.consensus.connect import (
    BIP30_OVERWRITTEN,
    BlockDelta,
    ConnectContext,
    block_outputs,
    connect_block,
    script_violation,
)
from btcnode.consensus.deployments import script_flags
from btcnode.consensus.subsidy import block_subsidy
from btcnode.data.block_reader import DataError, SourceBlock
from btcnode.data.coin_keys import coin_keys
from btcnode.errors import RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.script.verify import verify_jobs
from btcnode.storage.muhash import MuHash
from btcnode.swiftsync.fold import FoldJob, check_alone
from btcnode.swiftsync.full_fold import ToldCoins

MAX_FAILURES = 1000  # of a task: then it is given up

_TXID = re.compile(r"\b(?:of|transaction) ([0-9a-f]{64})")


class Source(Protocol):
    """Where blocks and the coins that they spend come from."""

    @property
    def params(self) -> NetworkParams:
        """Of the network whose blocks these are."""

    def read(self, places: Sequence[Any], *, with_coins: bool) -> Iterator[SourceBlock]:
        """The blocks at these places, in order."""


class Shared(NamedTuple):
    """What every task needs: ``times`` are the median times past of the chain by height, ``salt`` is secret.

    ``repeats`` are the heights (a range, and all from a second one on) at which a coinbase may be an earlier one again.
    """

    source: Source
    times: array[int]
    salt: bytes
    repeats: tuple[int, int]

    def may_repeat(self, height: int) -> bool:
        """Whether the coinbase at a height may be that of another height too, as far as BIP34 is concerned."""
        return 0 < height <= self.repeats[0] or height >= self.repeats[1]


class VerifyTask(NamedTuple):
    """Blocks in a row: first and last height, and where they lie."""

    first: int
    last: int
    places: Sequence[Any]


class Failure(NamedTuple):
    """A block that is not valid: the rule in Core's words; transaction and input where one of them is to blame.

    Hashes as people write them, empty where nothing is known; ``input`` is -1 then.
    """

    height: int
    block: str
    reason: str
    detail: str = ""
    txid: str = ""
    input: int = -1


class Outcome(NamedTuple):
    """What a task came to.

    ``made`` and ``spent`` are MuHash numbers of the coins that the partition leaves and takes from before, their counts
    ``txouts`` (made less spent) and ``amount`` (satoshi, the same); the keys are those of the same coins.
    ``worker`` names the process, ``seconds`` are by its clock, ``cpu`` is its processor time. The sums are those of all
    blocks when ``whole``, also of blocks that have failed.
    """

    first: int
    last: int
    txs: int
    inputs: int
    size: int
    worker: str
    seconds: float
    cpu: float
    made: int
    spent: int
    txouts: int
    amount: int
    made_keys: array[int]
    spent_keys: array[int]
    coinbases: list[tuple[int, bytes]]
    failures: list[Failure]
    whole: bool


class _Sum:
    """The coins that some blocks in a row leave and take; what they make and spend themselves is in neither."""

    def __init__(self) -> None:
        self.made: dict[bytes, bytes] = {}
        self.spent: list[bytes] = []
        self.amount = 0

    def add(self, delta: BlockDelta, lost_txid: bytes) -> None:
        """Count what a block does; outputs of the transaction ``lost_txid`` never count."""
        made = self.made
        for outpoint, coin in delta.spent.items():
            if made.get(outpoint) == coin:
                del made[outpoint]
            else:
                self.spent.append(outpoint + coin)
            self.amount -= coin_value(coin)
        for outpoint, coin in delta.created.items():
            if outpoint[:32] != lost_txid:
                made[outpoint] = coin
                self.amount += coin_value(coin)


def verify_task(shared: Shared, task: VerifyTask) -> Outcome:
    """Verify the blocks of a task, up to one that cannot be read or to very many that are not valid."""
    began, cpu = monotonic(), process_time()
    params = shared.source.params
    total = _Sum()
    txs = inputs = size = 0
    coinbases: list[tuple[int, bytes]] = []
    failures: list[Failure] = []
    height, whole = task.first, False
    try:
        for source in shared.source.read(task.places, with_coins=True):
            _check_place(source, height, shared.times)
            block = source.block
            delta, failure = verify_block(source, shared.times, params)
            failures += [] if failure is None else [failure]
            overwritten = (height, block.hash) in BIP30_OVERWRITTEN
            total.add(delta, block.txids[0] if overwritten else b"")
            if shared.may_repeat(height):
                coinbases.append((height, block.txids[0]))
            txs += block.n_tx
            inputs += len(block.in_pos) - 1
            size += block.size
            height += 1
            if len(failures) >= MAX_FAILURES:
                break
        whole = height == task.last + 1
        if not whole and not failures:
            raise DataError(f"blocks {height} to {task.last} were not looked at")
    except (DataError, StorageError) as error:
        failures.append(Failure(height, "", "unreadable", str(error)))
    made = [outpoint + coin for outpoint, coin in total.made.items()]
    sums = MuHash(), MuHash()
    if whole:
        sums[0].insert_many(made)
        sums[1].insert_many(total.spent)
    return Outcome(
        task.first, task.last, txs, inputs, size, f"{socket.gethostname()}:{getpid()}",
        monotonic() - began, process_time() - cpu, sums[0].number(), sums[1].number(),
        len(made) - len(total.spent), total.amount,
        coin_keys(shared.salt, made), coin_keys(shared.salt, total.spent), coinbases, failures, whole,
    )  # fmt: skip


def _check_place(source: SourceBlock, height: int, times: Sequence[int]) -> None:
    """Raise DataError unless a block is the one that its task has next."""
    name = to_display(source.block.hash)
    if source.height != height:
        raise DataError(f"block {name} came in the place of the one at height {height}")
    if source.median_time != times[height]:
        raise DataError(f"block {name} was told with another median time")


def _as_told(source: SourceBlock) -> BlockDelta:
    """What a block that is not valid does to the coins, as if it were: others are compared all the same."""
    block, created, spent = source.block, dict[bytes, bytes](), dict[bytes, bytes]()
    prevouts = block.prevouts()
    for i in range(block.n_tx):
        if i and source.coins is not None:
            outpoints = prevouts[block.first_in[i] : block.first_in[i + 1]]
            for outpoint, coin in zip(outpoints, source.coins[i - 1], strict=True):
                if created.pop(outpoint, None) is None:
                    spent[outpoint] = coin
        created.update(block_outputs(block, i, source.height))
    return BlockDelta(created, spent)


def verify_block(source: SourceBlock, times: Sequence[int], params: NetworkParams) -> tuple[BlockDelta, Failure | None]:
    """What a block does to the coins, and what is wrong with it (or None): then as if it were valid.

    Header by itself, merkle root, witness commitment, sizes, lock times, coinbase, amounts, relative locks, signature
    operations and every script, with the flags of its height.
    """
    block, height = source.block, source.height
    try:
        if not height:
            check_merkle_root(block)
            return BlockDelta(), None
        check_alone(block, FoldJob(b"", height, times[height - 1], False, b""), params)
        delta = _connected(block, height, list(chain.from_iterable(source.coins or ())), times, params)
    except RuleViolation as violation:
        return _as_told(source), _failure(block, height, violation)
    failed = verify_jobs(delta.jobs)
    if failed is None:
        return delta, None
    job, failure = delta.jobs[failed[0]], failed[1]
    told = _failure(block, height, script_violation(job, failure))
    return delta, told._replace(txid=to_display(Tx.parse(job.raw_tx).txid), input=failure.input_index)


def _connected(
    block: ParsedBlock, height: int, told: list[bytes], times: Sequence[int], params: NetworkParams
) -> BlockDelta:
    """Connect a block to the coins that were told; raises RuleViolation."""
    context = ConnectContext(
        flags=script_flags(height, block.hash, params),
        subsidy=block_subsidy(height, params),
        check_bip30=False,  # it is found at the end, among all coinbases
        csv_active=height >= params.csv_height,
        prev_mtp=times[height - 1],
        mtp_at=times.__getitem__,
    )
    coins = dict(zip(block.prevouts()[1:], told, strict=True))
    delta = connect_block(block, height, ToldCoins(coins, height), context)
    if list(chain.from_iterable(delta.undo)) != told:
        raise RuleViolation("spent-coin-differs", "a coin that the block itself makes was told in another form")
    return delta


def _failure(block: ParsedBlock, height: int, violation: RuleViolation) -> Failure:
    named = _TXID.search(violation.debug)
    txid = named[1] if named else to_display(block.txids[0]) if violation.code.startswith("bad-cb-") else ""
    return Failure(height, to_display(block.hash), violation.code, violation.debug, txid)


class Spend(NamedTuple):
    """An input that spends a coin of which there is something to say."""

    key: int
    height: int
    block: str
    txid: str
    input: int
    outpoint: str


class SpendSearch(NamedTuple):
    """What a search for spends needs: those of the coins with these ``keys`` are wanted."""

    shared: Shared
    keys: frozenset[int]


def find_spends(search: SpendSearch, task: VerifyTask) -> list[Spend]:
    """The inputs in the blocks of a task that spend one of the coins; raises DataError, StorageError."""
    found = []
    salt, wanted = search.shared.salt, search.keys
    for source in search.shared.source.read(task.places, with_coins=True):
        block, k = source.block, 1
        for i, coins in enumerate(source.coins or (), 1):
            for number, coin in enumerate(coins):
                p = block.in_pos[k]
                outpoint = block.raw[p : p + 36]
                k += 1
                for key in coin_keys(salt, (outpoint + coin,)):
                    if key in wanted:
                        place = f"{to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little')}"
                        named = to_display(block.hash), to_display(block.txids[i])
                        found.append(Spend(key, source.height, *named, number, place))
    return found
