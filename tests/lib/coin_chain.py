"""Regtest chains with many coins and nothing to sign: for measuring what a large UTXO set costs.

Outputs are as large as P2WPKH's; their script is a push of 21 bytes, which is true by itself, so an empty input spends
it. First come full blocks of transactions with one input, the oldest coin, and ten outputs, until there are enough
coins; then full blocks of transactions with two inputs and two outputs, where one input is a coin of the block before
and one is drawn evenly from all coins of the first phase.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from random import Random

from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.header import HEADER_SIZE, HEADER_STRUCT
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import TOP_BITS_VERSION, coinbase_tx, grind

MATURITY = 100
SPACING = 600  # seconds between blocks
FULL_BLOCK = 997_000  # bytes of transactions without witnesses beside the coinbase
FAN = 10
PUSH = 21  # bytes: with the opcode a script as long as that of P2WPKH
GROWTH_SIZE, SPENDING_SIZE = 361, 154  # bytes of a transaction of each phase
_SCRIPT = bytes((PUSH + 1, PUSH))
_VOUTS = [number.to_bytes(4, "little") for number in range(FAN)]


class CoinChain:
    """Makes the blocks one after the other; a seed fixes them.

    ``block_bytes``: of the transactions in a block, less for a quick try.
    """

    def __init__(self, params: NetworkParams, *, seed: int = 1, block_bytes: int = FULL_BLOCK) -> None:
        self._params = params
        self._rng = Random(seed)
        self._block_bytes = block_bytes
        self._height = 0
        self._tip: bytes = params.genesis_hash
        self._time = HEADER_STRUCT.unpack(params.genesis_block[:HEADER_SIZE])[3]
        self._txids = bytearray()  # of the first phase's transactions
        self._amounts = array("q")  # of each one's outputs
        self._spent = 0  # so many of the first phase's coins, the oldest
        self.inputs = 0

    @property
    def height(self) -> int:
        """Height of the last block."""
        return self._height

    @property
    def coins(self) -> int:
        """How many unspent outputs the first phase has left."""
        return FAN * len(self._amounts) - self._spent

    def growth(self, coins: int) -> Iterator[bytes]:
        """Blocks until there are so many coins."""
        outpoint, amount = self._coinbase().txid + _VOUTS[0], block_subsidy(1, self._params)
        for _ in range(MATURITY + 1):
            yield self._block([])
        while self.coins < coins:
            txs: list[bytes] = []
            for _ in range(self._block_bytes // GROWTH_SIZE):
                if self._amounts:
                    outpoint, amount = self._coin(self._spent)
                    self._spent += 1
                raw = self._tx([outpoint], amount // FAN, FAN)
                txs.append(raw)
                self._txids += sha256d(raw)
                self._amounts.append(amount // FAN)
            yield self._block(txs)

    def spending(self, blocks: int) -> Iterator[bytes]:
        """So many blocks that spend old and recent coins."""
        rng, low, high = self._rng, self._spent, FAN * len(self._amounts)
        count = self._block_bytes // SPENDING_SIZE
        high -= count
        recent = [self._coin(high + n) for n in range(count)]
        drawn: set[int] = set()
        for _ in range(blocks):
            txs, made = [], []
            for outpoint, amount in recent:
                old = rng.randrange(low, high)
                while old in drawn:
                    old = rng.randrange(low, high)
                drawn.add(old)
                other, more = self._coin(old)
                raw = self._tx([outpoint, other], amount + more >> 1, 2)
                txs.append(raw)
                made.append((sha256d(raw) + _VOUTS[0], amount + more >> 1))
            recent = made
            yield self._block(txs)

    def _coin(self, number: int) -> tuple[bytes, int]:
        tx, vout = divmod(number, FAN)
        return bytes(self._txids[32 * tx : 32 * tx + 32]) + _VOUTS[vout], self._amounts[tx]

    def _tx(self, outpoints: list[bytes], amount: int, outputs: int) -> bytes:
        self.inputs += len(outpoints)
        noise = self._rng.randbytes(PUSH * outputs)
        head = amount.to_bytes(8, "little") + _SCRIPT
        pushes = b"".join([head + noise[at : at + PUSH] for at in range(0, len(noise), PUSH)])
        inputs = b"".join([outpoint + b"\0\xff\xff\xff\xff" for outpoint in outpoints])
        return b"".join((b"\2\0\0\0", bytes((len(outpoints),)), inputs, bytes((outputs,)), pushes, bytes(4)))

    def _coinbase(self) -> Tx:
        height = self._height + 1
        return coinbase_tx(height, block_subsidy(height, self._params))

    def _block(self, txs: list[bytes]) -> bytes:
        coinbase = self._coinbase()
        self._height += 1
        self._time += SPACING
        root = merkle_root([coinbase.txid, *map(sha256d, txs)])[0]
        header = grind(
            HEADER_STRUCT.pack(TOP_BITS_VERSION, self._tip, root, self._time, self._params.pow_limit_bits, 0)
        )
        self._tip = sha256d(header)
        return b"".join((header, compact_size(1 + len(txs)), coinbase.raw, *txs))
