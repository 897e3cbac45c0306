"""What options say about others that nobody has set, with bitcoind's lines about it."""

from __future__ import annotations

import logging

from btcnode.cli.settings import Settings, as_text
from btcnode.debug_options import TEST_OPTIONS

BLOCKSONLY_MEMPOOL_MB = 5


def soften(settings: Settings) -> None:
    """Set what follows from the options (Core's InitParameterInteraction); every step depends on those before."""
    connect, blocks_only = settings.many("connect"), settings.flag("blocksonly", False)
    for name in ("bind", "whitebind"):
        if settings.many(name):
            _set(settings, f"-{name} set", listen=True)
    if connect or settings.is_negated("connect") or settings.number("maxconnections", 1) <= 0:
        _set(settings, "-connect or -maxconnections=0 set", dnsseed=False, listen=False)
    if settings.text("proxy", "") not in ("", "0"):
        _set(settings, "-proxy set", listen=False, natpmp=False, discover=False)
    if not settings.flag("listen", True):
        _set(settings, "-listen=0", natpmp=False, discover=False, listenonion=False, i2pacceptincoming=False)
    if settings.many("externalip"):
        _set(settings, "-externalip set", discover=False)
    if blocks_only:
        _set(settings, "-blocksonly=1", whitelistrelay=False, maxmempool=BLOCKSONLY_MEMPOOL_MB)
    if settings.flag("whitelistforcerelay", False):
        _set(settings, "-whitelistforcerelay=1", whitelistrelay=True)
    only = settings.many("onlynet")
    if only and not {"ipv4", "ipv6"} & {as_text(net, "").lower() for net in only}:
        _set(settings, "-onlynet excludes IPv4 and IPv6", dnsseed=False)
    _tell_ignored(settings)


def _set(settings: Settings, why: str, **values: int) -> None:
    """Give options a value unless somebody has given them one."""
    for name, value in values.items():
        if not settings.is_set(name):
            settings.soft[name] = str(int(value))
            settings.notes.append((logging.INFO, f"parameter interaction: {why} -> setting -{name}={int(value)}"))


def _tell_ignored(settings: Settings) -> None:
    connect = [as_text(value, "") for value in settings.many("connect")]
    if not connect and not settings.is_negated("connect"):
        return
    if connect not in ([], ["0"]) and settings.many("seednode"):
        settings.notes.append((logging.INFO, "-seednode is ignored when -connect is used"))
    if settings.is_set("dnsseed") and settings.flag("dnsseed", True) and settings.is_set("proxy"):
        settings.notes.append((logging.INFO, "-dnsseed is ignored when -connect is used and -proxy is specified"))


def warnings_of(settings: Settings) -> list[str]:
    """What the user is warned of on stderr, too, in Core's words where it has them."""
    found = [
        f'Unrecognised option "{as_text(value, "")}" provided in -test=<option>.'
        for value in settings.many("test")
        if value not in TEST_OPTIONS
    ]
    if settings.is_set("checkpoints"):
        found.append("Option '-checkpoints' is set but checkpoints were removed. This option has no effect.")
    for name in ("ancestor", "descendant"):
        if settings.is_set(f"limit{name}size"):
            found.append(
                f"Option '-limit{name}size' is given but {name} size limits have been replaced with cluster size limits"
                " (see -limitclustersize). This option has no effect."
            )
    if settings.flag("privatebroadcast", False) and not settings.flag("proxyrandomize", True):
        found.append(
            "Private broadcast of own transactions requested (-privatebroadcast) and -proxyrandomize is disabled. Tor"
            " circuits for private broadcast connections may be correlated to other connections over Tor. For maximum"
            " privacy set -proxyrandomize=1."
        )
    return found
