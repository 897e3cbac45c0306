"""Options about block files among the node's: where they lie and when old ones go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from btcnode.debug_options import DebugOptions
from btcnode.errors import ConfigError
from btcnode.option import option

STORAGE, TESTING = "Storage", "Debugging and testing"
MIB = 1 << 20
MIN_PRUNE_MIB = 550
MAX_CHECK_LEVEL = 4
PRUNE_MANUALLY = 1  # the value of -prune that stands for pruning by RPC alone


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOptions(DebugOptions):
    """Part of ``NodeConfig``."""

    blocksdir: Path | None = option(  # noqa: RUF009
        "blocksdir", "Folder for the block files of all networks (default: the data directory).", STORAGE, metavar="DIR"
    )
    prune: int = option(
        "prune",
        f"Delete old block files: 0 never, 1 by pruneblockchain, from {MIN_PRUNE_MIB} on to keep them below so many"
        " MiB.",
        STORAGE,
        0,
        metavar="MIB",
    )
    blocksxor: bool = option("blocksxor", "Scramble a new datadir's block files with a random key.", STORAGE, True)
    reindex: bool = option("reindex", "Rebuild index and coins from the block files.", STORAGE, False)
    reindex_chainstate: bool = option("reindex-chainstate", "Rebuild the coins from the block files.", STORAGE, False)
    checkblocks: int = option("checkblocks", "Blocks to check at start (0: all).", STORAGE, 6, metavar="N")
    checklevel: int = option(
        "checklevel", f"How thoroughly to check them (0-{MAX_CHECK_LEVEL}).", STORAGE, 3, metavar="N"
    )
    dbcrashratio: int = option(
        "dbcrashratio",
        "End the process in one of so many writes of coins, for tests (0: never).",
        TESTING,
        0,
        metavar="N",
    )
    fastprune: bool = option("fastprune", "Small block files, for tests of pruning.", TESTING, False)

    @property
    def prunes(self) -> bool:
        """Whether old block files may be deleted."""
        return self.prune != 0

    @property
    def prune_target(self) -> int | None:
        """Bytes that block files may take together; None when they are deleted on demand or never."""
        return self.prune * MIB if self.prune > PRUNE_MANUALLY else None


def check_storage_options(options: StorageOptions) -> None:
    """Figures in Core's words; raises ConfigError."""
    if options.prune < 0:
        raise ConfigError("Prune cannot be configured with a negative value.")
    if PRUNE_MANUALLY < options.prune < MIN_PRUNE_MIB:
        raise ConfigError(f"Prune configured below the minimum of {MIN_PRUNE_MIB} MiB.  Please use a higher number.")
    if options.dbcrashratio < 0:
        raise ConfigError("--dbcrashratio takes no number below 0")
    if options.prunes and options.reindex_chainstate:
        raise ConfigError("Prune mode is incompatible with --reindex-chainstate. Use full --reindex instead.")
    if options.reindex and options.reindex_chainstate:
        raise ConfigError("--reindex includes --reindex-chainstate: give one of them")
    if options.blocksdir is not None and not options.blocksdir.is_dir():
        raise ConfigError(f'Specified blocks directory "{options.blocksdir}" does not exist.')
