"""Options of JSON-RPC and REST: where they are answered, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from btcnode.errors import ConfigError
from btcnode.networks.names import NetworkName
from btcnode.record import record
from btcnode.settings.addresses import HostPort, parse_allowed, parse_port, parse_rpc_bind
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import Number, Parsed, PathName, Several, Text

COOKIE_NAME = ".cookie"
LEAST_TOKEN = 16  # characters
COOKIE_MODES = {"owner": 0o600, "group": 0o640, "all": 0o644}


@record
class Account:
    """A user of ``-rpcauth``: ``digest`` is the hex HMAC-SHA256 of the password with key ``salt``."""

    user: str
    salt: str
    digest: str = field(repr=False)


@record
class WhitelistRule:
    """An entry of ``-rpcwhitelist``; ``methods`` None: it names the user only."""

    user: str
    methods: frozenset[str] | None


@record
class Refused:
    """A wrong value that is found out when the server starts, as in Core; ``line`` goes to the log."""

    line: str


def _parse_account(flag: str, text: str) -> Account | Refused:
    user, _, rest = text.partition(":")
    salt, _, digest = rest.partition("$")
    if text.count(":") != 1 or rest.count("$") != 1:
        return Refused(f"Invalid -{flag} argument.")
    return Account(user, salt, digest)


def _parse_rule(flag: str, text: str) -> WhitelistRule:
    user, colon, names = text.partition(":")
    return WhitelistRule(user, frozenset(names.replace(" ", ",").split(",")) if colon else None)


def _merged(rules: tuple[WhitelistRule, ...]) -> Mapping[str, frozenset[str]]:
    """Lists that name a user twice leave what both allow."""
    found: dict[str, frozenset[str]] = {}
    for rule in rules:
        methods = frozenset[str]() if rule.methods is None else rule.methods
        if rule.user in found:
            methods = found[rule.user] if rule.methods is None else methods & found[rule.user]
        found[rule.user] = methods
    return found


def _user(flag: str, text: str) -> str:
    if ":" in text:
        raise ConfigError(f"-{flag} must not contain a colon")
    return text


def _token(flag: str, text: str) -> str:
    if text and len(text) < LEAST_TOKEN:
        raise ConfigError(f"-{flag} must have at least {LEAST_TOKEN} characters")
    return text


def _mode(flag: str, text: str) -> int | Refused:
    mode = COOKIE_MODES.get(text)
    return Refused(f"Invalid -{flag}={text}; must be one of 'owner', 'group', or 'all'.") if mode is None else mode


def _rpc_port(network: NetworkName) -> int:
    return network.rpc_port


@record(kw_only=True)
class RpcSettings:
    """``rpccookiefile`` counts from the network's directory; ``rpccookieperms`` is the file's mode."""

    server: bool = switch("server", "Answer JSON-RPC.", True)
    rest: bool = switch("rest", "Answer REST requests (read only, without a password).", False)
    dashboard: bool | None = switch(
        "dashboard", "Show the node at /dashboard, to users of JSON-RPC.", usual="to browsers on this machine only"
    )
    dashboardtoken: str = option(
        "dashboardtoken",
        "Password of at least 16 characters that opens the dashboard and nothing else, for the user dashboard.",
        Parsed(_token, "TOKEN"),
        "",
        secret=True,
    )
    rpcbind: tuple[HostPort, ...] = option(
        "rpcbind",
        "Address to listen at, which counts with -rpcallowip only.",
        Several(Parsed(parse_rpc_bind, "ADDRESS[:PORT]")),
        usual="localhost",
        network_only=True,
    )
    rpcport: int = option(
        "rpcport",
        "Port to listen at (0: any free one).",
        Parsed(parse_port, "PORT"),
        _rpc_port,
        network_only=True,
        common=True,
    )
    rpcallowip: tuple[IPv4Network | IPv6Network, ...] = option(
        "rpcallowip",
        "Network whose hosts may connect besides localhost.",
        Several(Parsed(parse_allowed, "ADDRESS[/BITS]")),
    )
    rpcuser: str = option("rpcuser", "User name.", Parsed(_user, "NAME"), "", secret=True)
    rpcpassword: str = option(
        "rpcpassword", "Password.", Text(), "", secret=True, usual="a random one in the cookie file"
    )
    rpcauth: tuple[Account | Refused, ...] = option(
        "rpcauth",
        "User with hashed password: NAME:SALT$HMAC.",
        Several(Parsed(_parse_account, "USERPW")),
        secret=True,
    )
    rpccookiefile: Path | None = option(
        "rpccookiefile",
        "Cookie file, relative to the network's directory; negated: none.",
        PathName(COOKIE_NAME),
        COOKIE_NAME,
        metavar="FILE",
    )
    rpccookieperms: int | Refused = option(
        "rpccookieperms", "Who may read the cookie: owner, group, all.", Parsed(_mode, "WHO"), "owner"
    )
    rpcwhitelist: Mapping[str, frozenset[str]] = option(
        "rpcwhitelist", "Methods for a user: NAME:METHOD,METHOD...", Several(Parsed(_parse_rule), _merged)
    )
    rpcwhitelistdefault: bool | None = switch(
        "rpcwhitelistdefault", "Whether others may call nothing.", usual="on when there is an -rpcwhitelist"
    )
    rpcthreads: int = option("rpcthreads", "Requests in work at a time.", Number(1, 100_000, clamp=True), "16")
    rpcworkqueue: int = option(
        "rpcworkqueue", "Most requests that wait behind those in work.", Number(1, 100_000, clamp=True), "64"
    )
    rpcservertimeout_s: int = option(
        "rpcservertimeout", "Seconds a client may take to send a request.", Number(1, clamp=True), "30", metavar="S"
    )
    signer: str = option(
        "signer", "External signing tool, speaks as HWI does (docs/wallet.md).", Text(), "", metavar="CMD"
    )
    deprecatedrpc: tuple[str, ...] = option(
        "deprecatedrpc", "Still answer this deprecated method, or with this field.", Several(Text()), metavar="NAME"
    )
