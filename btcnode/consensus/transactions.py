"""Transaction rules: those without any context, over a block's columns or one transaction, and those of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from btcnode.errors import RuleViolation
from btcnode.primitives.amounts import COIN, MAX_MONEY
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_height
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import NULL_OUTPOINT, Tx

MAX_BLOCK_WEIGHT = 4_000_000
WITNESS_SCALE_FACTOR = 4
COINBASE_MATURITY = 100  # blocks before a coinbase output can be spent
MIN_COINBASE_SCRIPT = 2  # bytes
MAX_COINBASE_SCRIPT = 100

_unpack_value = Struct("<q").unpack_from


def format_money(value: int) -> str:
    """Satoshi as coins with two to eight decimals, as Core's log texts have it."""
    whole, part = divmod(abs(value), COIN)
    digits = f"{part:08d}"
    return f"{'-' if value < 0 else ''}{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def _check_outputs(values: Sequence[int]) -> int:
    """Each output and each partial sum must be in 0..MAX_MONEY (CVE-2010-5139); returns the sum."""
    total = 0
    for value in values:
        if value < 0:
            raise RuleViolation("bad-txns-vout-negative")
        if value > MAX_MONEY:
            raise RuleViolation("bad-txns-vout-toolarge")
        total += value
        if total > MAX_MONEY:
            raise RuleViolation("bad-txns-txouttotal-toolarge")
    return total


def _check_columns(stripped_size: int, prevouts: Sequence[bytes], values: Sequence[int], script_size: int) -> int:
    """Core's CheckTransaction on parts; ``script_size`` is that of the first script_sig. Returns the sum of values."""
    if not prevouts:
        raise RuleViolation("bad-txns-vin-empty")
    if not values:
        raise RuleViolation("bad-txns-vout-empty")
    if stripped_size * WITNESS_SCALE_FACTOR > MAX_BLOCK_WEIGHT:
        raise RuleViolation("bad-txns-oversize")
    total = _check_outputs(values)
    if len(set(prevouts)) != len(prevouts):  # CVE-2018-17144
        raise RuleViolation("bad-txns-inputs-duplicate")
    if len(prevouts) == 1 and prevouts[0] == NULL_OUTPOINT:
        if not MIN_COINBASE_SCRIPT <= script_size <= MAX_COINBASE_SCRIPT:
            raise RuleViolation("bad-cb-length")
    elif NULL_OUTPOINT in prevouts:
        raise RuleViolation("bad-txns-prevout-null")
    return total


def check_transaction(tx: Tx) -> int:
    """Check one transaction without context; returns the sum of its outputs in satoshi.

    Raises RuleViolation with Core's reject reason, first fault first.
    """
    values = [_unpack_value(txout)[0] for txout in tx.txouts]
    script_size = len(tx.script_sigs[0]) if tx.script_sigs else 0
    return _check_columns(tx.stripped_size, tx.prevouts, values, script_size)


def check_block_transactions(block: ParsedBlock) -> None:
    """``check_transaction`` for every transaction of a block whose stripped size is within the limit.

    One look over the whole block's columns proves nearly every block; where it does not, each transaction is checked
    in order. Raises RuleViolation as Core words it for blocks.
    """
    if block.facts is not None and block.facts.sound and _has_coinbase_script(block):
        return
    raw, in_pos = block.raw, block.in_pos
    first_in, first_out = block.first_in, block.first_out
    values = [_unpack_value(raw, p)[0] for p in block.out_pos]
    prevouts = block.prevouts()
    sound = (
        bool(values)
        and min(values) >= 0
        and sum(values) <= MAX_MONEY
        and len(set(prevouts)) == len(prevouts)
        and prevouts.count(NULL_OUTPOINT) == 1
        and _has_coinbase_script(block)
        # transactions without inputs or without outputs leave two equal bounds
        and len(set(first_in)) == len(first_in)
        and len(set(first_out)) == len(first_out)
    )
    if sound:
        return
    for i in range(block.n_tx):
        ins = slice(first_in[i], first_in[i + 1])
        script_size = read_compact_size(raw, in_pos[ins.start] + 36)[0] if ins.start < ins.stop else 0
        outs = values[first_out[i] : first_out[i + 1]]
        try:
            _check_columns(stripped_tx_size(block, i), prevouts[ins], outs, script_size)
        except RuleViolation as violation:
            debug = f"Transaction check failed (tx hash {to_display(block.txids[i])}) "
            raise RuleViolation(violation.code, debug) from None


def _has_coinbase_script(block: ParsedBlock) -> bool:
    """Whether the first input's script_sig has the size of a coinbase's."""
    return MIN_COINBASE_SCRIPT <= block.raw[block.in_pos[0] + 36] <= MAX_COINBASE_SCRIPT


def stripped_tx_size(block: ParsedBlock, i: int) -> int:
    """Size of transaction ``i`` without its witness: version, body, lock time."""
    return 8 + block.witness_pos[i] - block.body_pos[i]


def check_tx_inputs(coins: Sequence[bytes | None], value_out: int, height: int) -> int:
    """Check what a transaction in a block at ``height`` spends; returns its fee (satoshi).

    ``coins`` has one packed coin per input, None where there is none unspent. Raises RuleViolation:
    ``bad-txns-inputs-missingorspent``, ``bad-txns-premature-spend-of-coinbase``,
    ``bad-txns-inputvalues-outofrange``, ``bad-txns-in-belowout`` (Core's CheckTxInputs, whose name is in the text).
    """
    present = [coin for coin in coins if coin is not None]
    if len(present) != len(coins):
        raise RuleViolation("bad-txns-inputs-missingorspent", "CheckTxInputs: inputs missing/spent")
    value_in = 0
    for coin in present:
        if coin[0] & 1 and (depth := height - coin_height(coin)) < COINBASE_MATURITY:
            raise RuleViolation("bad-txns-premature-spend-of-coinbase", f"tried to spend coinbase at depth {depth}")
        value: int = _unpack_value(coin, 4)[0]
        value_in += value
        if not (0 <= value <= MAX_MONEY and value_in <= MAX_MONEY):
            raise RuleViolation("bad-txns-inputvalues-outofrange")
    if value_in < value_out:
        raise RuleViolation(
            "bad-txns-in-belowout", f"value in ({format_money(value_in)}) < value out ({format_money(value_out)})"
        )
    return value_in - value_out
