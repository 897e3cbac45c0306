"""Standardness of a transaction by itself: what a node relays of all that is valid (Core's ``IsStandardTx``)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from btcnode.mempool.feerate import fee_at
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT, MempoolOptions
from btcnode.primitives.coin import txout_script
from btcnode.primitives.tx import Tx
from btcnode.script.opcodes import MAX_PUBKEYS_PER_MULTISIG
from btcnode.script.scriptparse import (
    count_sigops,
    is_push_only,
    is_unspendable,
    witness_program,
)
from btcnode.script.solver import match_multisig, script_type
from btcnode.tuples import NamedTuple

MAX_STANDARD_VERSION = 3
MIN_STANDARD_NONWITNESS_SIZE = 65  # 64 bytes can pose as an inner node of a merkle tree (CVE-2017-12842)
MAX_STANDARD_SCRIPT_SIG = 1650  # bytes
MAX_STANDARD_SIGOPS_COST = 16_000
MAX_DUST_OUTPUTS = 1  # ephemeral dust
MAX_BARE_MULTISIG_KEYS = 3

# what the spending input adds to the size of a txout, for the dust limit
LEGACY_SPEND_SIZE = 148
WITNESS_SPEND_SIZE = 67

# sizes of txouts, and the bytes from their CompactSize on
_P2WPKH, _P2WPKH_SIZE = b"\x16\x00\x14", 31
_PROGRAM32, _PROGRAM32_SIZE = (b"\x22\x51\x20", b"\x22\x00\x20"), 43  # P2TR, P2WSH
_P2PKH, _P2PKH_TAIL, _P2PKH_SIZE = b"\x19\x76\xa9\x14", b"\x88\xac", 34
_P2SH, _P2SH_TAIL, _P2SH_SIZE = b"\x17\xa9\x14", 0x87, 32

unpack_value = Struct("<q").unpack_from


class OutputScan(NamedTuple):
    """What one look over a transaction's outputs tells: the first form that is not relayed ("" for none), legacy
    sigops, and the numbers of the outputs that are dust."""

    reason: str
    sigops: int
    dust: list[int]


class OutputPolicy:
    """The rules for outputs under some options; the common forms are told by their bytes."""

    __slots__ = ("_bare_multisig", "_data_bytes", "_dust_rate", "_limits", "_standard")

    def __init__(self, options: MempoolOptions) -> None:
        self._dust_rate = rate = options.dust_feerate
        self._data_bytes = options.max_datacarrier_bytes or 0
        self._bare_multisig = options.permit_bare_multisig
        self._standard = options.require_standard
        self._limits = (
            fee_at(rate, _P2WPKH_SIZE + WITNESS_SPEND_SIZE),
            fee_at(rate, _PROGRAM32_SIZE + WITNESS_SPEND_SIZE),
            fee_at(rate, _P2PKH_SIZE + LEGACY_SPEND_SIZE),
            fee_at(rate, _P2SH_SIZE + LEGACY_SPEND_SIZE),
        )

    def dust_limit(self, txout: bytes) -> int:
        """The value in satoshi below which a txout is dust: not worth its spending (Core's ``GetDustThreshold``)."""
        script = txout_script(txout)
        if is_unspendable(script):
            return 0
        spend = LEGACY_SPEND_SIZE if witness_program(script) is None else WITNESS_SPEND_SIZE
        return fee_at(self._dust_rate, len(txout) + spend)

    def dust(self, txouts: Sequence[bytes]) -> list[int]:
        """Numbers of the outputs that are dust."""
        return [n for n, txout in enumerate(txouts) if unpack_value(txout)[0] < self.dust_limit(txout)]

    def scan(self, txouts: Sequence[bytes]) -> OutputScan:
        """Look over the outputs once; where standardness is required, up to the first form that has none."""
        p2wpkh, program32, p2pkh, p2sh = self._limits
        sigops = 0
        dust: list[int] = []
        data_left = self._data_bytes
        for n, txout in enumerate(txouts):
            size, head = len(txout), txout[8:11]
            if size == _P2WPKH_SIZE and head == _P2WPKH:
                limit = p2wpkh
            elif size == _PROGRAM32_SIZE and head in _PROGRAM32:
                limit = program32
            elif size == _P2PKH_SIZE and txout[8:12] == _P2PKH and txout[32:] == _P2PKH_TAIL:
                limit = p2pkh
                sigops += 1
            elif size == _P2SH_SIZE and head == _P2SH and txout[31] == _P2SH_TAIL:
                limit = p2sh
            elif self._standard:
                script = txout_script(txout)
                reason, more, data = self._judge(script, data_left)
                if reason:
                    return OutputScan(reason, 0, [])
                sigops += more
                data_left -= data
                limit = self.dust_limit(txout)
            else:
                sigops += count_sigops(txout_script(txout), False)
                limit = self.dust_limit(txout)
            if unpack_value(txout)[0] < limit:
                dust.append(n)
        return OutputScan("", sigops, dust)

    def _judge(self, script: bytes, data_left: int) -> tuple[str, int, int]:
        """The reason against a script_pubkey ("" for none), its legacy sigops, and the bytes of data it carries."""
        form = script_type(script)
        if form == "nonstandard":
            return "scriptpubkey", 0, 0
        if form == "nulldata":
            return "datacarrier" if len(script) > data_left else "", 0, len(script)
        if form == "multisig":
            found = match_multisig(script)
            if found is None or len(found[1]) > MAX_BARE_MULTISIG_KEYS:
                return "scriptpubkey", 0, 0
            return "" if self._bare_multisig else "bare-multisig", MAX_PUBKEYS_PER_MULTISIG, 0
        return "", int(form in ("pubkey", "pubkeyhash")), 0


def standard_reason(tx: Tx, weight: int) -> str:
    """Why a transaction is not standard without a look at its outputs, "" for nothing; the first reason as in Core."""
    if not 1 <= tx.version <= MAX_STANDARD_VERSION:
        return "version"
    if weight > MAX_STANDARD_TX_WEIGHT:
        return "tx-size"
    for script_sig in tx.script_sigs:
        if script_sig:
            if len(script_sig) > MAX_STANDARD_SCRIPT_SIG:
                return "scriptsig-size"
            if not is_push_only(script_sig):
                return "scriptsig-not-pushonly"
    return ""
