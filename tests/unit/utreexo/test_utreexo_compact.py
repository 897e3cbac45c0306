"""Coins in the compact form: what the spending input tells is left out."""

from __future__ import annotations

from hashlib import sha256

import pytest

from btcnode.primitives.coin import make_coin
from btcnode.primitives.hashes import hash160
from btcnode.script.scriptparse import push_data
from btcnode.utreexo.compact import compact_leaf, script_of_input

KEY, SCRIPT = b"\x02" * 33, b"\x51"
CASES = [
    (1, b"\x76\xa9\x14" + hash160(KEY) + b"\x88\xac", push_data(b"\x30" * 70) + push_data(KEY), []),
    (2, b"\x00\x14" + hash160(KEY), b"", [b"\x30" * 70, KEY]),
    (3, b"\xa9\x14" + hash160(SCRIPT) + b"\x87", push_data(KEY) + push_data(SCRIPT), []),
    (4, b"\x00\x20" + sha256(SCRIPT).digest(), b"", [KEY, SCRIPT]),
]


@pytest.mark.parametrize(("kind", "script", "script_sig", "witness"), CASES)
def test_scripts_that_the_input_tells(kind: int, script: bytes, script_sig: bytes, witness: list[bytes]) -> None:
    coin = make_coin(300_000, False, 12345, script)
    assert compact_leaf(coin, script_sig, witness) == coin[:12] + bytes([kind])
    assert script_of_input(kind, script_sig, witness) == script
    whole = coin[:12] + b"\x00" + coin[12:]
    assert compact_leaf(coin, b"", []) == whole
    assert compact_leaf(coin, push_data(b"other"), [b"other"]) == whole


def test_other_scripts() -> None:
    for script in (b"", b"\x51", b"\x51\x20" + bytes(32), b"\x51" * 300):
        coin = make_coin(1, True, 5, script)
        assert compact_leaf(coin, push_data(KEY), [KEY]) == coin[:12] + b"\x00" + coin[12:]
