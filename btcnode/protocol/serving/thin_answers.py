"""Answers to requests for thin blocks (XTHIN), made in pieces beside the loop: up to 50 hashes a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.steps import Steps
from btcnode.protocol.serving.pieces import Meter
from btcnode.record import record
from btcnode.wire.bloom_filter import contains
from btcnode.wire.messages import GetXBlockTx, GetXThin, XBlockTx, XThinBlock
from btcnode.wire.messages.xthin import CHEAP_HASH_SIZE

if TYPE_CHECKING:
    from btcnode.primitives.block import ParsedBlock


@record
class ThinAnswer:
    """A message; with an empty command the whole block is the answer, with a ``fault`` there is none."""

    command: str = ""
    payload: bytes = b""
    fault: str = ""


def answer_steps(request: GetXThin | GetXBlockTx, block: ParsedBlock) -> Steps[ThinAnswer]:
    """The answer out of a block."""
    if isinstance(request, GetXThin):
        return (yield from _thin_steps(request, block))
    return (yield from _parts_steps(request, block))


def _thin_steps(request: GetXThin, block: ParsedBlock) -> Steps[ThinAnswer]:
    """The block with what the asker's filter lacks; as a whole when two transactions have the same cheap hash."""
    meter, wtxids = Meter(), block.wtxids
    cheap = tuple([wtxid[:CHEAP_HASH_SIZE] for wtxid in wtxids])
    if len(set(cheap)) != len(cheap):
        return ThinAnswer()
    data, funcs, tweak = request.data, request.hash_funcs, request.tweak
    lacking = []
    for n, wtxid in enumerate(wtxids):
        if not n or not contains(data, funcs, tweak, wtxid):
            lacking.append(block.tx_raw(n))
        if meter.spent(1):
            yield
    thin = XThinBlock(block.raw[:HEADER_SIZE], cheap, tuple(lacking))
    return ThinAnswer(thin.command, thin.encode())


def _parts_steps(request: GetXBlockTx, block: ParsedBlock) -> Steps[ThinAnswer]:
    """The transactions with these cheap hashes."""
    places = {wtxid[:CHEAP_HASH_SIZE]: n for n, wtxid in enumerate(block.wtxids)}
    yield
    wanted = [places.get(cheap, -1) for cheap in dict.fromkeys(request.cheap_hashes)]
    if -1 in wanted:
        return ThinAnswer(fault="request for a transaction that is not in the block")
    yield
    parts = XBlockTx(request.block_hash, tuple([block.tx_raw(n) for n in wanted]))
    return ThinAnswer(parts.command, parts.encode())
