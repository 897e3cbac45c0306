"""Header synchronisation: whom to ask, what to do with the answers.

Headers first: one peer is asked until our best header is of today, then all of them. Headers that branch off with
too little work are not stored: they go through the peer's own low-work synchronisation (``chain/presync.py``) until
their work is proven. Outbound peers whose chain stays behind ours are replaced. Behaviour as in Bitcoin Core 31, except
that another peer is asked already when the first leaves a request unanswered for two minutes, or only connected to us.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial

from btcnode.chain.presync import HeadersSync
from btcnode.consensus.pow import block_work, check_proof_of_work
from btcnode.counting import Histogram
from btcnode.errors import Fault, RuleViolation
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import header_hash
from btcnode.primitives.steps import Steps
from btcnode.protocol.agenda import NEVER, NEXT_TICK
from btcnode.protocol.blocks.block_download import BlockDownload
from btcnode.protocol.blocks.block_headers import log_refused_header
from btcnode.protocol.blocks.fetch_strategy import LATENCY_BUCKETS
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    CHAIN_SYNC_TIMEOUT,
    HEADERS_DOWNLOAD_TIMEOUT_BASE,
    HEADERS_DOWNLOAD_TIMEOUT_PER_HEADER,
    HEADERS_RESPONSE_TIME,
    MAX_OUTBOUND_PEERS_TO_PROTECT,
    NEAR_TODAY,
)
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES, Offence
from btcnode.protocol.peer import NONE, Peer
from btcnode.record import struct
from btcnode.wire.constants import MAX_HEADERS_RESULTS, SENDHEADERS_VERSION
from btcnode.wire.messages import GetHeaders, Headers, SendHeaders

HEADERS_IN_STEP = 200  # some milliseconds; a message has at most 2000


@struct
class HeaderRequests:
    """What became of getheaders messages since the start."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))  # seconds to the answer


