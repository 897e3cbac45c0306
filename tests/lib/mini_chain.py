"""A regtest chain in memory: blocks in, Core's reject reasons out."""

from __future__ import annotations

from dataclasses import replace

from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import BlockDelta, connect_block, connect_context, disconnect_block, script_violation
from btcnode.consensus.headers import check_header, contextual_check_header
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_value, make_txout
from btcnode.primitives.tx import SEQUENCE_FINAL, Tx
from btcnode.script.verify import verify_jobs
from btcnode.testing.blocks import ANYONE_CAN_SPEND, BlockTemplate
from tests.lib.ancestry import ListAncestry
from tests.lib.coins import DictCoins

REGTEST = params_for("regtest")
NOW = 2**40


def spend(*outpoints: bytes, value: int, script_pubkey: bytes = ANYONE_CAN_SPEND, **changes: object) -> Tx:
    """A transaction that spends anyone-can-spend outputs; ``changes`` replace its columns."""
    columns: dict[str, object] = {
        "version": 2,
        "prevouts": list(outpoints),
        "script_sigs": [b""] * len(outpoints),
        "sequences": [SEQUENCE_FINAL] * len(outpoints),
        "txouts": [make_txout(value, script_pubkey)],
    }
    columns.update(changes)
    return Tx(**columns)  # type: ignore[arg-type]


class MiniChain:
    """The active chain and its coins; ``judge`` tells what is wrong with a block, ``accept`` connects it."""

    def __init__(self, params: NetworkParams = REGTEST, blocks: int = 0) -> None:
        self.params = params
        self.tree = ListAncestry()
        self.tree.append(params.genesis_block)
        self.coins = DictCoins()
        self.coinbases: list[bytes] = [b""]  # outpoint of each height's coinbase
        self.history: list[tuple[ParsedBlock, BlockDelta]] = []
        for _ in range(blocks):
            self.accept(self.template().build())

    @property
    def tip(self) -> int:
        return len(self.tree) - 1

    def template(self, *txs: Tx, **changes: object) -> BlockTemplate:
        """A good block on the tip, with the fees of ``txs`` claimed as far as their coins are known."""
        made = {tx.txid + vout.to_bytes(4, "little"): txout for tx in txs for vout, txout in enumerate(tx.txouts)}
        fees = 0
        for tx in txs:
            for prevout in tx.prevouts:
                coin = self.coins.coins.get(prevout) or (bytes(4) + made[prevout] if prevout in made else None)
                fees += coin_value(coin) if coin else 0
            fees -= sum(int.from_bytes(txout[:8], "little", signed=True) for txout in tx.txouts)
        tip = self.tip
        template = BlockTemplate(
            self.params, self.tree.hash(tip), tip + 1, self.tree.time(tip) + 600, self.params.pow_limit_bits, list(txs)
        )
        return replace(template, **{"fees": max(fees, 0), **changes})  # type: ignore[arg-type]

    def check(self, raw: bytes, now: int = NOW) -> tuple[ParsedBlock, BlockDelta]:
        """Everything that is asked of a block, in Core's order; raises RuleViolation."""
        block = parse_block(raw)
        tip = self.tip
        check_header(raw, self.params)
        contextual_check_header(raw, self.tree, tip, now, self.params)
        check_block(block, self.params)
        contextual_check_block(block, self.tree, tip, self.params)
        delta = connect_block(block, tip + 1, self.coins, connect_context(self.tree, tip, block.hash, self.params))
        failed = verify_jobs(delta.jobs)
        if failed is not None:
            raise script_violation(delta.jobs[failed[0]], failed[1])
        return block, delta

    def judge(self, raw: bytes, now: int = NOW) -> str:
        """Core's reject reason, or "ok"."""
        try:
            self.check(raw, now)
        except RuleViolation as violation:
            return violation.code
        return "ok"

    def accept(self, raw: bytes) -> ParsedBlock:
        block, delta = self.check(raw)
        self.tree.append(raw)
        self.coins.apply(delta)
        self.coinbases.append(block.txids[0] + bytes(4))
        self.history.append((block, delta))
        return block

    def disconnect_all(self) -> None:
        """Undo every block; raises AssertionError unless that is clean."""
        for height in range(len(self.history), 0, -1):
            block, delta = self.history[height - 1]
            undone = disconnect_block(block, height, delta.undo, self.coins)
            assert undone.clean
            self.coins.revert(undone)
