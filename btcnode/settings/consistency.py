"""How the options fit together: contradictions are refused in Bitcoin Core's words where it has them."""

from __future__ import annotations

from btcnode.errors import ConfigError
from btcnode.networks.names import network_of_chain
from btcnode.settings.addresses import not_a_subnet
from btcnode.settings.settings import Settings, value_of
from btcnode.settings.sources import Sources
from btcnode.settings.table import OPTIONS


def check_first(sources: Sources) -> None:
    """What Core refuses before it looks at values one by one, in its order; raises ConfigError."""
    network = network_of_chain(sources.chain)
    blocks = value_of(OPTIONS["blocksdir"], sources, network)
    if blocks is not None and not blocks.is_dir():
        raise ConfigError(f'Specified blocks directory "{blocks}" does not exist.')
    indexed = value_of(OPTIONS["blockfilterindex"], sources, network)
    if sources.flag("peerblockfilters", False) and not indexed:
        raise ConfigError("Cannot set -peerblockfilters without -blockfilterindex.")
    if sources.flag("peerutreexoproofs", False) and not sources.flag("utreexoindex", False):
        raise ConfigError("Cannot set -peerutreexoproofs without -utreexoindex.")
    if sources.number("prune", 0):
        _check_pruning(sources)
    if sources.flag("forcednsseed", False) and not sources.flag("dnsseed", True):
        raise ConfigError("Cannot set -forcednsseed to true when setting -dnsseed to false.")
    if not sources.flag("listen", True):
        if sources.many("bind") or sources.many("whitebind"):
            raise ConfigError("Cannot set -bind or -whitebind together with -listen=0")
        if sources.flag("listenonion", True):
            raise ConfigError("Cannot set -listen=0 together with -listenonion=1")


def _check_pruning(sources: Sources) -> None:
    why = " (-utreexo-csn prunes, unless -prune=0 is given.)" if sources.flag("utreexo-csn", False) else ""
    for name in ("txindex", "txospenderindex"):
        if sources.flag(name, False):
            raise ConfigError(f"Prune mode is incompatible with -{name}.{why}")
    if sources.flag("reindex-chainstate", False):
        raise ConfigError(f"Prune mode is incompatible with -reindex-chainstate. Use full -reindex instead.{why}")


def check(settings: Settings) -> None:
    """How values fit together; raises ConfigError."""
    if settings.chain.test and settings.network.chain != "regtest":
        raise ConfigError("-test=<option> can only be used with regtest")
    _check_storage(settings)
    _check_mempool(settings)
    _check_connections(settings)
    _check_networks(settings)


def _check_storage(settings: Settings) -> None:
    storage = settings.storage
    if storage.reindex and storage.reindex_chainstate:
        raise ConfigError("-reindex includes -reindex-chainstate: give one of them")
    if storage.utreexocsn:
        _check_without_coins(settings)
    if storage.downloadutxoset is not None:
        if storage.swiftsync is not None:
            raise ConfigError("-downloadutxoset and -swiftsync are two ways to begin: give one of them")
        if storage.reindex or storage.reindex_chainstate:
            raise ConfigError("-downloadutxoset cannot be used with -reindex or -reindex-chainstate")
    if storage.swiftsync is not None:
        if storage.reindex or storage.reindex_chainstate:
            raise ConfigError("-swiftsync fetches blocks: it cannot be used with -reindex or -reindex-chainstate")
        indexes = (
            ("coinstatsindex", storage.coinstatsindex),
            ("blockfilterindex", storage.blockfilterindex),
            ("utreexoindex", storage.utreexoindex),
        )
        for name, wanted in indexes:
            if wanted and not storage.swiftsyncvalidate:
                raise ConfigError(f"-{name} needs undo data of every block: use -swiftsync with -swiftsync-validate")
        if settings.chain.assumevalid == 0 and storage.swiftsyncblock is None and not storage.swiftsyncfull:
            raise ConfigError(
                "-swiftsync verifies no scripts: it needs -assumevalid, -swiftsyncblock or -swiftsync-full"
            )


def _check_without_coins(settings: Settings) -> None:
    storage = settings.storage
    others = (
        ("swiftsync", storage.swiftsync is not None),
        ("utreexoindex", storage.utreexoindex),
        ("reindex-chainstate", storage.reindex_chainstate),
        ("loadblock", bool(storage.loadblock)),
        ("downloadutxoset", storage.downloadutxoset is not None),
    )
    for name, wanted in others:
        if wanted:
            raise ConfigError(f"-utreexo-csn keeps no coins and connects blocks by proofs: it excludes -{name}")


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
