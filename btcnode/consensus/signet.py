"""BIP325: on signet a block carries a solution, a signature by the network's challenge script.

The solution is a push in the coinbase's witness commitment. It signs a virtual transaction that commits to the block
with that push taken out.
"""

from __future__ import annotations

from btcnode.consensus.commitment import commitment_index
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import make_txout, txout_script, txout_value
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.flags import VERIFY_DERSIG, VERIFY_NULLDUMMY, VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.scriptparse import BAD_OP, iter_ops, push_data
from btcnode.script.verify import verify_input
from btcnode.tuples import NamedTuple

SIGNET_HEADER = b"\xec\xc7\xda\xa2"  # begins the push that holds the solution
SIGNET_FLAGS = VERIFY_P2SH | VERIFY_WITNESS | VERIFY_DERSIG | VERIFY_NULLDUMMY


class SignetTxs(NamedTuple):
    """The two virtual transactions; ``to_sign`` spends the only output of ``to_spend``, the challenge."""

    to_spend: Tx
    to_sign: Tx


def extract_solution(commitment_script: bytes) -> tuple[bytes, bytes | None]:
    """Cut the solution out of a witness commitment: ``(script without it, solution)``.

    The first push that begins with the header and has data behind it counts; the header stays. Without one the
    script comes back as it is, with None (a trivial challenge needs no solution).
    """
    parts: list[bytes] = []
    solution: bytes | None = None
    for op, data in iter_ops(commitment_script):
        if op == BAD_OP:
            break
        if not data:
            parts.append(bytes((op,)))
            continue
        if solution is None and len(data) > len(SIGNET_HEADER) and data.startswith(SIGNET_HEADER):
            solution = data[len(SIGNET_HEADER) :]
            data = SIGNET_HEADER
        parts.append(push_data(data))
    if solution is None:
        return commitment_script, None
    return b"".join(parts), solution


def _parse_solution(solution: bytes) -> tuple[bytes, list[bytes]]:
    """The script_sig and the witness stack of a solution; raises DecodeError, also for bytes left over."""
    items: list[bytes] = []
    size, pos = read_compact_size(solution, 0)
    script_sig = solution[pos : pos + size]
    pos += size
    count, pos = read_compact_size(solution, pos)
    for _ in range(count):
        size, pos = read_compact_size(solution, pos)
        items.append(solution[pos : pos + size])
        pos += size
    if pos != len(solution):
        raise DecodeError("signet solution is truncated or has bytes left over")
    return script_sig, items


def signet_transactions(block: ParsedBlock, challenge: bytes) -> SignetTxs | None:
    """What a block's solution signs; None when the block has no commitment or a malformed solution."""
    position = commitment_index(block)
    if position < 0:
        return None
    coinbase = block.tx(0)
    txout = coinbase.txouts[position]
    script, solution = extract_solution(txout_script(txout))
    script_sig, stack = b"", list[bytes]()
    if solution is not None:
        try:
            script_sig, stack = _parse_solution(solution)
        except DecodeError:
            return None
    txouts = list(coinbase.txouts)
    txouts[position] = make_txout(txout_value(txout), script)
    stripped = Tx(
        coinbase.version, coinbase.prevouts, coinbase.script_sigs, coinbase.sequences, txouts, [], coinbase.lock_time
    )
    root, _ = merkle_root([stripped.txid, *block.txids[1:]])
    header = block.raw[:36] + root + block.raw[68:72]  # version, parent, root, time
    to_spend = Tx(0, [NULL_OUTPOINT], [b"\x00" + push_data(header)], [0], [make_txout(0, challenge)])
    to_sign = Tx(0, [to_spend.txid + bytes(4)], [script_sig], [0], [make_txout(0, b"\x6a")], [stack])
    return SignetTxs(to_spend, to_sign)


def check_signet_solution(block: ParsedBlock, params: NetworkParams) -> bool:
    """Whether the block is signed as the network's challenge demands; genesis needs no signature."""
    if block.hash == params.genesis_hash:
        return True
    if params.signet_challenge is None:
        raise ValueError(f"{params.name} has no signet challenge")
    txs = signet_transactions(block, params.signet_challenge)
    if txs is None:
        return False
    return verify_input(txs.to_sign, 0, txs.to_spend.txouts, SIGNET_FLAGS) is None
