"""Verification as a whole: a chain cut into tasks, what they come to put together, and what there is to say of it."""

from __future__ import annotations

import secrets
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from btcnode.consensus.connect import coinbases_differ
from btcnode.data.coin_keys import KeySpool
from btcnode.data.folder import BlockFolder, Chain
from btcnode.data.ranges import checked_range
from btcnode.data.repeats import RepeatSearch, Sightings, find_sightings, repeat_failures, repeated
from btcnode.data.report import Report, Sample
from btcnode.data.tables import TableChain, TablePlace
from btcnode.data.tasks import TaskRunner
from btcnode.data.verify import (
    Failure,
    Outcome,
    Shared,
    Source,
    Spend,
    SpendSearch,
    VerifyTask,
    find_spends,
    verify_task,
)
from btcnode.errors import ConfigError
from btcnode.networks.parameters import BIP34_IMPLIES_BIP30_LIMIT, NetworkParams
from btcnode.primitives.hashes import to_display
from btcnode.storage.block_import import MIN_BLOCK_SIZE
from btcnode.storage.layout import block_file_name
from btcnode.storage.muhash import MODULUS, number_digest

TASK_BYTES = 16 << 20  # of blocks: what a worker holds the coins of
PLACES_AT_ONCE = 1000
MAX_FAILURES = 1000  # that are told
SALT_SIZE = 16


class Work(Protocol):
    """A chain that can be verified."""

    @property
    def source(self) -> Source:
        """Where its blocks come from."""

    @property
    def tip(self) -> int:
        """Height of its last block."""

    def hash(self, height: int) -> bytes:
        """Hash of the block at a height, internal order."""

    def median_times(self) -> array[int]:
        """Median time past of every block by height."""

    def tasks(self, last: int, task_bytes: int) -> Iterator[VerifyTask]:
        """The blocks up to a height, cut where ``task_bytes`` of them are reached."""

    def faults(self, *, whole: bool) -> list[Failure]:
        """What is wrong with headers and files, as far as it can be told without reading blocks.

        ``whole``: the chain's end was not given, so that all that lies there is meant. Raises StorageError.
        """

    def notes(self) -> list[str]:
        """What lies there beside the chain and is not verified with it, without being a fault."""


class FolderWork:
    """The chain in a folder of block files."""

    def __init__(self, folder: BlockFolder) -> None:
        self._folder = folder
        self._chain: Chain = folder.chain()
        self.source: Source = folder.source
        self.tip = self._chain.tip
        self.hash = self._chain.hash
        self.median_times = self._chain.median_times
        self._above = self._chain.height_above
        self._damage = self._chain.damage_beside()

    def tasks(self, last: int, task_bytes: int) -> Iterator[VerifyTask]:
        """See ``Work``."""
        waiting: list[Any] = []
        size = 0
        for start in range(0, last + 1, PLACES_AT_ONCE):
            for place in self._chain.places(start, min(start + PLACES_AT_ONCE - 1, last)):
                waiting.append(place)
                size += max(place.size, MIN_BLOCK_SIZE)
                if size >= task_bytes:
                    yield VerifyTask(waiting[0].height, waiting[-1].height, waiting)
                    waiting, size = [], 0
        if waiting:
            yield VerifyTask(waiting[0].height, waiting[-1].height, waiting)

    def faults(self, *, whole: bool) -> list[Failure]:
        """See ``Work``."""
        folder, found = self._folder, []
        for item in folder.refused:
            where = f"byte {item.pos} of {block_file_name(item.file)}"
            found.append(Failure(-1, to_display(item.hash), "bad-header", f"{item.reason}, at {where}"))
        if whole and self._damage and (self._above >= 0 or folder.unlinked):
            reason = "unlinked" if folder.unlinked else "not-connected"
            found.append(Failure(self.tip + 1, "", reason, self._damage))
        return found

    def notes(self) -> list[str]:
        """See ``Work``."""
        found = []
        above, unlinked = self._above, self._folder.unlinked
        if above >= 0:
            text = (
                f"blocks above {self.tip}, up to height {above}, were not verified: their node has not connected them"
            )
            found.append(f"{text} (no undo data)")
        if unlinked:
            found.append(f"{unlinked} blocks were not verified: blocks before them are not here yet")
        if self._damage and not found:
            found.append(f"{self._damage}, or left by a crash; is {self.tip} the height that it should be?")
        return found


class TableWork:
    """The chain in an export."""

    def __init__(self, chain: TableChain) -> None:
        self._chain = chain
        self.source: Source = chain.source
        self.tip = chain.tip
        self.hash = chain.hash
        self.median_times = chain.median_times

    def tasks(self, last: int, task_bytes: int) -> Iterator[VerifyTask]:
        """See ``Work``; row groups are not cut: raises ConfigError for a height within one."""
        waiting: list[TablePlace] = []
        size = 0
        within = next((place for place in self._chain.groups if place.first <= last < place.last), None)
        if within is not None:
            raise ConfigError(
                f"Height {last} lies within a row group of the export: --to can be {within.first - 1} or {within.last}"
            )
        for place in self._chain.groups:
            if place.last > last:
                break
            waiting.append(place)
            size += max(place.size, MIN_BLOCK_SIZE)
            if size >= task_bytes:
                yield VerifyTask(waiting[0].first, waiting[-1].last, waiting)
                waiting, size = [], 0
        if waiting:
            yield VerifyTask(waiting[0].first, waiting[-1].last, waiting)

    def faults(self, *, whole: bool) -> list[Failure]:
        """See ``Work``: a bad header was refused when the export was opened."""
        return []

    def notes(self) -> list[str]:
        """See ``Work``: an export has nothing else."""
        return []


