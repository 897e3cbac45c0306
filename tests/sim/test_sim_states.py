"""The table of states decides who is asked, served and told: runs with the real table and with altered ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol.commands import AddNode, DisconnectNode
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections import peer_states
from btcnode.protocol.connections.peer_states import TRANSITIONS, PeerEvent, PeerState
from btcnode.testing.simulator import Adversary, Content, End, SimNode, Simulator, sim_address
from btcnode.wire.codec import Message
from btcnode.wire.constants import MSG_WITNESS_BLOCK
from btcnode.wire.messages import BlockMessage, GetData, GetHeaders, Headers, InvItem
from tests.lib.block_givers import Good, Lying

Table = dict[tuple[PeerState, PeerEvent], PeerState]
BLOCKS = 200
S, E = PeerState, PeerEvent


class Taker(Adversary):
    """Asks for our headers every minute, and for a block."""

    def __init__(self, sim: Simulator, number: int, wanted: bytes) -> None:
        super().__init__(sim, sim_address(number))
        self.wanted = wanted
        self.headers = self.blocks = 0

    def on_established(self, end: End) -> None:
        self.send(end, GetHeaders((self.wanted,)))
        self.send(end, GetData((InvItem(MSG_WITNESS_BLOCK, self.wanted),)))
        self.sim.at(60, lambda: self.on_established(end))

    def on_message(self, end: End, message: Message) -> None:
        self.headers += isinstance(message, Headers)
        self.blocks += isinstance(message, BlockMessage)


class Falling(Adversary):
    """Says nothing at all between two moments, and answers pings of before when it wakes up."""

    silent_from, silent_to = 30.0, 500.0

    def __init__(self, sim: Simulator, number: int) -> None:
        super().__init__(sim, sim_address(number))
        self.told: list[float] = []

    def received(self, end: End, command: str, content: Content, size: int) -> None:
        if command in ("inv", "headers", "cmpctblock"):
            self.told.append(self.sim.now)
        if self.silent_from < self.sim.now < self.silent_to:
            if command == "ping":
                wake = self.silent_to - self.sim.now
                self.sim.at(wake, lambda: super(Falling, self).received(end, command, content, size))
            return
        super().received(end, command, content, size)

    def told_between(self, start: float, end: float) -> int:
        return sum(start < at < end for at in self.told)


class Asleep(Falling):
    """Says nothing any more."""

    silent_to = 1e9


class Late(Good):
    """Accepts connections from the second minute on."""

    def accepts(self) -> bool:
        return self.sim.now > 90


class Mute(Adversary):
    """Connects, and does not even say hello."""

    def received(self, end: End, command: str, content: Content, size: int) -> None:
        """Nothing."""

    def _send_version(self, end: End) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Outcome:
    """Who was asked, served, told, dropped, connected to and forgotten."""

    synced: bool  # the giver, to whom we connect, was asked for headers and blocks
    served: bool  # the taker got headers and a block
    told_while_silent: bool
    told_when_awake: bool
    heard_after_lie: bool  # the liar's requests are answered after it was dropped
    tried_again: bool  # who did not accept connections at first was connected to later
    back: bool  # the giver, whom the user disconnected, was connected to again
    left: int  # connections that are still remembered, beside those to giver and late one
    attempts: int  # attempts of which nothing came, and that are still remembered


REAL = Outcome(
    synced=True,
    served=True,
    told_while_silent=False,
    told_when_awake=True,
    heard_after_lie=False,
    tried_again=True,
    back=True,
    left=0,
    attempts=0,
)


def watch_liar(sim: Simulator, node: SimNode, liar: Lying) -> bool:
    """Whether a liar's requests are answered after its lie: its socket stays open, so that the state counts."""
    close = sim.close
    sim.close = lambda end: None  # type: ignore[method-assign]
    sim.connect(liar, node.address)
    sim.run(5)
    liar.send_all(Headers(tuple(raw[:80] for raw in liar.chain[BLOCKS:])))
    sim.run(60)
    liar.messages.clear()
    liar.send_all(GetHeaders((node.params.genesis_hash,)))
    sim.run(60)
    sim.close = close  # type: ignore[method-assign]
    liar.close_all()
    return any(isinstance(message, Headers) for message in liar.messages)


