"""How the options fit together: contradictions are refused in Bitcoin Core's words where it has them."""

from __future__ import annotations

from btcnode.errors import ConfigError
from btcnode.settings.addresses import not_a_subnet
from btcnode.settings.settings import Settings
from btcnode.settings.sources import Sources


def check_listening(sources: Sources) -> None:
    """What Core says before it looks at the addresses themselves; raises ConfigError."""
    if not sources.flag("listen", True) and (sources.many("bind") or sources.many("whitebind")):
        raise ConfigError("Cannot set -bind or -whitebind together with -listen=0")


def check(settings: Settings) -> None:
    """Raises ConfigError."""
    _check_serving(settings)
    if settings.chain.test and settings.network.chain != "regtest":
        raise ConfigError("-test=<option> can only be used with regtest")
    _check_storage(settings)
    _check_mempool(settings)
    _check_connections(settings)
    _check_networks(settings)


def _check_serving(settings: Settings) -> None:
    """What Core looks at first."""
    storage, connections = settings.storage, settings.connections
    if storage.blocksdir is not None and not storage.blocksdir.is_dir():
        raise ConfigError(f'Specified blocks directory "{storage.blocksdir}" does not exist.')
    if connections.peerblockfilters and not storage.blockfilterindex:
        raise ConfigError("Cannot set -peerblockfilters without -blockfilterindex.")
    _check_pruning(settings)
    if connections.forcednsseed and not connections.dnsseed:
        raise ConfigError("Cannot set -forcednsseed to true when setting -dnsseed to false.")
    if settings.proxies.listenonion and not connections.listen:
        raise ConfigError("Cannot set -listen=0 together with -listenonion=1")


def _check_pruning(settings: Settings) -> None:
    storage = settings.storage
    for name, wanted in (("txindex", storage.txindex), ("txospenderindex", storage.txospenderindex)):
        if storage.prunes and wanted:
            raise ConfigError(f"Prune mode is incompatible with -{name}.")
    if storage.prunes and storage.reindex_chainstate:
        raise ConfigError("Prune mode is incompatible with -reindex-chainstate. Use full -reindex instead.")


def _check_storage(settings: Settings) -> None:
    storage = settings.storage
    if storage.reindex and storage.reindex_chainstate:
        raise ConfigError("-reindex includes -reindex-chainstate: give one of them")
    if storage.swiftsync is not None:
        if storage.reindex or storage.reindex_chainstate:
            raise ConfigError("-swiftsync fetches blocks: it cannot be used with -reindex or -reindex-chainstate")
        indexes = (("coinstatsindex", storage.coinstatsindex), ("blockfilterindex", storage.blockfilterindex))
        for name, wanted in indexes:
            if wanted and not storage.swiftsyncvalidate:
                raise ConfigError(f"-{name} needs undo data of every block: use -swiftsync with -swiftsync-validate")
        if settings.chain.assumevalid == 0 and storage.swiftsyncblock is None and not storage.swiftsyncfull:
            raise ConfigError(
                "-swiftsync verifies no scripts: it needs -assumevalid, -swiftsyncblock or -swiftsync-full"
            )


def _check_mempool(settings: Settings) -> None:
    mempool = settings.mempool
    least = -(-mempool.limitclustersize_vbytes * 40 // 1_000_000)  # MB: room for forty of the largest clusters
    if mempool.maxmempool_bytes and mempool.maxmempool_bytes < least * 1_000_000:
        raise ConfigError(f"-maxmempool must be at least {least} MB")
    if mempool.acceptnonstdtxn and settings.network.chain == "main":
        raise ConfigError("acceptnonstdtxn is not currently supported for main chain")


def _check_connections(settings: Settings) -> None:
    if settings.connections.dnsseed and not settings.proxies.allowed_networks & {"ipv4", "ipv6"}:
        raise ConfigError(
            "Incompatible options: -dnsseed=1 was explicitly specified, but -onlynet forbids connections to IPv4/IPv6"
        )
    if settings.proxies.cjdnsreachable:
        for network in settings.rpc.rpcallowip:
            if network.version == 6 and network.network_address.packed[0] == 0xFC:  # anybody may own one there
                raise not_a_subnet("rpcallowip", str(network))


def _check_networks(settings: Settings) -> None:
    proxies, plan = settings.proxies, settings.proxies.plan
    only = frozenset(proxies.onlynet)
    if "cjdns" in only and not proxies.cjdnsreachable:
        raise ConfigError(
            "Outbound connections restricted to CJDNS (-onlynet=cjdns) but -cjdnsreachable is not provided"
        )
    if "onion" in only and proxies.onion is not None and proxies.onion.proxy is None:
        raise ConfigError(
            "Outbound connections restricted to Tor (-onlynet=onion) but the proxy for reaching the Tor network is"
            " explicitly forbidden: -onion=0"
        )
    if "onion" in only and plan.onion is None and not proxies.listenonion:
        raise ConfigError(
            "Outbound connections restricted to Tor (-onlynet=onion) but the proxy for reaching the Tor network is"
            " not provided: none of -proxy, -onion or -listenonion is given"
        )
    if "i2p" in only and plan.i2p is None:
        raise ConfigError("Outbound connections restricted to i2p (-onlynet=i2p) but -i2psam is not provided")
    if proxies.privatebroadcast:
        _check_private_broadcast(settings)


def _check_private_broadcast(settings: Settings) -> None:
    asks = "Private broadcast of own transactions requested (-privatebroadcast), but "
    proxies, plan = settings.proxies, settings.proxies.plan
    onion = "onion" in proxies.allowed_networks and (plan.onion is not None or proxies.listenonion)
    if not onion and not ("i2p" in proxies.allowed_networks and plan.i2p is not None):
        raise ConfigError(f"{asks}none of Tor or I2P networks is reachable")
    if settings.connections.connect is not None:
        raise ConfigError(
            f"{asks}-connect is also configured. They are incompatible because the private broadcast needs to open new"
            " connections to randomly chosen Tor or I2P peers. Consider using -maxconnections=0 -addnode=... instead"
        )
