"""Signature operations of blocks and transactions: the legacy count and BIP141's sigop cost.

The common script forms are told by length and first bytes, in place; everything else is sliced out and counted
opcode by opcode in ``script.scriptparse``.
"""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_script, txout_script
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.script.flags import VERIFY_P2SH
from btcnode.script.scriptparse import count_p2sh_sigops, count_sigops, count_witness_sigops

MAX_BLOCK_SIGOPS_COST = 80_000
WITNESS_SCALE_FACTOR = 4

# a script's CompactSize and its first two bytes
P2WPKH_HEAD = b"\x16\x00\x14"
P2WSH_HEAD = b"\x22\x00\x20"
P2TR_HEAD = b"\x22\x51\x20"
P2SH_HEAD = b"\x17\xa9\x14"
P2PKH_HEAD = b"\x19\x76\xa9"
_NO_SIGOPS = frozenset((P2WPKH_HEAD, P2WSH_HEAD, P2TR_HEAD))  # an opcode and one push to the end


def script_at(raw: bytes, pos: int) -> bytes:
    """The script whose CompactSize is at ``pos``."""
    size, pos = read_compact_size(raw, pos)
    return raw[pos : pos + size]


def count_input_sigops(raw: bytes, in_pos: Sequence[int]) -> int:
    """Legacy sigops of the script_sigs of the inputs at ``in_pos``."""
    total = 0
    for p in in_pos:
        size = raw[p + 36]
        if not size:
            continue
        if size < 0xFD:
            pos = p + 37
            end = pos + size
            op = raw[pos]
            if op < 0x4C:  # one push, or two: nearly all script_sigs
                pos += op + 1
                if pos >= end:
                    continue
                op = raw[pos]
                if op < 0x4C and pos + op + 1 >= end:
                    continue
            total += count_sigops(raw[p + 37 : end], False)
        else:
            total += count_sigops(script_at(raw, p + 36), False)
    return total


def count_output_sigops(raw: bytes, out_pos: Sequence[int]) -> int:
    """Legacy sigops of the script_pubkeys of the txouts at ``out_pos``."""
    total = 0
    for p in out_pos:
        head = raw[p + 8 : p + 11]
        if head in _NO_SIGOPS:
            continue
        if head == P2PKH_HEAD:
            if raw[p + 11] == 20 and raw[p + 32 : p + 34] == b"\x88\xac":
                total += 1
                continue
        elif head == P2SH_HEAD and raw[p + 31] == 0x87:
            continue
        total += count_sigops(script_at(raw, p + 8), False)
    return total


def tx_legacy_sigops(block: ParsedBlock, i: int) -> int:
    """Legacy sigops of transaction ``i``: those of all its script_sigs and script_pubkeys."""
    first_in, first_out = block.first_in, block.first_out
    inputs = count_input_sigops(block.raw, block.in_pos[first_in[i] : first_in[i + 1]])
    return inputs + count_output_sigops(block.raw, block.out_pos[first_out[i] : first_out[i + 1]])


def block_legacy_sigops(block: ParsedBlock) -> int:
    """Legacy sigops of all transactions; counted once, then kept with the block."""
    if block.legacy_sigops < 0 and block.facts is not None:
        block.legacy_sigops = block.facts.sigops
    if block.legacy_sigops < 0:
        raw = block.raw
        block.legacy_sigops = count_input_sigops(raw, block.in_pos) + count_output_sigops(raw, block.out_pos)
    return block.legacy_sigops


def coin_sigop_cost(coin: bytes, script_sig: bytes, witness: Sequence[bytes], flags: int) -> int:
    """Sigop cost that an input adds to its transaction's legacy count: P2SH's (under its flag) and the witness's."""
    script = coin_script(coin)
    cost = count_witness_sigops(script_sig, script, witness, flags)
    if flags & VERIFY_P2SH:
        cost += count_p2sh_sigops(script_sig, script) * WITNESS_SCALE_FACTOR
    return cost


def legacy_sigops(tx: Tx) -> int:
    """Legacy sigops of a transaction: those of all its script_sigs and script_pubkeys."""
    legacy = sum(count_sigops(script, False) for script in tx.script_sigs)
    return legacy + sum(count_sigops(txout_script(txout), False) for txout in tx.txouts)


def transaction_sigop_cost(tx: Tx, coins: Sequence[bytes], flags: int) -> int:
    """BIP141 sigop cost of a transaction that spends the packed ``coins``, one per input (a coinbase: any)."""
    cost = legacy_sigops(tx) * WITNESS_SCALE_FACTOR
    if tx.is_coinbase:
        return cost
    stacks: Sequence[Sequence[bytes]] = tx.witnesses or [()] * len(coins)
    for coin, script_sig, stack in zip(coins, tx.script_sigs, stacks, strict=True):
        cost += coin_sigop_cost(coin, script_sig, stack, flags)
    return cost
