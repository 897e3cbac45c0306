"""Regtest chains with a realistic mix of signed spends, for benchmarks and whole-node tests; a seed fixes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import make_txout
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import BlockTemplate
from btcnode.testing.templates import REALISTIC_MIX, TEMPLATES, Spendable, signed_tx

COINBASE_MATURITY = 100
BLOCK_SPACING = 600  # seconds between generated blocks
KEYS_PER_TEMPLATE = 200  # signing needs no more; making keys and addresses is the slow part
FEE_PER_OUTPUT = 500  # satoshi
FAN_OUT = 2000  # outputs of the transactions that spread coinbases over the templates
MEGA_WEIGHT = 3_900_000


@dataclass(slots=True)
class Unspent:
    """An output that the generator can spend."""

    outpoint: bytes
    value: int
    how: Spendable

    @property
    def txout(self) -> bytes:
        """As serialised."""
        return make_txout(self.value, self.how.script_pubkey)


@dataclass(slots=True)
class ChainGenerator:
    """Builds blocks one after the other on the genesis block; every one is valid, every input signed.

    ``mix`` are the relative frequencies of output templates. Spendable outputs are taken in random order, so that
    blocks spend old and new coins alike.
    """

    params: NetworkParams
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: REALISTIC_MIX)
    height: int = 0
    tip_hash: bytes = b""
    time: int = 0
    txs: int = 0
    inputs: int = 0

    _rng: Random = field(init=False)
    _names: list[str] = field(init=False)
    _weights: list[int] = field(init=False)
    _keys: dict[tuple[str, int], Spendable] = field(init=False, default_factory=dict)
    _coinbases: deque[tuple[int, Unspent]] = field(init=False, default_factory=deque)
    _unspent: list[Unspent] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)
        self._names = list(self.mix)
        self._weights = list(accumulate(self.mix.values()))
        self.tip_hash = self.params.genesis_hash
        self.time = int.from_bytes(self.params.genesis_block[68:72], "little")

    # -- blocks --------------------------------------------------------------------------------------------------

    def block(self, txs: list[Tx] | None = None, fees: int = 0) -> bytes:
        """The next block, with ``txs`` behind its coinbase."""
        txs = txs or []
        self.height += 1
        self.time += BLOCK_SPACING
        how = self._key("p2wpkh")
        template = BlockTemplate(
            self.params,
            self.tip_hash,
            self.height,
            self.time,
            self.params.pow_limit_bits,
            txs=txs,
            fees=fees,
            script_pubkey=how.script_pubkey,
            commit=True,
        )
        raw = template.build()
        self.tip_hash = header_hash(raw[:HEADER_SIZE])
        value = block_subsidy(self.height, self.params) + fees
        self._coinbases.append((self.height, Unspent(self._coinbase_outpoint(raw), value, how)))
        self.txs += 1 + len(txs)
        self.inputs += sum(len(tx.prevouts) for tx in txs)
        return raw

    def spread(self, outputs: int) -> Iterator[bytes]:
        """Blocks that turn mature coinbases into about ``outputs`` small outputs of the mix (100 empty ones first)."""
        while self.height < COINBASE_MATURITY + 1:
            yield self.block()
        made = 0
        while made < outputs:
            txs: list[Tx] = []
            new: list[Unspent] = []
            fees = 0
            while made < outputs and sum(tx.weight for tx in txs) < MEGA_WEIGHT // 2 and self._has_mature():
                source = self._coinbases.popleft()[1]
                count = min(FAN_OUT, outputs - made)
                tx, created, fee = self._pay([source], count)
                txs.append(tx)
                new += created
                fees += fee
                made += count
            yield self.block(txs, fees)
            self._unspent += new
            self._rng.shuffle(self._unspent)

    def busy(self, count: int) -> bytes:
        """A block of ``count`` transactions with one to four inputs each and one or two outputs."""
        txs: list[Tx] = []
        new: list[Unspent] = []
        fees = 0
        for _ in range(count):
            wanted = self._rng.choices((1, 2, 3, 4), (46, 30, 14, 10))[0]
            sources = [self._unspent.pop() for _ in range(min(wanted, len(self._unspent)))]
            if not sources:
                break
            tx, created, fee = self._pay(sources, 1 + (self._rng.random() < 0.85))
            txs.append(tx)
            new += created
            fees += fee
        raw = self.block(txs, fees)
        # new outputs go in at random places, so that the next block spends some of them
        for unspent in new:
            self._unspent.append(unspent)
            at = self._rng.randrange(len(self._unspent))
            self._unspent[at], self._unspent[-1] = self._unspent[-1], self._unspent[at]
        return raw

    def take(self) -> Unspent:
        """An output for the caller to spend; the generator forgets it."""
        return self._unspent.pop()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _has_mature(self) -> bool:
        return bool(self._coinbases) and self._coinbases[0][0] + COINBASE_MATURITY <= self.height + 1

    @staticmethod
    def _coinbase_outpoint(raw: bytes) -> bytes:
        tx, _ = Tx.parse_at(raw, HEADER_SIZE + (1 if raw[HEADER_SIZE] < 0xFD else 3))
        return tx.txid + bytes(4)

    def _pick(self) -> Spendable:
        return self._key(self._rng.choices(self._names, cum_weights=self._weights)[0])

    def _key(self, name: str) -> Spendable:
        number = self._rng.randrange(KEYS_PER_TEMPLATE)
        known = self._keys.get((name, number))
        if known is None:
            known = self._keys[name, number] = TEMPLATES[name](number)
        return known

    def _pay(self, sources: list[Unspent], outputs: int) -> tuple[Tx, list[Unspent], int]:
        """Spend ``sources`` into ``outputs`` equal parts; returns the transaction, what it made, and its fee."""
        total = sum(source.value for source in sources)
        fee = min(FEE_PER_OUTPUT, total // (2 * outputs))  # coins that were halved many times cannot pay the usual fee
        each = (total - fee * outputs) // outputs
        owners = [self._pick() for _ in range(outputs)]
        txouts = [make_txout(each, owner.script_pubkey) for owner in owners]
        tx = signed_tx([(source.outpoint, source.txout, source.how) for source in sources], txouts)
        created = [Unspent(tx.txid + index.to_bytes(4, "little"), each, owner) for index, owner in enumerate(owners)]
        return tx, created, total - each * outputs


def benchmark_chain(
    params: NetworkParams, *, big_blocks: int = 40, big_txs: int = 2500, small_blocks: int = 2100, seed: int = 1
) -> Iterator[bytes]:
    """The benchmark's chain: coins spread first, then ``big_blocks`` of ``big_txs``, then small ones."""
    generator = ChainGenerator(params, seed)
    yield from generator.spread(int(big_txs * 3.2) + 1000)
    for _ in range(big_blocks):
        yield generator.busy(big_txs)
    for height in range(small_blocks):
        yield generator.busy(1) if height % 10 == 0 else generator.block()
