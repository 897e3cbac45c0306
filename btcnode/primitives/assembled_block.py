"""A block put together of transactions that were parsed before: its offsets are worked out when somebody asks for them.

Hashes, sizes and where each transaction begins follow from the transactions; the rest is a pass over all bytes, which
most blocks that come in short form need not have before they are the tip.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.scan import stripped
from btcnode.primitives.tx import Tx

_LATER = frozenset(("body_pos", "witness_pos", "in_pos", "out_pos", "first_in", "first_out"))


class AssembledBlock(ParsedBlock):
    """The block ``raw``, which consists of these transactions, the coinbase first.

    ``tx_pos`` to ``stripped_size`` are its columns. ``coinbase`` is a block of the coinbase alone, for rules that look
    at it. ``txs`` is empty once they were let go of: they take four times the block's bytes.
    """

    __slots__ = ("_prevouts", "coinbase", "txs")

    def __init__(
        self,
        raw: bytes,
        txs: Sequence[Tx],
        tx_pos: list[int],
        txids: list[bytes],
        wtxids: list[bytes],
        stripped_size: int,
    ) -> None:
        header = raw[:HEADER_SIZE]
        self.raw = raw
        self.hash = BlockHash(sha256d(header))
        self.n_tx = len(txs)
        self.txs = txs
        self.tx_pos = tx_pos
        self.txids = txids
        self.wtxids = wtxids
        self.stripped_size = stripped_size
        self.legacy_sigops = -1
        self.witness_root = b""
        self.facts = None
        self.coinbase = parse_block(header + b"\x01" + raw[tx_pos[0] : tx_pos[1]])
        self._prevouts: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(name)
        whole = parse_block(self.raw)
        for column in _LATER:
            setattr(self, column, getattr(whole, column))
        return getattr(whole, name)

    def prevouts(self) -> list[bytes]:
        """The 36-byte outpoint of every input in block order, the coinbase's included."""
        if self._prevouts is None:
            if not self.txs:
                return super().prevouts()
            self._prevouts = list(chain.from_iterable([tx.prevouts for tx in self.txs]))
        return self._prevouts.copy()

    def has_prevouts(self, outpoints: list[bytes]) -> None:
        """Somebody has listed what ``prevouts`` would."""
        self._prevouts = outpoints

    def tx_stripped(self, i: int) -> bytes:
        """As of any block, without a look at the other transactions."""
        raw = self.tx_raw(i)
        return raw if self.wtxids[i] == self.txids[i] else stripped(raw)

    def let_go(self) -> None:
        """Of the transactions as objects: the block may be kept for longer than they are of use."""
        self.txs = ()