class _Whole:
    """What all tasks come to."""

    def __init__(self, spool: KeySpool) -> None:
        self._spool = spool
        self._made = self._spent = 1
        self.coinbases: list[tuple[int, bytes]] = []
        self.txouts = self.amount = 0

    def add(self, outcome: Outcome) -> None:
        """Take in a task whose blocks were all looked at; raises StorageError."""
        self._made = self._made * outcome.made % MODULUS
        self._spent = self._spent * outcome.spent % MODULUS
        self.coinbases += outcome.coinbases
        self.txouts += outcome.txouts
        self.amount += outcome.amount
        self._spool.add(outcome.made_keys, outcome.spent_keys)

    def unmatched(self) -> set[int]:
        """The numbers of coins that were spent more often than made; raises StorageError."""
        return self._spool.unmatched()

    def muhash(self) -> str:
        """Of the coins that were made and not spent, as RPC shows it."""
        return to_display(number_digest(self._made * pow(self._spent, -1, MODULUS) % MODULUS))


def verify_chain(
    work: Work,
    runner: TaskRunner,
    *,
    last: int | None = None,
    expected_muhash: str | None = None,
    task_bytes: int = TASK_BYTES,
    scratch: Path | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Verify a chain from the genesis block to height ``last`` (its tip).

    ``expected_muhash`` is what the coins have to come to, as ``gettxoutsetinfo muhash`` shows it. Numbers of the coins
    go to files in ``scratch``. ``show`` is told how many of how many blocks are done. What is wrong with the chain is
    in the report; raises ConfigError, StorageError, WorkersLostError.
    """
    whole = last is None
    _, last = checked_range(0, last, work.tip)
    shared = Shared(work.source, work.median_times(), secrets.token_bytes(SALT_SIZE), _repeats(work, last))
    report = Report(last, to_display(work.hash(last)), None if expected_muhash is None else expected_muhash.lower())
    report.failures += work.faults(whole=whole)
    report.notes += work.notes() if whole else []
    began = monotonic()
    done, is_whole = 0, True
    with tempfile.TemporaryDirectory(prefix="btcnode-verify-", dir=scratch) as folder:
        total = _Whole(KeySpool(Path(folder)))
        for outcome in runner.run(verify_task, shared, work.tasks(last, task_bytes)):
            report.add(Sample.of(outcome, monotonic() - began))
            report.failures += outcome.failures
            if outcome.whole:
                total.add(outcome)
            is_whole = is_whole and outcome.whole
            done += outcome.last - outcome.first + 1
            report.lost_workers = runner.lost
            show(done, last + 1)
        if done != last + 1:
            text = f"{done} of {last + 1} blocks were looked at"
            report.failures.append(Failure(-1, "", "unreadable", text))
        elif is_whole:  # else sums are of parts only
            _put_sums_together(total, report, work, runner, shared, task_bytes)
    report.seconds = monotonic() - began
    report.lost_workers = runner.lost
    report.failures = sorted(report.failures, key=lambda failure: failure.height)[:MAX_FAILURES]
    return report


def _repeats(work: Work, last: int) -> tuple[int, int]:
    """The heights whose coinbases may be the same (``Shared.repeats``): where BIP30 is a rule beside BIP34.

    BIP34 puts the height into coinbases, but those before it may have a later height in them. Of the chain that all
    know it is known how far from now that is (Core's BIP34_IMPLIES_BIP30_LIMIT), of another chain nothing is.
    """
    params: NetworkParams = work.source.params
    if coinbases_differ(params):
        return 0, last + 1
    at = params.bip34_height
    if last >= at and work.hash(at) != params.bip34_hash:
        return last, last + 1
    return at, BIP34_IMPLIES_BIP30_LIMIT


def _put_sums_together(
    total: _Whole, report: Report, work: Work, runner: TaskRunner, shared: Shared, task_bytes: int
) -> None:
    """Put the sums together: every coin made before it is spent, and spent once; no transaction twice."""
    params: NetworkParams = work.source.params
    known = [at for at, name in params.bip30_exceptions if at <= report.height and work.hash(at) == name]
    twice = repeated(total.coinbases, known)
    if twice:

        def sightings(txids: frozenset[bytes]) -> Iterator[Sightings]:
            return runner.run(find_sightings, RepeatSearch(shared, txids), work.tasks(report.height, task_bytes))

        report.failures += repeat_failures(twice, known, sightings, work.hash)
    unmatched = total.unmatched()
    if unmatched:
        search = SpendSearch(shared, frozenset(unmatched))
        spends: list[Spend] = []
        for found in runner.run(find_spends, search, work.tasks(report.height, task_bytes)):
            spends += found
        report.failures += _culprits(spends)
        unnamed = unmatched - {spend.key for spend in spends}
        if unnamed:
            text = f"{len(unnamed)} coins were spent more often than made, by inputs that were gone the second time"
            report.failures.append(Failure(-1, "", "bad-txns-inputs-missingorspent", text))
    report.muhash, report.txouts, report.amount = total.muhash(), total.txouts, total.amount


def _culprits(spends: Iterable[Spend]) -> Sequence[Failure]:
    """For each coin the last input that spends it: for one spent twice, or never made as it was told."""
    by_key: dict[int, list[Spend]] = {}
    for spend in sorted(spends, key=lambda spend: spend.height):
        by_key.setdefault(spend.key, []).append(spend)
    found = []
    for same in by_key.values():
        spend = same[-1]
        text = f"spends {spend.outpoint}, " + (
            f"which input {same[0].input} of {same[0].txid} at height {same[0].height} has spent"
            if len(same) > 1
            else "which was not made with this height, amount and script, or was spent by its own block"
        )
        reason = "bad-txns-inputs-missingorspent"
        found.append(Failure(spend.height, spend.block, reason, text, spend.txid, spend.input))
    return found
