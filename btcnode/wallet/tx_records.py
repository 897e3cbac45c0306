"""A wallet's transactions as rows of its database."""

from __future__ import annotations

import json

from btcnode.errors import CorruptionError, DecodeError
from btcnode.primitives.tx import Tx
from btcnode.wallet.journal import Journal, Value
from btcnode.wallet.states import ABANDONED, INACTIVE, BlockConflicted, Confirmed, State, WalletTx

_CONFIRMED, _CONFLICTED, _INACTIVE, _ABANDONED = "confirmed", "conflicted", "inactive", "abandoned"


def _state_values(state: State) -> tuple[Value, Value, Value, Value]:
    """Kind, block hash, height and place; what is in the mempool is not known to be anywhere at the next start."""
    if type(state) is Confirmed:
        return _CONFIRMED, state.block_hash, state.height, state.position
    if type(state) is BlockConflicted:
        return _CONFLICTED, state.block_hash, state.height, None
    return _ABANDONED if state == ABANDONED else _INACTIVE, None, None, None


def note_tx(journal: Journal, entry: WalletTx) -> None:
    """Have all of a transaction written."""
    notes = json.dumps(entry.notes, sort_keys=True)
    journal.note("tx", entry.txid, entry.tx.raw, entry.received, entry.smart_time, entry.position, notes)
    note_state(journal, entry)


def note_state(journal: Journal, entry: WalletTx) -> None:
    """Have a transaction's state written."""
    journal.note("tx_state", entry.txid, *_state_values(entry.state))


def read_tx(row: tuple[Value, ...]) -> WalletTx:
    """The transaction of a row; raises CorruptionError."""
    try:
        _, raw, kind, block_hash, height, place, received, smart_time, position, notes = row
        assert isinstance(raw, bytes) and isinstance(notes, str)
        assert isinstance(received, int) and isinstance(smart_time, int) and isinstance(position, int)
        tx, found = Tx.parse(raw), json.loads(notes)
        if tx.txid != row[0] or not isinstance(found, dict):
            raise CorruptionError("a transaction of the wallet is damaged")
        return WalletTx(tx, _read_state(kind, block_hash, height, place), received, smart_time, position, found)
    except (AssertionError, DecodeError, ValueError, TypeError) as error:
        raise CorruptionError(f"a transaction of the wallet is damaged: {error}") from None


def _read_state(kind: Value, block_hash: Value, height: Value, place: Value) -> State:
    if kind == _CONFIRMED and isinstance(block_hash, bytes) and isinstance(height, int) and isinstance(place, int):
        return Confirmed(block_hash, height, place)
    if kind == _CONFLICTED and isinstance(block_hash, bytes) and isinstance(height, int):
        return BlockConflicted(block_hash, height)
    if kind in (_INACTIVE, _ABANDONED):
        return ABANDONED if kind == _ABANDONED else INACTIVE
    raise ValueError(f"state {kind!r}")
