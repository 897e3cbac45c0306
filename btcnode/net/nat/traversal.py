"""Keeps the node reachable: tries the ways in order, renews what worked, removes it at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import SystemRandom

from btcnode.net.background import Background
from btcnode.net.nat.errors import Mapping, NatError, Way
from btcnode.wire.netaddr import NetAddress

RETRY_INTERVAL = 300.0  # seconds, when no way works: Core's
MIN_LIFETIME = 30  # seconds: a gateway that grants less wants to be asked all the time
REMOVE_TIMEOUT = 5.0  # seconds at exit

log = logging.getLogger("btcnode.net")


class NatTraversal(Background):
    """Runs beside the reactor on the loop; ``found`` is told each external address and the way it came."""

    def __init__(self, ways: Sequence[Way], port: int, found: Callable[[NetAddress, str], None]) -> None:
        super().__init__()
        self._ways = ways
        self._port = port
        self._found = found
        self._used: dict[str, Way] = {}  # by name: whose mappings may exist
        self._random = SystemRandom()

    def start(self) -> None:
        """Begin; nothing waits for the result."""
        if self._ways:
            super().start()

    async def _run(self) -> None:
        while True:
            lifetime = await self.renew()
            # RFC 6887 11.2.1: between 1/2 and 5/8 of the lifetime
            pause = lifetime * self._random.uniform(0.5, 0.625) if lifetime is not None else RETRY_INTERVAL
            await asyncio.sleep(pause)

    async def renew(self) -> int | None:
        """Go through the ways until one works; returns its lifetime in seconds, None when none does."""
        for way in self._ways:
            self._used[way.name] = way
            try:
                mappings = [item for item in await way.open(self._port) if self._is_good(way, item)]
            except NatError as error:
                log.debug("%s: %s", way.name, error)
                continue
            if mappings:
                for mapping in mappings:
                    log.info("%s: reachable as %s for %d s", way.name, mapping.external, mapping.lifetime)
                    self._found(mapping.external, way.name)
                return min(mapping.lifetime for mapping in mappings)
        return None

    def _is_good(self, way: Way, mapping: Mapping) -> bool:
        if mapping.lifetime < MIN_LIFETIME:
            log.warning("%s: impossibly short lifetime of %d s", way.name, mapping.lifetime)
            return False
        if not mapping.external.is_routable or not mapping.external.port:
            log.debug("%s: %s is not a public address", way.name, mapping.external)
            return False
        return True

    async def close(self) -> None:
        """Stop renewing and remove the mappings, as far as the gateway answers soon."""
        await super().close()
        for way in self._used.values():
            try:
                async with asyncio.timeout(REMOVE_TIMEOUT):
                    await way.close()
            except (NatError, TimeoutError) as error:
                log.debug("%s: the mapping remains: %s", way.name, error or "no answer")
        self._used.clear()
