"""Chains that the protocol's tests share: mined once, never changed."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from tests.lib.protocol_bench import Bench


@pytest.fixture(scope="session")
def params() -> NetworkParams:
    return params_for("regtest")


@pytest.fixture(scope="session")
def blocks(params: NetworkParams) -> list[bytes]:
    """Sixty blocks up to a minute ago."""
    return mine_chain(params, 60, UNIX_START - 60)


@pytest.fixture(scope="session")
def old_blocks(params: NetworkParams) -> list[bytes]:
    """A chain of 2,300 blocks that ended a month ago: initial block download, and more than one headers message."""
    return mine_chain(params, 2300, UNIX_START - 30 * 24 * 3600)


@pytest.fixture
def bench(params: NetworkParams) -> Bench:
    return Bench(params)
