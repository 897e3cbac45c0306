"""Blocks with the coins that they spend as somebody has told them: every rule holds, and no lie comes through."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_value, make_coin, txout_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.steps import at_once
from btcnode.services.block_effects import spent_steps
from btcnode.storage.survivors import split_records
from btcnode.storage.undo import encode_undo
from btcnode.swiftsync.elias_fano import encode_indices
from btcnode.swiftsync.fold import Fold, FoldJob, HintMismatch, spendable_outputs
from btcnode.swiftsync.full_fold import SpentRefused, TimesWanted, fold_any
from btcnode.swiftsync.spent_coins import count_spent, decode_spent
from btcnode.swiftsync.sums import MODULUS
from tests.lib.block_lab import Lab, spend
from tests.lib.chain_generator import ChainGenerator
from tests.lib.coins import all_coins
from tests.lib.hints import reference_hints
from tests.lib.spent import spent_coins, tell

PARAMS = params_for("regtest")
SALT = bytes(range(16))


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(500), *(generator.busy(25) for _ in range(15))]


@pytest.fixture(scope="module")
def spent(chain: list[bytes]) -> list[list[bytes]]:
    return spent_coins(chain)


def median_times(chain: list[bytes]) -> list[int]:
    """By height of the parent, that of each block from height 1 on."""
    times = [int.from_bytes(raw[68:72], "little") for raw in (PARAMS.genesis_block, *chain)]
    windows = (sorted(times[max(0, at - 10) : at + 1]) for at in range(len(chain)))
    return [window[len(window) // 2] for window in windows]


def jobs(chain: list[bytes], told: list[bytes]) -> list[FoldJob]:
    rows = zip(median_times(chain), reference_hints(chain), told, strict=True)
    return [
        FoldJob(SALT, height, median, False, encode_indices(hint), coins)
        for height, (median, hint, coins) in enumerate(rows, 1)
    ]


def folded(raw: bytes, job: FoldJob) -> Fold:
    result = fold_any(raw, job, PARAMS)
    assert isinstance(result, Fold), result
    return result


def refused(raw: bytes, job: FoldJob, spent: bytes) -> str:
    result = fold_any(raw, job._replace(spent=spent), PARAMS)
    assert isinstance(result, SpentRefused), result
    assert SpentRefused.unpack(result.pack()) == result
    return result.reason


# -- the form ------------------------------------------------------------------------------------------------------


def test_what_is_told_of_undo_data_is_what_the_blocks_spend(
    chain: list[bytes], spent: list[list[bytes]], tmp_path: Path
) -> None:
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    for raw in chain:
        state.process_block(raw, 2_000_000_000)
    for height, coins in enumerate(spent, 1):
        index = state.active.at(height)
        position = state.undo_position(index)
        assert position is not None
        undo = state.store.files.read_undo(position, state.tree.hash(state.tree.prev(index)))
        for cutoff in (0, 1, height, height - 3 if height > 3 else 5, 2**32 - 1):
            assert at_once(spent_steps(undo, cutoff)) == tell(coins, cutoff)
        assert decode_spent(tell(coins), len(coins)) == coins
        assert count_spent(tell(coins)) == len(coins)
    state.close()


@pytest.mark.parametrize("script", [
    b"", b"\x51", b"\x6a", b"\x00" * 10_000,
    b"\x76\xa9\x14" + b"h" * 20 + b"\x88\xac", b"\xa9\x14" + b"h" * 20 + b"\x87",
    b"\x21\x02" + b"k" * 32 + b"\xac", b"\x21\x03" + b"k" * 32 + b"\xac", b"\x41\x04" + b"k" * 64 + b"\xac",
    b"\x41\x06" + b"k" * 64 + b"\xac", b"\x00\x20" + b"w" * 32, b"\x00\x14" + b"w" * 20, b"\x51\x20" + b"x" * 32,
    b"\x52\x20" + b"x" * 32, b"\x51\x21" + b"x" * 33, b"\x76\xa9\x14" + b"h" * 20 + b"\x88\xad", b"q" * 252, b"q" * 253,
])  # fmt: skip
def test_every_script_comes_back(script: bytes) -> None:
    for value in (0, 1, 546, 100_000_000, 2_100_000_000_000_000, 123_456_789, 999_999_999_999_999):
        coin = make_coin(500_000, value % 2 == 1, value, script)
        assert decode_spent(tell([coin]), 1) == [coin]


def test_undo_data_tells_scripts_as_they_are() -> None:
    """Undo data shortens keys, where they are points of the curve."""
    point = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798") + bytes.fromhex(
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    )
    scripts = [
        b"\x41\x04" + point + b"\xac", b"\x41\x04" + bytes(64) + b"\xac", b"\x21\x02" + bytes(32) + b"\xac",
        b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", b"\xa9\x14" + bytes(20) + b"\x87", b"\x00\x14" + bytes(20),
        b"\x00\x20" + bytes(32), b"\x51\x20" + bytes(32), b"", b"\x51" * 121, b"\x51" * 122, b"\x51" * 10_000,
    ]  # fmt: skip
    coins = [make_coin(n * 40_000 + 1, n % 2 == 0, 10**n, script) for n, script in enumerate(scripts)]
    undo = encode_undo([coins[:4], [], coins[4:]])
    assert at_once(spent_steps(undo, 0)) == tell(coins)
    assert at_once(spent_steps(undo, 80_002)) == tell(coins, 80_002) != tell(coins)
    for bad in (undo[:-1], undo + b"\0", b"\xfd\xff\xff" + undo[1:]):
        with pytest.raises(DecodeError):
            at_once(spent_steps(bad, 0))


def test_anything_else_is_refused(spent: list[list[bytes]]) -> None:
    coins = max(spent, key=len)
    whole = tell(coins)
    count = len(compact_size(len(coins)))
    for bad in (
        b"", whole[:-1], whole + b"\0", tell(coins[:-1]), tell([*coins, coins[0]]),
        whole[:count] + b"\1" + whole[count + 1 :],  # another index
        whole[: count + 8] + b"\x09" + whole[count + 9 :],  # no such kind of script
        compact_size(len(coins)) + whole[count:-1] + b"\xff" + b"\xff" * 8,  # more than all money
        b"\xff" * 9, whole[:40],
    ):  # fmt: skip
        with pytest.raises(DecodeError):
            decode_spent(bad, len(coins))
    with pytest.raises(DecodeError):
        decode_spent(tell([make_coin(1, False, 1, b"\x51" * 10_001)]), 1)
    assert count_spent(b"") == 0
    assert count_spent(b"\xfe\xff\xff\xff\x01" + bytes(110)) == 10


# -- folding -------------------------------------------------------------------------------------------------------


def test_sums_are_equal_and_survivors_are_the_coins(
    chain: list[bytes], spent: list[list[bytes]], tmp_path: Path
) -> None:
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    for raw in chain:
        state.process_block(raw, 2_000_000_000)
    state.flush()
    coins = all_coins(state.store.coins)
    state.close()
    folds = [folded(raw, job) for raw, job in zip(chain, jobs(chain, list(map(tell, spent))), strict=True)]
    assert sum(fold.created for fold in folds) % MODULUS == sum(fold.spent for fold in folds) % MODULUS != 0
    assert sorted(pair for fold in folds for pair in split_records(fold.records)[0]) == sorted(coins)
    assert sum(fold.kept for fold in folds) == sum(coin_value(coin) for _, coin in coins)
    assert [fold.inputs for fold in folds] == list(map(len, spent))
    plain = [
        folded(raw, job._replace(spent=None)) for raw, job in zip(chain, jobs(chain, [b""] * len(chain)), strict=True)
    ]
    same = ("size", "txs", "inputs", "coins", "kept", "lost", "coinbase", "records")
    for full, fold in zip(folds, plain, strict=True):
        assert [getattr(full, name) for name in same] == [getattr(fold, name) for name in same]


def test_lies_about_coins(chain: list[bytes], spent: list[list[bytes]]) -> None:
    """One coin of each block told wrongly: found at once, or the sums differ."""
    rng = random.Random(8)
    found = 0
    rows = list(zip(chain, spent, jobs(chain, list(map(tell, spent))), strict=True))
    for raw, coins, job in rows:
        if not coins:
            continue
        true = folded(raw, job)
        for how in range(4):
            n = rng.randrange(len(coins))
            coin = coins[n]
            height, value, script = coin_height(coin), coin_value(coin), txout_script(coin[4:])
            lie = (
                make_coin(max(height - 1, 0), False, value, script),
                make_coin(height, coin[0] & 1 == 0, value, script),
                make_coin(height, coin[0] & 1 == 1, value + rng.choice((-1, 1)), script),
                make_coin(height, coin[0] & 1 == 1, value, b"\x51"),
            )[how]
            result = fold_any(raw, job._replace(spent=tell([*coins[:n], lie, *coins[n + 1 :]])), PARAMS)
            if isinstance(result, Fold):
                assert result.spent != true.spent and result.created == true.created
            else:
                assert isinstance(result, SpentRefused)
                found += 1
    assert found > 20


def test_coins_that_cannot_be(chain: list[bytes], spent: list[list[bytes]]) -> None:
    height = next(at for at in range(len(chain), 0, -1) if any(coin_height(c) < at for c in spent[at - 1]))
    raw, coins = chain[height - 1], spent[height - 1]
    job = jobs(chain, list(map(tell, spent)))[height - 1]
    n = next(at for at, coin in enumerate(coins) if coin_height(coin) < height)
    coin = coins[n]
    value, script = coin_value(coin), txout_script(coin[4:])
    for young in (height, height + 1, 2**31 - 1):
        lie = make_coin(young, False, value, script)
        assert "missingorspent" in refused(raw, job, tell([*coins[:n], lie, *coins[n + 1 :]]))
    lie = make_coin(height - 99, True, value, script)
    assert "premature" in refused(raw, job, tell([*coins[:n], lie, *coins[n + 1 :]]))
    assert "belowout" in refused(
        raw, job, tell([make_coin(coin_height(c), False, 0, txout_script(c[4:])) for c in coins])
    )
    assert "of a block with" in refused(raw, job, tell(coins[:-1]))
    for cut_off in (tell(coins)[:-1], tell(coins)[:-10], b""):
        assert refused(raw, job, cut_off)


def test_a_coin_of_the_block_itself_told_wrongly() -> None:
    lab = Lab(PARAMS, now=2_000_000_000)
    chain = list(lab.prepare())
    tx, (coin,) = lab.fund(b"\x51")
    raw = lab.block(tx, spend([coin]))
    chain.append(raw)
    coins = spent_coins(chain)[-1]
    job = jobs(chain, list(map(tell, spent_coins(chain))))[-1]
    assert folded(raw, job).inputs == 2
    lie = make_coin(coin_height(coins[1]) - 1, False, coin_value(coins[1]), b"\x51")
    assert "itself makes" in refused(raw, job, tell([coins[0], lie]))


def test_relative_locks_by_time_ask_for_median_times() -> None:
    lab = Lab(PARAMS, now=2_000_000_000)
    chain = list(lab.prepare())
    coin = lab.coin()
    chain.append(lab.block(spend([coin], sequences=[1 << 22], version=2)))
    median, told = median_times(chain), list(map(tell, spent_coins(chain)))
    job = jobs(chain, told)[-1]
    result = fold_any(chain[-1], job, PARAMS)
    assert result == TimesWanted((coin.height - 1,))
    assert TimesWanted.unpack(result.pack()) == result
    with pytest.raises(DecodeError):
        TimesWanted.unpack(b"123")
    times = ((coin.height - 1, lab.median_time_at(coin.height - 1)),)
    assert median[coin.height] == lab.median_time_at(coin.height)
    assert folded(chain[-1], job._replace(times=times)).inputs == 1
    locked = ((coin.height - 1, job.median_time + 1),)
    assert "nonfinal" in refused(chain[-1], job._replace(times=locked), told[-1])


def test_hints_that_do_not_fit(chain: list[bytes], spent: list[list[bytes]]) -> None:
    rows = jobs(chain, list(map(tell, spent)))
    with pytest.raises(HintMismatch, match="names output 5000"):
        fold_any(chain[-1], rows[-1]._replace(hint=encode_indices([5000])), PARAMS)
    inside = 0
    for raw, job in zip(chain, rows, strict=True):
        block = parse_block(raw)
        for n, name in enumerate(spendable_outputs(block)):
            if name in block.prevouts():
                inside += 1
                with pytest.raises(HintMismatch, match="itself spends"):
                    fold_any(raw, job._replace(hint=encode_indices([n])), PARAMS)
    assert inside == sum(
        coin_height(coin) == job.height for job, coins in zip(rows, spent, strict=True) for coin in coins
    )


def test_a_coinbase_that_is_overwritten_is_lost(chain: list[bytes]) -> None:
    fold = folded(chain[0], FoldJob(SALT, 1, median_times(chain)[0], True, b"\0", b"\0"))
    assert (fold.created, fold.kept, fold.lost) == (0, 0, 50 * 10**8)
