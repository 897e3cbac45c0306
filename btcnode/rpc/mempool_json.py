"""Entries of the mempool as JSON, and all of them at one moment without holding the loop up.

What an entry is worth changes with the pool. ``freeze`` notes that of some, ``Mempool.moment`` of all; the rest,
relatives above all, follows from what never changes (transactions, clusters, chunks) and may be computed on any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, NamedTuple, NotRequired, TypedDict

from btcnode.mempool.entry import MAX_AMOUNT, Chunk, Cluster, MempoolEntry
from btcnode.mempool.pool import PoolMoment
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import UNTOLD, Coins, Hex, Time
from btcnode.rpc.deprecated import is_enabled, signals_replacement
from btcnode.rpc.jsonvalue import Written
from btcnode.rpc.tx_text import amount_text
from btcnode.services.parts import NodeParts

PIECE = 300  # entries whose texts are joined at a time: 250 kB

_QUOTED = '","'  # between texts in quotes
_TEXT = {False: "false", True: "true"}


class EntryFees(TypedDict):
    """Fees of an entry and of what hangs together with it."""

    base: Annotated[Coins, "Its own"]
    modified: Annotated[Coins, "Its own with deltas, as mining sees it"]
    ancestor: Annotated[Coins, "Modified fees of ancestors, itself included"]
    descendant: Annotated[Coins, "Modified fees of descendants, itself included"]
    chunk: Annotated[Coins, "Modified fees of its chunk"]


MempoolEntryJson = TypedDict(
    "MempoolEntryJson",
    {
        "vsize": Annotated[int, "Virtual size as policy counts it (BIP141 and sigops)"],
        "weight": Annotated[int, "Weight (BIP141)"],
        "time": Annotated[Time, "When it came in"],
        "height": Annotated[int, "Height of the chain then"],
        "descendantcount": Annotated[int, "Descendants in the mempool, itself included"],
        "descendantsize": Annotated[int, "Their virtual size"],
        "ancestorcount": Annotated[int, "Ancestors in the mempool, itself included"],
        "ancestorsize": Annotated[int, "Their virtual size"],
        "chunkweight": Annotated[int, "Sigops-adjusted weight of its chunk"],
        "wtxid": Annotated[Hex, "Hash with witness"],
        "fees": Annotated[EntryFees, "Fees in BTC"],
        "depends": Annotated[list[Annotated[Hex, "Transaction id"]], "Unconfirmed transactions that it spends from"],
        "spentby": Annotated[list[Annotated[Hex, "Transaction id"]], "Unconfirmed transactions that spend from it"],
        "unbroadcast": Annotated[bool, "Whether no peer has asked for it yet"],
        "bip125-replaceable": Annotated[NotRequired[bool], "Whether it may be replaced by BIP125 (deprecated)", UNTOLD],
    },
)


class Frozen(NamedTuple):
    """An entry with what may change of it."""

    entry: MempoolEntry
    cluster: Cluster
    chunk: Chunk
    delta: int
    unbroadcast: bool

    @property
    def modified_fee(self) -> int:
        """Satoshi, with the user's delta, at most ``MAX_AMOUNT``."""
        return min(self.entry.fee + self.delta, MAX_AMOUNT)


class Kin(NamedTuple):
    """Relatives of one entry in its cluster; none of the lists has the entry itself."""

    parents: list[Frozen]
    children: list[Frozen]
    ancestors: list[Frozen]
    descendants: list[Frozen]


ALONE = Kin([], [], [], [])


def names(entries: Iterable[MempoolEntry]) -> list[str]:
    """Their txids as people read them."""
    return [to_display(entry.txid) for entry in entries]


def freeze(node: NodeParts, entries: Iterable[MempoolEntry]) -> list[Frozen]:
    """Note what may change of these entries; on the loop thread."""
    waiting = node.mempool.unbroadcast
    return [Frozen(entry, entry.cluster, entry.chunk, entry.delta, entry.txid in waiting) for entry in entries]


def freeze_all(moment: PoolMoment) -> list[Frozen]:
    """The same for all entries of a moment; on any thread."""
    deltas, waiting = moment.deltas, moment.unbroadcast
    return [
        Frozen(entry, chunk.cluster, chunk, deltas.get(entry.txid, 0), entry.txid in waiting)
        for chunk in moment.chunks
        for entry in chunk.entries
    ]


def _reach(start: MempoolEntry, step: dict[MempoolEntry, list[MempoolEntry]]) -> list[MempoolEntry]:
    """Everything that steps lead to, without the start."""
    found: dict[MempoolEntry, None] = {}
    waiting = list(step[start])
    while waiting:
        entry = waiting.pop()
        if entry not in found:
            found[entry] = None
            waiting += step[entry]
    return list(found)


