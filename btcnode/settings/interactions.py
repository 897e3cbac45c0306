"""What options say about others that nobody has set, with bitcoind's lines about it."""

from __future__ import annotations

import logging

from btcnode.settings.groups.chain import TEST_OPTIONS
from btcnode.settings.groups.storage import MIN_PRUNE_MIB
from btcnode.settings.sources import Sources, as_text

BLOCKSONLY_MEMPOOL_MB = 5
COMPACT_MIB = 210  # memory of a node that keeps no coins


def soften(sources: Sources) -> None:
    """Set what follows from the options (Core's InitParameterInteraction); every step depends on those before."""
    if sources.flag("utreexo-csn", False):
        small = {"prune": MIN_PRUNE_MIB, "maxmemory": COMPACT_MIB}
        _set(sources, "-utreexo-csn=1", **small, blocksonly=True, persistmempool=False)
    connect, blocks_only = sources.many("connect"), sources.flag("blocksonly", False)
    for name in ("bind", "whitebind"):
        if sources.many(name):
            _set(sources, f"-{name} set", listen=True)
    if connect or sources.is_negated("connect") or sources.number("maxconnections", 1) <= 0:
        _set(sources, "-connect or -maxconnections=0 set", dnsseed=False, listen=False)
    if sources.text("proxy", "") not in ("", "0"):
        _set(sources, "-proxy set", listen=False, natpmp=False, discover=False)
    if not sources.flag("listen", True):
        _set(sources, "-listen=0", natpmp=False, discover=False, listenonion=False, i2pacceptincoming=False)
    if sources.many("externalip"):
        _set(sources, "-externalip set", discover=False)
    if blocks_only:
        _set(sources, "-blocksonly=1", whitelistrelay=False, maxmempool=BLOCKSONLY_MEMPOOL_MB)
        if not sources.flag("disablewallet", False):
            _set(sources, "-blocksonly=1", walletbroadcast=False)
    if sources.flag("whitelistforcerelay", False):
        _set(sources, "-whitelistforcerelay=1", whitelistrelay=True)
    only = sources.many("onlynet")
    if only and not {"ipv4", "ipv6"} & {as_text(net, "").lower() for net in only}:
        _set(sources, "-onlynet excludes IPv4 and IPv6", dnsseed=False)
    _tell_ignored(sources)


def _set(sources: Sources, why: str, **values: int) -> None:
    """Give options a value unless somebody has given them one."""
    for name, value in values.items():
        if not sources.is_set(name):
            sources.soft[name] = str(int(value))
            sources.notes.append((logging.INFO, f"parameter interaction: {why} -> setting -{name}={int(value)}"))


def _tell_ignored(sources: Sources) -> None:
    connect = [as_text(value, "") for value in sources.many("connect")]
    if not connect and not sources.is_negated("connect"):
        return
    if connect not in ([], ["0"]) and sources.many("seednode"):
        sources.notes.append((logging.INFO, "-seednode is ignored when -connect is used"))
    if sources.is_set("dnsseed") and sources.flag("dnsseed", True) and sources.is_set("proxy"):
        sources.notes.append((logging.INFO, "-dnsseed is ignored when -connect is used and -proxy is specified"))


def warnings_of(sources: Sources) -> list[str]:
    """What the user is warned of on stderr, too, in Core's words where it has them."""
    found = [
        f'Unrecognised option "{as_text(value, "")}" provided in -test=<option>.'
        for value in sources.many("test")
        if value not in TEST_OPTIONS
    ]
    if sources.is_set("checkpoints"):
        found.append("Option '-checkpoints' is set but checkpoints were removed. This option has no effect.")
    for name in ("ancestor", "descendant"):
        if sources.is_set(f"limit{name}size"):
            found.append(
                f"Option '-limit{name}size' is given but {name} size limits have been replaced with cluster size limits"
                " (see -limitclustersize). This option has no effect."
            )
    names = [as_text(value, "") for value in sources.many("wallet")]
    if not sources.flag("disablewallet", False):
        found += [f"Ignoring duplicate -wallet {name}." for n, name in enumerate(names) if name in names[:n]]
    if sources.flag("privatebroadcast", False) and not sources.flag("proxyrandomize", True):
        found.append(
            "Private broadcast of own transactions requested (-privatebroadcast) and -proxyrandomize is disabled. Tor"
            " circuits for private broadcast connections may be correlated to other connections over Tor. For maximum"
            " privacy set -proxyrandomize=1."
        )
    return found
