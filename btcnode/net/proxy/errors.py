"""What goes wrong on the way to a peer."""

from __future__ import annotations

from btcnode.errors import BtcnodeError


class DialError(BtcnodeError):
    """A connection through a proxy came to nothing; the text is one line for the log.

    ``proxy_failed``: the proxy itself is to blame, so nothing is known of the peer.
    """

    def __init__(self, text: str, *, proxy_failed: bool = False) -> None:
        super().__init__(text)
        self.proxy_failed = proxy_failed
