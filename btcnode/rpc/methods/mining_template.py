"""getblocktemplate: BIP22, BIP23 and BIP145."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.consensus.deployments import ThresholdState
from btcnode.consensus.pow import bits_to_target, next_bits
from btcnode.errors import DecodeError
from btcnode.mining.assembler import minimum_time
from btcnode.mining.templates import TemplateTx
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.declare import MUST, Hex, Like, Named, Time, When, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.lookup import parse_hash, parse_hex_or_none, uint256_hex
from btcnode.rpc.methods.mining import refusing_templates
from btcnode.rpc.room import aside, beside
from btcnode.rpc.transactions import expect
from btcnode.services.parts import NodeParts
from btcnode.settings.kinds import leading_number

MOST_DRAFTS = 3  # until a template is made on the loop: the tip was another one each time
FIRST_WAIT = 60.0  # seconds until a long poll looks at the mempool for the first time, and then again and again
NEXT_WAIT = 10.0
MAX_SIGOPS_COST = 80_000
MAX_SIZE = 4_000_000
OPTIONAL_DEPLOYMENTS = ("testdummy",)  # a miner need not know their rules


class TemplateRequest(TypedDict):
    """What is asked for, as BIP22, BIP23 and BIP145 have it."""

    mode: Annotated[NotRequired[Any], '"template", "proposal" or left out', Like(str)]
    capabilities: Annotated[
        NotRequired[Any], "What the client supports", Like(Items[Annotated[str, Named("str"), "A capability"]])
    ]
    rules: Annotated[
        NotRequired[Any],
        "Softforks that the client supports",
        MUST,
        Like(
            Items[Annotated[str, Named("segwit"), "Must be among them", MUST] | Annotated[str, Named("str"), "Others"]]
        ),
    ]
    longpollid: Annotated[NotRequired[Any], "Answer only when this template is out of date", Like(str)]
    data: Annotated[NotRequired[Any], "The block of a proposal", Like(Hex)]


class WeightLimit(TypedDict):
    """The limit that segwit brought."""

    weightlimit: Annotated[NotRequired[int], "Most weight"]


class SignetChallenge(TypedDict):
    """What signets have."""

    signet_challenge: Annotated[NotRequired[Hex], "On signets"]


class BlockTemplate(TypedDict):
    """A block to be mined."""

    version: Annotated[int, "Version of the block"]
    rules: Annotated[list[str], "Rules in force"]
    vbavailable: Annotated[dict[str, Annotated[int, Named("rulename"), "Bit"]], "Deployments to signal for"]
    capabilities: Annotated[list[str], "What the server supports"]
    vbrequired: Annotated[int, "Bits that must be signalled"]
    previousblockhash: Annotated[str, "The parent"]
    transactions: Annotated[list[TemplateTx], "Without the coinbase"]
    coinbaseaux: Annotated[dict[str, Annotated[Hex, Named("key")]], "For the coinbase's script"]
    coinbasevalue: Annotated[int, "Subsidy and fees, satoshi"]
    longpollid: Annotated[str, "Name of this template"]
    target: Annotated[str, "What the hash must not be above"]
    mintime: Annotated[Time, "Earliest time"]
    mutable: Annotated[list[str], "What may be changed"]
    noncerange: Annotated[Hex, "Range of nonces"]
    sigoplimit: Annotated[int, "Most sigops"]
    sizelimit: Annotated[int, "Most bytes"]
    weightlimit: Annotated[NotRequired[int], "Most weight"]
    curtime: Annotated[Time, "Time now"]
    bits: Annotated[str, "Compact target"]
    height: Annotated[int, "Height of the block"]
    signet_challenge: Annotated[NotRequired[Hex], "On signets"]
    default_witness_commitment: Annotated[NotRequired[Hex], "Script of the commitment's output"]


@rpc("mining", examples=(({"rules": ["segwit"]},),), waits=True, heavy=True)
async def getblocktemplate(
    node: NodeParts, template_request: Annotated[Lenient[TemplateRequest], "What is asked for"]
) -> (
    Annotated[None, When("If the proposal was accepted with mode=='proposal'")]
    | Annotated[str, "BIP22 reason", When("If the proposal was not accepted with mode=='proposal'")]
    | Annotated[BlockTemplate, When("Otherwise")]
):
    """A template for a block on top of the chain, or the verdict on a proposed block."""
    request = template_request.read()
    mode = request.get("mode")
    if mode is not None and type_name(mode) != "string":
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid mode")
    if mode == "proposal":
        return await _judge(node, request.get("data"))
    wanted = request.get("rules")
    rules = await aside(lambda: _strings(wanted)) if isinstance(wanted, list) else set()
    if mode not in (None, "template"):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid mode")
    if not node.params.is_test_chain:
        if not node.peers.connected():
            raise RpcError(RpcCode.CLIENT_NOT_CONNECTED, "btcnode is not connected!")
        if node.chain.is_initial_block_download():
            text = "btcnode is in initial sync and waiting for blocks..."
            raise RpcError(RpcCode.CLIENT_IN_INITIAL_DOWNLOAD, text)
    if "longpollid" in request:
        await _wait(node, request["longpollid"])
    _check_rules(node, rules)
    await node.submissions.at_rest()
    await _prepare(node)
    return _answer(node, rules)


def _strings(values: list[Any]) -> set[str]:
    """Each once; raises RpcError when one is no string."""
    return {str(expect(value, "string")) for value in values}


async def _judge(node: NodeParts, data: Any) -> str | None:
    """A proposal: None, or why the block would not be valid."""
    if type_name(data) != "string":
        raise RpcError(RpcCode.TYPE_ERROR, "Missing data String key for proposal")
    try:
        block = await aside(lambda: parse_block(parse_hex_or_none(data) or b"", exact=False))
    except DecodeError:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Block decode failed") from None
    known = node.chain.tree.find(BlockHash(block.hash))
    if known >= 0:
        status = node.chain.block_status(known)
        if status.scripts_valid and known:  # of the genesis block Core runs none
            return "duplicate"
        return "duplicate-invalid" if status.failed else "duplicate-inconclusive"
    violation = await node.chain.check_proposal(block)
    return None if violation is None else violation.code


async def _wait(node: NodeParts, name: Any) -> None:
    """BIP22's long poll: until the tip is another one, or, after a while, the mempool."""
    if type_name(name) == "string":
        tip_hash = parse_hash(name[:64], "longpollid")
        version = leading_number(name[64:]) % 2**32
    else:
        tip_hash, version = node.chain.tree.hash(node.chain.tip()), node.templates.last_version
    wait = FIRST_WAIT
    announced = node.chain.announced
    while node.chain.tree.hash(announced.tip) == tip_hash:
        tip = announced.tip
        await node.chain.wait_tip_changed(tip, wait)
        if node.chain.stopping():
            raise RpcError(RpcCode.CLIENT_NOT_CONNECTED, "Shutting down")
        if announced.tip == tip and node.mempool.version != version:
            return
        wait = NEXT_WAIT
        await asyncio.sleep(0)


