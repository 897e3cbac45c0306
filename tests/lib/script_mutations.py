"""Small changes to a spend, most of which make it invalid: what a fuzzer does to a valid case."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from btcnode.primitives.coin import make_txout, txout_script
from btcnode.primitives.tx import Tx
from tests.lib.script_cases import ScriptCase


class Draft:
    """A case taken apart into columns that may be changed."""

    def __init__(self, case: ScriptCase) -> None:
        tx = case.tx
        count = len(tx.prevouts)
        self.index = case.index
        self.version = tx.version
        self.prevouts = list(tx.prevouts)
        self.script_sigs = list(tx.script_sigs)
        self.sequences = list(tx.sequences)
        self.txouts = list(tx.txouts)
        self.witnesses = [list(stack) for stack in tx.witnesses] if tx.witnesses else [[] for _ in range(count)]
        self.lock_time = tx.lock_time
        self.spent = list(case.spent)

    def case(self, label: str) -> ScriptCase:
        """Put together again."""
        tx = Tx(
            self.version,
            self.prevouts,
            self.script_sigs,
            self.sequences,
            self.txouts,
            self.witnesses,
            self.lock_time,
        )
        return ScriptCase(tx, self.index, self.spent, label)


def flip(rng: Random, data: bytes) -> bytes:
    """One byte changed: a bit, any value, one more, one less, or gone."""
    if not data:
        return rng.randbytes(rng.randint(0, 2))
    position = rng.randrange(len(data))
    roll = rng.random()
    if roll < 0.5:
        new = bytes((data[position] ^ 1 << rng.randrange(8),))
    elif roll < 0.7:
        new = rng.randbytes(1)
    elif roll < 0.8:
        new = b""
    elif roll < 0.9:
        new = bytes((data[position],)) + rng.randbytes(1)
    else:
        new = bytes((data[position] + rng.choice((1, 255)) & 0xFF,))
    return data[:position] + new + data[position + 1 :]


def _script_sig(rng: Random, draft: Draft) -> None:
    draft.script_sigs[draft.index] = flip(rng, draft.script_sigs[draft.index])


def _script_sig_push(rng: Random, draft: Draft) -> None:
    junk = rng.choice((b"\0", b"\x51", b"\x01\x05", b"\x61", b"\x50", b"\xab", b"\x4c\x00", b"\x02\xaa", b"\x4f"))
    script = draft.script_sigs[draft.index]
    draft.script_sigs[draft.index] = junk + script if rng.random() < 0.7 else script + junk


def _witness_item(rng: Random, draft: Draft) -> None:
    stack = draft.witnesses[draft.index]
    if stack:
        position = rng.randrange(len(stack))
        stack[position] = flip(rng, stack[position])
    else:
        stack.append(rng.randbytes(rng.randint(0, 2)))


def _witness_shape(rng: Random, draft: Draft) -> None:
    stack = draft.witnesses[draft.index]
    roll = rng.randrange(6)
    if roll == 0 and stack:
        del stack[rng.randrange(len(stack))]
    elif roll == 1 and stack:
        stack.insert(rng.randrange(len(stack)), rng.choice(stack))
    elif roll == 2 and len(stack) > 1:
        a, b = rng.sample(range(len(stack)), 2)
        stack[a], stack[b] = stack[b], stack[a]
    elif roll == 3 and stack:
        stack[rng.randrange(len(stack))] = rng.choice((b"", b"\0", b"\x80", b"\1", rng.randbytes(65), bytes(521)))
    elif roll == 4:
        stack.append(b"\x50" + rng.randbytes(rng.randint(0, 4)))
    else:
        stack.insert(rng.randint(0, len(stack)), rng.randbytes(rng.choice((0, 1, 33))))


def _hash_type(rng: Random, draft: Draft) -> None:
    """Another hash type on something of a signature's size."""
    new = bytes((rng.choice((0, 1, 2, 3, 4, 0x80, 0x81, 0x82, 0x83, 0x21, 0xFF)),))
    stack = draft.witnesses[draft.index]
    places = [n for n, item in enumerate(stack) if 64 <= len(item) <= 73]
    if places:
        place = rng.choice(places)
        stack[place] = stack[place][:-1] + new if len(stack[place]) != 64 else stack[place] + new
        return
    script = draft.script_sigs[draft.index]
    end = script[0] + 1 if script and 60 < script[0] < 75 else 0
    if 0 < end <= len(script):
        draft.script_sigs[draft.index] = script[: end - 1] + new + script[end:]


