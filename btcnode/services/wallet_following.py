"""What blocks and the mempool's changes mean for wallets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import txout_script
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.wallet.ledger import TRUC_VERSION, Ledger
from btcnode.wallet.wallet import Wallet


class BlockMatter:
    """Scripts and outpoints of a block, sliced once for all wallets."""

    __slots__ = ("block", "prevouts", "scripts")

    def __init__(self, block: ParsedBlock) -> None:
        self.block = block
        raw = block.raw
        self.prevouts = [raw[p : p + 36] for p in block.in_pos]
        # nearly every script is shorter than 253 bytes: its size is one byte
        self.scripts = [
            raw[p + 9 : p + 9 + raw[p + 8]] if raw[p + 8] < 0xFD else _long_script(raw, p) for p in block.out_pos
        ]

    def concerns(self, ledger: Ledger) -> bool:
        """Whether anything in it may concern a ledger: some comparisons of sets."""
        return ledger.concerns(self.scripts, self.prevouts, self.block.txids)

    def transactions(self, wallet: Wallet) -> Iterator[tuple[int, Tx]]:
        """Those that may concern a wallet, with their places; it learns of each before the next is looked for."""
        seen, known = set[int](), -1
        while len(wallet.scripts) != known:  # addresses that were paid to make place for new ones
            known = len(wallet.scripts)
            for place in self._places(wallet):
                if place not in seen:
                    seen.add(place)
                    yield place, self.block.tx(place)

    def _places(self, wallet: Wallet) -> list[int]:
        block, ledger, mine = self.block, wallet.ledger, wallet.scripts
        found = set[int]()
        if not mine.keys().isdisjoint(self.scripts):
            found |= {bisect_right(block.first_out, n) - 1 for n, script in enumerate(self.scripts) if script in mine}
        for table in (ledger.spends, ledger.coins):
            if not table.keys().isdisjoint(self.prevouts):
                found |= {
                    bisect_right(block.first_in, n) - 1 for n, prevout in enumerate(self.prevouts) if prevout in table
                }
        for txids in (ledger.transactions, ledger.truc_children):
            if txids and not txids.keys().isdisjoint(block.txids):
                found |= {n for n, txid in enumerate(block.txids) if txid in txids}
        if found:  # and what spends from those, in the same block
            txids_found = {block.txids[place] for place in found}
            for n, prevout in enumerate(self.prevouts):
                if prevout[:32] in txids_found:
                    place = bisect_right(block.first_in, n) - 1
                    found.add(place)
                    txids_found.add(block.txids[place])
        return sorted(found)


def _long_script(raw: bytes, p: int) -> bytes:
    size, start = read_compact_size(raw, p + 8)
    return raw[start : start + size]


def on_pool_added(wallet: Wallet, entry: MempoolEntry) -> None:
    """The mempool has taken a transaction."""
    tx, ledger = entry.tx, wallet.ledger
    if ledger.concerns((txout_script(txout) for txout in tx.txouts), tx.prevouts, (tx.txid,)) or (
        tx.version == TRUC_VERSION and any(prevout[:32] in ledger.transactions for prevout in tx.prevouts)
    ):
        ledger.pool_added(tx, wallet.now())


def on_pool_removed(wallet: Wallet, entry: MempoolEntry, reason: RemovalReason) -> None:
    """A transaction has left the mempool; of one in a block the block tells."""
    tx, ledger = entry.tx, wallet.ledger
    if reason is not RemovalReason.BLOCK and (
        tx.txid in ledger.transactions
        or tx.txid in ledger.truc_children
        or not ledger.spends.keys().isdisjoint(tx.prevouts)
    ):
        ledger.pool_removed(tx, wallet.now(), conflict=reason is RemovalReason.CONFLICT)
