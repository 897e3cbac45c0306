"""A walk through the mempool: families of every shape, replacements, deltas, blocks that take a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from btcnode.primitives.tx import Tx

from .nodes import Node
from .text import Raw
from .values import Values
from .walk import NETWORK_DIR, Call, Step, Walk
from .world import P2A, UNUSUAL_SCRIPTS, Coin, anchor, p2wsh_true, spend

MOST_OPEN = 60  # outputs that may be spent next
TRUC = 3
FEES = (0, 0, 1, 50, 100, 110, 150, 200, 300, 1_000, 1_000, 5_000, 20_000, 100_000)
RATES: tuple[Any, ...] = (0, 0, 0, 0, None, 0.1, Raw("0.00001"), Raw("0.001"), "0.01")
BURNS: tuple[Any, ...] = (None, None, 0, 1, Raw("0.00000001"))


class PoolWalk(Walk):
    """Steps about the mempool alone."""

    def __init__(self, values: Values, nodes: Sequence[Node], now: int) -> None:
        super().__init__(values, nodes, now)
        self.open: list[tuple[Coin, int]] = []  # outputs of what was sent, there or not, and the version that made them
        self.sent: list[Tx] = []

    def next(self) -> Step:
        """The next step."""
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (8, self._send_family),
            (8, self._submit_family),
            (4, self._test_family),
            (6, self._replace),
            (4, self._replace_as_package),
            (4, self._send_again),
            (5, self._prioritise),
            (2, self._mine_chosen),
            (1, self._mine),
            (2, self._invalidate),
            (2, self._reconsider),
            (1, self._submit_block),
            (1, lambda: ("getblocktemplate", [{"rules": ["segwit"]}])),
            (1, self._time),
            (1, lambda: ("mockscheduler", [self.rng.choice((60, 900))])),
            (1, lambda: ("savemempool", [])),
            (1, lambda: ("importmempool", [f"{NETWORK_DIR}/mempool.dat", self._import_options()])),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def observed(self) -> Any:
        """What any walk asks, and each transaction of the mempool in turn."""
        yield from super().observed()
        for verbose in (False, True):
            for sequence in (False, True):
                yield "getrawmempool", [verbose, sequence]
        for txid in self._pool():
            yield from self._about(txid)
        points = [{"txid": c.outpoint[:32][::-1].hex(), "vout": c.outpoint[32]} for c, _ in self.open[-6:]]
        yield "gettxspendingprevout", [points, {"return_spending_tx": True}]
        yield "testmempoolaccept", [[tx.raw.hex() for tx in self.sent[-1:]], 0]

    @staticmethod
    def _about(txid: str) -> tuple[Call, ...]:
        return (
            ("getmempoolentry", [txid]),
            ("getmempoolcluster", [txid]),
            ("getmempoolancestors", [txid, False]),
            ("getmempooldescendants", [txid, False]),
        )

    # -- transactions --------------------------------------------------------------------------------------------

    def _family(self) -> list[Tx]:
        """One to five transactions, each of which may spend outputs of those before it and of what was sent."""
        rng = self.rng
        family: list[Tx] = []
        version = rng.choice((1, 2, 2, 2, 2, TRUC, TRUC, TRUC))
        made: list[tuple[Coin, int]] = []
        for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 5))):
            own = version if rng.random() < 0.9 else rng.choice((2, TRUC))
            coins = self._coins(made)
            if coins:
                tx = self._tx(coins, own)
                family.append(tx)
                made += _outputs(tx)
        self.open = (self.open + made)[-MOST_OPEN:]
        return family

    def _coins(self, made: list[tuple[Coin, int]]) -> list[Coin]:
        """One to three coins for a transaction: of the family rather than others."""
        rng = self.rng
        sources: list[Coin] = []
        if made and rng.random() < 0.8:
            sources += [coin for coin, _ in rng.sample(made, min(len(made), rng.choice((1, 1, 2, 3))))]
        if self.open and rng.random() < 0.35:
            sources.append(rng.choice(self.open)[0])
        if not sources or rng.random() < 0.2:
            sources.append(self.values.coin())
        return list({coin.outpoint: coin for coin in sources}.values())

    def _tx(self, coins: list[Coin], version: int, fee: int | None = None) -> Tx:
        """Spends the coins; its outputs may be dust, an anchor, data, or large."""
        rng = self.rng
        total = sum(coin.value for coin in coins)
        fee = min(rng.choice(FEES) if fee is None else fee, total)
        scripts, values = [p2wsh_true().script_pubkey], []
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            kind = rng.random()
            if kind < 0.5:
                scripts.append(p2wsh_true().script_pubkey)
                values.append(min(total // 4, rng.choice((0, 329, 330, 331, 100_000, 10_000_000))))
            elif kind < 0.8:
                scripts.append(P2A)
                values.append(rng.choice((0, 0, 1, 239, 240, 1000)) if total > 1000 else 0)
            else:
                scripts.append(rng.choice((UNUSUAL_SCRIPTS[4], UNUSUAL_SCRIPTS[5], UNUSUAL_SCRIPTS[6], b"\x51")))
                values.append(rng.choice((0, 0, 1)) if total > 1000 else 0)
        rest = total - fee - sum(values)
        sequence = rng.choice((0xFFFFFFFD, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF, 0, 1))
        tx = spend(coins, scripts, fee, version=version, sequence=sequence, values=[max(0, rest), *values])
        self.sent.append(tx)
        return tx

    # -- steps ---------------------------------------------------------------------------------------------------

    def _send_family(self) -> Step:
        family = self._family()
        return "sendrawtransaction", [family[0].raw.hex(), self.rng.choice(RATES), self.rng.choice(BURNS)]

    def _submit_family(self) -> Step:
        return "submitpackage", [self._package(self._family()), self.rng.choice(RATES), self.rng.choice(BURNS)]

    def _test_family(self) -> Step:
        return "testmempoolaccept", [self._package(self._family()), self.rng.choice(RATES)]

    def _package(self, family: list[Tx]) -> list[str]:
        rng = self.rng
        if rng.random() < 0.1:
            rng.shuffle(family)
        if rng.random() < 0.1:
            family.append(rng.choice(family))
        if self.sent and rng.random() < 0.2:
            family.insert(0, rng.choice(self.sent))
        return [tx.raw.hex() for tx in family]

    def _rivals(self) -> tuple[list[Coin], int]:
        """Coins that one to three of the mempool's transactions spend, and about what these pay."""
        rng, pool = self.rng, self._pool()
        known = {tx.txid[::-1].hex(): tx for tx in self.sent}
        chosen = [txid for txid in rng.sample(pool, min(len(pool), rng.choice((1, 1, 2, 3)))) if txid in known]
        wanted = {known[txid].prevouts[0] for txid in chosen}
        coins = [coin for coin in (*(coin for coin, _ in self.open), *self.world.coins) if coin.outpoint in wanted]
        paid = 0
        for txid in chosen:
            fees = self._ask("getmempoolentry", txid)["fees"]
            paid += round(float(fees["descendant"]) * 1e8)
        return coins or [self.values.coin()], paid

    def _replace(self) -> Step:
        coins, paid = self._rivals()
        fee = max(0, paid + self.rng.choice((-100, -1, 0, 1, 10, 50, 100, 150, 200, 500, 5_000)))
        tx = self._tx(coins, self.rng.choice((2, 2, TRUC)), fee)
        self.open += _outputs(tx)
        return "sendrawtransaction", [tx.raw.hex(), 0]

    def _replace_as_package(self) -> Step:
        coins, paid = self._rivals()
        version = self.rng.choice((2, TRUC))
        parent = self._tx(coins, version, self.rng.choice((0, 0, 100, 200)))
        (first, _), *_ = _outputs(parent) or [(self.values.coin(), 2)]
        child = self._tx([first], version, max(0, paid + self.rng.choice((-1, 0, 100, 300, 1_000, 10_000))))
        self.open += _outputs(child)
        return "submitpackage", [[parent.raw.hex(), child.raw.hex()], 0]

    def _send_again(self) -> Step:
        tx = self.rng.choice(self.sent) if self.sent else self.values.good_tx()
        return "sendrawtransaction", [tx.raw.hex(), 0]

    def _import_options(self) -> dict[str, bool]:
        names = ("use_current_time", "apply_fee_delta_priority", "apply_unbroadcast_set")
        return {name: self.rng.random() < 0.5 for name in names}


def _outputs(tx: Tx) -> list[tuple[Coin, int]]:
    """Those that anybody may spend."""
    found = []
    for n, txout in enumerate(tx.txouts):
        value, script = int.from_bytes(txout[:8], "little"), txout[9:]
        for how in (p2wsh_true(), anchor()):
            if script == how.script_pubkey:
                found.append((Coin(tx.txid + n.to_bytes(4, "little"), value, how), tx.version))
    return found
