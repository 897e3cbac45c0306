from __future__ import annotations

import pytest

from btcnode.consensus.deployments import (
    VERSION_BITS_TOP,
    SignalStats,
    ThresholdState,
    VersionBits,
    buried_deployments,
    script_flags,
    signals,
)
from btcnode.networks.parameters import ALWAYS_ACTIVE, NEVER_ACTIVE, NetworkParams, params_for
from btcnode.networks.parameters import VersionBits as BitsFigures
from btcnode.script.flags import flag_names
from tests.lib.ancestry import ListAncestry

MAINNET = params_for("mainnet")
ALWAYS = ["P2SH", "TAPROOT", "WITNESS"]
SIGNAL = VERSION_BITS_TOP | 1 << 28
GENESIS_TIME = 1296688602


@pytest.mark.parametrize(
    ("height", "added"),
    [
        (0, []),
        (363_724, []),
        (363_725, ["DERSIG"]),
        (388_380, ["DERSIG"]),
        (388_381, ["CHECKLOCKTIMEVERIFY", "DERSIG"]),
        (419_328, ["CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY", "DERSIG"]),
        (481_823, ["CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY", "DERSIG"]),
        (481_824, ["CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY", "DERSIG", "NULLDUMMY"]),
    ],
)
def test_flags_by_height(height: int, added: list[str]) -> None:
    assert flag_names(script_flags(height, bytes(32), MAINNET)) == sorted(ALWAYS + added)


def test_flag_exceptions() -> None:
    bip16, taproot = MAINNET.script_flag_exceptions
    assert script_flags(170_060, bip16, MAINNET) == 0
    assert flag_names(script_flags(692_261, taproot, MAINNET)) == [
        "CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY", "DERSIG", "NULLDUMMY", "P2SH", "WITNESS",
    ]  # fmt: skip
    assert script_flags(170_060, bip16, params_for("testnet4")) != 0


def test_buried() -> None:
    assert buried_deployments(MAINNET) == [
        ("bip34", 227_931), ("bip66", 363_725), ("bip65", 388_381), ("csv", 419_328), ("segwit", 481_824),
    ]  # fmt: skip
    off = params_for("regtest", activation_overrides={"segwit": 2**31 - 1})
    assert [name for name, _ in buried_deployments(off)] == ["bip34", "bip66", "bip65", "csv"]


def test_signals() -> None:
    assert signals(SIGNAL, 28)
    assert not signals(VERSION_BITS_TOP, 28)
    assert not signals(1 << 28, 28)  # no version bits without the top bits 001
    assert not signals(SIGNAL | 1 << 30, 28)
    assert not signals(-1, 28)


class Signaller:
    """A regtest chain of periods of 144 blocks, each with a number of signalling blocks."""

    def __init__(self, start: int = 0, timeout: int = 2**63 - 1, min_height: int = 0) -> None:
        figures = BitsFigures(start, timeout, min_height)
        self.params: NetworkParams = params_for("regtest", version_bits={"testdummy": figures})
        self.tree = ListAncestry()
        self.tree.append(self.params.genesis_block)
        self.bits = VersionBits(self.params, self.tree)

    @property
    def tip(self) -> int:
        return len(self.tree) - 1

    def period(self, signalling: int, version: int = SIGNAL) -> str:
        """Add the rest of a period; returns the state of the next one."""
        rest = 144 - len(self.tree) % 144
        self.tree.extend(signalling, version=version)
        self.tree.extend(rest - signalling)
        return self.bits.state_after(self.tip, "testdummy").value


def test_states_until_active() -> None:
    chain = Signaller()
    assert chain.bits.state_after(-1, "testdummy") is ThresholdState.DEFINED
    assert chain.bits.block_version(-1) == VERSION_BITS_TOP
    assert [chain.period(count) for count in (143, 107, 108, 0, 0)] == [
        "started", "started", "locked_in", "active", "active",
    ]  # fmt: skip
    assert chain.bits.state_after(chain.tip, "testdummy") is ThresholdState.ACTIVE
    heights = {state: [] for state in ThresholdState}  # type: ignore[var-annotated]
    for prev in range(chain.tip):
        heights[chain.bits.state_after(prev, "testdummy")].append(prev + 1)
    assert heights[ThresholdState.DEFINED] == list(range(1, 144))
    assert heights[ThresholdState.STARTED] == list(range(144, 432))
    assert heights[ThresholdState.LOCKED_IN] == list(range(432, 576))
    assert heights[ThresholdState.ACTIVE][0] == 576
    for height, since in ((100, 0), (144, 144), (431, 144), (432, 432), (575, 432), (576, 576), (719, 576)):
        assert chain.bits.status(height, "testdummy").since == since
    versions = {chain.bits.block_version(prev) for prev in range(143, 575)}
    assert versions == {SIGNAL}
    assert chain.bits.block_version(575) == VERSION_BITS_TOP


