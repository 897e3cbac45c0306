"""Folded blocks: the sums, the survivors and the ledger are the same in whatever order the blocks come."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha512
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import CorruptionError, DecodeError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.storage.survivors import RunSizes, SurvivorRuns, split_records
from btcnode.swiftsync.elias_fano import encode_indices
from btcnode.swiftsync.fold import (
    Fold,
    FoldJob,
    HintMismatch,
    fold_parsed,
    kept_outputs,
    lost_outputs,
    spendable_outputs,
)
from btcnode.swiftsync.full_fold import fold_any
from btcnode.swiftsync.ledger import Ledger, RunRecord, find_repeated
from btcnode.swiftsync.sums import MODULUS, outpoint_sum, output_sum, salted_sum
from tests.lib.chain_generator import ChainGenerator
from tests.lib.coins import all_coins
from tests.lib.hints import reference_hints

PARAMS = params_for("regtest")
SALT = bytes(range(16))


def fold_block(raw: bytes, job: FoldJob) -> Fold:
    result = fold_any(raw, job, PARAMS)
    assert isinstance(result, Fold)
    return result


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(500), *(generator.busy(25) for _ in range(15))]


def test_names_of_outputs(chain: list[bytes]) -> None:
    """Whatever is lost: those of the block's outputs that can be spent, in their order."""
    for block in map(parse_block, chain):
        names = [
            txid + vout.to_bytes(4, "little")
            for i, txid in enumerate(block.txids)
            for vout in range(block.first_out[i + 1] - block.first_out[i])
        ]
        lost = lost_outputs(block, coinbase_lost=True)
        assert set(range(block.first_out[1])) <= set(lost)
        left = [name for k, name in enumerate(names) if k not in lost]
        assert spendable_outputs(block, coinbase_lost=True) == left
        assert kept_outputs(encode_indices(range(len(left))), lost, len(names)) == [names.index(name) for name in left]


@pytest.fixture(scope="module")
def folds(chain: list[bytes]) -> list[Fold]:
    hints = reference_hints(chain)
    return [
        fold_block(raw, FoldJob(SALT, height, 0, False, encode_indices(hint)))
        for height, (raw, hint) in enumerate(zip(chain, hints, strict=True), 1)
    ]


def test_sums_are_equal_and_survivors_are_the_coins(chain: list[bytes], folds: list[Fold], tmp_path: Path) -> None:
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    for raw in chain:
        state.process_block(raw, 2_000_000_000)
    state.flush()
    coins = all_coins(state.store.coins)
    state.close()
    assert sum(fold.created for fold in folds) % MODULUS == sum(fold.spent for fold in folds) % MODULUS
    found = [pair for fold in folds for pair in split_records(fold.records)[0]]
    assert sorted(found) == sorted(coins)
    assert sum(fold.kept for fold in folds) == sum(int.from_bytes(coin[4:12], "little") for _, coin in coins)
    assert [fold.txs for fold in folds] == [parse_block(raw).n_tx for raw in chain]


def test_a_fold_is_packed_and_unpacked(folds: list[Fold]) -> None:
    for fold in folds:
        assert Fold.unpack(fold.pack()) == fold
    with pytest.raises(DecodeError):
        Fold.unpack(folds[0].pack()[:90])
    job = FoldJob(SALT, 7, 8, True, b"hint")
    assert FoldJob.unpack(job.pack()) == job
    for size in (24, len(job.pack()) - 1):
        with pytest.raises(DecodeError):
            FoldJob.unpack(job.pack()[:size])
    with pytest.raises(DecodeError):
        FoldJob.unpack(job.pack() + b"more")
    for spent in (b"", b"\0", b"spent coins"):
        told = job._replace(spent=spent, times=((5, 6), (7, 8)))
        assert FoldJob.unpack(told.pack()) == told


