"""Blocks of transactions that were judged before: what was found out about each then is not found out again.

A transaction of the mempool has passed the rules that need nothing but itself, and its fee and sigop cost are those
of the outputs that it spends. Its wtxid stands for its bytes, and an outpoint for the output that it names (Core's
script cache rests on the same), so both hold in any block. What may have changed since is looked at: whether the coins
are unspent, which heights they have, lock times, and all that is of the block itself.

As with scripts, these ways only ever say yes. Whatever breaks a rule or is out of the ordinary gets no answer here, and
``check_block``, ``contextual_check_block`` and ``connect_block`` judge the bytes. What is accepted here they accept,
too, and it gives the same ``BlockDelta``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter
from struct import Struct
from typing import Protocol, cast

from btcnode.compiled import current
from btcnode.consensus.ancestry import ParentView
from btcnode.consensus.blocks import coinbase_nonce, height_script, is_coinbase
from btcnode.consensus.commitment import witness_commitment, witness_merkle_root
from btcnode.consensus.connect import BlockDelta, ConnectContext, ConnectSource, is_unspendable_at
from btcnode.consensus.headers import check_header
from btcnode.consensus.locks import (
    MIN_BIP68_VERSION,
    SEQUENCE_DISABLE_FLAG,
    is_final,
    sequence_locks,
    sequence_locks_met,
)
from btcnode.consensus.sigops import (
    MAX_BLOCK_SIGOPS_COST,
    WITNESS_SCALE_FACTOR,
    block_legacy_sigops,
    legacy_sigops,
    script_at,
    transaction_sigop_cost,
)
from btcnode.consensus.transactions import (
    COINBASE_MATURITY,
    MAX_BLOCK_WEIGHT,
    check_block_transactions,
    check_transaction,
    check_tx_inputs,
)
from btcnode.errors import DecodeError, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.assembled_block import AssembledBlock
from btcnode.primitives.coin import VOUTS, coin_height, coin_prefix, txout_value, vout_bytes
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.later_coins import LaterCoins
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx
from btcnode.script.flags import VERIFY_P2SH, VERIFY_WITNESS

MOST_LATER = 20_000  # coins that may be listed when somebody asks, who may have no time: 10 ms

_SIGOP_FLAGS = VERIFY_P2SH | VERIFY_WITNESS
_code = Struct("<I").unpack_from
_txid, _wtxid = attrgetter("txid"), attrgetter("wtxid")


class JudgedTx(Protocol):
    """A transaction that was admitted to the mempool: ``check_transaction`` has passed, and it is no coinbase."""

    @property
    def tx(self) -> Tx:
        """The transaction."""

    @property
    def txid(self) -> bytes:
        """Its hash without witnesses, 32 bytes in internal order."""

    @property
    def wtxid(self) -> bytes:
        """The same with witnesses."""

    @property
    def fee(self) -> int:
        """What it pays, in satoshi: ``check_tx_inputs`` has passed with the outputs that it spends."""

    @property
    def sigop_cost(self) -> int:
        """Its BIP141 sigop cost under P2SH and witness rules."""

    @property
    def spends_coinbase(self) -> bool:
        """Whether an input is a coinbase's output."""


class KnownBlock:
    """A block, and what is known of each of its transactions: None where nothing is, as of the coinbase."""

    __slots__ = ("block", "known")

    def __init__(self, block: AssembledBlock, known: Sequence[JudgedTx | None]) -> None:
        self.block = block
        self.known = known


def assemble(raw: bytes, known: Sequence[JudgedTx | None]) -> KnownBlock | None:
    """The block ``raw`` of these transactions; None when they are not those that it has.

    Of those that are not known the bytes are read.
    """
    try:
        count, first = read_compact_size(raw, HEADER_SIZE)
        if count != len(known) or not known or known[0] is not None:
            return None
        parts = [b"" if item is None else item.tx.raw for item in known]
        read: dict[int, Tx] = {}
        at, done = first, 0
        for n in [n for n, item in enumerate(known) if item is None]:
            at += sum(map(len, parts[done:n]))
            read[n], end = Tx.parse_at(raw, at)
            parts[n] = raw[at:end]
            at, done = end, n + 1
    except DecodeError:
        return None
    if b"".join((raw[:first], *parts)) != raw:
        return None
    txs = [read[n] if item is None else item.tx for n, item in enumerate(known)]
    told = [read[n] if item is None else item for n, item in enumerate(known)]
    tx_pos = list(accumulate(map(len, parts), initial=first))
    stripped_size = first + sum([tx.stripped_size for tx in txs])
    block = AssembledBlock(raw, txs, tx_pos, list(map(_txid, told)), list(map(_wtxid, told)), stripped_size)
    return KnownBlock(block, known)


