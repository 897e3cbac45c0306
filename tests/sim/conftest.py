"""Chains that the simulations share: mined once, never changed."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START


@pytest.fixture(scope="session")
def params() -> NetworkParams:
    return params_for("regtest")


@pytest.fixture(scope="session")
def chain(params: NetworkParams) -> list[bytes]:
    """2,500 blocks up to two minutes before the simulation starts."""
    return mine_chain(params, 2500, UNIX_START - 120)