@pytest.mark.parametrize("total_of", [salted_sum, lambda salt, outpoints: outpoint_sum(salt, b"".join(outpoints))])
def test_the_sum_needs_the_salt_and_every_outpoint(total_of: Callable[[bytes, list[bytes]], int]) -> None:
    outpoints = [n.to_bytes(36, "big") for n in range(50)] + [n.to_bytes(36, "little") for n in range(1, 50)]
    total = total_of(SALT, outpoints)
    assert 0 < total < MODULUS
    assert total == total_of(SALT, outpoints[::-1])
    assert total == (total_of(SALT, outpoints[:9]) + total_of(SALT, outpoints[9:])) % MODULUS
    assert total != total_of(bytes(16), outpoints)
    assert total != total_of(SALT, outpoints[:-1])
    assert total != total_of(SALT, [*outpoints, outpoints[0]])
    for at in range(36):  # another outpoint that differs in one byte
        other = bytearray(outpoints[-1])
        other[at] ^= 1
        assert total != total_of(SALT, [*outpoints[:-1], bytes(other)])
    assert total_of(SALT, []) == 0


def plain_sum(salt: bytes, outpoints: list[bytes]) -> int:
    """As the module's words have it, one outpoint at a time."""
    keys = sha512(salt).digest()
    first, second, last = (
        Cipher(algorithms.AES(keys[at : at + 16]), modes.ECB()).encryptor().update for at in (0, 16, 32)
    )
    total = 0
    for name in outpoints:
        parts = first(name[:16]), second(name[16:32]), name[32:] + bytes(12)
        total += int.from_bytes(last(bytes(a ^ b ^ c for a, b, c in zip(*parts, strict=True))), "little")
    return total % (2**128 - 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 63, 64, 1000])
def test_the_sum_of_outpoints_is_that_of_each(count: int) -> None:
    rng = random.Random(count)
    outpoints = [rng.randbytes(36) for _ in range(count)]
    expected = plain_sum(SALT, outpoints)
    assert outpoint_sum(SALT, b"".join(outpoints)) == expected
    txids, vouts = (b"".join([name[part] for name in outpoints]) for part in (slice(32), slice(32, 36)))
    assert output_sum(SALT, txids, vouts) == expected


def test_swapped_halves_of_a_txid_are_another_outpoint() -> None:
    name = bytes(range(36))
    assert outpoint_sum(SALT, name) != outpoint_sum(SALT, name[16:32] + name[:16] + name[32:])


def test_rules_that_need_no_coins_are_checked(chain: list[bytes]) -> None:
    raw = chain[-1]
    job = FoldJob(SALT, len(chain), 0, False, b"\0")
    with pytest.raises(RuleViolation, match="bad-txnmrklroot"):
        fold_block(raw[:-1] + bytes((raw[-1] ^ 1,)), job)
    with pytest.raises(RuleViolation, match="bad-cb-height"):
        fold_block(raw, job._replace(height=len(chain) + 1))
    with pytest.raises(RuleViolation, match="high-hash"):
        fold_block(raw[:72] + b"\1\0\0\1" + raw[76:], job)
    with pytest.raises(DecodeError):
        fold_block(raw[:-1], job)
    assert fold_block(raw + b"more", job).size == len(raw)


def test_a_hint_for_another_block(chain: list[bytes]) -> None:
    block = parse_block(chain[0])
    with pytest.raises(HintMismatch):
        fold_parsed(block, FoldJob(SALT, 1, 0, False, encode_indices([1])))
    assert fold_parsed(block, FoldJob(SALT, 1, 0, False, encode_indices([0]))).coins == 1


def test_a_coinbase_that_is_overwritten_is_lost(chain: list[bytes]) -> None:
    fold = fold_parsed(parse_block(chain[0]), FoldJob(SALT, 1, 0, True, b"\0"))
    assert (fold.created, fold.kept, fold.lost) == (0, 0, 50 * 10**8)


