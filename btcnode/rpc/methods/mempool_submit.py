"""Handing transactions in, or asking whether they would be taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from btcnode.errors import DecodeError, StorageError
from btcnode.mempool.feerate import fee_at, rate_of
from btcnode.mempool.options import MAX_PACKAGE_COUNT
from btcnode.mempool.packages import is_child_with_parents_tree
from btcnode.mempool.rejection import (
    Accepted,
    AlreadyThere,
    OtherWitness,
    PackageFault,
    PackageResult,
    PackageTxVerdict,
    Rejection,
    TxResult,
)
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.amounts import parse_amount, parse_feerate
from btcnode.rpc.declare import (
    BY_NAME,
    MAY_HOLD_EQUALS,
    NOTHING,
    AnyAmount,
    Coins,
    Default,
    Empty,
    Hex,
    Named,
    Oneline,
    rpc,
)
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import is_large, parse_hex_or_none
from btcnode.rpc.transactions import has_valid_ops
from btcnode.script.scriptparse import is_unspendable
from btcnode.services.file_names import system_name
from btcnode.services.mempool_file import ImportOptions
from btcnode.services.parts import NodeParts
from btcnode.services.submissions import SubmitError

MAX_FEERATE = "0.10"
MaxFeerate = Annotated[AnyAmount, "Most BTC/kvB, 0 for no limit"]
MaxBurn = Annotated[AnyAmount, "Most BTC in outputs that nobody can spend"]
_CODES = {
    "already-confirmed": RpcCode.ALREADY_IN_UTXO_SET,
    "max-fee-exceeded": RpcCode.VERIFY_ERROR,
    "missing-inputs": RpcCode.VERIFY_ERROR,
    "rejected": RpcCode.VERIFY_REJECTED,
    "unreachable": RpcCode.MISC_ERROR,
}


log = logging.getLogger("btcnode.rpc")


def decode(text: str) -> Tx | None:
    """A transaction in hex, None when it is none."""
    raw = parse_hex_or_none(text)
    try:
        return Tx.parse(raw) if raw else None
    except DecodeError:
        return None


async def _decoded(text: str, burn: int | None = None) -> Tx | None:
    """The same, its outputs held against the satoshi that may be burnt, if any are; raises RpcError.

    Beside the loop when it is large; not behind other large requests: it may be in a hurry.
    """
    return await asyncio.to_thread(_examined, text, burn) if is_large(text) else _examined(text, burn)


def _examined(text: str, burn: int | None) -> Tx | None:
    tx = decode(text)
    if tx is not None:
        _ = tx.txid, tx.wtxid  # made here, and known to whoever asks later
        if burn is not None:
            _check_burn(tx, burn)
    return tx


def _check_burn(tx: Tx, limit: int) -> None:
    """Raises RpcError when an output that nobody can spend holds more than ``limit`` satoshi."""
    for txout in tx.txouts:
        script = txout_script(txout)
        value = txout_value(txout)
        if value > limit and (is_unspendable(script) or not has_valid_ops(script)):
            text = "Unspendable output exceeds maximum configured by user (maxburnamount)"
            raise RpcError(RpcCode.VERIFY_ERROR, text)


async def submit(node: NodeParts, hexstring: str, maxfeerate: object, maxburnamount: object) -> str:
    """What ``sendrawtransaction`` does; raises RpcError."""
    burn = parse_amount(maxburnamount)
    tx = await _decoded(hexstring, burn)
    if tx is None:
        text = "TX decode failed. Make sure the tx has at least one input."
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, text)
    try:
        await node.submissions.submit(tx, parse_feerate(maxfeerate))
    except SubmitError as error:
        raise RpcError(_CODES[error.kind], error.text) from None
    return to_display(tx.txid)


@rpc("rawtransactions", examples=(("signedhex",),))
async def sendrawtransaction(
    node: NodeParts,
    hexstring: Annotated[Hex, "The transaction"],
    maxfeerate: MaxFeerate = MAX_FEERATE,
    maxburnamount: MaxBurn = "0.00",
) -> Annotated[Hex, "Transaction id"]:
    """Hand a transaction in: it enters the mempool and is announced to all peers (with -privatebroadcast it is
    sent to a few nodes through Tor or I2P instead).
    """
    return await submit(node, hexstring, maxfeerate, maxburnamount)


def _check_count(texts: Sequence[str]) -> None:
    """Raises RpcError when there are too few or too many transactions for a package."""
    if not 1 <= len(texts) <= MAX_PACKAGE_COUNT:
        text = f"Array must contain between 1 and {MAX_PACKAGE_COUNT} transactions."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)


async def _given(texts: Sequence[str], burn: int | None = None) -> list[Tx]:
    """The transactions, each looked at before the next one; raises RpcError."""
    txs = []
    for text in texts:
        tx = await _decoded(text, burn)
        if tx is None:
            why = f"TX decode failed: {text} Make sure the tx has at least one input."
            raise RpcError(RpcCode.DESERIALIZATION_ERROR, why)
        txs.append(tx)
    return txs


JudgedFees = TypedDict(
    "JudgedFees",
    {
        "base": Annotated[Coins, "Fee"],
        "effective-feerate": Annotated[Coins, "BTC/kvB that it was judged by"],
        "effective-includes": Annotated[list[Annotated[Hex, "Hash with witness"]], "Whose fees and sizes that is"],
    },
)


AcceptanceTest = TypedDict(
    "AcceptanceTest",
    {
        "txid": Annotated[Hex, "Transaction id"],
        "wtxid": Annotated[Hex, "Hash with witness"],
        "package-error": Annotated[NotRequired[str], "What is wrong with the package"],
        "allowed": Annotated[NotRequired[bool], "Whether it would be taken"],
        "vsize": Annotated[NotRequired[int], "Virtual size, if allowed"],
        "fees": Annotated[NotRequired[JudgedFees], "If allowed"],
        "reject-reason": Annotated[NotRequired[str], "If not allowed"],
        "reject-details": Annotated[NotRequired[str], "If not allowed"],
    },
)


@rpc("rawtransactions", examples=((["signedhex"],),))
async def testmempoolaccept(
    node: NodeParts,
    rawtxs: Annotated[Items[Annotated[Hex, Named("rawtx")]], "Transactions in hex"],
    maxfeerate: MaxFeerate = MAX_FEERATE,
) -> Annotated[
    list[AcceptanceTest],
    ("In the order given; a transaction without verdict was not judged, because another one failed"),
]:
    """Whether transactions would be taken into the mempool, one or a package with parents first."""
    _check_count(rawtxs)
    limit = parse_feerate(maxfeerate)
    txs = await _given(rawtxs)
    result = await node.submissions.test_accept(txs)
    problem = result.text if result.fault is PackageFault.POLICY else ""
    answers: list[AcceptanceTest] = []
    stopped = False
    for tx in txs:
        answer: AcceptanceTest = {"txid": to_display(tx.txid), "wtxid": to_display(tx.wtxid)}
        answers.append(answer)
        if problem:
            answer["package-error"] = problem
        verdict = result.transactions.get(tx.wtxid)
        if stopped or verdict is None:
            continue
        if isinstance(verdict, Accepted):
            if limit and verdict.fee > fee_at(limit, verdict.vsize):
                answer["allowed"] = False
                answer["reject-reason"] = "max-fee-exceeded"
                stopped = True
                continue
            answer["allowed"] = True
            answer["vsize"] = verdict.vsize
            answer["fees"] = _fees(verdict)
        elif isinstance(verdict, Rejection):
            missing = verdict.result is TxResult.MISSING_INPUTS
            answer["allowed"] = False
            answer["reject-reason"] = "missing-inputs" if missing else verdict.reason
            if not missing:
                answer["reject-details"] = verdict.text
    return answers


def _fees(verdict: Accepted) -> JudgedFees:
    return {
        "base": amount(verdict.fee),
        "effective-feerate": amount(rate_of(verdict.effective_fee, verdict.effective_vsize)),
        "effective-includes": [to_display(wtxid) for wtxid in verdict.effective_wtxids],
    }


PackageFees = TypedDict(
    "PackageFees",
    {
        "base": Annotated[Coins, "Fee"],
        "effective-feerate": Annotated[NotRequired[Coins], "BTC/kvB that it was judged by"],
        "effective-includes": Annotated[
            NotRequired[list[Annotated[Hex, "Hash with witness"]]], "Whose fees and sizes that is"
        ],
    },
)


class PackageTxId(TypedDict):
    """Which transaction of a package it is."""

    txid: Annotated[Hex, "Transaction id"]


PackageTxVerdictJson = TypedDict(
    "PackageTxVerdictJson",
    {
        "other-wtxid": Annotated[NotRequired[Hex], "The mempool has it with this witness instead"],
        "vsize": Annotated[NotRequired[int], "Virtual size"],
        "fees": Annotated[NotRequired[PackageFees], "Fees"],
        "error": Annotated[NotRequired[str], "Why it was not taken"],
    },
)


class PackageTxAnswer(PackageTxId, PackageTxVerdictJson):
    """A transaction of a package and what became of it."""


PackageAnswer = TypedDict(
    "PackageAnswer",
    {
        "package_msg": Annotated[str, "success, or what is wrong with the package"],
        "tx-results": Annotated[dict[str, Annotated[PackageTxAnswer, Named("wtxid")]], "By hash with witness"],
        "replaced-transactions": Annotated[NotRequired[list[Annotated[Hex, "Transaction id"]]], "What went for it"],
    },
)


@rpc("rawtransactions", examples=((["parenthex", "childhex"],),))
async def submitpackage(
    node: NodeParts,
    package: Annotated[Items[Annotated[Hex, Named("rawtx")]], "Transactions in hex"],
    maxfeerate: MaxFeerate = MAX_FEERATE,
    maxburnamount: MaxBurn = "0.00",
) -> PackageAnswer:
    """Hand a package in: a child with its parents, parents first."""
    _check_count(package)
    limit, burn = parse_feerate(maxfeerate), parse_amount(maxburnamount)
    txs = await _given(package, burn)
    if len(txs) > 1 and not is_child_with_parents_tree(txs):
        text = "package topology disallowed. not child-with-parents or parents depend on each other."
        raise RpcError(RpcCode.VERIFY_ERROR, text)
    result = await node.submissions.submit_package(txs, limit or None)
    return _package_json(txs, result)


def _package_json(txs: Sequence[Tx], result: PackageResult) -> PackageAnswer:
    replaced: dict[str, None] = {}
    answers: dict[str, PackageTxAnswer] = {}
    for tx in txs:
        verdict = result.transactions.get(tx.wtxid)
        answers[to_display(tx.wtxid)] = {"txid": to_display(tx.txid), **_package_tx_json(verdict)}
        if isinstance(verdict, Accepted):
            replaced.update(dict.fromkeys(to_display(old.txid) for old in verdict.replaced))
    return {
        "package_msg": result.text or "success",
        "tx-results": answers,
        "replaced-transactions": list(replaced),
    }


def _package_tx_json(verdict: PackageTxVerdict | None) -> PackageTxVerdictJson:
    if verdict is None:
        return {"error": "package-not-validated"}
    if isinstance(verdict, Rejection):
        return {"error": verdict.text}
    if isinstance(verdict, OtherWitness):
        return {"other-wtxid": to_display(verdict.wtxid)}
    if isinstance(verdict, AlreadyThere):
        return {"vsize": verdict.vsize, "fees": {"base": amount(verdict.fee)}}
    judged = _fees(verdict)
    return {"vsize": verdict.vsize, "fees": {**judged}}


class ImportChoice(TypedDict):
    """What of a mempool file counts."""

    use_current_time: Annotated[bool, "Let them come in now instead of when they did", Default(True)]
    apply_fee_delta_priority: Annotated[bool, "Take over fee deltas", Default(False)]
    apply_unbroadcast_set: Annotated[bool, "Take over what no peer has asked for", Default(False)]


@rpc("blockchain", examples=(("/path/to/mempool.dat",),))
async def importmempool(
    node: NodeParts,
    filepath: Annotated[str, "The file", MAY_HOLD_EQUALS],
    options: Annotated[Lenient[ImportChoice], BY_NAME, Oneline("options")] = NOTHING,
) -> Empty:
    """Take in the transactions of a mempool.dat file."""
    if node.chain.is_initial_block_download():
        text = "Can only import the mempool after the block download and sync is done."
        raise RpcError(RpcCode.CLIENT_IN_INITIAL_DOWNLOAD, text)
    try:
        await node.mempool_file.import_file(Path(system_name(filepath)), ImportOptions(**options.read()))
    except (StorageError, DecodeError) as error:
        log.info("Failed to import the mempool file: %s", error)
        text = "Unable to import mempool file, see debug log for details."
        raise RpcError(RpcCode.MISC_ERROR, text) from None
    return {}
