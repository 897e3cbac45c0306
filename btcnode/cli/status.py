"""``btcnode status``: a running node on one screen, from what its RPC tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from btcnode.observe.progress import MIB, STATES, duration
from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcCode, RpcError

WIDTH = 14  # of the names
CALLS = ("getblockchaininfo", "getnetworkinfo", "getnettotals", "getmempoolinfo", "getsyncstate", "uptime")


def status_text(client: RpcClient, now: Callable[[], float], where: str) -> tuple[int, str]:
    """Exit status (0: the node is up, 1: it is not, 2: it starts) and what to print; ``where`` it should answer."""
    try:
        answers = client.batch([(name, []) for name in CALLS])
    except RpcHttpError as error:
        if error.status == 401:
            return (
                1,
                f"The node at {where} does not take these credentials: see --rpcuser, --rpcpassword, --rpccookiefile",
            )
        return 1, f"The node at {where} answers with an error: {error}"
    except RpcConnectionError as error:
        return 1, f"No node answers at {where} ({' '.join(str(error).split())}): start one with btcnode start"
    for answer in answers:
        if isinstance(answer, RpcError):
            if answer.code == RpcCode.IN_WARMUP:
                return 2, f"The node is starting: {answer.message}"
            return 1, f"The node at {where} answers with an error: {answer.message}"
    try:
        return 0, "\n".join(_lines(dict(zip(CALLS, answers, strict=True)), int(now())))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return 1, f"What answers at {where} is no node of this kind: getsyncstate and others tell something else"


def _lines(found: dict[str, Any], now: int) -> list[str]:
    chain, network, totals = found["getblockchaininfo"], found["getnetworkinfo"], found["getnettotals"]
    pool, sync = found["getmempoolinfo"], found["getsyncstate"]
    missing = chain["headers"] - chain["blocks"]
    progress = 100 * float(chain["verificationprogress"])
    rows = [
        ("State", f"{STATES[sync['state']]}, since {duration(max(0, now - sync['since']))}"),
        ("Blocks", f"{chain['blocks']:,} of {chain['headers']:,}" + (f" ({progress:.2f} %)" if missing else "")),
        ("Tip", f"{duration(max(0, now - chain['time']))} old, {chain['bestblockhash']}"),
        ("Peers", f"{network['connections_out']} out, {network['connections_in']} in"),
        (
            "Traffic",
            f"{totals['totalbytesrecv'] / MIB:,.1f} MiB received, {totals['totalbytessent'] / MIB:,.1f} MiB sent",
        ),
        (
            "Mempool",
            f"{pool['size']:,} transactions, {pool['usage'] / MIB:,.1f} of {pool['maxmempool'] / MIB:,.0f} MiB",
        ),
        ("Disk", f"{chain['size_on_disk'] / MIB:,.0f} MiB of blocks" + (", pruned" if chain["pruned"] else "")),
        ("Up", duration(found["uptime"])),
    ]
    lines = [f"btcnode {chain['chain']}  {network['subversion']}", ""]
    lines += [f"{name:<{WIDTH}}{text}" for name, text in rows]
    if sync.get("advice"):
        lines += ["", sync["advice"]]
    warnings = network["warnings"]
    lines += [f"Warning: {text}" for text in ([warnings] if isinstance(warnings, str) else warnings) if text]
    return lines
