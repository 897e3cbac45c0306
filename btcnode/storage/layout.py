"""The data directory: every file name, database, key and record, in one place.

::

    <network directory>/
      .lock                     locked while a process uses the directory
      .fault                    while a node runs, and what a fatal signal has left
      chainstate/btcnode.mdb    LMDB environment (one file, with btcnode.mdb-lock beside it)
        index   header index[u32 BE]         -> INDEX_RECORD
        meta    name                         -> see META_*; b"file" + number[u32 BE] -> FILE_RECORD
        sums    b"seal"                      -> count[u64] and sum of checksums[u64] of index, meta
      chainstate/coins/         packed coins (primitives/coin.py) by outpoint[36]
        <name>.mdb ...          runs, each an LMDB environment (coin_run.py), those that META_RUNS names
      blocks/
        xor.dat                 8 bytes that all files beside it are XORed with, by absolute position
        blk00000.dat ...        frames: magic[4] size[u32 LE] block[size]
        rev00000.dat ...        frames: magic[4] size[u32 LE] CBlockUndo[size] checksum[32]

Every value is followed by the CRC-32 of key and value (checksums.py).
``blocks/`` is in Bitcoin Core's own form. All integers in records are little-endian; keys are big-endian where
their order matters.
"""

from __future__ import annotations

from struct import Struct

SCHEMA_VERSION = 3
TREE_VERSION = 2  # with all coins in one tree, beside the index, and sums of their checksums
UNSEALED_VERSION = 1  # the same without checksums and sums

# -- files -------------------------------------------------------------------------------------------------------

LOCK_FILE = ".lock"
TIP_FILE = ".tip"  # while the node runs, and after a kill: the newest tip (SYNC_RECORD, CRC-32)
FAULT_FILE = ".fault"  # not empty: a fatal signal has ended the last run, and this is where
KERNELS_FAULT_FILE = "kernels_fault.txt"  # a run has ended in compiled kernels: those of that time are not used
STACKS_FILE = "stacks.txt"  # while the node runs, and after SIGUSR1: what its threads and tasks were doing
SNAPSHOT_DIR = "chainstate_snapshot"  # while a UTXO set was loaded and is not validated: coins and tip
SNAPSHOT_FILE = "btcnode.mdb"
SNAPSHOT_BASE_FILE = "base_blockhash"  # 32 bytes: the block that the set was loaded for
INVALID_SNAPSHOT_DIR = "chainstate_snapshot_INVALID"
DATABASE_FILE = "chainstate/btcnode.mdb"
COINS_DIR = "coins"  # beside the database's file
OLD_DATABASE_FILE = "btcnode.mdb"  # where it lay before; moved when found
BLOCKS_DIR = "blocks"
REINDEX_FILE = ".reindex"  # a database is being replaced by one that is to be filled from the block files
INDEX_DIR = "blocks/index"  # in the data directory, empty: see META_INDEX_DIR
XOR_FILE = "xor.dat"
XOR_KEY_SIZE = 8
MAX_BLOCKFILE_SIZE = 128 << 20
SMALL_BLOCKFILE_SIZE = 64 << 10  # Core's -fastprune
MAX_FILES = 100_000  # five digits; 12.8 TB of blocks

FRAME = Struct("<4sI")  # magic, size
FRAME_SIZE = FRAME.size
UNDO_CHECKSUM_SIZE = 32


def block_file_name(number: int) -> str:
    """``blk00000.dat``."""
    return f"blk{number:05d}.dat"


def undo_file_name(number: int) -> str:
    """``rev00000.dat``."""
    return f"rev{number:05d}.dat"


# -- databases ---------------------------------------------------------------------------------------------------

OLD_DB_COINS = b"coins"  # of older layouts: outpoint -> packed coin
DB_INDEX = b"index"
DB_META = b"meta"
DB_SUMS = b"sums"
DATABASES = (DB_INDEX, DB_META, DB_SUMS)
SUMS_SEAL = b"seal"

META_SCHEMA = b"schema"  # u32: SCHEMA_VERSION
META_NETWORK = b"network"  # magic[4]: the network whose data this is
META_TIP = b"tip"  # block hash[32]: the coins are those after this block
META_SYNC = b"sync"  # SYNC_RECORDs, oldest first: what the node was about to do, and what it flushed
META_FILE_PREFIX = b"file"
META_INDEX_DIR = b"indexdir"  # present: INDEX_DIR was made; who removes it wants the index built anew
META_DAMAGE = b"damage"  # text: what is damaged, as a running node has found; empty or absent: nothing known
META_HISTORY = b"history"  # present: the chain below a loaded UTXO set is validated, its own coins are not needed
META_RUNS = b"runs"  # records of the coins' runs (coin_run.py), oldest first
META_CONVERTING = b"converting"  # of UNSEALED_VERSION: the last outpoint that has a checksum already
META_REINDEX = b"reindex"  # not empty: the index is being made from the block files
META_XOR = b"xor"  # the 8 bytes of XOR_FILE, which has no checksum
META_PRUNED = b"pruned"  # present: block files were deleted
META_COMPACT = b"compact"  # present: no coins, but roots of their forest (-utreexocsn)
META_ROOTS_PREFIX = b"roots"  # + height % ROOTS_KEPT [u32 BE] -> roots after a block (utreexo/roots.py)
ROOTS_KEPT = 4096  # as deep as the chain can be taken back without coins; some 1 kB each
PROOFS_DIR = "proofs"  # without coins: <height, 8 digits>-<block hash>: CRC-32[u32 LE] and a proof (proof_files.py)

SCHEMA = Struct("<I")
SYNC_RECORD = Struct("<QBI32s")  # Unix seconds, state (sync/checkpoint.py), height and hash of the tip then

INDEX_KEY = Struct(">I")
# version, merkle root, time, bits and nonce as in the header (the parent's hash is that of record ``prev``)
# | hash | chainwork (BE) | chain_tx | prev | height | status | n_tx | file | data_pos | undo_pos | CRC-32 of the
# block's bytes, 0 while unknown; every field stands at a multiple of its width
INDEX_RECORD = Struct("<48s32s16sQiiIIiIII")
INDEX_RECORD_SIZE = INDEX_RECORD.size  # 136

# blocks in the file, bytes of blocks, bytes of undo data, lowest and highest height, lowest and highest time
FILE_RECORD = Struct("<IIIIIQQ")


def index_key(index: int) -> bytes:
    """Key of the record of header ``index``."""
    return INDEX_KEY.pack(index)


def roots_key(height: int) -> bytes:
    """Name in ``meta`` of the roots after the block at ``height``."""
    return META_ROOTS_PREFIX + INDEX_KEY.pack(height % ROOTS_KEPT)


def file_key(number: int) -> bytes:
    """Name in ``meta`` of the record of block file ``number``."""
    return META_FILE_PREFIX + INDEX_KEY.pack(number)
