"""Coins as peers tell them with a proof: without what the block says already (BIP 183).

A compact leaf is ``code[u32 LE] + value[i64 LE] + kind[1]``, and for kind 0 ``CompactSize(size) + script`` behind it.
Of the other kinds the script follows from the input that spends the coin.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from hashlib import sha256

from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import iter_ops

PUBKEY_HASH, WITNESS_PUBKEY_HASH, SCRIPT_HASH, WITNESS_SCRIPT_HASH = 1, 2, 3, 4
_COIN_HEAD = 12  # code and value


def script_of_input(kind: int, script_sig: bytes, witness: Sequence[bytes]) -> bytes | None:
    """The script_pubkey of a kind that an input must have spent, None when it spends none of that kind."""
    if kind in (PUBKEY_HASH, SCRIPT_HASH):
        top = None
        for _, data in iter_ops(script_sig):
            top = data
    else:
        top = witness[-1] if witness else None
    if top is None:
        return None
    if kind == WITNESS_SCRIPT_HASH:
        return b"\x00\x20" + sha256(top).digest()
    own = hash160(top)
    if kind == PUBKEY_HASH:
        return b"\x76\xa9\x14" + own + b"\x88\xac"
    return b"\x00\x14" + own if kind == WITNESS_PUBKEY_HASH else b"\xa9\x14" + own + b"\x87"


def compact_leaf(coin: bytes, script_sig: bytes, witness: Sequence[bytes]) -> bytes:
    """A packed coin in the compact form, for whoever has the input that spends it."""
    script = coin_script(coin)
    kind = _kind(script)
    if kind and script_of_input(kind, script_sig, witness) == script:
        return coin[:_COIN_HEAD] + bytes((kind,))
    return coin[:_COIN_HEAD] + b"\x00" + compact_size(len(script)) + script


def _kind(script: bytes) -> int:
    size = len(script)
    if size == 25 and script.startswith(b"\x76\xa9\x14") and script.endswith(b"\x88\xac"):
        return PUBKEY_HASH
    if size == 22 and script.startswith(b"\x00\x14"):
        return WITNESS_PUBKEY_HASH
    if size == 23 and script.startswith(b"\xa9\x14") and script.endswith(b"\x87"):
        return SCRIPT_HASH
    return WITNESS_SCRIPT_HASH if size == 34 and script.startswith(b"\x00\x20") else 0


def block_leaves(block: ParsedBlock, spent: Iterable[Sequence[bytes]]) -> list[bytes]:
    """The compact leaves of a block's proof, in the order of its inputs; ``spent`` as in ``blocks.spent_leaves``."""
    own = set(block.txids)
    return [leaf for i, coins in enumerate(spent, 1) for leaf in tx_leaves(block.tx(i), coins, own)]


def tx_leaves(
    tx: Tx, coins: Sequence[bytes], own: Container[bytes], wanted: Iterator[bool] | None = None
) -> list[bytes]:
    """Those of the ``coins`` that a transaction spends, but for what is ``own``: of transactions of the same block.

    ``wanted`` tells of each of them whether it is; None: all are.
    """
    return [
        compact_leaf(coin, tx.script_sigs[n], tx.witnesses[n] if tx.witnesses else ())
        for n, coin in enumerate(coins)
        if tx.prevouts[n][:32] not in own and (wanted is None or next(wanted, False))
    ]