def kin_of_cluster(members: Sequence[Frozen]) -> dict[MempoolEntry, Kin]:
    """The relatives of every entry of a cluster, all of whose entries are given."""
    frozen = {row.entry: row for row in members}
    by_txid: dict[bytes, MempoolEntry] = {entry.txid: entry for entry in frozen}
    parents: dict[MempoolEntry, list[MempoolEntry]] = {}
    children: dict[MempoolEntry, list[MempoolEntry]] = {entry: [] for entry in frozen}
    for entry in frozen:
        txids = dict.fromkeys(prevout[:32] for prevout in entry.tx.prevouts)
        parents[entry] = [by_txid[txid] for txid in txids if txid in by_txid]
        for parent in parents[entry]:
            children[parent].append(entry)

    def rows(entries: Iterable[MempoolEntry]) -> list[Frozen]:
        return [frozen[entry] for entry in entries]

    return {
        entry: Kin(
            rows(parents[entry]), rows(children[entry]), rows(_reach(entry, parents)), rows(_reach(entry, children))
        )
        for entry in frozen
    }


def describe(row: Frozen, kin: Kin, *, bip125: bool) -> str:
    """One entry as getmempoolentry tells of it, as JSON text; ``bip125``: with the deprecated field."""
    entry, chunk, own = row.entry, row.chunk, row.modified_fee
    above, below, vsize = kin.ancestors, kin.descendants, entry.vsize
    modified = ancestor = descendant = amount_text(own)
    if above:
        ancestor = amount_text(own + sum([other.modified_fee for other in above]))
    if below:
        descendant = amount_text(own + sum([other.modified_fee for other in below]))
    base = amount_text(entry.fee) if entry.fee != own else modified
    depends = sorted([to_display(other.entry.txid) for other in kin.parents])
    spentby = names(sorted([other.entry for other in kin.children], key=attrgetter("txid")))
    last = ""
    if bip125:
        replaceable = any(map(signals_replacement, (entry, *(other.entry for other in above))))
        last = f',"bip125-replaceable":{_TEXT[replaceable]}'
    return (
        f'{{"vsize":{vsize},"weight":{entry.weight},"time":{entry.time},"height":{entry.height},'
        f'"descendantcount":{len(below) + 1},"descendantsize":{vsize + sum([other.entry.vsize for other in below])},'
        f'"ancestorcount":{len(above) + 1},"ancestorsize":{vsize + sum([other.entry.vsize for other in above])},'
        f'"wtxid":"{to_display(entry.wtxid)}","chunkweight":{chunk.size},"fees":{{"base":{base},"modified":{modified},'
        f'"ancestor":{ancestor},"descendant":{descendant},"chunk":{amount_text(chunk.fee)}}},'
        f'"depends":{_list_text(depends)},"spentby":{_list_text(spentby)},"unbroadcast":{_TEXT[row.unbroadcast]}{last}}}'
    )


def _list_text(texts: Sequence[str]) -> str:
    return f'["{_QUOTED.join(texts)}"]' if texts else "[]"


def describe_all(rows: Sequence[Frozen], *, bip125: bool) -> dict[str, str]:
    """The texts of whole clusters by txid, in the order given; on any thread."""
    clusters: dict[Cluster, list[Frozen]] = {}
    for row in rows:
        if len(row.cluster.entries) > 1:
            clusters.setdefault(row.cluster, []).append(row)
    kin: dict[MempoolEntry, Kin] = {}
    for members in clusters.values():
        kin |= kin_of_cluster(members)
    return {to_display(row.entry.txid): describe(row, kin.get(row.entry, ALONE), bip125=bip125) for row in rows}


def by_txid(texts: Mapping[str, str]) -> Written:
    """The object that has these texts under their txids, in pieces."""
    members = [f'"{txid}":{text}' for txid, text in texts.items()]
    pieces = [",".join(members[at : at + PIECE]).encode() for at in range(0, len(members), PIECE)]
    commas = [b","] * (2 * len(pieces) - 1)
    commas[::2] = pieces
    return Written(b"{", *commas, b"}")


def entry_text(node: NodeParts, entry: MempoolEntry) -> Written:
    """One entry as getmempoolentry tells of it."""
    members = freeze(node, entry.cluster.entries)
    row = next(row for row in members if row.entry is entry)
    return Written(describe(row, kin_of_cluster(members)[entry], bip125=is_enabled(node, "bip125")).encode())
