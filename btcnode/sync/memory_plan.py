"""How a node's memory is divided: one plan for each budget, and the least that a node can live with.

Every consumer that can grow has a share here and keeps to it by itself (docs/operations.md has the table). What may
come at once is kept free for it. Connections and the mempool grow slowly: the coin cache may have their share as long
as they do not take it, and gives way when ``MemoryLimiter`` sees them come.
"""

from __future__ import annotations

from btcnode.tuples import NamedTuple

MIB = 1 << 20

PROCESS = 72 * MIB  # the interpreter and its modules 45, caches of verified scripts 16, addresses of nodes
HEADER = 160  # bytes of a header: its columns and its place in the hash table
LEAN_HEADER = 105  # the same where no coins are kept, nor merkle roots
PEER = 192 << 10  # a connection with what is remembered of it
WORKER = 28 * MIB  # a worker process with a block in work
KERNELS = 14 * MIB  # more of a process that has loaded compiled kernels
MERGE = 24 * MIB  # a process that merges coins; a second one comes where there is room for it
WRITER = 17 * MIB  # the process that packs and writes what is flushed
FLUSH = 40 * MIB  # sorting what is written, small runs that are taken in
LARGE_BLOCK = 32 * MIB  # what the worst block takes beyond its share of the queue: columns, coins, undo data
QUEUE_FACTOR = 4  # memory of blocks on their way, to their bytes: columns, undo data, coins that are prepared

MIN_CACHE, MIN_QUEUE = 12 * MIB, 4 * MIB  # one block
MIN_HELD, MAX_HELD = 12 * MIB, 64_000_000
MIN_ANSWERS, MAX_ANSWERS = 32 * MIB, 256 * MIB
LATELY_SHARE = 8  # part of that of answers which what users asked for lately may take beside them
MIN_MEMPOOL = 24_000_000
MAX_QUEUE = 64 * MIB


class Wishes(NamedTuple):
    """What the options and the network ask for; sizes in bytes."""

    headers: int  # that there are, or will be
    peers: int
    workers: int  # processes beside the node's own
    dbcache: int
    mempool: int
    keeps_coins: bool = True  # False: blocks connect by proofs, and nothing is flushed or merged
    kernels: bool = False


class MemoryPlan(NamedTuple):
    """What each consumer may take at most, in bytes, and how many worker processes there are."""

    limit: int  # of everything together
    workers: int
    queue: int  # of blocks on their way to the chain, as they are serialised
    held: int  # received of peers and not handled
    answers: int  # requests and answers of HTTP clients
    lately: int  # what users have asked for lately: parsed blocks, blocks as JSON
    mempool: int
    coins: int
    kernels: bool  # whether the node and its workers may load them


def least(wishes: Wishes) -> int:
    """Bytes below which a node with these options cannot work."""
    slow = PEER * wishes.peers + min(wishes.mempool, MIN_MEMPOOL)
    at_once = QUEUE_FACTOR * MIN_QUEUE + MIN_HELD + MIN_ANSWERS + MIN_ANSWERS // LATELY_SHARE
    return _fixed(wishes) + slow + MIN_CACHE + at_once


def _fixed(wishes: Wishes) -> int:
    flushing = MERGE + WRITER + FLUSH if wishes.keeps_coins else 0
    header = HEADER if wishes.keeps_coins else LEAN_HEADER
    return PROCESS + header * wishes.headers + flushing + LARGE_BLOCK


def plan(limit: int, wishes: Wishes) -> MemoryPlan:
    """Divide ``limit`` bytes; below ``least`` everybody gets his minimum."""
    spare = max(0, limit - least(wishes))
    workers = min(wishes.workers, spare // 2 // WORKER)
    spare -= workers * WORKER
    kernels = wishes.kernels and spare // 4 >= (workers + 1) * KERNELS
    loaded = (workers + 1) * KERNELS if kernels else 0
    spare -= loaded
    queue = min(MAX_QUEUE, MIN_QUEUE + spare // 5 // QUEUE_FACTOR)
    held = min(MAX_HELD, MIN_HELD + spare // 8)
    answers = min(MAX_ANSWERS, MIN_ANSWERS + spare // 5)
    lately = answers // LATELY_SHARE
    mempool = min(wishes.mempool, min(wishes.mempool, MIN_MEMPOOL) + 2 * spare // 5)
    kept = _fixed(wishes) + workers * WORKER + loaded + QUEUE_FACTOR * queue + held + answers + lately
    coins = min(wishes.dbcache, max(MIN_CACHE, limit - kept))
    return MemoryPlan(limit, workers, queue, held, answers, lately, mempool, coins, kernels)
