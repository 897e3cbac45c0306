"""Options of what lies on disk and in memory: coins, block files, indexes, the checks at start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from btcnode.errors import ConfigError
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.record import record
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import INT32_MAX, MIB, Flag, HexNumber, Number, Parsed, PathName, Several

MIN_DBCACHE_MIB = 4
MIN_MEMORY_MIB = 160  # the interpreter, a worker, the smallest caches and one block on its way, without coins
MIN_PRUNE_MIB = 550
MAX_CHECK_LEVEL = 4
MAX_PROCESSES = 64  # that verify scripts, the node's own included
_HASH = "[0-9a-fA-F]{64}"
_HEIGHT = "[0-9]{1,9}"
PRUNE_MANUALLY = 1  # the value of -prune that stands for pruning by RPC alone


class _FilterTypes(Flag):
    """``-blockfilterindex``: a switch, or the names of types of filters, of which there is one."""

    several = True

    def read(self, flag: str, text: str) -> Any:
        """The text itself: whether it is a switch or a type depends on the last one."""
        return text

    def collect(self, values: Sequence[Any]) -> bool:
        """Whether there is to be an index; raises ConfigError for a type that does not exist."""
        if not values or values[-1] in ("", "0", "1"):
            return bool(values) and values[-1] != "0"
        for text in values:
            if text != "basic":
                raise ConfigError(f"Unknown -blockfilterindex value {text}.")
        return True


class _Prune(Number):
    """``-prune``: MiB, but 0 and 1 mean something of their own."""

    def read(self, flag: str, text: str) -> int:
        """The number as it was given."""
        value = super().read(flag, text)
        if PRUNE_MANUALLY < value < MIN_PRUNE_MIB:
            raise ConfigError(
                f"Prune configured below the minimum of {MIN_PRUNE_MIB} MiB.  Please use a higher number."
            )
        return value


@record
class UtxoSetChoice:
    """A UTXO set by the height or the hash of its block, and the root of its chunks where the user knows it.

    Hashes are 32 bytes in internal order.
    """

    height: int | None
    block_hash: bytes | None
    root: bytes | None = None

    def names(self, known: AssumeUtxo) -> bool:
        """Whether it is this one."""
        return known.block_hash == self.block_hash if self.height is None else known.height == self.height


def parse_utxo_set(flag: str, text: str) -> UtxoSetChoice:
    """``height|hash[:root]``; raises ConfigError."""
    place, colon, root = text.partition(":")
    if colon and not re.fullmatch(_HASH, root):
        raise ConfigError(f"-{flag}: the root of a UTXO set has 64 hex digits, not '{root}'.")
    known = bytes.fromhex(root)[::-1] if colon else None
    if re.fullmatch(_HASH, place):
        return UtxoSetChoice(None, bytes.fromhex(place)[::-1], known)
    if not re.fullmatch(_HEIGHT, place):
        raise ConfigError(f"-{flag} wants the height or the hash of a block, not '{place}'.")
    return UtxoSetChoice(int(place), None, known)


@record(kw_only=True)
class StorageSettings:
    """Sizes are bytes."""

    dbcache_bytes: int = option(
        "dbcache",
        "Coin cache in MiB, as far as -maxmemory has room for it.",
        Number(MIN_DBCACHE_MIB, 1 << 24, clamp=True, unit=MIB),
        "450",
        metavar="MIB",
        common=True,
    )
    maxmemory_bytes: int = option(
        "maxmemory",
        "Memory for caches, queued blocks and worker processes together, in MiB; what the machine or a"
        " container has lowers it.",
        Number(MIN_MEMORY_MIB, 1 << 24, unit=MIB),
        "1536",
        usual="1536; 210 with -utreexo-csn",
        metavar="MIB",
        common=True,
    )
    par: int = option(
        "par",
        "Processes that verify scripts, the node itself included (0: all cores, below 0: leave that many free), as"
        " many as -maxmemory has room for.",
        Number(-1024, MAX_PROCESSES, clamp=True),
        "0",
    )
    blocksdir: Path | None = option(
        "blocksdir",
        "Folder for the block files of all networks, which must be there.",
        PathName(),
        usual="the data directory",
        metavar="DIR",
    )
    loadblock: tuple[Path, ...] = option(
        "loadblock",
        "Import blocks from this file, or from the blk*.dat files of this folder.",
        Several(PathName()),
        common=True,
    )
    stopafterblockimport: bool = switch(
        "stopafterblockimport", "Stop when the blocks of -loadblock or -reindex are in.", False
    )
    stopatheight: int = option(
        "stopatheight", "Stop when the chain has this height.", Number(0, clamp=True), "0", metavar="HEIGHT"
    )
    prune: int = option(
        "prune",
        f"Delete old block files: 0 never, 1 by pruneblockchain, from {MIN_PRUNE_MIB} on to keep them below so many"
        " MiB.",
        _Prune(0, 2**43, too_low="Prune cannot be configured with a negative value."),
        "0",
        usual=f"0; {MIN_PRUNE_MIB} with -utreexo-csn",
        metavar="MIB",
        common=True,
    )
    fastprune: bool = switch("fastprune", "Small block files, for tests of pruning.", False)
    blocksxor: bool = switch("blocksxor", "Scramble a new datadir's block files with a random key.", True)
    txindex: bool = switch("txindex", "Keep an index of all transactions.", False, common=True)
    txospenderindex: bool = switch("txospenderindex", "Keep an index of what spends each output.", False)
    coinstatsindex: bool = switch("coinstatsindex", "Keep the UTXO set's statistics of every block.", False)
    utreexoindex: bool = switch(
        "utreexoindex", "Keep the Utreexo forest and every block's proof (docs/utreexo.md).", False
    )
    utreexocsn: bool = switch(
        "utreexo-csn",
        "Keep no coins, but the roots of their Utreexo forest: blocks come with proofs from bridges (docs/utreexo.md).",
        False,
    )
    blockfilterindex: bool = option(
        "blockfilterindex",
        "Keep an index of block filters (BIP158): yes, or the name of their type, of which there is one, basic.",
        _FilterTypes(),
        usual="off",
    )
    downloadutxoset: UtxoSetChoice | None = option(
        "downloadutxoset",
        "Start from the UTXO set of this height or block, which peers tell (BIP 452, draft); the root of its chunks"
        " where it is known otherwise.",
        Parsed(parse_utxo_set, "HEIGHT|HASH[:ROOT]"),
    )
    reindex: bool = switch("reindex", "Rebuild index and coins from the block files.", False, common=True)
    reindex_chainstate: bool = switch("reindex-chainstate", "Rebuild the coins from the block files.", False)
    swiftsync: Path | None = option(
        "swiftsync",
        "Sync a new node with the hints of this file, which are verified (docs/swiftsync.md).",
        PathName(),
        metavar="FILE",
    )
    swiftsyncblock: int | None = option(
        "swiftsyncblock",
        "The block that the hints are for, if it is not below the assumed-valid one; no scripts up to it are verified.",
        HexNumber("Invalid swiftsyncblock hash specified ({}), must be up to 64 hex digits"),
        metavar="HASH",
    )
    swiftsyncfull: bool = switch(
        "swiftsync-full",
        "Verify every script in a sync with hints; it needs peers that tell what blocks spend (-peerblockinputs).",
        False,
    )
    swiftsyncvalidate: bool = switch(
        "swiftsync-validate", "Validate the whole chain in the background after a sync with hints.", False
    )
    checkblocks: int = option(
        "checkblocks", "Blocks to check at start (0: all).", Number(0, INT32_MAX, clamp=True), "6"
    )
    checklevel: int = option(
        "checklevel",
        "How thoroughly to check them.",
        Number(0, MAX_CHECK_LEVEL, clamp=True),
        "3",
    )
    dbcrashratio: int = option(
        "dbcrashratio",
        "End the process in one of so many writes of coins, for tests (0: never).",
        Number(0, clamp=True),
        "0",
    )

    @property
    def prunes(self) -> bool:
        """Whether old block files may be deleted."""
        return self.prune != 0

    @property
    def prune_target(self) -> int | None:
        """Bytes that block files may take together; None when they are deleted on demand or never."""
        return self.prune * MIB if self.prune > PRUNE_MANUALLY else None
