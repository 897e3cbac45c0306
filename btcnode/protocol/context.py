"""What all tasks of the protocol share: peers, clocks, randomness, the chain, and the effects of the step under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.consensus.pow import block_work
from btcnode.protocol.addresses.netgroup import NetGroups, host_key
from btcnode.protocol.agenda import Agenda
from btcnode.protocol.chronicle import Chronicle
from btcnode.protocol.connections.bans import BanList
from btcnode.protocol.connections.peer_states import PeerEvent, PeerStates
from btcnode.protocol.connections.providers import Providers
from btcnode.protocol.connections.time_offsets import TimeOffsets
from btcnode.protocol.delays import Delays
from btcnode.protocol.effects import AskForTurn, Disconnect, Effect, Excuse, Log, LogLevel, Send, SetReceiving
from btcnode.protocol.limits import (
    ANTI_DOS_WORK_BUFFER,
    DIRECT_FETCH_SPACINGS,
    LOG_INTERVAL,
    LOG_LINES_FROM_PEERS,
    LOG_LINES_PER_PEER,
    MAX_LOGGED_TEXT,
    NODE_NETWORK_LIMITED_ALLOW_CONN_BLOCKS,
)
from btcnode.protocol.misbehaviour import Consequence, DiscouragedAddresses, Offence, consequence_of, weight_of
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from btcnode.networks.parameters import NetworkParams
    from btcnode.protocol.chain_view import ChainView
    from btcnode.protocol.config import ProtocolConfig
    from btcnode.protocol.peer import Peer
    from btcnode.wire.codec import Message
    from btcnode.wire.netaddr import NetAddress


def printable(text: str) -> str:
    """``text`` as it may stand in a log line: printable ASCII, at most ``MAX_LOGGED_TEXT`` characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:MAX_LOGGED_TEXT])


