"""The node's settings: what all sources together say, parsed, consistent, final."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from btcnode.errors import ConfigError
from btcnode.networks.names import NetworkName, network_of_chain
from btcnode.networks.parameters import NetworkParams
from btcnode.record import record, replace
from btcnode.settings.datadir import default_datadir
from btcnode.settings.declaration import NOTHING, Option, options_of
from btcnode.settings.groups.chain import ChainSettings
from btcnode.settings.groups.connections import ConnectionSettings
from btcnode.settings.groups.log import LogSettings
from btcnode.settings.groups.mempool import MempoolSettings
from btcnode.settings.groups.mining import MiningSettings
from btcnode.settings.groups.notifications import NotificationSettings
from btcnode.settings.groups.process import ProcessSettings
from btcnode.settings.groups.proxies import ProxySettings
from btcnode.settings.groups.rpc import RpcSettings
from btcnode.settings.groups.storage import StorageSettings
from btcnode.settings.groups.wallet import WalletSettings
from btcnode.settings.sources import Sources, as_text, wrong_type
from btcnode.settings.table import GROUPS

TOLD_FIRST = (
    "maxconnections", "debug", "debugexclude", "loglevel", "peertimeout", "blockmintxfee", "blockmaxweight",
    "blockreservedweight", "test", "minimumchainwork", "assumevalid", "prune", "incrementalrelayfee", "minrelaytxfee",
    "dustrelayfee", "limitclustercount",
)  # fmt: skip
"""Of several mistakes the first one here is told, as by bitcoind; those in other options come after them."""


@record(kw_only=True)
class Settings:
    """Every option of a node, in groups; ``params`` has what the options change of the network's parameters."""

    network: NetworkName
    datadir: Path
    params: NetworkParams
    chain: ChainSettings
    storage: StorageSettings
    connections: ConnectionSettings
    proxies: ProxySettings
    mempool: MempoolSettings
    mining: MiningSettings
    wallet: WalletSettings
    rpc: RpcSettings
    notifications: NotificationSettings
    log: LogSettings
    process: ProcessSettings
    settings_file: Path | None = None  # settings.json, where what the user changes at run time is kept

    @classmethod
    def resolve(cls, sources: Sources) -> Settings:
        """Parse what the sources say; raises ConfigError with a line for the user.

        What follows from other options (``interactions.soften``) must be among the sources already. How the result
        fits together is for ``consistency.check``.
        """
        network = network_of_chain(sources.chain)
        groups = _read_groups(sources, network)
        params = groups["chain"].parameters(
            network.name,
            groups["connections"].dnsseedname,
            fast_prune=groups["storage"].fastprune and network.chain == "regtest",
        )
        datadir = groups["process"].datadir or default_datadir()
        return cls(network=network, datadir=datadir, params=params, **groups)

    def changed(self, group: str, **values: Any) -> Settings:
        """The same settings but for these fields of one group."""
        return replace(self, **{group: replace(getattr(self, group), **values)})

    @property
    def net_dir(self) -> Path:
        """Where this network's files lie."""
        return self.datadir / self.network.subdir

    @property
    def blocks_dir(self) -> Path:
        """Where this network's block files lie."""
        elsewhere = self.storage.blocksdir
        return (self.datadir if elsewhere is None else elsewhere.absolute()) / self.network.subdir / "blocks"

    @property
    def cookie_path(self) -> Path | None:
        """The RPC cookie; None when there shall be none."""
        name = self.rpc.rpccookiefile
        return None if name is None else self.net_dir / name

    @property
    def log_path(self) -> Path | None:
        """The log file, None when switched off."""
        name = self.log.debuglogfile
        return None if name is None else self.net_dir / name


def _read_groups(sources: Sources, network: NetworkName) -> dict[str, Any]:
    """The groups by their name; raises ConfigError, of several that for the option which is told first."""
    groups: dict[str, Any] = {}
    faults: dict[str, ConfigError] = {}
    for name, (_, group) in GROUPS.items():
        values: dict[str, Any] = {}
        for field, option in options_of(group).items():
            try:
                values[field] = value_of(option, sources, network)
            except ConfigError as error:
                faults[option.flag] = error
        if not faults:
            groups[name] = group(**values)
    if faults:
        raise next((faults[flag] for flag in TOLD_FIRST if flag in faults), next(iter(faults.values())))
    return groups


def value_of(option: Option, sources: Sources, network: NetworkName) -> Any:
    """What the sources make of one option; raises ConfigError."""
    here = not option.only_on or option.only_on == network.chain
    if option.kind.several:
        values = sources.many(option.flag) if here else []
        for value in values:
            if not isinstance(value, str | bool):
                raise wrong_type(option.flag, value)
        if values or (here and sources.is_negated(option.flag)):
            return option.kind.collect([option.kind.read(option.flag, as_text(value, "")) for value in values])
        return option.kind.collect(()) if option.unset is NOTHING else option.unset
    value = sources.single(option.flag) if here else None
    if value is False:
        return option.kind.negated(option.flag)
    if value is not None:
        return option.kind.read(option.flag, as_text(value, ""))
    if callable(option.default):
        return option.default(network)
    if isinstance(option.default, str):
        return option.kind.read(option.flag, option.default)
    if option.default is not None:
        return option.default
    return None if option.unset is NOTHING else option.unset
