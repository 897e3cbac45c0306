"""Shared fixtures: where the vectors lie."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no fault of the tests: how long an example takes to be made or tried is not judged.
hypothesis.settings.register_profile("btcnode", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("btcnode")

DEFAULT_VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def vectors_dir() -> Path:
    """The test data: ``BTCNODE_VECTORS``, by default ``../shared/vectors`` beside the checkout."""
    return Path(os.environ.get("BTCNODE_VECTORS", DEFAULT_VECTORS))


@pytest.fixture(scope="session")
def vectors() -> Path:
    path = vectors_dir()
    if not path.is_dir():
        pytest.skip(f"no test vectors at {path}: set BTCNODE_VECTORS")
    return path