class Context:
    """Shared state of one ``Protocol``, and the clocks of the step under way, in seconds.

    ``steady`` never stops or turns back: what paces our own work runs on it. ``mockable`` is the same until the user
    holds the clock (``setmocktime``), and moves with that one then: what peers are told and given runs on it, as in
    Core. ``unix`` is the wall clock, or what the user holds it at.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        params: NetworkParams,
        chain: ChainView,
        rng: Random,
        steady: float,
        unix: float,
        *,
        bans: BanList,
        groups: NetGroups,
    ) -> None:
        """``bans`` are the user's, ``groups`` those by which the address book groups addresses."""
        self.config = config
        self.params = params
        self.chain = chain
        self.tree = chain.tree
        self.active = chain.active
        self.rng = rng
        self.mockable = self.steady = steady
        self.unix = unix
        self._shift: float | None = 0.0  # of mockable against steady; None while the user holds the clock
        self.peers: dict[int, Peer] = {}
        self.agenda = Agenda()
        self.providers = Providers()
        self.discouraged = DiscouragedAddresses()
        self.bans = bans
        self.time_offsets = TimeOffsets()
        self.groups = groups
        self._progress_listeners: list[Callable[[], None]] = []
        self.delays = Delays()
        self.chronicle = Chronicle()
        self.offences = dict.fromkeys(Offence, 0)  # how often each was committed
        self.states = PeerStates(lambda text: self.log(LogLevel.WARNING, "net", text))
        self.effects: list[Effect] = []
        self._log_lines = 0
        self._log_since = steady

    # -- clocks --------------------------------------------------------------------------------------------------

    def set_steady(self, steady: float) -> None:
        """A step begins."""
        self.steady = max(self.steady, steady)
        if self._shift is not None:
            self.mockable = self.steady + self._shift

    def set_wall_clock(self, unix: float, *, held: bool) -> None:
        """The wall clock is read anew; ``held``: the user has set it and it stands still.

        When the user lets it go ``mockable`` goes to the present with it, and runs like ``steady`` from there.
        """
        if held or self._shift is None:
            self.mockable += unix - self.unix
            self._shift = None if held else self.mockable - self.steady
        self.unix = unix

    @property
    def clock_held(self) -> bool:
        """Whether the user holds the clock: then nothing gets late by itself."""
        return self._shift is None

    # -- progress ------------------------------------------------------------------------------------------------

    def listen_progress(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when headers have come, when the first peer has, and when the last one has gone."""
        self._progress_listeners.append(listener)

    def progress(self) -> None:
        """One of these has happened."""
        for listener in self._progress_listeners:
            listener()

    # -- effects -------------------------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Append an effect to the step's answer."""
        self.effects.append(effect)

    def send(self, peer: Peer, message: Message, *, droppable: bool = False) -> None:
        """Send a message unless the connection is being closed. ``droppable``: not if it had to wait too long."""
        if peer.role.is_spoken_to:
            self.effects.append(Send(peer.id, message, droppable))

    def disconnect(self, peer: Peer, reason: str, *, discourage: bool = False, level: LogLevel | None = None) -> None:
        """Close the connection and say why, once; ``level`` of the line is info for outbound peers, else debug."""
        if not self.states.fits(peer, PeerEvent.CLOSE):
            return
        self.effects.append(Disconnect(peer.id, reason, discourage))
        if level is None:
            level = LogLevel.DEBUG if peer.inbound else LogLevel.INFO
        if level is LogLevel.DEBUG or self._may_log(peer):
            self.log(level, "net", f"{reason}, disconnecting peer={peer.id} ({peer.address})")  # ends as Core's
        self.states.apply(peer, PeerEvent.CLOSE)

    def pause(self, peer: Peer, reason: int) -> None:
        """Stop reading from the peer for ``reason`` (a ``PAUSE_*`` bit)."""
        if not peer.pauses:
            self.effects.append(SetReceiving(peer.id, False))
        peer.pauses |= reason
        self.agenda.wake(peer.id)

    def resume(self, peer: Peer, reason: int) -> None:
        """Take ``reason`` back; reading goes on when none is left."""
        if peer.pauses & reason:
            peer.pauses &= ~reason
            if not peer.pauses:
                peer.last_received = self.mockable  # its silence was ours
                self.effects.append(SetReceiving(peer.id, True))

    def ask_for_turn(self, peer: Peer) -> None:
        """Have the peer's work taken up again when its turn comes."""
        if not peer.awaits_turn and peer.role.is_complete:
            peer.awaits_turn = True
            self.effects.append(AskForTurn(peer.id))

    def ask_for_next_turn(self, peer: Peer) -> None:
        """The same, before the peer's next message is looked at."""
        peer.awaits_turn = True
        self.effects.append(AskForTurn(peer.id, first=True))

    def excuse(self, peer: Peer, share: float = 1.0) -> None:
        """Of what is under way we have asked for this share: the peer does not pay for the time that it takes."""
        peer.excused = True
        self.effects.append(Excuse(peer.id, share))

    # -- log -----------------------------------------------------------------------------------------------------

    def log(self, level: LogLevel, category: str, text: str) -> None:
        """A line that no peer can provoke at will."""
        clean = text if text.isascii() and text.isprintable() else printable(text)
        self.effects.append(Log(level, category, clean))

    def log_peer(self, peer: Peer, level: LogLevel, text: str, category: str = "net") -> None:
        """A line about a peer, with its number (and address, if wanted); above debug it counts against the limits."""
        if level is not LogLevel.DEBUG and not self._may_log(peer):
            return
        where = f", peeraddr={peer.address}" if self.config.log_ips else ""
        self.log(level, category, f"peer={peer.id}{where}: {text}")

    def _may_log(self, peer: Peer) -> bool:
        if self.steady - peer.log_since >= LOG_INTERVAL:
            peer.log_since, peer.log_lines = self.steady, 0
        if self.steady - self._log_since >= LOG_INTERVAL:
            self._log_since, self._log_lines = self.steady, 0
        if peer.log_lines >= LOG_LINES_PER_PEER or self._log_lines >= LOG_LINES_FROM_PEERS:
            return False
        peer.log_lines += 1
        self._log_lines += 1
        whose = ""
        if self._log_lines == LOG_LINES_FROM_PEERS:
            whose = "peers"
        elif peer.log_lines == LOG_LINES_PER_PEER:
            whose = f"peer={peer.id}"
        if whose:
            self.effects.append(Log(LogLevel.WARNING, "net", f"{whose}: no more lines for {LOG_INTERVAL:.0f} s"))
        return not whose

    # -- misbehaviour --------------------------------------------------------------------------------------------

    def punish(self, peer: Peer, offence: Offence, detail: str = "", *, words: str = "") -> None:
        """Apply the table's consequence to the peer and write one line, in these ``words`` when they are not empty."""
        if not peer.role.is_heard:
            return
        text = words or (f"{offence.value}: {printable(detail)}" if detail else offence.value)
        peer.conduct.blame(offence.name, weight_of(offence))
        self.agenda.wake(peer.id)
        self.offences[offence] += 1
        consequence = consequence_of(offence, inbound=peer.inbound)
        if consequence is Consequence.DISCONNECT:
            self.disconnect(peer, text)
        elif consequence is Consequence.IGNORE:
            self.log(LogLevel.DEBUG, "net", f"{text}, peer={peer.id}")
        else:
            self.log(LogLevel.DEBUG, "net", f"Misbehaving: peer={peer.id}: {text}")
            self._discourage(peer, text)

    def _discourage(self, peer: Peer, text: str) -> None:
        """Close the connection, and all from the same host, unless the user or the address forbids it."""
        if peer.is_spared:
            whom = "noban" if peer.no_ban else "manually connected"
            if self._may_log(peer):
                self.log(LogLevel.WARNING, "net", f"Not punishing {whom} peer {peer.id}! ({peer.address}: {text})")
        elif peer.address.is_local:
            self.disconnect(peer, text, level=LogLevel.WARNING)
        else:
            host = host_key(peer.address)
            self.discouraged.add(host)
            self.disconnect(peer, text, discourage=True, level=LogLevel.WARNING)
            for other in self.peers.values():
                if not other.no_ban and host_key(other.address) == host:
                    self.disconnect(other, f"same address as peer={peer.id} that misbehaved", discourage=True)

    def is_banned(self, address: NetAddress) -> bool:
        """Whether the user banned the address."""
        return self.bans.covers(address, int(self.unix))

    def is_unwanted(self, address: NetAddress) -> bool:
        """Whether the address is banned or discouraged: nobody is told of it and we do not connect to it."""
        return host_key(address) in self.discouraged or self.is_banned(address)

    # -- chain ---------------------------------------------------------------------------------------------------

    def is_initial_block_download(self) -> bool:
        """Whether our tip is still far behind."""
        return self.chain.is_initial_block_download(int(self.unix))

    def tip_work(self) -> int:
        """Work of the active chain: expected hashes from genesis up to its tip."""
        return self.tree.chainwork(self.active.tip)

    def work_threshold(self) -> int:
        """Work that a new chain of headers must have to be stored (Core's GetAntiDoSWorkThreshold)."""
        tip = self.active.tip
        work = self.tree.chainwork(tip)
        near = work - min(work, ANTI_DOS_WORK_BUFFER * block_work(self.tree.bits(tip)))
        return max(near, self.chain.minimum_chain_work)

    def can_direct_fetch(self) -> bool:
        """Whether the tip is so recent that announced blocks are asked for at once."""
        age = self.unix - self.tree.time(self.active.tip)
        return age < self.params.pow_target_spacing * DIRECT_FETCH_SPACINGS

    def has_header(self, index: int, descendant: int) -> bool:
        """Whether ``descendant`` (or -1) is ``index`` or builds on it."""
        return descendant >= 0 and self.tree.is_ancestor(index, descendant)

    def peer_has(self, peer: Peer, index: int) -> bool:
        """Whether the peer is known to have this header (-1, the parent of genesis, everybody has)."""
        state = peer.headers
        return index < 0 or self.has_header(index, state.best_known) or self.has_header(index, state.best_sent)

    def desirable_services(self, services: int) -> int:
        """The services that an outbound peer offering ``services`` must have (Core's GetDesirableServiceFlags)."""
        if services & NODE_NETWORK_LIMITED:
            depth = (self.unix - self.tree.time(self.active.tip)) // self.params.pow_target_spacing
            if depth < NODE_NETWORK_LIMITED_ALLOW_CONN_BLOCKS:
                return NODE_NETWORK_LIMITED | NODE_WITNESS
        return NODE_NETWORK | NODE_WITNESS

    def is_provider(self, peer: Peer) -> bool:
        """Whether the peer says that it offers what is wanted beside blocks, and has not failed to give it."""
        return self.providers.offers(peer.address, peer.services, self.steady)

    def has_desirable_services(self, services: int) -> bool:
        """Whether ``services`` contains all that we want of an outbound peer."""
        wanted = self.desirable_services(services)
        return services & wanted == wanted

    # -- peers ---------------------------------------------------------------------------------------------------

    def established(self) -> list[Peer]:
        """Peers whose handshake is complete and whose connection is not being closed, oldest first."""
        return [p for p in self.peers.values() if p.role.is_complete]
