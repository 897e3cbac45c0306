"""Transactions that are there twice (BIP30): they may be, where all that the first has made was spent before.

Transactions can be the same only if the coinbases that they descend from are. So it begins with a coinbase that comes
again; only then are all blocks gone through for what was spent of it, and for descendants that come again too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from btcnode.consensus.connect import block_outputs
from btcnode.data.verify import Failure, Shared, VerifyTask
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import to_display

OUTPOINT_TXID = 32


class RepeatSearch(NamedTuple):
    """What a search for transactions needs: where they are, and who spends of them."""

    shared: Shared
    txids: frozenset[bytes]


class Made(NamedTuple):
    """A transaction that is searched for, and the outpoints of its outputs that can be spent."""

    height: int
    txid: bytes
    outpoints: list[bytes]


class Used(NamedTuple):
    """An output of such a transaction that is spent: made at one height, spent at another by ``spender`` (a txid)."""

    outpoint: bytes
    made: int
    spent: int
    spender: bytes


Sightings = tuple[list[Made], list[Used]]


def find_sightings(search: RepeatSearch, task: VerifyTask) -> Sightings:
    """The transactions in the blocks of a task that are searched for, and what is spent of them.

    Raises DataError, StorageError.
    """
    made: list[Made] = []
    used: list[Used] = []
    wanted = search.txids
    for source in search.shared.source.read(task.places, with_coins=True):
        block, height = source.block, source.height
        coins = iter([coin for spent in source.coins or () for coin in spent])
        for i, txid in enumerate(block.txids):
            if txid in wanted:
                made.append(Made(height, txid, [outpoint for outpoint, _ in block_outputs(block, i, height)]))
            for p in block.in_pos[block.first_in[i] : block.first_in[i + 1]] if i else ():
                coin = next(coins)
                if block.raw[p : p + OUTPOINT_TXID] in wanted:
                    used.append(Used(block.raw[p : p + 36], coin_height(coin), height, txid))
    return made, used


def repeated(coinbases: Iterable[tuple[int, bytes]], allowed: Collection[int]) -> frozenset[bytes]:
    """The txids that coinbases at several heights have, but for repetitions at heights that are ``allowed``."""
    seen: set[bytes] = set()
    found = set()
    for height, txid in sorted(coinbases):
        if txid in seen and height not in allowed:
            found.add(txid)
        seen.add(txid)
    return frozenset(found)


def repeat_failures(
    txids: frozenset[bytes],
    allowed: Collection[int],
    search: Callable[[frozenset[bytes]], Iterable[Sightings]],
    hash_at: Callable[[int], bytes],
) -> Iterator[Failure]:
    """The blocks in which a transaction comes again too early.

    ``txids`` are those of coinbases that come again, ``search`` goes through all blocks, ``allowed`` are heights of
    which Core makes an exception.
    """
    while True:
        made: list[Made] = []
        used: list[Used] = []
        for some_made, some_used in search(txids):
            made += some_made
            used += some_used
        spenders: dict[bytes, set[int]] = {}
        for item in used:
            spenders.setdefault(item.spender, set()).add(item.spent)
        again = frozenset(txid for txid, heights in spenders.items() if len(heights) > 1)
        if again <= txids:
            break
        txids |= again
    by_txid: dict[bytes, list[Made]] = {}
    for found in sorted(made):
        by_txid.setdefault(found.txid, []).append(found)
    spent = {(item.outpoint, item.made): item.spent for item in used}
    for same in by_txid.values():
        for first, second in pairwise(same):
            left = [
                outpoint
                for outpoint in first.outpoints
                if spent.get((outpoint, first.height), second.height) >= second.height
            ]
            if left and second.height not in allowed:
                name = to_display(second.txid)
                text = (
                    f"transaction {name} of height {first.height} comes once more, while"
                    f" {len(left)} of its outputs are unspent"
                )
                block = to_display(hash_at(second.height))
                yield Failure(second.height, block, "bad-txns-BIP30", text, name)