class HeaderSync:
    """Header requests and answers of all peers."""

    def __init__(self, ctx: Context, download: BlockDownload) -> None:
        self._ctx = ctx
        self._download = download
        self.requests = HeaderRequests()
        self.sync_count = 0  # peers with sync_started
        self._protected = 0  # outbound peers exempt from eviction for their chain
        self._last_inv_trigger = b""

    # -- peers come and go ---------------------------------------------------------------------------------------

    def forget(self, peer: Peer) -> None:
        """Nothing more is expected of the peer."""
        self.requests.failed += peer.headers.requested_at is not None
        peer.headers.requested_at = None
        self.sync_count -= peer.headers.sync_started
        self._protected -= peer.headers.protected
        peer.headers.sync_started = peer.headers.protected = False

    # -- asking --------------------------------------------------------------------------------------------------

    def request(self, peer: Peer, locator: Callable[[], Sequence[bytes]]) -> bool:
        """Send getheaders unless one is open already, or none is answered; tells whether it was sent.

        ``locator`` is made then only: on a long chain that takes a tenth of a millisecond, and what makes us ask may
        come a thousand times a second.
        """
        state, mockable = peer.headers, self._ctx.mockable
        if not peer.role.gives_headers:
            return False
        if state.requested_at is not None and mockable - state.requested_at <= HEADERS_RESPONSE_TIME:
            return False
        self._ctx.send(peer, GetHeaders(tuple(locator())))
        self.requests.failed += state.requested_at is not None
        self.requests.sent += 1
        state.requested_at = mockable
        return True

    def request_from_best(self, peer: Peer) -> bool:
        """Ask for what follows our best header, or our tip if none has more work: its block is known to be good."""
        return self.request(peer, self._locator_of_best)

    def _locator_of_best(self) -> Sequence[bytes]:
        ctx, tree = self._ctx, self._ctx.tree
        best = tree.best_header
        if tree.chainwork(best) <= ctx.tip_work():
            best = ctx.active.tip
        return tree.locator(best)

    def tick(self, peer: Peer) -> float:
        """Start the synchronisation with a peer, announce sendheaders, judge time-outs and chains.

        Returns when the peer is looked at next.
        """
        self._start(peer)
        self._send_sendheaders(peer)
        self._check_deadline(peer)
        if peer.role.is_complete:
            self._check_chain(peer)
        state = peer.headers
        if state.sync_deadline is not None or not (state.sync_started or not peer.serves_blocks):
            return NEXT_TICK
        return NEVER if state.chain_deadline is None or state.protected else state.chain_deadline

    def _start(self, peer: Peer) -> None:
        ctx, state = self._ctx, peer.headers
        if state.sync_started or not peer.serves_blocks or not peer.role.gives_headers:
            return
        tree = ctx.tree
        best = tree.best_header
        near = tree.time(best) > ctx.unix - NEAR_TODAY
        if not near and (not self._download.may_sync_from(peer) or self._is_syncing(peer)):
            return
        start = best if tree.prev(best) < 0 else tree.prev(best)
        if self.request(peer, partial(tree.locator, start)):
            expected = max(0.0, ctx.unix - tree.time(best)) / ctx.params.pow_target_spacing
            allowed = HEADERS_DOWNLOAD_TIMEOUT_BASE + HEADERS_DOWNLOAD_TIMEOUT_PER_HEADER * expected
            state.sync_started = True
            state.sync_deadline = ctx.mockable + allowed
            self.sync_count += 1
            ctx.log(LogLevel.DEBUG, "net", f"initial getheaders ({tree.height(start)}) to peer={peer.id}")

    def _is_syncing(self, candidate: Peer) -> bool:
        """Whether a peer no worse than the candidate is synchronised with and answers within two minutes.

        An inbound peer does not keep us from asking one that we chose ourselves; nor does one that has told its whole
        chain: then the others are asked too, so that blocks come from all who have them. (Who has nothing to tell
        keeps us for two minutes.)
        """
        if not self.sync_count:
            return False
        mockable = self._ctx.mockable
        for peer in self._ctx.peers.values():
            asked = peer.headers.requested_at
            answers = (
                peer.headers.sync_started
                and peer.role.gives_headers
                and mockable < peer.headers.exhausted_at
                and (asked is None or mockable - asked <= HEADERS_RESPONSE_TIME)
            )
            if answers and (peer.blocks.preferred or not candidate.blocks.preferred):
                return True
        return False

    def _send_sendheaders(self, peer: Peer) -> None:
        state = peer.headers
        if state.sent_sendheaders or state.best_known < 0 or peer.common_version < SENDHEADERS_VERSION:
            return
        if not peer.role.is_told:
            return
        if self._ctx.tree.chainwork(state.best_known) > self._ctx.chain.minimum_chain_work:
            state.sent_sendheaders = True
            self._ctx.send(peer, SendHeaders())

    def _check_deadline(self, peer: Peer) -> None:
        """Replace a peer that takes too long to give its headers when there are others."""
        ctx, state = self._ctx, peer.headers
        if not state.sync_started or state.sync_deadline is None:
            return
        if ctx.tree.time(ctx.tree.best_header) > ctx.unix - NEAR_TODAY:
            state.sync_deadline = None
            return
        others = self._download.preferred_count - (peer.blocks.preferred and peer.role.gives_blocks)
        if ctx.mockable <= state.sync_deadline or others < 1:
            return
        if not peer.no_ban:
            ctx.disconnect(peer, "Timeout downloading headers")
            return
        ctx.log(LogLevel.INFO, "net", f"Timeout downloading headers from noban peer, not disconnecting peer={peer.id}")
        state.sync_started, state.sync_deadline = False, None
        self.sync_count -= 1

    def _check_chain(self, peer: Peer) -> None:
        """Replace an outbound peer whose best chain has less work than ours for too long."""
        ctx, state = self._ctx, peer.headers
        if state.protected or not peer.outbound_or_block_relay or not state.sync_started:
            return
        tree = ctx.tree
        work = tree.chainwork(state.best_known) if state.best_known >= 0 else -1
        if work >= ctx.tip_work():
            state.chain_deadline, state.chain_target, state.chain_asked = None, NONE, False
        elif state.chain_deadline is None or (state.chain_target >= 0 and work >= tree.chainwork(state.chain_target)):
            state.chain_deadline = ctx.mockable + CHAIN_SYNC_TIMEOUT
            state.chain_target = ctx.active.tip
            state.chain_asked = False
        elif ctx.mockable > state.chain_deadline:
            if state.chain_asked:
                known = to_display(tree.hash(state.best_known)) if state.best_known >= 0 else "<none>"
                ctx.disconnect(peer, f"Outbound peer has old chain, best known block = {known}")
                return
            start = tree.prev(state.chain_target)
            self.request(peer, partial(tree.locator, max(start, 0)))
            state.chain_asked = True
            state.chain_deadline = ctx.mockable + HEADERS_RESPONSE_TIME

    # -- announcements by inv ------------------------------------------------------------------------------------

    def on_block_inv(self, peer: Peer, block_hash: bytes) -> None:
        """A block that we neither have nor asked for was announced by inv: ask for the headers up to it.

        Before the synchronisation with this peer has started one such request is allowed for each new block.
        """
        state = peer.headers
        if not state.sync_started and (state.inv_triggered or block_hash == self._last_inv_trigger):
            return
        self.request_from_best(peer)
        if not state.sync_started:
            state.inv_triggered = True
            self._last_inv_trigger = block_hash

    # -- headers messages ----------------------------------------------------------------------------------------

    def on_headers(self, peer: Peer, message: Headers) -> Steps[None]:
        """Check, store or presync what a peer sent."""
        ctx, state = self._ctx, peer.headers
        if state.requested_at is not None:
            ctx.excuse(peer)
            self.requests.succeeded += 1
            self.requests.latency.add(max(0.0, ctx.mockable - state.requested_at))
        headers: Sequence[bytes] = message.headers
        count = len(headers)
        if count > MAX_HEADERS_RESULTS:
            ctx.punish(peer, Offence.HEADERS_TOO_MANY, str(count))
            return
        if not count:
            told = state.best_known >= 0
            state.exhausted_at = min(state.exhausted_at, ctx.mockable + (0.0 if told else HEADERS_RESPONSE_TIME))
            state.presync = None
            state.requested_at = None
            ctx.progress()
            return
        hashes: list[bytes] = []
        for at in range(0, count, HEADERS_IN_STEP):
            some = headers[at : at + HEADERS_IN_STEP]
            hashes += [header_hash(raw) for raw in some]
            if not self._check_work(peer, some, hashes[-len(some) :]):
                return
            if at + HEADERS_IN_STEP < count:
                yield
        if not self._check_order(peer, headers, hashes):
            return
        full = count == MAX_HEADERS_RESULTS
        state.exhausted_at = math.inf if full else ctx.mockable
        proven = False
        if state.presync is not None:
            proven, headers = self._continue_presync(peer, state.presync, headers, full)
            if not headers:
                return
            if proven:
                hashes = [header_hash(raw) for raw in headers]
            if full:
                yield
        start = ctx.tree.find(headers[0][4:36])
        if start < 0:
            self._on_unconnected(peer, hashes[-1])
            return
        state.requested_at = None
        last_known = ctx.tree.find(hashes[-1])
        if last_known >= 0 and (
            ctx.tree.is_ancestor(last_known, ctx.tree.best_header) or ctx.active.contains(last_known)
        ):
            proven = True
        if not (proven or peer.no_ban) and self._is_low_work(peer, start, headers, full):
            return
        yield from self._store(peer, headers, full, is_new=last_known < 0)

    def _check_work(self, peer: Peer, headers: Sequence[bytes], hashes: Sequence[bytes]) -> bool:
        """Whether each header has the work that it claims."""
        params = self._ctx.params
        for raw, block_hash in zip(headers, hashes, strict=True):
            if not check_proof_of_work(block_hash, int.from_bytes(raw[72:76], "little"), params):
                self._ctx.punish(peer, Offence.HEADER_POW, to_display(block_hash))
                return False
        return True

    def _check_order(self, peer: Peer, headers: Sequence[bytes], hashes: Sequence[bytes]) -> bool:
        """Whether each header follows the one before it."""
        for raw, before in zip(headers[1:], hashes, strict=False):
            if raw[4:36] != before:
                self._ctx.punish(peer, Offence.HEADERS_DISCONTINUOUS, to_display(before))
                return False
        return True

    def _continue_presync(
        self, peer: Peer, presync: HeadersSync, headers: Sequence[bytes], full: bool
    ) -> tuple[bool, Sequence[bytes]]:
        """Feed the low-work synchronisation; returns whether it took the headers, and those to go on with."""
        state = peer.headers
        result = presync.process_next_headers(headers, full)
        if result.success:
            state.requested_at = None
        if result.request_more:
            self.request(peer, presync.next_locator)
        if presync.finished:
            state.presync = None
        self._ctx.progress()
        if not result.success:
            return False, headers
        return True, result.headers

    def _on_unconnected(self, peer: Peer, last_hash: bytes) -> None:
        """Headers whose parent is unknown: an announcement that came too early. Ask for what lies between."""
        self.request_from_best(peer)
        self.learn_block(peer, last_hash)

    def _is_low_work(self, peer: Peer, start: int, headers: Sequence[bytes], full: bool) -> bool:
        """Whether the chain has too little work to be stored; then a full message starts a low-work sync."""
        ctx = self._ctx
        work = ctx.tree.chainwork(start) + sum(block_work(int.from_bytes(raw[72:76], "little")) for raw in headers)
        threshold = self._ctx.work_threshold()
        if work >= threshold:
            return False
        if not full:
            height = ctx.tree.height(start) + len(headers)
            ctx.log(LogLevel.DEBUG, "net", f"Ignoring low-work chain (height={height}) from peer={peer.id}")
            return True
        state = peer.headers
        state.presync = HeadersSync(ctx.params, ctx.tree, start, threshold, rng=ctx.rng, now=int(ctx.unix))
        self._continue_presync(peer, state.presync, headers, True)
        return True

    def _store(self, peer: Peer, headers: Sequence[bytes], full: bool, *, is_new: bool) -> Steps[None]:
        """Add the headers to the tree and draw conclusions about the peer."""
        ctx = self._ctx
        best = ctx.tree.best_header
        last = NONE
        for at in range(0, len(headers), HEADERS_IN_STEP):
            if at:
                yield
            result = ctx.tree.add_many(headers[at : at + HEADERS_IN_STEP], int(ctx.unix))
            if result.violation is not None:
                log_refused_header(ctx, result.refused, result.violation)
                self.punish_header(peer, result.violation)
                return
            last = result.last
        if ctx.tree.best_header != best:
            ctx.progress()
            if ctx.is_initial_block_download():
                self._log_progress(last)
        if is_new:
            self.log_new_header(peer, last)
        if full and peer.headers.presync is None:
            self.request(peer, partial(ctx.tree.locator, last))
        self._update_peer(peer, last, is_new=is_new, more=full)
        self._download.direct_fetch(peer, last)

    def log_new_header(self, peer: Peer, index: int, *, compact: bool = False) -> None:
        """Core's line about a header that is new and valid: who delays or withholds blocks can be seen from it."""
        ctx, tree = self._ctx, self._ctx.tree
        initial = ctx.is_initial_block_download()
        if not initial:
            ctx.chronicle.announced(index, peer, ctx.steady)
        where = f"peer={peer.id}" + (f", peeraddr={peer.address}" if ctx.config.log_ips else "")
        kind = "cmpctblock " if compact else ""
        text = f"Saw new {kind}header hash={to_display(tree.hash(index))} height={tree.height(index)} {where}"
        ctx.log(LogLevel.DEBUG if initial else LogLevel.INFO, "validation", text)

    def _log_progress(self, last: int) -> None:
        """Core's line: tools read it."""
        ctx = self._ctx
        height = ctx.tree.height(last)
        left = max(0, int((ctx.unix - ctx.tree.time(last)) // ctx.params.pow_target_spacing))
        share = 100.0 * height / (height + left) if height + left else 100.0
        ctx.log(LogLevel.INFO, "validation", f"Synchronizing blockheaders, height: {height} (~{share:.2f}%)")

    def punish_header(self, peer: Peer, violation: RuleViolation) -> None:
        """Consequences of a header that broke a rule."""
        ctx = self._ctx
        if violation.fault is Fault.CACHED_INVALID and not peer.inbound:
            ctx.log_peer(
                peer,
                LogLevel.WARNING,
                f"{violation}; if all peers send such headers, the database may be damaged or their rules differ",
            )
        ctx.punish(peer, BLOCK_OFFENCES[violation.fault], str(violation))

    def _update_peer(self, peer: Peer, last: int, *, is_new: bool, more: bool) -> None:
        """Remember what the peer has; leave outbound peers that cannot help, protect some that can."""
        ctx, state = self._ctx, peer.headers
        self.learn_block(peer, ctx.tree.hash(last))
        if is_new and ctx.tree.chainwork(last) > ctx.tip_work():
            state.last_announcement = ctx.mockable
        best_work = ctx.tree.chainwork(state.best_known) if state.best_known >= 0 else 0
        if (
            not more
            and peer.outbound_or_block_relay
            and best_work < ctx.chain.minimum_chain_work
            and ctx.is_initial_block_download()
        ):
            ctx.punish(peer, Offence.HEADERS_LOW_WORK)
            return
        if (
            peer.kind is ConnectionKind.OUTBOUND_FULL
            and not state.protected
            and self._protected < MAX_OUTBOUND_PEERS_TO_PROTECT
            and best_work >= ctx.tip_work()
        ):
            state.protected = True
            self._protected += 1

    # -- what a peer has -----------------------------------------------------------------------------------------

    def learn_block(self, peer: Peer, block_hash: bytes) -> None:
        """The peer has this block, hence all before it; remembers its hash when we do not know the header yet."""
        index = self._ctx.tree.find(block_hash)
        if index < 0:
            peer.headers.last_unknown = block_hash
        else:
            self._download.raise_best_known(peer, index)
