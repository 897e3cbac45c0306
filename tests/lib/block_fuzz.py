"""Random changes to valid blocks: bytes at any place, and fields by name; sealed again or not.

A block whose bytes changed at random mostly fails at its proof of work or merkle root. So most cases put the
changed transactions under a header and a commitment that fit them: then the rules behind are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.errors import DecodeError
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.testing.blocks import ANYONE_CAN_SPEND, COMMITMENT_PREFIX, push_number, witness_commitment
from tests.lib.block_lab import Lab, LabCoin, alter, outpoint_of, reheader, reseal, sign, spend, split_block

_VALUES = (0, 1, -1, 546, 999_999, 1_000_001, 50 * 10**8, 21 * 10**14, 21 * 10**14 + 1, (1 << 63) - 1, -(1 << 63))
_SEQUENCES = (0, 1, 2, 100, 0xFFFF, 1 << 22, (1 << 22) | 1, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF)
_VERSIONS = (0, 1, 2, 3, 4, 0x20000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SCRIPTS = (b"", b"\x00", b"\x51", b"\x6a", b"\xac" * 300, b"\x60\x02\x01\x02", b"\x00\x14" + bytes(20), b"\x4c\xff")
_NONCES: tuple[list[list[bytes]], ...] = ([[]], [[bytes(31)]], [[bytes(32)]], [[bytes(33)]], [[bytes(32), b""]])
_BITS = (0x207FFFFF, 0x207FFFFE, 0x1F7FFFFF, 0, 0x20FFFFFF, 0x2100FFFF)


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """One to three changes at random places: a bit, a byte, an insertion, a deletion, a repetition, a cut."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(12)
        if kind < 5 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind < 7 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFC, 0xFD, 0xFE, 0xFF, rng.randrange(256)))
        elif kind < 9:
            out[at:at] = rng.randbytes(rng.choice((1, 1, 2, 4, 32)))
        elif kind < 11:
            del out[at : at + rng.choice((1, 1, 2, 4, 41))]
        elif rng.random() < 0.5:
            out[at:at] = out[at : at + rng.choice((1, 36, 41))]
        else:
            del out[at:]
    return bytes(out)


