"""How long a piece of work may take a worker: what is usual, and the most that its bytes can ask for.

The usual time tells how fast a worker is. The bound is computed only for work that is late: opcodes that verify
signatures are counted as bytes wherever they stand, which counts too many of them and never too few, and a signature
outside of witness programs hashes its whole transaction.
"""

from __future__ import annotations

from btcnode.primitives.coin import txout_script
from btcnode.primitives.tx import Tx
from btcnode.script.runs import read_coins
from btcnode.script.scriptparse import witness_program

INPUT_SECONDS = 65e-6  # an input with its usual signature
BYTE_SECONDS = 20e-9  # parsing and hashing
SIGNATURE_SECONDS = 60e-6
HASHED_BYTE_SECONDS = 1.5e-9  # of what a legacy signature commits to
SCRIPT_BYTE_SECONDS = 3e-6  # an opcode of the interpreter
DECODED_BYTE_SECONDS = 150e-9  # a block of nothing but tiny transactions takes most
MULTISIG_KEYS = 20
MAX_LEGACY_OPERATIONS = 603  # 201 opcodes that count in each of three scripts of an input

_SINGLE = (b"\xac", b"\xad", b"\xba")  # OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CHECKSIGADD
_MULTIPLE = (b"\xae", b"\xaf")  # OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY


def usual_seconds(size: int, inputs: int) -> float:
    """Of transactions or a block of ``size`` bytes with so many inputs to verify."""
    return size * BYTE_SECONDS + inputs * INPUT_SECONDS


def longest_decoding(size: int) -> float:
    """Seconds for a block of ``size`` bytes, at most."""
    return size * DECODED_BYTE_SECONDS


def longest_verification(raw: bytes, coins: bytes) -> float:
    """Seconds for transactions one after the other and the packed coins that they spend, at most.

    Raises DecodeError or IndexError for bytes that are none.
    """
    seconds, at, coin_at = 0.0, 0, 0
    while at < len(raw):
        start, coin_start = at, coin_at
        tx, at = Tx.parse_at(raw, at)
        spent, coin_at = read_coins(coins, coin_at, len(tx.prevouts))
        legacy = sum(witness_program(txout_script(txout)) is None for txout in spent)
        data = raw[start:at] + coins[coin_start:coin_at]
        signatures = sum(map(data.count, _SINGLE)) + MULTISIG_KEYS * sum(map(data.count, _MULTIPLE)) + len(spent)
        hashed = min(signatures, legacy * MAX_LEGACY_OPERATIONS) * (at - start)
        seconds += signatures * SIGNATURE_SECONDS + hashed * HASHED_BYTE_SECONDS + len(data) * SCRIPT_BYTE_SECONDS
    return seconds
