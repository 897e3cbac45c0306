"""The chain, the mempool and the spare coins that attacks need; made once, in a few seconds, without signatures.

Most coins pay to P2WSH of OP_TRUE: standard, and spent by a witness of one byte.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from btcnode.mempool.persistence import StoredTx, encode_dump
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160, sha256
from btcnode.primitives.header import HEADER_SIZE, HEADER_STRUCT, header_hash
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext, tapleaf_hash
from btcnode.script.signatures import pubkey_create, sign_ecdsa, taproot_tweak_pubkey
from btcnode.testing.blocks import BlockTemplate, grind
from btcnode.testing.templates import seckey

PARAMS = params_for("regtest")
HEIGHT = 2200  # more than one answer to getheaders or getcfheaders holds
BUSY_TXS = 9_600  # nearly all that fit into a block
SPACING = 2  # seconds between blocks
SUBSIDY = 50 * 10**8
COIN = 100_000  # satoshi of each spare coin
COINS_PER_TX = 4_000
HONEST_TXS = 20
TRUE_SCRIPT = b"\x51"
TRUE_PROGRAM = b"\0\x20" + sha256(TRUE_SCRIPT).digest()
FAT_SCRIPT = b"\x6d" * 200 + b"\x51"  # 200 times OP_2DROP: takes 400 elements of any content
FAT_PROGRAM = b"\0\x20" + sha256(FAT_SCRIPT).digest()
FAT_INPUTS = 18
SIGS_PER_INPUT = 60
MAX_CHECKS = 270  # in a script of 10,000 bytes
KEY = seckey(1)
PUBKEY = pubkey_create(KEY)
LEGACY_SCRIPT = b"\x76\xa9\x14" + hash160(PUBKEY) + b"\x88\xac"
LEGACY_INPUTS = 640
LEAF_VERSION = 0xC0
SLOW_SCRIPT = b"\x76\x75" * 190_000  # OP_DUP OP_DROP: leaves what it finds, for one that is false
_SLOW_KEY, _SLOW_PARITY = taproot_tweak_pubkey(PUBKEY[1:], tapleaf_hash(LEAF_VERSION, SLOW_SCRIPT))
SLOW_PROGRAM = b"\x51\x20" + _SLOW_KEY
SLOW_CONTROL = bytes([LEAF_VERSION | _SLOW_PARITY]) + PUBKEY[1:]
PUSHES = 45_000
PUSHED_BYTES = range(0x20, 0x34)
SEQUENCE = 0xFFFFFFFD


@dataclass(slots=True)
class Coin:
    """An output that the world may spend."""

    outpoint: bytes
    value: int


def spend(
    coins: list[Coin], txouts: list[bytes], witness: list[bytes] | None = None, *, sequence: int = SEQUENCE
) -> Tx:
    """A transaction of coins that anybody may spend."""
    given = [TRUE_SCRIPT] if witness is None else witness
    count = len(coins)
    return Tx(2, [coin.outpoint for coin in coins], [b""] * count, [sequence] * count, txouts, [given] * count)


def outputs_of(tx: Tx, count: int, value: int, start: int = 0) -> list[Coin]:
    """The first outputs of a transaction as coins."""
    return [Coin(tx.txid + n.to_bytes(4, "little"), value) for n in range(start, start + count)]


def checks_script(checks: int = SIGS_PER_INPUT) -> bytes:
    """A witness script that verifies the same signature many times: nothing is dearer for its size."""
    return (b"\x76" + push_data(PUBKEY) + b"\xac\x69") * checks + b"\x75\x51"


@dataclass(slots=True)
class World:
    """``blocks`` are the chain above genesis, ``honest`` the blocks that come on top, ``pool`` the mempool.

    ``busy`` and ``fat`` are blocks near the tip: one of 10,000 transactions, one of nearly 4 MB.
    """

    blocks: list[bytes] = field(default_factory=list)
    honest: list[bytes] = field(default_factory=list)
    pool: list[Tx] = field(default_factory=list)
    busy: bytes = b""
    fat: bytes = b""
    coins: deque[Coin] = field(default_factory=deque)
    checked: list[Coin] = field(default_factory=list)  # pay to the script of many checks
    legacy: list[Coin] = field(default_factory=list)  # pay to the hash of a key
    fat_coins: list[Coin] = field(default_factory=list)  # pay to the script that takes 208 kB of witness
    slow: list[Coin] = field(default_factory=list)  # pay to the long script
    started: int = 0
    height: int = HEIGHT
    _coinbases: deque[Coin] = field(default_factory=deque)

    @property
    def tip(self) -> bytes:
        """Hash of the chain's last block, before honest ones."""
        return header_hash(self.blocks[-1][:HEADER_SIZE])

    def take(self, count: int = 1) -> list[Coin]:
        """Spare coins."""
        return [self.coins.popleft() for _ in range(count)]

    def block(self, txs: list[Tx] | None = None, fees: int = 0) -> bytes:
        """The next block."""
        made = self.blocks + self.honest
        prev = header_hash(made[-1][:HEADER_SIZE]) if made else PARAMS.genesis_hash
        height = len(made) + 1
        return BlockTemplate(
            PARAMS, prev, height, self.started - (self.height - height) * SPACING, PARAMS.pow_limit_bits,
            txs=txs or [], fees=fees, script_pubkey=TRUE_PROGRAM, commit=True,
        ).build()  # fmt: skip

    def _grow(self, txs: list[Tx] | None = None) -> None:
        raw = self.block(txs)
        self.blocks.append(raw)
        if len(self.blocks) < 40:  # the first are worth enough
            tx, _ = Tx.parse_at(raw, HEADER_SIZE + 1)
            self._coinbases.append(Coin(tx.txid + bytes(4), tx_value(tx)))

    def _split(self, count: int, program: bytes) -> tuple[Tx, list[Coin]]:
        source = self._coinbases.popleft()
        value = min(COIN, source.value // count)
        tx = spend([source], [make_txout(value, program)] * count)
        return tx, outputs_of(tx, count, value)

    def _fan_out(self, count: int) -> None:
        """Spare coins, in blocks of their own."""
        made = 0
        while made < count:
            tx, coins = self._split(COINS_PER_TX, TRUE_PROGRAM)
            self.coins += coins
            made += len(coins)
            self._grow([tx])


def tx_value(tx: Tx) -> int:
    """What the first output is worth."""
    return int.from_bytes(tx.txouts[0][:8], "little")


def plain_tx(coin: Coin, fee: int, number: int) -> Tx:
    """A small transaction with two outputs to keys nobody has."""
    each = (coin.value - fee) // 2
    programs = [b"\0\x14" + hash160(number.to_bytes(8, "little") + bytes([n])) for n in range(2)]
    return spend([coin], [make_txout(each, program) for program in programs])


def pushy_tx(coin: Coin, number: int) -> Tx:
    """A transaction whose data output has 45,000 pushes of a byte: what filters of light clients must look through."""
    script = b"\x6a" + (b"\x01" + bytes([PUSHED_BYTES[number]])) * PUSHES
    return spend([coin], [make_txout(0, script)])


def make_world(
    pool: int, honest: int, spare: int, *, height: int = HEIGHT, busy_txs: int = BUSY_TXS, started: int | None = None
) -> World:
    """Build it: a mempool of ``pool`` transactions, ``honest`` blocks to come, ``spare`` coins for attacks.

    ``started``: Unix time of the last block, by default now.
    """
    world = World(started=started if started is not None else int(time.time()), height=height)
    for _ in range(140):
        world._grow()
    world._fan_out(pool + 20 + honest * HONEST_TXS + busy_txs + spare + 2 * COINS_PER_TX)
    split, world.checked = world._split(20, b"\0\x20" + sha256(checks_script()).digest())
    split_legacy, world.legacy = world._split(LEGACY_INPUTS, LEGACY_SCRIPT)
    split_fat, fat = world._split(2 * FAT_INPUTS, FAT_PROGRAM)
    fat, world.fat_coins = fat[:FAT_INPUTS], fat[FAT_INPUTS:]
    split_slow, world.slow = world._split(2, SLOW_PROGRAM)
    split_big = spend([world._coinbases.popleft()], [make_txout(10**7, TRUE_PROGRAM)] * len(PUSHED_BYTES))
    world._grow([split, split_legacy, split_fat, split_slow, split_big])
    while len(world.blocks) < height - 4:
        world._grow()
    world._grow([spend([coin], [make_txout(coin.value, TRUE_PROGRAM)]) for coin in world.take(busy_txs)])
    world.busy = world.blocks[-1]
    stack = [bytes([n % 251]) * 520 for n in range(400)]
    world._grow([spend([coin], [make_txout(coin.value, TRUE_PROGRAM)], [*stack, FAT_SCRIPT]) for coin in fat])
    world.fat = world.blocks[-1]
    while len(world.blocks) < height:
        world._grow()
    world.pool = [pushy_tx(coin, n) for n, coin in enumerate(outputs_of(split_big, len(PUSHED_BYTES), 10**7))]
    world.pool += [plain_tx(coin, 1_000, n) for n, coin in enumerate(world.take(pool))]
    for n in range(honest):
        world.honest.append(world.block([plain_tx(coin, 0, n) for coin in world.take(HONEST_TXS)]))
    return world


def pool_file(world: World) -> bytes:
    """The mempool as mempool.dat."""
    return encode_dump([StoredTx(tx, world.started, 0) for tx in world.pool], {}, [], None)


# -- parts of attacks ------------------------------------------------------------------------------------------------


def new_header(prev: bytes, root: bytes, when: int) -> bytes:
    """A header with proof of work."""
    return grind(HEADER_STRUCT.pack(0x20000000, prev, root, when, PARAMS.pow_limit_bits, 0))


def header_chain(prev: bytes, count: int, when: int) -> list[bytes]:
    """Headers on top of ``prev``, with proof of work."""
    made: list[bytes] = []
    for n in range(count):
        made.append(new_header(prev, n.to_bytes(32, "little"), when + n))
        prev = header_hash(made[-1])
    return made


def checked_tx(world: World) -> Tx:
    """1,200 signature checks, of which the last one fails: its signature may be changed at will."""
    return _checked(world.checked, checks_script())


def checked_pair(world: World, inputs: int) -> list[Tx]:
    """A transaction, and one that spends its outputs: as many checks as a script can have in each input."""
    script = checks_script(MAX_CHECKS)
    (coin,) = world.take()
    each = coin.value // inputs
    first = spend([coin], [make_txout(each, b"\0\x20" + sha256(script).digest())] * inputs)
    return [first, _checked(outputs_of(first, inputs, each), script)]


def slow_tx(world: World) -> Tx:
    """A script of 380,000 operations that leaves what it was given: one byte that may be changed, and a zero on top."""
    stack = [bytes(8), b"", SLOW_SCRIPT, SLOW_CONTROL]
    return spend(world.slow[:1], [make_txout(1_000, TRUE_PROGRAM)], stack)


def cheap_parent(world: World) -> tuple[Tx, Tx]:
    """A transaction without a fee, and a child that pays for both but whose last of 1,200 checks fails."""
    (coin,) = world.take()
    each = coin.value // 20
    parent = spend([coin], [make_txout(each, b"\0\x20" + sha256(checks_script()).digest())] * 20)
    return parent, _checked(outputs_of(parent, 20, each), checks_script())


def _checked(coins: list[Coin], script: bytes) -> Tx:
    """A transaction of coins that pay to a script of checks; the last input's signature is of something else."""
    blank = spend(coins, [make_txout(1_000, TRUE_PROGRAM)], [script])
    context = SighashContext(blank, [make_txout(coin.value, b"\0\x20" + sha256(script).digest()) for coin in coins])
    stacks = []
    for n, coin in enumerate(coins):
        digest = context.segwit_v0(n, script, coin.value.to_bytes(8, "little"), 1)
        stacks.append([sign_ecdsa(KEY, digest) + b"\x01", script])
    stacks[-1][0] = sign_ecdsa(KEY, bytes(32)) + b"\x01"
    return Tx(2, blank.prevouts, blank.script_sigs, blank.sequences, blank.txouts, stacks)


def quadratic_tx(world: World) -> Tx:
    """640 legacy inputs, each of whose signatures hashes the whole transaction; the last one is wrong."""
    coins = world.legacy
    spent = [make_txout(coin.value, LEGACY_SCRIPT) for coin in coins]
    count = len(coins)
    blank = Tx(2, [c.outpoint for c in coins], [b""] * count, [SEQUENCE] * count, [make_txout(1_000, TRUE_PROGRAM)])
    context = SighashContext(blank, spent)
    sigs = [sign_ecdsa(KEY, context.legacy(n, LEGACY_SCRIPT, 1)) + b"\x01" for n in range(count)]
    sigs[-1] = sign_ecdsa(KEY, bytes(32)) + b"\x01"
    scripts = [push_data(sig) + push_data(PUBKEY) for sig in sigs]
    return Tx(2, blank.prevouts, scripts, blank.sequences, blank.txouts)


def orphan_family(world: World, children: int) -> tuple[Tx, list[Tx]]:
    """A parent and children that each spend one of its outputs."""
    (coin,) = world.take()
    each = (coin.value - 10_000) // children
    parent = spend([coin], [make_txout(each, TRUE_PROGRAM)] * children)
    family = [spend([out], [make_txout(each - 500, TRUE_PROGRAM)]) for out in outputs_of(parent, children, each)]
    return parent, family
