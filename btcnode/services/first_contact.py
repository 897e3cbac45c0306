"""Telling the user, soon, that no peer can be reached, and what to try."""

from __future__ import annotations

import logging

from btcnode.protocol.protocol import Protocol
from btcnode.settings.settings import Settings

PATIENCE_S = 12.0  # without any peer; who is asked once a second has the word within 15

log = logging.getLogger("btcnode.net")


class FirstContact:
    """``advice`` is what to try while no peer is there, None while there is one or none is looked for."""

    def __init__(self, settings: Settings, protocol: Protocol) -> None:
        self._settings = settings
        self._protocol = protocol
        self._alone_since: float | None = None
        self.advice: str | None = None

    def check(self, steady: float) -> None:
        """Once a second; ``steady`` in seconds."""
        if sum(self._protocol.directions()) or not self._looks_for_peers():
            if self.advice is not None:
                log.info("there are peers again" if self._looks_for_peers() else "no peers are looked for")
            self._alone_since = self.advice = None
            return
        if self._alone_since is None:
            self._alone_since = steady
        if self.advice is None and steady - self._alone_since >= PATIENCE_S:
            self.advice = self._what_to_try()
            log.warning("%s", self.advice)

    def _looks_for_peers(self) -> bool:
        """Regtest has neither seeds nor strangers: without named nodes nobody is expected there."""
        options = self._settings.connections
        if options.connect is not None:
            return bool(options.connect)
        return bool(options.addnode) or self._settings.network.name != "regtest"

    def _what_to_try(self) -> str:
        options, proxies = self._settings.connections, self._settings.proxies
        if not self._protocol.network_active:
            return "No peer: networking is switched off. Try: btcnode-cli setnetworkactive true."
        if options.connect:
            named = ", ".join(options.connect)
            return (
                f"No peer: {named} of -connect does not answer. Is that node up, at that port, on the same network?"
                " Without -connect the node finds others by itself."
            )
        hints = ["Is this machine online, and does its firewall let TCP out?"]
        if proxies.proxy or proxies.onion:
            hints.append("Is the proxy up that the options name?")
        if proxies.onlynet:
            hints.append(f"Can {', '.join(proxies.onlynet)} be reached from here, as -onlynet demands?")
        if not len(self._protocol.address_book):
            hints.append("No address of a node is known: do names resolve (DNS)?")
        return f"No peer can be reached. {' '.join(hints)} A node that you know: --addnode HOST."
