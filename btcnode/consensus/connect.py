"""Connecting a block to the coins, and disconnecting it: what Core's ConnectBlock and DisconnectBlock do with them.

Nothing is written here: connecting yields a delta and the script jobs that still have to pass, in Core's order of
checks, so that a block with two faults gets the same reason. The loop over transactions is the serial part of a sync;
it slices bytes and calls a function only for what is not the common case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from struct import Struct
from typing import Protocol, cast

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.deployments import script_flags
from btcnode.consensus.locks import MIN_BIP68_VERSION, sequence_locks, sequence_locks_met
from btcnode.consensus.sigops import (
    MAX_BLOCK_SIGOPS_COST,
    P2SH_HEAD,
    P2WPKH_HEAD,
    P2WSH_HEAD,
    WITNESS_SCALE_FACTOR,
    block_legacy_sigops,
    coin_sigop_cost,
    script_at,
    tx_legacy_sigops,
)
from btcnode.consensus.subsidy import block_subsidy
from btcnode.consensus.transactions import COINBASE_MATURITY, check_tx_inputs
from btcnode.errors import CorruptionError, RuleViolation
from btcnode.networks.parameters import BIP34_IMPLIES_BIP30_LIMIT, NetworkParams
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import VOUTS, coin_height, coin_prefix, vout_bytes
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import from_display, to_display
from btcnode.primitives.tx import Tx
from btcnode.record import record, struct
from btcnode.script.flags import VERIFY_WITNESS
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.tuples import NamedTuple

MAX_SCRIPT_SIZE = 10_000  # bytes; a longer script_pubkey can never be spent
_OP_RETURN = 0x6A

BIP30_OVERWRITTEN = frozenset(
    (
        (91_722, from_display("00000000000271a2dc26e7667f8419f2e15416dc6955e5a6c6cdf3f2574dd08e")),
        (91_812, from_display("00000000000af0aed4792b1acee3d966af36cf5def14935db8de83d6f9306f2f")),
    )
)
"""Mainnet blocks whose coinbase a later block's overwrote: when they are disconnected it is gone already."""

_unpack_coin = Struct("<IQ").unpack_from  # values read unsigned: a negative one is far above MAX_MONEY
_unpack_value = Struct("<Q").unpack_from
_SCRIPT_HASH_HEADS = frozenset((P2SH_HEAD, P2WSH_HEAD))
_VERSIONS_WITHOUT_BIP68 = frozenset(version.to_bytes(4, "little") for version in range(MIN_BIP68_VERSION))


class CoinSource(Protocol):
    """Unspent coins before the block."""

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The packed coin of each outpoint, None where there is none unspent."""


class ConnectSource(CoinSource, Protocol):
    """Coins onto which a block can be connected."""

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Whether one of the outpoints has an unspent coin."""


@record
class ConnectContext:
    """What connecting a block takes from its network and its ancestors.

    ``flags`` for its scripts, ``subsidy`` in satoshi, ``check_bip30`` whether its outputs must be looked up,
    ``csv_active`` whether BIP68 applies, ``prev_mtp`` the parent's median time past, ``mtp_at(height)`` that of the
    ancestor at ``height``, ``with_jobs`` whether script jobs are made (not under assumevalid), ``bip30_implied``
    whether that look may wait until the block breaks another rule (``coinbases_differ``).
    """

    flags: int
    subsidy: int
    check_bip30: bool
    csv_active: bool
    prev_mtp: int
    mtp_at: Callable[[int], int]
    with_jobs: bool = True
    bip30_implied: bool = False


@struct
class BlockDelta:
    """What a block does to the coins; valid once all ``jobs`` have passed.

    ``spent`` are coins taken from the source, ``created`` the new ones that are left at the end of the block (apply
    ``spent`` first). ``undo`` has the spent coins of each transaction but the coinbase, in order of its inputs.
    """

    created: Mapping[bytes, bytes] = field(default_factory=dict)
    spent: dict[bytes, bytes] = field(default_factory=dict)
    undo: list[list[bytes]] = field(default_factory=list)
    fees: int = 0
    sigop_cost: int = 0
    jobs: list[ScriptJob] = field(default_factory=list)


def connect_context(
    tree: Ancestry, prev: int, block_hash: bytes, params: NetworkParams, *, with_jobs: bool = True
) -> ConnectContext:
    """The context of the block ``block_hash`` on top of ``prev``."""
    height = tree.height(prev) + 1

    def mtp_at(at: int) -> int:
        return tree.median_time_past(tree.ancestor(prev, at))

    return ConnectContext(
        flags=script_flags(height, block_hash, params),
        subsidy=block_subsidy(height, params),
        check_bip30=must_check_bip30(tree, prev, block_hash, params),
        csv_active=height >= params.csv_height,
        prev_mtp=tree.median_time_past(prev),
        mtp_at=mtp_at,
        with_jobs=with_jobs,
        bip30_implied=coinbases_differ(params),
    )


