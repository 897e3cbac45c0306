"""Whose turn it is to be spent, in groups, and what is said when nothing will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from btcnode.descriptors.descriptor import OutputType
from btcnode.wallet.spending.choose import (
    BASE_TOO_HEAVY,
    ENORMOUS_CLUSTER,
    LONG_CHAIN,
    MAX_GROUP_COINS,
    NO_ROOM_FOR_CHANGE,
    NOT_COVERED,
    TOGETHER_TOO_HEAVY,
    SelectionTerms,
    choose,
    group_coins,
    turns,
)
from btcnode.wallet.spending.coins import Algorithm, NoSelection, PricedCoin, Selection
from tests.lib.coin_pools import P2WPKH_VSIZE, coin

CENT = 1_000_000
TERMS = SelectionTerms(
    rate=5000, long_term_rate=10_000, base_vsize=42, change_vsize=31, change_fee=155, cost_of_change=359,
    min_change_target=50_155, min_viable_change=294,
)  # fmt: skip


def unbumped(outpoints: Sequence[bytes], rate: int) -> int | None:
    return 0


def made(value: int, **how: object) -> PricedCoin:
    return coin(value, rate=5000, **how)  # type: ignore[arg-type]


def chosen(
    coins: Sequence[PricedCoin], target: int, terms: SelectionTerms = TERMS, preset: Sequence[PricedCoin] = ()
) -> Selection:
    return choose(coins, {item.outpoint: item for item in preset}, target, terms, Random(5), unbumped)


def reason(coins: Sequence[PricedCoin], target: int, terms: SelectionTerms = TERMS, **how: Sequence[PricedCoin]) -> str:
    with pytest.raises(NoSelection) as caught:
        chosen(coins, target, terms, **how)
    return str(caught.value)


def test_deep_coins_go_first() -> None:
    shallow, deep = made(5 * CENT, depth=1), made(6 * CENT, depth=6)
    assert chosen([shallow, deep], 4 * CENT).coins == [deep]
    assert len(chosen([shallow, deep], 10 * CENT)) == 2


def test_own_change_is_spent_unconfirmed_unless_that_is_off() -> None:
    change = replace(made(5 * CENT, depth=0, ancestors=1), is_from_me=True)
    assert chosen([change], 4 * CENT).coins == [change]
    assert reason([change], 4 * CENT, replace(TERMS, spend_zero_conf_change=False)) == ""
    foreign = made(5 * CENT, depth=0, ancestors=1)
    assert reason([foreign], 4 * CENT) == ""
    assert chosen([foreign], 4 * CENT, replace(TERMS, include_unsafe=True)).coins == [foreign]


def test_chains_that_are_too_long_are_named() -> None:
    long = replace(made(5 * CENT, depth=0, ancestors=25), is_from_me=True)
    assert reason([long], 4 * CENT) == LONG_CHAIN
    assert chosen([long], 4 * CENT, replace(TERMS, reject_long_chains=False)).coins == [long]
    short = replace(made(5 * CENT, depth=0, ancestors=5), is_from_me=True)
    assert reason([short], 4 * CENT, replace(TERMS, chain_limit=5)) == LONG_CHAIN
    assert [turn.max_ancestors for turn in turns(TERMS)] == [0, 0, 2, 4, 12, 24]


@pytest.mark.parametrize("limit", range(1, 26))
def test_with_any_limit_of_chains_each_coin_is_there_once(limit: int) -> None:
    terms = replace(TERMS, chain_limit=limit)
    coins = [replace(made(CENT, depth=n % 2, ancestors=0 if n % 2 else 1), is_from_me=True) for n in range(12)]
    assert len(chosen(coins, (11 if limit > 1 else 5) * CENT, terms)) >= 5
    for found in group_coins(coins, terms, turns(terms))[0].values():
        assert len(found.all.mixed) == len({group.coins[0].outpoint for group in found.all.mixed})


def test_types_are_mixed_only_where_one_does_not_suffice() -> None:
    legacy = [made(3 * CENT, kind=OutputType.LEGACY, depth=9) for _ in range(2)]
    segwit = [made(3 * CENT, depth=9) for _ in range(2)]
    assert {item.kind for item in chosen([*legacy, *segwit], 5 * CENT).coins} in (
        {OutputType.LEGACY},
        {OutputType.BECH32},
    )
    assert len({item.kind for item in chosen([*legacy, *segwit], 8 * CENT).coins}) == 2


def test_coins_of_a_script_stay_together() -> None:
    terms = replace(TERMS, avoid_partial_spends=True)
    one = [made(CENT, script=b"\x51") for _ in range(3)]
    other = [made(20 * CENT, script=b"\x52")]
    for target in (CENT // 2, 2 * CENT):
        found = chosen([*one, *other], target, terms).coins
        assert found in (sorted(one, key=lambda item: item.outpoint), other)
    many = [made(CENT, script=b"\x51", depth=9) for _ in range(MAX_GROUP_COINS + 7)]
    grouped, _ = group_coins(many, terms, turns(terms))
    sizes = {turn.partial_groups: {len(group.coins) for group in found.all.mixed} for turn, found in grouped.items()}
    assert sizes == {False: {MAX_GROUP_COINS}, True: {MAX_GROUP_COINS, 7}}
    assert len(chosen(many, (MAX_GROUP_COINS + 3) * 980_000, terms)) == len(many)


def test_preset_coins_come_first_and_others_fill_up() -> None:
    preset, others = made(2 * CENT), [made(3 * CENT), made(4 * CENT)]
    alone = chosen(others, CENT, preset=[preset])
    assert alone.coins == [preset] and alone.algorithm is Algorithm.MANUAL
    assert preset in chosen(others, 4 * CENT, preset=[preset]).coins
    with pytest.raises(NoSelection, match="preselected coins total amount"):
        choose(others, {preset.outpoint: preset}, 4 * CENT, TERMS, Random(1), unbumped, others_allowed=False)
    assert NOT_COVERED.startswith("The preselected coins")
    assert reason(others, 20 * CENT, preset=[preset]) == ""


def test_weights_are_kept() -> None:
    coins = [made(3 * CENT) for _ in range(6)]
    assert reason(coins, CENT, replace(TERMS, max_weight=42 * 4)) == BASE_TOO_HEAVY
    assert reason(coins, CENT, replace(TERMS, max_weight=60 * 4)) == NO_ROOM_FOR_CHANGE
    narrow = replace(TERMS, max_weight=(42 + 31 + 3 * P2WPKH_VSIZE) * 4)
    assert len(chosen(coins, 8 * CENT, narrow)) == 3
    assert reason(coins, 10 * CENT, narrow).startswith("The inputs size exceeds the maximum weight.")
    assert reason(coins[2:], 11 * CENT, narrow, preset=coins[:2]) == TOGETHER_TOO_HEAVY
    child = replace(made(3 * CENT, depth=0, ancestors=1), is_from_me=True)
    wide = [replace(child, outpoint=bytes([n]) * 36) for n in range(20)]
    assert len(chosen(wide, 50 * CENT)) > 13
    assert reason(wide, 50 * CENT, replace(TERMS, version=3)).startswith("The inputs size exceeds the maximum weight.")


def test_shared_ancestors_are_paid_for_once() -> None:
    pair = [replace(made(3 * CENT, depth=0, ancestors=1, bump_fee=1000), is_from_me=True) for _ in range(2)]
    found = choose(pair, {}, 5 * CENT, TERMS, Random(1), lambda outpoints, rate: 1000)
    assert found.bump_fees == 1000 and found.discount == 1000
    with pytest.raises(NoSelection) as caught:
        choose(pair, {}, 5 * CENT, TERMS, Random(1), lambda outpoints, rate: None)
    assert str(caught.value) == ENORMOUS_CLUSTER


def test_high_fees_ask_for_few_inputs() -> None:
    coins = [coin(CENT, rate=40_000, vsize=68) for _ in range(30)] + [coin(20 * CENT, rate=40_000, vsize=68)]
    terms = replace(TERMS, rate=40_000)
    found = chosen(coins, 12 * CENT + 12_345, terms)
    assert len(found) == 1
