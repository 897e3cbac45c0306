"""Walks: calls and peers' messages that change both nodes, with everything that is told compared after each.

What a walk does next depends on the seed and on what has come of it so far, which is the same at both nodes as long as
they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import Tx
from btcnode.wire.codec import Message
from btcnode.wire.messages import BlockMessage, FeeFilter, Headers, Inv, InvItem, TxMessage

from .assumed import AssumedWorld
from .company import MSG_WTX
from .nodes import Node
from .text import parse, request, write
from .values import Values
from .world import SPACING, p2wsh_true, spend

Call = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Restart:
    """All nodes end and start again with these options besides their own."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that is answered when something has happened."""

    call: Call
    then: Step


@dataclass(frozen=True, slots=True)
class Many:
    """One step after the other, with nothing asked between them."""

    steps: tuple[Step, ...]


# A method with its parameters, a companion and what it tells, or more than that.
Step = tuple[str, list[Any]] | tuple[int, Message] | Restart | Waiting | Many

NETWORK_DIR = "{network_dir}"  # in a parameter: the own directory of whom is asked
STEP_SHOWN = 120  # characters
OBSERVED: tuple[Call, ...] = (
    ("getblockchaininfo", []),
    ("getchaintips", []),
    ("getchainstates", []),
    ("getdeploymentinfo", []),
    ("getchaintxstats", [5]),
    ("gettxoutsetinfo", ["hash_serialized_3"]),
    ("gettxoutsetinfo", ["muhash"]),
    ("getmempoolinfo", []),
    ("getrawmempool", [True]),
    ("getrawmempool", [False, True]),
    ("getmempoolfeeratediagram", []),
    ("getprioritisedtransactions", []),
    ("getorphantxs", [2]),
    ("getmininginfo", []),
    ("getnetworkhashps", []),
    ("getblocktemplate", [{"rules": ["segwit"]}]),
    ("estimatesmartfee", [2]),
    ("estimaterawfee", [3]),
    ("getpeerinfo", []),
    ("getnettotals", []),
    ("getnetworkinfo", []),
    ("getaddednodeinfo", []),
    ("listbanned", []),
    ("getindexinfo", []),
    ("getprivatebroadcastinfo", []),
    ("getaddrmaninfo", []),
)
OBSERVED_PATHS = (
    "/rest/chaininfo.json",
    "/rest/mempool/info.json",
    "/rest/mempool/contents.json",
    "/rest/deploymentinfo.json",
)