def test_a_fresh_machine_finds_the_same_states() -> None:
    chain = Signaller()
    for count in (0, 120, 0, 0):
        chain.period(count)
    again = VersionBits(chain.params, chain.tree)
    for prev in range(chain.tip, -2, -1):
        assert again.state_after(prev, "testdummy") is chain.bits.state_after(prev, "testdummy")


def test_forks_have_states_of_their_own() -> None:
    chain = Signaller()
    chain.period(0)
    fork = chain.tip
    assert chain.period(144) == "locked_in"
    other = fork
    for _ in range(144):
        header = chain.tree.hash(other)
        raw = b"\0\0\0\x20" + header + bytes(32) + chain.tree.time(other).to_bytes(4, "little") + bytes(8)
        other = chain.tree.append(raw, other)
    assert chain.bits.state_after(other, "testdummy") is ThresholdState.STARTED


def test_timeout() -> None:
    chain = Signaller(timeout=GENESIS_TIME + 250 * 600)
    assert [chain.period(count) for count in (0, 107, 144)] == ["started", "failed", "failed"]
    late = Signaller(timeout=GENESIS_TIME + 250 * 600)
    late.period(0)
    assert late.period(108) == "locked_in"  # the threshold is looked at first


def test_start_time() -> None:
    chain = Signaller(start=GENESIS_TIME + 200 * 600)
    assert [chain.period(144) for _ in range(3)] == ["defined", "started", "locked_in"]


def test_min_activation_height() -> None:
    chain = Signaller(min_height=700)
    assert [chain.period(count) for count in (0, 144, 0, 0, 0)] == [
        "started", "locked_in", "locked_in", "locked_in", "active",
    ]  # fmt: skip


def test_always_and_never() -> None:
    chain = Signaller(start=ALWAYS_ACTIVE)
    assert chain.bits.state_after(-1, "testdummy") is ThresholdState.ACTIVE
    assert chain.bits.status(0, "testdummy").since == 0
    assert chain.bits.status(0, "testdummy").active_since == 0
    never = Signaller(start=NEVER_ACTIVE)
    never.period(144)
    status = never.bits.status(never.tip, "testdummy")
    assert (status.state, status.since, status.stats, status.active_since) == (ThresholdState.FAILED, 0, None, None)


def test_statistics() -> None:
    chain = Signaller()
    chain.period(0)
    chain.tree.extend(10, version=SIGNAL)
    chain.tree.extend(36)
    status = chain.bits.status(chain.tip, "testdummy")
    assert (status.state, status.next_state) == (ThresholdState.STARTED, ThresholdState.STARTED)
    assert status.stats == SignalStats(144, 108, 46, 10, True)
    assert status.signalling == (True,) * 10 + (False,) * 36
    chain.tree.extend(1)
    stats = chain.bits.status(chain.tip, "testdummy").stats
    assert stats == SignalStats(144, 108, 47, 10, False)
    locked = Signaller()
    locked.period(0)
    locked.tree.extend(143, version=SIGNAL)
    locked.tree.extend(1)
    status = locked.bits.status(locked.tip, "testdummy")
    assert (status.state, status.next_state) == (ThresholdState.STARTED, ThresholdState.LOCKED_IN)
    locked.tree.extend(1)
    status = locked.bits.status(locked.tip, "testdummy")
    assert status.stats == SignalStats(144, 0, 1, 0, False)
    assert status.signalling == (False,)
    locked.period(0)
    status = locked.bits.status(locked.tip, "testdummy")
    assert (status.next_state, status.active_since) == (ThresholdState.ACTIVE, locked.tree.height(locked.tip) + 1)


def test_unknown_rules_are_noticed() -> None:
    chain = Signaller(start=NEVER_ACTIVE)
    unknown = VERSION_BITS_TOP | 1 << 5 | 1 << 11
    chain.period(0)
    chain.period(107, unknown)
    assert chain.bits.unknown_activations(chain.tip) == []
    chain.period(108, unknown)  # 75 % on test networks
    assert chain.bits.unknown_activations(chain.tip) == [(5, False), (11, False)]
    chain.period(0)
    assert chain.bits.unknown_activations(chain.tip) == [(5, True), (11, True)]


def test_known_signals_are_no_warning() -> None:
    chain = Signaller()
    chain.period(0)
    chain.period(144)
    assert chain.bits.unknown_activations(chain.tip) == []
    # once the rule is active nobody needs to signal: then it is somebody else's bit
    chain.period(144)
    chain.period(144)
    chain.period(144)
    assert chain.bits.unknown_activations(chain.tip) == [(28, True)]


def test_signals_below_the_warning_height_do_not_count() -> None:
    params = MAINNET
    unknown = VERSION_BITS_TOP | 1
    for first, noticed in ((params.min_bip9_warning_height - 2016, False), (params.min_bip9_warning_height, True)):
        tree = ListAncestry(first_height=first)
        tree.append(params.genesis_block)
        tree.extend(2015, version=unknown)
        bits = VersionBits(params, tree)
        counts = bits._count_unknown(len(tree) - 1)
        assert counts[0] == (2015 if noticed else 0)
        assert sum(counts) == counts[0]
