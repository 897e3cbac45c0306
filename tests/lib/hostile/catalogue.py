"""All kinds of attack, in the order of the table."""

from __future__ import annotations

from tests.lib.hostile.crowds import CROWDS
from tests.lib.hostile.kinds import Kind
from tests.lib.hostile.messages import BLOCKS, HEADERS, REQUESTS, SMALL, TRANSACTIONS
from tests.lib.hostile.transports import HTTP, TRANSPORTS

KINDS: tuple[Kind, ...] = (*BLOCKS, *HEADERS, *TRANSACTIONS, *REQUESTS, *SMALL, *CROWDS, *TRANSPORTS, *HTTP)
