"""All known headers: a tree in columns, its best header, and what is known of each block.

A header is an ``int``, its row in ``IndexColumns`` (see ``storage/block_index.py``); parents have smaller rows than
their children. Memory per header: 68 bytes of columns, 4 each for the skip list and the sequence, 1 for the dirty
mark, 4 for the active chain, 9 for the hash table; 16 more where its block lies in a file, 36 where all of it stays
in memory: 90 MB for a million in a node without coins, 142 in one with all blocks.

Behaviour follows Bitcoin Core's block manager: the skip list, block status, the first-received rule among chains
of equal work, blocks that arrive before their parents' blocks.

The tree belongs to the loop thread. Another thread may read ``Ancestry`` methods of a header and its ancestors:
those cells never change once written.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Collection, Iterable
from struct import Struct

from btcnode.chain.block_status import (
    FAILED_CHILD,
    FAILED_MASK,
    FAILED_VALID,
    HAVE_DATA,
    HAVE_UNDO,
    OPT_WITNESS,
    VALID_MASK,
    VALID_SCRIPTS,
    VALID_TRANSACTIONS,
    VALID_TREE,
)
from btcnode.chain.hash_table import HashTable
from btcnode.consensus.ancestry import MEDIAN_TIME_SPAN
from btcnode.consensus.headers import check_header, contextual_check_header
from btcnode.consensus.pow import block_work
from btcnode.errors import CorruptionError, Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash, sha256d, to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.storage.block_index import IndexColumns
from btcnode.tuples import NamedTuple

SEQUENCE_ACTIVE_FROM_DISK = 0  # of the blocks of the chain that was active when the node stopped
SEQUENCE_FROM_DISK = 1  # of every other block that a former run received
FIRST_SEQUENCE = -(1 << 31)
LOCATOR_DENSE = 10  # hashes of a locator before its steps double

_read_u32 = Struct("<I").unpack_from
_read_i32 = Struct("<i").unpack_from
_read_hash = Struct("32s").unpack_from


class AddResult(NamedTuple):
    """What came of several headers: the last one accepted (-1 if none), how many are new, what refused which one."""

    last: int
    new: int
    violation: RuleViolation | None
    refused: bytes = b""


def skip_height(height: int) -> int:
    """Height of the ancestor to which a header's skip pointer leads (Core's rule)."""
    if height < 2:
        return 0
    if height & 1:
        below = (height - 1) & (height - 2)
        return (below & (below - 1)) + 1
    return height & (height - 1)


class HeaderTree:
    """The header tree of one network.

    ``columns`` are the rows loaded from disk (genesis first), or None for a tree of genesis alone.
    ``salt`` (64 bits) keys the hash table; a random one by default.
    Raises CorruptionError if the rows do not form a tree rooted in the network's genesis.
    """

    __slots__ = (
        "_candidates",
        "_dirty",
        "_has_gaps",
        "_next_precious",
        "_next_sequence",
        "_precious_work",
        "_sequence",
        "_skip",
        "_suspects",
        "_table",
        "_tips",
        "_unlinked",
        "base",
        "best_header",
        "columns",
        "params",
    )

    def __init__(self, params: NetworkParams, columns: IndexColumns | None = None, *, salt: int | None = None) -> None:
        self.params = params
        self.columns = columns = columns if columns is not None else IndexColumns()
        self.best_header = 0
        self.base = -1  # block of a loaded UTXO set: no chain beside it can become active
        self._has_gaps = False  # blocks are not here although their descendants are
        self._tips: dict[int, None] = {0: None}
        self._candidates: dict[int, None] = {}
        self._unlinked: dict[int, list[int]] = {}
        self._suspects: dict[int, None] = {}  # failed, and for this run only
        fresh = len(columns) == 0
        if fresh:
            raw = params.genesis_block[:HEADER_SIZE]
            work = block_work(int.from_bytes(raw[72:76], "little"))
            columns.append(raw, params.genesis_hash, -1, 0, VALID_TREE, work)
        elif bytes(columns.hashes[:32]) != params.genesis_hash:
            raise CorruptionError("the block index begins with another network's genesis")
        self._dirty = bytearray(len(columns))
        self._dirty[0] = fresh
        self._sequence = array("i", [SEQUENCE_FROM_DISK]) * len(columns)
        self._next_sequence = SEQUENCE_FROM_DISK + 1
        self._next_precious = -1
        self._precious_work = 0  # of the tip when a block was last preferred
        self._skip = array("I", bytes(4))
        self._link_rows()
        self._table = HashTable(columns.hashes, secrets.randbits(64) if salt is None else salt)
        self._recalculate()

    def __len__(self) -> int:
        """Number of headers."""
        return len(self.columns)

    # ---- Ancestry: what consensus rules read

    def height(self, index: int) -> int:
        """Height; genesis has 0."""
        return self.columns.height[index]

    def version(self, index: int) -> int:
        """Version, signed 32 bits."""
        value: int = _read_i32(self.columns.fields, 12 * index)[0]
        return value

    def time(self, index: int) -> int:
        """Timestamp of the header."""
        value: int = _read_u32(self.columns.fields, 12 * index + 4)[0]
        return value

    def bits(self, index: int) -> int:
        """Compact target."""
        value: int = _read_u32(self.columns.fields, 12 * index + 8)[0]
        return value

    def hash(self, index: int) -> BlockHash:
        """Block hash, 32 bytes in internal order."""
        return BlockHash(_read_hash(self.columns.hashes, 32 * index)[0])

    def prev(self, index: int) -> int:
        """The parent, -1 for genesis."""
        return self.columns.prev[index]

    def chainwork(self, index: int) -> int:
        """Work from genesis up to and including this header."""
        return self.columns.chainwork(index)

    def ancestor(self, index: int, height: int) -> int:
        """The ancestor at ``height`` (the header itself included), -1 if there is none; O(log height) steps."""
        prev, skips = self.columns.prev, self._skip
        walk = self.columns.height[index]
        if height > walk or height < 0:
            return -1
        while walk > height:
            target = skip_height(walk)
            if target == height:
                return skips[index]
            if target > height:
                beside = skip_height(walk - 1)
                if not (beside < target - 2 and beside >= height):  # else the parent's skip pointer leads further
                    index, walk = skips[index], target
                    continue
            index = prev[index]
            walk -= 1
        return index

    def median_time_past(self, index: int) -> int:
        """Median timestamp of this header and the ten before it (BIP113)."""
        fields, prev = self.columns.fields, self.columns.prev
        times = []
        for _ in range(MEDIAN_TIME_SPAN):
            times.append(_read_u32(fields, 12 * index + 4)[0])
            index = prev[index]
            if index < 0:
                break
        times.sort()
        median: int = times[len(times) // 2]
        return median

    # ---- headers

    def raw(self, index: int) -> bytes:
        """The 80 bytes of the header; raises StorageError where they have to be read."""
        return self.columns.raw(index)

    def find(self, block_hash: bytes) -> int:
        """The header with this hash, -1 if unknown."""
        return self._table.find(block_hash)

    def add(self, raw: bytes, now: int) -> tuple[int, bool]:
        """Check a header of 80 bytes and add it; returns its index and whether it is new.

        Raises RuleViolation: ``duplicate-invalid`` (known and failed), ``prev-blk-not-found``, ``bad-prevblk``, or
        what the header rules say. Whether the chain has enough work to be kept is for the caller to know (presync).
        """
        block_hash = sha256d(raw)
        index = self._table.find(block_hash)
        status = self.columns.status
        if index >= 0:
            if status[index] & FAILED_MASK:
                detail = f"block {to_display(block_hash)} was previously marked invalid"
                raise RuleViolation("duplicate-invalid", detail, Fault.CACHED_INVALID)
            return index, False
        check_header(raw, self.params)
        prev = self._table.find(raw[4:36])
        if prev < 0:
            raise RuleViolation("prev-blk-not-found", fault=Fault.MISSING_PREV)
        if status[prev] & FAILED_MASK:
            raise RuleViolation("bad-prevblk", fault=Fault.INVALID_PREV)
        contextual_check_header(raw, self, prev, now, self.params)
        return self._append(raw, block_hash, prev), True

    def add_many(self, headers: Iterable[bytes], now: int) -> AddResult:
        """Add headers in turn until one breaks a rule; those before it stay."""
        last, new = -1, 0
        for raw in headers:
            try:
                last, is_new = self.add(raw, now)
            except RuleViolation as violation:
                return AddResult(last, new, violation, raw)
            new += is_new
        return AddResult(last, new, None)

    def _append(self, raw: bytes, block_hash: bytes, prev: int) -> int:
        """Add the row of a checked header."""
        columns = self.columns
        height = columns.height[prev] + 1
        work = self.chainwork(prev) + block_work(int.from_bytes(raw[72:76], "little"))
        self._skip.append(self.ancestor(prev, skip_height(height)))
        self._dirty.append(1)
        self._sequence.append(SEQUENCE_FROM_DISK)
        index = columns.append(raw, block_hash, prev, height, VALID_TREE, work)
        self._table.insert(block_hash, index)
        self._tips.pop(prev, None)
        self._tips[index] = None
        if work > self.chainwork(self.best_header):
            self.best_header = index
        return index

    # ---- shape of the tree

    def is_ancestor(self, ancestor: int, index: int) -> bool:
        """Whether ``ancestor`` is ``index`` or lies on its way to genesis."""
        return self.ancestor(index, self.columns.height[ancestor]) == ancestor

    def find_fork(self, left: int, right: int) -> int:
        """The last common ancestor."""
        height = self.columns.height
        if height[left] > height[right]:
            left = self.ancestor(left, height[right])
        elif height[right] > height[left]:
            right = self.ancestor(right, height[left])
        prev, skips = self.columns.prev, self._skip
        while left != right:
            if skips[left] != skips[right]:  # equal heights have skip pointers of equal heights
                left, right = skips[left], skips[right]
            else:
                left, right = prev[left], prev[right]
        return left

    def locator(self, index: int) -> list[BlockHash]:
        """Hashes from ``index`` back to genesis, dense at first, then at doubling steps."""
        hashes = [self.hash(index)]
        height = self.columns.height[index]
        step = 1
        while height > 0:
            height = max(height - step, 0)
            if len(hashes) > LOCATOR_DENSE:
                step *= 2
            index = self.ancestor(index, height)
            hashes.append(self.hash(index))
        return hashes

    def tips(self) -> list[int]:
        """Headers without children, oldest first."""
        return sorted(self._tips)

    def children(self, index: int) -> list[int]:
        """Headers whose parent is ``index``, oldest first; a scan of the columns."""
        prev = self.columns.prev
        found = []
        at, end = index + 1, len(prev)
        while at < end:
            try:
                at = prev.index(index, at, end)
            except ValueError:
                break
            found.append(at)
            at += 1
        return found

    def descendants(self, index: int) -> list[int]:
        """Everything built on ``index``, without itself, oldest first; a scan of the columns from ``index`` on."""
        prev = self.columns.prev
        end = len(prev)
        below = bytearray(end - index)
        below[0] = 1
        found = []
        for at in range(index + 1, end):
            parent = prev[at] - index
            if parent >= 0 and below[parent]:
                below[at - index] = 1
                found.append(at)
        return found

    # ---- status of blocks

    def status(self, index: int) -> int:
        """Status bits as on disk."""
        return self.columns.status[index]

    def validity(self, index: int) -> int:
        """How far the block has been validated: VALID_TREE .. VALID_SCRIPTS."""
        return self.columns.status[index] & VALID_MASK

    def has_data(self, index: int) -> bool:
        """Whether the block lies in the block files."""
        return bool(self.columns.status[index] & HAVE_DATA)

    def has_undo(self, index: int) -> bool:
        """Whether the block's undo data lies in the undo files."""
        return bool(self.columns.status[index] & HAVE_UNDO)

    def is_failed(self, index: int) -> bool:
        """Whether the block or an ancestor of it broke a rule, or was declared invalid."""
        return bool(self.columns.status[index] & FAILED_MASK)

    def is_linked(self, index: int) -> bool:
        """Whether the blocks of this header and of all its ancestors have been received (now or before pruning)."""
        return self.columns.chain_tx[index] > 0

    def raise_validity(self, index: int, level: int) -> bool:
        """Record that the block passed the checks up to ``level``; returns whether that is news."""
        status = self.columns.status[index]
        if status & FAILED_MASK or (status & VALID_MASK) >= level:
            return False
        self._set_status(index, status & ~VALID_MASK | level)
        return True

    def receive_block(self, index: int, n_tx: int, file: int, data_pos: int, crc: int = 0) -> list[int]:
        """The block of ``index`` (with ``n_tx`` transactions, checked without coins) lies at ``file``, ``data_pos``.

        ``crc`` is the CRC-32 of its bytes, 0 when nobody knows.
        Returns the headers whose chain of blocks from genesis became complete by it, parents first:
        itself and whatever waited for it, or none while an ancestor's block is missing. Blocks that come back after
        they were deleted are among them.
        """
        columns, here = self.columns, self.has_data(index)
        columns.n_tx[index] = n_tx
        columns.file[index] = file
        columns.data_pos[index] = data_pos
        columns.undo_pos[index] = 0
        columns.block_crc[index] = crc
        segwit = columns.height[index] >= self.params.segwit_height  # its witnesses were looked at
        added = HAVE_DATA | OPT_WITNESS if segwit else HAVE_DATA
        self._set_status(index, (columns.status[index] & ~HAVE_UNDO) | added)
        self.raise_validity(index, VALID_TRANSACTIONS)
        prev = columns.prev[index]
        if here and columns.chain_tx[index]:
            return []
        if prev >= 0 and not columns.chain_tx[prev]:
            waiting = self._unlinked.setdefault(prev, [])
            if index not in waiting:
                waiting.append(index)
            return []
        return self._link_from(index)

    def _link_from(self, index: int) -> list[int]:
        """Complete the chain of ``index`` and of all that waited for it."""
        columns = self.columns
        linked = [index]
        for at in linked:
            prev = columns.prev[at]
            columns.chain_tx[at] = columns.n_tx[at] + (columns.chain_tx[prev] if prev >= 0 else 0)
            self._dirty[at] = 1
            self._sequence[at] = self._next_sequence
            self._next_sequence += 1
            if not columns.status[at] & FAILED_MASK:
                self._candidates.pop(prev, None)
                self._candidates[at] = None
            linked += self._unlinked.pop(at, ())
        return linked

    def set_undo(self, index: int, undo_pos: int) -> None:
        """The block's undo data lies at ``undo_pos`` of the undo file with the block file's number."""
        self.columns.undo_pos[index] = undo_pos
        self._set_status(index, self.columns.status[index] | HAVE_UNDO)

    def mark_failed(self, index: int, *, for_good: bool = True) -> list[int]:
        """``index`` is invalid: mark it and all its descendants; returns those newly marked, oldest first.

        Not ``for_good``: the disk does not hear of it before ``confirm_failed``.
        Genesis cannot fail: raises ValueError.
        """
        if index == 0:
            raise ValueError("genesis cannot be invalid")
        best = self.best_header
        if for_good:
            self._suspects.pop(index, None)
        else:
            self._suspects[index] = None
        status = self.columns.status
        marked = [] if status[index] & FAILED_MASK else [index]
        self._set_status(index, status[index] | FAILED_VALID)
        for at in self.descendants(index):
            if not status[at] & FAILED_MASK:
                marked.append(at)
                self._set_status(at, status[at] | FAILED_CHILD)
        self._recalculate()
        if not self.is_failed(best):  # nothing has become better
            self.best_header = best
        return marked

    def clear_failed(self, index: int) -> list[int]:
        """Take back the failure of ``index``, of its ancestors and of its descendants; returns those cleared.

        Other branches on top of those ancestors stay failed, as in Core.
        """
        status = self.columns.status
        cleared = []
        at = index
        while at >= 0 and status[at] & FAILED_MASK:  # an ancestor of a sound header is sound
            cleared.append(at)
            at = self.columns.prev[at]
        cleared.reverse()
        cleared += [at for at in self.descendants(index) if status[at] & FAILED_MASK]
        for at in cleared:
            self._suspects.pop(at, None)
            self._set_status(at, status[at] & ~FAILED_MASK)
        self._recalculate()
        return cleared

    def prefer_best(self, tip: int) -> None:
        """Among headers with as much work as the best has, the one on the way to the active ``tip`` is it.

        As Core's RecalculateBestHeader, which begins at the tip and takes what has more work.
        """
        while tip >= 0 and self.is_failed(tip):
            tip = self.columns.prev[tip]
        if tip >= 0 and self.chainwork(tip) == self.chainwork(self.best_header):
            self.best_header = tip

    def confirm_failed(self, index: int) -> None:
        """The block that was marked as failed for this run only has failed for good."""
        if index in self._suspects:
            del self._suspects[index]
            for at in [index, *self.descendants(index)]:
                self._dirty[at] = 1

    def best_suspect(self, tip: int) -> int:
        """The block, failed for this run only, under the branch with most work, and more than ``tip`` has; or -1."""
        if not self._suspects:
            return -1
        found, found_work = -1, self.chainwork(tip)
        for leaf in self._tips:
            if self.is_failed(leaf) and (work := self.chainwork(leaf)) > found_work:
                root = self._failed_root(leaf)
                if root in self._suspects:
                    found, found_work = root, work
        return found

    def _failed_root(self, index: int) -> int:
        """The first failed block on the way to a failed one."""
        status, prev = self.columns.status, self.columns.prev
        while status[prev[index]] & FAILED_MASK:
            index = prev[index]
        return index

    def last_blocks(self) -> dict[int, int]:
        """By block file, the position of the last block that is known there."""
        last: dict[int, int] = {}
        positions = self.columns.data_pos
        for row, file in self.columns.file.unusual():
            last[file] = max(last.get(file, 0), positions[row])
        return last

    def forget_side_verdicts(self, tip: int) -> None:
        """What is known of connecting blocks of branches that have less work than ``tip`` counts no more.

        After a rebuild, in which blocks were connected as they came: Core connects them when all are stored, so that
        it has never tried these. A block that failed before it was stored stays failed.
        """
        columns = self.columns
        prev, status = columns.prev, columns.status
        side: list[int] = []
        active = tip
        for index in range(len(self) - 1, -1, -1):  # parents have lower numbers
            if index == active:
                active = prev[index]
            else:
                side.append(index)
        reach = {index: self.chainwork(index) for index in side}  # work of the best chain over the block
        tried: set[int] = set()
        for index in side:
            if (parent := prev[index]) in reach:
                reach[parent] = max(reach[parent], reach[index])
            if index in tried or (status[index] & FAILED_VALID and reach[index] >= self.chainwork(tip)):
                tried.update((index, parent))
        failed: set[int] = set()
        for index in reversed(side):
            stays = status[index] & FAILED_VALID and (index in tried or not status[index] & HAVE_DATA)
            if stays or prev[index] in failed:
                failed.add(index)
                continue
            known = status[index] & ~FAILED_MASK
            if index not in tried and known & VALID_MASK > VALID_TRANSACTIONS:
                known = known & ~VALID_MASK | VALID_TRANSACTIONS
            if known != status[index]:
                self._set_status(index, known)
        self._recalculate()

    def _set_status(self, index: int, status: int) -> None:
        self.columns.status[index] = status
        self._dirty[index] = 1

    # ---- choice of chain

    def best_candidate(self, tip: int) -> int:
        """The block with most work whose chain of blocks is complete and has no failed one.

        Among equals the one completed first, as Core; the present ``tip`` (-1: none) before any that was not earlier.
        Returns ``tip`` where nothing is better. A block with deleted ones between it and the tip's chain has to wait
        for these.
        """
        best = self._most_work(tip)
        while self._has_gaps and best != tip and self._drop_incomplete(best, tip):
            best = self._most_work(tip)
        return best

    def _most_work(self, tip: int) -> int:
        """``best_candidate`` as far as deleted blocks do not matter."""
        sequence = self._sequence
        best, best_key = tip, (-1, 0, 0)
        if tip >= 0 and not self.is_failed(tip):
            best_key = (self.chainwork(tip), -sequence[tip], 1)
        for index in self._candidates:
            if self.base >= 0 and not self.is_ancestor(self.base, index):
                continue
            key = (self.chainwork(index), -sequence[index], -index)
            if key > best_key:
                best, best_key = index, key
        return best

    def rivals(self, candidate: int) -> list[int]:
        """The candidates with as much work as ``candidate``, the one completed first before others."""
        work, base = self.chainwork(candidate), self.base
        found = [
            index
            for index in self._candidates
            if self.chainwork(index) == work and (base < 0 or self.is_ancestor(base, index))
        ]
        return sorted(found, key=lambda index: (self._sequence[index], index))

    def prefer(self, index: int, tip: int) -> None:
        """Let ``index`` win over all others of equal work, also those preferred before it while ``tip`` had its work.

        It does so from when its chain of blocks is sound and complete, unless a block of it is received later than
        now (preciousblock).
        """
        if self.chainwork(tip) > self._precious_work:
            self._next_precious = -1
        self._precious_work = self.chainwork(tip)
        self._sequence[index] = self._next_precious
        self._next_precious = max(self._next_precious - 1, FIRST_SEQUENCE)
        if not self.is_failed(index) and self.is_linked(index):
            self._candidates[index] = None

    def prefer_loaded(self, active: Iterable[int]) -> None:
        """Of blocks that former runs received, those of the chain that is active at the start win over others."""
        for index in active:
            self._sequence[index] = SEQUENCE_ACTIVE_FROM_DISK

    def _recalculate(self) -> None:
        """Find the best header and the candidates afresh, walking back from every tip to what is sound."""
        columns = self.columns
        status, prev, chain_tx = columns.status, columns.prev, columns.chain_tx
        best, best_work = 0, self.chainwork(0)
        candidates = []
        seen = bytearray(len(columns))  # where an earlier walk has passed, all that lies before was considered
        for tip in self._tips:
            at = tip
            while status[at] & FAILED_MASK and not seen[at]:
                seen[at] = 1
                at = prev[at]
            if seen[at]:
                continue
            work = self.chainwork(at)
            if work > best_work or (work == best_work and at < best):
                best, best_work = at, work
            while at >= 0 and not chain_tx[at] and not seen[at]:
                seen[at] = 1
                at = prev[at]
            if at >= 0 and not seen[at]:
                candidates.append(at)
        self.best_header = best
        self._candidates = dict.fromkeys(sorted(candidates))

    # ---- blocks that are not here although their descendants are: deleted, or below a loaded UTXO set

    def forget_data(self, files: Collection[int]) -> list[int]:
        """The blocks in these files are about to be deleted, with their undo data; returns their headers.

        What is known of them stays, as the number of their transactions.
        """
        columns = self.columns
        gone = [index for index, file in columns.file.unusual() if file in files]
        for index in gone:
            self._drop_data(index)
        for column in (columns.file, columns.data_pos, columns.undo_pos, columns.block_crc):
            column.tidy()
        self._has_gaps |= bool(gone)
        return gone

    def drop_block(self, index: int) -> None:
        """The data of a block beside the active chain counts as not here; what builds on it waits for it again."""
        columns, chain_tx, prev = self.columns, self.columns.chain_tx, self.columns.prev
        self._drop_data(index)
        for candidate in [at for at in self._candidates if self.is_ancestor(index, at)]:
            del self._candidates[candidate]
            at = candidate
            while at != index and chain_tx[at]:
                chain_tx[at] = 0
                self._dirty[at] = 1
                waiting = self._unlinked.setdefault(prev[at], [])
                if columns.status[at] & HAVE_DATA and at not in waiting:
                    waiting.append(at)
                at = prev[at]
        chain_tx[index] = 0
        if chain_tx[prev[index]] and not self.is_failed(prev[index]):
            self._candidates[prev[index]] = None

    def _drop_data(self, index: int) -> None:
        columns = self.columns
        columns.file[index] = -1
        columns.data_pos[index] = columns.undo_pos[index] = columns.block_crc[index] = 0
        self._set_status(index, columns.status[index] & ~(HAVE_DATA | HAVE_UNDO))
        waiting = self._unlinked.get(columns.prev[index])
        if waiting is not None and index in waiting:
            waiting.remove(index)

    def link_assumed(self, base: int) -> None:
        """``base``, whose ``chain_tx`` is set, counts as complete from now on, and is what every chain has to have."""
        self.base = base
        self._dirty[base] = 1
        self._candidates[base] = None
        for waiting in self._unlinked.pop(base, ()):
            self._link_from(waiting)

    def note_txs(self, index: int, n_tx: int) -> None:
        """The block of ``index`` was checked without coins, and is not kept."""
        self.columns.n_tx[index] = n_tx
        self._dirty[index] = 1
        self.raise_validity(index, VALID_TRANSACTIONS)

    def link_folded(self, base: int) -> None:
        """The blocks up to ``base``, whose ``n_tx`` are known, count as connected, those not here as deleted."""
        columns = self.columns
        path = [base]
        while path[-1] > 0:
            path.append(columns.prev[path[-1]])
        total = 0
        for index in reversed(path):
            total += columns.n_tx[index]
            columns.chain_tx[index] = total
            self._dirty[index] = 1
            self.raise_validity(index, VALID_SCRIPTS)
            self._has_gaps |= not self.has_data(index)
        self._recalculate()

    def unlink(self, indices: Iterable[int]) -> None:
        """The chains of these headers, parents first, are not complete after all."""
        columns = self.columns
        for index in indices:
            columns.chain_tx[index] = 0
            self._dirty[index] = 1
            if columns.status[index] & HAVE_DATA:
                self._unlinked.setdefault(columns.prev[index], []).append(index)
        self._recalculate()

    def _drop_incomplete(self, candidate: int, tip: int) -> bool:
        """Whether a block from ``tip``'s chain up to ``candidate`` was deleted: then what builds on it waits for it."""
        status, prev = self.columns.status, self.columns.prev
        fork = self.find_fork(candidate, tip) if tip >= 0 else -1
        at = candidate
        path: list[int] = []
        lowest = -1  # place in the path of the missing block next to the fork
        while at != fork:
            if not status[at] & HAVE_DATA:
                lowest = len(path)
            path.append(at)
            at = prev[at]
        if lowest < 0:
            return False
        for at in path[: lowest + 1]:
            self._candidates.pop(at, None)
        for at in path[:lowest]:
            waiting = self._unlinked.setdefault(prev[at], [])
            if status[at] & HAVE_DATA and at not in waiting:
                waiting.append(at)
        if prev[path[lowest]] != fork:
            self._candidates[prev[path[lowest]]] = None
        return True

    # ---- disk

    def record(self, index: int) -> bytes:
        """The record of a row as it is to be written."""
        status = self.columns.status[index]
        if self._suspects and status & FAILED_MASK and self._is_suspect(index):
            status &= ~FAILED_MASK
        return self.columns.record(index, status)

    def _is_suspect(self, index: int) -> bool:
        """Whether a failed block has failed for this run only, as have all failed ones before it."""
        status, prev, suspects = self.columns.status, self.columns.prev, self._suspects
        while status[index] & FAILED_MASK:
            if status[index] & FAILED_VALID and index not in suspects:
                return False
            index = prev[index]
        return True

    def take_dirty(self, limit: int | None = None) -> list[int]:
        """Rows to be written, ascending, at most ``limit``; they count as clean from now on."""
        dirty = self._dirty
        taken: list[int] = []
        at = dirty.find(1)
        while at >= 0 and (limit is None or len(taken) < limit):
            dirty[at] = 0
            taken.append(at)
            at = dirty.find(1, at + 1)
        return taken

    def note_stored(self, rows: Iterable[int]) -> None:
        """The records of these rows are on disk."""
        self.columns.rests.note_stored(rows)

    def restore_dirty(self, rows: Iterable[int]) -> None:
        """These rows could not be written: they are dirty still."""
        for row in rows:
            self._dirty[row] = 1

    def _link_rows(self) -> None:
        """Derive skip list, tips and waiting blocks from loaded rows, and check that parents come first."""
        columns = self.columns
        prev, height = columns.prev, columns.height
        count = len(columns)
        skips = self._skip
        path = array("I", (0,)) * count  # by height: the branch of the row before, to look up skip targets
        forked: dict[int, None] = {}  # rows that are no longer the tip of their branch only because of a fork
        last = 0
        for index in range(1, count):
            parent, at = prev[index], height[index]
            if not 0 <= parent < index or height[parent] + 1 != at:
                raise CorruptionError(f"block index row {index} does not follow its parent")
            if parent != last:
                forked[last] = None
                forked.pop(parent, None)
                walk, valid = parent, height[last]  # above that height the path is of a branch left before
                while height[walk] > valid or path[height[walk]] != walk:
                    path[height[walk]] = walk
                    walk = prev[walk]
            path[at] = last = index
            if at & 1:
                below = (at - 1) & (at - 2)
                skips.append(path[(below & (below - 1)) + 1 if at > 1 else 0])
            else:
                skips.append(path[at & (at - 1)])
        forked[last] = None
        self._tips = forked
        self._find_unlinked()

    def _find_unlinked(self) -> None:
        """Collect the blocks that arrived before an ancestor's block, and see whether any were deleted."""
        n_tx, chain_tx, prev = self.columns.n_tx, self.columns.chain_tx, self.columns.prev
        self._has_gaps = len(n_tx) - self.columns.file.count_unusual() > n_tx.count(0)
        for index, (count, chain_count) in enumerate(zip(n_tx, chain_tx, strict=True)):
            if count and not chain_count and self.has_data(index):
                self._unlinked.setdefault(prev[index], []).append(index)
