"""Options of a node: one declaration per option, read by the command line, checked here.

``NodeConfig`` is the table: each field carries its option's name, help and group as metadata, and the command line is
made from them. An instance is always consistent: wrong values raise ``ConfigError`` with one line for the user.
Option names and defaults are Bitcoin Core's where Core has the option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from btcnode import __version__
from btcnode.address_options import check_address_options
from btcnode.connection_options import ConnectionOptions
from btcnode.datadir import default_datadir
from btcnode.debug_options import LOG, TEST, check_debug_options
from btcnode.errors import ConfigError
from btcnode.mining_options import check_mining_options
from btcnode.networks.names import network_named
from btcnode.networks.parameters import NetworkParams, params_for, parse_activation_height, parse_version_bits
from btcnode.option import OptionInfo
from btcnode.option import option as _option
from btcnode.primitives.amounts import AmountError, parse_money
from btcnode.primitives.hashes import BlockHash
from btcnode.proxy_options import check_proxy_options, parse_bind
from btcnode.storage_options import MAX_CHECK_LEVEL, check_storage_options

MIN_DBCACHE_MIB = 4
MIN_MEMORY_MIB = 256  # the interpreter, two workers, the smallest caches and one block on its way
MAX_USER_AGENT_LENGTH = 256  # of a version message

MEMPOOL_EVICTIONS = ("density", "lruk-fee")
BLOCK_RELAY_FORMS = ("auto", "compact", "xthin", "plain")
MAX_FEERATE = 100_000_000  # sat/kvB: one coin for 1000 vbytes, above that somebody has mistaken the unit

_HEX = re.compile(r"[0-9a-fA-F]*", re.ASCII)
_UA_COMMENT = re.compile(r"[A-Za-z0-9 .,;_/?@\-]*", re.ASCII)


CHAIN, STORE, RPC = "Chain", "Storage", "RPC server"
MEMPOOL, ZMQ = "Mempool", "ZeroMQ notifications"
ZMQ_TOPICS = ("hashblock", "hashtx", "rawblock", "rawtx", "sequence")


def _zmq_addresses(topic: str, what: str) -> Any:
    return _option(f"zmqpub{topic}", f"Publish {what} at this ZeroMQ address.", ZMQ, (), metavar="ADDRESS")


def _zmq_hwm(topic: str) -> Any:
    text = f"Most {topic} messages that wait for one subscriber (0: no limit)."
    return _option(f"zmqpub{topic}hwm", text, ZMQ, 1000, metavar="N")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(ConnectionOptions):
    """Every option of a node. Fields that are None follow another option or the network (see the properties)."""

    network: str = _option("network", "Network: mainnet, testnet3, testnet4, signet or regtest.", CHAIN, "mainnet")
    assumevalid: str | None = _option(
        "assumevalid", "Take the scripts of this block's ancestors as valid (0: verify all).", CHAIN, metavar="HASH"
    )
    minimumchainwork: str | None = _option(
        "minimumchainwork", "Least work of a chain worth downloading, in hex.", CHAIN, metavar="HEX"
    )
    signetchallenge: str | None = _option(
        "signetchallenge", "Script that the blocks of a signet of one's own satisfy, in hex.", CHAIN, metavar="HEX"
    )
    signetseednode: tuple[str, ...] = _option(
        "signetseednode", "Seed of a signet of one's own.", CHAIN, (), metavar="HOST[:PORT]"
    )
    shadow_validation: str = _option(
        "shadow-validation",
        "Verify scripts with libbitcoinkernel as well: 1 for all blocks, 1/100 for one in a hundred, 0 for none.",
        CHAIN,
        "0",
        metavar="SHARE",
    )
    shadow_stop: bool = _option(
        "shadow-stop", "Stop the node when the second engine disagrees (else log and go on).", CHAIN, True
    )

    datadir: Path = _option("datadir", "Data directory.", STORE, default_datadir, metavar="DIR")  # noqa: RUF009
    dbcache: int = _option("dbcache", f"Coin cache in MiB (at least {MIN_DBCACHE_MIB}).", STORE, 450, metavar="MIB")
    maxmemory: int = _option(
        "maxmemory",
        "Memory for caches, queued blocks and worker processes together, in MiB; a container's limit lowers it.",
        STORE,
        1536,
        metavar="MIB",
    )
    loadblock: tuple[Path, ...] = _option(
        "loadblock",
        "Import blocks from this file, or from the blk*.dat files of this folder.",
        STORE,
        (),
        metavar="PATH",
    )
    blockfilterindex: bool = _option("blockfilterindex", "Keep an index of block filters (BIP158).", STORE, False)
    txindex: bool = _option("txindex", "Keep an index of all transactions.", STORE, False)
    coinstatsindex: bool = _option("coinstatsindex", "Keep the UTXO set's statistics of every block.", STORE, False)
    txospenderindex: bool = _option("txospenderindex", "Keep an index of what spends each output.", STORE, False)
    par: int = _option(
        "par",
        "Processes that verify scripts, the node itself included (0: all cores, below 0: leave that many free).",
        STORE,
        0,
        metavar="N",
    )

    blocksonly: bool = _option("blocksonly", "Take no transactions from peers.", MEMPOOL, False)
    xthin: bool = _option("xthin", "Offer thin blocks (XTHIN) to nodes that speak them.", MEMPOOL, False)
    block_relay: str = _option(
        "block-relay",
        "Form in which new blocks are asked for: auto, compact, xthin, or plain for whole blocks.",
        MEMPOOL,
        "auto",
        metavar="FORM",
    )
    blockreconstructionextratxn: int = _option(
        "blockreconstructionextratxn",
        "Transactions beside the mempool's kept for compact blocks.",
        MEMPOOL,
        100,
        metavar="N",
    )
    persistmempool: bool = _option("persistmempool", "Save the mempool at exit and load it at start.", MEMPOOL, True)
    persistmempoolv1: bool = _option("persistmempoolv1", "Save it without a key, for older readers.", MEMPOOL, False)
    maxmempool: int = _option("maxmempool", "Memory of the mempool in MB (10**6).", MEMPOOL, 300, metavar="MB")
    mempoolexpiry: int = _option(
        "mempoolexpiry", "Hours after which a transaction is dropped.", MEMPOOL, 336, metavar="N"
    )
    mempool_eviction: str = _option(
        "mempool-eviction",
        "Who goes from a full mempool: density (lowest feerate first) or lruk-fee (age of interest weighed with it).",
        MEMPOOL,
        "density",
        metavar="WAY",
    )
    minrelaytxfee: str = _option(
        "minrelaytxfee", "Least feerate to take and relay, BTC/kvB.", MEMPOOL, "0.000001", metavar="FEERATE"
    )
    incrementalrelayfee: str = _option(
        "incrementalrelayfee",
        "What a replacement pays for its own relay, BTC/kvB.",
        MEMPOOL,
        "0.000001",
        metavar="FEERATE",
    )
    dustrelayfee: str = _option(
        "dustrelayfee", "Feerate that defines dust, BTC/kvB.", MEMPOOL, "0.00003", metavar="FEERATE"
    )
    datacarrier: bool = _option("datacarrier", "Relay transactions with OP_RETURN outputs.", MEMPOOL, True)
    datacarriersize: int = _option(
        "datacarriersize", "Bytes of all OP_RETURN scripts of a transaction.", MEMPOOL, 100_000, metavar="N"
    )
    permitbaremultisig: bool = _option("permitbaremultisig", "Relay bare multisig outputs.", MEMPOOL, True)
    acceptnonstdtxn: bool = _option(
        "acceptnonstdtxn", "Take non-standard transactions (test networks).", MEMPOOL, False
    )
    acceptstalefeeestimates: bool = _option(
        "acceptstalefeeestimates", "Use fee estimates of an earlier run however old they are (regtest).", MEMPOOL, False
    )
    bytespersigop: int = _option("bytespersigop", "Virtual bytes for each sigop.", MEMPOOL, 20, metavar="N")
    limitclustercount: int = _option(
        "limitclustercount", "Transactions that may depend on each other.", MEMPOOL, 64, metavar="N"
    )
    limitclustersize: int = _option("limitclustersize", "Their size together, kvB.", MEMPOOL, 101, metavar="KVB")

    server: bool = _option("server", "Answer JSON-RPC.", RPC, True)
    rest: bool = _option("rest", "Answer REST requests (read only, without a password).", RPC, False)
    rpcbind: tuple[str, ...] = _option(
        "rpcbind", "Address to listen at (default: localhost).", RPC, (), metavar="ADDRESS[:PORT]"
    )
    rpcport: int | None = _option(
        "rpcport", "Port to listen at (0: any free one; default: the network's).", RPC, metavar="PORT"
    )
    rpcallowip: tuple[str, ...] = _option(
        "rpcallowip", "Network whose hosts may connect besides localhost.", RPC, (), metavar="ADDRESS[/BITS]"
    )
    rpcuser: str = _option("rpcuser", "User name.", RPC, "", metavar="NAME")
    rpcpassword: str = _option(
        "rpcpassword", "Password (default: a random one in the cookie file).", RPC, "", metavar="TEXT"
    )
    rpcauth: tuple[str, ...] = _option(
        "rpcauth", "User with hashed password: NAME:SALT$HMAC.", RPC, (), metavar="USERPW"
    )
    rpccookiefile: Path | None = _option(  # noqa: RUF009
        "rpccookiefile", "Cookie file (default: .cookie in the network's directory).", RPC, metavar="FILE"
    )
    rpccookieperms: str = _option("rpccookieperms", "Who may read the cookie: owner, group, all.", RPC, "owner")
    rpcwhitelist: tuple[str, ...] = _option("rpcwhitelist", "Methods for a user: NAME:METHOD,METHOD...", RPC, ())
    rpcwhitelistdefault: bool | None = _option("rpcwhitelistdefault", "Whether others may call nothing.", RPC)
    rpcthreads: int = _option("rpcthreads", "Requests in work at a time.", RPC, 16, metavar="N")
    rpcworkqueue: int = _option("rpcworkqueue", "Most requests that wait behind those in work.", RPC, 64, metavar="N")
    rpcservertimeout: int = _option(
        "rpcservertimeout", "Seconds a client may take to send a request.", RPC, 30, metavar="S"
    )
    signer: str = _option("signer", "External signing tool, for enumeratesigners.", RPC, "", metavar="CMD")

    zmqpubhashblock: tuple[str, ...] = _zmq_addresses("hashblock", "hashes of new tips")
    zmqpubhashblockhwm: int = _zmq_hwm("hashblock")
    zmqpubhashtx: tuple[str, ...] = _zmq_addresses("hashtx", "ids of transactions")
    zmqpubhashtxhwm: int = _zmq_hwm("hashtx")
    zmqpubrawblock: tuple[str, ...] = _zmq_addresses("rawblock", "new tips")
    zmqpubrawblockhwm: int = _zmq_hwm("rawblock")
    zmqpubrawtx: tuple[str, ...] = _zmq_addresses("rawtx", "transactions")
    zmqpubrawtxhwm: int = _zmq_hwm("rawtx")
    zmqpubsequence: tuple[str, ...] = _zmq_addresses("sequence", "the order of blocks and mempool changes")
    zmqpubsequencehwm: int = _zmq_hwm("sequence")

    metrics_port: int | None = _option(
        "metrics-port", "Serve figures for Prometheus at this port (0: any free one).", LOG, metavar="PORT"
    )
    metrics_bind: str = _option("metrics-bind", "Address for that.", LOG, "127.0.0.1", metavar="ADDRESS")
    stopatheight: int = _option("stopatheight", "Stop when the chain has this height.", TEST, 0, metavar="HEIGHT")
    maxtipage: int = _option(
        "maxtipage", "Tip age in seconds above which the node counts as syncing.", TEST, 86400, metavar="S"
    )
    mocktime: int = _option("mocktime", "Clock to begin with (0: the real one).", TEST, 0, metavar="TIME")
    testactivationheight: tuple[str, ...] = _option(
        "testactivationheight", "Height at which a rule begins (regtest).", TEST, (), metavar="NAME@HEIGHT"
    )
    vbparams: tuple[str, ...] = _option(
        "vbparams", "Figures of a deployment (regtest).", TEST, (), metavar="NAME:START:END[:MIN]"
    )

    def __post_init__(self) -> None:
        """Check every value and how they fit together; raises ConfigError."""
        object.__setattr__(self, "network", network_named(self.network).name)
        object.__setattr__(self, "datadir", Path(self.datadir).expanduser())
        _check_numbers(self)
        _check_texts(self)
        check_debug_options(self, self.network)
        check_mining_options(self)
        check_storage_options(self)
        check_address_options(self, asks_dns_seeds=self.asks_dns_seeds)
        check_proxy_options(self, listens=self.listens, automatic=not self.connect)
        _check_addresses(self)
        self.network_params()

    def network_params(self) -> NetworkParams:
        """The network's parameters with the overrides among the options; raises ConfigError."""
        params = params_for(
            self.network,
            signet_challenge=_hex(self.signetchallenge, "signetchallenge")
            if self.signetchallenge is not None
            else None,
            seed_nodes=self.signetseednode or None,
            activation_overrides=dict(map(parse_activation_height, self.testactivationheight)) or None,
            version_bits=dict(map(parse_version_bits, self.vbparams)) or None,
            enforce_bip94="bip94" in self.test,
            fast_prune=self.fastprune and self.network == "regtest",
        )
        if self.minimumchainwork is not None:
            params = replace(params, minimum_chain_work=_number_of(self.minimumchainwork) or 0)
        if self.dnsseedname:
            params = replace(params, dns_seeds=self.dnsseedname)
        if self.assumevalid is not None:
            block_hash = BlockHash((_number_of(self.assumevalid) or 0).to_bytes(32, "little"))
            params = replace(params, assume_valid=block_hash if any(block_hash) else None)
        return params

    @property
    def net_dir(self) -> Path:
        """Where this network's files lie."""
        return self.datadir / network_named(self.network).subdir

    @property
    def blocks_dir(self) -> Path:
        """Where this network's block files lie."""
        return (
            (self.datadir if self.blocksdir is None else self.blocksdir.absolute())
            / network_named(self.network).subdir
            / "blocks"
        )

    @property
    def cookie_path(self) -> Path:
        """The RPC cookie; a relative path counts from ``net_dir``. ``rpccookiefile`` "0" is none."""
        return self.net_dir / (self.rpccookiefile or ".cookie")

    @property
    def log_path(self) -> Path | None:
        """The log file, None when switched off."""
        return None if self.debuglogfile in ("0", "") else self.net_dir / self.debuglogfile

    @property
    def shadow_share(self) -> Fraction:
        """Share of blocks that the second engine verifies as well, 0 to 1."""
        return Fraction(self.shadow_validation)


