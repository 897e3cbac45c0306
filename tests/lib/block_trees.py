"""Random trees of blocks, some of them invalid, for feeding to two nodes in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import sha256
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import ANYONE_CAN_SPEND, coinbase_tx
from tests.lib.block_lab import Lab, LabCoin, alter, outpoint_of, sign, spend

WIDEST_REACH = 6  # how many of the youngest blocks a new one may choose its parent from, mostly
SHARED_COINS = 40  # spent on several branches


@dataclass(frozen=True, slots=True)
class TreeBlock:
    """A block of a tree: its parent's number (-1: the base chain's tip), and which rule it breaks ("" for none)."""

    raw: bytes
    parent: int
    fault: str


def _random_spends(lab: Lab, rng: Random) -> list[Tx]:
    """Up to four transactions: open coins that other branches spend too, and now and then a signed one."""
    txs = []
    for _ in range(rng.randrange(4)):
        at = rng.randrange(SHARED_COINS)
        coin = lab.open_coins[at]
        del lab.open_coins[at]
        tx = spend([coin])
        txs.append(tx)
        lab.open_coins.append(LabCoin(outpoint_of(tx), coin.value, ANYONE_CAN_SPEND, lab.height + 1))
        if rng.random() < 0.3:
            made = lab.open_coins.pop()
            txs.append(spend([made], lock_time=lab.height))
    if rng.random() < 0.3:
        txs.append(sign([lab.coin_of(rng.choice(sorted(lab.template_coins)))]))
    return txs


def _bad_script(lab: Lab, rng: Random) -> bytes:
    tx = sign([lab.coin_of("p2wpkh")])
    return lab.block(alter(tx, lock_time=lab.height))


def _double_spend(lab: Lab, rng: Random) -> bytes:
    coin = lab.coin()
    return lab.block(spend([coin]), spend([coin], lock_time=1))


def _missing(lab: Lab, rng: Random) -> bytes:
    unknown = LabCoin(sha256(rng.randbytes(8)).digest() + bytes(4), 0, b"", 0)
    return lab.block(spend([unknown]))


_FAULTS: dict[str, Callable[[Lab, Random], bytes]] = {
    "amount": lambda lab, rng: lab.block(coinbase_value=lab.subsidy + 1),
    "script": _bad_script,
    "double-spend": _double_spend,
    "missing": _missing,
    "immature": lambda lab, rng: lab.block(spend([lab.coinbases[lab.height - rng.randrange(90)]])),
    "height": lambda lab, rng: lab.block(coinbase=coinbase_tx(lab.height + 2, 0, extra=rng.randbytes(4))),
    "value": lambda lab, rng: lab.block(spend([lab.coin()], [make_txout(-1, b"")])),
    "time": lambda lab, rng: lab.block(time=lab.median_time),
}


def random_tree(base: Lab, rng: Random, size: int, faulty: float) -> Iterator[TreeBlock]:
    """``size`` blocks above the tip of ``base``, parents first; a share ``faulty`` of them breaks a rule."""
    labs: list[Lab] = []
    sound = [-1]  # blocks without a fault among their ancestors or in themselves
    for number in range(size):
        parent = _parent(rng, sound if rng.random() < 0.85 else range(-1, number))
        lab = (labs[parent] if parent >= 0 else base).fork()
        if rng.random() < faulty:
            fault = rng.choice(sorted(_FAULTS))
            raw = _FAULTS[fault](lab, rng)
        else:
            fault = ""
            raw = lab.block(*_random_spends(lab, rng), extra=b"\x08" + rng.randbytes(8))
            if parent in sound:
                sound.append(number)
        lab.adopt(raw)
        labs.append(lab)
        yield TreeBlock(raw, parent, fault)


def _parent(rng: Random, numbers: Sequence[int]) -> int:
    """Mostly the newest of ``numbers``, sometimes one a little older, now and then any."""
    kind = rng.random()
    if kind < 0.6:
        return numbers[-1]
    return rng.choice(numbers[-WIDEST_REACH:] if kind < 0.95 else numbers)
