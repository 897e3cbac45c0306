"""The worker process: verifies scripts, decodes and folds blocks, one request after the other.

It is started by ``worker_pool`` with a socket as its standard input, and ends when that is closed: when the node stops,
and also when the node is killed. It holds no state between requests.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import sys
import threading
import time
from typing import cast

from btcnode.compiled import allow, look_for
from btcnode.consensus.blocks import check_block
from btcnode.consensus.commitment import commitment_index, witness_merkle_root
from btcnode.errors import BtcnodeError, DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.tx import Tx
from btcnode.script.runs import read_coins
from btcnode.script.verify import verify_transaction
from btcnode.swiftsync.fold import FoldJob
from btcnode.swiftsync.full_fold import SpentRefused, TimesWanted, fold_any
from btcnode.sync.job_clock import JobClock
from btcnode.sync.judging import judge_all
from btcnode.sync.worker_codec import (
    CONFIG,
    DECODE,
    DECODED,
    FAILED,
    FOLD,
    FOLDED,
    INVALID,
    JUDGED,
    KERNELS,
    NO_MEMORY,
    READY,
    REFUSED,
    REQUEST,
    TIMES,
    VALID,
    VERIFY,
    Request,
    encode_columns,
    pack_answer,
    pack_failures,
)

PARENT_CHECK_INTERVAL = 1.0  # seconds; only matters while a long request runs, an idle worker sees its socket close
GC_THRESHOLD = 50_000  # requests leave few cycles behind
MAX_MICROS = 2**32 - 1  # what an answer has room for: 71 minutes


class _Closed(Exception):
    """The node has gone."""


def _receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; raises _Closed at the end of the stream."""
    data = b""
    while len(data) < size:  # once, unless a signal comes
        more = sock.recv(size - len(data), socket.MSG_WAITALL)
        if not more:
            raise _Closed
        data = data + more if data else more
    return data


def verify_packed(request: Request, raw: bytes, coins: bytes) -> bytes:
    """Verify the transactions of a VERIFY request in order; returns the answer.

    Raises DecodeError, IndexError, ValueError when the request does not describe itself to the last byte.
    """
    judged = judge_all(raw, coins, request.jobs, request.flags)
    if judged is not None:
        body = pack_failures([(job, failure, _micros(seconds)) for job, failure, seconds in judged.failed])
        status, micros = JUDGED if body else VALID, _micros(judged.seconds)
        return pack_answer(request.id, status, body, jobs=request.jobs, inputs=judged.inputs, micros=micros)
    clock = JobClock()
    tx_pos = coin_pos = inputs = 0
    for job in range(request.jobs):
        clock.next()
        tx, tx_pos = Tx.parse_at(raw, tx_pos)
        count = len(tx.prevouts)
        spent, coin_pos = read_coins(coins, coin_pos, count)
        failure = verify_transaction(tx, spent, request.flags)
        inputs += count
        if failure is not None:
            return pack_answer(
                request.id,
                INVALID,
                failure.error.value.encode(),
                jobs=job + 1,
                inputs=inputs,
                failed_job=job,
                failed_input=failure.input_index,
                micros=_micros(clock.last()),
            )
    if tx_pos != len(raw) or coin_pos != len(coins):
        raise DecodeError("the request has bytes left over")
    return pack_answer(request.id, VALID, jobs=request.jobs, inputs=inputs, micros=_micros(clock.all()))


def _micros(seconds: float) -> int:
    return min(int(seconds * 1e6), MAX_MICROS)


def decode_packed(request: Request, raw: bytes, params: NetworkParams) -> bytes:
    """Parse and check a block; returns the answer. Raises DecodeError or RuleViolation when it is at fault."""
    block = parse_block(raw, exact=False)
    check_block(block, params)
    if commitment_index(block) >= 0:  # the node will want it, and has less time
        witness_merkle_root(block)
    return pack_answer(request.id, DECODED, encode_columns(block))


def fold_packed(request: Request, raw: bytes, job: bytes, params: NetworkParams) -> bytes:
    """Check a block, with its scripts where its coins are told, and fold it; returns the answer.

    Raises DecodeError or RuleViolation when it is at fault by itself.
    """
    result = fold_any(raw, FoldJob.unpack(job), params)
    status = REFUSED if isinstance(result, SpentRefused) else TIMES if isinstance(result, TimesWanted) else FOLDED
    return pack_answer(request.id, status, result.pack())


def serve(sock: socket.socket) -> None:
    """Answer requests (``worker_codec.py``) until the stream ends; a CONFIG request comes first.

    What a request is at fault with is its answer. Raises OSError when the socket fails.
    """
    params: NetworkParams | None = None
    while True:
        request = Request(*REQUEST.unpack(_receive(sock, REQUEST.size)))
        first, second = _receive(sock, request.first_size), _receive(sock, request.second_size)
        try:
            if request.kind == VERIFY:
                answer = verify_packed(request, first, second)
            elif request.kind == DECODE and params is not None:
                answer = decode_packed(request, first, params)
            elif request.kind == FOLD and params is not None:
                answer = fold_packed(request, first, second, params)
            elif request.kind == CONFIG:
                params = cast(NetworkParams, pickle.loads(first))
                if request.flags & KERNELS:
                    allow(make=False)
                answer = pack_answer(request.id, READY)
            else:
                raise ValueError(f"no request of kind {request.kind}")
        except (BtcnodeError, ValueError, IndexError) as error:
            answer = pack_answer(request.id, FAILED, f"{type(error).__name__}: {error}".encode())
        sock.sendall(answer)
        look_for()


def _watch_parent(parent: int) -> None:
    """End the process when the node is gone, even in the middle of a request."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_INTERVAL)
    os._exit(1)


def main(parent: int) -> None:
    """The life of a worker of the process ``parent``, with the socket on file descriptor 0."""
    # the node decides when its workers end; a signal to the whole group must not take them from under it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    watch = threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads: it sees the node's end when it has nothing to do
        watch.start()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        with socket.socket(fileno=0) as sock:
            serve(sock)
    except (_Closed, BrokenPipeError, ConnectionResetError):
        sys.exit(0)
    except MemoryError:
        os._exit(NO_MEMORY)  # the node tells it, and does the work again
