"""Serving block filters (BIP157) to light clients. Limits and refusals are Bitcoin Core's."""

from __future__ import annotations

from btcnode.primitives.hashes import to_display
from btcnode.protocol.context import Context
from btcnode.protocol.effects import ReadFilters
from btcnode.protocol.events import FiltersRead
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, PAUSE_FILTERS, Peer
from btcnode.protocol.serving.serving import Serving
from btcnode.wire.constants import MAX_CFHEADERS, NODE_COMPACT_FILTERS
from btcnode.wire.messages import CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters

BASIC = 0  # filter type
MAX_CFILTERS = 1000
CHECKPOINT_INTERVAL = 1000
MAX_WAITING = 16  # requests of one peer that are not answered: no more is read from it until half of them are
READ_AT_ONCE = 100  # filters between two looks at the send buffer: 2 MB of large blocks'

Request = GetCFilters | GetCFHeaders | GetCFCheckpt


class FilterServing:
    """Answers to getcfilters, getcfheaders and getcfcheckpt."""

    def __init__(self, ctx: Context, serving: Serving) -> None:
        self._ctx = ctx
        self._serving = serving

    def on_request(self, peer: Peer, message: Request) -> None:
        """Queue a request; one for what nobody offered, or beyond the limits, ends the connection."""
        ctx = self._ctx
        if not ctx.config.services & NODE_COMPACT_FILTERS or message.filter_type != BASIC:
            ctx.punish(peer, Offence.FILTERS_UNSUPPORTED, f"{message.filter_type} in {message.command}")
            return
        stop = ctx.tree.find(message.stop_hash)
        if stop < 0 or not self._serving.may_show(stop):
            ctx.punish(peer, Offence.FILTER_REQUEST, f"requested invalid block hash: {to_display(message.stop_hash)}")
            return
        if not isinstance(message, GetCFCheckpt):
            most = MAX_CFILTERS if isinstance(message, GetCFilters) else MAX_CFHEADERS
            first, last = message.start_height, ctx.tree.height(stop)
            why = ""
            if first > last:
                why = f"sent invalid getcfilters/getcfheaders with start height {first} and stop height {last}"
            elif last - first >= most:
                why = f"requested too many cfilters/cfheaders: {last - first + 1} / {most}"
            if why:  # in Core's words, as the others
                ctx.punish(peer, Offence.FILTER_REQUEST, why)
                return
        peer.serve.filters.append(message)
        if len(peer.serve.filters) >= MAX_WAITING:
            ctx.pause(peer, PAUSE_FILTERS)
        self.serve(peer)

    def serve(self, peer: Peer) -> None:
        """Begin with the next request, or the next part of one, when the peer takes answers."""
        serve, tree = peer.serve, self._ctx.tree
        if not serve.filters or serve.reading_filters or peer.send_full or not peer.role.is_served:
            return
        request = serve.filters[0]
        stop = tree.find(request.stop_hash)
        height = tree.height(stop)
        if isinstance(request, GetCFCheckpt):
            heights = range(CHECKPOINT_INTERVAL, height + 1, CHECKPOINT_INTERVAL)
        elif isinstance(request, GetCFHeaders):
            heights = range(max(request.start_height - 1, 0), height + 1)
        else:
            first = request.start_height + serve.filters_sent
            heights = range(first, min(first + READ_AT_ONCE, height + 1))
        indices: list[int] = []
        at = stop
        for wanted in reversed(heights):
            at = tree.ancestor(at, wanted)  # next to the last one: a step or a few
            indices.append(at)
        serve.reading_filters = True
        self._ctx.emit(ReadFilters(peer.id, tuple(reversed(indices)), isinstance(request, GetCFilters)))

    def on_read(self, answer: FiltersRead) -> None:
        """Send what was read; a request for what is not indexed stays without an answer, as in Core."""
        peer = self._ctx.peers.get(answer.peer_id)
        if peer is None or not peer.serve.reading_filters:
            return
        serve = peer.serve
        serve.reading_filters = False
        if not peer.role.is_served or not serve.filters:
            return
        request = serve.filters[0]
        done = True
        if answer.filters is not None:
            if isinstance(request, GetCFilters):
                done = self._send_filters(peer, request, answer)
            elif isinstance(request, GetCFHeaders):
                self._send_headers(peer, request, answer)
            else:
                headers = tuple(item.header for item in answer.filters)
                self._ctx.send(peer, CFCheckpt(BASIC, request.stop_hash, headers))
        if done:
            serve.filters.popleft()
            serve.filters_answered += 1
            serve.filters_sent = 0
            if len(serve.filters) <= MAX_WAITING // 2:
                self._ctx.resume(peer, PAUSE_FILTERS)
        self.serve(peer)

    def _send_filters(self, peer: Peer, request: GetCFilters, answer: FiltersRead) -> bool:
        """Send this part; whether it was the last one."""
        tree = self._ctx.tree
        for index, item in zip(answer.indices, answer.filters or (), strict=True):
            self._ctx.send(peer, CFilter(BASIC, tree.hash(index), item.data))
        peer.serve.filters_sent += len(answer.indices)
        last = answer.indices[-1] if answer.indices else NONE
        return last == NONE or tree.hash(last) == request.stop_hash

    def _send_headers(self, peer: Peer, request: GetCFHeaders, answer: FiltersRead) -> None:
        filters = answer.filters or ()
        previous = filters[0].header if request.start_height else bytes(32)
        hashes = tuple(item.hash for item in filters[1 if request.start_height else 0 :])
        self._ctx.send(peer, CFHeaders(BASIC, request.stop_hash, previous, hashes))