def coinbases_differ(params: NetworkParams) -> bool:
    """Whether no two coinbases of a chain can be equal: BIP34 holds from its first block on, genesis is never a coin.

    Then a transaction that repeats an unspent one spends, over however many transactions between, what is spent: a
    block that breaks BIP30 has missing inputs too.
    """
    return params.bip34_height <= 1


def must_check_bip30(tree: Ancestry, prev: int, block_hash: bytes, params: NetworkParams) -> bool:
    """Whether the child of ``prev`` must be searched for outputs that overwrite unspent ones (BIP30).

    Not the two blocks that do so; not blocks above BIP34's on its own chain, whose coinbases differ by height, until
    that height where the coinbase of a block before BIP34 may be repeated.
    """
    height = tree.height(prev) + 1
    if height >= BIP34_IMPLIES_BIP30_LIMIT:
        return True
    if (height, block_hash) in params.bip30_exceptions:
        return False
    bip34 = tree.ancestor(prev, params.bip34_height) if params.bip34_height < height else -1
    return bip34 < 0 or tree.hash(bip34) != params.bip34_hash


def connect_block(block: ParsedBlock, height: int, coins: ConnectSource, ctx: ConnectContext) -> BlockDelta:
    """Check a block against the coins and compute what it changes; ``check_block`` has passed before.

    Raises RuleViolation: ``bad-txns-BIP30``, those of ``check_tx_inputs``,
    ``bad-txns-accumulated-fee-outofrange``, ``bad-txns-nonfinal`` (BIP68), ``bad-blk-sigops``, ``bad-cb-amount``.
    The genesis block changes nothing: its coinbase cannot be spent.
    """
    if height == 0:
        return BlockDelta()
    if ctx.check_bip30 and not ctx.bip30_implied:
        _check_bip30(block, coins)
    try:
        delta = _Connector(block, height, coins, ctx).run()
        limit = delta.fees + ctx.subsidy
        paid = _value_out(block, 0)
        if paid > limit:
            raise RuleViolation("bad-cb-amount", f"coinbase pays too much (actual={paid} vs limit={limit})")
    except RuleViolation:
        if ctx.check_bip30 and ctx.bip30_implied:  # it is the rule that Core names first
            _check_bip30(block, coins)
        raise
    return delta


def script_violation(job: ScriptJob, failure: ScriptFailure) -> RuleViolation:
    """The violation, in Core's words, of a script job that failed."""
    tx = Tx.parse(job.raw_tx)
    prevout = tx.prevouts[failure.input_index]
    return RuleViolation(
        f"block-script-verify-flag-failed ({failure.error.text})",
        f"input {failure.input_index} of {to_display(tx.txid)} (wtxid {to_display(tx.wtxid)}), "
        f"spending {to_display(prevout[:32])}:{int.from_bytes(prevout[32:], 'little')}",
    )


def _value_out(block: ParsedBlock, i: int) -> int:
    """Sum of the outputs of transaction ``i``."""
    raw = block.raw
    positions = block.out_pos[block.first_out[i] : block.first_out[i + 1]]
    return sum(int.from_bytes(raw[p : p + 8], "little", signed=True) for p in positions)


def _check_bip30(block: ParsedBlock, coins: ConnectSource) -> None:
    """No output of the block may exist unspent."""
    first_out = block.first_out
    outpoints = [
        txid + vout_bytes(vout) for i, txid in enumerate(block.txids) for vout in range(first_out[i + 1] - first_out[i])
    ]
    if coins.any_unspent(outpoints):
        raise RuleViolation("bad-txns-BIP30", "tried to overwrite transaction")


def is_unspendable_at(raw: bytes, pos: int, end: int) -> bool:
    """Whether the txout ``raw[pos:end]`` can never be spent: OP_RETURN first, or a script above 10,000 bytes."""
    size = raw[pos + 8]
    if size < 0xFD:
        return size > 0 and raw[pos + 9] == _OP_RETURN
    length = 3 if size == 0xFD else 5
    script = pos + 8 + length
    return raw[script] == _OP_RETURN or end - script > MAX_SCRIPT_SIZE


