"""What follows from a peer's fault: one table, as Bitcoin Core 31 decides.

``DISCOURAGE``: disconnect, and prefer others over its address from now on. ``DISCONNECT``: this connection is of no
use. ``IGNORE``: a line in the log. Peers with the noban permission and those the user named by hand are never
disconnected for an offence that would discourage others; peers on our own machine are not discouraged.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from btcnode.errors import Fault
from btcnode.protocol.events import Malformation
from btcnode.protocol.limits import MAX_DISCOURAGED


class Consequence(Enum):
    """What is done to the peer."""

    IGNORE = "ignore"
    DISCONNECT = "disconnect"
    DISCOURAGE = "discourage"


class Offence(Enum):
    """A fault of a peer; the value is the text of its log line."""

    HEADER_POW = "header with invalid proof of work"
    HEADERS_DISCONTINUOUS = "non-continuous headers sequence"
    HEADERS_TOO_MANY = "too many headers in a message"
    HEADERS_LOW_WORK = "headers chain with too little work"
    INV_TOO_LARGE = "inv message with too many entries"
    GETDATA_TOO_LARGE = "getdata message with too many entries"
    ADDR_TOO_LARGE = "addr message with too many entries"
    LOCATOR_TOO_LARGE = "block locator with too many entries"
    GETDATA_FLOOD = "requests beyond the queue's limit"
    BLOCK_CONSENSUS = "invalid block"
    BLOCK_MUTATED = "mutated block"
    BLOCK_MALFORMED = "block that does not decode"
    BLOCK_CACHED_INVALID = "block known to be invalid"
    BLOCK_INVALID_HEADER = "invalid header"
    BLOCK_INVALID_PREV = "block on top of an invalid block"
    BLOCK_MISSING_PREV = "block whose parent is unknown"
    BLOCK_TIME_FUTURE = "block from the future"
    BLOCK_LOW_WORK = "block with too little work"
    COMPACT_INVALID = "invalid compact block"
    GETBLOCKTXN_INDEX = "getblocktxn with out-of-bounds tx indices"
    XTHIN_INVALID = "invalid thin block, or request for one"
    XTHIN_UNSUPPORTED = "thin block request although not offered"
    LATE_NEGOTIATION = "feature negotiation received after verack"
    BLOOM_TOO_LARGE = "too-large bloom filter"
    FILTER_ADD = "bad filteradd message"
    FILTERS_UNSUPPORTED = "requested unsupported block filter type"
    FILTER_REQUEST = "block filter request that makes no sense"
    SPENT_UNSUPPORTED = "requested spent coins although not offered"
    UTREEXO_UNSUPPORTED = "requested Utreexo proofs although not offered"
    UTREEXO_UNASKED = "Utreexo proof that was not asked for"
    UTREEXO_WRONG = "wrong Utreexo proof"
    UTXO_SETS_UNSUPPORTED = "requested a UTXO set although not offered"
    UTXO_SET_UNASKED = "part of a UTXO set that was not asked for"
    UTXO_SET_WRONG = "wrong part of a UTXO set"
    SPENT_UNASKED = "spent coins that were not asked for"
    SPENT_WRONG = "wrong spent coins"
    SERVICES = "peer does not offer the expected services"
    OBSOLETE = "peer using obsolete version"
    SELF_CONNECTION = "connected to self"
    BLOCK_TOO_DEEP = "block request below the served depth"
    BLOCK_UNREADABLE = "requested block cannot be read"
    UPLOAD_LIMIT = "historical block serving limit reached"
    MESSAGE_CHECKSUM = "wrong checksum"
    MESSAGE_MAGIC = "wrong network magic"
    MESSAGE_OVERSIZED = "oversized message"
    MESSAGE_COMMAND = "malformed command"
    MESSAGE_PAYLOAD = "malformed payload"
    MESSAGE_TRANSPORT = "broken encrypted transport"
    PING_FLOOD = "more pings than anybody needs"
    INV_FLOOD = "more announcements than are looked at"
    OVERSPENDING = "more processor time than its share"
    MESSAGE_EARLY = "message before the handshake was complete"


_DISCOURAGE, _DISCONNECT, _IGNORE = Consequence.DISCOURAGE, Consequence.DISCONNECT, Consequence.IGNORE

CONSEQUENCES: dict[Offence, Consequence] = {
    Offence.HEADER_POW: _DISCOURAGE,
    Offence.HEADERS_DISCONTINUOUS: _DISCOURAGE,
    Offence.HEADERS_TOO_MANY: _DISCOURAGE,
    Offence.HEADERS_LOW_WORK: _DISCONNECT,
    Offence.INV_TOO_LARGE: _DISCOURAGE,
    Offence.GETDATA_TOO_LARGE: _DISCOURAGE,
    Offence.ADDR_TOO_LARGE: _DISCOURAGE,
    Offence.LOCATOR_TOO_LARGE: _DISCONNECT,
    Offence.GETDATA_FLOOD: _DISCONNECT,
    Offence.BLOCK_CONSENSUS: _DISCOURAGE,
    Offence.BLOCK_MUTATED: _DISCOURAGE,
    Offence.BLOCK_MALFORMED: _IGNORE,  # Core drops what does not deserialise
    Offence.BLOCK_CACHED_INVALID: _DISCOURAGE,  # outbound peers only, see consequence_of
    Offence.BLOCK_INVALID_HEADER: _DISCOURAGE,
    Offence.BLOCK_INVALID_PREV: _DISCOURAGE,
    Offence.BLOCK_MISSING_PREV: _DISCOURAGE,
    Offence.BLOCK_TIME_FUTURE: _IGNORE,
    Offence.BLOCK_LOW_WORK: _IGNORE,
    Offence.COMPACT_INVALID: _DISCOURAGE,
    Offence.GETBLOCKTXN_INDEX: _DISCOURAGE,
    Offence.XTHIN_INVALID: _DISCOURAGE,
    Offence.XTHIN_UNSUPPORTED: _DISCONNECT,
    Offence.LATE_NEGOTIATION: _DISCONNECT,
    Offence.BLOOM_TOO_LARGE: _DISCOURAGE,
    Offence.FILTER_ADD: _DISCOURAGE,
    Offence.FILTERS_UNSUPPORTED: _DISCONNECT,
    Offence.FILTER_REQUEST: _DISCONNECT,
    Offence.SPENT_UNSUPPORTED: _DISCONNECT,
    Offence.UTREEXO_UNSUPPORTED: _DISCONNECT,
    Offence.UTREEXO_UNASKED: _DISCONNECT,
    Offence.UTREEXO_WRONG: _DISCOURAGE,
    Offence.UTXO_SETS_UNSUPPORTED: _DISCONNECT,
    Offence.UTXO_SET_UNASKED: _DISCONNECT,
    Offence.UTXO_SET_WRONG: _DISCOURAGE,
    Offence.SPENT_UNASKED: _DISCONNECT,
    Offence.SPENT_WRONG: _DISCOURAGE,
    Offence.SERVICES: _DISCONNECT,
    Offence.OBSOLETE: _DISCONNECT,
    Offence.SELF_CONNECTION: _DISCONNECT,
    Offence.BLOCK_TOO_DEEP: _DISCONNECT,
    Offence.BLOCK_UNREADABLE: _DISCONNECT,
    Offence.UPLOAD_LIMIT: _DISCONNECT,
    Offence.MESSAGE_CHECKSUM: _IGNORE,
    Offence.MESSAGE_MAGIC: _DISCONNECT,
    Offence.MESSAGE_OVERSIZED: _DISCONNECT,
    Offence.MESSAGE_COMMAND: _IGNORE,
    Offence.MESSAGE_PAYLOAD: _IGNORE,
    Offence.MESSAGE_TRANSPORT: _DISCONNECT,
    Offence.PING_FLOOD: _IGNORE,  # the score sees to it
    Offence.INV_FLOOD: _IGNORE,
    Offence.OVERSPENDING: _IGNORE,
    Offence.MESSAGE_EARLY: _IGNORE,
}

BLOCK_OFFENCES: dict[Fault, Offence] = {
    Fault.CONSENSUS: Offence.BLOCK_CONSENSUS,
    Fault.MUTATED: Offence.BLOCK_MUTATED,
    Fault.INVALID_HEADER: Offence.BLOCK_INVALID_HEADER,
    Fault.CACHED_INVALID: Offence.BLOCK_CACHED_INVALID,
    Fault.INVALID_PREV: Offence.BLOCK_INVALID_PREV,
    Fault.MISSING_PREV: Offence.BLOCK_MISSING_PREV,
    Fault.TIME_FUTURE: Offence.BLOCK_TIME_FUTURE,
    Fault.LOW_WORK: Offence.BLOCK_LOW_WORK,
}

MALFORMATION_OFFENCES: dict[Malformation, Offence] = {
    Malformation.CHECKSUM: Offence.MESSAGE_CHECKSUM,
    Malformation.MAGIC: Offence.MESSAGE_MAGIC,
    Malformation.OVERSIZED: Offence.MESSAGE_OVERSIZED,
    Malformation.COMMAND: Offence.MESSAGE_COMMAND,
    Malformation.PAYLOAD: Offence.MESSAGE_PAYLOAD,
    Malformation.LIMIT: Offence.MESSAGE_PAYLOAD,
    Malformation.TRANSPORT: Offence.MESSAGE_TRANSPORT,
}


LIMIT_OFFENCES: dict[str, Offence] = {
    "inv": Offence.INV_TOO_LARGE,
    "getdata": Offence.GETDATA_TOO_LARGE,
    "addr": Offence.ADDR_TOO_LARGE,
    "addrv2": Offence.ADDR_TOO_LARGE,
    "headers": Offence.HEADERS_TOO_MANY,
    "getheaders": Offence.LOCATOR_TOO_LARGE,
    "getblocks": Offence.LOCATOR_TOO_LARGE,
    "cmpctblock": Offence.COMPACT_INVALID,
    "uproof": Offence.UTREEXO_WRONG,
    "filterload": Offence.BLOOM_TOO_LARGE,
    "filteradd": Offence.FILTER_ADD,
}
"""By command: what a message with more elements than allowed amounts to; others count as malformed payload."""


def offence_of(kind: Malformation, command: str) -> Offence:
    """The offence that malformed bytes amount to."""
    if kind is Malformation.LIMIT and command in LIMIT_OFFENCES:
        return LIMIT_OFFENCES[command]
    return MALFORMATION_OFFENCES[kind]


def consequence_of(offence: Offence, *, inbound: bool) -> Consequence:
    """What the table says; an inbound peer may follow an invalid chain without being discouraged."""
    if offence is Offence.BLOCK_CACHED_INVALID and inbound:
        return Consequence.IGNORE
    return CONSEQUENCES[offence]


def is_hostile(name: str) -> bool:
    """Whether no honest node commits the offence of that name; others may be a matter of versions or bad luck."""
    return CONSEQUENCES[Offence[name]] is Consequence.DISCOURAGE


WEIGHTS: dict[Offence, float] = {
    Offence.BLOCK_TIME_FUTURE: 0.0,  # its clock, or ours
    Offence.BLOCK_LOW_WORK: 0.25,
    Offence.BLOCK_CACHED_INVALID: 0.5,
    Offence.MESSAGE_CHECKSUM: 0.5,
    Offence.MESSAGE_EARLY: 0.25,
    Offence.PING_FLOOD: 2.0,  # each ping above the rate, after which the peer is not read for a while
    Offence.INV_FLOOD: 0.00005,  # each announcement above the rate
    Offence.OVERSPENDING: 3.0,  # each time that the budget is used up (connections/work_budget.py)
    Offence.MESSAGE_COMMAND: 0.05,  # hardly worse than a command nobody knows, which counts for nothing
    Offence.BLOCK_MALFORMED: 2.0,
}
"""What an offence adds to the faults that a peer's score counts, where it is not 1."""


def weight_of(offence: Offence) -> float:
    """How much an offence adds to ``Conduct.load``: 1 unless ``WEIGHTS`` has another value."""
    return WEIGHTS.get(offence, 1.0)


class DiscouragedAddresses:
    """The addresses (network and raw bytes, no port) that misbehaved, newest kept, at most ``MAX_DISCOURAGED``."""

    def __init__(self, maximum: int = MAX_DISCOURAGED) -> None:
        self._maximum = maximum
        # a plain dict would walk over what was deleted in front of the oldest: 30 us for each address at this size
        self._hosts: OrderedDict[bytes, None] = OrderedDict()

    def add(self, host: bytes) -> None:
        """Remember ``host``; forgets the oldest when full."""
        self._hosts.pop(host, None)
        if len(self._hosts) >= self._maximum:
            self._hosts.popitem(last=False)
        self._hosts[host] = None

    def __contains__(self, host: bytes) -> bool:
        return host in self._hosts

    def __len__(self) -> int:
        return len(self._hosts)
