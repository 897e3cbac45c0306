"""``btcnode txoutproof verify``: a proof that transactions are in a block, verified without a node.

The proof has the block's header, whose work is checked; that the block is one of the best chain has to be known from
elsewhere: its hash, headers with it among them, or the merkle root of its transactions.
"""

from __future__ import annotations

from math import log2

from btcnode.cli.given_hex import given_bytes
from btcnode.consensus.headers import check_header
from btcnode.consensus.pow import block_work
from btcnode.errors import BtcnodeError, DecodeError, ProofError, RuleViolation
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.hashes import BlockHash, from_display, to_display
from btcnode.primitives.header import HEADER_SIZE, Header
from btcnode.primitives.merkle_proof import read_places
from btcnode.record import record
from btcnode.wire.messages import MerkleBlock


@record
class Known:
    """What is known of the block from elsewhere, empty for nothing: hash and merkle root as people write them.

    ``headers``: hex or a file with it, 80 bytes each, the proof's block among them. ``transactions``: how many the
    block has, 0 for unknown: then whoever mined a transaction of 64 bytes into it could pass two hashes for others.
    """

    block: str = ""
    headers: str = ""
    root: str = ""
    transactions: int = 0


def verified_lines(proof: str, known: Known, network: str) -> list[str]:
    """What a proof proves, in lines; ``proof`` is the answer of gettxoutproof, or the name of a file with it.

    Raises BtcnodeError when it proves nothing.
    """
    params = params_for(network)
    if not (known.block or known.headers or known.root):
        raise BtcnodeError("What is known of the block? Give its --block, --root, or --headers with it")
    message, places = _read(given_bytes(proof))
    block_hash = _worked(message.header, params, "the proof's header")
    _check_known(message, block_hash, known)
    lines = [f"{to_display(txid)} is transaction {place} of the block" for txid, place in places.items()]
    doubt, time = "" if known.transactions else " as the proof says", Header.parse(message.header).time
    lines.append(f"block {to_display(block_hash)} of {message.total_txs} transactions{doubt}, time {time}")
    if known.headers:
        lines.append(_buried(block_hash, _headers(known.headers, params)))
    return lines


def _read(data: bytes) -> tuple[MerkleBlock, dict[bytes, int]]:
    """The proof, and the transactions with their places that its header proves; raises BtcnodeError."""
    try:
        message = MerkleBlock.decode(data)
        if message.encode() != data:
            raise DecodeError("there are bytes behind it")
        root, places = read_places(message.total_txs, message.hashes, message.flags)
    except DecodeError as error:
        raise BtcnodeError(f"That is no proof of transactions: {error}") from None
    if root != Header.parse(message.header).merkle_root:
        raise ProofError("The proof does not lead to the merkle root of its header")
    if not places:
        raise ProofError("The proof is about no transaction")
    return message, places


def _worked(raw: bytes, params: NetworkParams, what: str) -> BlockHash:
    """The hash of a header that has the work it claims; raises ProofError."""
    try:
        return check_header(raw, params)
    except RuleViolation:
        raise ProofError(f"There is not the work in {what} that it claims, or not enough for this network") from None


def _check_known(message: MerkleBlock, block_hash: BlockHash, known: Known) -> None:
    """Hold the proof against what is known of its block; raises BtcnodeError."""
    if known.block and _hash(known.block, "--block") != block_hash:
        raise ProofError(f"The proof is about block {to_display(block_hash)}, not about the one that is known")
    if known.root and _hash(known.root, "--root") != Header.parse(message.header).merkle_root:
        raise ProofError("The proof's header has another merkle root than the one that is known")
    if known.transactions and known.transactions != message.total_txs:
        raise ProofError(f"The proof is about a block of {message.total_txs} transactions, not {known.transactions}")


def _hash(text: str, option: str) -> bytes:
    try:
        return from_display(text)
    except DecodeError as error:
        raise BtcnodeError(f"{option}: {error}") from None


def _headers(text: str, params: NetworkParams) -> list[tuple[BlockHash, int]]:
    """Hash and work of each of the headers, which follow one another; raises BtcnodeError."""
    data = given_bytes(text)
    if not data or len(data) % HEADER_SIZE:
        raise BtcnodeError(f"--headers has {len(data)} bytes: each header has {HEADER_SIZE}")
    raws = [data[at : at + HEADER_SIZE] for at in range(0, len(data), HEADER_SIZE)]
    hashes = [_worked(raw, params, f"header {n} of --headers") for n, raw in enumerate(raws)]
    for n, raw in enumerate(raws[1:], 1):
        if Header.parse(raw).prev_hash != hashes[n - 1]:
            raise ProofError(f"Header {n} of --headers does not follow the one before it")
    return [(name, block_work(Header.parse(raw).bits)) for name, raw in zip(hashes, raws, strict=True)]


def _buried(block_hash: BlockHash, headers: list[tuple[BlockHash, int]]) -> str:
    """How deep the block lies under the headers; raises ProofError when it is not one of them."""
    hashes = [name for name, _ in headers]
    if block_hash not in hashes:
        raise ProofError(f"The proof's block {to_display(block_hash)} is none of --headers")
    at = hashes.index(block_hash)
    work = sum(one for _, one in headers[at:])
    return f"{len(headers) - at - 1} headers on top of it; it and they took 2^{log2(work):.1f} hashes"