class _Connector:
    """One block on its way onto the coins."""

    def __init__(self, block: ParsedBlock, height: int, coins: ConnectSource, ctx: ConnectContext) -> None:
        self._block = block
        self._height = height
        self._coins = coins
        self._ctx = ctx
        raw = block.raw
        self._outpoints = block.prevouts()
        txids = set(block.txids)
        wanted = [outpoint for outpoint in self._outpoints[1:] if outpoint[:32] not in txids]
        found = coins.get_many(wanted)
        # what can be spent now: the coins from outside, and those the block has made so far
        self._unspent: dict[bytes, bytes]
        if None in found:
            pairs = zip(wanted, found, strict=True)
            self._unspent = {outpoint: coin for outpoint, coin in pairs if coin is not None}
        else:
            self._unspent = dict(zip(wanted, cast("list[bytes]", found), strict=True))
        self._spent: dict[bytes, bytes] = self._unspent.copy()
        # offset after each input's sequence: the next input's, or where the outputs' count begins
        in_end = block.in_pos[1:]
        in_end.append(0)
        first_out, out_pos = block.first_out, block.out_pos
        for i, last in enumerate(block.first_in[1:]):
            outputs = first_out[i + 1] - first_out[i]
            in_end[last - 1] = out_pos[first_out[i]] - (1 if outputs < 0xFD else 3 if outputs <= 0xFFFF else 5)
        self._in_end = in_end
        self._values = [_unpack_value(raw, p)[0] for p in out_pos]
        self._legacy = block_legacy_sigops(block)
        self._legacy_until: list[int] = []
        self._median_times: dict[int, int] = {}

    def run(self) -> BlockDelta:
        """Spend and create transaction by transaction."""
        block, ctx, unspent = self._block, self._ctx, self._unspent
        raw, tx_pos, first_in, first_out = block.raw, block.tx_pos, block.first_in, block.first_out
        outpoints, values, unpack = self._outpoints, self._values, _unpack_coin
        take: Callable[[bytes], bytes] = unspent.pop
        csv_active, in_end, flags, with_jobs = ctx.csv_active, self._in_end, ctx.flags, ctx.with_jobs
        newest_mature = (self._height - COINBASE_MATURITY) * 2 + 1  # coin code of the youngest spendable coinbase
        prefix = coin_prefix(self._height, False)
        p2wpkh_cost = 1 if flags & VERIFY_WITNESS else 0
        extra_budget = MAX_BLOCK_SIGOPS_COST - self._legacy * WITNESS_SCALE_FACTOR
        undo: list[list[bytes]] = []
        jobs: list[ScriptJob] = []
        fees = extra_cost = 0
        if extra_budget < 0:
            self._check_sigops(0, 0)
        self._create(0, coin_prefix(self._height, True))
        a, b = 1, first_in[1]
        for i in range(1, block.n_tx):
            a, b = b, first_in[i + 1]
            try:
                spent: list[bytes] = list(map(take, outpoints[a:b]))
            except KeyError:
                spent = self._explain_missing(i, a, b)
            value_in = 0
            script_hash = False
            for coin in spent:
                code, value = unpack(coin)
                value_in += value
                if code & 1 and code > newest_mature:
                    raise self._input_violation(i, spent)
                head = coin[12:15]
                if head == P2WPKH_HEAD:
                    extra_cost += p2wpkh_cost
                elif head in _SCRIPT_HASH_HEADS:
                    script_hash = True
            fee = value_in - sum(values[first_out[i] : first_out[i + 1]])
            if fee < 0 or value_in > MAX_MONEY:
                raise self._input_violation(i, spent)
            fees += fee
            if fees > MAX_MONEY:
                raise RuleViolation("bad-txns-accumulated-fee-outofrange", "accumulated fee in the block out of range")
            start = tx_pos[i]
            if csv_active and raw[start : start + 4] not in _VERSIONS_WITHOUT_BIP68:
                for end in in_end[a:b]:
                    if raw[end - 1] < 0x80:  # the disable bit is the top bit of the sequence
                        self._check_sequence_locks(i, spent)
                        break
            if script_hash:
                extra_cost += self._script_hash_cost(i, spent)
            if extra_cost > extra_budget:
                self._check_sigops(i, extra_cost)
            if with_jobs:
                jobs.append(ScriptJob(raw[start : tx_pos[i + 1]], [coin[4:] for coin in spent], flags))
            undo.append(spent)
            self._create(i, prefix)
        cost = self._legacy * WITNESS_SCALE_FACTOR + extra_cost
        return BlockDelta(unspent, self._spent, undo, fees, cost, jobs)

    def _create(self, i: int, prefix: bytes) -> None:
        """Add the spendable outputs of transaction ``i``."""
        block, unspent = self._block, self._unspent
        raw, txid = block.raw, block.txids[i]
        positions = block.out_pos[block.first_out[i] : block.first_out[i + 1]]
        positions.append(block.witness_pos[i])
        p = positions[0]
        for vout, end in enumerate(positions[1:]):
            # a size byte of fd and above, or an OP_RETURN where the script begins, wants a closer look
            if (raw[p + 9] != 0x6A and raw[p + 8] < 0xFD) or not is_unspendable_at(raw, p, end):
                unspent[txid + (VOUTS[vout] if vout < 1024 else vout_bytes(vout))] = prefix + raw[p:end]
            p = end

    def _explain_missing(self, i: int, a: int, b: int) -> list[bytes]:
        """Some input of transaction ``i`` is not at hand: fail as Core does, unless all coins exist after all.

        They can, when the block has a transaction of that id behind ``i`` and an older one of the same id is unspent.
        """
        block = self._block
        used = set(self._outpoints[1:a])
        makers = {txid: at for at, txid in reversed(list(enumerate(block.txids)))}
        found: list[bytes | None] = []
        for outpoint in self._outpoints[a:b]:
            coin: bytes | None = None
            maker = makers.get(outpoint[:32], -1)
            if outpoint in used:
                pass
            elif maker < 0:
                coin = self._spent.get(outpoint)
            elif maker < i:
                coin = self._made(maker, int.from_bytes(outpoint[32:], "little"))
            else:
                coin = self._coins.get_many([outpoint])[0]
                if coin is not None:
                    self._spent[outpoint] = coin
            self._unspent.pop(outpoint, None)
            found.append(coin)
        spent = [coin for coin in found if coin is not None]
        if len(spent) != len(found):
            raise self._input_violation(i, found)
        return spent

    def _made(self, i: int, vout: int) -> bytes | None:
        """The coin that output ``vout`` of transaction ``i`` is."""
        block = self._block
        at = block.first_out[i] + vout
        if at >= block.first_out[i + 1]:
            return None
        end = block.out_pos[at + 1] if at + 1 < block.first_out[i + 1] else block.witness_pos[i]
        if is_unspendable_at(block.raw, block.out_pos[at], end):
            return None
        return coin_prefix(self._height, i == 0) + block.raw[block.out_pos[at] : end]

    def _input_violation(self, i: int, coins: Sequence[bytes | None]) -> RuleViolation:
        """What is wrong with the inputs of transaction ``i``, found in Core's order."""
        block = self._block
        try:
            fee = check_tx_inputs(coins, _value_out(block, i), self._height)
        except RuleViolation as violation:
            debug = f"{violation.debug} in transaction {to_display(block.txids[i])}"
            return RuleViolation(violation.code, debug)
        raise RuntimeError(f"quick and exact checks of inputs disagree (fee {fee})")

    def _check_sequence_locks(self, i: int, coins: Sequence[bytes]) -> None:
        """BIP68 for transaction ``i``, which has at least one relative lock."""
        block, ctx = self._block, self._ctx
        raw, start = block.raw, block.tx_pos[i]
        ends = self._in_end[block.first_in[i] : block.first_in[i + 1]]
        locks = sequence_locks(
            int.from_bytes(raw[start : start + 4], "little"),
            [int.from_bytes(raw[end - 4 : end], "little") for end in ends],
            [coin_height(coin) for coin in coins],
            self._mtp_at,
        )
        if not sequence_locks_met(locks, self._height, ctx.prev_mtp):
            raise RuleViolation(
                "bad-txns-nonfinal", f"contains a non-BIP68-final transaction {to_display(block.txids[i])}"
            )

    def _mtp_at(self, height: int) -> int:
        known = self._median_times.get(height)
        if known is None:
            known = self._median_times[height] = self._ctx.mtp_at(height)
        return known

    def _check_sigops(self, i: int, extra_cost: int) -> None:
        """The whole block's legacy count is too much with ``extra_cost``: is it already after transaction ``i``?"""
        if not self._legacy_until:
            total = 0
            for at in range(self._block.n_tx):
                total += tx_legacy_sigops(self._block, at)
                self._legacy_until.append(total)
        if self._legacy_until[i] * WITNESS_SCALE_FACTOR + extra_cost > MAX_BLOCK_SIGOPS_COST:
            raise RuleViolation("bad-blk-sigops", "too many sigops")

    def _script_hash_cost(self, i: int, coins: Sequence[bytes]) -> int:
        """Sigop cost of the P2SH and P2WSH inputs of transaction ``i``, their legacy sigops apart."""
        block, flags = self._block, self._ctx.flags
        raw = block.raw
        nested_p2wpkh = 1 if flags & VERIFY_WITNESS else 0
        witness: list[bytes | None] | None = None
        cost = 0
        first = block.first_in[i]
        for k, coin in enumerate(coins):
            head = coin[12:15]
            if head not in _SCRIPT_HASH_HEADS:
                continue
            p = block.in_pos[first + k]
            # script_sig of one push, a P2WPKH program: the usual nested form
            if head == P2SH_HEAD and coin[35] == 0x87 and raw[p + 36 : p + 40] == b"\x17" + P2WPKH_HEAD:
                cost += nested_p2wpkh
                continue
            if witness is None:
                witness = last_witness_items(block, i)
            item = witness[k]
            cost += coin_sigop_cost(coin, script_at(raw, p + 36), () if item is None else (item,), flags)
        return cost


