from __future__ import annotations

import pytest

from btcnode.descriptors.miniscript_parser import parse_miniscript

KEY = "02" + "11" * 32


class BadKey(Exception):
    pass


def _read_key(text: str) -> str:
    if text != KEY:
        raise BadKey(text)
    return text


@pytest.mark.parametrize("k", ["0", "-1", "3", "00", "-9223372036854775808"])
def test_a_bad_key_is_told_before_a_bad_threshold(k: str) -> None:
    with pytest.raises(BadKey):
        parse_miniscript(f"multi({k},{KEY},x)", False, _read_key)
    assert parse_miniscript(f"multi({k},{KEY},{KEY})", False, _read_key) is None


@pytest.mark.parametrize("k", ["", "+1", "x", " 1", "--1", "9223372036854775808", "-9223372036854775809"])
def test_keys_behind_no_number_are_not_read(k: str) -> None:
    assert parse_miniscript(f"multi({k},x)", False, _read_key) is None


@pytest.mark.parametrize("k", ["0", "-1", ""])
def test_expressions_behind_a_bad_count_are_not_read(k: str) -> None:
    assert parse_miniscript(f"thresh({k},pk(x))", False, _read_key) is None
