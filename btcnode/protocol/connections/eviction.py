"""Which inbound connection makes room for a new one (Bitcoin Core's SelectNodeToEvict).

Protected are, in turn: a few netgroups that an attacker cannot predict, the lowest latencies, who gave us
transactions and blocks last, who gave us proofs or chunks of a UTXO set last (ours), and of the rest the half that is
connected longest, with places kept for the networks that latency disfavours. Of what remains the youngest member of
the largest netgroup goes.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.record import record
from btcnode.wire.netaddr import Network

PROTECT_NETGROUPS = 4
PROTECT_PINGS = 8
PROTECT_TXS = 4
PROTECT_BLOCK_RELAY = 8
PROTECT_BLOCKS = 4
PROTECT_PROVIDERS = 4  # ours
_DISADVANTAGED = (Network.CJDNS, Network.I2P, None, Network.TORV3)  # None: this very host


@record
class Candidate:
    """An inbound peer without the noban permission. ``group`` is its keyed netgroup, ``ping`` the lowest latency."""

    peer_id: int
    connected: float
    ping: float
    last_block: int
    last_tx: int
    relevant_services: bool
    relays_txs: bool
    has_bloom_filter: bool
    group: bytes
    network: Network
    is_local: bool
    prefer_evict: bool = False
    last_given: float = 0.0  # when it last brought what is wanted beside blocks (ours, connections/providers.py)


def _protect(
    candidates: list[Candidate],
    key: Callable[[Candidate], tuple[object, ...]],
    count: int,
    only: Callable[[Candidate], bool] | None = None,
) -> list[Candidate]:
    """Without the last ``count`` in the order of ``key``, of which those that do not pass ``only`` stay."""
    ordered = sorted(candidates, key=key)
    cut = len(ordered) - min(count, len(ordered))
    kept = ordered[:cut]
    if only is not None:
        kept += [c for c in ordered[cut:] if not only(c)]
    return kept


def _is_of(candidate: Candidate, network: Network | None) -> bool:
    return candidate.is_local if network is None else candidate.network == network


def _protect_by_ratio(candidates: list[Candidate]) -> list[Candidate]:
    """Protect half: up to a quarter by disfavoured network, the rest by age of the connection."""
    total = len(candidates) // 2
    left = candidates
    counts = [[sum(_is_of(c, network) for c in left), i] for i, network in enumerate(_DISADVANTAGED)]
    counts.sort()
    protected = 0
    while protected < total // 2:
        present = sum(1 for count, _ in counts if count)
        if not present:
            break
        share = max((total // 2 - protected) // present, 1)
        progress = False
        for entry in counts:
            if not entry[0]:
                continue
            network = _DISADVANTAGED[entry[1]]
            before = len(left)

            def order(c: Candidate, network: Network | None = network) -> tuple[object, ...]:
                return (_is_of(c, network), -c.connected)

            def member(c: Candidate, network: Network | None = network) -> bool:
                return _is_of(c, network)

            left = _protect(left, order, share, member)
            delta = before - len(left)
            if delta:
                progress = True
                protected += delta
                entry[0] -= delta
                if protected >= total // 2:
                    break
        if not progress:
            break
    return _protect(left, lambda c: (-c.connected,), total - protected)


def select_for_eviction(candidates: list[Candidate]) -> int | None:
    """The peer to disconnect, or None when all are worth protecting."""
    left = _protect(candidates, lambda c: (c.group, -c.connected), PROTECT_NETGROUPS)
    left = _protect(left, lambda c: (-c.ping, -c.connected), PROTECT_PINGS)
    left = _protect(left, lambda c: (c.last_tx, c.relays_txs, not c.has_bloom_filter, -c.connected), PROTECT_TXS)
    left = _protect(
        left,
        lambda c: (not c.relays_txs, c.last_block, c.relevant_services, -c.connected),
        PROTECT_BLOCK_RELAY,
        lambda c: not c.relays_txs and c.relevant_services,
    )
    left = _protect(left, lambda c: (c.last_block, c.relevant_services, -c.connected), PROTECT_BLOCKS)
    left = _protect(left, lambda c: (c.last_given, -c.connected), PROTECT_PROVIDERS, lambda c: c.last_given > 0)
    left = _protect_by_ratio(left)
    preferred = [c for c in left if c.prefer_evict]
    left = preferred or left
    if not left:
        return None
    groups: dict[bytes, list[Candidate]] = {}
    for candidate in sorted(left, key=lambda c: -c.connected):
        groups.setdefault(candidate.group, []).append(candidate)
    largest = max(groups.values(), key=lambda members: (len(members), members[0].connected))
    return largest[0].peer_id