def last_witness_items(block: ParsedBlock, i: int) -> list[bytes | None]:
    """The last witness item of each input of transaction ``i``; None where the stack is empty."""
    raw, pos = block.raw, block.witness_pos[i]
    count = block.first_in[i + 1] - block.first_in[i]
    if block.body_pos[i] - block.tx_pos[i] == 4:
        return [None] * count
    found: list[bytes | None] = []
    for _ in range(count):
        items, pos = read_compact_size(raw, pos)
        start = 0
        for _ in range(items):
            size, start = read_compact_size(raw, pos)
            pos = start + size
        found.append(raw[start:pos] if items else None)
    return found


class Disconnected(NamedTuple):
    """What disconnecting a block does to the coins.

    ``restored`` are coins to put back, ``removed`` outpoints to delete. ``clean`` is False when the coins were not
    what connecting this block would have left; applying the rest makes the block undone all the same.
    """

    restored: dict[bytes, bytes]
    removed: list[bytes]
    clean: bool


def block_outputs(block: ParsedBlock, i: int, height: int) -> list[tuple[bytes, bytes]]:
    """Outpoint and packed coin of every spendable output of transaction ``i``."""
    raw, txid, prefix = block.raw, block.txids[i], coin_prefix(height, i == 0)
    positions = [*block.out_pos[block.first_out[i] : block.first_out[i + 1]], block.witness_pos[i]]
    return [
        (txid + vout.to_bytes(4, "little"), prefix + raw[pos:end])
        for vout, (pos, end) in enumerate(pairwise(positions))
        if not is_unspendable_at(raw, pos, end)
    ]


