"""Who offers what this node needs beside blocks: bridges for one without coins, peers that share UTXO sets.

Some of the automatic connections go to addresses that are said to offer it, no more: whoever fills the address book
with such addresses does not get all of them. What counts is what is given: who was asked and gave nothing, or something
wrong, counts as not offering it for hours, wherever its address is told again; and who gave is kept, when it connected
to us and a place is needed, however many others say that they would give.
"""

from __future__ import annotations

from btcnode.protocol.addresses.netgroup import host_key
from btcnode.protocol.limits import MAX_FAILED_PROVIDERS, PROVIDER_FAILED_FOR
from btcnode.wire.netaddr import NetAddress


def source_key(address: NetAddress) -> bytes:
    """By what somebody is known when he comes again: the host; programs on this machine by their port too."""
    return str(address).encode() if address.is_local else host_key(address)


class Providers:
    """``wanted``: the service bits that are looked for now, 0 for none."""

    def __init__(self) -> None:
        self.wanted = 0
        self._failed: dict[bytes, float] = {}  # by source_key, until when (seconds of Context.steady); oldest first

    def want(self, service: int) -> None:
        """From now on peers with this bit are looked for."""
        self.wanted |= service

    def no_longer(self, service: int) -> None:
        """Nothing of that kind is needed any more."""
        self.wanted &= ~service

    def offers(self, address: NetAddress, services: int, steady: float) -> bool:
        """Whether somebody is said to offer what is wanted, and has not failed to give it."""
        return bool(services & self.wanted) and self._failed.get(source_key(address), 0.0) <= steady

    def gave(self, address: NetAddress) -> None:
        """It gave what it was asked for: whatever was before."""
        self._failed.pop(source_key(address), None)

    def failed(self, address: NetAddress, steady: float) -> None:
        """It was asked in vain, or gave something wrong."""
        key = source_key(address)
        self._failed.pop(key, None)
        if len(self._failed) >= MAX_FAILED_PROVIDERS:
            del self._failed[next(iter(self._failed))]
        self._failed[key] = steady + PROVIDER_FAILED_FOR
