"""The index of the UTXO set's statistics (coinstatsindex): sums and set hash after every block.

A record has the running number of MuHash (its denominator divided away), so that a block follows from its parent's
record and no block ever has to be taken back: 496 bytes a block.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from btcnode.consensus.subsidy import block_subsidy
from btcnode.errors import CorruptionError
from btcnode.indexes.recipe import IndexedBlock, Made
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_is_coinbase, coin_prefix, coin_script, coin_value
from btcnode.record import record
from btcnode.script.scriptparse import is_unspendable
from btcnode.side_processes import SideProcesses
from btcnode.storage.coins import BOGO_OVERHEAD
from btcnode.storage.muhash import NUMBER_SIZE, MuHash, number_digest

_SUMS = struct.Struct("<QQqqqqqq")
_WIDE = 16  # bytes of a sum over the whole history: the same coins move again and again

# mainnet's blocks of 2010 whose coinbase was overwritten while unspent (BIP30): it never counts
_OVERWRITTEN = frozenset(
    bytes.fromhex(text)[::-1]
    for text in (
        "00000000000271a2dc26e7667f8419f2e15416dc6955e5a6c6cdf3f2574dd08e",
        "00000000000af0aed4792b1acee3d966af36cf5def14935db8de83d6f9306f2f",
    )
)


@record
class CoinStats:
    """The UTXO set after a block; what is no property of the set is summed up since the genesis block. Satoshi."""

    number: int = 1  # MuHash
    txouts: int = 0
    bogosize: int = 0
    total_amount: int = 0
    subsidy: int = 0
    genesis_block: int = 0  # unspendable, as the next three
    bip30: int = 0
    scripts: int = 0
    unclaimed_rewards: int = 0
    prevout_spent: int = 0
    new_outputs_ex_coinbase: int = 0
    coinbase: int = 0

    @property
    def muhash(self) -> bytes:
        """The set's hash, 32 bytes in internal order."""
        return number_digest(self.number)

    @property
    def unspendable(self) -> int:
        """Coins that are in no set and never will be."""
        return self.genesis_block + self.bip30 + self.scripts + self.unclaimed_rewards

    def pack(self) -> bytes:
        """The record."""
        sums = _SUMS.pack(
            self.txouts, self.bogosize, self.total_amount, self.subsidy, self.genesis_block, self.bip30,
            self.scripts, self.unclaimed_rewards,
        )  # fmt: skip
        wide = (self.prevout_spent, self.new_outputs_ex_coinbase, self.coinbase)
        return self.number.to_bytes(NUMBER_SIZE, "little") + sums + b"".join(n.to_bytes(_WIDE, "little") for n in wide)

    @classmethod
    def unpack(cls, record: bytes) -> CoinStats:
        """Decode a record; raises CorruptionError for any other length."""
        wide = NUMBER_SIZE + _SUMS.size
        if len(record) != wide + 3 * _WIDE:
            raise CorruptionError("a record of the coinstatsindex has a wrong size: start with --reindex")
        return cls(
            int.from_bytes(record[:NUMBER_SIZE], "little"),
            *_SUMS.unpack_from(record, NUMBER_SIZE),
            *(int.from_bytes(record[at : at + _WIDE], "little") for at in range(wide, len(record), _WIDE)),
        )


class _Change:
    """What a block does to the set: sums, and the elements that come and go."""

    def __init__(self) -> None:
        self.created: dict[bytes, bytes] = {}  # packed coins by outpoint
        self.gone: list[bytes] = []
        self.txouts = self.bogosize = self.scripts = 0
        self.coinbase = self.outputs = self.spent = 0

    def create(self, outpoint: bytes, coin: bytes) -> None:
        """A new coin, or what would be one if anybody could spend it."""
        value, script = coin_value(coin), coin_script(coin)
        if is_unspendable(script):
            self.scripts += value
            return
        self.created[outpoint] = coin
        self._count(script, 1)
        if coin_is_coinbase(coin):
            self.coinbase += value
        else:
            self.outputs += value

    def spend(self, outpoint: bytes, coin: bytes) -> None:
        """A coin is gone; one of the same block cancels out."""
        if self.created.pop(outpoint, None) is None:
            self.gone.append(outpoint + coin)
        self._count(coin_script(coin), -1)
        self.spent += coin_value(coin)

    def _count(self, script: bytes, sign: int) -> None:
        self.txouts += sign
        self.bogosize += sign * (BOGO_OVERHEAD + len(script))


class CoinStatsRecipe:
    """See the module."""

    name = "coinstatsindex"
    file = Path("indexes", "coinstatsindex", "coinstatsindex.mdb")
    needs_spent = True
    numbered = False

    def __init__(self, params: NetworkParams, processes: SideProcesses | None = None) -> None:
        """``processes`` help with the set hash."""
        self._params = params
        self._processes = processes

    def make(self, block: IndexedBlock) -> Made:
        """The statistics after a block; raises CorruptionError."""
        before = CoinStats.unpack(block.previous) if block.previous else CoinStats()
        reward = block_subsidy(block.height, self._params)
        if not block.height:  # the output of the genesis block never came into the set
            return Made(replace(before, subsidy=reward, genesis_block=reward).pack())
        overwritten = block.block_hash in _OVERWRITTEN
        change = _apply(block, coinbase=not overwritten)
        muhash = MuHash(before.number, self._processes)
        muhash.insert_many([outpoint + coin for outpoint, coin in change.created.items()])
        muhash.remove_many(change.gone)
        after = CoinStats(
            number=muhash.number(),
            txouts=before.txouts + change.txouts,
            bogosize=before.bogosize + change.bogosize,
            total_amount=before.total_amount + change.coinbase + change.outputs - change.spent,
            subsidy=before.subsidy + reward,
            genesis_block=before.genesis_block,
            bip30=before.bip30 + (reward if overwritten else 0),
            scripts=before.scripts + change.scripts,
            unclaimed_rewards=before.unclaimed_rewards,
            prevout_spent=before.prevout_spent + change.spent,
            new_outputs_ex_coinbase=before.new_outputs_ex_coinbase + change.outputs,
            coinbase=before.coinbase + change.coinbase,
        )
        came = after.prevout_spent + after.subsidy
        went = after.new_outputs_ex_coinbase + after.coinbase + after.unspendable
        return Made(replace(after, unclaimed_rewards=after.unclaimed_rewards + came - went).pack())


def _apply(block: IndexedBlock, *, coinbase: bool) -> _Change:
    """What a block does to the set, with or without its coinbase."""
    parsed, change = parse_block(block.raw), _Change()
    for i in range(0 if coinbase else 1, parsed.n_tx):
        prefix, txid = coin_prefix(block.height, not i), parsed.txids[i]
        for n, txout in enumerate(parsed.tx(i).txouts):
            change.create(txid + n.to_bytes(4, "little"), prefix + txout)
        if i:
            inputs = parsed.in_pos[parsed.first_in[i] : parsed.first_in[i + 1]]
            for at, coin in zip(inputs, block.spent[i - 1], strict=True):
                change.spend(parsed.raw[at : at + 36], coin)
    return change
