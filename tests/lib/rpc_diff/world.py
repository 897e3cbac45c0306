"""What both nodes know: a regtest chain with spends of many kinds, branches beside it, and a mempool with families."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.addresses import base58check_encode
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data
from btcnode.script.signatures import pubkey_create
from btcnode.testing.blocks import ANYONE_CAN_SPEND, BlockTemplate
from btcnode.testing.templates import TEMPLATES, Spendable, seckey, signed_tx

START_TIME = 1_700_000_000  # of block 1
SPACING = 60
HEIGHT = 130
P2A = bytes.fromhex("51024e73")
WIF_PREFIX = 0xEF


def anyone() -> Spendable:
    """A bare OP_TRUE."""
    return Spendable("true", ANYONE_CAN_SPEND, lambda ctx, index: (b"", []))


def anchor() -> Spendable:
    """Pay to anchor."""
    return Spendable("anchor", P2A, lambda ctx, index: (b"", []))


def p2sh_true() -> Spendable:
    """OP_TRUE in P2SH."""
    script = b"\xa9\x14" + hash160(b"\x51") + b"\x87"
    return Spendable("p2sh-true", script, lambda ctx, index: (b"\x01\x51", []))


def p2wsh_true() -> Spendable:
    """OP_TRUE in P2WSH."""
    return Spendable("p2wsh-true", b"\x00\x20" + sha256(b"\x51").digest(), lambda ctx, index: (b"", [b"\x51"]))


PUBKEYS = [pubkey_create(seckey(seed)) for seed in range(8)]
UNCOMPRESSED = [pubkey_create(seckey(seed), compressed=False) for seed in range(8)]
UNUSUAL_SCRIPTS = (
    push_data(PUBKEYS[0]) + b"\xac",  # P2PK
    push_data(UNCOMPRESSED[0]) + b"\xac",
    b"\x51" + push_data(PUBKEYS[1]) + push_data(PUBKEYS[2]) + b"\x52\xae",  # bare multisig
    b"\x52" + b"".join(map(push_data, PUBKEYS[:4])) + b"\x54\xae",
    b"\x6a",
    b"\x6a" + push_data(b"differential"),
    b"\x6a" + push_data(b"a" * 200) + push_data(b"b"),
    b"\x6a\x4c",  # a push that is cut off
    P2A,
    b"\x52\x20" + bytes(range(32)),  # witness versions of the future
    b"\x60\x02\xaa\xbb",
    b"\x51\x14" + bytes(20),
    b"\x51\x20" + b"\xff" * 32,  # no point of the curve
    b"",
    b"\x51",
    b"\x76\xa9\x14" + bytes(19),
    b"\x4e\xff\xff\xff\xff",
    b"\xac" * 30,
    b"\x01\x0f\x75\x51",
    bytes(10_001),
)


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that a case may spend."""

    outpoint: bytes
    value: int
    how: Spendable

    @property
    def txout(self) -> bytes:
        """As serialised."""
        return make_txout(self.value, self.how.script_pubkey)


def spend(
    coins: list[Coin],
    scripts: list[bytes],
    fee: int,
    *,
    version: int = 2,
    lock_time: int = 0,
    sequence: int = 0xFFFFFFFD,
    values: list[int] | None = None,
) -> Tx:
    """A signed transaction of ``coins`` that divides what is left over ``fee`` among ``scripts``."""
    each = (sum(coin.value for coin in coins) - fee) // len(scripts)
    txouts = [make_txout(value, script) for value, script in zip(values or [each] * len(scripts), scripts, strict=True)]
    inputs = [(coin.outpoint, coin.txout, coin.how) for coin in coins]
    return signed_tx(inputs, txouts, version=version, lock_time=lock_time, sequence=sequence)


def wif(seed: int, *, compressed: bool = True, prefix: int = WIF_PREFIX) -> str:
    """A private key as the test networks write it."""
    return base58check_encode(bytes([prefix]) + seckey(seed) + (b"\x01" if compressed else b""))


