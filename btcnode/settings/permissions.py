"""What the user allows certain peers: ``-whitelist`` and ``-whitebind``, read as Bitcoin Core 31 reads them."""

from __future__ import annotations

from enum import IntFlag

from btcnode.errors import ConfigError, DecodeError
from btcnode.record import record
from btcnode.settings.addresses import split_port
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.subnet import SubNet, numeric_address


class Permission(IntFlag):
    """What the user allows a peer beyond the ordinary (Core's ``-whitelist`` permissions)."""

    NONE = 0
    NOBAN = 1  # never discouraged, never evicted; misbehaviour is logged only
    DOWNLOAD = 2  # served historical blocks beyond the upload target
    ADDR = 4  # address gossip from it is not rate limited, getaddr answers are not cached
    RELAY = 8  # transactions are relayed in blocks-only mode too, without limits on announcements
    MEMPOOL = 16  # the mempool's contents are told on request (BIP35)
    FORCE_RELAY = 32  # what it sends is announced again though it is in the mempool already
    BLOOM_FILTER = 64  # served with bloom filters (BIP37) although these are not offered


_RELAY, _NOBAN = Permission.RELAY, Permission.NOBAN | Permission.DOWNLOAD
_FORCE_RELAY = Permission.FORCE_RELAY | _RELAY

PERMISSION_NAMES: dict[Permission, str] = {
    Permission.BLOOM_FILTER: "bloomfilter",
    Permission.NOBAN: "noban",
    Permission.FORCE_RELAY: "forcerelay",
    Permission.RELAY: "relay",
    Permission.MEMPOOL: "mempool",
    Permission.DOWNLOAD: "download",
    Permission.ADDR: "addr",
}
"""Names in the order in which getpeerinfo lists them."""

_WORDS: dict[str, Permission] = {
    "": Permission.NONE,
    "bloomfilter": Permission.BLOOM_FILTER,
    "bloom": Permission.BLOOM_FILTER,
    "noban": _NOBAN,
    "forcerelay": _FORCE_RELAY,
    "relay": _RELAY,
    "mempool": Permission.MEMPOOL,
    "download": Permission.DOWNLOAD,
    "addr": Permission.ADDR,
    "all": Permission.BLOOM_FILTER | _NOBAN | _FORCE_RELAY | Permission.MEMPOOL | Permission.ADDR,
}


def names(permissions: Permission) -> tuple[str, ...]:
    """The permissions by name, as getpeerinfo tells them (Core's words and order)."""
    return tuple(name for flag, name in PERMISSION_NAMES.items() if permissions & flag)


@record
class _Words:
    """What stands before the ``@`` of an option, and what behind it. ``implicit``: there is no ``@``."""

    flags: Permission
    rest: str
    implicit: bool = False
    inbound: bool = True
    outbound: bool = False


def _split(text: str, *, directions: bool) -> _Words:
    """Raises ConfigError with Core's words. ``directions``: connections that we open may be meant too."""
    before, at, rest = text.partition("@")
    if not at:
        return _Words(Permission.NONE, text, implicit=True)
    flags, inbound, outbound = Permission.NONE, False, False
    for word in before.split(","):
        if word == "in":
            inbound = True
        elif word == "out":
            if not directions:
                raise ConfigError('whitebind may only be used for incoming connections ("out" was passed)')
            outbound = True
        elif word in _WORDS:
            flags |= _WORDS[word]
        else:
            raise ConfigError(f"Invalid P2P permission: '{word}'")
    if (inbound or outbound) and not flags:
        raise ConfigError(f"Only direction was set, no permissions: '{text}'")
    return _Words(flags, rest, False, inbound or not outbound, outbound)


@record
class WhiteBind:
    """An address to listen at, and what those may who connect there. ``implicit``: no permissions were named."""

    address: NetAddress
    permissions: Permission
    implicit: bool


@record
class WhiteRange:
    """A range of addresses and what its peers may, those that connect to us or those that we connect to."""

    subnet: SubNet
    permissions: Permission
    implicit: bool
    inbound: bool
    outbound: bool


def parse_whitebind(flag: str, text: str) -> WhiteBind:
    """``[permissions@]address:port``; raises ConfigError."""
    words = _split(text, directions=False)
    parts = split_port(words.rest)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    try:
        address = numeric_address(*parts)
    except DecodeError:
        raise ConfigError(f"Cannot resolve -{flag} address: '{words.rest}'") from None
    if not address.port:
        raise ConfigError(f"Need to specify a port with -{flag}: '{words.rest}'")
    return WhiteBind(address, words.flags, words.implicit)


def parse_whitelist(flag: str, text: str) -> WhiteRange:
    """``[permissions@]address[/bits]``; raises ConfigError."""
    words = _split(text, directions=True)
    try:
        subnet = SubNet.parse(words.rest)
    except DecodeError:
        raise ConfigError(f"Invalid netmask specified in -{flag}: '{words.rest}'") from None
    return WhiteRange(subnet, words.flags, words.implicit, words.inbound, words.outbound)


class AccessRules:
    """Who has which permissions.

    ``relay`` and ``force_relay``: whether an entry without permissions of its own grants these too.
    """

    def __init__(
        self,
        ranges: tuple[WhiteRange, ...] = (),
        binds: tuple[WhiteBind, ...] = (),
        *,
        relay: bool = True,
        force_relay: bool = False,
    ) -> None:
        self.binds = binds
        self._ranges = ranges
        self._implicit = Permission.MEMPOOL | _NOBAN
        self._implicit |= (_FORCE_RELAY if force_relay else Permission.NONE) | (_RELAY if relay else Permission.NONE)

    def inbound(self, address: NetAddress | None, bind: WhiteBind | None) -> Permission:
        """Permissions of who connects from ``address`` to a listener of ``-whitebind`` or (None) another.

        ``address`` is None for who comes through Tor: nothing is known of it.
        """
        flags, implicit = (bind.permissions, bind.implicit) if bind is not None else (Permission.NONE, False)
        return self._with(address, flags, implicit, inbound=True)

    def outbound(self, address: NetAddress) -> Permission:
        """Permissions of a node that the user told us to connect to."""
        return self._with(address, Permission.NONE, False, inbound=False)

    def _with(self, address: NetAddress | None, flags: Permission, implicit: bool, *, inbound: bool) -> Permission:
        for white in self._ranges:
            if (white.inbound if inbound else white.outbound) and address is not None and address in white.subnet:
                flags |= white.permissions
                implicit |= white.implicit
        return flags | self._implicit if implicit else flags
