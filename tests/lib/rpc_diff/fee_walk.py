"""A walk of fees: transactions at every rate, blocks that take some, days that pass, restarts, files read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from btcnode.primitives.tx import Tx

from .nodes import Node
from .text import Raw
from .values import Values
from .walk import NETWORK_DIR, Call, Many, Step, Walk
from .world import Coin, p2wsh_true, spend

TARGETS = (1, 2, 3, 5, 6, 12, 13, 24, 25, 48, 49, 100, 144, 145, 504, 505, 1007, 1008)
MODES = ("unset", "economical", "conservative", "ECONOMICAL")
THRESHOLDS = (Raw("0.5"), Raw("0.95"), Raw("0.85"), 0, 1, Raw("0.000001"), Raw("0.6"))
RATES = (100, 110, 121, 200, 500, 1_000, 1_000, 1_050, 2_000, 5_000, 10_000, 20_000, 100_000, 1_000_000)  # sat per kvB
FAN = 120
OPTIONS = (
    "-acceptstalefeeestimates", "-acceptstalefeeestimates=0", "-minrelaytxfee=0.00002",
    "-incrementalrelayfee=0.00005", "-persistmempool=0", "-maxmempool=6", "-blockmintxfee=0.0001", "-blocksonly",
    "-txindex",
)  # fmt: skip


class FeeWalk(Walk):
    """Steps about what fees are paid and taken."""

    has_company = False
    is_heard = False

    def __init__(self, values: Values, nodes: Sequence[Node], now: int) -> None:
        super().__init__(values, nodes, now)
        self.free: list[Coin] = []  # confirmed, or about to be

    def next(self) -> Step:
        """The next step; before there is something to spend, much of it is made."""
        if len(self.free) < 20:
            return self._fan_out()
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (10, self._send_many),
            (10, lambda: ("generatetodescriptor", [self.rng.choice((1, 1, 1, 2, 3)), "raw(51)"])),
            (4, self._mine_chosen),
            (2, self._mine_empty),
            (2, self._time),
            (2, self._days),
            (1, lambda: ("mockscheduler", [self.rng.choice((60, 900, 3600))])),
            (2, self._prioritise),
            (2, self._invalidate),
            (2, self._reconsider),
            (1, lambda: ("savemempool", [])),
            (2, self._import),
            (3, self._restart),
            (2, lambda: ("estimatesmartfee", [self.values.number("0", "1009"), self.rng.choice(MODES)])),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def observed(self) -> Iterator[Call]:
        """All estimates."""
        for target in TARGETS:
            for mode in MODES:
                yield "estimatesmartfee", [target, mode]
            yield "estimaterawfee", [target, self.rng.choice(THRESHOLDS)]
        yield "estimaterawfee", [2]
        for method in (
            "getmempoolinfo", "getprioritisedtransactions", "getmempoolfeeratediagram", "getmininginfo",
            "getblockchaininfo", "getnetworkinfo",
        ):  # fmt: skip
            yield method, []
        yield "getrawmempool", [True]
        yield "getrawmempool", [False, True]
        yield "getblockstats", [self._ask("getbestblockhash")]
        yield "getblocktemplate", [{"rules": ["segwit"]}]

    # -- steps ---------------------------------------------------------------------------------------------------

    def _fan_out(self) -> Step:
        """A transaction with many outputs, in a block of its own."""
        coin = self.world.coins.pop() if self.world.coins else self.free.pop()
        tx = spend([coin], [p2wsh_true().script_pubkey] * FAN, 30_000)
        value = int.from_bytes(tx.txouts[0][:8], "little")
        self.free += [Coin(tx.txid + n.to_bytes(4, "little"), value, p2wsh_true()) for n in range(FAN)]
        self.rng.shuffle(self.free)
        return "generateblock", ["raw(51)", [tx.raw.hex()]]

    def _send_many(self) -> Step:
        """Some at rates of one neighbourhood, and a child or a replacement now and then."""
        rng = self.rng
        middle = rng.randrange(len(RATES))
        steps: list[Step] = []
        for _ in range(min(rng.choice((1, 3, 8, 15)), len(self.free) // 2)):
            rate = RATES[min(len(RATES) - 1, max(0, middle + rng.choice((-1, 0, 0, 1))))] + rng.randrange(7)
            coin = self.free.pop()
            tx = self._paying(coin, rate)
            steps.append(("sendrawtransaction", [tx.raw.hex(), 0]))
            if rng.random() < 0.15:
                value = int.from_bytes(tx.txouts[0][:8], "little")
                child = self._paying(Coin(tx.txid + bytes(4), value, p2wsh_true()), rng.choice(RATES))
                steps.append(("sendrawtransaction", [child.raw.hex(), 0]))
            elif rng.random() < 0.15:
                steps.append(("sendrawtransaction", [self._paying(coin, rate * 3 + 200).raw.hex(), 0]))
        return Many(tuple(steps))

    def _paying(self, coin: Coin, rate: int) -> Tx:
        size = spend([coin], [p2wsh_true().script_pubkey], 0).vsize
        return spend([coin], [p2wsh_true().script_pubkey], min(coin.value, rate * size // 1000 + 1))

    def _mine_empty(self) -> Step:
        return "generateblock", ["raw(51)", []]

    def _days(self) -> Step:
        """The clock goes on by so much that the oldest of the mempool expires, or estimates get old."""
        self.now += self.rng.choice((3_600, 61 * 3_600, 337 * 3_600))
        return Many((("setmocktime", [self.now]), ("generateblock", ["raw(51)", []])))

    def _import(self) -> Step:
        options: dict[str, Any] = {
            name: self.rng.random() < 0.5
            for name in ("use_current_time", "apply_fee_delta_priority", "apply_unbroadcast_set")
        }
        return Many((("savemempool", []), ("importmempool", [f"{NETWORK_DIR}/mempool.dat", options])))

    def _restart(self) -> Step:
        return self._start_with(self.rng.sample(OPTIONS, self.rng.choice((0, 1, 2))))
