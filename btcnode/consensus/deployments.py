"""Which rules apply where: script flags of a block, buried deployments, BIP9 version bits.

The soft forks up to taproot are buried (active from a height) or hold from genesis with listed exceptions; version
bits decide nothing but what is deployed in future, and what a new block should signal.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from btcnode.consensus.ancestry import Ancestry
from btcnode.networks.parameters import ALWAYS_ACTIVE, NEVER_ACTIVE, Deployment, NetworkParams
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record
from btcnode.script.flags import (
    VERIFY_CHECKLOCKTIMEVERIFY,
    VERIFY_CHECKSEQUENCEVERIFY,
    VERIFY_DERSIG,
    VERIFY_NULLDUMMY,
    VERIFY_P2SH,
    VERIFY_TAPROOT,
    VERIFY_WITNESS,
)

VERSION_BITS_TOP = 0x20000000
VERSION_BITS_TOP_MASK = 0xE0000000
VERSION_BITS_COUNT = 29

WARNING_PERIOD = 2016  # blocks; mainnet, test networks take their retarget period
WARNING_THRESHOLD = 1815  # 90 %, as in BIP341; test networks take 75 %
NO_HEIGHT = 2**31 - 1  # a buried deployment at this height is switched off


def script_flags(height: int, block_hash: bytes, params: NetworkParams) -> int:
    """The flags that the input scripts of a block are verified with (Core's ``GetBlockScriptFlags``).

    P2SH, witness and taproot hold from genesis but for the blocks in ``params.script_flag_exceptions``.
    """
    flags = params.script_flag_exceptions.get(BlockHash(block_hash), VERIFY_P2SH | VERIFY_WITNESS | VERIFY_TAPROOT)
    if height >= params.bip66_height:
        flags |= VERIFY_DERSIG
    if height >= params.bip65_height:
        flags |= VERIFY_CHECKLOCKTIMEVERIFY
    if height >= params.csv_height:
        flags |= VERIFY_CHECKSEQUENCEVERIFY
    if height >= params.segwit_height:
        flags |= VERIFY_NULLDUMMY
    return flags


def buried_deployments(params: NetworkParams) -> list[tuple[str, int]]:
    """Name and activation height of every buried deployment that is not switched off, in Core's order."""
    heights = [
        ("bip34", params.bip34_height),
        ("bip66", params.bip66_height),
        ("bip65", params.bip65_height),
        ("csv", params.csv_height),
        ("segwit", params.segwit_height),
    ]
    return [(name, height) for name, height in heights if height != NO_HEIGHT]


class ThresholdState(StrEnum):
    """State of a BIP9 deployment for all blocks of a period; the values are Core's names."""

    DEFINED = "defined"
    STARTED = "started"
    LOCKED_IN = "locked_in"
    ACTIVE = "active"
    FAILED = "failed"


@record
class SignalStats:
    """Signalling in the running period: blocks so far, those that signalled, whether the threshold is in reach."""

    period: int
    threshold: int
    elapsed: int
    count: int
    possible: bool


@record
class DeploymentStatus:
    """What getdeploymentinfo tells of a BIP9 deployment, as of a block.

    ``state`` is that of the block itself, ``next_state`` that of its child, ``since`` the height where ``state`` began.
    ``stats`` and ``signalling`` (one bool for each block of the period so far) exist while signalling matters; once
    locked in, threshold and possible are 0 and False. ``active_since`` may be the height of the next block.
    """

    state: ThresholdState
    next_state: ThresholdState
    since: int
    stats: SignalStats | None
    signalling: tuple[bool, ...]
    active_since: int | None


class _Counter:
    """BIP9's state machine over one tree, for one deployment or one unknown bit; states are kept per period."""

    def __init__(self, tree: Ancestry, rule: Deployment, count: Callable[[int], int]) -> None:
        self._tree = tree
        self.rule = rule
        self._count = count  # last block of a period -> blocks in it that signal
        self._states: dict[int, ThresholdState] = {}

    def _period_parent(self, prev: int) -> int:
        """The last block of the period before the one that a child of ``prev`` is in; -1 for the first period."""
        if prev < 0:
            return -1
        height = self._tree.height(prev)
        return self._tree.ancestor(prev, height - (height + 1) % self.rule.period)

    def state_after(self, prev: int) -> ThresholdState:
        """State of the blocks whose parent is ``prev`` (-1: of genesis)."""
        rule, tree, states = self.rule, self._tree, self._states
        if rule.start_time == ALWAYS_ACTIVE:
            return ThresholdState.ACTIVE
        if rule.start_time == NEVER_ACTIVE:
            return ThresholdState.FAILED
        index = self._period_parent(prev)
        unresolved = []
        while index not in states:
            if index < 0 or tree.median_time_past(index) < rule.start_time:
                states[index] = ThresholdState.DEFINED  # so is every earlier period
                break
            unresolved.append(index)
            index = tree.ancestor(index, tree.height(index) - rule.period)
        state = states[index]
        for end in reversed(unresolved):
            states[end] = state = self._next(state, end)
        return state

    def _next(self, state: ThresholdState, end: int) -> ThresholdState:
        """The state after the period whose last block is ``end``, given the state in it."""
        rule, tree = self.rule, self._tree
        if state is ThresholdState.DEFINED:
            return ThresholdState.STARTED if tree.median_time_past(end) >= rule.start_time else state
        if state is ThresholdState.STARTED:
            if self._count(end) >= rule.threshold:
                return ThresholdState.LOCKED_IN
            return ThresholdState.FAILED if tree.median_time_past(end) >= rule.timeout else state
        if state is ThresholdState.LOCKED_IN:
            return ThresholdState.ACTIVE if tree.height(end) + 1 >= rule.min_activation_height else state
        return state

    def since_height(self, prev: int) -> int:
        """Height of the first block in the state that a child of ``prev`` has."""
        if self.rule.start_time in (ALWAYS_ACTIVE, NEVER_ACTIVE):
            return 0
        state = self.state_after(prev)
        if state is ThresholdState.DEFINED:
            return 0
        tree, period = self._tree, self.rule.period
        index = self._period_parent(prev)
        before = tree.ancestor(index, tree.height(index) - period)
        while before >= 0 and self.state_after(before) is state:
            index = before
            before = tree.ancestor(index, tree.height(index) - period)
        return tree.height(index) + 1


def signals(version: int, bit: int) -> bool:
    """Whether a block version (signed or not) uses version bits and has ``bit`` set."""
    return version & VERSION_BITS_TOP_MASK == VERSION_BITS_TOP and bool(version >> bit & 1)


class VersionBits:
    """BIP9 over one header tree. Blocks are named by index; ``prev`` is the parent of the block in question."""

    def __init__(self, params: NetworkParams, tree: Ancestry) -> None:
        self._params = params
        self._tree = tree
        self._counters = {
            deployment.name: _Counter(tree, deployment, self._signal_counter(deployment))
            for deployment in params.deployments
        }
        self._warning_period = WARNING_PERIOD
        threshold = WARNING_THRESHOLD
        if params.is_test_chain:
            self._warning_period = params.difficulty_adjustment_interval
            threshold = self._warning_period * 3 // 4
        self._unknown_counts: dict[int, list[int]] = {}
        self._warnings = [
            _Counter(
                tree,
                Deployment(f"bit{bit}", bit, 0, 2**63 - 1, 0, self._warning_period, threshold),
                self._unknown_counter(bit),
            )
            for bit in range(VERSION_BITS_COUNT)
        ]

    def _signal_counter(self, deployment: Deployment) -> Callable[[int], int]:
        def count(end: int) -> int:
            return sum(self._signalling(end, deployment.period, deployment.bit))

        return count

    def _signalling(self, index: int, blocks: int, bit: int) -> list[bool]:
        """For the ``blocks`` blocks up to ``index``, oldest first, whether each signals."""
        tree = self._tree
        found = []
        for _ in range(blocks):
            found.append(signals(tree.version(index), bit))
            index = tree.prev(index)
        found.reverse()
        return found

    def state_after(self, prev: int, name: str) -> ThresholdState:
        """State of deployment ``name`` for a child of ``prev``; KeyError for a name that the network has not."""
        return self._counters[name].state_after(prev)

    def block_version(self, prev: int) -> int:
        """The version that a new block on ``prev`` should have: one bit for each deployment that is to be signalled."""
        version = VERSION_BITS_TOP
        for counter in self._counters.values():
            if counter.state_after(prev) in (ThresholdState.STARTED, ThresholdState.LOCKED_IN):
                version |= 1 << counter.rule.bit
        return version

    def status(self, index: int, name: str) -> DeploymentStatus:
        """Everything about deployment ``name`` as of block ``index``."""
        counter = self._counters[name]
        rule, prev = counter.rule, self._tree.prev(index)
        state, next_state = counter.state_after(prev), counter.state_after(index)
        since = counter.since_height(prev)
        height = self._tree.height(index)
        stats: SignalStats | None = None
        signalling: tuple[bool, ...] = ()
        if state in (ThresholdState.STARTED, ThresholdState.LOCKED_IN):
            elapsed = height % rule.period + 1
            signalling = tuple(self._signalling(index, elapsed, rule.bit))
            count = sum(signalling)
            if state is ThresholdState.LOCKED_IN:
                stats = SignalStats(rule.period, 0, elapsed, count, False)
            else:
                possible = rule.period - rule.threshold >= elapsed - count
                stats = SignalStats(rule.period, rule.threshold, elapsed, count, possible)
        active_since: int | None = None
        if state is ThresholdState.ACTIVE:
            active_since = since
        elif next_state is ThresholdState.ACTIVE:
            active_since = height + 1
        return DeploymentStatus(state, next_state, since, stats, signalling, active_since)

    def unknown_activations(self, index: int) -> list[tuple[int, bool]]:
        """Bits that the miners up to ``index`` have voted in and we do not know: ``(bit, already active)`` each."""
        found = []
        for counter in self._warnings:
            state = counter.state_after(index)
            if state in (ThresholdState.ACTIVE, ThresholdState.LOCKED_IN):
                found.append((counter.rule.bit, state is ThresholdState.ACTIVE))
        return found

    def _unknown_counter(self, bit: int) -> Callable[[int], int]:
        def count(end: int) -> int:
            counts = self._unknown_counts.get(end)
            if counts is None:
                counts = self._unknown_counts[end] = self._count_unknown(end)
            return counts[bit]

        return count

    def _count_unknown(self, end: int) -> list[int]:
        """For each bit, blocks of the period ending in ``end`` that set it without our knowing why."""
        tree = self._tree
        counts = [0] * VERSION_BITS_COUNT
        height, index = tree.height(end), end
        first = max(height - self._warning_period + 1, self._params.min_bip9_warning_height)
        while height >= first:
            version, prev = tree.version(index), tree.prev(index)
            if version & VERSION_BITS_TOP_MASK == VERSION_BITS_TOP and version != VERSION_BITS_TOP:
                unknown = version & ~VERSION_BITS_TOP_MASK & ~self.block_version(prev)
                while unknown:
                    low = unknown & -unknown
                    counts[low.bit_length() - 1] += 1
                    unknown ^= low
            index, height = prev, height - 1
        return counts