def disconnect_block(block: ParsedBlock, height: int, undo: list[list[bytes]], coins: CoinSource) -> Disconnected:
    """Undo the tip, as Core's DisconnectBlock does.

    ``undo`` is the block's ``BlockDelta.undo``. Raises CorruptionError when it is not of this block: a wrong number
    of transactions or inputs, or a coin without a height.
    """
    inputs = [block.first_in[i + 1] - block.first_in[i] for i in range(1, block.n_tx)]
    if [len(spent) for spent in undo] != inputs:
        raise CorruptionError(f"block {to_display(block.hash)} and its undo data are inconsistent")
    outputs = [block_outputs(block, i, height) for i in range(block.n_tx)]
    prevouts = block.prevouts()
    touched = list(dict.fromkeys([outpoint for made in outputs for outpoint, _ in made] + prevouts[1:]))
    before = dict(zip(touched, coins.get_many(touched), strict=True))
    now = before.copy()
    clean = True
    for i in range(block.n_tx - 1, -1, -1):
        overwritten = i == 0 and (height, block.hash) in BIP30_OVERWRITTEN
        for outpoint, coin in outputs[i]:
            if now[outpoint] != coin and not overwritten:
                clean = False
            now[outpoint] = None
        if i:
            first = block.first_in[i]
            for k in range(len(undo[i - 1]) - 1, -1, -1):
                outpoint, coin = prevouts[first + k], undo[i - 1][k]
                if coin_height(coin) == 0:
                    raise CorruptionError(f"undo data of block {to_display(block.hash)} has a coin without height")
                if now[outpoint] is not None:
                    clean = False  # it would have been spent
                now[outpoint] = coin
    restored = {outpoint: coin for outpoint, coin in now.items() if coin is not None and coin != before[outpoint]}
    removed = [outpoint for outpoint, coin in now.items() if coin is None and before[outpoint] is not None]
    return Disconnected(restored, removed, clean)
