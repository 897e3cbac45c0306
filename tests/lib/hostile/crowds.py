"""Attacks that need many: what one peer does is dear because of what the others have done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import chain, repeat

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.wire.constants import MSG_WTX
from btcnode.wire.messages import Inv, InvItem
from tests.lib.hostile.kinds import Frames, Kind, Source, frame, once
from tests.lib.hostile.world import TRUE_PROGRAM, World, outputs_of, spend

ANNOUNCED = 5_000  # as many as are remembered of a peer
ELEMENTS = 390_000  # of no bytes: as many as a transaction of standard weight can have
HEAVY_ELEMENTS = 380_000
PARENTS = 2_400  # as many inputs as a transaction of standard weight can have
ANY_OUTPUT = make_txout(5_000, TRUE_PROGRAM)


def _hash(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


def _inv(hashes: Iterator[bytes] | list[bytes]) -> bytes:
    return frame("inv", Inv(tuple(InvItem(MSG_WTX, tx_hash) for tx_hash in hashes)).encode())


def _same(_: World, __: int) -> Source:
    """All announce the same transactions."""
    return once(_inv([_hash(n) for n in range(ANNOUNCED)]))


def _heavy_orphans(_: World, connections: int) -> Source:
    """Some send an orphan each, of many witness elements; the others announce all of these."""
    senders = max(1, min(connections // 2, 20))
    stack = [b""] * ELEMENTS
    orphans = [Tx(2, [os.urandom(36)], [b""], [0], [ANY_OUTPUT], [stack]) for _ in range(senders)]
    sent = [frame("tx", tx.raw) for tx in orphans]
    everything = _inv([tx.wtxid for tx in orphans])
    return lambda number: iter([sent[number]]) if number < senders else repeat(everything)


def _heavy_children(world: World, connections: int) -> Source:
    """Some send a child each of the same parent, of many witness elements; the others send the parent."""
    senders = max(1, min(connections // 2, 20))
    (coin,) = world.take()
    each = (coin.value - 10_000) // senders
    parent = spend([coin], [make_txout(each, TRUE_PROGRAM)] * senders)
    stack = [b""] * HEAVY_ELEMENTS
    family = [spend([out], [make_txout(each - 300, TRUE_PROGRAM)], stack) for out in outputs_of(parent, senders, each)]
    sent, last = [frame("tx", tx.raw) for tx in family], frame("tx", parent.raw)
    return lambda number: iter([sent[number]]) if number < senders else chain([frame("ping", bytes(8))] * 3, [last])


def _wide_orphan(_: World, __: int) -> Source:
    """All announce an orphan with 2,400 parents, then one sends it; then another one."""
    orphans = [
        Tx(2, [_hash(2_400 * n + at) + bytes(4) for at in range(PARENTS)], [b""] * PARENTS, [0] * PARENTS, [ANY_OUTPUT])
        for n in range(3)
    ]
    told = [_inv([tx.wtxid]) for tx in orphans]
    sent = [frame("tx", tx.raw) for tx in orphans]
    nothing = frame("ping", bytes(8))
    return lambda number: chain.from_iterable(zip(told, sent if number == 0 else [nothing] * 3, strict=True))


def _refused_families(world: World, _: int) -> Source:
    """A few send a parent without a fee again and again, whose children, of many witness elements, lack another one.

    The others keep an orphan each, which makes room for these.
    """
    parents = [spend([coin], [make_txout(coin.value, TRUE_PROGRAM)]) for coin in world.take(5)]
    stacks = [[b""] * HEAVY_ELEMENTS, []]
    bodies = []
    for parent in parents:
        made = [
            Tx(2, [parent.txid + bytes(4), _hash(n) + bytes(4)], [b""] * 2, [0] * 2, [ANY_OUTPUT], stacks)
            for n in range(8)
        ]
        bodies.append((b"".join([frame("tx", tx.raw) for tx in made]), frame("tx", parent.raw)))

    def frames(number: int) -> Frames:
        if number >= len(bodies):
            yield frame("tx", Tx(2, [_hash(number) + b"\7" * 4], [b""], [0], [ANY_OUTPUT]).raw)
            return
        children, parent = bodies[number]
        yield children
        while True:
            yield parent

    return frames


CROWDS = (
    Kind("inv, the same 5,000 of all", _same),
    Kind("inv, the same 5,000 of all, who go and come back", _same, churn=True, pause=2.5),
    Kind("orphans with 390,000 witness elements, announced by all", _heavy_orphans, pause=1.0),
    Kind("orphans with 380,000 witness elements, their parent comes", _heavy_children, pause=1.0),
    Kind("orphans with 380,000 witness elements, refused with their parent", _refused_families, pause=0.1),
    Kind("orphans with 2,400 parents, announced by all", _wide_orphan, pause=0.3),
    Kind("300 connections, silent", lambda *_: once(), fixed=300),
    Kind("300 connections, closed and opened again", lambda *_: once(frame("ping", bytes(8))), fixed=300, churn=True),
)