class BlockFuzzer:
    """Makes cases on a prepared lab; tell it with ``accepted`` or ``rejected`` what came of each."""

    def __init__(self, lab: Lab, rng: Random) -> None:
        self.lab = lab
        self._rng = rng
        self._taken: list[LabCoin] = []
        self._changes: tuple[Callable[[list[Tx]], None], ...] = (
            self._change_columns, self._change_columns, self._change_input, self._change_input, self._change_output,
            self._change_output, self._change_witness, self._change_witness, self._change_script_sig, self._reorder,
            self._repeat, self._drop, self._change_coinbase, self._change_coinbase, self._change_bytes,
            self._change_bytes,
        )  # fmt: skip

    # -- outcome -------------------------------------------------------------------------------------------------

    def rejected(self) -> None:
        """The last block was refused: its coins can be used again."""
        for coin in self._taken:
            pool = self.lab.open_coins if coin.how is None else self.lab.template_coins[coin.how.template]
            pool.append(coin)
        self._taken.clear()

    def accepted(self, raw: bytes) -> None:
        """The last block became the tip: its outputs are there to be spent, its inputs are not."""
        lab = self.lab
        self.rejected()
        lab.adopt(raw)
        _, txs = split_block(raw)
        spent = {prevout for tx in txs for prevout in tx.prevouts}
        for pool in (lab.open_coins, *lab.template_coins.values()):
            left = [coin for coin in pool if coin.outpoint not in spent]
            pool.clear()
            pool.extend(left)
        for tx in txs[1:]:
            for vout, output in enumerate(tx.outputs):
                outpoint = outpoint_of(tx, vout)
                if output.script_pubkey == ANYONE_CAN_SPEND and outpoint not in spent:
                    lab.open_coins.append(LabCoin(outpoint, output.value, ANYONE_CAN_SPEND, lab.height))

    # -- cases ---------------------------------------------------------------------------------------------------

    def valid_block(self) -> bytes:
        """A valid block of a few transactions of every kind."""
        txs: list[Tx] = []
        ripe = self.lab.coinbases[self.lab.height + 1 - COINBASE_MATURITY]
        if ripe.script_pubkey == ANYONE_CAN_SPEND and self._rng.random() < 0.15:
            txs.append(spend([ripe]))
        for _ in range(self._rng.randrange(5)):
            tx = self._valid_tx()
            txs.append(tx)
            if self._rng.random() < 0.3:
                made = LabCoin(outpoint_of(tx), tx.outputs[0].value, ANYONE_CAN_SPEND, self.lab.height + 1)
                txs.append(spend([made], sequences=[self._rng.choice((0, 1 << 31, 0xFFFFFFFF))]))
        return self.lab.block(*txs, extra=self._rng.randbytes(6))

    def case(self) -> bytes:
        """A block, most likely invalid."""
        rng = self._rng
        raw = self.valid_block()
        kind = rng.random()
        if kind < 0.1:
            return mutate_bytes(raw, rng)
        if kind < 0.15:
            return raw[:HEADER_SIZE] + mutate_bytes(raw[HEADER_SIZE:], rng)
        if kind < 0.25:
            return self._change_header(raw)
        _, txs = split_block(raw)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice(self._changes)(txs)
        if rng.random() < 0.06:
            return raw[:HEADER_SIZE] + reseal(raw, txs)[HEADER_SIZE:]
        if txs and rng.random() < 0.85:
            self._commit(txs)
        return reseal(raw, txs) if txs else reseal(raw, txs, ZERO_HASH)

    def _take(self, coin: LabCoin) -> LabCoin:
        self._taken.append(coin)
        return coin

    def _valid_tx(self) -> Tx:
        rng, lab = self._rng, self.lab
        names = [name for name, coins in lab.template_coins.items() if len(coins) > 4]
        if rng.random() < 0.5 or not names:
            coins = [self._take(lab.coin()) for _ in range(rng.choice((1, 1, 2, 3)))]
            age = lab.height + 1 - max(coin.height for coin in coins)
            sequences = [rng.choice((0, min(age, 0xFFFF), 0xFFFFFFFE, 0xFFFFFFFF)) for _ in coins]
            return spend(coins, sequences=sequences, lock_time=rng.choice((0, 0, 0, lab.height)))
        coins = [self._take(lab.coin_of(rng.choice(names))) for _ in range(rng.choice((1, 1, 2)))]
        value = sum(coin.value for coin in coins)
        outputs = [make_txout(value // 2, ANYONE_CAN_SPEND)] * 2
        return sign(coins, outputs, lock_time=rng.choice((0, lab.height)))

    def _commit(self, txs: list[Tx]) -> None:
        """Give the coinbase the commitment that its block needs, if it is still one that can carry it."""
        coinbase = txs[0]
        if not any(tx.has_witness for tx in txs[1:]) or coinbase.prevouts != [NULL_OUTPOINT]:
            return
        kept = [txout for txout in coinbase.txouts if COMMITMENT_PREFIX not in txout]
        commitment = make_txout(0, COMMITMENT_PREFIX + witness_commitment(txs[1:]))
        txs[0] = alter(coinbase, txouts=[*kept, commitment], witnesses=[[ZERO_HASH]])

    # -- changes -------------------------------------------------------------------------------------------------

    def _pick(self, txs: list[Tx]) -> int:
        """A transaction, seldom the coinbase; -1 when there is none."""
        if len(txs) > 1 and self._rng.random() < 0.85:
            return self._rng.randrange(1, len(txs))
        return 0 if txs else -1

    def _change_columns(self, txs: list[Tx]) -> None:
        rng, i = self._rng, self._pick(txs)
        if i < 0:
            return
        lab = self.lab
        if rng.random() < 0.3:
            txs[i] = alter(txs[i], version=rng.choice(_VERSIONS))
        elif rng.random() < 0.5:
            near = (0, 1, lab.height, lab.height + 1, lab.median_time - 1, lab.median_time, 499_999_999, 500_000_000)
            txs[i] = alter(txs[i], lock_time=rng.choice((*near, 0xFFFFFFFF)))
        elif txs[i].sequences:
            sequences = list(txs[i].sequences)
            age = lab.height - rng.randrange(3, 120)
            sequences[rng.randrange(len(sequences))] = rng.choice((*_SEQUENCES, max(age, 0)))
            txs[i] = alter(txs[i], sequences=sequences)

    def _change_input(self, txs: list[Tx]) -> None:
        """Another outpoint in place of one, an input more, or one less."""
        rng, i = self._rng, self._pick(txs)
        if i < 0 or not txs[i].prevouts:
            return
        tx = txs[i]
        prevouts, scripts, sequences = list(tx.prevouts), list(tx.script_sigs), list(tx.sequences)
        stacks = list(tx.witnesses) or [[] for _ in prevouts]
        at = rng.randrange(len(prevouts))
        other = rng.choice(txs)
        choices = [
            NULL_OUTPOINT,
            bytes(36),
            outpoint_of(other, rng.randrange(3)),
            prevouts[at][:32] + rng.randrange(4).to_bytes(4, "little"),
            rng.choice(self.lab.open_coins).outpoint,
            self.lab.coinbases[self.lab.height + 1 - rng.randrange(95, 103)].outpoint,
        ]
        if other.prevouts:
            choices.append(rng.choice(other.prevouts))
        kind = rng.random()
        if kind < 0.5:
            prevouts[at] = rng.choice(choices)
        elif kind < 0.85:
            prevouts.insert(at, rng.choice(choices))
            scripts.insert(at, b"")
            sequences.insert(at, rng.choice(_SEQUENCES))
            stacks.insert(at, [])
        else:
            del prevouts[at], scripts[at], sequences[at], stacks[at]
        if not prevouts and any(tx.witnesses):
            return
        txs[i] = alter(tx, prevouts=prevouts, script_sigs=scripts, sequences=sequences, witnesses=stacks)

    def _change_output(self, txs: list[Tx]) -> None:
        rng, i = self._rng, self._pick(txs)
        if i < 0:
            return
        txouts = list(txs[i].txouts)
        kind = rng.random()
        if kind < 0.55 and txouts:
            at = rng.randrange(len(txouts))
            value = int.from_bytes(txouts[at][:8], "little", signed=True)
            value = rng.choice((*_VALUES, value + 1, value - 1))
            if -(1 << 63) <= value < 1 << 63:
                txouts[at] = value.to_bytes(8, "little", signed=True) + txouts[at][8:]
        elif kind < 0.8:
            script = rng.choice(_SCRIPTS) if rng.random() < 0.9 else b"\xac" * rng.choice((19_999, 20_000, 20_001))
            txouts.insert(rng.randrange(len(txouts) + 1), make_txout(rng.choice(_VALUES[:4]), script))
        elif txouts:
            del txouts[rng.randrange(len(txouts))]
        txs[i] = alter(txs[i], txouts=txouts)

    def _change_witness(self, txs: list[Tx]) -> None:
        rng, i = self._rng, self._pick(txs)
        if i < 0 or not txs[i].prevouts:
            return
        tx = txs[i]
        stacks = [list(stack) for stack in tx.witnesses] or [[] for _ in tx.prevouts]
        stack = rng.choice(stacks)
        kind = rng.random()
        if kind < 0.6 and stack:
            at = rng.randrange(len(stack))
            stack[at] = mutate_bytes(stack[at], rng)
        elif kind < 0.75:
            stack.insert(rng.randrange(len(stack) + 1), rng.choice((b"", b"\x01", bytes(32), b"\x50", bytes(521))))
        elif kind < 0.9 and stack:
            del stack[rng.randrange(len(stack))]
        else:
            rng.shuffle(stacks)
        txs[i] = alter(tx, witnesses=stacks)

    def _change_script_sig(self, txs: list[Tx]) -> None:
        rng, i = self._rng, self._pick(txs)
        if i < 0 or not txs[i].prevouts:
            return
        scripts = list(txs[i].script_sigs)
        at = rng.randrange(len(scripts))
        scripts[at] = mutate_bytes(scripts[at], rng) if scripts[at] and rng.random() < 0.7 else rng.choice(_SCRIPTS)
        txs[i] = alter(txs[i], script_sigs=scripts)

    def _change_coinbase(self, txs: list[Tx]) -> None:
        rng, lab = self._rng, self.lab
        if not txs or not txs[0].txouts:
            return
        coinbase = txs[0]
        kind = rng.random()
        if kind < 0.3:
            value = lab.subsidy + rng.choice((0, 1, -1, lab.subsidy))
            txouts = [value.to_bytes(8, "little", signed=True) + coinbase.txouts[0][8:], *coinbase.txouts[1:]]
            txs[0] = alter(coinbase, txouts=txouts)
        elif kind < 0.6:
            height = lab.height + 1 + rng.choice((0, 0, 1, -1))
            script = push_number(height) + bytes(rng.choice((0, 1, 50, 97, 98, 99)))
            txs[0] = alter(coinbase, script_sigs=[script] * len(coinbase.prevouts))
        elif kind < 0.8:
            nonce = rng.choice(_NONCES)
            txs[0] = alter(coinbase, witnesses=nonce if coinbase.prevouts else None)
        else:
            script = COMMITMENT_PREFIX + rng.choice((witness_commitment(txs[1:]), bytes(32), bytes(31)))
            txs[0] = alter(coinbase, txouts=[*coinbase.txouts, make_txout(0, script)])

    def _change_bytes(self, txs: list[Tx]) -> None:
        """Random bytes of a transaction, kept if it still decodes to the end."""
        rng, i = self._rng, self._pick(txs)
        for _ in range(8 if i >= 0 else 0):
            try:
                txs[i] = Tx.parse(mutate_bytes(txs[i].raw, rng))
            except DecodeError:
                continue
            return

    def _reorder(self, txs: list[Tx]) -> None:
        if len(txs) > 1:
            i, j = self._rng.randrange(len(txs)), self._rng.randrange(len(txs))
            txs[i], txs[j] = txs[j], txs[i]

    def _repeat(self, txs: list[Tx]) -> None:
        if txs:
            txs.insert(self._rng.randrange(len(txs) + 1), self._rng.choice(txs))

    def _drop(self, txs: list[Tx]) -> None:
        if txs:
            del txs[self._rng.randrange(len(txs))]

    def _change_header(self, raw: bytes) -> bytes:
        rng, lab = self._rng, self.lab
        kind = rng.random()
        if kind < 0.4:
            near = (lab.median_time, lab.median_time + 1, lab.times[-1] - 1, lab.now + 7000, lab.now + 90_000)
            return reheader(raw, time=rng.choice((0, 0xFFFFFFFF, *near)))
        if kind < 0.6:
            return reheader(raw, version=rng.choice((-(1 << 31), -1, 0, 1, 2, 3, 4, 5, 0x3FFFFFFF)))
        if kind < 0.8:
            bits = rng.choice(_BITS)
            return reheader(raw, bits=bits, proof=bits in _BITS[:3])
        if kind < 0.9:
            return reheader(raw, prev_hash=rng.choice((ZERO_HASH, lab.hashes[-2], lab.tip_hash[::-1])))
        return reheader(raw, merkle_root=rng.randbytes(32))