def test_the_ledger_is_the_same_in_any_order(folds: list[Fold]) -> None:
    rng = random.Random(3)
    ledgers = []
    for _ in range(3):
        order = list(range(1, len(folds) + 1))
        rng.shuffle(order)
        ledger = Ledger(len(folds), bytes(32), bytes(32), SALT)
        for n, height in enumerate(order):
            assert ledger.add(height, folds[height - 1])
            assert not ledger.add(height, folds[height - 1])
            assert ledger.first == next(h for h in range(len(folds) + 2) if h > len(folds) or not ledger.done[h])
            if n % 40 == 7:
                assert Ledger.unpack(ledger.pack()) == ledger
                ledger.runs.append(RunRecord(n, 2, 3, 4))
        assert (ledger.left, ledger.first) == (0, len(folds) + 1)
        assert ledger.created == ledger.spent
        ledger.runs.clear()
        ledgers.append(ledger)
    assert ledgers[0] == ledgers[1] == ledgers[2]


def test_a_damaged_ledger_is_refused() -> None:
    data = Ledger(100, b"t" * 32, b"h" * 32, SALT, runs=[RunRecord(1, 2, 3, 4)]).pack()
    for at in range(0, len(data), 5):
        with pytest.raises(CorruptionError):
            Ledger.unpack(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
    for size in (0, 3, len(data) - 1):
        with pytest.raises(CorruptionError):
            Ledger.unpack(data[:size])


def test_repeated_coinbases() -> None:
    """Blocks 91,842 and 91,880 repeat those of 91,812 and 91,722; whatever the order in which they were folded."""
    found = [(91_880, b"a"), (91_812, b"b"), (91_722, b"a"), (91_842, b"b"), (5, b"c")]
    assert find_repeated(found, {91_842, 91_880}) is None
    assert find_repeated(found, {91_842}) == (91_722, 91_880)
    assert find_repeated([*found, (100_000, b"c")], {91_842, 91_880}) == (5, 100_000)
    assert find_repeated([], ()) is None


# -- runs ------------------------------------------------------------------------------------------------------------


def merged(runs: SurvivorRuns, sizes: list[RunSizes]) -> list[tuple[bytes, bytes]]:
    return [row for rows in runs.merged(sizes, lambda: None) for row in rows]


@pytest.mark.parametrize("small", [False, True])
def test_runs_are_merged_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    if small:  # many reads of each file
        monkeypatch.setattr("btcnode.storage.survivors.READ_SIZE", 600)
        monkeypatch.setattr("btcnode.storage.survivors.BATCH_BYTES", 0)
    rng = random.Random(5)
    runs = SurvivorRuns(tmp_path)
    everything, sizes = [], []
    for number, count in enumerate((300, 0, 1, 2000, 40)):
        rows = [(rng.randbytes(36), rng.randbytes(rng.choice((13, 40, 400)))) for _ in range(count)]
        everything += rows
        parts = [key + len(coin).to_bytes(2, "little") + coin for key, coin in rows]
        sizes.append(runs.write(number, parts, [(number, bytes(32))]))
    assert merged(runs, sizes) == sorted(everything)
    assert [runs.coinbases(n, run) for n, run in enumerate(sizes)] == [[(n, bytes(32))] for n in range(5)]
    for number, run in enumerate(sizes):
        runs.verify(number, run)


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    runs = SurvivorRuns(tmp_path)
    sizes = runs.write(0, [bytes(36) + b"\5\0" + b"coins", b"a" * 36 + b"\5\0" + b"other"], [])
    whole = runs.path(0).read_bytes()
    for data in (whole[:-1], whole + b"x", whole[:40] + b"?" + whole[41:]):
        runs.path(0).write_bytes(data)
        with pytest.raises(CorruptionError):
            runs.verify(0, sizes)
    runs.path(0).write_bytes(whole[:-1])
    with pytest.raises(CorruptionError):
        merged(runs, [sizes])