def _spent_script(rng: Random, draft: Draft) -> None:
    txout = draft.spent[draft.index]
    value = int.from_bytes(txout[:8], "little", signed=True)
    draft.spent[draft.index] = make_txout(value, flip(rng, txout_script(txout)))


def _spent_value(rng: Random, draft: Draft) -> None:
    txout = draft.spent[draft.index]
    draft.spent[draft.index] = rng.randbytes(8) + txout[8:]


def _spent_elsewhere(rng: Random, draft: Draft) -> None:
    place = rng.randrange(len(draft.spent))
    draft.spent[place] = rng.randbytes(8) + draft.spent[place][8:]


def _sequence(rng: Random, draft: Draft) -> None:
    draft.sequences[rng.randrange(len(draft.sequences))] = rng.choice(
        (0, 1, 0xFFFFFFFF, 1 << 31, 1 << 22, rng.getrandbits(32))
    )


def _lock_time(rng: Random, draft: Draft) -> None:
    draft.lock_time = rng.choice((0, 1, 500_000_000, 499_999_999, rng.getrandbits(32)))


def _version(rng: Random, draft: Draft) -> None:
    draft.version = rng.choice((0, 1, 2, 0xFFFFFFFF, rng.getrandbits(32)))


def _outputs(rng: Random, draft: Draft) -> None:
    roll = rng.randrange(3)
    if roll == 0 and draft.txouts:
        del draft.txouts[rng.randrange(len(draft.txouts))]
    elif roll == 1 and draft.txouts:
        place = rng.randrange(len(draft.txouts))
        draft.txouts[place] = rng.randbytes(8) + draft.txouts[place][8:]
    else:
        draft.txouts.insert(rng.randint(0, len(draft.txouts)), make_txout(rng.getrandbits(40), b"\x51"))


def _prevout(rng: Random, draft: Draft) -> None:
    place = rng.randrange(len(draft.prevouts))
    draft.prevouts[place] = rng.randbytes(36)


def _more_inputs(rng: Random, draft: Draft) -> None:
    place = rng.randint(0, len(draft.prevouts))
    draft.prevouts.insert(place, rng.randbytes(36))
    draft.script_sigs.insert(place, b"")
    draft.sequences.insert(place, 0xFFFFFFFF)
    draft.witnesses.insert(place, [])
    draft.spent.insert(place, make_txout(5, b"\x51"))
    draft.index += place <= draft.index


def _unexpected_witness(rng: Random, draft: Draft) -> None:
    draft.witnesses[draft.index].append(b"")


_MUTATIONS: list[Callable[[Random, Draft], None]] = [
    _script_sig, _script_sig, _script_sig_push, _witness_item, _witness_item, _witness_item, _witness_shape,
    _witness_shape, _hash_type, _hash_type, _spent_script, _spent_value, _spent_elsewhere, _sequence, _lock_time,
    _version, _outputs, _prevout, _more_inputs, _unexpected_witness,
]  # fmt: skip


def mutate(rng: Random, case: ScriptCase) -> ScriptCase:
    """The case with one or two changes."""
    draft = Draft(case)
    names = []
    for _ in range(1 if rng.random() < 0.8 else 2):
        change = rng.choice(_MUTATIONS)
        change(rng, draft)
        names.append(change.__name__)
    return draft.case(f"{case.label}+{'+'.join(names)}")
