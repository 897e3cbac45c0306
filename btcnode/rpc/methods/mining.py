"""Making blocks and handing them in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, NoReturn, NotRequired, TypedDict

from btcnode.consensus.pow import bits_to_target, next_bits
from btcnode.errors import DecodeError, RuleViolation
from btcnode.mining.assembler import EXTRA_NONCE, NONCES, Candidate, assemble, grind, with_coinbase_witness
from btcnode.mining.signet import solve_challenge
from btcnode.mining.templates import FEW_CHUNKS, log_new_block
from btcnode.primitives.addresses import script_for_address
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import Bits, Coins, Hex, Hint, Named, Real, When, rpc
from btcnode.rpc.deprecated import ShownWarnings, shown_warnings
from btcnode.rpc.descriptors import script_of_descriptor
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.jsonvalue import amount, double
from btcnode.rpc.lookup import difficulty, is_large, parse_hex_or_none, uint256_hex
from btcnode.rpc.room import aside, beside, in_slices
from btcnode.services.parts import NodeParts

DEFAULT_MAX_TRIES = 1_000_000
TRIES_AT_ONCE = 20_000  # some hundredths of a second


def _address_script(node: NodeParts, address: str) -> bytes:
    try:
        return script_for_address(address, node.params)
    except DecodeError:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Error: Invalid address") from None


@contextmanager
def refusing_templates() -> Iterator[None]:
    """Turns the RuleViolation of a template that cannot be into the RpcError that tells it."""
    try:
        yield
    except RuleViolation as violation:
        raise RpcError(RpcCode.MISC_ERROR, f"TestBlockValidity failed: {violation}") from None


async def _make_block(
    node: NodeParts,
    script: bytes,
    max_tries: int,
    given: list[Tx] | None = None,
    extra_nonce: bytes = EXTRA_NONCE,
) -> tuple[bytes | None, bytes, int]:
    """A block with the mempool's best, or with what is ``given``: header, bytes and the hashes that failed.

    The header is None when ``max_tries`` hashes find none. Raises RpcError for given transactions that do not fit, and
    on a signet without a key for its challenge.
    """
    await node.submissions.at_rest()
    tip = node.chain.tip()
    candidate = await _candidate(node, tip, script, given, extra_nonce)
    while given is not None:
        raw = candidate.with_header(candidate.header)
        violation = await node.chain.check_proposal(await aside(partial(parse_block, raw)))
        if violation is None:
            break
        if node.chain.tip() == tip:
            raise RpcError(RpcCode.VERIFY_ERROR, f"TestBlockValidity failed: {violation}")
        tip = node.chain.tip()  # another block has come meanwhile: build on that one
        candidate = await _candidate(node, tip, script, given, extra_nonce)
    solved = solve_challenge(candidate, node.params, node.templates.keys)
    if solved is None:
        text = "ProcessNewBlock, block not accepted: bad-signet-blksig (no --signetkey satisfies the challenge)"
        raise RpcError(RpcCode.INTERNAL_ERROR, text)
    header, tries = await _solve(node, solved, max_tries)
    return header, solved.with_header(header) if header is not None else b"", tries


async def _candidate(node: NodeParts, tip: int, script: bytes, given: list[Tx] | None, extra_nonce: bytes) -> Candidate:
    """A block on ``tip``, without its work; raises RpcError when ``-blockversion`` permits none."""
    maker, tree, now = node.templates, node.chain.tree, node.clock.now()
    pool = node.mempool if given is None else None
    height = tree.height(tip) + 1
    choice = maker.choice(pool, height, tree.median_time_past(tip))
    chosen = await beside(choice.make) if choice.is_large else choice.make()
    with refusing_templates():
        if chosen is None:
            chosen = maker.choose(pool, height, tree.median_time_past(tip))
        else:
            maker.note(chosen, height)
    txs = [entry.tx for entry in chosen.entries] if given is None else given
    bits = node.chain.version_bits
    version = bits.block_version(tip) if maker.version is None else maker.version
    assembling = beside if len(txs) > FEW_CHUNKS else aside
    candidate = await assembling(
        lambda: assemble(
            tree, tip, node.params, bits, now, script, txs, chosen.fees, version=version, extra_nonce=extra_nonce
        )
    )
    log_new_block(candidate.txs[0], chosen)
    return candidate


async def _solve(node: NodeParts, candidate: Candidate, max_tries: int) -> tuple[bytes | None, int]:
    """Search a nonce; beside the loop where that takes long, in pieces: others work between them, and it can end."""
    if node.params.mineable:
        return grind(candidate.header, max_tries)
    header, failed = None, 0
    while header is None and failed < min(max_tries, NONCES):
        piece = partial(grind, candidate.header, min(TRIES_AT_ONCE, max_tries - failed), failed)
        header, more = await beside(piece)
        failed += more
    return header, failed if header is not None else max_tries


async def generate_blocks(
    node: NodeParts, script: bytes, count: int, max_tries: int, extra_nonce: Callable[[], bytes] = lambda: EXTRA_NONCE
) -> list[str]:
    """Make and connect ``count`` blocks, or those before ``max_tries`` hashes have failed; returns their hashes.

    As in Core a block is the same as another on the same parent in the same second, unless ``extra_nonce`` tells them
    apart: it is called for each. Raises RpcError when a block is not accepted.
    """
    hashes: list[str] = []
    for _ in range(count):
        header, raw, tries = await _make_block(node, script, max_tries, extra_nonce=extra_nonce())
        max_tries -= tries
        if header is None:
            break
        await _submit(node, raw)
        hashes.append(to_display(header_hash(header)))
    return hashes


@rpc("hidden", examples=((11, "myaddress"),))
async def generatetoaddress(
    node: NodeParts,
    nblocks: Annotated[int, "How many blocks"],
    address: Annotated[str, "Where the reward goes"],
    maxtries: Annotated[int, "Hashes to try"] = DEFAULT_MAX_TRIES,
) -> Annotated[list[Annotated[Hex, "Block hash"]], "The blocks made"]:
    """Make blocks at once and pay their reward to an address."""
    tries = maxtries % (1 << 64)  # as in Core, where a negative number is a large one
    return await generate_blocks(node, _address_script(node, address), nblocks, tries)


@rpc("hidden", examples=((11, "raw(51)"),))
async def generatetodescriptor(
    node: NodeParts,
    num_blocks: Annotated[int, "How many blocks"],
    descriptor: Annotated[str, "Where the reward goes"],
    maxtries: Annotated[int, "Hashes to try", Bits(-64)] = DEFAULT_MAX_TRIES,
) -> Annotated[list[Annotated[Hex, "Block hash"]], "The blocks made"]:
    """Make blocks at once and pay their reward to a descriptor."""
    try:
        script = script_of_descriptor(descriptor, node.params)
    except DecodeError as error:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, str(error)) from None
    return await generate_blocks(node, script, num_blocks, maxtries)


async def _submit(node: NodeParts, raw: bytes) -> None:
    """Hand a block in that was made here. When another one was faster it is a valid one beside the chain."""
    rejected = await node.chain.submit_block(raw)
    if rejected is not None and rejected not in ("duplicate", "inconclusive"):
        raise RpcError(RpcCode.INTERNAL_ERROR, "ProcessNewBlock, block not accepted")


async def _given_transactions(node: NodeParts, texts: Iterable[str]) -> list[Tx]:
    """The transactions, and those of the mempool that are named; raises RpcError for the first that is neither."""
    txs = []
    async for given in in_slices(await aside(lambda: list(_read_transactions(texts)))):
        if isinstance(given, RpcError):
            raise given
        if isinstance(given, Tx):
            txs.append(given)
            continue
        text, txid = given
        entry = node.mempool.get(txid)
        if entry is None:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"Transaction {text} not in mempool.")
        txs.append(entry.tx)
    return txs


def _read_transactions(texts: Iterable[str]) -> Iterator[Tx | tuple[str, bytes] | RpcError]:
    """Transactions, and txids with their texts, up to the first text that is neither: what is wrong with it."""
    try:
        for text in texts:
            raw = parse_hex_or_none(text)
            try:
                yield (text, raw[::-1]) if raw is not None and len(raw) == 32 else Tx.parse(raw or b"")
            except DecodeError:
                why = f"Transaction decode failed for {text}. Make sure the tx has at least one input."
                yield RpcError(RpcCode.DESERIALIZATION_ERROR, why)
                return
    except RpcError as error:  # an item of another type
        yield error


class GeneratedBlock(TypedDict):
    """A block made of given transactions."""

    hash: Annotated[Hex, "Block hash"]
    hex: Annotated[NotRequired[Hex], "The block, when it is not connected"]


@rpc("hidden", examples=(("myaddress", ["rawtx"]),))
async def generateblock(
    node: NodeParts,
    output: Annotated[str, "Address or descriptor for the reward"],
    transactions: Annotated[Items[Annotated[Hex, Named("rawtx/txid")]], "Raw transactions in hex"],
    submit: Annotated[bool, "Connect the block (true), or return it (false)"] = True,
) -> GeneratedBlock:
    """Make a block of given transactions, in their order. Their fees are not collected."""
    try:
        script = script_of_descriptor(output, node.params)
    except DecodeError:
        try:
            script = script_for_address(output, node.params)
        except DecodeError:
            text = "Error: Invalid address or descriptor"
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text) from None
    txs = await _given_transactions(node, transactions)
    header, raw, _ = await _make_block(node, script, DEFAULT_MAX_TRIES, txs)
    if header is None:
        raise RpcError(RpcCode.MISC_ERROR, "Failed to make block.")
    block_hash = to_display(header_hash(header))
    if not submit:
        return {"hash": block_hash, "hex": raw.hex()}
    await _submit(node, raw)
    return {"hash": block_hash}


def _given_block(text: str) -> ParsedBlock:
    """A block in hex; raises DecodeError. What comes after it is ignored, as in Core."""
    return parse_block(parse_hex_or_none(text) or b"", exact=False)


@rpc("mining", examples=(("mydata",),))
async def submitblock(
    node: NodeParts,
    hexdata: Annotated[Hex, "The block"],
    dummy: Annotated[str | None, "Ignored", Hint("ignored")] = None,
) -> Annotated[None, When("If the block was accepted")] | Annotated[str, "As in BIP22", When("Otherwise")]:
    """Hand in a block. The answer is null when it was connected, else the reason (BIP22)."""
    try:
        block = await asyncio.to_thread(_given_block, hexdata) if is_large(hexdata) else _given_block(hexdata)
    except DecodeError:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Block decode failed") from None
    raw, tree = block.raw, node.chain.tree
    prev = tree.find(block.prev_hash)
    if block.n_tx and prev >= 0 and tree.height(prev) + 1 >= node.params.segwit_height:
        raw = with_coinbase_witness(block)
    return await node.chain.submit_block(raw)


@rpc("mining", examples=(("aabbcc",),))
def submitheader(node: NodeParts, hexdata: Annotated[Hex, "The header"]) -> None:
    """Hand in a block header, as a candidate for the best chain. An error tells why it is invalid."""
    raw = parse_hex_or_none(hexdata)
    if raw is None or len(raw) < HEADER_SIZE:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Block header decode failed")
    raw = raw[:HEADER_SIZE]
    prev = raw[4:36]
    if node.chain.tree.find(BlockHash(prev)) < 0:
        raise RpcError(RpcCode.VERIFY_ERROR, f"Must submit previous header ({to_display(prev)}) first")
    try:
        node.chain.submit_header(raw)
    except RuleViolation as error:
        raise RpcError(RpcCode.VERIFY_ERROR, error.code) from error


def _network_hash_rate(node: NodeParts, count: int, height: int) -> float:
    """Hashes per second over ``count`` blocks (-1: since the target changed) up to ``height`` (-1: the tip)."""
    tree, tip = node.chain.tree, node.chain.tip()
    if count < -1 or count == 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid nblocks. Must be a positive number or -1.")
    if height < -1 or height > tree.height(tip):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Block does not exist at specified height")
    last = tip if height < 0 else tree.ancestor(tip, height)
    top = tree.height(last)
    if top == 0:
        return 0.0
    if count == -1:
        count = top % node.params.difficulty_adjustment_interval + 1
    first, index = last, last
    earliest = latest = tree.time(last)
    for _ in range(min(count, top)):
        first = index = tree.prev(index)
        earliest, latest = min(earliest, tree.time(index)), max(latest, tree.time(index))
    if earliest == latest:
        return 0.0
    return float(tree.chainwork(last) - tree.chainwork(first)) / (latest - earliest)


@rpc("mining")
def getnetworkhashps(
    node: NodeParts,
    nblocks: Annotated[int, "Blocks to look at, -1 for those since the target changed"] = 120,
    height: Annotated[int, "Height at which to look, -1 for the tip"] = -1,
) -> Annotated[Real, "Hashes per second"]:
    """Estimate of the network's hashes per second."""
    return double(_network_hash_rate(node, nblocks, height))


