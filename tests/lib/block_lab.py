"""A workbench for blocks that are wrong in one way: a chain with coins to spend, and hands to bend every part.

``Lab`` knows the chain that it was told of and builds blocks on its tip; it validates nothing. What it gives are raw
bytes, so that the same blocks can be fed to any node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from btcnode.consensus.ancestry import MEDIAN_TIME_SPAN
from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.header import HEADER_SIZE, Header, header_hash
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import ANYONE_CAN_SPEND, BlockTemplate, assemble, grind
from btcnode.testing.templates import TEMPLATES, Spendable, signed_tx

SPACING = 600  # seconds between blocks
BASE_HEIGHT = 112  # of the prepared chain
OPEN_COINS = 1500  # prepared outputs that anyone can spend
COINS_PER_TEMPLATE = 80
COIN_VALUE = 1_000_000  # satoshi


@dataclass(frozen=True, slots=True)
class LabCoin:
    """An unspent output; ``how`` signs for it, None where nothing is to be signed."""

    outpoint: bytes
    value: int
    script_pubkey: bytes
    height: int
    how: Spendable | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> LabCoin:
        return self  # a value

    @property
    def txout(self) -> bytes:
        """As serialised."""
        return make_txout(self.value, self.script_pubkey)


def outpoint_of(tx: Tx, vout: int = 0) -> bytes:
    """The 36 bytes that name an output of ``tx``."""
    return tx.txid + vout.to_bytes(4, "little")


def spend(
    coins: Sequence[LabCoin],
    txouts: Sequence[bytes] | None = None,
    *,
    script_sigs: Sequence[bytes] | None = None,
    witnesses: Sequence[list[bytes]] | None = None,
    sequences: Sequence[int] | None = None,
    version: int = 2,
    lock_time: int = 0,
) -> Tx:
    """An unsigned transaction that spends ``coins``, by default whole to an output that anyone can spend."""
    if txouts is None:
        txouts = [make_txout(sum(coin.value for coin in coins), ANYONE_CAN_SPEND)]
    return Tx(
        version,
        [coin.outpoint for coin in coins],
        list(script_sigs or [b""] * len(coins)),
        list(sequences or [SEQUENCE_FINAL] * len(coins)),
        list(txouts),
        list(witnesses) if witnesses is not None else None,
        lock_time,
    )


def sign(coins: Sequence[LabCoin], txouts: Sequence[bytes] | None = None, **how: int) -> Tx:
    """A signed transaction that spends ``coins`` of templates."""
    if txouts is None:
        txouts = [make_txout(sum(coin.value for coin in coins), ANYONE_CAN_SPEND)]
    inputs = []
    for coin in coins:
        if coin.how is None:
            raise ValueError("nothing is known of how to sign for this coin")
        inputs.append((coin.outpoint, coin.txout, coin.how))
    return signed_tx(inputs, list(txouts), **how)


def alter(tx: Tx, **changes: Any) -> Tx:
    """The transaction with some of its columns replaced."""
    columns = {
        "version": tx.version,
        "prevouts": tx.prevouts,
        "script_sigs": tx.script_sigs,
        "sequences": tx.sequences,
        "txouts": tx.txouts,
        "witnesses": tx.witnesses,
        "lock_time": tx.lock_time,
    }
    return Tx(**{**columns, **changes})


def raw_tx(raw: bytes) -> Tx:
    """Any bytes in the place of a transaction; ids are hashes of the bytes."""
    tx = Tx(2, [], [], [], [])
    tx._raw = raw
    return tx


def split_block(raw: bytes) -> tuple[bytes, list[Tx]]:
    """Header and transactions of a block."""
    block = parse_block(raw, exact=False)
    return raw[:HEADER_SIZE], [block.tx(i) for i in range(block.n_tx)]


def reheader(raw: bytes, *, proof: bool = True, **changes: Any) -> bytes:
    """The block with fields of its header replaced, and with a new proof of work unless ``proof`` is False."""
    header = replace(Header.parse(raw[:HEADER_SIZE]), **changes).serialize()
    return (grind(header) if proof else header) + raw[HEADER_SIZE:]


def reseal(raw: bytes, txs: Sequence[Tx], root: bytes | None = None) -> bytes:
    """Other transactions under the header of a block, merkle root and proof of work made to fit (or ``root``)."""
    header = replace(Header.parse(raw[:HEADER_SIZE]), merkle_root=root or merkle_root([tx.txid for tx in txs])[0])
    return assemble(grind(header.serialize()), txs)


@dataclass(slots=True)
class Lab:
    """The chain that blocks are built on. ``now`` is the clock of the nodes that they are for."""

    params: NetworkParams
    now: int = 0
    hashes: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    coinbases: dict[int, LabCoin] = field(default_factory=dict)
    open_coins: deque[LabCoin] = field(default_factory=deque)
    template_coins: dict[str, deque[LabCoin]] = field(default_factory=dict)
    _serial: int = 0

    def __post_init__(self) -> None:
        if not self.hashes:
            self.hashes.append(self.params.genesis_hash)
            self.times.append(int.from_bytes(self.params.genesis_block[68:72], "little"))

    # -- the chain -----------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Height of the tip."""
        return len(self.hashes) - 1

    @property
    def tip_hash(self) -> bytes:
        """Hash of the tip."""
        return self.hashes[-1]

    @property
    def subsidy(self) -> int:
        """Subsidy of the next block."""
        return block_subsidy(self.height + 1, self.params)

    @property
    def median_time(self) -> int:
        """Median time past of the tip."""
        return self.median_time_at(self.height)

    def median_time_at(self, height: int) -> int:
        """Median time past of the block at ``height``."""
        times = sorted(self.times[max(0, height - MEDIAN_TIME_SPAN + 1) : height + 1])
        return times[len(times) // 2]

    @property
    def next_time(self) -> int:
        """Time of the next block: after its parent, unless that one is ahead of the clock."""
        time = self.times[-1] + SPACING
        return time if time <= self.now else self.median_time + SPACING

    def adopt(self, raw: bytes) -> None:
        """The block has become the tip. Raises ValueError for one that is no child of the tip."""
        header = Header.parse(raw[:HEADER_SIZE])
        if header.prev_hash != self.tip_hash:
            raise ValueError("the block does not follow the lab's tip")
        self.hashes.append(header_hash(raw[:HEADER_SIZE]))
        self.times.append(header.time)
        coinbase, _ = Tx.parse_at(raw, read_compact_size(raw, HEADER_SIZE)[1])
        output = coinbase.outputs[0]
        height = self.height
        self.coinbases[height] = LabCoin(outpoint_of(coinbase), output.value, output.script_pubkey, height)

    def branch(self, height: int) -> Lab:
        """A lab of its own on the block at ``height``, with the coins that existed there and are unspent here."""
        return Lab(
            self.params,
            self.now,
            self.hashes[: height + 1],
            self.times[: height + 1],
            {at: coin for at, coin in self.coinbases.items() if at <= height},
            deque(coin for coin in self.open_coins if coin.height <= height),
            {
                name: deque(coin for coin in coins if coin.height <= height)
                for name, coins in self.template_coins.items()
            },
            self._serial + 1000,  # so that the two never build the same block
        )

    def fork(self) -> Lab:
        """A lab of its own on the same tip."""
        return self.branch(self.height)

    # -- building ------------------------------------------------------------------------------------------------

    def template(self, txs: Sequence[Tx] = (), **fields: Any) -> BlockTemplate:
        """A template on the tip; ``fields`` are those of BlockTemplate. Fees are left to nobody by default.

        A serial number in the coinbase makes every block another one.
        """
        self._serial += 1
        defaults = {
            "time": self.next_time,
            "bits": self.params.pow_limit_bits,
            "extra": b"\x04" + self._serial.to_bytes(4, "big"),
        }
        return BlockTemplate(self.params, self.tip_hash, self.height + 1, txs=list(txs), **{**defaults, **fields})

    def block(self, *txs: Tx, **fields: Any) -> bytes:
        """A block on the tip with ``txs`` behind its coinbase, sealed."""
        return self.template(txs, **fields).build()

    def coin(self) -> LabCoin:
        """A coin that anyone can spend, not given out before."""
        return self.open_coins.popleft()

    def coin_of(self, template: str) -> LabCoin:
        """A coin of a signed template, not given out before."""
        return self.template_coins[template].popleft()

    def fund(self, script_pubkey: bytes, outputs: int = 1) -> tuple[Tx, list[LabCoin]]:
        """A transaction that makes ``outputs`` coins with this script out of an open coin."""
        source = self.coin()
        value = source.value // outputs
        tx = spend([source], [make_txout(value, script_pubkey)] * outputs)
        made = [LabCoin(outpoint_of(tx, i), value, script_pubkey, self.height + 1) for i in range(outputs)]
        return tx, made

    # -- the prepared chain --------------------------------------------------------------------------------------

    def prepare(self) -> Iterator[bytes]:
        """The first ``BASE_HEIGHT`` blocks, adopted as they are yielded: coinbases, then open and template coins."""
        while self.height < BASE_HEIGHT - 2:
            # the second block's coinbase script has no room to spare: exactly two bytes from height 17 on
            raw = self.block(extra=b"" if 17 <= self.height + 1 <= 20 else b"\x00")
            self.adopt(raw)
            yield raw
        raw = self.block(*self._spread())
        self.adopt(raw)
        yield raw
        raw = self.block()
        self.adopt(raw)
        yield raw

    def _spread(self) -> list[Tx]:
        height = self.height + 1
        txs = []
        source = self.coinbases[1]
        tx = spend([source], [make_txout(COIN_VALUE, ANYONE_CAN_SPEND)] * OPEN_COINS)
        for i in range(OPEN_COINS):
            self.open_coins.append(LabCoin(outpoint_of(tx, i), COIN_VALUE, ANYONE_CAN_SPEND, height))
        txs.append(tx)
        owners = [make(seed) for make in TEMPLATES.values() for seed in range(COINS_PER_TEMPLATE)]
        tx = spend([self.coinbases[2]], [make_txout(COIN_VALUE, owner.script_pubkey) for owner in owners])
        for i, owner in enumerate(owners):
            coin = LabCoin(outpoint_of(tx, i), COIN_VALUE, owner.script_pubkey, height, owner)
            self.template_coins.setdefault(owner.template, deque()).append(coin)
        txs.append(tx)
        return txs