def _check_rules(node: NodeParts, rules: set[str]) -> None:
    if node.params.signet_challenge is not None and "signet" not in rules:
        text = 'getblocktemplate must be called with the signet rule set (call with {"rules": ["segwit", "signet"]})'
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    if "segwit" not in rules:
        text = 'getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})'
        raise RpcError(RpcCode.INVALID_PARAMETER, text)


def _signals(node: NodeParts, tip: int, known: set[str], rules: list[str]) -> tuple[int, dict[str, int]]:
    """Version of the block and deployments to signal for; adds to ``rules`` those that are in force."""
    version, available = node.chain.version_bits.block_version(tip), {}
    for deployment in node.params.deployments:
        state = node.chain.version_bits.state_after(tip, deployment.name)
        optional = deployment.name in OPTIONAL_DEPLOYMENTS
        shown = deployment.name if optional else f"!{deployment.name}"
        mask = 1 << deployment.bit
        if state in (ThresholdState.STARTED, ThresholdState.LOCKED_IN):
            available[shown] = deployment.bit
            if state is ThresholdState.LOCKED_IN:
                version |= mask
            if not optional and deployment.name not in known:
                version &= ~mask
        elif state is ThresholdState.ACTIVE:
            if deployment.name == "taproot":
                continue  # among the rules anyway
            rules.append(shown)
            if not optional and deployment.name not in known:
                text = f"Support for '{deployment.name}' rule requires explicit client support"
                raise RpcError(RpcCode.INVALID_PARAMETER, text)
    return version, available


async def _prepare(node: NodeParts) -> None:
    """Have a template of thousands of transactions made beside the loop.

    What then still is to be done on the loop (after a new tip once more, or where even the best chunks of a large pool
    do not say what is in a block) is little, or rare.
    """
    maker, tree = node.templates, node.chain.tree
    async with maker.making:
        for _ in range(MOST_DRAFTS):
            draft = maker.draft(node.mempool, tree, node.chain.tip(), node.clock.now())
            if draft is None or not draft.choice.is_large:
                return
            made = await beside(draft.make)
            if made is None:
                return
            if draft.tip == node.chain.tip():
                with refusing_templates():
                    maker.keep(made)
                return


def _answer(node: NodeParts, known: set[str]) -> BlockTemplate:
    tree, tip, params, now = node.chain.tree, node.chain.tip(), node.params, node.clock.now()
    with refusing_templates():
        template = node.templates.template(node.mempool, tree, tip, now)
    earliest = minimum_time(tree, tip, params)
    time = max(now, earliest)
    bits = next_bits(tree, tip, time, params)
    segwit = template.height >= params.segwit_height
    rules = ["csv"]
    if segwit:
        rules += ["!segwit", "taproot"]
    if params.signet_challenge is not None:
        rules.append("!signet")
    version, available = _signals(node, tip, known, rules)
    if node.templates.version is not None:
        version = node.templates.version
    weight: WeightLimit = {"weightlimit": MAX_SIZE} if segwit else {}
    challenge = params.signet_challenge
    signet: SignetChallenge = {} if challenge is None else {"signet_challenge": challenge.hex()}
    return {
        "capabilities": ["proposal"],
        "version": version,
        "rules": rules,
        "vbavailable": available,
        "vbrequired": 0,
        "previousblockhash": to_display(tree.hash(tip)),
        "transactions": template.transactions,
        "coinbaseaux": {},
        "coinbasevalue": template.value,
        "longpollid": f"{to_display(tree.hash(tip))}{template.version}",
        "target": uint256_hex(bits_to_target(bits)),
        "mintime": earliest,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": MAX_SIGOPS_COST if segwit else MAX_SIGOPS_COST // 4,
        "sizelimit": MAX_SIZE if segwit else MAX_SIZE // 4,
        **weight,
        "curtime": time,
        "bits": f"{bits:08x}",
        "height": template.height,
        **signet,
        "default_witness_commitment": template.commitment.hex(),
    }