class NextBlock(TypedDict):
    """What the next block must have."""

    height: Annotated[int, "Its height"]
    bits: Annotated[Hex, "Its target in compact form"]
    difficulty: Annotated[Real, "Its difficulty"]
    target: Annotated[Hex, "Its target"]


class LastChoice(TypedDict):
    """The newest block or template made here."""

    currentblockweight: Annotated[NotRequired[int], "Weight of the newest block or template made here"]
    currentblocktx: Annotated[NotRequired[int], "Its transactions, without the coinbase"]


def _last_choice(node: NodeParts) -> LastChoice:
    choice = node.templates.last_choice
    return {} if choice is None else {"currentblockweight": choice[0], "currentblocktx": choice[1]}


class SignetPart(TypedDict):
    """What only signets have."""

    signet_challenge: Annotated[NotRequired[Hex], "Script that signet blocks satisfy"]


class MiningInfo(TypedDict):
    """The tip, the mempool and the next block, for miners."""

    blocks: Annotated[int, "Height of the tip"]
    currentblockweight: Annotated[NotRequired[int], "Weight of the newest block or template made here"]
    currentblocktx: Annotated[NotRequired[int], "Its transactions, without the coinbase"]
    bits: Annotated[Hex, "Target of the tip in compact form"]
    difficulty: Annotated[Real, "Difficulty of the tip"]
    target: Annotated[Hex, "Target of the tip"]
    networkhashps: Annotated[Real, "Hashes per second of the network"]
    pooledtx: Annotated[int, "Unconfirmed transactions"]
    blockmintxfee: Annotated[Coins, "Least feerate of a transaction in a block, BTC/kvB"]
    chain: Annotated[str, "Network"]
    signet_challenge: Annotated[NotRequired[Hex], "Script that signet blocks satisfy"]
    next: Annotated[NextBlock, "The next block"]
    warnings: ShownWarnings


