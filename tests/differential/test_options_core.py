"""A short run of ``scripts/fuzz/options.py``: options, bitcoin.conf and settings.json as a bitcoind takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from btcnode.settings.table import is_known
from tests.lib.bitcoind import find_bitcoind
from tests.lib.option_diff.cases import mixtures, options_of, systematic
from tests.lib.option_diff.compare import compare
from tests.lib.option_diff.run import Bench, Case

BITCOIND = find_bitcoind() or ""
pytestmark = pytest.mark.skipif(not BITCOIND, reason="no bitcoind: set BTCNODE_BITCOIND")


def test_every_option_is_known() -> None:
    assert [name for name in options_of(BITCOIND) if not is_known(name)] == []


@pytest.mark.parametrize("way", [mixtures, systematic])
def test_the_same_comes_of_the_same(tmp_path: Path, way: Callable[[int, list[str]], Iterator[Case]]) -> None:
    report = compare(Bench(tmp_path, BITCOIND), islice(way(7, options_of(BITCOIND)), 60), float("inf"))
    assert report.tried == 60
    assert not report.kinds, report.text()