def parse_feerate(text: str, option: str) -> int:
    """A feerate in BTC/kvB, as typed, in satoshi/kvB; raises ConfigError."""
    try:
        rate = parse_money(text)
    except AmountError:
        rate = MAX_FEERATE + 1
    if rate > MAX_FEERATE:
        raise ConfigError(f"Invalid amount for -{option}=<amount>: '{text}'")
    return rate


def split_host_port(text: str, default_port: int) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address; raises ConfigError."""
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"Not an address: {text!r}")
        port_text = rest[1:]
        if rest == ":":
            raise ConfigError(f"No port behind the colon: {text!r}")
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        if not port_text:
            raise ConfigError(f"No port behind the colon: {text!r}")
    if not host or any(c.isspace() for c in host):
        raise ConfigError(f"Not an address: {text!r}")
    if not port_text:
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit()) or not 0 <= int(port_text) <= 65535:
        raise ConfigError(f"Invalid port in {text!r}")
    return host, int(port_text)


def option_table() -> list[tuple[str, OptionInfo, Any, Any]]:
    """``(field name, option, type, default)`` for every field in order; types as written in ``NodeConfig``."""
    table = []
    for item in fields(NodeConfig):
        default = item.default_factory() if callable(item.default_factory) else item.default
        table.append((item.name, item.metadata["option"], item.type, default))
    return table


def _number_of(text: str) -> int | None:
    """Up to 64 hexadecimal digits as a number, with or without 0x; None when they are not that."""
    digits = text.removeprefix("0x")
    return int(digits or "0", 16) if len(digits) <= 64 and _HEX.fullmatch(digits) else None


def _hex(text: str, option: str) -> bytes:
    if len(text) % 2 or not _HEX.fullmatch(text):
        raise ConfigError(f"--{option} must be hex, not '{text}'.")
    return bytes.fromhex(text)


CORE_TEXTS = {
    "maxconnections": "-maxconnections must be greater or equal than zero",
    "maxmempool": "-maxmempool must be at least 5 MB",
    "peertimeout": "peertimeout must be a positive integer.",
}
"""What bitcoind says of numbers that are too small."""


def _check_numbers(config: NodeConfig) -> None:
    """Ranges of the numeric options."""
    limits = {
        "dbcache": (MIN_DBCACHE_MIB, 1 << 24),
        "maxmemory": (MIN_MEMORY_MIB, 1 << 24),
        "maxmempool": (0, 1 << 24),
        "mempoolexpiry": (0, 2**31 - 1),
        "datacarriersize": (0, 2**31 - 1),
        "bytespersigop": (1, 2**31 - 1),
        "limitclustercount": (1, 64),
        "limitclustersize": (1, 2**31 - 1),
        "blockversion": (-(2**31), 2**31 - 1),
        "checkblocks": (-(2**31), 2**31 - 1),
        "checklevel": (0, MAX_CHECK_LEVEL),
        "par": (-1024, 1024),
        "maxconnections": (0, 100_000),
        "blockreconstructionextratxn": (0, 100_000),
        "timeout": (1, 2**31 - 1),
        "peertimeout": (-(2**31), 2**31 - 1),
        "maxreceivebuffer": (1, 2**21),
        "maxsendbuffer": (1, 2**21),
        "rpcthreads": (1, 100_000),
        "rpcworkqueue": (1, 100_000),
        "rpcservertimeout": (1, 2**31 - 1),
        "stopatheight": (0, 2**31 - 1),
        "maxtipage": (0, 2**63 - 1),
        "mocktime": (0, 2**62),
        "port": (0, 65535),
        "rpcport": (0, 65535),
        "metrics_port": (0, 65535),
        **{f"zmqpub{topic}hwm": (0, 2**31 - 1) for topic in ZMQ_TOPICS},
    }
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            if name in CORE_TEXTS and value < low:
                raise ConfigError(CORE_TEXTS[name])
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} takes a number from {low} to {high}, not {value}")
    least = -(-config.limitclustersize * 40 // 1000)  # room for forty of the largest clusters
    if config.maxmempool and config.maxmempool < least:
        raise ConfigError(f"-maxmempool must be at least {least} MB")
    if config.peertimeout < 1:
        raise ConfigError("peertimeout must be a positive integer.")


def _check_texts(config: NodeConfig) -> None:
    """Forms of hashes, categories, shares and comments."""
    if config.assumevalid is not None and _number_of(config.assumevalid) is None:
        raise ConfigError(
            f"Invalid assumevalid block hash specified ({config.assumevalid}), must be up to 64 hex digits (or 0 to"
            " disable)"
        )
    if config.minimumchainwork is not None and _number_of(config.minimumchainwork) is None:
        raise ConfigError(f"Invalid minimum work specified ({config.minimumchainwork}), must be up to 64 hex digits")
    try:
        share = Fraction(config.shadow_validation)
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 <= share <= 1:
        raise ConfigError(f"--shadow-validation takes 1, 0 or a share like 1/100, not {config.shadow_validation!r}")
    for comment in config.uacomment:
        if not _UA_COMMENT.fullmatch(comment) or "/" in comment:
            raise ConfigError(f"User Agent comment ({comment}) contains unsafe characters.")
    length = len(f"/btcnode:{__version__}({'; '.join(config.uacomment)})/")
    if config.uacomment and length > MAX_USER_AGENT_LENGTH:
        raise ConfigError(
            f"Total length of network version string ({length}) exceeds maximum length ({MAX_USER_AGENT_LENGTH})."
            " Reduce the number or size of uacomments."
        )
    if config.mempool_eviction not in MEMPOOL_EVICTIONS:
        raise ConfigError(f"--mempool-eviction is one of {', '.join(MEMPOOL_EVICTIONS)}")
    if config.block_relay not in BLOCK_RELAY_FORMS:
        raise ConfigError(f"--block-relay is one of {', '.join(BLOCK_RELAY_FORMS)}")
    for name in ("minrelaytxfee", "incrementalrelayfee", "dustrelayfee", "blockmintxfee"):
        parse_feerate(getattr(config, name), name)
    if config.acceptnonstdtxn and config.network in ("mainnet",):
        raise ConfigError("acceptnonstdtxn is not currently supported for main chain")
    if ":" in config.rpcuser:
        raise ConfigError("--rpcuser must not contain a colon")


def _check_addresses(config: NodeConfig) -> None:
    """Hosts, addresses and networks, and the options that exclude each other."""
    if "0" in config.connect and config.connect != ("0",):
        raise ConfigError("--connect 0 cannot be combined with other --connect")
    for text in (
        *(config.connect_only or ()),
        *config.addnode,
        *config.seednode,
        *config.signetseednode,
        *config.stunserver,
    ):
        split_host_port(text, 1)
    for text in config.bind:
        parse_bind(text, 1)
    for name in ("externalip", "rpcbind"):
        for text in getattr(config, name):
            host, _ = split_host_port(text, 1)
            if name != "rpcbind" or host != "localhost":
                _check_ip(host, name, text)
    _check_ip(config.metrics_bind, "metrics-bind", config.metrics_bind)
    for text in config.rpcallowip:
        allowed_network(text, cjdns=config.cjdnsreachable)
    for topic in ZMQ_TOPICS:
        for text in getattr(config, f"zmqpub{topic}"):
            port = text.rpartition(":")[2]
            if (
                text.count(":") == 1
                and not text.startswith(("unix:", "ipc:"))
                and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535)
            ):
                raise ConfigError(f"Invalid port specified in -zmqpub{topic}: '{text}'")
    for name in ("txindex", "txospenderindex"):
        if config.prunes and getattr(config, name):
            raise ConfigError(f"Prune mode is incompatible with --{name}.")
    if config.dnsseed and not config.allowed_networks & {"ipv4", "ipv6"}:
        raise ConfigError(
            "Incompatible options: -dnsseed=1 was explicitly specified, but -onlynet forbids connections to IPv4/IPv6"
        )
    if (config.bind or config.whitebind) and config.listen is False:
        raise ConfigError("Cannot set -bind or -whitebind together with -listen=0")
    if config.peerblockfilters and not config.blockfilterindex:
        raise ConfigError("Cannot set -peerblockfilters without -blockfilterindex.")


def allowed_network(text: str, *, cjdns: bool) -> IPv4Network | IPv6Network:
    """The hosts that ``--rpcallowip`` means; with ``cjdns`` none of fc00::/8, which anybody may own there.

    Raises ConfigError.
    """
    address, slash, mask = text.partition("/")
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        found = ip_network(address + slash + mask, strict=False)
    except ValueError:
        found = None
    if found is None or (cjdns and found.version == 6 and found.network_address.packed[0] == 0xFC):
        raise ConfigError(
            f"Invalid -rpcallowip subnet specification: {text}. Valid values are a single IP (e.g. 1.2.3.4), a"
            " network/netmask (e.g. 1.2.3.4/255.255.255.0), a network/CIDR (e.g. 1.2.3.4/24), all ipv4 (0.0.0.0/0), or"
            " all ipv6 (::/0). RFC4193 is allowed only if -cjdnsreachable=0."
        )
    return found


def _check_ip(host: str, name: str, text: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        raise ConfigError(f"Cannot resolve --{name} address: {text!r}") from None
