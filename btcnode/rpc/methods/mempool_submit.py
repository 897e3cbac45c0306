"""Handing transactions in, or asking whether they would be taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from btcnode.primitives.coin import txout_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.amounts import parse_amount, parse_feerate
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, type_name
from btcnode.rpc.lookup import parse_hex_or_none
from btcnode.rpc.spec import Arg, Kind, arr, boolean, coins, dyn, hexed, number, obj, rpc, string
from btcnode.rpc.transactions import has_valid_ops
from btcnode.script.scriptparse import is_unspendable
from btcnode.services.file_names import system_name
from btcnode.services.mempool_file import ImportOptions
from btcnode.services.parts import NodeParts
from btcnode.services.submissions import SubmitError

MAX_FEERATE = "0.10"
_MAX_FEERATE = Arg("maxfeerate", Kind.AMOUNT, "Most BTC/kvB, 0 for no limit", MAX_FEERATE)
_MAX_BURN = Arg("maxburnamount", Kind.AMOUNT, "Most BTC in outputs that nobody can spend", "0.00")
_FEES = (
    coins("effective-feerate", "BTC/kvB that it was judged by", optional=True),
    arr("effective-includes", "Whose fees and sizes that is", hexed("", "Hash with witness"), optional=True),
)
_CODES = {
    "already-confirmed": RpcCode.ALREADY_IN_UTXO_SET,
    "max-fee-exceeded": RpcCode.VERIFY_ERROR,
    "missing-inputs": RpcCode.VERIFY_ERROR,
    "rejected": RpcCode.VERIFY_REJECTED,
    "unreachable": RpcCode.MISC_ERROR,
}


log = logging.getLogger("btcnode.rpc")


def decode(text: Any) -> Tx | None:
    """A transaction in hex, None when it is none."""
    raw = parse_hex_or_none(text) if type_name(text) == "string" else None
    try:
        return Tx.parse(raw) if raw else None
    except DecodeError:
        return None


def _check_burn(tx: Tx, limit: int) -> None:
    """Raises RpcError when an output that nobody can spend holds more than ``limit`` satoshi."""
    for txout in tx.txouts:
        script = txout_script(txout)
        value = int.from_bytes(txout[:8], "little", signed=True)
        if value > limit and (is_unspendable(script) or not has_valid_ops(script)):
            text = "Unspendable output exceeds maximum configured by user (maxburnamount)"
            raise RpcError(RpcCode.VERIFY_ERROR, text)


@rpc(
    "rawtransactions",
    "Hand a transaction in: it enters the mempool and is announced to all peers (with -privatebroadcast it is sent to"
    " a few nodes through Tor or I2P instead).",
    Arg("hexstring", Kind.HEX, "The transaction"),
    _MAX_FEERATE,
    _MAX_BURN,
    returns=hexed("", "Transaction id"),
    examples=(("signedhex",),),
)
async def sendrawtransaction(node: NodeParts, hexstring: str, maxfeerate: Any, maxburnamount: Any) -> str:
    """See the declaration."""
    burn = parse_amount(maxburnamount)
    tx = decode(hexstring)
    if tx is None:
        text = "TX decode failed. Make sure the tx has at least one input."
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, text)
    _check_burn(tx, burn)
    try:
        await node.submissions.submit(tx, parse_feerate(maxfeerate))
    except SubmitError as error:
        raise RpcError(_CODES[error.kind], error.text) from None
    return to_display(tx.txid)


def _check_count(texts: Sequence[Any]) -> None:
    """Raises RpcError when there are too few or too many transactions for a package."""
    if not 1 <= len(texts) <= MAX_PACKAGE_COUNT:
        text = f"Array must contain between 1 and {MAX_PACKAGE_COUNT} transactions."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)


def _given(texts: Sequence[Any]) -> list[Tx]:
    txs = []
    for text in texts:
        tx = decode(text)
        if tx is None:
            if type_name(text) != "string":
                kind = type_name(text)
                raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {kind} is not of expected type string")
            why = f"TX decode failed: {text} Make sure the tx has at least one input."
            raise RpcError(RpcCode.DESERIALIZATION_ERROR, why)
        txs.append(tx)
    return txs


_RAW_TXS = Arg("rawtxs", Kind.ARR, "Transactions in hex", inner=(Arg("rawtx", Kind.HEX, "", None),))


@rpc(
    "rawtransactions",
    "Whether transactions would be taken into the mempool, one or a package with parents first.",
    _RAW_TXS,
    _MAX_FEERATE,
    returns=arr(
        "",
        "In the order given; a transaction without verdict was not judged, because another one failed",
        obj(
            "",
            "",
            hexed("txid", "Transaction id"),
            hexed("wtxid", "Hash with witness"),
            string("package-error", "What is wrong with the package", optional=True),
            boolean("allowed", "Whether it would be taken", optional=True),
            number("vsize", "Virtual size, if allowed", optional=True),
            obj("fees", "If allowed", coins("base", "Fee"), *_FEES, optional=True),
            string("reject-reason", "If not allowed", optional=True),
            string("reject-details", "If not allowed", optional=True),
        ),
    ),
    examples=((["signedhex"],),),
)
async def testmempoolaccept(node: NodeParts, rawtxs: list[Any], maxfeerate: Any) -> list[dict[str, Any]]:
    """See the declaration."""
    _check_count(rawtxs)
    limit = parse_feerate(maxfeerate)
    txs = _given(rawtxs)
    result = await node.submissions.test_accept(txs)
    problem = result.text if result.fault is PackageFault.POLICY else ""
    answers: list[dict[str, Any]] = []
    stopped = False
    for tx in txs:
        answer: dict[str, Any] = {"txid": to_display(tx.txid), "wtxid": to_display(tx.wtxid)}
        answers.append(answer)
        if problem:
            answer["package-error"] = problem
        verdict = result.transactions.get(tx.wtxid)
        if stopped or verdict is None:
            continue
        if isinstance(verdict, Accepted):
            if limit and verdict.fee > fee_at(limit, verdict.vsize):
                answer |= {"allowed": False, "reject-reason": "max-fee-exceeded"}
                stopped = True
                continue
            answer |= {"allowed": True, "vsize": verdict.vsize, "fees": _fees(verdict)}
        elif isinstance(verdict, Rejection):
            missing = verdict.result is TxResult.MISSING_INPUTS
            answer |= {"allowed": False, "reject-reason": "missing-inputs" if missing else verdict.reason}
            if not missing:
                answer["reject-details"] = verdict.text
    return answers


def _fees(verdict: Accepted) -> dict[str, Any]:
    return {
        "base": amount(verdict.fee),
        "effective-feerate": amount(rate_of(verdict.effective_fee, verdict.effective_vsize)),
        "effective-includes": [to_display(wtxid) for wtxid in verdict.effective_wtxids],
    }


@rpc(
    "rawtransactions",
    "Hand a package in: a child with its parents, parents first.",
    Arg("package", Kind.ARR, "Transactions in hex", inner=(Arg("rawtx", Kind.HEX, "", None),)),
    _MAX_FEERATE,
    _MAX_BURN,
    returns=obj(
        "",
        "",
        string("package_msg", "success, or what is wrong with the package"),
        dyn(
            "tx-results",
            "By hash with witness",
            obj(
                "wtxid",
                "",
                hexed("txid", "Transaction id"),
                hexed("other-wtxid", "The mempool has it with this witness instead", optional=True),
                number("vsize", "Virtual size", optional=True),
                obj("fees", "", coins("base", "Fee"), *_FEES, optional=True),
                string("error", "Why it was not taken", optional=True),
            ),
        ),
        arr("replaced-transactions", "What went for it", hexed("", "Transaction id"), optional=True),
    ),
    examples=((["parenthex", "childhex"],),),
)
async def submitpackage(node: NodeParts, package: list[Any], maxfeerate: Any, maxburnamount: Any) -> dict[str, Any]:
    """See the declaration."""
    _check_count(package)
    limit, burn = parse_feerate(maxfeerate), parse_amount(maxburnamount)
    txs = _given(package)
    for tx in txs:
        _check_burn(tx, burn)
    if len(txs) > 1 and not is_child_with_parents_tree(txs):
        text = "package topology disallowed. not child-with-parents or parents depend on each other."
        raise RpcError(RpcCode.VERIFY_ERROR, text)
    result = await node.submissions.submit_package(txs, limit or None)
    return _package_json(txs, result)


def _package_json(txs: Sequence[Tx], result: PackageResult) -> dict[str, Any]:
    replaced: dict[str, None] = {}
    answers = {}
    for tx in txs:
        verdict = result.transactions.get(tx.wtxid)
        answers[to_display(tx.wtxid)] = {"txid": to_display(tx.txid)} | _package_tx_json(verdict)
        if isinstance(verdict, Accepted):
            replaced.update(dict.fromkeys(to_display(old.txid) for old in verdict.replaced))
    return {
        "package_msg": result.text or "success",
        "tx-results": answers,
        "replaced-transactions": list(replaced),
    }


def _package_tx_json(verdict: PackageTxVerdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"error": "package-not-validated"}
    if isinstance(verdict, Rejection):
        return {"error": verdict.text}
    if isinstance(verdict, OtherWitness):
        return {"other-wtxid": to_display(verdict.wtxid)}
    if isinstance(verdict, AlreadyThere):
        return {"vsize": verdict.vsize, "fees": {"base": amount(verdict.fee)}}
    return {"vsize": verdict.vsize, "fees": _fees(verdict)}


@rpc(
    "blockchain",
    "Take in the transactions of a mempool.dat file.",
    Arg("filepath", Kind.STR, "The file"),
    Arg(
        "options",
        Kind.OBJ,
        "Options",
        None,
        by_name=True,
        inner=(
            Arg("use_current_time", Kind.BOOL, "Let them come in now instead of when they did", True),
            Arg("apply_fee_delta_priority", Kind.BOOL, "Take over fee deltas", False),
            Arg("apply_unbroadcast_set", Kind.BOOL, "Take over what no peer has asked for", False),
        ),
    ),
    returns=obj("", ""),
    examples=(("/path/to/mempool.dat",),),
)
async def importmempool(node: NodeParts, filepath: str, options: dict[str, Any] | None) -> dict[str, Any]:
    """See the declaration."""
    if node.chain.is_initial_block_download():
        text = "Can only import the mempool after the block download and sync is done."
        raise RpcError(RpcCode.CLIENT_IN_INITIAL_DOWNLOAD, text)
    wanted = {"use_current_time": True, "apply_fee_delta_priority": False, "apply_unbroadcast_set": False}
    for key, value in (options or {}).items():
        if value is None or key not in wanted:
            continue
        if type_name(value) != "bool":
            raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(value)} is not of expected type bool")
        wanted[key] = value
    try:
        await node.mempool_file.import_file(Path(system_name(filepath)), ImportOptions(**wanted))
    except (StorageError, DecodeError) as error:
        log.info("Failed to import the mempool file: %s", error)
        text = "Unable to import mempool file, see debug log for details."
        raise RpcError(RpcCode.MISC_ERROR, text) from None
    return {}
