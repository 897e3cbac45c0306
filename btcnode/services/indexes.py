"""The optional indexes of this node: started and stopped together, and asked by RPC methods and peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from btcnode.errors import StorageError
from btcnode.services.alerts import Alert, Alerts

if TYPE_CHECKING:
    from btcnode.indexes.recipe import Recipe
    from btcnode.services.chain import Chain
    from btcnode.services.index_builder import IndexBuilder, IndexState
    from btcnode.services.index_readers import CoinStatsIndex, FilterIndex, SpenderIndex, TxIndex, UtreexoIndex
    from btcnode.settings.settings import Settings


class Indexes:
    """The indexes that this node keeps; an index that the options do not ask for is None."""

    def __init__(
        self, chain: Chain, settings: Settings, alerts: Alerts, on_fatal: Callable[[BaseException], None]
    ) -> None:
        """Open the stores; raises StorageError, with none of them open.

        ``alerts`` show while an index is built anew; ``on_fatal`` is told of an error that one cannot go on after.
        """
        self._alerts = alerts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._builders: list[IndexBuilder] = []

        self.transactions: TxIndex | None = None
        self.spenders: SpenderIndex | None = None
        self.coinstats: CoinStatsIndex | None = None
        self.filters: FilterIndex | None = None
        self.utreexo: UtreexoIndex | None = None
        wanted = settings.storage
        if (
            wanted.txindex
            or wanted.coinstatsindex
            or wanted.txospenderindex
            or wanted.utreexoindex
            or wanted.blockfilterindex
        ):
            self._open(chain, settings, on_fatal)
        self._show_rebuilding()

    def _open(self, chain: Chain, settings: Settings, on_fatal: Callable[[BaseException], None]) -> None:
        from btcnode.indexes.coinstats import CoinStatsRecipe  # all of it: for nodes that keep an index
        from btcnode.indexes.filters import FilterRecipe
        from btcnode.indexes.transactions import SpenderRecipe, TxRecipe
        from btcnode.indexes.utreexo import UtreexoRecipe
        from btcnode.services import index_readers
        from btcnode.services.index_builder import IndexBuilder

        def opened(wanted: bool, recipe: Recipe) -> IndexBuilder | None:
            if not wanted:
                return None
            try:
                builder = IndexBuilder(
                    recipe,
                    chain,
                    settings.net_dir,
                    self._thread,
                    wipe=settings.storage.reindex,
                    on_fatal=on_fatal,
                    on_rebuild=self._show_rebuilding,
                )
            except StorageError:
                for other in self._builders:
                    other.store.close()
                raise
            self._builders.append(builder)
            return builder

        if (builder := opened(settings.storage.txindex, TxRecipe())) is not None:
            self.transactions = index_readers.TxIndex(builder, chain)
        if (
            builder := opened(settings.storage.coinstatsindex, CoinStatsRecipe(chain.params, chain.processes))
        ) is not None:
            self.coinstats = index_readers.CoinStatsIndex(builder, chain)
        if (builder := opened(settings.storage.txospenderindex, SpenderRecipe())) is not None:
            self.spenders = index_readers.SpenderIndex(builder, chain)
        if (builder := opened(settings.storage.utreexoindex, UtreexoRecipe())) is not None:
            self.utreexo = index_readers.UtreexoIndex(builder, chain)
        if (builder := opened(settings.storage.blockfilterindex, FilterRecipe())) is not None:
            self.filters = index_readers.FilterIndex(builder, chain)

    def _show_rebuilding(self) -> None:
        """Keep the warning about damaged indexes true."""
        self._alerts.lower_alert(Alert.INDEX_DAMAGED)
        names = [builder.name for builder in self._builders if builder.rebuilding]
        if names:
            text = f"Damaged and being built anew from the block files: {', '.join(names)}"
            self._alerts.raise_alert(Alert.INDEX_DAMAGED, text)

    def needs(self) -> dict[str, Callable[[], int]]:
        """For each index, by name, what tells the height from which on it needs blocks."""
        return {builder.name: builder.needed_from for builder in self._builders}

    def states(self) -> Sequence[IndexState]:
        """How far each has come."""
        return [builder.state() for builder in self._builders]

    def start(self) -> None:
        """Follow the chain from now on."""
        for builder in self._builders:
            builder.start()

    async def close(self) -> None:
        """Stop, with everything stored that is made."""
        for builder in self._builders:
            await builder.close()
        self._thread.shutdown()