def run(params: NetworkParams, chain: list[bytes]) -> Outcome:
    """Half an hour with a peer for each way through the table."""
    sim = Simulator(5)
    config = ProtocolConfig(dns_seed=False, no_automatic=True, relay_private=True)
    node = SimNode(sim, sim_address(200), params, config=config, tick=0.5)
    node.load(chain[:10])
    giver, late = Good(sim, 1, chain[:BLOCKS], params.genesis_hash), Late(sim, 5, [], params.genesis_hash)
    taker, falling = Taker(sim, 2, params.genesis_hash), Falling(sim, 3)
    others = [Mute(sim, sim_address(6)), Mute(sim, sim_address(7)), Asleep(sim, 8), Asleep(sim, 9)]
    for target in (giver, late):
        node.feed(AddNode(str(target.address), "add"))
    for peer in (taker, falling, *others):
        sim.connect(peer, node.address)
    for at, leaving in ((20.0, others[1]), (600.0, others[3]), (650.0, taker)):
        sim.at(at, leaving.close_all)
    for at in (300.0, 400.0, 600.0):
        sim.at(at, node.mine)
    sim.run(100)
    synced = node.height == BLOCKS
    answered = watch_liar(sim, node, Lying(sim, 4, [*chain[: BLOCKS + 40]], params.genesis_hash))
    sim.run(660 - sim.now)
    established = giver.established
    for info in node.peers():
        if info["addr"] == str(giver.address):
            node.feed(DisconnectNode(info["id"]))
    sim.run(1140)
    return Outcome(
        synced=synced,
        served=bool(taker.headers and taker.blocks),
        told_while_silent=falling.told_between(290, 499) > 0,
        told_when_awake=falling.told_between(500, 660) > 0,
        heard_after_lie=answered,
        tried_again=late.established > 0,
        back=giver.established > established,
        left=sum(info["addr"] not in (str(giver.address), str(late.address)) for info in node.peers()),
        attempts=len(node.protocol._connections.attempts),
    )


def swapped(one: tuple[PeerState, PeerEvent], other: tuple[PeerState, PeerEvent]) -> Table:
    """The table with two transitions leading where the other one leads."""
    return TRANSITIONS | {one: TRANSITIONS[other], other: TRANSITIONS[one]}


def test_with_the_real_table(params: NetworkParams, chain: list[bytes]) -> None:
    assert run(params, chain) == REAL


def test_with_an_empty_table_nobody_is_asked_or_served(
    params: NetworkParams, chain: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_states, "TRANSITIONS", {})
    assert run(params, chain) == Outcome(False, False, False, False, False, False, False, 0, 0)


KEYS = list(TRANSITIONS)
SWAPS = [pair for pair in combinations(KEYS, 2) if TRANSITIONS[pair[0]] is not TRANSITIONS[pair[1]]]


@pytest.mark.parametrize(("one", "other"), SWAPS, ids=lambda key: f"{key[0].value}: {key[1].value}")
def test_any_two_transitions_swapped_change_who_is_served_or_forgotten(
    params: NetworkParams,
    chain: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    one: tuple[PeerState, PeerEvent],
    other: tuple[PeerState, PeerEvent],
) -> None:
    monkeypatch.setattr(peer_states, "TRANSITIONS", swapped(one, other))
    assert run(params, chain) != REAL


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key[0].value}: {key[1].value}")
def test_any_transition_left_out_changes_who_is_served_or_forgotten(
    params: NetworkParams, chain: list[bytes], monkeypatch: pytest.MonkeyPatch, key: tuple[PeerState, PeerEvent]
) -> None:
    monkeypatch.setattr(peer_states, "TRANSITIONS", {k: after for k, after in TRANSITIONS.items() if k != key})
    assert run(params, chain) != REAL


@pytest.mark.parametrize(
    ("one", "other", "changed"),
    [
        # who completes the handshake is given up
        ((S.HANDSHAKE, E.COMPLETED), (S.HANDSHAKE, E.CLOSE), {"synced", "served", "told_when_awake"}),
        # who could not be reached is taken for one that is being reached
        ((S.OPENING, E.FAILED), (S.CLOSED, E.ASKED), {"tried_again"}),
        # silence and being heard of again lead nowhere
        ((S.ACTIVE, E.SILENT), (S.DEGRADED, E.HEARD), {"told_while_silent"}),
        # who is given up goes on as before, who wakes up is given up
        ((S.ACTIVE, E.CLOSE), (S.DEGRADED, E.HEARD), {"heard_after_lie", "told_when_awake"}),
        # who is silent is given up
        ((S.ACTIVE, E.CLOSE), (S.ACTIVE, E.SILENT), {"told_when_awake"}),
        # who connects is closed
        ((S.CLOSED, E.CONNECTED), (S.HANDSHAKE, E.LOST), {"served", "told_when_awake"}),
        # who wakes up is given up
        ((S.DEGRADED, E.HEARD), (S.DEGRADED, E.CLOSE), {"told_when_awake"}),
    ],
)
def test_with_two_transitions_swapped_others_are_served(
    params: NetworkParams,
    chain: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    one: tuple[PeerState, PeerEvent],
    other: tuple[PeerState, PeerEvent],
    changed: set[str],
) -> None:
    monkeypatch.setattr(peer_states, "TRANSITIONS", swapped(one, other))
    outcome = run(params, chain)
    names = Outcome.__dataclass_fields__
    assert {name for name in names if getattr(outcome, name) != getattr(REAL, name)} >= changed
