"""The Python door: the tables of a folder of block files as Arrow record batches, without files between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode.data.folder import BlockFolder
from btcnode.data.ranges import checked_range
from btcnode.errors import ConfigError
from btcnode.networks.parameters import NetworkParams, params_for

if TYPE_CHECKING:
    import pyarrow as pa

ENTRIES_AT_ONCE = 1000


def require_arrow() -> None:
    """Raise ConfigError unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ConfigError("This needs pyarrow: pip install 'btcnode[data]'") from None


def blocks(
    folder: str | Path, first: int = 0, last: int | None = None, *, network: str | NetworkParams = "mainnet",
    with_prevouts: bool = False,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """The blocks from height ``first`` to ``last`` (the tip), one row each; fees only ``with_prevouts``.

    ``folder`` has the block files (``<datadir>/blocks``). Columns, types and order are those of docs/data.md; a batch
    has the blocks of some megabytes. Raises ConfigError, DataError (pruned, damaged), StorageError.
    """
    return _table("blocks", folder, first, last, network, with_prevouts)


def transactions(
    folder: str | Path, first: int = 0, last: int | None = None, *, network: str | NetworkParams = "mainnet",
    with_prevouts: bool = False,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """As ``blocks``, one row for each transaction; raises the same."""
    return _table("transactions", folder, first, last, network, with_prevouts)


def inputs(
    folder: str | Path, first: int = 0, last: int | None = None, *, network: str | NetworkParams = "mainnet",
    with_prevouts: bool = False,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """As ``blocks``, one row for each input, with the coin that it spends only ``with_prevouts``; raises the same."""
    return _table("inputs", folder, first, last, network, with_prevouts)


def outputs(
    folder: str | Path, first: int = 0, last: int | None = None, *, network: str | NetworkParams = "mainnet",
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """As ``blocks``, one row for each output; raises the same."""
    return _table("outputs", folder, first, last, network, False)


def _table(
    table: str, folder: str | Path, first: int, last: int | None, network: str | NetworkParams, with_prevouts: bool
) -> Iterator[pa.RecordBatch]:
    require_arrow()
    from btcnode.data.rows import batches_of

    params = params_for(network) if isinstance(network, str) else network
    opened = BlockFolder(Path(folder), params)
    chain = opened.chain()
    first, last = checked_range(first, last, chain.tip)

    def all_batches() -> Iterator[pa.RecordBatch]:
        for start in range(first, last + 1, ENTRIES_AT_ONCE):
            places = chain.places(start, min(start + ENTRIES_AT_ONCE - 1, last))
            found = opened.source.read(places, with_coins=with_prevouts)
            for batches in batches_of(found, params, (table,), with_prevouts=with_prevouts):
                yield batches[table]

    return all_batches()