def passes_alone(it: KnownBlock, params: NetworkParams) -> bool:
    """Whether ``check_block`` accepts it for sure."""
    block, known = it.block, it.known
    if params.signet_challenge is not None:
        return False
    root, mutated = merkle_root(block.txids)
    limit = MAX_BLOCK_WEIGHT // WITNESS_SCALE_FACTOR
    if mutated or root != block.raw[36:68] or block.n_tx > limit or block.stripped_size > limit:
        return False
    if not is_coinbase(block.coinbase, 0):
        return False
    sigops = WITNESS_SCALE_FACTOR * block_legacy_sigops(block.coinbase)
    try:
        check_header(block.raw, params)
        check_block_transactions(block.coinbase)
        for tx, item in zip(block.txs[1:], known[1:], strict=True):
            if item is not None:
                sigops += item.sigop_cost  # that of scripts outside of witnesses is a part of it
                continue
            check_transaction(tx)
            if tx.is_coinbase:
                return False
            sigops += WITNESS_SCALE_FACTOR * legacy_sigops(tx)
    except RuleViolation:
        return False
    return sigops <= MAX_BLOCK_SIGOPS_COST


def passes_in_context(it: KnownBlock, tree: ParentView, prev: int, params: NetworkParams) -> bool:
    """Whether ``contextual_check_block`` accepts it for sure; ``prev`` is the parent's index."""
    block, coinbase = it.block, it.block.coinbase
    height = tree.height(prev) + 1 if prev >= 0 else 0
    if prev < 0 or height < max(params.csv_height, params.bip34_height, params.segwit_height):
        return False
    cutoff = tree.median_time_past(prev)
    locked = [tx for tx in block.txs if tx.lock_time]
    if not all(is_final(tx.lock_time, tx.sequences, height, cutoff) for tx in locked):
        return False
    commitment, nonce = witness_commitment(coinbase), coinbase_nonce(coinbase)
    if commitment is None:
        committed = block.wtxids == block.txids  # no transaction has a witness
    else:
        committed = nonce is not None and sha256d(witness_merkle_root(block) + nonce) == commitment
    return (
        committed
        and script_at(coinbase.raw, coinbase.in_pos[0] + 36).startswith(height_script(height))
        and block.weight <= MAX_BLOCK_WEIGHT
    )


def connect_known(it: KnownBlock, height: int, coins: ConnectSource, ctx: ConnectContext) -> BlockDelta | None:
    """What ``connect_block`` returns for it; None where that may refuse it. ``passes_alone`` has said yes before."""
    if height == 0 or (ctx.check_bip30 and not ctx.bip30_implied) or ctx.with_jobs:
        return None
    if ctx.flags & _SIGOP_FLAGS != _SIGOP_FLAGS:
        return None
    block = it.block
    prefixes = coin_prefix(height, False), coin_prefix(height, True)
    txids = block.txids
    places = {txid: n for n, txid in enumerate(txids)}
    if len(places) != block.n_tx:  # two of one name, which spend the same; here no txid may stand for two places
        return None
    kernels = current()
    listed = None if kernels is None else kernels.list_inputs(block.raw, block.tx_pos, block.n_tx)
    if listed is not None:
        block.has_prevouts(listed.prevouts)
    prevouts = block.prevouts()[1:]
    inside = [outpoint for outpoint in prevouts if outpoint[:32] in places]
    wanted = [outpoint for outpoint in prevouts if outpoint[:32] not in places] if inside else prevouts
    found = coins.get_many(wanted)
    if None in found:
        return None
    outside = dict(zip(wanted, cast("list[bytes]", found), strict=True))
    if len(outside) + len(set(inside)) != len(prevouts):
        return None  # spent twice
    spent = _with_own(block, places, outside, prefixes) if inside else cast("list[bytes]", found)
    if spent is None:
        return None
    counts = [len(tx.prevouts) for tx in block.txs] if listed is None else listed.prevouts_of
    undo = [spent[start:end] for start, end in pairwise(accumulate(counts[1:], initial=0))]
    sums = _fees_and_sigops(it, undo, height, ctx.flags)
    may_be_locked = listed is None or listed.locked > 0
    if sums is None or (may_be_locked and not _unlocked(block.txs, undo, height, ctx)):
        return None
    fees, cost = sums
    if fees > MAX_MONEY or cost > MAX_BLOCK_SIGOPS_COST or _value_out(block.txs[0]) > fees + ctx.subsidy:
        return None
    if kernels is None or listed is None:
        return BlockDelta(_without(inside, _created(block, *prefixes)), outside, undo, fees, cost, [])
    raw, tx_pos, names = block.raw, block.tx_pos, b"".join(prefixes)  # not the block, which lives longer than the coins

    def make() -> dict[bytes, bytes]:
        return _without(inside, kernels.list_coins(raw, tx_pos, txids, names, listed))

    count = listed.coins - len(inside)
    created = LaterCoins(count, places, make) if count <= MOST_LATER else make()
    return BlockDelta(created, outside, undo, fees, cost, [])


