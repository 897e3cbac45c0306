"""Everything that the dashboard shows, in sections: read on the loop in slices, once for all who look.

Hashes are reversed hex, times Unix seconds, sizes bytes, fee rates sat/vB. What peers have sent (user agents, reasons)
is text as it came: whoever shows it must not take it for anything else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from btcnode import __version__
from btcnode.observe import catalogue as c
from btcnode.observe.progress import STATES, RateMeter, Rates, Snapshot
from btcnode.primitives.hashes import to_display
from btcnode.record import record
from btcnode.services import answers, metric_values
from btcnode.services.fee_survey import BLOCK_WEIGHT, BOUNDS
from btcnode.services.measuring import Measured, Meter
from btcnode.services.metric_values import PeerSums
from btcnode.services.recent import Connected, Recent, Reorganisation
from btcnode.services.snapshot import snapshot_of

MOST_PEERS = 200  # that are shown, those with the lowest scores first
PEERS_AT_ONCE = 20  # in one turn of the loop: half a millisecond
OUTSIDE_INTERVAL = 10.0  # seconds between looks at memory and disk
POOL_INTERVAL = 5.0  # seconds between walks through the mempool
FEES_SHOWN = 60  # points of the histogram over time
SMOOTHING = 0.2  # weight of the last second in what is told of the stages
TARGETS = (2, 6, 24)  # blocks
FULL_BLOCK = 0.95 * BLOCK_WEIGHT
DAILY_BYTES = 290_000_000  # that a chain with full blocks grows by, with undo data
SHOWN_TEXT = 200  # characters of what a peer has sent

Sections = dict[str, Any]


@record
class Room:
    """What is known of the machine: bytes that the disk must keep free, bytes of the whole chain, and a function that
    tells the bytes of memory the node may take when it has so many."""

    kept_free: int
    chain_bytes: int
    memory_limit: Callable[[int], int]


class Overview:
    """Makes the sections; belongs to the loop thread, and to one caller at a time."""

    def __init__(self, node: Measured, meter: Meter, recent: Recent, room: Room) -> None:
        self._node = node
        self._meter = meter
        self._recent = recent
        self._room = room
        self._steady = asyncio.get_running_loop().time
        self._rates = RateMeter()
        self._busy: dict[str, float] = {}
        self._outside: dict[str, Mapping[tuple[str, ...], Any]] = {}
        self._outside_due = self._pool_due = float("-inf")

    async def sections(self) -> Sections:
        """All of them by name; takes a few milliseconds in slices. Those that have not changed are equal."""
        now = snapshot_of(self._node.parts)
        steady = self._steady()
        rates = self._rates.add(steady, now)
        if steady >= self._outside_due:
            self._outside_due = steady + OUTSIDE_INTERVAL
            await self._look_outside()
        if steady >= self._pool_due:
            self._pool_due = steady + POOL_INTERVAL
            await self._recent.look_at_pool()
        for stage, share in self._meter.busy.items():
            self._busy[stage] = (1 - SMOOTHING) * self._busy.get(stage, share) + SMOOTHING * share
        peers, sums = await self._peers()
        disk = self._disk()
        return {
            "state": self._state(now, rates),
            "answers": self._answers(now, rates, peers["listed"], disk),
            "stages": self._stages(),
            "blocks": self._blocks(),
            "mempool": self._mempool(now.now),
            "peers": peers,
            "traffic": self._traffic(sums),
            "resources": self._resources(now, disk),
            "branches": [self._branch(one) for one in reversed(self._recent.reorganisations)],
        }

    def _state(self, now: Snapshot, rates: Rates) -> Sections:
        parts = self._node.parts
        return {
            "version": __version__,
            "network": now.network,
            "now": now.now,
            "uptime": parts.control.uptime(),
            "state": now.state,
            "meaning": STATES[now.state],
            "in_sync": now.in_sync,
            "blocks": now.blocks,
            "headers": now.headers,
            "tip_time": now.tip_time,
            "tip": to_display(parts.chain.tree.hash(parts.chain.tip())),
            "progress": round(min(1.0, now.progress), 6),
            "seconds_left": rates.seconds_left,
            "blocks_per_second": round(rates.blocks, 2),
            "transactions_per_second": round(rates.transactions, 1),
            "peers_in": now.peers_in,
            "peers_out": now.peers_out,
            "pruned": parts.settings.storage.prunes,
            "warnings": [*([now.advice] if now.advice else []), *parts.alerts.warnings()],
        }

    def _answers(
        self, now: Snapshot, rates: Rates, listed: list[Sections], disk: answers.Disk | None
    ) -> list[answers.Answer]:
        pool, chronicle = self._node.parts.mempool, self._node.protocol.chronicle
        suspects = [answers.Suspect(one["score"], one["address"], one["faults"], one["wasted"]) for one in listed]
        offences = sum(self._node.protocol.offences.values())
        least = max(pool.minimum_feerate(now.now), pool.options.min_relay_feerate) / 1000
        found = [
            answers.in_sync(now, rates),
            answers.why_slow(now, self._busy),
            answers.who_abuses(suspects, chronicle.departures, offences, now.now),
            answers.which_fee(self._recent.survey.blocks, least, self._estimates(), FULL_BLOCK, in_sync=now.in_sync),
        ]
        if disk is not None:
            found.insert(3, answers.when_full(disk))
        return found

    def _estimates(self) -> dict[int, float]:
        """By target in blocks, as far as enough was seen."""
        fees = self._node.parts.fees
        if fees is None:
            return {}
        highest = fees.estimator.highest_target()
        found = {n: fees.estimator.smart(n, conservative=False).feerate for n in TARGETS if n <= highest}
        return {target: rate / 1000 for target, rate in found.items() if rate}

    def _stages(self) -> Sections:
        queues = next(metric_values.of_stages(self._node.driver, self._node.protocol, self._node.workers))
        waiting = {labels[0]: value for labels, value in queues.values.items()}
        workers = metric_values.stage_workers(self._node.workers)
        return {
            "bottleneck": answers.bottleneck(self._busy),
            "stages": [
                {"name": name, "busy": round(self._busy.get(name, 0.0), 3), "queue": waiting[name], "workers": number}
                for name, number in workers.items()
            ],
        }

    def _blocks(self) -> list[Sections]:
        """The newest blocks of the chain first."""
        return [self._block(one) for one in reversed(self._recent.blocks)]

    def _block(self, one: Connected) -> Sections:
        arrival = self._node.protocol.chronicle.arrivals.get(one.index)
        came: Sections = {"form": "", "announcer": None, "sender": None, "asked": 0, "arrived_ms": None, "tip_ms": None}
        if arrival is not None and arrival.sender is not None:
            came = {
                "form": arrival.form,
                "announcer": arrival.announcer,
                "sender": arrival.sender,
                "asked": arrival.asked,
                "arrived_ms": round(1000 * (arrival.whole - arrival.first), 1),
                "tip_ms": round(1000 * max(0.0, one.steady - arrival.first), 1),
            }
        name = to_display(self._node.parts.chain.tree.hash(one.index))
        return {"height": one.height, "hash": name, "time": one.unix, "txs": one.txs, "size": one.size, **came}

    def _mempool(self, now: int) -> Sections:
        pool, survey = self._node.parts.mempool, self._recent.survey
        return {
            "txs": len(pool),
            "vsize": pool.total_vsize,
            "usage": pool.memory_usage,
            "limit": pool.max_bytes,
            "minimum": max(pool.minimum_feerate(now), pool.options.min_relay_feerate) / 1000,
            "accepted": self._node.transactions.accepted,
            "rejected": sum(self._node.transactions.rejected.values()),
            "evicted": pool.evicted,
            "bounds": BOUNDS,
            "now": survey.vbytes,
            "projected": [asdict(block) for block in survey.blocks],
            "history": self._fees_over_time(),
        }

    def _fees_over_time(self) -> list[tuple[int, list[int]]]:
        looks = list(self._recent.fees)
        step = max(1, -(-len(looks) // FEES_SHOWN))
        return looks[::-1][::step][::-1]

    async def _peers(self) -> tuple[Sections, PeerSums]:
        node = self._node
        sums = PeerSums(node.reactor, node.protocol)
        found = []
        for connection in sums.connections:
            summary = node.protocol.peer_summary(connection.peer_id)
            if summary is not None:
                found.append((summary.score, connection.peer_id))
        shown = sorted(found)[:MOST_PEERS]
        listed: list[Sections] = []
        for start in range(0, len(shown), PEERS_AT_ONCE):
            listed += filter(None, (self._peer(peer_id) for _, peer_id in shown[start : start + PEERS_AT_ONCE]))
            await asyncio.sleep(0)
        for start in range(0, len(sums.connections), PEERS_AT_ONCE):
            sums.add(sums.connections[start : start + PEERS_AT_ONCE])
            await asyncio.sleep(0)
        offences = {offence.value: count for offence, count in node.protocol.offences.items() if count}
        gone = [
            asdict(one) | {"user_agent": one.user_agent[:SHOWN_TEXT], "reason": one.reason[:SHOWN_TEXT]}
            for one in reversed(node.protocol.chronicle.departures)
        ]
        networks = Counter(peer["network"] for peer in listed)
        told = {
            "number": len(found),
            "listed": listed,
            "gone": gone,
            "offences": offences,
            "networks": dict(networks),
            "bans": len(node.parts.peers.bans()),
            "discouraged": node.protocol.discouraged,
        }
        return told, sums

    def _peer(self, peer_id: int) -> Sections | None:
        connection = self._node.reactor.connections.get(peer_id)
        info = self._node.protocol.peer_info(peer_id, connection) if connection is not None else None
        score = self._node.protocol.peer_score(peer_id)
        if info is None or score is None:
            return None
        return {
            "id": peer_id,
            "address": info["addr"],
            "network": info["network"],
            "inbound": info["inbound"],
            "kind": info["connection_type"],
            "transport": info["transport_protocol_type"],
            "user_agent": info["subver"][:SHOWN_TEXT],
            "since": info["conntime"],
            "height": info["synced_blocks"],
            "ping": info["pingtime"],
            "received": info["bytesrecv"],
            "sent": info["bytessent"],
            "state": score["state"],
            "standing": score["standing"],
            "score": score["score"],
            "faults": score["violations"],
            "wasted": score["wasted"],
            "failed": score["failed"],
            "work": score["work"],
        }

    def _traffic(self, sums: PeerSums) -> Sections:
        """Bytes by type of message since the start, both ways."""
        by_type: dict[str, list[int]] = {}
        for reading in sums.readings():
            if reading.metric is c.MESSAGE_BYTES:
                for (direction, kind), size in reading.values.items():
                    by_type.setdefault(kind, [0, 0])[direction == "out"] = int(size)  # type: ignore[arg-type]
        received, sent = self._node.parts.peers.totals()
        return {"received": received, "sent": sent, "types": by_type}

    async def _look_outside(self) -> None:
        node = self._node
        pids = list(node.workers.pids) if node.workers is not None else []
        settings, block_bytes = node.parts.settings, node.parts.chain.size_on_disk()
        readings = await asyncio.to_thread(
            metric_values.outside, settings.net_dir, settings.blocks_dir, block_bytes, pids
        )
        self._outside = {reading.metric.name: reading.values for reading in readings}

    def _disk(self) -> answers.Disk | None:
        free = self._outside.get(c.DISK_FREE.name)
        if free is None:
            return None
        parts = self._node.parts
        storage, have = parts.settings.storage, parts.chain.size_on_disk()
        whole = self._room.chain_bytes
        if storage.prunes:
            whole = min(storage.prune_target or whole, whole)
        far = parts.chain.is_initial_block_download()
        return answers.Disk(
            free=int(free[()]),
            keeps=self._room.kept_free,
            missing=max(0, whole - have) if far else 0,
            rate=self._recent.disk.bytes_per_second(),
            guessed=0 if storage.prunes or not self._room.chain_bytes else DAILY_BYTES,
        )

    def _resources(self, now: Snapshot, disk: answers.Disk | None) -> Sections:
        memory = {labels[0]: int(size) for labels, size in self._outside.get(c.MEMORY.name, {}).items()}
        own = memory.get("node", 0)
        coins = self._node.driver.chainstate.coins
        return {
            "memory": memory,
            "memory_limit": self._room.memory_limit(own),
            "cache": {"bytes": now.cache_bytes, "budget": coins.budget, "coins": now.cache_coins},
            "lookups": coins.lookups,
            "misses": coins.database_lookups,
            "disk": {labels[0]: int(size) for labels, size in self._outside.get(c.DISK_BYTES.name, {}).items()},
            "free": disk.free if disk is not None else None,
            "disk_size": int(self._outside[c.DISK_SIZE.name][()]) if disk is not None else None,
            "is_short": disk is not None and disk.is_short,
            "seconds_left": disk.seconds_left() if disk is not None else None,
        }

    def _branch(self, one: Reorganisation) -> Sections:
        tree = self._node.parts.chain.tree

        def block(index: int) -> Sections:
            return {"height": tree.height(index), "hash": to_display(tree.hash(index))}

        fork = tree.prev(one.left[-1])
        return {
            "time": one.unix,
            "depth": one.depth,
            "fork": block(fork) if fork >= 0 else None,
            "left": [block(index) for index in reversed(one.left)],
            "joined": [block(index) for index in one.joined],
        }
