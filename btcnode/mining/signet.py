"""Blocks for a signet: the solution that its challenge asks for (BIP325), signed with the operator's keys."""

from __future__ import annotations

from btcnode.consensus.commitment import commitment_index
from btcnode.consensus.signet import SIGNET_HEADER, check_signet_solution, signet_transactions
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sign_transaction import sign_transaction
from btcnode.mining.assembler import Candidate
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout, txout_script, txout_value
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data

_EMPTY_SOLUTION = b"\x00\x00"  # no script_sig, no witness
_DEFAULT_SIGHASH = 0  # for taproot; ECDSA takes it for ALL


def with_solution(candidate: Candidate, solution: bytes) -> Candidate:
    """The block with a solution in its coinbase's witness commitment; raises ValueError when there is none.

    ``solution`` is a serialised script_sig and witness stack. It is put behind what the commitment's script has.
    """
    block = parse_block(candidate.with_header(candidate.header))
    position = commitment_index(block)
    if position < 0:
        raise ValueError("the block has no witness commitment")
    coinbase = candidate.txs[0]
    txouts = list(coinbase.txouts)
    script = txout_script(txouts[position]) + push_data(SIGNET_HEADER + solution)
    txouts[position] = make_txout(txout_value(txouts[position]), script)
    signed = Tx(
        coinbase.version,
        coinbase.prevouts,
        coinbase.script_sigs,
        coinbase.sequences,
        txouts,
        coinbase.witnesses,
        coinbase.lock_time,
    )
    txs = (signed, *candidate.txs[1:])
    root, _ = merkle_root([tx.txid for tx in txs])
    return Candidate(candidate.header[:36] + root + candidate.header[68:], txs)


def solve_challenge(candidate: Candidate, params: NetworkParams, keys: SigningProvider | None) -> Candidate | None:
    """The block as the network's challenge wants it, before the proof of work, which the signature does not cover.

    None when ``keys``, if there are any, cannot satisfy the challenge. A challenge that anybody satisfies leaves the
    block as it is.
    """
    challenge = params.signet_challenge
    if challenge is None:
        return candidate
    block = parse_block(candidate.with_header(candidate.header))
    if check_signet_solution(block, params):
        return candidate
    if commitment_index(block) < 0:
        return None
    draft = with_solution(candidate, _EMPTY_SOLUTION)
    virtual = signet_transactions(parse_block(draft.with_header(draft.header)), challenge)
    if virtual is None:
        return None
    spent = {virtual.to_sign.prevouts[0]: virtual.to_spend.txouts[0]}
    signer = keys if keys is not None else SigningProvider()
    signed, errors = sign_transaction(virtual.to_sign, signer, spent, _DEFAULT_SIGHASH)
    if errors:
        return None
    script_sig, stack = signed.script_sigs[0], signed.witnesses[0] if signed.witnesses else []
    items = b"".join(compact_size(len(item)) + item for item in stack)
    return with_solution(candidate, compact_size(len(script_sig)) + script_sig + compact_size(len(stack)) + items)