class Walk:
    """The choice of steps. One of the nodes is asked; all the others are where it is."""

    has_company = True  # peers
    is_heard = True  # over ZeroMQ

    def __init__(self, values: Values, nodes: Sequence[Node], now: int) -> None:
        self.values = values
        self.world = values.world
        self.rng = values.rng
        self.nodes = nodes
        self.node = nodes[-1]
        self.now = now  # of the mocked clock
        self.invalid: list[str] = []
        self.blocks = 0
        self.options: tuple[str, ...] = ()  # of the last start
        self._kept: tuple[str, ...] = ()  # of the one before
        self.awaited = values.world.awaited if isinstance(values.world, AssumedWorld) else []

    def _ask(self, method: str, *params: Any) -> Any:
        return parse(self.node.call(request(method, list(params)))[1])["result"]

    def _ask_all(self, method: str, *params: Any) -> Any:
        """The same of all nodes, since it leaves a trace; what the last one says."""
        body = request(method, list(params))
        return [parse(node.call(body)[1])["result"] for node in self.nodes][-1]

    def observed(self) -> Iterator[Call]:
        """What to ask after a step, on both."""
        yield from OBSERVED
        tip = self._ask("getbestblockhash")
        for verbosity in (1, 3):
            yield "getblock", [tip, verbosity]
        yield "getblockheader", [tip]
        yield "getblockstats", [tip]
        yield "getblockfilter", [tip]
        for txid in self.rng.sample(self._pool(), min(2, len(self._pool()))):
            yield from ((name, [txid]) for name in ("getmempoolentry", "getmempoolcluster"))
            yield from ((name, [txid, True]) for name in ("getmempoolancestors", "getmempooldescendants"))
            yield "getrawtransaction", [txid, 2]
        yield "gettxspendingprevout", [[self.values.outpoint() for _ in range(3)]]
        yield "gettxout", [self.values.txid(), 0]

    def observed_paths(self) -> Sequence[str]:
        """What to ask over REST after a step."""
        return OBSERVED_PATHS

    def _start_with(self, options: Sequence[str], *once: str) -> Restart:
        """A restart with these options, which later starts have as well, and with others."""
        self._kept, self.options = self.options, tuple(options)
        return Restart((*options, *once))

    def refused(self, options: Sequence[str]) -> None:
        """These options cannot be had now; those of the last start hold on."""
        self.options = self._kept

    def _pool(self) -> list[str]:
        return [str(txid) for txid in self._ask("getrawmempool")]

    def next(self) -> Step:
        """The next step."""
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (6, self._mine),
            (3, self._mine_chosen),
            (6, lambda: ("sendrawtransaction", [self.values.tx_hex(), 0])),
            (4, lambda: ("sendrawtransaction", [self._pool_child().raw.hex(), 0])),
            (3, lambda: ("sendrawtransaction", [self._replacement().raw.hex(), 0])),
            (3, lambda: ("submitpackage", [self.values.package(), 0])),
            (3, lambda: ("testmempoolaccept", [self.values.package()])),
            (4, self._prioritise),
            (3, self._invalidate),
            (3, self._reconsider),
            (1, lambda: ("preciousblock", [self._some_tip()])),
            (3, self._submit_block),
            (1, lambda: ("submitheader", [self.values.header_hex()])),
            (8 if self.awaited else 0, lambda: ("submitblock", [self.awaited.pop(0).hex()])),
            (2, self._propose),
            (3, self._time),
            (1, lambda: ("mockscheduler", [self.rng.choice((1, 60, 900, 3600))])),
            (1, lambda: ("setban", [f"10.{self.rng.randrange(256)}.0.0/16", "add", self.rng.choice((0, 60, 100000))])),
            (1, lambda: ("clearbanned", [])),
            (1, lambda: ("savemempool", [])),
            (1, lambda: ("importmempool", [f"{NETWORK_DIR}/mempool.dat", {"apply_fee_delta_priority": True}])),
            (1, lambda: ("verifychain", [4, 6])),
            (1, lambda: ("pruneblockchain", [self.rng.randrange(130)])),
            (1, lambda: ("ping", [])),
            (1, lambda: ("scanblocks", ["start", [self.values.coin_descriptor()], self.rng.randrange(120)])),
            (1, lambda: ("scantxoutset", ["start", [self.values.coin_descriptor()]])),
            (4, lambda: (0, TxMessage(self.values.tx().raw))),
            (2, lambda: (1, TxMessage(self.values.tx().raw))),
            (2, lambda: (0, TxMessage(self._pool_child().raw))),
            (2, lambda: (self.rng.randrange(2), BlockMessage(self._new_block()))),
            (2, lambda: (self.rng.randrange(2), Headers((self._new_block()[:HEADER_SIZE],)))),
            (1, lambda: (0, Inv((InvItem(MSG_WTX, self.rng.randbytes(32)),)))),
            (1, lambda: (0, FeeFilter(self.rng.choice((0, 1, 1000, 10**6))))),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    # -- steps ---------------------------------------------------------------------------------------------------

    def _mine(self) -> Step:
        return "generatetoaddress", [self.rng.randrange(1, 3), self.values.good_address()]

    def _mine_chosen(self) -> Step:
        pool = self._pool()
        chosen = [txid for txid in pool if self.rng.random() < 0.4]
        return "generateblock", [self.values.good_address(), chosen, self.rng.random() < 0.8]

    def _prioritise(self) -> Step:
        pool = self._pool()
        txid = self.rng.choice(pool) if pool and self.rng.random() < 0.8 else self.values.txid()
        return "prioritisetransaction", [txid, 0, self.rng.choice((-100000, -1000, -1, 1, 500, 10000, 10**7))]

    def _invalidate(self) -> Step:
        height = self._ask("getblockcount")
        found = self._ask("getblockhash", max(1, int(height) - self.rng.randrange(4)))
        self.invalid.append(found)
        return "invalidateblock", [found]

    def _reconsider(self) -> Step:
        return "reconsiderblock", [
            self.invalid.pop(self.rng.randrange(len(self.invalid))) if self.invalid else self._some_tip()
        ]

    def _some_tip(self) -> str:
        return str(self.rng.choice(self._ask("getchaintips"))["hash"])

    def _time(self) -> Step:
        self.now += self.rng.choice((0, 1, 30, 600, 4000))
        return "setmocktime", [self.now]

    def _new_block(self) -> bytes:
        """A block on some tip, without transactions."""
        tip = self.rng.choice(self._ask("getchaintips"))
        header = self._ask("getblockheader", tip["hash"])
        self.blocks += 1
        height = int(header["height"]) + 1
        changes: dict[str, object] = {"extra": b"\x04walk" + self.blocks.to_bytes(2, "little")}
        time = max(int(header["mediantime"]) + 1, int(header["time"]) + self.rng.choice((0, 1, SPACING, 9000)))
        fees = self.rng.choice((0, 0, 0, 1))
        return self.world.block_on(bytes.fromhex(tip["hash"])[::-1], height, [], fees, time=time, **changes)

    def _submit_block(self) -> Step:
        raw = self.rng.choice((self._new_block, self._new_block, lambda: self.rng.choice(self.world.side_blocks)))()
        return "submitblock", [raw.hex()]

    def _propose(self) -> Step:
        return "getblocktemplate", [{"mode": "proposal", "rules": ["segwit"], "data": self._new_block().hex()}]

    def _pool_tx(self) -> Tx:
        pool = self._pool()
        if not pool:
            return self.values.good_tx()
        return Tx.parse(bytes.fromhex(self._ask("getrawtransaction", self.rng.choice(pool))))

    def _pool_child(self) -> Tx:
        return self.values.child(self._pool_tx(), p2wsh_true())

    def _replacement(self) -> Tx:
        """Spends a coin that an unconfirmed transaction may spend, at another fee."""
        coin = self.values.coin()
        return spend([coin], [self.values.coin().how.script_pubkey], self.rng.choice((300, 3_000, 30_000, 300_000)))


def shown(step: Step) -> str:
    """A step for people."""
    match step:
        case Restart(options):
            return f"restart {' '.join(options)}"
        case Waiting((method, params), then):
            return f"{method} {write(params)[:STEP_SHOWN]} until {shown(then)}"
        case Many(steps):
            return " then ".join(map(shown, reversed(steps)))[: 4 * STEP_SHOWN]
        case (what, given):
            text = write(given) if isinstance(what, str) else repr(given)
            return f"{what} {text[:STEP_SHOWN]}"
