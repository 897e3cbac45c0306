"""The node as the RPC methods see it: one object over the services, which come up one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from btcnode.node.address_service import AddressService
from btcnode.node.chain_service import ChainService
from btcnode.node.control_service import ControlService
from btcnode.node.index_service import IndexService
from btcnode.node.mempool_service import MempoolService
from btcnode.node.notification_service import NotificationService
from btcnode.node.peers_service import PeersService
from btcnode.node.prune_service import PruneService
from btcnode.node.sync_monitor import SyncMonitor

if TYPE_CHECKING:
    from btcnode.rpc.address_api import AddressApi
    from btcnode.rpc.context import ChainApi, ControlApi, MempoolApi, NotifyApi, PeersApi, PruneApi, SyncApi
    from btcnode.rpc.index_api import IndexApi

    def _services_fit(
        chain: ChainService,
        indexes: IndexService,
        peers: PeersService,
        mempool: MempoolService,
        sync: SyncMonitor,
        notifications: NotificationService,
        pruner: PruneService,
        control: ControlService,
        addresses: AddressService,
    ) -> None:
        """The type checker's proof that the services are what ``NodeApi`` promises."""
        parts: tuple[
            ChainApi, IndexApi, PeersApi, MempoolApi, SyncApi, NotifyApi, PruneApi, ControlApi, AddressApi
        ] = (
            chain, indexes, peers, mempool, sync, notifications, pruner, control, addresses,
        )  # fmt: skip
        del parts


class NodeFacade:
    """Looks a name up in the services that are there. While the node warms up only the control service is."""

    def __init__(self, control: ControlService) -> None:
        self._services: list[object] = [control]

    def add(self, service: object) -> None:
        """A service is up."""
        self._services.append(service)

    def __getattr__(self, name: str) -> Any:
        for service in self._services:
            if hasattr(service, name):
                value = getattr(service, name)
                if callable(value):
                    setattr(self, name, value)  # found at once from now on
                return value
        raise AttributeError(name)
