"""What RPC handlers are given: the parts of a running node, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.record import record

if TYPE_CHECKING:
    from btcnode.mempool.pool import Mempool
    from btcnode.mining.templates import TemplateMaker
    from btcnode.networks.parameters import NetworkParams
    from btcnode.services.addresses import Addresses
    from btcnode.services.alerts import Alerts
    from btcnode.services.assumed_chain import AssumedChain
    from btcnode.services.chain import Chain
    from btcnode.services.clock import Clock
    from btcnode.services.control import Control
    from btcnode.services.fees import FeeEstimates
    from btcnode.services.first_contact import FirstContact
    from btcnode.services.hints_writer import HintsWriter
    from btcnode.services.indexes import Indexes
    from btcnode.services.mempool_file import MempoolFile
    from btcnode.services.notifications import Notifications
    from btcnode.services.peers import Peers
    from btcnode.services.pruner import Pruner
    from btcnode.services.snapshot_writer import SnapshotWriter
    from btcnode.services.submissions import Submissions
    from btcnode.services.swift_sync import SwiftSync
    from btcnode.services.sync_monitor import SyncMonitor
    from btcnode.services.utxo_fetch import UtxoFetch
    from btcnode.services.utxo_shares import UtxoShares
    from btcnode.services.wallet_service import WalletService
    from btcnode.settings.settings import Settings


@record
class NodeParts:
    """All parts of one node, each working; used on the loop thread.

    Plain methods of parts answer at once from memory, ``async`` ones may wait for the chain thread or for an event.
    Hashes are 32 bytes in internal order, a header's place is its ``int`` index in the tree (-1 is "none"), values are
    satoshi, times Unix seconds unless the name says so.
    """

    settings: Settings
    params: NetworkParams
    clock: Clock
    control: Control
    alerts: Alerts
    chain: Chain
    assumed: AssumedChain
    pruner: Pruner
    snapshots: SnapshotWriter
    hints: HintsWriter
    indexes: Indexes
    mempool: Mempool
    mempool_file: MempoolFile
    submissions: Submissions
    templates: TemplateMaker
    fees: FeeEstimates | None  # None: with -blocksonly nothing is learned of fees
    peers: Peers
    addresses: Addresses
    notifications: Notifications
    sync: SyncMonitor
    swiftsync: SwiftSync | None  # None: no -swiftsync
    utxo_fetch: UtxoFetch
    utxo_shares: UtxoShares | None  # None: no -peerutxosets
    contact: FirstContact
    wallets: WalletService | None  # None: -disablewallet