@dataclass(slots=True)
class World:
    """The chain and all that grew beside it, from a seed."""

    seed: int
    height: int = HEIGHT
    blocks: list[bytes] = field(default_factory=list)  # of the active chain, from height 1
    side_blocks: list[bytes] = field(default_factory=list)
    lone_headers: list[bytes] = field(default_factory=list)
    bad_blocks: list[bytes] = field(default_factory=list)
    mempool: list[list[Tx]] = field(default_factory=list)  # one: sendrawtransaction; more: submitpackage
    told: list[Tx] = field(default_factory=list)  # peers bring them
    orphans: list[Tx] = field(default_factory=list)  # peers bring them before their parents
    coins: list[Coin] = field(default_factory=list)  # nobody spends them
    immature: list[Coin] = field(default_factory=list)
    spent: list[Coin] = field(default_factory=list)
    txs: list[Tx] = field(default_factory=list)  # confirmed ones, coinbases too
    hashes: list[str] = field(default_factory=list)
    params: NetworkParams = field(default_factory=lambda: params_for("regtest"))

    def __post_init__(self) -> None:
        self.hashes.append(to_display(self.params.genesis_hash))
        rng = Random(f"world {self.seed}")
        self._mine_chain(rng)
        self._branch_off()
        self._fill_mempool(rng)

    @property
    def now(self) -> int:
        """The mocked time of both nodes."""
        return START_TIME + SPACING * (self.height + 2)

    # -- chain ---------------------------------------------------------------------------------------------------

    def block_on(self, prev_hash: bytes, height: int, txs: list[Tx], fees: int, **changes: object) -> bytes:
        """A block; ``changes`` are fields of the template."""
        template = BlockTemplate(
            self.params, prev_hash, height, START_TIME + SPACING * height, self.params.pow_limit_bits,
            txs=txs, fees=fees, commit=True,
        )  # fmt: skip
        for name, value in changes.items():
            setattr(template, name, value)
        return template.build()

    def _extend(self, txs: list[Tx], fees: int, how: Spendable) -> Coin:
        height = len(self.blocks) + 1
        prev = bytes.fromhex(self.hashes[-1])[::-1]
        raw = self.block_on(prev, height, txs, fees, script_pubkey=how.script_pubkey)
        self.blocks.append(raw)
        self.hashes.append(to_display(header_hash(raw[:HEADER_SIZE])))
        coinbase, _ = Tx.parse_at(raw, HEADER_SIZE + (1 if raw[HEADER_SIZE] < 0xFD else 3))
        self.txs += [coinbase, *txs]
        return Coin(coinbase.txid + bytes(4), block_subsidy(height, self.params) + fees, how)

    def _mine_rewards(self) -> list[Coin]:
        makers = list(TEMPLATES.values())
        return [self._extend([], 0, makers[n % len(makers)](n % 5)) for n in range(102)]

    def _mine_chain(self, rng: Random) -> None:
        makers = list(TEMPLATES.values())
        rewards = self._mine_rewards()
        owners = [maker(seed) for maker in makers for seed in range(6)]
        owners += [anyone(), p2sh_true(), p2wsh_true(), anchor()] * 4
        spread = spend([rewards[0]], [owner.script_pubkey for owner in owners], 40_000)
        self._extend([spread], 40_000, anyone())
        odd = spend([rewards[1]], list(UNUSUAL_SCRIPTS), 60_000)
        self._extend([odd], 60_000, makers[0](1))
        each = int.from_bytes(spread.txouts[0][:8], "little")
        free = [Coin(spread.txid + n.to_bytes(4, "little"), each, owner) for n, owner in enumerate(owners)]
        rng.shuffle(free)
        while len(self.blocks) < self.height:
            txs, fees = [], 0
            for _ in range(rng.randrange(3) if len(free) > 30 else 0):
                sources = [free.pop() for _ in range(rng.randrange(1, 3))]
                fee = rng.randrange(200, 20_000)
                txs.append(spend(sources, [rng.choice(owners).script_pubkey for _ in range(2)], fee))
                fees += fee
                self.spent += sources
            self.immature.append(self._extend(txs, fees, rng.choice(makers)(rng.randrange(5))))
        self.coins = free + rewards[2:20]

    def _branch_off(self) -> None:
        """A branch of two blocks, one of headers only, and blocks that break a rule."""
        fork = self.height - 6
        prev = bytes.fromhex(self.hashes[fork])[::-1]
        for n in range(1, 3):
            raw = self.block_on(prev, fork + n, [], 0, extra=b"\x02side")
            self.side_blocks.append(raw)
            prev = header_hash(raw[:HEADER_SIZE])
        prev = bytes.fromhex(self.hashes[self.height - 3])[::-1]
        self.lone_headers.append(self.block_on(prev, self.height - 2, [], 0, extra=b"\x02head")[:HEADER_SIZE])
        prev = bytes.fromhex(self.hashes[self.height])[::-1]
        self.bad_blocks.append(self.block_on(prev, self.height + 1, [], COIN, extra=b"\x03bad"))

    # -- mempool -------------------------------------------------------------------------------------------------

    def _fill_mempool(self, rng: Random) -> None:
        take = self.coins.pop
        true = p2wsh_true()
        lone = spend([take()], [TEMPLATES["p2wpkh"](1).script_pubkey], 3_000)
        chain = [spend([take()], [true.script_pubkey] * 3, 2_000)]
        for n in range(4):
            parent = chain[-1]
            value = int.from_bytes(parent.txouts[0][:8], "little")
            chain.append(spend([Coin(parent.txid + bytes(4), value, true)], [true.script_pubkey] * 2, 500 + 900 * n))
        value = int.from_bytes(chain[0].txouts[1][:8], "little")
        fan = spend([Coin(chain[0].txid + b"\x01\0\0\0", value, true), take()], [true.script_pubkey], 7_000)
        twice = take()
        replaced = spend([twice], [true.script_pubkey], 400)
        replacing = spend([twice], [true.script_pubkey, UNUSUAL_SCRIPTS[5]], 0, values=[twice.value - 4_000, 0])
        parent = self._free_parent(take(), true)
        child = self._anchor_child(parent, true)
        final = spend([take()], [true.script_pubkey], 1_500, sequence=0xFFFFFFFE, lock_time=self.height)
        self.mempool = [[lone], *([tx] for tx in chain), [fan], [replaced], [replacing], [parent, child], [final]]
        self.told = [spend([take()], [true.script_pubkey] * 2, 2_500)]
        for outputs in (1, 3):
            unseen = spend([take()], [true.script_pubkey], 1_000)
            value = int.from_bytes(unseen.txouts[0][:8], "little")
            self.orphans.append(spend([Coin(unseen.txid + bytes(4), value, true)], [true.script_pubkey] * outputs, 900))
        rng.shuffle(self.coins)

    @staticmethod
    def _free_parent(coin: Coin, owner: Spendable) -> Tx:
        """A TRUC transaction without fee and with ephemeral dust."""
        return spend([coin], [owner.script_pubkey, P2A], 0, version=3, values=[coin.value, 0])

    @staticmethod
    def _anchor_child(parent: Tx, owner: Spendable) -> Tx:
        value = int.from_bytes(parent.txouts[0][:8], "little")
        coins = [Coin(parent.txid + bytes(4), value, owner), Coin(parent.txid + b"\x01\0\0\0", 0, anchor())]
        return spend(coins, [owner.script_pubkey], 5_000, version=3)


def unsigned(tx: Tx) -> Tx:
    """The same without scripts and witnesses."""
    return Tx(tx.version, tx.prevouts, [b""] * len(tx.prevouts), tx.sequences, tx.txouts, lock_time=tx.lock_time)