def _without(inside: Collection[bytes], created: dict[bytes, bytes]) -> dict[bytes, bytes]:
    for outpoint in inside:
        del created[outpoint]
    return created


def _created(block: AssembledBlock, prefix: bytes, first_prefix: bytes) -> dict[bytes, bytes]:
    """The coins that the block's transactions make, behind these prefixes; the first one is the coinbase's."""
    outputs = [tx.txouts for tx in block.txs]
    most = max(map(len, outputs))
    vouts = VOUTS if most <= len(VOUTS) else list(map(vout_bytes, range(most)))
    return {
        txid + vout: each + txout
        for txid, txouts, each in zip(block.txids, outputs, chain((first_prefix,), repeat(prefix)), strict=False)
        for vout, txout in zip(vouts, txouts, strict=False)
        if _is_spendable(txout)
    }


def _is_spendable(txout: bytes) -> bool:
    # an empty or long script, or an OP_RETURN where it begins, wants a closer look
    return (0 < txout[8] < 0xFD and txout[9] != 0x6A) or not is_unspendable_at(txout, 0, len(txout))


def _with_own(
    block: AssembledBlock, places: dict[bytes, int], outside: dict[bytes, bytes], prefixes: tuple[bytes, bytes]
) -> list[bytes] | None:
    """The coin of each input but the coinbase's; None where one is of a later transaction, or is none."""
    spent: list[bytes] = []
    for n, tx in enumerate(block.txs[1:], 1):
        for outpoint in tx.prevouts:
            maker = places.get(outpoint[:32])
            if maker is None:
                spent.append(outside[outpoint])
                continue
            vout, txouts = int.from_bytes(outpoint[32:], "little"), block.txs[maker].txouts
            if maker >= n or vout >= len(txouts) or not _is_spendable(txouts[vout]):
                return None
            spent.append(prefixes[maker == 0] + txouts[vout])
    return spent


def _fees_and_sigops(it: KnownBlock, undo: list[list[bytes]], height: int, flags: int) -> tuple[int, int] | None:
    """The sums over all transactions; None where one must not spend what it spends."""
    fees, cost = 0, WITNESS_SCALE_FACTOR * block_legacy_sigops(it.block.coinbase)
    newest_mature = (height - COINBASE_MATURITY) * 2 + 1  # coin code of the youngest spendable coinbase
    for tx, item, coins in zip(it.block.txs[1:], it.known[1:], undo, strict=True):
        if item is not None:
            fees += item.fee
            cost += item.sigop_cost
            if item.spends_coinbase and any(newest_mature < _code(coin)[0] and coin[0] & 1 for coin in coins):
                return None
            continue
        try:
            fees += check_tx_inputs(coins, _value_out(tx), height)
        except RuleViolation:
            return None
        cost += transaction_sigop_cost(tx, coins, flags)
    return fees, cost


def _value_out(tx: Tx) -> int:
    return sum(map(txout_value, tx.txouts))


def _unlocked(txs: Sequence[Tx], undo: list[list[bytes]], height: int, ctx: ConnectContext) -> bool:
    """Whether all relative locks are over (BIP68)."""
    if not ctx.csv_active:
        return True
    mtp_at = cache(ctx.mtp_at)
    for tx, coins in zip(txs[1:], undo, strict=True):
        if tx.version >= MIN_BIP68_VERSION and min(tx.sequences) < SEQUENCE_DISABLE_FLAG:
            locks = sequence_locks(tx.version, tx.sequences, [coin_height(coin) for coin in coins], mtp_at)
            if not sequence_locks_met(locks, height, ctx.prev_mtp):
                return False
    return True