@rpc("mining")
def getmininginfo(node: NodeParts) -> MiningInfo:
    """What the next block must look like."""
    tree, tip, params = node.chain.tree, node.chain.tip(), node.params
    bits = tree.bits(tip)
    bits_next = next_bits(tree, tip, max(node.clock.now(), tree.median_time_past(tip) + 1), params)
    signet: SignetPart = {}
    if params.signet_challenge is not None:
        signet["signet_challenge"] = params.signet_challenge.hex()
    return {
        "blocks": tree.height(tip),
        **_last_choice(node),
        "bits": f"{bits:08x}",
        "difficulty": double(difficulty(bits)),
        "target": uint256_hex(bits_to_target(bits)),
        "networkhashps": double(_network_hash_rate(node, 120, -1)),
        "pooledtx": len(node.mempool),
        "blockmintxfee": amount(node.templates.limits.min_feerate),
        "chain": params.chain,
        "next": {
            "height": tree.height(tip) + 1,
            "bits": f"{bits_next:08x}",
            "difficulty": double(difficulty(bits_next)),
            "target": uint256_hex(bits_to_target(bits_next)),
        },
        **signet,
        "warnings": shown_warnings(node),
    }


@rpc("hidden", examples=())
def generate(node: NodeParts) -> NoReturn:
    """has been replaced by the -generate cli option. Refer to -help for more information."""
    raise RpcError(RpcCode.METHOD_NOT_FOUND, generate.help())
