"""Kernels of both kinds: what is tried of one is tried of the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from btcnode.compiled.kernels import Kernels
from tests.lib.kernels import compiled_kernels, plain_kernels, with_kernels


@pytest.fixture(params=["compiled", "interpreted"])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """Some kernels, which nobody uses by himself meanwhile."""
    found = compiled_kernels() if request.param == "compiled" else plain_kernels()
    if found is None:
        pytest.skip("numba is not installed")
    with with_kernels(None):
        yield found
